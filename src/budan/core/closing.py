"""Closing and reversing: what may be intended, and when an order may end here (docs/design.md section 5)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from budan.core.decide import unpayable_after
from budan.core.errors import Refused
from budan.core.order import Order, OrderState
from budan.core.trade import UNPAID_END_STATES, Trade, TradeState


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


def expire(order: Order, trades: Sequence[Trade], *, unpaid_asked_at: Mapping[int, datetime]) -> Order:
    """Our own expiry is done: `expired`, from `closing`. Nobody was told anything, so a late payment completes.

    Takes and refuses what `end_close` does.
    """
    _refuse_payable(order, trades, unpaid_asked_at)
    return replace(order, state=OrderState.EXPIRED)


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
    # What was not found before the reverse says nothing of what the reverse will find.
    return replace(order, told_unpaid=told_unpaid), replace(trade, state=TradeState.REVERSING, not_found_count=0)


def _refuse_ended(order: Order) -> None:
    if order.state is OrderState.PAID:
        raise Refused("order_already_paid")
    if order.state in {OrderState.EXPIRED, OrderState.CLOSED}:
        raise Refused("order_already_ended")
    if order.hold_reason is not None:
        raise Refused("order_on_hold")


def _refuse_payable(order: Order, trades: Sequence[Trade], unpaid_asked_at: Mapping[int, datetime]) -> None:
    _refuse_ended(order)
    if order.state is not OrderState.CLOSING:
        raise Refused("order_not_closing")
    if any(_may_be_paid(trade, unpaid_asked_at.get(trade.attempt)) for trade in trades):
        raise Refused("trade_still_open")


def _may_be_paid(trade: Trade, unpaid_asked_at: datetime | None) -> bool:
    """Until the channel's own end, or a "not paid" that was asked after the payer's last moment plus skew."""
    if not trade.is_open:
        return False
    over_at = unpayable_after(trade)
    if trade.state is TradeState.REVERSING or over_at is None or unpaid_asked_at is None:
        return True
    return unpaid_asked_at <= over_at
