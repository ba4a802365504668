"""How a loop goes on: soon again after work, slowly when idle, more slowly after failures, at once when told to stop."""

import asyncio
from collections.abc import Coroutine
from typing import Protocol, TypeVar

from budan.flows.failures import Failures, attempt
from budan.flows.lanes import LaneKeeper

# What arrives is found within this time while there is work, and an idle worker asks the database five times a second.
LOOK_AGAIN_S = 0.01
IDLE_S_MAX = 0.2
FAILED_S_FIRST = 0.05
# Below the lease, so that a loop that only fails keeps its lanes: it is alive, and others would fail alike.
FAILED_S_MAX = 1.0

Answer = TypeVar("Answer")


class Turns(Protocol):
    """What a loop runs."""

    @property
    def name(self) -> str:
        """What it is called in logs and metrics."""
        ...

    async def turn(self) -> bool:
        """One look at what is due; True when there was work."""
        ...


async def run_loop(turns: Turns, *, lanes: LaneKeeper, stop: asyncio.Event) -> None:
    """Take turns until `stop`; each finished one, failed ones too, keeps the lanes."""
    failures = Failures(work=turns.name)
    pause_s = LOOK_AGAIN_S
    while not stop.is_set():
        found = await attempt(turns.turn, failures)
        await attempt(lambda: lanes.finish_turn(turns.name), failures)
        if found is None:
            pause_s = min(max(pause_s * 2, FAILED_S_FIRST), FAILED_S_MAX)
        elif found:
            pause_s = LOOK_AGAIN_S
        else:
            pause_s = min(pause_s * 2, IDLE_S_MAX)
        await stopped_within(pause_s, stop)


async def unless_stopped(work: Coroutine[None, None, Answer], stop: asyncio.Event) -> Answer | None:
    """What `work` gives, or None where `stop` came first; the work is cancelled then and has ended."""
    async with asyncio.TaskGroup() as tasks:
        working, stopping = tasks.create_task(work), tasks.create_task(stop.wait())
        await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
        working.cancel()
        stopping.cancel()
    return None if working.cancelled() else working.result()


async def stopped_within(seconds: float, stop: asyncio.Event) -> bool:
    """Wait so long, or until `stop`."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return False
    return True
