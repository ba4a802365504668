"""Rows that are being worked on, remembered so that no listing starts them twice."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from types import TracebackType
from typing import Self

from budan.flows.failures import Failures
from budan.workers.loop import stopped_within

# A row that failed keeps its place so long, so that a failure of all of them is a slow loop and not a hot one.
FAILED_ROW_REST_S = 2.0


class InFlight:
    """At most `rows_max` rows at work. Use as an async context manager, and `drain` before leaving."""

    def __init__(self, *, work: str, rows_max: int, stop: asyncio.Event) -> None:
        self._rows_max = rows_max
        self._stop = stop
        self._failures = Failures(work=work)
        self._rows: dict[Hashable, asyncio.Task[None]] = {}
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._tasks.__aexit__(kind, error, traceback)

    def __len__(self) -> int:
        return len(self._rows)

    def keys(self) -> frozenset[Hashable]:
        """The rows in flight at this moment."""
        return frozenset(self._rows)

    @property
    def free(self) -> int:
        """How many more rows may start."""
        return self._rows_max - len(self._rows)

    def start(self, key: Hashable, work: Callable[[], Awaitable[None]], *, order_no: Callable[[], str]) -> None:
        """Work on a row; it is in flight until this ends, and a little longer when it failed.

        `order_no` is asked for whose row it is where it fails, for the log.
        """
        assert key not in self._rows
        assert self.free > 0
        task = self._tasks.create_task(self._run(work, order_no))
        self._rows[key] = task
        task.add_done_callback(lambda _: self._rows.pop(key))

    async def drain(self, *, timeout_s: float) -> int:
        """Wait for all rows, then cancel what is left; gives how many were. Their work stays due."""
        running = list(self._rows.values())
        if not running:
            return 0
        _, late = await asyncio.wait(running, timeout=timeout_s)
        for task in late:
            task.cancel()
        return len(late)

    async def _run(self, work: Callable[[], Awaitable[None]], order_no: Callable[[], str]) -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - the top of a turn for one row: counted, and it rests
            self._failures.count(error, order_no=order_no())
            await stopped_within(FAILED_ROW_REST_S, self._stop)
