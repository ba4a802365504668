"""What people type: amounts, codes, forms."""

import pytest

from budan.core.errors import Refused
from budan.web.page.codes import draw_code
from budan.web.page.forms import make_nonce, parse_amount, parse_code, read_nonce
from budan.web.page.render import show_amount


@pytest.mark.parametrize(
    ("text", "minor"),
    [
        ("0.01", 1),
        ("1", 100),
        ("1.5", 150),
        ("19.99", 1999),
        (" 19.99 ", 1999),
        ("\uffe519.99", 1999),
        ("¥19.99", 1999),
        ("\uff11\uff12\uff0e\uff15", 1250),
        ("12\u30025", 1250),
        ("0000.10", 10),
        ("123456789012.34", 12_345_678_901_234),
    ],
)
def test_an_amount_is_read_as_people_type_it(text: str, minor: int) -> None:
    assert parse_amount(text, currency="CNY") == minor


@pytest.mark.parametrize(
    "text", ["", ".", ".5", "5.", "1.234", "1,5", "1 5", "-1", "+1", "1e3", "0x1", "¥", "\u0661", "1" * 13, "nan"]
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="amount_malformed"):
        parse_amount(text, currency="CNY")


@pytest.mark.parametrize(
    ("minor", "text"), [(1, "¥0.01"), (100, "¥1.00"), (123_450, "¥1,234.50"), (10_000_000_000, "¥100,000,000.00")]
)
def test_an_amount_is_shown_as_people_read_it(minor: int, text: str) -> None:
    assert show_amount(minor, "CNY") == text


def test_a_scanned_code_is_its_digits() -> None:
    assert parse_code(" 1345 6789\t0123456789\r\n") == "134567890123456789"
    for text in ("", "13a", "\u0661\u0663"):
        with pytest.raises(Refused, match="auth_code_unknown"):
            parse_code(text)


def test_a_forms_mark_is_accepted_and_another_is_not() -> None:
    nonce = make_nonce()
    assert read_nonce({"nonce": nonce}) == nonce
    assert make_nonce() != nonce
    for wrong in ({}, {"nonce": nonce + "0"}, {"nonce": nonce.upper() + "G"}):
        with pytest.raises(Refused, match="form_malformed"):
            read_nonce(wrong)


def test_a_drawn_code_brings_no_style_and_no_script() -> None:
    """The policy of our pages would block both, and the code would be invisible."""
    drawing = draw_code("weixin://wxpay/bizpayurl?pr=abc")
    assert drawing.startswith("<svg ")
    assert "style" not in drawing
    assert "<script" not in drawing
