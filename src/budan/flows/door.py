"""The one door: everything that tells whether money moved enters here, in batches, one transaction each."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

import msgspec

from budan.core.errors import StaleState, StoreUnavailable
from budan.core.evidence import Evidence, Outcome, evidence_digest
from budan.core.numbers import (
    BadNumber,
    Environment,
    Lane,
    MerchantId,
    Number,
    NumberKind,
    OrderId,
    lane_of,
    parse_number,
)
from budan.core.pace import LEFTOVER_LADDER_S, delay_after
from budan.flows.coalesce import Coalescer
from budan.flows.door_plan import Heard, Planned, Subject, plan
from budan.store import door as stored
from budan.store.database import Database, RowsFailed, Transaction
from budan.store.door import DoorWrites, KeptEvidence, Key, LockedOrder, LockedTrade, NewNotice

# Ids of orders are positive; rows of numbers that are none of ours live under this one, in the default partitions.
NO_ORDER = OrderId(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivedNotice:
    """A verified notice to be stored raw with the evidence that it carries."""

    notice_id: int
    received_at: datetime
    headers: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorItem:
    """One evidence at the door, with what came along.

    `action` is JSON of what the payer's side needs after a placement. `asked_attempts` is the question's place on its
    ladder, None for evidence that no due question brought. `leftover_attempts` is set when the evidence comes from
    `evidence_due`.
    """

    evidence: Evidence
    notice: ArrivedNotice | None = None
    action: str | None = None
    asked_attempts: int | None = None
    leftover_attempts: int | None = None


UNKNOWN_TRADE = "unknown_trade"
FOREIGN_ENVIRONMENT = "foreign_environment"
FAILED = "failed"


class Door:
    """Records evidence. Use as an async context manager; leaving drains what was promised."""

    def __init__(self, *, database: Database, environment: Environment, lanes: int) -> None:
        self._database = database
        self._environment = environment
        self._lanes = lanes
        self._batches: Coalescer[DoorItem, Planned] = Coalescer(self._run, key=self._order_key)

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

    async def record(self, item: DoorItem) -> Planned:
        """Let one evidence have its effect, or keep it; when this returns the row is committed (I1).

        Safe to repeat. Raises `Overloaded` before anything is promised, `StoreUnavailable` when nothing was written.
        """
        try:
            return await self._batches.submit(item)
        except RowsFailed as failed:
            return await self._keep_failed(item, failed)

    async def _run(self, items: Sequence[DoorItem]) -> Sequence[Planned]:
        """One transaction: lock, read, decide, write."""
        keys = {key for item in items if (key := self._trade_key(item.evidence)) is not None}
        async with self._database.transaction() as transaction:
            locked = await stored.lock_orders(transaction, sorted(keys)) if keys else {}
            trades = await stored.list_trades(transaction, sorted(locked)) if locked else {}
            now = next(iter(locked.values())).now if locked else await transaction.clock()
            writes, kept = DoorWrites(), list[KeptEvidence]()
            planned = [self._plan_item(item, locked, trades, writes, kept, now=now) for item in items]
            await self._write(transaction, items, planned, writes, kept, now=now)
        return planned

    def _plan_item(
        self,
        item: DoorItem,
        locked: dict[Key, LockedOrder],
        trades: dict[Key, list[LockedTrade]],
        writes: DoorWrites,
        kept: list[KeptEvidence],
        *,
        now: datetime,
    ) -> Planned:
        subject = self._find_subject(item.evidence, locked, trades)
        if subject is None:
            planned = self._plan_unknown(item, kept, now=now)
        else:
            heard = Heard(evidence=item.evidence, action=item.action, asked_attempts=item.asked_attempts)
            planned = plan(subject, heard, writes, environment=self._environment)
        if item.notice is not None:
            writes.notices.append(self._notice(item, item.notice, decision=planned.decision))
        return planned

    def _find_subject(
        self,
        evidence: Evidence,
        locked: dict[Key, LockedOrder],
        trades: dict[Key, list[LockedTrade]],
    ) -> Subject | None:
        number = self._own_number(evidence)
        if number is None:
            return None
        key = (number.lane, number.order_id)
        order, of_order = locked.get(key), trades.get(key, [])
        if order is None or order.order.merchant_id != number.merchant_id:
            return None
        meant = next((row for row in of_order if row.trade.attempt == number.ordinal), None)
        if meant is None:
            return None
        siblings = tuple(row.trade for row in of_order if row is not meant)
        return Subject(locked=order, trade=meant, siblings=siblings)

    def _plan_unknown(self, item: DoorItem, kept: list[KeptEvidence], *, now: datetime) -> Planned:
        """Evidence of a trade that is not here: kept if it says something, and looked at again (I6, I13)."""
        reason = FOREIGN_ENVIRONMENT if self._is_foreign(item.evidence) else UNKNOWN_TRADE
        if item.evidence.outcome in {Outcome.PAID, Outcome.UNPAID_FINAL}:
            kept.append(self._kept(item, reason=reason, now=now))
        return Planned(decision=reason, order_state="", trade_state="")

    async def _write(
        self,
        transaction: Transaction,
        items: Sequence[DoorItem],
        planned: Sequence[Planned],
        writes: DoorWrites,
        kept: Sequence[KeptEvidence],
        *,
        now: datetime,
    ) -> None:
        written = await stored.write(transaction, writes, now=now)
        if len(written) != len(writes.orders):
            # The rows are locked by this transaction, so only a bug can have changed a version.
            raise StaleState
        if kept:
            await stored.keep_evidence(transaction, kept)
        released = [
            (self._lane(item.evidence), item.evidence.trade_no, evidence_digest(item.evidence))
            for item, outcome in zip(items, planned, strict=True)
            if item.leftover_attempts is not None and outcome.order_state
        ]
        if released:
            await stored.release_evidence(transaction, released)

    async def _keep_failed(self, item: DoorItem, failed: RowsFailed) -> Planned:
        """A row that failed alone: its evidence waits for another try, its notice is stored all the same."""
        planned = Planned(decision=FAILED, order_state="", trade_state="")
        if item.evidence.outcome not in {Outcome.PAID, Outcome.UNPAID_FINAL}:
            # Nothing was said that the next question will not bring again.
            return planned
        try:
            async with self._database.transaction() as transaction:
                now = await transaction.clock()
                writes = DoorWrites()
                if item.notice is not None:
                    writes.notices.append(self._notice(item, item.notice, decision=FAILED))
                    await stored.write(transaction, writes, now=now)
                await stored.keep_evidence(transaction, [self._kept(item, reason=FAILED, now=now)])
        except RowsFailed as again:
            raise StoreUnavailable(f"{failed}; keeping it: {again}") from again
        return planned

    def _kept(self, item: DoorItem, *, reason: str, now: datetime) -> KeptEvidence:
        attempts = 0 if item.leftover_attempts is None else item.leftover_attempts + 1
        # A foreign number stays foreign: it is shown, not tried every few seconds.
        delay = (
            timedelta(days=1) if reason == FOREIGN_ENVIRONMENT else delay_after(LEFTOVER_LADDER_S, attempts=attempts)
        )
        return KeptEvidence(
            lane=self._lane(item.evidence),
            trade_no=item.evidence.trade_no,
            digest=evidence_digest(item.evidence),
            due_at=now + delay,
            attempts=attempts,
            reason=reason,
            statement=msgspec.json.encode(item.evidence).decode(),
        )

    def _notice(self, item: DoorItem, notice: ArrivedNotice, *, decision: str) -> NewNotice:
        key = self._trade_key(item.evidence) or (self._lane(item.evidence), NO_ORDER)
        return NewNotice(
            key=key,
            notice_id=notice.notice_id,
            account_id=item.evidence.account_id,
            trade_no=item.evidence.trade_no,
            received_at=notice.received_at,
            headers=notice.headers,
            body=notice.body,
            decision=decision,
        )

    def _order_key(self, item: DoorItem) -> Key | str:
        """One evidence per order in a batch: two in one statement would silently lose one."""
        return self._trade_key(item.evidence) or item.evidence.trade_no

    def _trade_key(self, evidence: Evidence) -> Key | None:
        number = self._own_number(evidence)
        return None if number is None else (number.lane, number.order_id)

    def _own_number(self, evidence: Evidence) -> Number | None:
        """The number, if it is one of this environment's trades (I13)."""
        try:
            number = parse_number(evidence.trade_no)
        except BadNumber:
            return None
        own = number.environment is self._environment and number.kind is NumberKind.ORDER and number.lane < self._lanes
        return number if own else None

    def _is_foreign(self, evidence: Evidence) -> bool:
        try:
            return parse_number(evidence.trade_no).environment is not self._environment
        except BadNumber:
            return False

    def _lane(self, evidence: Evidence) -> Lane:
        """Where evidence waits: its trade's lane, or one that follows from the account."""
        key = self._trade_key(evidence)
        return key[0] if key is not None else lane_of(MerchantId(int(evidence.account_id)), lanes=self._lanes)
