"""What a sweep takes for known: never an answer with which the door would do anything."""

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from budan.core.decide import Contradiction, Effect, Unchanged, decide
from budan.core.evidence import Outcome, Source
from budan.core.fees import FeeTerms
from budan.core.numbers import AccountId, Lane, MerchantId, OrderId
from budan.core.order import Order, OrderState
from budan.core.trade import Trade, TradeState
from budan.flows.stamp import stamp
from budan.flows.suspicion import says_nothing_new
from budan.ports.channel import Method, PayResult, direction_of
from budan.store.suspects import SuspectRow

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
ACCOUNT, MERCHANT = AccountId(7), MerchantId(9)
UNPAID = tuple(state for state in OrderState if state is not OrderState.PAID)
FLAGS = ("user_paying", "reversed_here", "money_returned", "not_found")


def _row(order: OrderState, trade: TradeState, method: Method, **changes: Any) -> SuspectRow:
    known: dict[str, Any] = {
        "lane": Lane(3),
        "order_id": OrderId(1 << 40),
        "attempt": 2,
        "merchant_id": MERCHANT,
        "order_state": order.value,
        "account_id": ACCOUNT,
        "method": method.value,
        "state": trade.value,
        "created_at": NOW - timedelta(hours=1),
        "send_until": NOW - timedelta(hours=1),
        "expires_at": None if method is Method.CODE else NOW - timedelta(minutes=30),
        "paid_seen": trade is TradeState.SUCCEEDED,
        "not_found_count": 0,
        "channel_reference": None,
        "now": NOW,
    }
    return SuspectRow(**(known | changes))


def _door_does_nothing(row: SuspectRow, result: PayResult) -> bool:
    """What `decide` says of the order and the trade with all that a sweep does not read."""
    method = Method(row.method)
    trade = Trade(
        attempt=row.attempt,
        direction=direction_of(method),
        state=TradeState(row.state),
        account_id=row.account_id,
        amount_minor=1_280,
        currency="CNY",
        fee_terms=FeeTerms(rate_bp=60),
        send_until=row.send_until,
        expires_at=row.expires_at,
        paid_seen=row.paid_seen,
        not_found_count=row.not_found_count,
    )
    order = Order(
        merchant_id=row.merchant_id,
        state=OrderState(row.order_state),
        amount_minor=1_280,
        currency="CNY",
        told_unpaid=True,
        hold_reason="by_operator",
    )
    evidence = stamp(result, account_id=ACCOUNT, source=Source.QUERY, learned_at=NOW, asked_at=row.now)
    match decide(order, trade, evidence):
        case Unchanged():
            return True
        case Contradiction():
            return False
        case moved:
            return (moved.order_state, moved.trade, moved.effect) == (order.state, trade, Effect.NOTHING)


@pytest.mark.invariant("I2", "I6")
def test_what_is_taken_for_known_is_what_the_door_would_do_nothing_with() -> None:
    """The memory of decisions must not tell another story than the decision, whatever stands in the columns left out."""
    known = told = 0
    moments = (NOW - timedelta(minutes=30), NOW + timedelta(minutes=30))
    for order, trade, method, outcome, expires_at, count in product(
        UNPAID, TradeState, (Method.NATIVE, Method.CODE), Outcome, moments, (0, 1)
    ):
        expiry = None if method is Method.CODE else expires_at
        for flags in product((False, True), repeat=len(FLAGS)):
            said = dict(zip(FLAGS, flags, strict=True))
            if (said["money_returned"] and not said["reversed_here"]) or (
                said["not_found"] and outcome is not Outcome.UNPAID_OPEN
            ):
                continue  # No adapter says so, and evidence cannot.
            row = _row(order, trade, method, expires_at=expiry, not_found_count=count)
            amount = 1_280 if outcome is Outcome.PAID else None
            result = PayResult(outcome=outcome, trade_no="D1", order_minor=amount, currency="CNY", **said)
            is_known = says_nothing_new(row, result)
            if outcome is Outcome.PAID:
                assert not is_known
            else:
                assert is_known == _door_does_nothing(row, result), (row, result)
            known, told = known + is_known, told + (not is_known)
    assert known > 100
    assert told > 100


def test_an_ended_trade_that_is_said_to_have_ended_is_known() -> None:
    """Most suspects are orders that expired: their answer is "closed", and it must cost no locked row."""
    closed = PayResult(outcome=Outcome.UNPAID_FINAL, trade_no="D1")
    assert says_nothing_new(_row(OrderState.EXPIRED, TradeState.CLOSED, Method.NATIVE), closed)
    assert not says_nothing_new(_row(OrderState.CLOSING, TradeState.SUBMITTED, Method.NATIVE), closed)


def test_a_payment_is_always_for_the_door_to_judge() -> None:
    paid = PayResult(outcome=Outcome.PAID, trade_no="D1", order_minor=1, currency="CNY")
    for order, trade in product(UNPAID, TradeState):
        assert not says_nothing_new(_row(order, trade, Method.NATIVE), paid)
