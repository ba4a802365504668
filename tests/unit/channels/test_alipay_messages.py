import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budan.channels.alipay import messages
from budan.channels.alipay.yuan import parse_yuan, render_yuan
from budan.ports.channel import Method
from budan.wire.errors import BadAnswer
from unit.channels.builders import NOW, an_intent, vectors

NAME = "T20260101000003"


@given(st.integers(min_value=0, max_value=10**12))
def test_every_amount_of_fen_comes_back_from_its_yuan_text(fen: int) -> None:
    text = render_yuan(fen)
    assert parse_yuan(text) == fen
    assert text[-3] == "."


@pytest.mark.parametrize(("text", "fen"), [("19.99", 1999), ("0.01", 1), ("12.8", 1280), ("12", 1200), ("0.00", 0)])
def test_a_yuan_text_is_read_exactly(text: str, fen: int) -> None:
    """int(19.99 * 100) is 1998: no float comes near an amount."""
    assert parse_yuan(text) == fen


@given(st.text(max_size=12))
def test_what_is_no_amount_is_refused(text: str) -> None:
    try:
        fen = parse_yuan(text)
    except BadAnswer:
        return
    assert text.isascii()
    assert parse_yuan(render_yuan(fen)) == fen


@pytest.mark.parametrize(
    "text", ["", ".", "1.", ".1", "1.234", "+1.00", "1_0.00", "0x1", "1\n", "NaN", "\uff11.00", "9" * 14]
)
def test_near_amounts_are_refused(text: str) -> None:
    with pytest.raises(BadAnswer):
        parse_yuan(text)


def test_a_precreate_is_rendered_as_the_vector_has_it() -> None:
    """But for the expiry, which the vector gives as a duration and we as a moment."""
    expected = json.loads(vectors()["alipay"]["request_precreate"]["params"]["biz_content"])
    expected.pop("timeout_express")
    expires_at = datetime(2026, 1, 1, 0, 10, tzinfo=UTC)
    rendered = json.loads(messages.render_precreate(an_intent(trade_no=NAME, expires_at=expires_at), product_code=None))
    assert rendered.pop("time_expire") == "2026-01-01 08:10:00"
    assert rendered == expected


def test_a_charge_is_rendered_as_the_vector_has_it() -> None:
    params = vectors()["alipay"]["request_pay_barcode"]["params"]
    expected = json.loads(params["biz_content"])
    expected.pop("timeout_express")
    intent = an_intent(method=Method.CODE, trade_no=expected["out_trade_no"])
    assert json.loads(messages.render_pay(intent, auth_code="281234567890123456")) == expected
    assert messages.render_moment(NOW) == params["timestamp"]


def test_equal_intents_give_equal_texts() -> None:
    """A repeat must be equal in all but its signature (I11)."""
    intent = an_intent(store_id="7", device_id="POS7")
    texts = {messages.render_precreate(intent, product_code="QR_CODE_OFFLINE") for _ in range(3)}
    assert len(texts) == 1
    assert json.loads(texts.pop())["terminal_id"] == "POS7"


def test_a_subject_loses_the_marks_that_alipay_refuses() -> None:
    assert messages.render_subject("A/B=C&D") == "A／B＝C＆D"  # noqa: RUF001 - the wide forms are meant
    assert len(messages.render_subject("拿" * 300)) == 256


def test_moments_are_beijing_there_and_utc_here() -> None:
    assert messages.find_moment("2026-01-01 08:00:03") == datetime(2026, 1, 1, 0, 0, 3, tzinfo=UTC)
    assert messages.find_moment("2026-01-01 08:00:03.120") == datetime(2026, 1, 1, 0, 0, 3, tzinfo=UTC)
    for text in (None, "", "2026-13-01 00:00:00", "2026-01-01T08:00:03", "0001-01-01 00:00:00"):
        assert messages.find_moment(text) is None
