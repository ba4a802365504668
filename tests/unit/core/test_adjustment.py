"""What a person may book by hand, and that it always balances."""

import pytest

from budan.core.adjustment import (
    ADJUSTED_MINOR_MAX,
    Correction,
    adjustment_entry,
    correct_settled,
    parse_correction,
    parse_receipt,
)
from budan.core.errors import Refused
from budan.core.numbers import AccountId, MerchantId


def lines(correction: Correction) -> dict[str, int]:
    entry = adjustment_entry(7, correction)
    assert entry.key == "adjustment:7"
    return {line.account: line.amount_minor for line in entry.postings}


@pytest.mark.invariant("I10")
@pytest.mark.parametrize(
    ("fee_minor", "booked"),
    [
        (600, {"bank": 99_400, "channel_fee": 600, "channel:3": -100_000}),
        (0, {"bank": 99_400, "channel:3": -99_400}),
        (-40, {"bank": 99_400, "channel_fee": -40, "channel:3": -99_360}),
    ],
)
def test_a_receipt_takes_what_came_and_what_was_kept_from_what_the_channel_owes(
    fee_minor: int, booked: dict[str, int]
) -> None:
    """Only both together bring `channel:<account>` to what is still owed; a day of refunds may give back a fee."""
    receipt = parse_receipt(AccountId(3), received_minor=99_400, fee_minor=fee_minor, currency="CNY")
    assert lines(receipt) == booked
    assert sum(booked.values()) == 0


@pytest.mark.invariant("I10")
@pytest.mark.parametrize(
    ("theirs_minor", "booked"),
    [(80, {"merchant:4": 20, "channel:3": -20}), (130, {"channel:3": 30, "merchant:4": -30}), (100, None)],
)
def test_what_a_channel_settles_otherwise_is_the_merchants(theirs_minor: int, booked: dict[str, int] | None) -> None:
    """A coupon of its own lessens what the merchant is owed by what the channel does not pay, and nothing else."""
    correction = correct_settled(
        merchant_id=MerchantId(4), account_id=AccountId(3), ours_minor=100, theirs_minor=theirs_minor, currency="CNY"
    )
    assert (None if correction is None else lines(correction)) == booked


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"debit": "suspense"}, ("account_untouchable", "debit")),
        ({"credit": "payable:4"}, ("account_untouchable", "credit")),
        ({"credit": "cashback_payable"}, ("account_untouchable", "credit")),
        ({"debit": "merchant:04"}, ("account_untouchable", "debit")),
        ({"debit": "merchant:4\n"}, ("account_untouchable", "debit")),
        ({"debit": "merchant:4444444444"}, ("account_untouchable", "debit")),
        ({"credit": "merchant:4"}, ("same_account", "credit")),
        ({"debit": "bank"}, ("belongs_to_receipt", "debit")),
        ({"credit": "bank"}, ("belongs_to_payout", "credit")),
        ({"currency": "XYZ"}, ("currency_unknown", "currency")),
        ({"amount_minor": 0}, ("amount_not_positive", "amount")),
        ({"amount_minor": ADJUSTED_MINOR_MAX + 1}, ("amount_too_large", "amount")),
    ],
)
def test_what_a_person_may_not_touch_is_refused_by_name(changes: dict[str, object], refusal: tuple[str, str]) -> None:
    """Suspense, batches and cashback are proved by rows of their own: a posting by hand would break those proofs.

    Without the bank's reference a receipt that is typed twice is two; a payout without batch and payee is money gone.
    """
    wish = {"debit": "merchant:4", "credit": "channel:3", "amount_minor": 20, "currency": "CNY"} | changes
    with pytest.raises(Refused) as refused:
        parse_correction(**wish)  # pyright: ignore[reportArgumentType] - what is wrong is the point
    assert (refused.value.code, refused.value.param) == refusal


@pytest.mark.parametrize("fee_minor", [-99_400, ADJUSTED_MINOR_MAX + 1])
def test_a_fee_that_leaves_nothing_owed_is_no_fee(fee_minor: int) -> None:
    """A receipt that would credit the channel with nothing, or with less, is a slip of the keyboard."""
    with pytest.raises(Refused, match="fee_out_of_range"):
        parse_receipt(AccountId(3), received_minor=99_400, fee_minor=fee_minor, currency="CNY")
