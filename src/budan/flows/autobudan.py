"""autobudan: asks the channels about every order that may have been paid there and is not paid here."""

from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec

from budan.core.numbers import Environment, Lane, MerchantId, id_floor
from budan.core.sweeping import Span, sweep_spans, whole_span
from budan.flows.job import JobPlan, RunArguments, RunningJob, parse_order_no
from budan.flows.suspicion import Suspicion, SuspicionSteps
from budan.store import suspects as stored
from budan.store.database import Database
from budan.store.suspects import SuspectPage, SuspectRange

AUTOBUDAN: Final = JobPlan(
    name="autobudan",
    purpose="asks channels about every order that may be paid there and is not paid here",
    cron="*/30 * * * *",
    zone="Asia/Shanghai",
    takes=frozenset({"order", "merchant", "since", "until"}),
    is_repair=True,
    late_after_s=300.0,
    long_after_s=1_500.0,
    # A page of 500 orders of a channel that takes one question in two seconds moves once in 17 minutes.
    stuck_after_s=1_800.0,
)
ORDERS_PER_PAGE: Final = 500


class _Place(msgspec.Struct, frozen=True, kw_only=True):
    """The cursor: everything up to this order of this lane in this range is asked about."""

    number: int
    lane: int
    after: int


class Autobudan:
    """The sweep, as a job: pages by key, answers by the door, a cursor of what is committed."""

    def __init__(self, *, database: Database, environment: Environment, lanes: int, steps: SuspicionSteps) -> None:
        self._database = database
        self._environment = environment
        self._lanes = lanes
        self._steps = steps

    @property
    def plan(self) -> JobPlan:
        """See Job.plan."""
        return AUTOBUDAN

    async def run(self, running: RunningJob) -> None:
        """See Job.run."""
        async with Suspicion(steps=self._steps, running=running) as suspicion:
            async for place, page in self._pages(running):
                await suspicion.add(page.rows, cursor=msgspec.json.encode(place).decode())
        unasked = running.progress.get("unasked", 0)
        if unasked:
            await running.say("warning", f"{unasked} trades were not asked about: their channel is away")

    async def _pages(self, running: RunningJob) -> AsyncIterator[tuple[_Place, SuspectPage]]:
        place = _Place(number=0, lane=0, after=0) if running.cursor is None else _read(running.cursor)
        for number, (lanes, within) in enumerate(self._ranges(running)):
            if number < place.number:
                continue
            resumes = number == place.number
            for lane in await self._list_lanes([lane for lane in lanes if not resumes or lane >= place.lane], within):
                after = place.after if resumes and lane == place.lane else 0
                async for page in self._pages_of(lane, within, after=max(after, within.since - 1)):
                    assert page.last is not None
                    yield _Place(number=number, lane=lane, after=page.last), page

    async def _pages_of(self, lane: Lane, within: SuspectRange, *, after: int) -> AsyncIterator[SuspectPage]:
        while True:
            async with self._database.reading_statement() as transaction:
                page = await stored.list_suspects(transaction, lane, within, after=after, orders_max=ORDERS_PER_PAGE)
            if page.last is None:
                return
            yield page
            after = page.last

    async def _list_lanes(self, lanes: Sequence[Lane], within: SuspectRange) -> list[Lane]:
        async with self._database.reading_statement() as transaction:
            return await stored.list_suspect_lanes(transaction, lanes, within)

    def _ranges(self, running: RunningJob) -> list[tuple[Sequence[Lane], SuspectRange]]:
        """What is asked about, the same whoever goes on with the run: it follows from the run's own row."""
        given = running.arguments
        lanes = [Lane(lane) for lane in range(self._lanes)]
        if given.order_no is not None:
            number = parse_order_no(given.order_no, environment=self._environment)
            return [([number.lane], SuspectRange(since=number.order_id, until=number.order_id + 1))]
        merchant_id = None if given.merchant_id is None else MerchantId(given.merchant_id)
        return [
            (lanes, SuspectRange(since=id_floor(since), until=id_floor(until), merchant_id=merchant_id))
            for since, until in _spans(given, running)
        ]


def _spans(given: RunArguments, running: RunningJob) -> Sequence[Span]:
    if given == RunArguments():
        return sweep_spans(begun_at=running.started_at, last_begun_at=running.last_begun_at)
    since, until = whole_span(begun_at=running.started_at)
    return [(given.since or since, given.until or until)]


def _read(cursor: str) -> _Place:
    return msgspec.json.decode(cursor, type=_Place)
