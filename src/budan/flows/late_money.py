"""Money of which its day's comparison with the bill might not hear: written down with the news of it."""

from datetime import date, datetime

from budan.core.evidence import Evidence
from budan.core.numbers import AccountId, beijing_day
from budan.core.reconcile import RowKind, late_day
from budan.core.trade import Trade, TradeState
from budan.store.door import DoorWrites, LateMoney, LockedOrder, LockedTrade
from budan.store.suspense import SUSPENSE


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


def plan_suspense(locked: LockedOrder, trade: LockedTrade, evidence: Evidence, writes: DoorWrites) -> None:
    """Write down the day of money that goes to suspense, also today's: no copy of a day's payments has it.

    It is on the side of the account that told of it, and where no moment was told of the day on which it is booked.
    """
    day = beijing_day(evidence.paid_at or locked.now)
    ordinal = trade.trade.attempt
    writes.late.append(_late(locked, SUSPENSE, ordinal=ordinal, day=day, account_id=evidence.account_id))


def _add(
    locked: LockedOrder, trade: LockedTrade, kind: RowKind, writes: DoorWrites, *, ordinal: int, day: date | None
) -> None:
    if day is not None:
        account_id = trade.trade.account_id
        writes.late.append(_late(locked, kind.value, ordinal=ordinal, day=day, account_id=account_id))


def _late(locked: LockedOrder, kind: str, *, ordinal: int, day: date, account_id: AccountId) -> LateMoney:
    key = (locked.lane, locked.order_id)
    return LateMoney(key=key, kind=kind, ordinal=ordinal, day=day, account_id=account_id)


def _is_back(trade: Trade) -> bool:
    return trade.state is TradeState.REVERSED and trade.paid_seen
