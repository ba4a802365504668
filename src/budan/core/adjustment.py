"""Adjustments: what two persons book where nothing else can, between accounts that a person may touch (I10)."""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from budan.core.errors import Refused
from budan.core.ledger import (
    BANK,
    CHANNEL_FEE,
    FEE_INCOME,
    Entry,
    Posting,
    channel_account,
    merchant_account,
)
from budan.core.money import AMOUNT_MINOR_MAX, CURRENCY_EXPONENTS
from budan.core.numbers import AccountId, MerchantId

# What a channel pays into our bank in a day is of many trades.
ADJUSTED_MINOR_MAX: Final = 1_000 * AMOUNT_MINOR_MAX
TOUCHED: Final = ("merchant:<number>", "channel:<number>", FEE_INCOME, CHANNEL_FEE, BANK)

# Suspense and cashback have ways of their own, and what is payable to a merchant belongs to its batches.
_IS_TOUCHED = re.compile(
    rf"(?:merchant|channel):[1-9][0-9]{{0,8}}|{FEE_INCOME}|{CHANNEL_FEE}|{BANK}", re.ASCII
).fullmatch


class AdjustmentState(Enum):
    """Where an adjustment is; only what is approved is booked, and nothing leaves an end."""

    PROPOSED = "proposed"  # waits for a second person
    APPROVED = "approved"
    REJECTED = "rejected"  # by another person
    WITHDRAWN = "withdrawn"  # by whoever proposed it


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What an adjustment books: `debit` gets the amount, `channel_fee` the fee, and `credit` gives both.

    Whatever stands here sums to zero. The fee is of receipts only; it is negative where a channel gave back more than it
    took.
    """

    debit: str
    credit: str
    amount_minor: int
    fee_minor: int
    currency: str

    def __post_init__(self) -> None:
        assert self.debit != self.credit
        assert self.amount_minor > 0
        assert self.amount_minor + self.fee_minor > 0
        assert self.fee_minor == 0 or self.debit == BANK

    @property
    def merchants(self) -> frozenset[MerchantId]:
        """Whose accounts it moves."""
        return frozenset(MerchantId(number) for number in self._numbers("merchant:"))

    @property
    def accounts(self) -> frozenset[AccountId]:
        """Which channel accounts it moves."""
        return frozenset(AccountId(number) for number in self._numbers("channel:"))

    def _numbers(self, kind: str) -> list[int]:
        return [int(one.removeprefix(kind)) for one in (self.debit, self.credit) if one.startswith(kind)]


def parse_correction(*, debit: str, credit: str, amount_minor: int, currency: str) -> Correction:
    """A correction between two accounts, as a person gives it.

    Raises `Refused` with `account_untouchable`, `same_account`, `belongs_to_receipt`, `belongs_to_payout`,
    `currency_unknown`, `amount_not_positive` or `amount_too_large`, in this order.
    """
    for param, account in (("debit", debit), ("credit", credit)):
        if not _IS_TOUCHED(account):
            raise Refused("account_untouchable", param=param, detail=f"one of {', '.join(TOUCHED)}")
    if debit == credit:
        raise Refused("same_account", param="credit", detail="money moves from one account to another")
    if debit == BANK and credit.startswith("channel:"):
        detail = "budan ledger adjust receipt: the bank's reference tells a repeat from a second one"
        raise Refused("belongs_to_receipt", param="debit", detail=detail)
    if credit == BANK and debit.startswith("merchant:"):
        detail = "budan ledger payout: a merchant is paid by a batch, to its payee, under the bank's reference"
        raise Refused("belongs_to_payout", param="credit", detail=detail)
    _refuse_amount(amount_minor, currency=currency, param="amount")
    return Correction(debit=debit, credit=credit, amount_minor=amount_minor, fee_minor=0, currency=currency)


def parse_receipt(account_id: AccountId, *, received_minor: int, fee_minor: int, currency: str) -> Correction:
    """What a channel paid into our bank for an account, and what it kept of that.

    Raises `Refused` with `currency_unknown`, `amount_not_positive`, `amount_too_large` or `fee_out_of_range`, in this
    order.
    """
    _refuse_amount(received_minor, currency=currency, param="received")
    if not -received_minor < fee_minor <= ADJUSTED_MINOR_MAX:
        detail = f"more than what came is not given back, and {ADJUSTED_MINOR_MAX} is the most"
        raise Refused("fee_out_of_range", param="fee", detail=detail)
    return Correction(
        debit=BANK,
        credit=channel_account(account_id),
        amount_minor=received_minor,
        fee_minor=fee_minor,
        currency=currency,
    )


def correct_settled(
    *, merchant_id: MerchantId, account_id: AccountId, ours_minor: int, theirs_minor: int, currency: str
) -> Correction | None:
    """A merchant was credited by `ours_minor` of what the channel settles as `theirs_minor`; None where that is alike.

    A coupon that the merchant pays for is its own: it owes the difference. Where more is settled it gets that.
    """
    merchant, channel = merchant_account(merchant_id), channel_account(account_id)
    debit, credit = (merchant, channel) if ours_minor > theirs_minor else (channel, merchant)
    if ours_minor == theirs_minor:
        return None
    return Correction(
        debit=debit,
        credit=credit,
        amount_minor=abs(ours_minor - theirs_minor),
        fee_minor=0,
        currency=currency,
    )


def adjustment_key(number: int) -> str:
    """The key of an adjustment's entry: one for each, so that none is booked twice."""
    return f"adjustment:{number}"


def adjustment_entry(number: int, correction: Correction) -> Entry:
    """What an approved adjustment books."""
    sides = (
        (correction.debit, correction.amount_minor),
        (CHANNEL_FEE, correction.fee_minor),
        (correction.credit, -correction.amount_minor - correction.fee_minor),
    )
    return Entry(
        key=adjustment_key(number),
        postings=tuple(
            Posting(account=account, amount_minor=amount_minor, currency=correction.currency)
            for account, amount_minor in sides
            if amount_minor
        ),
    )


def _refuse_amount(amount_minor: int, *, currency: str, param: str) -> None:
    if currency not in CURRENCY_EXPONENTS:
        raise Refused("currency_unknown", param="currency")
    if amount_minor <= 0:
        raise Refused("amount_not_positive", param=param)
    if amount_minor > ADJUSTED_MINOR_MAX:
        raise Refused("amount_too_large", param=param, detail=f"at most {ADJUSTED_MINOR_MAX}")
