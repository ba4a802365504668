"""The lost-order report of a time: which paid orders were late or found by us, who lost them, and when they were whole."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from budan.core.gap import GAP_NAMED_FROM, GapCause, Milestones, Outage, name_gap
from budan.core.losses import UNEXPLAINED, Loss, LossTally
from budan.core.numbers import Environment, MerchantId, trade_number
from budan.flows.presence import list_outages
from budan.ports.channel import Method, direction_of
from budan.store import losses as stored
from budan.store.database import Database
from budan.store.losses import LossRow

# An hour is counted by one statement. So many payments are looked at by one; an hour that has more is cut: at forty
# million orders a day into parts of three hundred thousand.
HOUR: Final = timedelta(hours=1)
PAID_PER_STATEMENT: Final = 300_000
PART: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class LossLine:
    """One order that was late, or did not come the normal way."""

    order_no: str
    merchant_id: MerchantId
    reference: str
    channel: str
    amount_minor: int
    currency: str
    cause: str
    learned_source: str
    paid_at: datetime | None
    learned_at: datetime
    completed_at: datetime
    taken_at: datetime | None
    recover_s: float | None


class Losses:
    """Reads what was lost in a time; changes nothing."""

    def __init__(self, *, bulk: Callable[[], AbstractAsyncContextManager[Database]], environment: Environment) -> None:
        self._bulk = bulk
        self._environment = environment

    async def tally(self, *, since: datetime, until: datetime) -> LossTally:
        """The orders that became paid in a time, counted by channel and cause."""
        tally = LossTally()
        async with self._bulk() as database:
            async with database.reading() as transaction:
                tally.outages = await list_outages(transaction, since=since, until=until)
            for begin, end in _slices(since, until, HOUR):
                paid = await _count(database, begin, end)
                tally.paid += paid
                for line in await self._read_hour(database, begin, end, paid=paid):
                    tally.add(Loss(channel=line.channel, cause=line.cause, recover_s=line.recover_s))
        return tally

    async def list_lines(self, *, since: datetime, until: datetime) -> AsyncGenerator[LossLine]:
        """The orders themselves, in the order in which they were completed."""
        async with self._bulk() as database:
            for begin, end in _slices(since, until, HOUR):
                paid = await _count(database, begin, end)
                for line in await self._read_hour(database, begin, end, paid=paid):
                    yield line

    async def _read_hour(self, database: Database, since: datetime, until: datetime, *, paid: int) -> list[LossLine]:
        if not paid:
            return []
        length = HOUR if paid <= PAID_PER_STATEMENT else PART
        return [line for begin, end in _slices(since, until, length) for line in await self._read(database, begin, end)]

    async def _read(self, database: Database, since: datetime, until: datetime) -> list[LossLine]:
        late_after_s = GAP_NAMED_FROM.total_seconds()
        async with database.reading() as transaction:
            now = await transaction.clock()
            rows = await stored.list_losses(transaction, since=since, until=until, late_after_s=late_after_s)
            # What is completed today may have waited since last week.
            first = min((row.paid_at or row.learned_at for row in rows), default=since)
            outages = await list_outages(transaction, since=first, until=now) if rows else []
        return [self._line(row, outages=outages, now=now) for row in rows]

    def _line(self, row: LossRow, *, outages: Sequence[Outage], now: datetime) -> LossLine:
        order_no = trade_number(
            environment=self._environment,
            lane=row.lane,
            merchant_id=row.merchant_id,
            order_id=row.order_id,
            attempt=0,
        )
        return LossLine(
            order_no=order_no,
            merchant_id=row.merchant_id,
            reference=row.reference,
            channel=row.channel,
            amount_minor=row.amount_minor,
            currency=row.currency,
            cause=name_cause(row, outages=outages, now=now),
            learned_source=row.learned_source,
            paid_at=row.paid_at,
            learned_at=row.learned_at,
            completed_at=row.completed_at,
            taken_at=row.taken_at,
            recover_s=None if row.paid_at is None else max(0.0, (row.completed_at - row.paid_at).total_seconds()),
        )


def name_cause(row: LossRow, *, outages: Sequence[Outage], now: datetime) -> str:
    """Who lost an order: its longest wait tells, else its remedy; nothing tells it of one that is `unexplained`."""
    gap = name_gap(
        Milestones(
            direction=direction_of(Method(row.method)),
            paid_at=row.paid_at,
            learned_at=row.learned_at,
            learned_source=row.learned_source,
            completed_at=row.completed_at,
            noticed_at=row.noticed_at,
            rejected_at=row.rejected_at,
            is_to_tell=row.is_to_tell,
            told_at=row.told_at,
            taken_at=row.taken_at,
        ),
        outages=outages,
        now=now,
    )
    if gap is not None:
        return gap.cause.value
    if row.remedy_cause == GapCause.NOTICE_MISSING.value and row.rejected_at is not None:
        # We asked so soon that nobody waited long; the notice was there all the same, and could not be believed.
        return GapCause.NOTICE_REJECTED.value
    return row.remedy_cause or UNEXPLAINED


async def _count(database: Database, since: datetime, until: datetime) -> int:
    async with database.reading() as transaction:
        return await stored.count_paid(transaction, since=since, until=until)


def _slices(since: datetime, until: datetime, length: timedelta) -> list[tuple[datetime, datetime]]:
    count = max(0, -((since - until) // length))
    return [(since + length * number, min(since + length * (number + 1), until)) for number in range(count)]
