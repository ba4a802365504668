"""How orders end without a payment: looks at them in batches, the merchant's close, and the intent to reverse a charge."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self

from budan.core.closing import FINAL_STATES, Circumstances, Ending, begin_close, begin_reverse, look
from budan.core.errors import Refused, StaleState, StoreUnavailable
from budan.core.numbers import Environment, Lane, MerchantId, Number
from budan.core.order import OrderState
from budan.core.pace import CLOSE_LADDER_S, LOOK_LADDER_S, delay_after
from budan.flows.coalesce import Coalescer
from budan.flows.events import end_webhook
from budan.store import closing as stored
from budan.store import door as gate
from budan.store.closing import ClosingWrites, DueOrder, NextClose, NextLook, OrderEnd, OrderMarks
from budan.store.database import Database, RowsFailed, Transaction
from budan.store.door import Key, LockedOrder, LockedTrade


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one try to end a trade at its channel came to.

    `unpaid_asked_at` is when a question left that was answered "not paid". `again_at` is the next try's moment where the
    ladder does not say it. A try that never left keeps its rung.
    """

    attempt: int
    unpaid_asked_at: datetime | None = None
    again_at: datetime | None = None
    sent: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Visit:
    """One reason to look at an order: it is due, a trade of it had its turn, or its merchant closes it."""

    key: Key
    turn: Turn | None = None
    closes_of: MerchantId | None = None

    @property
    def by_merchant(self) -> bool:
        """Whether the merchant closes it, or an operator for it."""
        return self.closes_of is not None

    def names(self, locked: LockedOrder | None) -> bool:
        """Whether this is the order that was meant: a number from outside may name another merchant's id."""
        return locked is not None and self.closes_of in {None, locked.order.merchant_id}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """A locked order with all that a look at it needs."""

    locked: LockedOrder
    trades: Sequence[LockedTrade]
    marks: OrderMarks


class OrderClosing:
    """Looks at orders, in batches, one transaction each; makes none paid.

    Use as an async context manager; leaving drains what was promised.
    """

    def __init__(self, *, database: Database, environment: Environment) -> None:
        self._database = database
        self._environment = environment
        self._batches: Coalescer[_Visit, OrderState | Refused] = Coalescer(
            self._run, name="closing", key=lambda visit: visit.key
        )

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

    async def list_due(self, *, lanes: Sequence[Lane], rows_max: int) -> list[DueOrder]:
        """Orders to look at in held lanes, oldest first."""
        async with self._database.reading_statement() as transaction:
            return await stored.list_due_orders(transaction, lanes=lanes, rows_max=rows_max)

    async def look(self, key: Key) -> OrderState:
        """Do what is to be done about an order now, and note when to look again; gives its state. Safe to repeat."""
        return await self._visit(_Visit(key=key))

    async def settle(self, key: Key, turn: Turn) -> OrderState:
        """Write what a try to end a trade came to; its order ends with it where nothing else is open. Safe to repeat."""
        return await self._visit(_Visit(key=key, turn=turn))

    async def close(self, number: Number) -> OrderState:
        """The merchant's close: `closing`, or `closed` where nobody can pay any more. Safe to repeat.

        Raises `Refused` with `order_not_found` where the order is not of the number's merchant, then as `begin_close`
        does; an order that is closed already is no refusal.
        """
        return await self._visit(_Visit(key=(number.lane, number.order_id), closes_of=number.merchant_id))

    async def begin_reverse(self, key: Key, attempt: int, *, reverse_at: datetime) -> None:
        """Commit the intent to reverse a charge, with its work due at `reverse_at`; safe to repeat.

        Raises `Refused` with `order_on_hold`, then as `core.begin_reverse` does.
        """
        try:
            async with self._database.transaction() as transaction:
                await _begin_reverse(transaction, key, attempt, reverse_at=reverse_at)
        except RowsFailed as failed:
            raise StoreUnavailable(str(failed)) from failed

    async def _visit(self, visit: _Visit) -> OrderState:
        try:
            answer = await self._batches.submit(visit)
        except RowsFailed as failed:
            raise StoreUnavailable(str(failed)) from failed
        if isinstance(answer, Refused):
            raise answer
        return answer

    async def _run(self, visits: Sequence[_Visit]) -> Sequence[OrderState | Refused]:
        """One transaction: lock, read, look, write."""
        keys = sorted(visit.key for visit in visits)
        async with self._database.transaction() as transaction:
            locked = await gate.lock_orders(transaction, keys)
            trades = await gate.list_trades(transaction, keys)
            marks = await stored.list_marks(transaction, keys)
            writes, answers = ClosingWrites(), list[OrderState | Refused]()
            for visit in visits:
                if not visit.names(locked.get(visit.key)):
                    answers.append(Refused("order_not_found", param="order_no"))
                    continue
                subject = _Subject(locked=locked[visit.key], trades=trades.get(visit.key, []), marks=marks[visit.key])
                answers.append(_plan(subject, visit, writes, environment=self._environment))
            written = await stored.write(transaction, writes, now=await transaction.clock())
            if len(written) != len(writes.orders):
                # The rows are locked by this transaction, so only a bug can have changed a version.
                raise StaleState
        return answers


async def _begin_reverse(transaction: Transaction, key: Key, attempt: int, *, reverse_at: datetime) -> None:
    locked = (await gate.lock_orders(transaction, [key]))[key]
    trades = (await gate.list_trades(transaction, [key])).get(key, [])
    if locked.order.hold_reason is not None:
        raise Refused("order_on_hold", param="order_no")
    trade = next(row.trade for row in trades if row.trade.attempt == attempt)
    order, intended = begin_reverse(locked.order, trade)
    if intended != trade:
        begun = await stored.begin_reverse(
            transaction, key=key, attempt=attempt, version=locked.version, told_unpaid=order.told_unpaid
        )
        if not begun:
            raise StaleState
    mark = (await stored.list_marks(transaction, [key]))[key].closes.get(attempt)
    work = NextClose(
        key=key,
        attempt=attempt,
        due_at=reverse_at,
        # The reverse has a ladder of its own; a repeat of the intent does not begin it anew.
        attempts=0 if mark is None or intended != trade else mark.tried,
        unpaid_asked_at=None,
    )
    await stored.write(transaction, ClosingWrites(closes=[work]), now=locked.now)


def _plan(subject: _Subject, visit: _Visit, writes: ClosingWrites, *, environment: Environment) -> OrderState | Refused:
    """Look at one order and add its rows to `writes`; the caller holds it."""
    order, marks = subject.locked.order, subject.marks
    if visit.by_merchant and order.state is not OrderState.CLOSED:
        try:
            begin_close(order)
        except Refused as refused:
            return refused
    ends_as = Ending.CLOSED if visit.by_merchant else marks.ends_as
    found = look(order, [row.trade for row in subject.trades], seen=_circumstances(subject, visit.turn, ends_as))
    if found.order != order:
        writes.orders.append(
            OrderEnd(
                key=visit.key,
                version=subject.locked.version,
                state=found.order.state.value,
                told_unpaid=found.order.told_unpaid,
            )
        )
    if found.order.state in FINAL_STATES and order.state not in FINAL_STATES:
        writes.webhooks.append(end_webhook(environment, subject.locked, state=found.order.state))
    _plan_closes(subject, visit.turn, found.to_end, writes)
    if found.order.state in FINAL_STATES:
        writes.looked.append(visit.key)
    else:
        writes.looks.append(_next_look(subject, found.look_at, ends_as))
    return found.order.state


def _circumstances(subject: _Subject, turn: Turn | None, ends_as: Ending) -> Circumstances:
    locked, marks = subject.locked, subject.marks
    unpaid_asked_at = {
        attempt: mark.unpaid_asked_at for attempt, mark in marks.closes.items() if mark.unpaid_asked_at is not None
    }
    if turn is not None and turn.unpaid_asked_at is not None:
        unpaid_asked_at[turn.attempt] = turn.unpaid_asked_at
    return Circumstances(
        now=locked.now,
        expires_at=locked.expires_at,
        ends_as=ends_as,
        returns_late=marks.returns_late,
        opened_at=marks.opened_at,
        unpaid_asked_at=unpaid_asked_at,
        ending=frozenset(marks.closes),
    )


def _plan_closes(subject: _Subject, turn: Turn | None, to_end: Sequence[int], writes: ClosingWrites) -> None:
    """What is to be ended begins at once; what has ended is done; the trade whose turn it was waits for its next."""
    key, now = (subject.locked.lane, subject.locked.order_id), subject.locked.now
    for row in subject.trades:
        attempt, mark = row.trade.attempt, subject.marks.closes.get(row.trade.attempt)
        if attempt in to_end:
            writes.closes.append(NextClose(key=key, attempt=attempt, due_at=now, attempts=0, unpaid_asked_at=None))
        elif mark is not None and not row.trade.is_open:
            writes.closed.append((key, attempt))
        elif mark is not None and turn is not None and turn.attempt == attempt:
            rung_at = now + delay_after(CLOSE_LADDER_S, attempts=mark.tried)
            writes.closes.append(
                NextClose(
                    key=key,
                    attempt=attempt,
                    due_at=rung_at if turn.again_at is None else turn.again_at,
                    attempts=mark.tried + int(turn.sent),
                    unpaid_asked_at=turn.unpaid_asked_at or mark.unpaid_asked_at,
                )
            )


def _next_look(subject: _Subject, look_at: datetime | None, ends_as: Ending) -> NextLook:
    """The next moment at which time alone changes the order, or the ladder's next rung while it waits for a channel."""
    looks = subject.marks.looks or 0
    now = subject.locked.now
    return NextLook(
        key=(subject.locked.lane, subject.locked.order_id),
        due_at=now + delay_after(LOOK_LADDER_S, attempts=looks) if look_at is None else look_at,
        attempts=looks + 1 if look_at is None else 0,
        ends_as=ends_as,
    )
