from collections import Counter

import pytest

from budan.core.ledger import (
    Entry,
    Posting,
    is_suspense,
    payment_entry,
    resolved_key,
    returned_entry,
    suspense_credited_entry,
    suspense_entry,
    suspense_returned_entry,
    unwanted_payment_entry,
)
from budan.core.money import Money
from builders import ACCOUNT, MERCHANT

pytestmark = pytest.mark.invariant("I10")


def cny(amount_minor: int) -> Money:
    return Money(amount_minor=amount_minor, currency="CNY")


def lines(entry: Entry) -> dict[str, int]:
    return {posting.account: posting.amount_minor for posting in entry.postings}


def a_payment(*, paid: int, fee: int) -> Entry:
    return payment_entry(attempt=1, account_id=ACCOUNT, merchant_id=MERCHANT, paid=cny(paid), fee=cny(fee))


@pytest.mark.parametrize(
    ("paid", "fee", "expected"),
    [
        (1_000, 6, {"channel:7": 1_000, "merchant:42": -994, "fee_income": -6}),
        (1, 0, {"channel:7": 1, "merchant:42": -1}),
        (5, 5, {"channel:7": 5, "fee_income": -5}),
    ],
)
def test_a_payment_is_owed_to_the_merchant_less_our_fee(paid: int, fee: int, expected: dict[str, int]) -> None:
    entry = a_payment(paid=paid, fee=fee)
    assert entry.key == "payment:1"
    assert lines(entry) == expected


def test_an_unwanted_payment_and_its_return_cancel_each_other() -> None:
    came = unwanted_payment_entry(attempt=2, account_id=ACCOUNT, paid=cny(1_000))
    went = returned_entry(attempt=2, account_id=ACCOUNT, paid=cny(1_000))
    assert lines(came) == {"channel:7": 1_000, "refund_payable": -1_000}
    assert not +(Counter(lines(came)) + Counter(lines(went)))
    assert came.key != went.key


def test_a_trade_is_booked_once_whichever_way_its_payment_went() -> None:
    """Both bookings of one payment share their key, so the second hits the unique constraint."""
    unwanted = unwanted_payment_entry(attempt=1, account_id=ACCOUNT, paid=cny(1_000))
    assert unwanted.key == a_payment(paid=1_000, fee=6).key


def test_suspense_has_one_entry_for_each_payment_that_the_channel_names() -> None:
    def key(*, payment: str, came: int = 999) -> str:
        entry = suspense_entry(attempt=1, account_id=ACCOUNT, came=cny(came), payment=payment)
        assert lines(entry) == {"channel:7": came, "suspense": -came}
        return entry.key

    assert key(payment="42") == key(payment="42")
    assert key(payment="42") != key(payment="43")


def in_suspense() -> Entry:
    return suspense_entry(attempt=1, account_id=ACCOUNT, came=cny(999), payment="42")


@pytest.mark.invariant("I10")
def test_money_in_suspense_goes_back_the_way_it_came_or_to_the_merchant() -> None:
    assert lines(suspense_returned_entry(in_suspense())) == {"channel:7": -999, "suspense": 999}
    credited = suspense_credited_entry(in_suspense(), merchant_id=MERCHANT)
    assert lines(credited) == {"merchant:42": -999, "suspense": 999}


@pytest.mark.invariant("I10")
def test_money_in_suspense_is_resolved_once_whichever_way() -> None:
    one, other = suspense_returned_entry(in_suspense()), suspense_credited_entry(in_suspense(), merchant_id=MERCHANT)
    assert one.key == other.key == resolved_key(in_suspense().key)
    assert is_suspense(in_suspense().key)
    assert not is_suspense(one.key)


def test_an_entry_that_does_not_sum_to_zero_cannot_be_built() -> None:
    one_sided = Posting(account="suspense", amount_minor=5, currency="CNY")
    with pytest.raises(AssertionError):
        Entry(key="k", postings=(one_sided,))


def test_currencies_do_not_balance_each_other() -> None:
    came = Posting(account="suspense", amount_minor=5, currency="CNY")
    went = Posting(account="suspense", amount_minor=-5, currency="USD")
    with pytest.raises(AssertionError):
        Entry(key="k", postings=(came, went))


def test_a_line_without_an_amount_cannot_be_built() -> None:
    with pytest.raises(AssertionError):
        Entry(key="k", postings=(Posting(account="suspense", amount_minor=0, currency="CNY"),))
