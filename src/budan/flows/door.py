"""The one door: everything that tells whether money moved enters here, in batches, one transaction each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType, TracebackType
from typing import Final, Self

import msgspec
import structlog

from budan.core.cashback import Cashback
from budan.core.decide import Effect, Mismatch
from budan.core.errors import StaleState, StoreUnavailable
from budan.core.evidence import Evidence, Outcome, Source, evidence_digest
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
from budan.core.pace import LEFTOVER_LADDER_S, QUERY_LADDER_B2C_S, delay_after, weight_of_miss
from budan.flows.cashback_plan import budget_key
from budan.flows.coalesce import Coalescer
from budan.flows.door_plan import Heard, Planned, Subject, plan, statements_of
from budan.flows.events import tell_held
from budan.flows.healths import AccountHealths
from budan.flows.strangers import UNRELATED_ACCOUNT, spare_strangers
from budan.store import acts
from budan.store import door as stored
from budan.store.acts import StatementKey
from budan.store.cashbacks import find_cashbacks, lock_budgets
from budan.store.database import Database, RowsFailed, Transaction
from budan.store.door import DoorWrites, KeptEvidence, Key, LockedOrder, LockedTrade, NewNotice, NextQuestion
from budan.telemetry import metrics

_log = structlog.get_logger(__name__)

# Ids of orders are positive; rows of numbers that are none of ours live under this one, in the default partitions.
NO_ORDER = OrderId(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivedNotice:
    """A verified notice to be stored raw with the evidence that it carries; `tells_refund` where it is about one."""

    notice_id: int
    received_at: datetime
    headers: str
    body: bytes = field(repr=False)
    tells_refund: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorItem:
    """One evidence at the door, with what came along.

    `action` is JSON of what the payer's side needs after a placement. `asked_attempts` is the question's place on its
    ladder, None for evidence that no due question brought. `leftover_attempts` is set when the evidence comes from
    `evidence_due`. `actor` names the persons whose word it is, for operator evidence.
    """

    evidence: Evidence
    notice: ArrivedNotice | None = None
    action: str | None = None
    asked_attempts: int | None = None
    leftover_attempts: int | None = None
    actor: str | None = None

    def __post_init__(self) -> None:
        assert (self.actor is not None) == (self.evidence.source is Source.OPERATOR), "a person's word has names"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arrival:
    """An item with what its number says, parsed once: `number` is set for one of this environment's trades (I13)."""

    item: DoorItem
    number: Number | None
    is_foreign: bool
    lane: Lane

    @property
    def key(self) -> Key | None:
        """Where the order's rows are."""
        return None if self.number is None else (self.number.lane, self.number.order_id)


_NOTHING_SETTLED: Final[Mapping[StatementKey, datetime | None]] = MappingProxyType({})

UNKNOWN_TRADE = "unknown_trade"
FOREIGN_ENVIRONMENT = "foreign_environment"
FAILED = "failed"
# What is kept of a notice: of a payment that was known, or of a refund of it.
ALREADY_SUCCEEDED = "already_succeeded"
REFUND_TOLD = "refund_told"
# Notices that prove a payment and do not tell of it.
TOLD_OF_REFUND = frozenset({REFUND_TOLD, Mismatch.RETURNED_ELSEWHERE.value})


class Door:
    """Records evidence. Use as an async context manager; leaving drains what was promised."""

    def __init__(self, *, database: Database, environment: Environment, lanes: int, healths: AccountHealths) -> None:
        self._database = database
        self._healths = healths
        self._environment = environment
        self._lanes = lanes
        self._batches: Coalescer[_Arrival, Planned] = Coalescer(self._run, name="door", key=_order_key)

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
        arrival = self._enter(item)
        try:
            return await self._batches.submit(arrival)
        except RowsFailed as failed:
            if item.evidence.source is Source.OPERATOR:
                # Persons are there to repeat it; a kept statement would lose their names.
                raise StoreUnavailable(str(failed)) from failed
            return await self._keep_failed(arrival, failed)

    async def judge(self, evidence: Evidence) -> Planned:
        """What this evidence would do now; nothing is written. Raises `StoreUnavailable`."""
        arrival = self._enter(DoorItem(evidence=evidence))
        keys = [] if arrival.key is None else [arrival.key]
        async with self._database.reading() as transaction:
            locked = await stored.lock_orders(transaction, keys) if keys else {}
            trades = await stored.list_trades(transaction, keys) if locked else {}
            now = await transaction.clock()
            writes = DoorWrites()
            planned = self._plan_arrival(arrival, locked, trades, writes, [], cashbacks={}, now=now)
            if writes.contradictions:
                settled = await acts.find_settled(transaction, statements_of(writes.contradictions))
                if settled:
                    anew = DoorWrites()
                    return self._plan_arrival(arrival, locked, trades, anew, [], cashbacks={}, now=now, settled=settled)
            speakers = dict.fromkeys(keys, evidence.account_id)
            if await spare_strangers(transaction, writes, speakers, locked, trades):
                return replace(planned, decision=UNRELATED_ACCOUNT, changed=False)
            return planned

    def _enter(self, item: DoorItem) -> _Arrival:
        try:
            number = parse_number(item.evidence.trade_no)
        except BadNumber:
            number = None
        own = (
            number is not None
            and number.environment is self._environment
            and number.kind is NumberKind.ORDER
            and number.lane < self._lanes
        )
        # Evidence of no trade of ours waits in a lane that follows from the account.
        elsewhere = lane_of(MerchantId(int(item.evidence.account_id)), lanes=self._lanes)
        return _Arrival(
            item=item,
            number=number if own else None,
            is_foreign=number is not None and number.environment is not self._environment,
            lane=number.lane if own and number is not None else elsewhere,
        )

    async def _run(self, arrivals: Sequence[_Arrival]) -> Sequence[Planned]:
        """One transaction: lock, read, decide, write."""
        keys = {key for arrival in arrivals if (key := arrival.key) is not None}
        async with self._database.transaction() as transaction:
            locked = await stored.lock_orders(transaction, sorted(keys)) if keys else {}
            trades = await stored.list_trades(transaction, sorted(locked)) if locked else {}
            now = next(iter(locked.values())).now if locked else await transaction.clock()
            writes, kept = DoorWrites(), list[KeptEvidence]()
            cashbacks = await _read_cashbacks(transaction, arrivals, locked, trades, writes)
            budgets = dict(writes.budgets)
            planned = [
                self._plan_arrival(arrival, locked, trades, writes, kept, cashbacks=cashbacks, now=now)
                for arrival in arrivals
            ]
            if writes.contradictions:
                settled = await acts.find_settled(transaction, statements_of(writes.contradictions))
                if settled:
                    # Planned anew as a whole: what persons have settled ends its trade instead of contradicting.
                    writes, kept = DoorWrites(budgets=budgets), list[KeptEvidence]()
                    planned = [
                        self._plan_arrival(
                            arrival, locked, trades, writes, kept, cashbacks=cashbacks, now=now, settled=settled
                        )
                        for arrival in arrivals
                    ]
                speakers = {
                    arrival.key: arrival.item.evidence.account_id for arrival in arrivals if arrival.key is not None
                }
                strangers = await spare_strangers(transaction, writes, speakers, locked, trades)
                planned = [
                    replace(one, decision=UNRELATED_ACCOUNT, changed=False) if arrival.key in strangers else one
                    for arrival, one in zip(arrivals, planned, strict=True)
                ]
            versions = tell_held(writes, environment=self._environment)
            planned = [
                replace(one, version=versions[arrival.key]) if arrival.key in versions else one
                for arrival, one in zip(arrivals, planned, strict=True)
            ]
            await self._write(transaction, arrivals, planned, writes, kept, now=now)
        _count(arrivals, planned, now=now)
        self._note(arrivals, planned)
        return planned

    def _note(self, arrivals: Sequence[_Arrival], planned: Sequence[Planned]) -> None:
        """What the payments said of their accounts' notices, in memory: no row of the door is as hot as an account's."""
        for arrival, outcome in zip(arrivals, planned, strict=True):
            if outcome.sighting is not None:
                account_id = arrival.item.evidence.account_id
                weight = weight_of_miss(age=outcome.age, notices=self._healths.notices_of(account_id))
                self._healths.note_sighting(account_id, outcome.sighting, weight=weight)

    def _plan_arrival(
        self,
        arrival: _Arrival,
        locked: dict[Key, LockedOrder],
        trades: dict[Key, list[LockedTrade]],
        writes: DoorWrites,
        kept: list[KeptEvidence],
        *,
        cashbacks: dict[Key, Cashback],
        now: datetime,
        settled: Mapping[StatementKey, datetime | None] = _NOTHING_SETTLED,
    ) -> Planned:
        item, subject = arrival.item, _find_subject(arrival, locked, trades, cashbacks)
        if subject is None:
            planned = _plan_unknown(arrival, kept, now=now)
        else:
            statement = _statement_key(subject, item.evidence) if settled else None
            heard = Heard(
                evidence=item.evidence,
                notices=self._healths.notices_of(subject.trade.trade.account_id),
                action=item.action,
                asked_attempts=item.asked_attempts,
                actor=item.actor,
                is_settled=statement in settled,
                accepted_at=None if statement is None else settled.get(statement),
            )
            planned = plan(subject, heard, writes, environment=self._environment)
        if item.notice is not None:
            writes.notices.append(_notice(arrival, item.notice, decision=planned.decision))
        return planned

    async def _write(
        self,
        transaction: Transaction,
        arrivals: Sequence[_Arrival],
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
            (arrival.lane, arrival.item.evidence.trade_no, evidence_digest(arrival.item.evidence))
            for arrival, outcome in zip(arrivals, planned, strict=True)
            if arrival.item.leftover_attempts is not None and outcome.order_state
        ]
        if released:
            await stored.release_evidence(transaction, released)

    async def _keep_failed(self, arrival: _Arrival, failed: RowsFailed) -> Planned:
        """A row that failed alone: what it says waits for another try, its notice is stored, its question put off."""
        item = arrival.item
        try:
            async with self._database.transaction() as transaction:
                now = await transaction.clock()
                writes = DoorWrites(questions=_put_off(arrival, now=now))
                if item.notice is not None:
                    writes.notices.append(_notice(arrival, item.notice, decision=FAILED))
                await stored.write(transaction, writes, now=now)
                # Anything else the next question will bring again.
                if item.evidence.outcome in {Outcome.PAID, Outcome.UNPAID_FINAL}:
                    await stored.keep_evidence(transaction, [_kept(arrival, reason=FAILED, now=now)])
        except RowsFailed as again:
            raise StoreUnavailable(f"{failed}; keeping it: {again}") from again
        return Planned(decision=FAILED, order_state="", trade_state="", version=0)


def _put_off(arrival: _Arrival, *, now: datetime) -> list[NextQuestion]:
    """The question's next rung: a row that goes on failing must not let its channel be asked as fast as we can."""
    asked = arrival.item.asked_attempts
    if asked is None or arrival.number is None or arrival.key is None:
        return []
    due_at = now + delay_after(QUERY_LADDER_B2C_S, attempts=asked + 1)
    return [NextQuestion(key=arrival.key, attempt=arrival.number.ordinal, due_at=due_at, attempts=asked + 1)]


def _count(arrivals: Sequence[_Arrival], planned: Sequence[Planned], *, now: datetime) -> None:
    """What was committed, for /metrics."""
    for arrival, outcome in zip(arrivals, planned, strict=True):
        evidence = arrival.item.evidence
        source = evidence.source.value
        if outcome.decision == UNRELATED_ACCOUNT:
            _log.warning(UNRELATED_ACCOUNT, trade_no=evidence.trade_no, account_id=evidence.account_id, source=source)
        metrics.labelled(metrics.EVIDENCE, source, outcome.decision).inc()
        if outcome.decision == Effect.COMPLETE.value:
            metrics.labelled(metrics.ORDERS_PAID, source).inc()
            if evidence.paid_at is not None:
                late_s = max(0.0, (now - evidence.paid_at).total_seconds())
                metrics.labelled(metrics.RECOVERY_SECONDS, source).observe(late_s)


def _order_key(arrival: _Arrival) -> Key | str:
    """One evidence per order in a batch: two in one statement would silently lose one."""
    return arrival.key or arrival.item.evidence.trade_no


def _statement_key(subject: Subject, evidence: Evidence) -> StatementKey:
    return (*subject.key, subject.trade.trade.attempt, evidence_digest(evidence))


def _find_subject(
    arrival: _Arrival,
    locked: dict[Key, LockedOrder],
    trades: dict[Key, list[LockedTrade]],
    cashbacks: dict[Key, Cashback],
) -> Subject | None:
    number, key = arrival.number, arrival.key
    if number is None or key is None:
        return None
    order, of_order = locked.get(key), trades.get(key, [])
    if order is None or order.order.merchant_id != number.merchant_id:
        return None
    meant = next((row for row in of_order if row.trade.attempt == number.ordinal), None)
    if meant is None:
        return None
    siblings = tuple(row.trade for row in of_order if row is not meant)
    return Subject(locked=order, trade=meant, siblings=siblings, cashback=cashbacks.get(key))


async def _read_cashbacks(
    transaction: Transaction,
    arrivals: Sequence[_Arrival],
    locked: dict[Key, LockedOrder],
    trades: dict[Key, list[LockedTrade]],
    writes: DoorWrites,
) -> dict[Key, Cashback]:
    """What the orders were granted of which a payment is told, with the budgets of those that may be granted now.

    Asks the database nothing where no plan offered anything.
    """
    told = [arrival for arrival in arrivals if arrival.item.evidence.outcome is Outcome.PAID]
    subjects = [found for arrival in told if (found := _find_subject(arrival, locked, trades, {})) is not None]
    budgets = {found.key: key for found in subjects if (key := budget_key(found.locked, found.trade)) is not None}
    if not budgets:
        return {}
    writes.budgets.update(await lock_budgets(transaction, list(budgets.values())))
    return await find_cashbacks(transaction, list(budgets))


def _plan_unknown(arrival: _Arrival, kept: list[KeptEvidence], *, now: datetime) -> Planned:
    """Evidence of a trade that is not here: kept if it says something, and looked at again (I6, I13)."""
    reason = FOREIGN_ENVIRONMENT if arrival.is_foreign else UNKNOWN_TRADE
    if arrival.item.evidence.outcome in {Outcome.PAID, Outcome.UNPAID_FINAL}:
        kept.append(_kept(arrival, reason=reason, now=now))
    return Planned(decision=reason, order_state="", trade_state="", version=0)


def _kept(arrival: _Arrival, *, reason: str, now: datetime) -> KeptEvidence:
    evidence, left_over = arrival.item.evidence, arrival.item.leftover_attempts
    attempts = 0 if left_over is None else left_over + 1
    # A foreign number stays foreign: it is shown, not tried every few seconds.
    delay = timedelta(days=1) if reason == FOREIGN_ENVIRONMENT else delay_after(LEFTOVER_LADDER_S, attempts=attempts)
    return KeptEvidence(
        lane=arrival.lane,
        trade_no=evidence.trade_no,
        digest=evidence_digest(evidence),
        due_at=now + delay,
        attempts=attempts,
        reason=reason,
        statement=msgspec.json.encode(evidence).decode(),
    )


def _notice(arrival: _Arrival, notice: ArrivedNotice, *, decision: str) -> NewNotice:
    evidence = arrival.item.evidence
    if notice.tells_refund and decision == ALREADY_SUCCEEDED:
        # It is no late notice of the payment, though it proves one.
        decision = REFUND_TOLD
    return NewNotice(
        key=arrival.key or (arrival.lane, NO_ORDER),
        notice_id=notice.notice_id,
        account_id=evidence.account_id,
        trade_no=evidence.trade_no,
        received_at=notice.received_at,
        headers=notice.headers,
        body=notice.body,
        decision=decision,
    )
