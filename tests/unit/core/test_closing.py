from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest

from budan.core import closing
from budan.core.closing import CHARGE_PATIENCE, Circumstances, Ending, Look, begin_close, begin_reverse, end_close, look
from budan.core.decide import EXPIRY_SKEW, unpayable_after
from budan.core.errors import Refused
from budan.core.order import Order, OrderState
from budan.core.trade import Direction, Trade, TradeState
from builders import CREATED_AT, EXPIRES_AT, SEND_UNTIL, a_trade, an_order

pytestmark = pytest.mark.invariant("I7")

expire = partial(closing.expire, returns_late=False)

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
    closes = an_order(state=OrderState.CLOSING)
    if not trade.is_open or over:
        assert end_close(closes, [trade], unpaid_asked_at=asked) == an_order(state=OrderState.CLOSED, told_unpaid=True)
        # A shop that charged was told; nobody was of a code that expired.
        told = direction is Direction.B2C
        expired = an_order(state=OrderState.EXPIRED, told_unpaid=told)
        assert expire(closes, [trade], unpaid_asked_at=asked) == expired
    else:
        for end in (end_close, expire):
            with pytest.raises(Refused, match=r"^trade_still_open$"):
                end(closes, [trade], unpaid_asked_at=asked)


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


def test_a_merchant_that_returns_what_comes_late_takes_its_expiry_for_not_paid() -> None:
    order = closing.expire(an_order(state=OrderState.CLOSING), [], unpaid_asked_at={}, returns_late=True)
    assert order == an_order(state=OrderState.EXPIRED, told_unpaid=True)


def test_a_code_that_expires_after_a_failed_charge_leaves_the_shop_told_unpaid() -> None:
    """The new code took the word back while it could be paid; without it a late success of the charge would complete."""
    trades = [a_trade(direction=Direction.B2C, state=TradeState.FAILED), a_trade(attempt=2)]
    expired = expire(an_order(state=OrderState.CLOSING), trades, unpaid_asked_at={2: AFTER})
    assert expired == an_order(state=OrderState.EXPIRED, told_unpaid=True)


NOW = CREATED_AT + timedelta(minutes=1)


def seen(**changes: Any) -> Circumstances:
    """A look a minute after the order was made, by nobody's wish."""
    parts = {
        "now": NOW,
        "expires_at": EXPIRES_AT,
        "ends_as": Ending.EXPIRED,
        "returns_late": False,
        "opened_at": {1: CREATED_AT, 2: CREATED_AT},
        "unpaid_asked_at": {},
        "ending": frozenset[int](),
    }
    return Circumstances(**(parts | changes))


@pytest.mark.parametrize("state", [OrderState.PAID, OrderState.EXPIRED, OrderState.CLOSED])
def test_a_final_order_needs_nothing(state: OrderState) -> None:
    order = an_order(state=state, paid_attempt=1 if state is OrderState.PAID else None)
    assert look(order, [a_trade()], seen=seen(now=AFTER)) == Look(order=order)


def test_a_held_order_waits_for_a_person_whatever_its_time() -> None:
    order = an_order(hold_reason="wrong_amount")
    trades = [a_trade(direction=Direction.B2C)]
    assert look(order, trades, seen=seen(now=AFTER, ends_as=Ending.CLOSED)) == Look(order=order)


@pytest.mark.parametrize("state", [OrderState.CREATED, OrderState.PAYING])
def test_a_young_order_is_looked_at_when_its_time_is_over(state: OrderState) -> None:
    order = an_order(state=state)
    assert look(order, [a_trade()], seen=seen()) == Look(order=order, look_at=EXPIRES_AT)


def test_an_order_that_nobody_began_to_pay_expires_at_once() -> None:
    found = look(an_order(state=OrderState.CREATED), [], seen=seen(now=EXPIRES_AT))
    assert found == Look(order=an_order(state=OrderState.EXPIRED))


def test_an_order_whose_time_is_over_closes_and_its_open_trades_are_ended() -> None:
    trades = [a_trade(), a_trade(attempt=2, state=TradeState.FAILED), a_trade(attempt=3)]
    found = look(an_order(), trades, seen=seen(now=EXPIRES_AT, ending=frozenset({3})))
    assert found == Look(order=an_order(state=OrderState.CLOSING), to_end=(1,))


@pytest.mark.parametrize(
    ("ends_as", "ended"),
    [
        (Ending.EXPIRED, an_order(state=OrderState.EXPIRED)),
        (Ending.CLOSED, an_order(state=OrderState.CLOSED, told_unpaid=True)),
    ],
)
def test_a_closing_order_ends_as_it_was_asked_to_when_nobody_can_pay(ends_as: Ending, ended: Order) -> None:
    order, ending = an_order(state=OrderState.CLOSING), frozenset({1})
    asked = {1: OVER_AT}
    waits = look(order, [a_trade()], seen=seen(now=AFTER, ends_as=ends_as, unpaid_asked_at=asked, ending=ending))
    assert waits == Look(order=order)
    asked = {1: AFTER}
    done = look(order, [a_trade()], seen=seen(now=AFTER, ends_as=ends_as, unpaid_asked_at=asked, ending=ending))
    assert done == Look(order=ended)


def test_the_merchants_close_does_not_wait_for_the_expiry() -> None:
    found = look(an_order(), [a_trade()], seen=seen(ends_as=Ending.CLOSED))
    assert found == Look(order=an_order(state=OrderState.CLOSING), to_end=(1,))


def test_a_charge_is_ended_when_its_payer_has_had_his_time() -> None:
    charge = a_trade(direction=Direction.B2C, state=TradeState.USER_PAYING)
    over_at = CREATED_AT + CHARGE_PATIENCE
    early: datetime = over_at - timedelta(microseconds=1)
    assert look(an_order(), [charge], seen=seen(now=early)) == Look(order=an_order(), look_at=over_at)
    assert look(an_order(), [charge], seen=seen(now=over_at)) == Look(order=an_order(), to_end=(1,), look_at=EXPIRES_AT)
    again = look(an_order(), [charge], seen=seen(now=over_at, ending=frozenset({1})))
    assert again == Look(order=an_order(), look_at=EXPIRES_AT)
