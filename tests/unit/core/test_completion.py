from dataclasses import replace
from typing import Any

import pytest

from budan.core.completion import NOTHING, Consequences, consequences, contradiction_entries
from budan.core.decide import Contradiction, Decision, RemedyCause, Transition, decide
from budan.core.evidence import Evidence, Source
from budan.core.order import Order, OrderState
from budan.core.trade import OPEN_STATES, Direction, Trade, TradeState
from builders import a_trade, an_order, not_paid_yet, paid, refused, returned, reversed_empty, silence


def follow(order: Order, trade: Trade, evidence: Evidence, *siblings: Trade) -> Consequences:
    decision = decide(order, trade, evidence)
    assert isinstance(decision, Transition)
    return consequences(order, trade, siblings, decision)


def accounts(followed: Consequences) -> list[tuple[str, str, int]]:
    return [(entry.key, line.account, line.amount_minor) for entry in followed.entries for line in entry.postings]


@pytest.mark.invariant("I3")
def test_a_completion_brings_postings_webhook_and_close_intents_at_once() -> None:
    siblings = [replace(a_trade(), attempt=at, state=state) for at, state in enumerate(TradeState, start=2)]
    followed = follow(an_order(), a_trade(), paid(), *siblings)
    assert followed.event == "order.paid"
    assert accounts(followed) == [
        ("payment:1", "channel:7", 1_000),
        ("payment:1", "merchant:42", -994),
        ("payment:1", "fee_income", -6),
    ]
    assert followed.fee_minor == 6
    assert followed.refund_minor is None
    assert followed.remedy is None
    assert followed.close_attempts == tuple(trade.attempt for trade in siblings if trade.state in OPEN_STATES)


@pytest.mark.invariant("I12")
def test_a_completion_that_was_not_learned_the_normal_way_brings_its_remedy() -> None:
    assert follow(an_order(), a_trade(), paid(source=Source.QUERY)).remedy is RemedyCause.NOTICE_MISSING


@pytest.mark.invariant("I9")
def test_a_second_payment_is_booked_without_fee_and_its_whole_refund_intended() -> None:
    order = an_order(state=OrderState.PAID, paid_attempt=2)
    followed = follow(order, a_trade(), paid(), a_trade(attempt=2, state=TradeState.SUCCEEDED), a_trade(attempt=3))
    assert accounts(followed) == [("payment:1", "channel:7", 1_000), ("payment:1", "refund_payable", -1_000)]
    assert followed.refund_minor == 1_000
    assert followed.fee_minor == 0
    assert followed.event == "order.payment_returning"
    assert followed.remedy is RemedyCause.SECOND_PAYMENT
    assert followed.close_attempts == ()


def test_a_payment_after_we_told_unpaid_goes_back_and_the_merchant_hears_of_it() -> None:
    followed = follow(an_order(state=OrderState.CLOSED, told_unpaid=True), a_trade(), paid())
    assert followed.refund_minor == 1_000
    assert followed.event == "order.payment_returning"
    assert followed.remedy is RemedyCause.LATE_PAYMENT


A_CHARGE = a_trade(direction=Direction.B2C, state=TradeState.USER_PAYING)
CHARGED_BEFORE = a_trade(attempt=2, direction=Direction.B2C, state=TradeState.FAILED)


@pytest.mark.invariant("I1")
@pytest.mark.parametrize(
    ("order", "trade", "word", "siblings", "tells"),
    [
        (an_order(), A_CHARGE, refused(), (), True),
        (an_order(), A_CHARGE, reversed_empty(), (), True),
        (an_order(), a_trade(), refused(), (CHARGED_BEFORE,), True),
        (an_order(), A_CHARGE, refused(), (a_trade(attempt=2),), False),
        (an_order(), A_CHARGE, silence(), (), False),
        (an_order(), a_trade(), refused(), (), False),
        (an_order(), A_CHARGE, paid(), (), False),
        (an_order(state=OrderState.PAID, paid_attempt=3), A_CHARGE, refused(), (), False),
    ],
    ids=[
        "a charge that was refused",
        "a charge that was revoked",
        "a code after a charge that failed",
        "a code is still open",
        "nothing is certain",
        "a code alone",
        "the charge was paid",
        "the order is paid by another",
    ],
)
def test_the_end_of_the_last_trade_tells_a_shop_that_charged_not_paid(
    order: Order, trade: Trade, word: Evidence, siblings: tuple[Trade, ...], *, tells: bool
) -> None:
    """From this commit on any reader may say so: the desk's page and a look by API write nothing themselves."""
    assert follow(order, trade, word, *siblings).tells_unpaid is tells


def test_a_reversed_payment_is_booked_in_and_out_without_fee_or_refund() -> None:
    followed = follow(an_order(told_unpaid=True), a_trade(state=TradeState.REVERSING), returned())
    assert accounts(followed) == [
        ("payment:1", "channel:7", 1_000),
        ("payment:1", "refund_payable", -1_000),
        ("return:1", "refund_payable", 1_000),
        ("return:1", "channel:7", -1_000),
    ]
    assert (followed.refund_minor, followed.fee_minor, followed.remedy) == (None, 0, None)
    assert followed.event == "order.payment_returned"


@pytest.mark.parametrize("evidence", [reversed_empty(), returned()])
def test_an_order_that_a_reverse_ended_has_its_other_trades_closed(evidence: Evidence) -> None:
    """Else a second code of the order would stay payable with nobody to end it."""
    other = a_trade(attempt=2)
    ended = a_trade(attempt=3, state=TradeState.CLOSED)
    followed = follow(an_order(), a_trade(state=TradeState.REVERSING), evidence, other, ended)
    assert followed.close_attempts == (2,)


def test_a_reverse_of_a_paid_orders_other_trade_closes_nothing_again() -> None:
    order = an_order(state=OrderState.PAID, paid_attempt=2)
    followed = follow(order, a_trade(state=TradeState.REVERSING), reversed_empty(), a_trade(attempt=3))
    assert followed == NOTHING


@pytest.mark.parametrize("evidence", [refused(), not_paid_yet()])
def test_a_trade_that_only_moved_has_no_consequences(evidence: Evidence) -> None:
    assert follow(an_order(), a_trade(state=TradeState.CREATED), evidence, a_trade(attempt=2)) == NOTHING


def entries_of(trade: Trade, evidence: Evidence) -> list[tuple[str, int, str]]:
    decision: Decision = decide(an_order(), trade, evidence)
    assert isinstance(decision, Contradiction)
    entries = contradiction_entries(trade, evidence, decision)
    return [(line.account, line.amount_minor, line.currency) for entry in entries for line in entry.postings]


@pytest.mark.invariant("I4")
def test_money_that_does_not_fit_goes_to_suspense() -> None:
    assert entries_of(a_trade(), paid(order_minor=999)) == [("channel:7", 999, "CNY"), ("suspense", -999, "CNY")]


@pytest.mark.invariant("I4")
def test_a_denied_payment_a_foreign_currency_and_no_amount_book_nothing() -> None:
    assert entries_of(a_trade(state=TradeState.SUCCEEDED), refused()) == []
    assert entries_of(a_trade(), paid(currency="USD")) == []
    assert entries_of(a_trade(), paid(order_minor=0)) == []


@pytest.mark.invariant("I8")
def test_payments_without_a_number_of_the_channels_are_told_apart_by_all_that_was_said_of_them() -> None:
    """By the amount alone a second payment of one amount would vanish; by the marks one payment would be booked twice."""

    def key(**changes: Any) -> str:
        said = paid(**({"order_minor": 999, "channel_reference": None} | changes))
        decision = decide(an_order(), a_trade(), said)
        assert isinstance(decision, Contradiction)
        (entry,) = contradiction_entries(a_trade(), said, decision)
        return entry.key

    assert key() == key(source=Source.QUERY) == key(refunded_hint=True, refunded_in_full=True)
    different = [
        {},
        {"payer_minor": 900},
        {"order_minor": 998},
        {"wallet_reference": "w1"},
        {"channel_reference": "c1"},
    ]
    assert len({key(**changes) for changes in different}) == len(different)
