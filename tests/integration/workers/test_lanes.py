"""Two workers, one table of leases; what a lane's holder may do is tried in test_deliver."""

import asyncio
from datetime import datetime

import asyncpg
import pytest

from budan.flows.lanes import LaneKeeper
from integration.workers.working import SteppedClock, keeper
from stage import Stage

LANES = 64
# Long enough for a busy machine to renew in, short enough to be waited for.
LEASE_S = 1.0


def stepped(stage: Stage, clock: SteppedClock, *, worker: str) -> LaneKeeper:
    """A keeper on this clock, with the usual lease."""
    return LaneKeeper(database=stage.database, clock=clock, worker=worker, lanes=LANES)


async def test_a_lone_worker_holds_every_lane(stage: Stage) -> None:
    lanes = keeper(stage)
    assert not lanes.held()
    await lanes.renew()
    assert sorted(lanes.held()) == list(range(LANES))


async def test_two_workers_share_and_never_hold_a_lane_both(stage: Stage) -> None:
    first, second = keeper(stage), keeper(stage)
    await first.renew()
    for _ in range(4):
        await second.renew()
        await first.renew()
        assert not first.held().keys() & second.held().keys()
    assert len(first.held()) == len(second.held()) == LANES // 2


async def test_three_workers_have_no_more_than_their_fair_share(stage: Stage) -> None:
    workers = [keeper(stage) for _ in range(3)]
    for _ in range(4):
        for worker in workers:
            await worker.renew()
    assert sorted(len(worker.held()) for worker in workers) == [20, 22, 22]


async def test_a_lane_is_listed_no_more_one_renewal_before_it_is_given_back(stage: Stage) -> None:
    """What was started there gets the time between two renewals to end."""
    first, second = keeper(stage), keeper(stage)
    await first.renew()
    await second.renew()
    await first.renew()
    assert len(first.held()) == LANES // 2
    await second.renew()
    assert not second.held()
    await first.renew()
    await second.renew()
    assert len(second.held()) == LANES // 2


async def test_a_worker_that_shuts_down_frees_its_lanes_at_once(stage: Stage) -> None:
    first, second = keeper(stage), keeper(stage)
    await first.renew()
    fences = dict(first.held())
    await first.release()
    assert not first.held()
    await second.renew()
    assert sorted(second.held()) == list(range(LANES))
    assert all(second.held()[lane] > fence for lane, fence in fences.items())


@pytest.mark.invariant("I6")
async def test_the_lanes_of_a_worker_that_died_are_taken_when_its_lease_is_over(stage: Stage) -> None:
    dead, living = keeper(stage, lease_s=LEASE_S), keeper(stage, lease_s=LEASE_S)
    await dead.renew()
    fences = dict(dead.held())
    async with asyncio.timeout(LEASE_S * 10):
        while len(living.held()) < LANES:
            await living.renew()
            # While the dead one may still believe, nobody else does.
            assert not dead.held().keys() & living.held().keys()
    assert all(living.held()[lane] > fence for lane, fence in fences.items())
    await dead.renew()
    assert not dead.held().keys() & living.held().keys()


async def test_a_lease_ends_here_by_the_clock_read_before_its_statement(stage: Stage) -> None:
    clock = SteppedClock()
    lanes = stepped(stage, clock, worker="paused")
    await lanes.renew()
    clock.monotonic += 4.9
    assert (len(lanes.held()), lanes.count_leased()) == (LANES, LANES)
    clock.monotonic += 0.1
    assert not lanes.held()
    # What the metric of held lanes shows, although no renewal came that would have told it.
    assert lanes.count_leased() == 0


async def test_a_loop_that_hangs_loses_the_lanes(stage: Stage) -> None:
    """Only a round of all watched loops renews; there is no timer that would go on for a loop that does not."""
    clock = SteppedClock()
    lanes = stepped(stage, clock, worker="hanging")
    lanes.watch("deliver")
    lanes.watch("query")
    await lanes.renew()
    for _ in range(5):
        clock.monotonic += 1.0
        await lanes.finish_turn("deliver")
    assert not lanes.held()
    await lanes.finish_turn("query")
    assert len(lanes.held()) == LANES


async def test_finished_turns_renew_five_times_in_a_lease(
    stage: Stage, rows: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    clock = SteppedClock()
    lanes = stepped(stage, clock, worker="busy")
    lanes.watch("deliver")
    await lanes.renew()
    ends = set[datetime]()
    for _ in range(100):
        clock.monotonic += 0.05
        await lanes.finish_turn("deliver")
        ends.add(await rows.fetchval("SELECT max(expires_at) FROM lane_lease"))
    assert 5 <= len(ends) <= 6
