"""Workers in the test's own process, on the parts that the program runs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from secrets import token_hex

from budan.cli.wiring import build_job_turns
from budan.core.pace import DELIVERY_LADDER_S
from budan.flows.delivering import Deliveries
from budan.flows.keeping import Housekeeping
from budan.flows.lanes import LEASE_S, LaneKeeper
from budan.flows.leftovers import Leftovers
from budan.wire.http_fast import FastHttpClient
from budan.wire.names import LookUp, NameLookups, look_up_by_system
from budan.workers.deliver import DELIVERIES_MAX
from budan.workers.mail import MailTurns
from budan.workers.run import Workers, run_workers
from stage import Stage

# Rungs that a test can wait for; the real ones are tried by the unit tests of core.pace.
QUICK_LADDER_S = (0.05, 0.05, 0.1)


@dataclass
class SteppedClock:
    """A clock that the test moves."""

    monotonic: float = 1_000.0

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        return self.monotonic


def keeper(stage: Stage, *, lease_s: float = LEASE_S) -> LaneKeeper:
    """A lane keeper of one worker's life."""
    return LaneKeeper(
        database=stage.database,
        clock=stage.opened.clock,
        worker=f"worker-{token_hex(4)}",
        lanes=stage.opened.lanes,
        lease_s=lease_s,
    )


@contextlib.asynccontextmanager
async def delivering(
    stage: Stage,
    *,
    allowed: Sequence[str],
    ladder: Sequence[float] = DELIVERY_LADDER_S,
    look_up: LookUp = look_up_by_system,
) -> AsyncIterator[Deliveries]:
    """Deliveries to these private addresses."""
    client = FastHttpClient(connections_per_host_max=DELIVERIES_MAX)
    deliveries = Deliveries(
        database=stage.database,
        clock=stage.opened.clock,
        client=client,
        lookups=NameLookups(look_up=look_up),
        box=stage.opened.keys.box,
        allowed=frozenset(allowed),
        jitter=lambda: 0.5,
        ladder=ladder,
    )
    try:
        async with deliveries:
            yield deliveries
    finally:
        await client.close()


def workers_of(stage: Stage, deliveries: Deliveries, *, lanes: LaneKeeper) -> Workers:
    """What a worker of the stage runs on."""
    return Workers(
        environment=stage.settings.environment,
        lanes=lanes,
        questions=stage.flows.questions,
        healths=stage.flows.healths,
        refunding=stage.flows.refunding,
        deliveries=deliveries,
        leftovers=Leftovers(database=stage.database, door=stage.flows.door),
        closing=stage.flows.closing,
        endings=stage.flows.endings,
        housekeeping=Housekeeping(database=stage.database),
        jobs=build_job_turns(stage.opened, stage.flows),
        mail=MailTurns(mailing=None),
        clock=stage.opened.clock,
    )


@contextlib.asynccontextmanager
async def working(
    stage: Stage,
    *,
    allowed: Sequence[str] = (),
    ladder: Sequence[float] = DELIVERY_LADDER_S,
    lease_s: float = LEASE_S,
    look_up: LookUp = look_up_by_system,
) -> AsyncIterator[asyncio.Event]:
    """A whole worker beside the block, shut down at its end; the event stops it sooner."""
    stop = asyncio.Event()
    async with (
        delivering(stage, allowed=allowed, ladder=ladder, look_up=look_up) as deliveries,
        asyncio.TaskGroup() as tasks,
    ):
        workers = workers_of(stage, deliveries, lanes=keeper(stage, lease_s=lease_s))
        tasks.create_task(run_workers(workers, stop=stop))
        try:
            yield stop
        finally:
            stop.set()
