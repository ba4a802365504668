"""The door of refunds: everything that tells whether money went back enters here, in batches, one transaction each."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import structlog

from budan.core.cashback import Cashback
from budan.core.errors import StaleState, StoreUnavailable
from budan.core.numbers import BadNumber, Environment, Number, NumberKind, parse_number
from budan.core.pace import REFUND_LADDER_S, delay_after
from budan.core.refund import RefundEffect, RefundEvidence, RefundOrigin
from budan.flows.cashback_plan import read_cashbacks
from budan.flows.coalesce import Coalescer
from budan.flows.door_plan import spare_settled, statements_of
from budan.flows.events import tell_held
from budan.flows.refund_plan import RefundPlanned, RefundSubject, Writes, plan_external, plan_refund
from budan.flows.strangers import UNRELATED_ACCOUNT, spare_strangers
from budan.store import acts
from budan.store import door as gate
from budan.store import refunds as stored
from budan.store.database import Database, RowsFailed, Transaction
from budan.store.door import DoorWrites, Key, LockedOrder, LockedTrade
from budan.store.refunds import NextStep, RefundRow, RefundWrites
from budan.telemetry import metrics

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundItem:
    """One evidence; `attempts` is its step's place on the ladder, None for what no due step brought."""

    evidence: RefundEvidence
    attempts: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arrival:
    """An item with what its numbers say: `trade` where it names one of ours, `refund` where one of that trade's order."""

    item: RefundItem
    refund: Number | None
    trade: Number | None

    @property
    def key(self) -> Key | None:
        """Where the order's rows are."""
        return None if self.trade is None else (self.trade.lane, self.trade.order_id)


UNKNOWN_REFUND = "unknown_refund"


class RefundDoor:
    """Records what is said of refunds. Use as an async context manager; leaving drains what was promised."""

    def __init__(self, *, database: Database, environment: Environment, lanes: int) -> None:
        self._database = database
        self._environment = environment
        self._lanes = lanes
        self._batches: Coalescer[_Arrival, RefundPlanned] = Coalescer(self._run, name="refund_door", key=_order_key)

    async def __aenter__(self) -> Self:
        await self._batches.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._batches.__aexit__(kind, error, traceback)

    async def record(self, item: RefundItem) -> RefundPlanned:
        """Let one evidence have its effect; when this returns the row is committed (I1).

        Safe to repeat. Raises `Overloaded` before anything is promised, `StoreUnavailable` when nothing was written: a
        channel tells again, and a due step stays due.
        """
        arrival = self._enter(item)
        if arrival.key is None:
            unknown = RefundPlanned(decision=UNKNOWN_REFUND, state="")
            _tell([arrival], [unknown], DoorWrites())
            return unknown
        try:
            return await self._batches.submit(arrival)
        except RowsFailed as failed:
            await self._put_off(arrival)
            raise StoreUnavailable(str(failed)) from failed

    async def judge(self, evidence: RefundEvidence) -> RefundPlanned:
        """What this evidence would do now; nothing is written. Raises `StoreUnavailable`."""
        arrival = self._enter(RefundItem(evidence=evidence))
        if arrival.key is None:
            return RefundPlanned(decision=UNKNOWN_REFUND, state="")
        async with self._database.reading() as transaction:
            (planned,), _, _ = await self._decide(transaction, [arrival])
        return planned

    def _enter(self, item: RefundItem) -> _Arrival:
        """I4: a number alone is no proof. Whose money went back says the trade; beside another's our number is a name."""
        trade = self._own(item.evidence.trade_no, NumberKind.ORDER)
        refund = self._own(item.evidence.refund_no, NumberKind.REFUND)
        if refund is None or trade is None or replace(refund, kind=trade.kind, ordinal=trade.ordinal) != trade:
            refund = None
        return _Arrival(item=item, refund=refund, trade=trade)

    async def _put_off(self, arrival: _Arrival) -> None:
        """The step's next rung: a row that goes on failing must not let its channel be asked as fast as we can."""
        if arrival.item.attempts is None or arrival.refund is None or arrival.key is None:
            return
        climbed = arrival.item.attempts + 1
        with suppress(RowsFailed):
            async with self._database.transaction() as transaction:
                now = await transaction.clock()
                due_at = now + delay_after(REFUND_LADDER_S, attempts=climbed)
                step = NextStep(key=arrival.key, ordinal=arrival.refund.ordinal, due_at=due_at, attempts=climbed)
                await stored.write_refunds(transaction, RefundWrites(steps=[step]), now=now)

    def _own(self, text: str, kind: NumberKind) -> Number | None:
        try:
            number = parse_number(text)
        except BadNumber:
            return None
        own = number.environment is self._environment and number.kind is kind and number.lane < self._lanes
        return number if own else None

    async def _run(self, arrivals: Sequence[_Arrival]) -> Sequence[RefundPlanned]:
        """One transaction: lock, read, decide, write."""
        async with self._database.transaction() as transaction:
            planned, writes, locked = await self._decide(transaction, arrivals)
            if locked:
                now = next(iter(locked.values())).now
                tell_held(writes.door, environment=self._environment)
                written = await gate.write(transaction, writes.door, now=now)
                if len(written) != len(writes.door.orders):
                    # The rows are locked by this transaction, so only a bug can have changed a version.
                    raise StaleState
                await stored.write_refunds(transaction, writes.refunds, now=now)
        _tell(arrivals, planned, writes.door)
        return planned

    async def _decide(
        self, transaction: Transaction, arrivals: Sequence[_Arrival]
    ) -> tuple[list[RefundPlanned], Writes, dict[Key, LockedOrder]]:
        """What the items do, what is to be written for it, and the orders, which are locked from here on."""
        keys = sorted({key for arrival in arrivals if (key := arrival.key) is not None})
        locked = await gate.lock_orders(transaction, keys)
        trades = await gate.list_trades(transaction, sorted(locked)) if locked else {}
        refunds = await stored.list_refunds(transaction, sorted(locked)) if locked else {}
        writes = Writes(door=DoorWrites(), refunds=RefundWrites())
        cashbacks = await read_cashbacks(transaction, locked, trades, writes.door)
        planned = [self._plan(arrival, locked, trades, refunds, writes, cashbacks=cashbacks) for arrival in arrivals]
        strangers = frozenset[Key]()
        if writes.door.contradictions:
            settled = await acts.find_settled(transaction, statements_of(writes.door.contradictions))
            spare_settled(writes.door, settled.keys())
            speakers = {
                arrival.key: arrival.item.evidence.account_id for arrival in arrivals if arrival.key is not None
            }
            strangers = await spare_strangers(transaction, writes.door, speakers, locked, trades)
        changed = _changed(writes)
        judged = [
            replace(
                one,
                decision=UNRELATED_ACCOUNT if arrival.key in strangers else one.decision,
                changed=arrival.key in changed,
            )
            for arrival, one in zip(arrivals, planned, strict=True)
        ]
        return judged, writes, locked

    def _plan(
        self,
        arrival: _Arrival,
        locked: dict[Key, LockedOrder],
        trades: dict[Key, list[LockedTrade]],
        refunds: dict[Key, list[RefundRow]],
        writes: Writes,
        *,
        cashbacks: dict[Key, Cashback],
    ) -> RefundPlanned:
        unknown = RefundPlanned(decision=UNKNOWN_REFUND, state="")
        key, number = arrival.key, arrival.trade
        order = locked.get(key) if key is not None else None
        if key is None or number is None or order is None or order.order.merchant_id != number.merchant_id:
            return unknown
        trade = next((trade for trade in trades.get(key, []) if trade.trade.attempt == number.ordinal), None)
        if trade is None:
            return unknown
        rows = tuple(refunds.get(key, []))
        subject = RefundSubject(locked=order, trade=trade, refunds=rows, cashback=cashbacks.get(key))
        row, evidence = _find_own(arrival, rows), arrival.item.evidence
        if row is None:
            return plan_external(subject, evidence, writes, environment=self._environment)
        return plan_refund(
            subject, row, evidence, writes, attempts=arrival.item.attempts, environment=self._environment
        )


def _find_own(arrival: _Arrival, rows: Sequence[RefundRow]) -> RefundRow | None:
    """The refund of ours that is told of: one that was made past us has an ordinal here, and our number of it nowhere."""
    refund, trade = arrival.refund, arrival.trade
    if refund is None or trade is None:
        return None
    row = next((row for row in rows if row.ordinal == refund.ordinal), None)
    is_ours = row is not None and row.origin != RefundOrigin.EXTERNAL.value and row.attempt == trade.ordinal
    return row if is_ours else None


def _changed(writes: Writes) -> set[Key]:
    """The orders of which a refund moved or came, or which are held because of what was said."""
    held = {
        (change.locked.lane, change.locked.order_id)
        for change in writes.door.orders
        if change.hold_reason is not None and change.locked.order.hold_reason is None
    }
    return held | {one.key for one in writes.refunds.changes} | {one.key for one in writes.refunds.made}


def _tell(arrivals: Sequence[_Arrival], planned: Sequence[RefundPlanned], writes: DoorWrites) -> None:
    """What was committed, for /metrics, and in the log what a person must look at."""
    held = {(change.locked.lane, change.locked.order_id): change.hold_reason for change in writes.orders}
    for arrival, outcome in zip(arrivals, planned, strict=True):
        evidence = arrival.item.evidence
        metrics.labelled(metrics.EVIDENCE, evidence.source.value, outcome.decision).inc()
        hold_reason = None if arrival.key is None else held.get(arrival.key)
        if hold_reason is not None or outcome.decision == RefundEffect.ASK_PERSON.value:
            _log.warning(
                "refund_needs_person",
                refund_no=evidence.refund_no,
                trade_no=evidence.trade_no,
                decision=outcome.decision,
                hold_reason=hold_reason,
            )


def _order_key(arrival: _Arrival) -> Key:
    """One evidence per order in a batch: each changes sums that the next one must read."""
    assert arrival.key is not None, "an evidence of no order of ours never enters a batch"
    return arrival.key
