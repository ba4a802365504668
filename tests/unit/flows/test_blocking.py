"""Who gives up work in a thread closes and removes only afterwards what the thread works on."""

import asyncio
from collections.abc import Callable
from threading import Event

import pytest

from budan.flows.blocking import run_to_end


class Bench:
    """Work that goes on until it is interrupted, and misses the first interruption."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.interruptions = 0
        self.has_ended = False
        self._may_end = Event()
        self._loop = asyncio.get_running_loop()

    def work(self) -> None:
        """What the thread does; that it breaks off is its failure."""
        self._loop.call_soon_threadsafe(self.begun.set)
        self._may_end.wait(timeout=10.0)
        self.has_ended = True
        raise RuntimeError("interrupted")

    def interrupt(self) -> None:
        """Heard from the second time on."""
        self.interruptions += 1
        if self.interruptions > 1:
            self._may_end.set()


async def test_work_that_is_given_up_has_ended_before_anybody_goes_on() -> None:
    """However often it is cancelled: its files are removed next."""
    bench = Bench()
    running = asyncio.create_task(run_to_end(bench.work, interrupt=bench.interrupt))
    await bench.begun.wait()
    for _ in range(3):
        running.cancel()
        await asyncio.sleep(0)
        # Asked in this order, for the thread may end between the two.
        assert not running.done() or bench.has_ended
    with pytest.raises(asyncio.CancelledError):
        await running
    assert bench.has_ended
    assert bench.interruptions > 1, "what came between two statements is repeated"


async def test_work_that_nobody_gives_up_gives_its_result_or_its_failure() -> None:
    def broken() -> int:
        raise ValueError("broken")

    works: list[Callable[[], int]] = [lambda: 5, broken]
    assert await run_to_end(works[0]) == 5
    with pytest.raises(ValueError, match="broken"):
        await run_to_end(works[1])
