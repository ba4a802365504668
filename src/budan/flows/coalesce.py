"""Batches of concurrent callers: a second runs beside the first when enough callers wait or the first is late."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

from budan.core.errors import Overloaded, StoreUnavailable
from budan.store.database import RowsFailed
from budan.telemetry import metrics

# Measured (docs/stack.md): whole lives per second in the database 1.5k one by one, 17.7k by 50, 21k by 200.
ROWS_MAX = 200
BATCHES_IN_FLIGHT_MAX = 2
# A batch costs PostgreSQL and us a millisecond each, whatever is in it. So many rows are worth one at any time.
ROWS_ENOUGH = 32
# One that takes longer waits for a lock or a disk, and those behind it do not wait with it.
PROMPT_S_MAX = 0.03
QUEUE_ITEMS_MAX = 10_000
# A deadlock or a lock time-out passes by itself, so the single row that is left is tried again before it fails.
SINGLE_TRIES_MAX = 3

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Item, Result]):
    item: Item
    key: Hashable
    done: "asyncio.Future[Result]"


@dataclass(slots=True, eq=False)
class _Flight(Generic[Item, Result]):
    """A batch from its start to its end; `batch` is None until the event loop's next turn, which takes it."""

    batch: "list[_Waiting[Item, Result]] | None" = None
    is_late: bool = False


class Coalescer(Generic[Item, Result]):
    """Turns concurrent submissions into batches for one function.

    Who comes alone waits for nothing. Else the next batch starts when the one before it has ended, or is late, or when
    enough wait; no timer holds it back, which would cost callers more than it saves. Two items of one key never share a batch and never run
    at the same time, and they run in the order in which they came. `run` takes a batch in one transaction and gives one
    result for each item, in order. When it raises anything but `StoreUnavailable` the batch is halved, down to the single
    row, which alone fails. `name` is what its metrics are called. Use as an async context manager; leaving drains.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        name: str,
        key: Callable[[Item], Hashable],
        rows_max: int = ROWS_MAX,
    ) -> None:
        self._run = run
        self._rows_measured = metrics.BATCH_ROWS.labels(batch=name)
        self._seconds_measured = metrics.BATCH_SECONDS.labels(batch=name)
        self._refusals_counted = metrics.BATCH_REFUSED.labels(batch=name)
        self._key = key
        self._rows_max = rows_max
        self._queue: deque[_Waiting[Item, Result]] = deque()
        self._busy_keys: set[Hashable] = set()
        self._flights: set[_Flight[Item, Result]] = set()
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
        # Leaving waits for what was promised, whatever the reason for leaving: half a batch helps nobody.
        try:
            await self._tasks.__aexit__(None, None, None)
        finally:
            # Nothing is left but by a drain that was broken off.
            self._cancel_queue()

    async def submit(self, item: Item) -> Result:
        """Put `item` into a batch and wait for its result.

        Raises `Overloaded` before anything is promised when the queue is full, else what `run` raised for this item. A
        cancelled caller stops waiting; the item itself runs to its end.
        """
        if len(self._queue) >= QUEUE_ITEMS_MAX:
            self._refusals_counted.inc()
            raise Overloaded
        waiting = _Waiting(item, self._key(item), asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._start_batches()
        return await waiting.done

    def _start_batches(self) -> None:
        """Start one more batch if there is something to do and it is worth it; called whenever that may have changed."""
        if not self._queue or len(self._flights) >= BATCHES_IN_FLIGHT_MAX:
            return
        if any(flight.batch is None for flight in self._flights):
            return
        if len(self._queue) >= ROWS_ENOUGH or all(flight.is_late for flight in self._flights):
            flight = _Flight[Item, Result]()
            self._flights.add(flight)
            self._tasks.create_task(self._fly(flight))

    def _take_batch(self) -> "list[_Waiting[Item, Result]]":
        """The oldest items whose keys are free; an item whose key is busy keeps its place."""
        batch: list[_Waiting[Item, Result]] = []
        kept: deque[_Waiting[Item, Result]] = deque()
        while self._queue and len(batch) < self._rows_max:
            waiting = self._queue.popleft()
            if waiting.key in self._busy_keys:
                kept.append(waiting)
                continue
            self._busy_keys.add(waiting.key)
            batch.append(waiting)
        self._queue.extendleft(reversed(kept))
        return batch

    async def _fly(self, flight: "_Flight[Item, Result]") -> None:
        """One batch from its first item to the last answer."""
        batch: list[_Waiting[Item, Result]] = []
        try:
            # Taken only now: whoever was ready in the same turn of the event loop has submitted meanwhile.
            batch = flight.batch = self._take_batch()
            if batch:
                await self._settle(flight, batch)
        except asyncio.CancelledError:
            # Only a drain that is broken off cancels a batch: nobody may wait for what will not come.
            _cancel(batch)
            self._cancel_queue()
            raise
        finally:
            self._flights.discard(flight)
            self._busy_keys.difference_update(waiting.key for waiting in batch)
            # Where nothing could be taken, all that waits has a key that is busy, and the end of that batch comes here.
            if batch:
                self._start_batches()

    async def _settle(self, flight: "_Flight[Item, Result]", batch: "list[_Waiting[Item, Result]]") -> None:
        loop = asyncio.get_running_loop()
        self._start_batches()
        timer = loop.call_later(PROMPT_S_MAX, self._note_late, flight)
        try:
            await self._run_halving(batch)
        finally:
            timer.cancel()

    def _note_late(self, flight: "_Flight[Item, Result]") -> None:
        flight.is_late = True
        self._start_batches()

    def _cancel_queue(self) -> None:
        _cancel(self._queue)
        self._queue.clear()

    async def _run_halving(self, batch: "list[_Waiting[Item, Result]]") -> None:
        try:
            await self._run_once(batch)
        except StoreUnavailable as away:
            _fail(batch, away)
        except Exception as error:  # noqa: BLE001 - top of a turn: every caller hears it, none waits for ever
            if len(batch) == 1:
                await self._run_alone(batch[0], error)
                return
            # An item that breaks our own code is alone with it too: its neighbours have done nothing.
            middle = len(batch) // 2
            await self._run_halving(batch[:middle])
            await self._run_halving(batch[middle:])

    async def _run_alone(self, waiting: "_Waiting[Item, Result]", failed: Exception) -> None:
        for _ in range(SINGLE_TRIES_MAX - 1):
            if not isinstance(failed, RowsFailed):
                break
            try:
                await self._run_once([waiting])
            except Exception as again:  # noqa: BLE001 - top of a turn: as above
                failed = again
            else:
                return
        _fail([waiting], failed)

    async def _run_once(self, batch: "list[_Waiting[Item, Result]]") -> None:
        with self._seconds_measured.time():
            results = await self._run([waiting.item for waiting in batch])
        self._rows_measured.observe(len(batch))
        assert len(results) == len(batch), "one result for each item"
        for waiting, result in zip(batch, results, strict=True):
            if not waiting.done.done():
                waiting.done.set_result(result)


def _fail(batch: "Sequence[_Waiting[Item, Result]]", error: Exception) -> None:
    for waiting in batch:
        if not waiting.done.done():
            waiting.done.set_exception(error)


def _cancel(batch: "Iterable[_Waiting[Item, Result]]") -> None:
    for waiting in batch:
        waiting.done.cancel()
