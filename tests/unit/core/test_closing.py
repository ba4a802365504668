from datetime import timedelta

import pytest

from budan.core.closing import begin_close, begin_reverse, end_close, expire
from budan.core.decide import EXPIRY_SKEW, unpayable_after
from budan.core.errors import Refused
from budan.core.order import Order, OrderState
from budan.core.trade import Direction, Trade, TradeState
from builders import CREATED_AT, EXPIRES_AT, SEND_UNTIL, a_trade, an_order

pytestmark = pytest.mark.invariant("I7")

OVER_AT = EXPIRES_AT + EXPIRY_SKEW
AFTER = OVER_AT + timedelta(seconds=1)


@pytest.mark.parametrize("state", [OrderState.CREATED, OrderState.PAYING, OrderState.CLOSING])
def test_an_order_that_waits_begins_to_close_and_tells_nobody_yet(state: OrderState) -> None:
    assert begin_close(an_order(state=state)) == an_order(state=OrderState.CLOSING)


REFUSALS = [
    (an_order(state=OrderState.PAID, paid_attempt=1, hold_reason="inquiry"), "order_already_paid"),
    (an_order(state=OrderState.EXPIRED), "order_already_ended"),
    (an_order(state=OrderState.CLOSED, hold_reason="inquiry"), "order_already_ended"),
    (an_order(state=OrderState.CLOSING, hold_reason="inquiry"), "order_on_hold"),
]


@pytest.mark.parametrize(("order", "code"), REFUSALS)
def test_an_order_that_is_paid_ended_or_held_does_not_close(order: Order, code: str) -> None:
    with pytest.raises(Refused, match=rf"^{code}$"):
        begin_close(order)
    for end in (end_close, expire):
        with pytest.raises(Refused, match=rf"^{code}$"):
            end(order, [], unpaid_asked_at={})


@pytest.mark.parametrize("state", [OrderState.CREATED, OrderState.PAYING])
def test_an_order_ends_only_by_way_of_closing(state: OrderState) -> None:
    for end in (end_close, expire):
        with pytest.raises(Refused, match=r"^order_not_closing$"):
            end(an_order(state=state), [], unpaid_asked_at={})


@pytest.mark.parametrize("state", sorted(TradeState, key=str))
@pytest.mark.parametrize("direction", sorted(Direction, key=str))
@pytest.mark.parametrize("asked_at", [None, CREATED_AT, OVER_AT, AFTER])
def test_an_order_ends_when_no_trade_of_it_can_be_paid(
    state: TradeState, direction: Direction, asked_at: object
) -> None:
    trade = a_trade(state=state, direction=direction)
    asked = {} if asked_at is None else {1: asked_at}
    over = state is not TradeState.REVERSING and direction is Direction.C2B and asked_at is AFTER
    closing = an_order(state=OrderState.CLOSING)
    if not trade.is_open or over:
        assert end_close(closing, [trade], unpaid_asked_at=asked) == an_order(state=OrderState.CLOSED, told_unpaid=True)
        assert expire(closing, [trade], unpaid_asked_at=asked) == an_order(state=OrderState.EXPIRED)
    else:
        for end in (end_close, expire):
            with pytest.raises(Refused, match=r"^trade_still_open$"):
                end(closing, [trade], unpaid_asked_at=asked)


def test_one_open_trade_among_ended_ones_keeps_the_order_open() -> None:
    trades = [a_trade(state=TradeState.CLOSED), a_trade(attempt=2, state=TradeState.UNKNOWN)]
    with pytest.raises(Refused, match=r"^trade_still_open$"):
        expire(an_order(state=OrderState.CLOSING), trades, unpaid_asked_at={1: AFTER})


def test_nobody_can_pay_after_the_later_of_send_window_and_expiry_plus_skew() -> None:
    late_window = a_trade(send_until=EXPIRES_AT + timedelta(hours=1))
    assert unpayable_after(a_trade()) == OVER_AT
    assert unpayable_after(late_window) == late_window.send_until + EXPIRY_SKEW
    assert unpayable_after(a_trade(expires_at=None)) is None
    assert unpayable_after(a_trade(direction=Direction.B2C, expires_at=SEND_UNTIL)) is None


@pytest.mark.parametrize(
    "state", [TradeState.CREATED, TradeState.SUBMITTED, TradeState.USER_PAYING, TradeState.UNKNOWN]
)
@pytest.mark.parametrize("order_state", [state for state in OrderState if state is not OrderState.PAID])
def test_from_the_reverses_intent_on_the_order_counts_as_told_unpaid(
    state: TradeState, order_state: OrderState
) -> None:
    order, trade = begin_reverse(an_order(state=order_state), a_trade(state=state, not_found_count=1))
    assert order == an_order(state=order_state, told_unpaid=True)
    assert trade == a_trade(state=TradeState.REVERSING, not_found_count=0)
    assert begin_reverse(order, trade) == (order, trade)


def test_reversing_another_trade_of_a_paid_order_tells_nobody_unpaid() -> None:
    paid_order = an_order(state=OrderState.PAID, paid_attempt=2)
    order, trade = begin_reverse(paid_order, a_trade())
    assert order == paid_order
    assert trade.state is TradeState.REVERSING


@pytest.mark.parametrize(
    ("trade", "code"),
    [
        (a_trade(state=TradeState.SUCCEEDED, paid_seen=True), "trade_already_paid"),
        (a_trade(state=TradeState.FAILED), "trade_already_ended"),
        (a_trade(state=TradeState.CLOSED), "trade_already_ended"),
        (a_trade(state=TradeState.REVERSED), "trade_already_ended"),
    ],
)
def test_a_trade_that_ended_is_not_reversed(trade: Trade, code: str) -> None:
    with pytest.raises(Refused, match=rf"^{code}$"):
        begin_reverse(an_order(), trade)
