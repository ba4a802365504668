"""Money of which its day's comparison with the bill might not hear: written down with the news of it."""

from datetime import date, datetime

from budan.core.reconcile import RowKind, late_day
from budan.core.trade import Trade, TradeState
from budan.store.door import DoorWrites, LateMoney, LockedOrder, LockedTrade


def plan_late_payment(
    locked: LockedOrder,
    trade: LockedTrade,
    after: Trade,
    writes: DoorWrites,
    *,
    told_at: datetime | None,
    is_booked: bool,
) -> None:
    """Write down what is news of a payment: that it came, its moment, or that it was taken back.

    `told_at` is the moment that the evidence names. Where none was ever told a payment is of the moment at which this
    decision books it (`is_booked`): what is seen and not booked is on no side yet.
    """
    before = trade.trade
    moved_at = trade.paid_at or told_at or (locked.now if is_booked else None)
    if not after.paid_seen or moved_at is None:
        return
    if not before.paid_seen or trade.paid_at is None:
        day = late_day(moved_at, now=locked.now, order_id=locked.order_id)
        _add(locked, trade, RowKind.PAYMENT, writes, ordinal=before.attempt, day=day)
    if _is_back(after) and not _is_back(before):
        # Of a reversal no channel tells the moment: it is found and judged with its payment.
        day = late_day(moved_at, now=locked.now, order_id=None)
        _add(locked, trade, RowKind.REVERSAL, writes, ordinal=before.attempt, day=day)


def plan_late_refund(
    locked: LockedOrder, trade: LockedTrade, ordinal: int, writes: DoorWrites, *, refunded_at: datetime | None
) -> None:
    """Write down that a refund of a trade went back; where no moment was told it is of the one at which we learn it."""
    day = late_day(refunded_at or locked.now, now=locked.now, order_id=None)
    _add(locked, trade, RowKind.REFUND, writes, ordinal=ordinal, day=day)


def _add(
    locked: LockedOrder, trade: LockedTrade, kind: RowKind, writes: DoorWrites, *, ordinal: int, day: date | None
) -> None:
    if day is not None:
        key = (locked.lane, locked.order_id)
        account_id = trade.trade.account_id
        writes.late.append(LateMoney(key=key, kind=kind.value, ordinal=ordinal, day=day, account_id=account_id))


def _is_back(trade: Trade) -> bool:
    return trade.state is TradeState.REVERSED and trade.paid_seen
