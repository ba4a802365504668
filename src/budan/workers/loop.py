"""How a loop goes on: soon again after work, slowly when idle, more slowly after failures, at once when told to stop."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import structlog

from budan.core.errors import Overloaded, StoreUnavailable
from budan.flows.lanes import LaneKeeper
from budan.store.database import RowsFailed
from budan.telemetry import metrics

# What arrives is found within this time while there is work, and an idle worker asks the database five times a second.
LOOK_AGAIN_S = 0.01
IDLE_S_MAX = 0.2
FAILED_S_FIRST = 0.05
# Below the lease, so that a loop that only fails keeps its lanes: it is alive, and others would fail alike.
FAILED_S_MAX = 1.0
# A database that is away fails hundreds of rows in a second; one line tells it.
FAILURE_LINES_EVERY_S = 1.0

Answer = TypeVar("Answer")
_log = structlog.get_logger(__name__)


class Turns(Protocol):
    """What a loop runs."""

    @property
    def name(self) -> str:
        """What it is called in logs and metrics."""
        ...

    async def turn(self) -> bool:
        """One look at what is due; True when there was work."""
        ...


class Failures:
    """Counts the failures of one kind of work, and logs them at a bounded rate."""

    def __init__(self, *, work: str) -> None:
        self._work = work
        self._counter = metrics.TURN_FAILURES.labels(work)
        self._log_at_s = 0.0
        self._unlogged = 0

    def count(self, error: Exception) -> None:
        """Count one; a traceback is logged for what is not one of the known failures."""
        self._counter.inc()
        now_s = asyncio.get_running_loop().time()
        if now_s < self._log_at_s:
            self._unlogged += 1
            return
        known = isinstance(error, StoreUnavailable | Overloaded | RowsFailed)
        _log.error(
            "turn_failed",
            work=self._work,
            error=f"{type(error).__name__}: {error}",
            unlogged_before=self._unlogged,
            exc_info=None if known else error,
        )
        self._log_at_s = now_s + FAILURE_LINES_EVERY_S
        self._unlogged = 0


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


async def attempt(act: Callable[[], Awaitable[Answer]], failures: Failures) -> Answer | None:
    """The answer of `act`, or None where it failed and was counted."""
    try:
        return await act()
    except Exception as error:  # noqa: BLE001 - the top of a turn: logged, counted, and the next turn comes later
        failures.count(error)
        return None


async def stopped_within(seconds: float, stop: asyncio.Event) -> bool:
    """Wait so long, or until `stop`."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return False
    return True
