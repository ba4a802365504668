"""A transfer to a mistyped account is money gone, so what can be checked of a payee is checked before anybody proposes it."""

import pytest

from budan.core.errors import Refused
from budan.core.payee import Payee, check_payee

# Head offices, as the CNAPS directory has them.
BANK_CODES = ("102100099996", "103100000026", "105100000017", "301290000007", "308584000013", "403100000004")
CARD = "6222021234567890128"


def a_payee(**changes: str | bool | None) -> Payee:
    given = {
        "holder": "上海甲贸易有限公司",
        "bank_name": "中国工商银行",
        "bank_code": None,
        "is_card": False,
        "number": "1001 2345 6789",
    }
    return check_payee(**(given | changes))  # pyright: ignore[reportArgumentType] - a table of fields


def test_a_payee_is_kept_as_a_bank_reads_it() -> None:
    """A space that was typed between digits would have the transfer come back."""
    payee = a_payee(holder="  甲  公司 ", bank_code="1021 0009 9996")
    assert (payee.holder, payee.bank_code) == ("甲 公司", "102100099996")
    assert (payee.number, payee.number_end) == ("100123456789", "6789")
    assert payee.number not in repr(payee)


@pytest.mark.parametrize("code", BANK_CODES)
def test_the_code_of_a_bank_carries_its_check_digit(code: str) -> None:
    """One wrong digit sends the money to another bank; where no name is told, nothing else would show it."""
    assert a_payee(bank_name=None, bank_code=code).bank_code == code
    wrong = code[:-2] + str((int(code[-2]) + 1) % 10) + code[-1]
    with pytest.raises(Refused, match="payee_bank_code_malformed"):
        a_payee(bank_code=wrong)


def test_only_a_cards_number_has_a_digit_that_checks_it() -> None:
    """Company accounts follow no common rule: one judged by Luhn would be refused though it is right."""
    assert a_payee(is_card=True, number=CARD).is_card
    mistyped = CARD[:-1] + "3"
    assert a_payee(number=mistyped).number == mistyped
    with pytest.raises(Refused, match="payee_number_malformed"):
        a_payee(is_card=True, number=mistyped)


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        ({"holder": " "}, "payee_holder_malformed", "holder"),
        ({"holder": "x" * 121}, "payee_holder_malformed", "holder"),
        ({"holder": "a\u202eb"}, "payee_holder_malformed", "holder"),
        ({"bank_name": None}, "payee_bank_missing", "bank"),
        ({"bank_name": ""}, "payee_bank_malformed", "bank"),
        ({"bank_code": "10210009999"}, "payee_bank_code_malformed", "bank_code"),
        ({"bank_code": "\uff11" * 12}, "payee_bank_code_malformed", "bank_code"),
        ({"number": "12345"}, "payee_number_malformed", "number"),
        ({"number": "1" * 33}, "payee_number_malformed", "number"),
        ({"number": "1234-5678"}, "payee_number_malformed", "number"),
        ({"number": "\uff11" * 7}, "payee_number_malformed", "number"),
        ({"number": "0" * 15, "is_card": True}, "payee_number_malformed", "number"),
    ],
)
def test_what_is_malformed_is_named_and_a_number_is_not_told(changes: dict[str, str], code: str, param: str) -> None:
    """A refusal is printed and logged where the number must not be."""
    with pytest.raises(Refused) as refused:
        a_payee(**changes)
    assert (refused.value.code, refused.value.param) == (code, param)
    assert changes.get("number", "-") not in refused.value.detail


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\uff1d", "'"])
def test_a_name_in_a_file_for_the_bank_begins_like_a_name(start: str) -> None:
    """What begins like a formula is quoted there, and the bank would look for an account of another name."""
    assert a_payee(holder="\uff08集团\uff09公司").holder == "\uff08集团\uff09公司"
    with pytest.raises(Refused, match="payee_holder_malformed"):
        a_payee(holder=f"{start}甲公司")
    with pytest.raises(Refused, match="payee_bank_malformed"):
        a_payee(bank_name=f"{start}银行")
