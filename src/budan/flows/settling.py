"""Settlement: each merchant's day becomes a batch, booked in the transaction that makes it."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import msgspec

from budan.core.ledger import Entry, settlement_entry
from budan.core.money import CURRENCY_EXPONENTS
from budan.core.numbers import Lane, MerchantId
from budan.flows.ids import IdSource
from budan.flows.job import JobPlan, RunningJob
from budan.store import settlement as stored
from budan.store.database import Database, RowsFailed, Transaction
from budan.store.settlement import BatchKey, DueDay, NewBatch

SETTLE_DAILY: Final = JobPlan(
    name="settle-daily",
    purpose="makes a batch of each merchant's day that is over, by the merchant's own calendar",
    # Somewhere a day ends in nearly each hour; a merchant's own is settled once.
    cron="20 * * * *",
    zone="Asia/Shanghai",
    takes=frozenset({"merchant"}),
    is_repair=False,
    late_after_s=1_800.0,
    long_after_s=3_600.0,
    stuck_after_s=3_600.0,
)

# A day is settled so long after its midnight: by then the night's audit has made due what was lost of it.
SETTLES_FROM_S: Final = 3 * 3_600.0
# Of what was booked after a day's end so much is read for payments of that day; the rest is its successors' business.
REPAIRS_FOR_S: Final = 24 * 3_600.0
# A transaction stamps its postings and commits within its time limits; by then a moment has all of its own.
BOOKED_FOR: Final = timedelta(minutes=10)
# At forty million orders a day a lane has some ten thousand merchants and 600,000 orders: seconds of one statement.
MERCHANTS_PER_STATEMENT_MAX: Final = 20_000
# A lane that is too much for one statement is done in parts.
PART_OF: Final = 8

BulkDatabase = Callable[[], AbstractAsyncContextManager[Database]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What one statement did: so many merchants' days were looked at, and these batches are made."""

    lane: Lane
    days: int
    batches: Sequence[NewBatch]


class Settling:
    """Makes batches. Its database is one whose sessions read in bulk."""

    def __init__(self, *, bulk: BulkDatabase, ids: IdSource) -> None:
        self._bulk = bulk
        self._ids = ids

    async def settle(self, *, merchant_id: MerchantId | None, first_lane: int = 0) -> AsyncGenerator[Settled]:
        """Settle every day that is due, lane by lane; safe to repeat and to race, and to break off at any moment.

        Each value tells of what is committed. Raises `StoreUnavailable`, and `RowsFailed` where one merchant's day is
        too much for one statement.
        """
        async with self._bulk() as database:
            async with database.reading() as transaction:
                lanes = await stored.list_lanes(transaction, first=first_lane, merchant_id=merchant_id)
            for lane in lanes:
                settled_days = self._settle_lane(database, lane, merchant_id=merchant_id)
                async with aclosing(settled_days):
                    async for settled in settled_days:
                        yield settled

    async def _settle_lane(
        self, database: Database, lane: Lane, *, merchant_id: MerchantId | None
    ) -> AsyncGenerator[Settled]:
        """Day after day until none is due; a statement that fails is tried on fewer merchants, down to one."""
        merchants_max = MERCHANTS_PER_STATEMENT_MAX
        while True:
            try:
                settled = await self._settle_day(database, lane, merchant_id=merchant_id, merchants_max=merchants_max)
            except RowsFailed:
                if merchants_max == 1:
                    raise
                merchants_max = max(1, merchants_max // PART_OF)
                continue
            yield settled
            if not settled.days:
                return

    async def _settle_day(
        self, database: Database, lane: Lane, *, merchant_id: MerchantId | None, merchants_max: int
    ) -> Settled:
        async with database.transaction() as transaction:
            await stored.add_marks(transaction, lane, currencies=sorted(CURRENCY_EXPONENTS))
            due = await stored.lock_due(
                transaction,
                lane,
                merchant_id=merchant_id,
                settles_from_s=SETTLES_FROM_S,
                rows_max=merchants_max,
            )
            batches = await self._make(transaction, lane, due) if due else []
        return Settled(lane=lane, days=len(due), batches=batches)

    async def _make(self, transaction: Transaction, lane: Lane, due: Sequence[DueDay]) -> list[NewBatch]:
        now = await transaction.clock()
        booked_before = now - BOOKED_FOR
        assert all(day.ends_at < booked_before for day in due), "a day is settled when it has all of its postings"
        batches = await stored.make_batches(
            transaction,
            lane,
            [(day, self._ids.next()) for day in due],
            booked_before=booked_before,
            repairs_for_s=REPAIRS_FOR_S,
            now=now,
        )
        await stored.book(transaction, [_entry(lane, batch) for batch in batches], now=now)
        return batches


class SettleDaily:
    """Settlement, as a job."""

    def __init__(self, *, settling: Settling) -> None:
        self._settling = settling

    @property
    def plan(self) -> JobPlan:
        """See Job.plan."""
        return SETTLE_DAILY

    async def run(self, running: RunningJob) -> None:
        """See Job.run: the cursor is the lane."""
        first_lane = 0 if running.cursor is None else msgspec.json.decode(running.cursor, type=int)
        merchant = running.arguments.merchant_id
        counts = {name: running.progress.get(name, 0) for name in ("batches", "lines", "late_lines")}
        try:
            settled_days = self._settling.settle(
                merchant_id=None if merchant is None else MerchantId(merchant), first_lane=first_lane
            )
            async with aclosing(settled_days):
                async for settled in settled_days:
                    counts["batches"] += len(settled.batches)
                    counts["lines"] += sum(batch.lines for batch in settled.batches)
                    counts["late_lines"] += sum(batch.late_lines for batch in settled.batches)
                    running.stand(cursor=msgspec.json.encode(settled.lane).decode(), progress=counts)
        except RowsFailed as error:
            # Not a passing fault: a run that was taken up for ever would hide it.
            raise RuntimeError(f"a lane is not settled: {error}") from error


def _entry(lane: Lane, batch: NewBatch) -> tuple[BatchKey, Entry]:
    entry = settlement_entry(
        day=batch.day,
        merchant_id=batch.merchant_id,
        currency=batch.currency,
        total_minor=batch.total_minor,
        held_back_minor=batch.held_back_minor,
        released_minor=batch.released_minor,
    )
    return (lane, batch.batch_id), entry
