"""Closing and reversing: what may be intended, and when an order may end here (docs/design.md section 5)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import assert_never

from budan.core.decide import unpayable_after
from budan.core.errors import Refused
from budan.core.order import Order, OrderState
from budan.core.trade import UNPAID_END_STATES, Direction, Trade, TradeState, is_charged

# How long a charge may wait for its payer before it is reversed: WeChat says 30 to 45 s, Alipay 30 to 60 s
# (docs/protocols, "Time rules").
CHARGE_PATIENCE = timedelta(seconds=45)

FINAL_STATES = frozenset({OrderState.PAID, OrderState.EXPIRED, OrderState.CLOSED})


class Ending(Enum):
    """Why an order ends without a payment, in the word of the state that it ends in."""

    EXPIRED = "expired"  # our own expiry: nobody was told anything
    CLOSED = "closed"  # the merchant asked for it, and is told "not paid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What a look at an order goes by besides its rows.

    `ends_as` is CLOSED from the merchant's close on. `opened_at` and `unpaid_asked_at` are by attempt: when it was
    opened, and when the newest question left that was answered "not paid". `ending` are the attempts that are being
    ended at their channels already. `returns_late` is the merchant's choice for payments after our own expiry.
    """

    now: datetime
    expires_at: datetime
    ends_as: Ending
    returns_late: bool
    opened_at: Mapping[int, datetime]
    unpaid_asked_at: Mapping[int, datetime]
    ending: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a look at an order found to be done.

    `to_end` are the attempts to be ended at their channels. `look_at` is the next moment at which time alone changes
    something; None where the order is final, held, or waits for its channels.
    """

    order: Order
    to_end: tuple[int, ...] = ()
    look_at: datetime | None = None


def look(order: Order, trades: Sequence[Trade], *, seen: Circumstances) -> Look:
    """What is to be done about an order now; pure, total and safe to repeat.

    A final order needs nothing, and a held one waits for a person. One whose time is over closes, and ends as soon as
    nobody can pay any more. Before that only a charge that has waited long enough is ended.
    """
    if order.state in FINAL_STATES or order.hold_reason is not None:
        return Look(order=order)
    is_over = seen.ends_as is Ending.CLOSED or seen.now >= seen.expires_at or order.state is OrderState.CLOSING
    if not is_over:
        return _look_at_charges(order, trades, seen)
    closing = begin_close(order)
    to_end = tuple(trade.attempt for trade in trades if trade.is_open and trade.attempt not in seen.ending)
    if _is_payable(trades, seen.unpaid_asked_at):
        return Look(order=closing, to_end=to_end)
    return Look(order=_end(closing, trades, seen), to_end=to_end)


def _look_at_charges(order: Order, trades: Sequence[Trade], seen: Circumstances) -> Look:
    patient_until = {
        trade.attempt: seen.opened_at[trade.attempt] + CHARGE_PATIENCE
        for trade in trades
        if trade.is_open and trade.direction is Direction.B2C and trade.attempt not in seen.ending
    }
    to_end = tuple(attempt for attempt, until in patient_until.items() if until <= seen.now)
    waiting = (until for attempt, until in patient_until.items() if attempt not in to_end)
    return Look(order=order, to_end=to_end, look_at=min((seen.expires_at, *waiting)))


def _end(order: Order, trades: Sequence[Trade], seen: Circumstances) -> Order:
    match seen.ends_as:
        case Ending.CLOSED:
            return end_close(order, trades, unpaid_asked_at=seen.unpaid_asked_at)
        case Ending.EXPIRED:
            return expire(order, trades, unpaid_asked_at=seen.unpaid_asked_at, returns_late=seen.returns_late)
        case _:
            assert_never(seen.ends_as)


def begin_close(order: Order) -> Order:
    """The order in `closing`, from `created` or `paying`; a success still completes it. Safe to repeat.

    Raises `Refused` with `order_already_paid`, `order_already_ended` or `order_on_hold`, in this order.
    """
    _refuse_ended(order)
    return replace(order, state=OrderState.CLOSING)


def end_close(order: Order, trades: Sequence[Trade], *, unpaid_asked_at: Mapping[int, datetime]) -> Order:
    """The merchant's close is done: `closed`, from `closing`. Whoever asked is told "not paid" from here on.

    `unpaid_asked_at` is, for each attempt, when the newest question left that was answered "not paid". Raises
    `Refused` as `begin_close` does, then with `order_not_closing` or `trade_still_open`.
    """
    _refuse_payable(order, trades, unpaid_asked_at)
    return replace(order, state=OrderState.CLOSED, told_unpaid=True)


def expire(
    order: Order, trades: Sequence[Trade], *, unpaid_asked_at: Mapping[int, datetime], returns_late: bool
) -> Order:
    """Our own expiry is done: `expired`, from `closing`. Nobody was told anything, so a late payment completes.

    With `returns_late` the merchant takes the news of the expiry for "not paid", and a late payment goes back; so it
    does where a charge was among the trades, for its shop was told. Takes and refuses what `end_close` does.
    """
    _refuse_payable(order, trades, unpaid_asked_at)
    told_unpaid = order.told_unpaid or returns_late or is_charged(trades)
    return replace(order, state=OrderState.EXPIRED, told_unpaid=told_unpaid)


def begin_reverse(order: Order, trade: Trade) -> tuple[Order, Trade]:
    """The intent to reverse an open trade, to be committed before the call; safe to repeat.

    An order that is not paid counts as told so: a payment that cannot be reversed is a late one. Raises `Refused` with
    `trade_already_paid` or `trade_already_ended`.
    """
    if trade.state is TradeState.SUCCEEDED:
        raise Refused("trade_already_paid")
    if trade.state in UNPAID_END_STATES:
        raise Refused("trade_already_ended")
    if trade.state is TradeState.REVERSING:
        return order, trade
    told_unpaid = order.told_unpaid or order.state is not OrderState.PAID
    # Count "no such trade" anew: answers from before the reverse do not count (I5).
    return replace(order, told_unpaid=told_unpaid), replace(trade, state=TradeState.REVERSING, not_found_count=0)


def _refuse_ended(order: Order) -> None:
    if order.state is OrderState.PAID:
        raise Refused("order_already_paid", param="order_no")
    if order.state in {OrderState.EXPIRED, OrderState.CLOSED}:
        raise Refused("order_already_ended", param="order_no", detail=f"the order is {order.state.value}")
    if order.hold_reason is not None:
        raise Refused("order_on_hold", param="order_no", detail=order.hold_reason)


def _refuse_payable(order: Order, trades: Sequence[Trade], unpaid_asked_at: Mapping[int, datetime]) -> None:
    _refuse_ended(order)
    if order.state is not OrderState.CLOSING:
        raise Refused("order_not_closing")
    if _is_payable(trades, unpaid_asked_at):
        raise Refused("trade_still_open")


def _is_payable(trades: Sequence[Trade], unpaid_asked_at: Mapping[int, datetime]) -> bool:
    return any(_may_be_paid(trade, unpaid_asked_at.get(trade.attempt)) for trade in trades)


def _may_be_paid(trade: Trade, unpaid_asked_at: datetime | None) -> bool:
    """Until the channel's own end, or a "not paid" that was asked after the payer's last moment plus skew."""
    if not trade.is_open:
        return False
    over_at = unpayable_after(trade)
    if trade.state is TradeState.REVERSING or over_at is None or unpaid_asked_at is None:
        return True
    return unpaid_asked_at <= over_at
