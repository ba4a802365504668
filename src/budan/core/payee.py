"""Whom a merchant's payouts go to: an account at a bank, as a transfer names it."""

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from budan.core.errors import Refused

NAME_CHARACTERS_MAX: Final = 120
_NUMBER: Final = re.compile(r"[0-9]{6,32}")
# UnionPay's, as ISO/IEC 7812-1 has them.
_CARD: Final = re.compile(r"[0-9]{16,19}")
_BANK_CODE: Final = re.compile(r"[0-9]{12}")
_BRACKETS: Final = "(\uff08\u300a"
_SHOWN_DIGITS: Final = 4


class PayeeStanding(Enum):
    """What a payee of a merchant is worth now."""

    PROPOSED = "proposed"  # another person may confirm it
    LAPSED = "lapsed"  # nobody confirmed it in time, or another was proposed since
    IN_FORCE = "in_force"  # the next payout file names it
    REPLACED = "replaced"  # it was in force until another was confirmed


@dataclass(frozen=True, slots=True, kw_only=True)
class Payee:
    """An account at a bank that `check_payee` has found well formed; `is_card` where its number is a bank card's."""

    holder: str
    bank_name: str | None
    bank_code: str | None
    is_card: bool
    number: str = field(repr=False)

    @property
    def number_end(self) -> str:
        """What people see of the number."""
        return self.number[-_SHOWN_DIGITS:]


def check_payee(*, holder: str, bank_name: str | None, bank_code: str | None, is_card: bool, number: str) -> Payee:
    """A payee as it is kept: spaces between the digits of a number go, other ones are one each.

    A bank's name, its code, or both are told. Raises `Refused` with `payee_holder_malformed`, `payee_bank_missing`,
    `payee_bank_malformed`, `payee_bank_code_malformed` or `payee_number_malformed`, in this order; none tells the number.
    """
    kept_holder = _check_text(holder, code="payee_holder_malformed", param="holder")
    if bank_name is None and bank_code is None:
        raise Refused("payee_bank_missing", param="bank", detail="the bank's name, its code, or both")
    kept_bank = None if bank_name is None else _check_text(bank_name, code="payee_bank_malformed", param="bank")
    kept_code = None if bank_code is None else "".join(bank_code.split())
    if kept_code is not None and not (_BANK_CODE.fullmatch(kept_code) and _has_hybrid_check_digit(kept_code)):
        raise Refused(
            "payee_bank_code_malformed", param="bank_code", detail="12 digits, the last one their check digit"
        )
    kept_number = check_number(number, is_card=is_card)
    return Payee(holder=kept_holder, bank_name=kept_bank, bank_code=kept_code, is_card=is_card, number=kept_number)


def check_number(number: str, *, is_card: bool) -> str:
    """An account's number as it is kept; raises `Refused` with `payee_number_malformed`.

    Only a card's has a check digit that all banks have in common (ISO/IEC 7812-1, Luhn); accounts of companies have none.
    """
    kept = "".join(number.split())
    if is_card and not (_CARD.fullmatch(kept) and _has_luhn_check_digit(kept)):
        raise Refused(
            "payee_number_malformed", param="number", detail="a card's: 16 to 19 digits with their check digit"
        )
    if not _NUMBER.fullmatch(kept):
        raise Refused("payee_number_malformed", param="number", detail="6 to 32 digits, which spaces may part")
    return kept


def _check_text(text: str, *, code: str, param: str) -> str:
    kept = " ".join(text.split())
    if not 1 <= len(kept) <= NAME_CHARACTERS_MAX or not kept.isprintable():
        raise Refused(code, param=param, detail=f"1 to {NAME_CHARACTERS_MAX} printable characters")
    if not (kept[0].isalnum() or kept[0] in _BRACKETS):
        # A file for the bank would have a quote before what begins like a formula, and the bank another name.
        raise Refused(code, param=param, detail="begins with a letter, a digit or a bracket")
    return kept


def _has_luhn_check_digit(digits: str) -> bool:
    doubled = (divmod(2 * int(digit), 10) for digit in digits[-2::-2])
    return (sum(map(sum, doubled)) + sum(map(int, digits[::-2]))) % 10 == 0


def _has_hybrid_check_digit(digits: str) -> bool:
    """MOD 11,10 of ISO/IEC 7064 (GB/T 17710), which the codes of the CNAPS directory satisfy."""
    product = 10
    for digit in digits[:-1]:
        product = ((product + int(digit)) % 10 or 10) * 2 % 11
    return (product + int(digits[-1])) % 10 == 1
