"""The deadlines of many calls, all watched by one timer of the loop."""

import asyncio
from collections.abc import Awaitable
from time import monotonic
from typing import Any, Final, TypeVar

# How much later than its deadline a call may end.
LOOK_EVERY_S: Final = 0.1

Result = TypeVar("Result")


class Overdue(Exception):  # noqa: N818 - named like NotSent and its like
    """A call was ended at its deadline."""


class Deadlines:
    """Ends calls at their deadlines, as `asyncio.timeout` does, where nearly all end long before; belongs to one event loop.

    A timer for each call, made and taken back ten thousand times a second, costs as much as all else that a guard does,
    and one of `asyncio.timeout`'s contexts without a timer still half of that. The rule by which it tells its own
    cancellation from another's is asyncio.Timeout's: it is taken back, and none is left.
    """

    __slots__ = ("_is_looking", "_loop", "_running")

    def __init__(self) -> None:
        # When a task's call is overdue. Whoever is not here any more when its call ends was ended by us.
        self._running: dict[asyncio.Task[Any], float] = {}
        self._is_looking = False
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self, work: Awaitable[Result], *, within_s: float) -> Result:
        """What `work` gives. Raises `Overdue` at the latest `LOOK_EVERY_S` after so many seconds, when it has ended.

        Its own errors pass, a TimeoutError too, and so does a cancellation by anybody else. One at a time for each task.
        """
        if not self._is_looking:
            self._look_soon()
        task = asyncio.current_task(self._loop)
        assert task is not None
        assert task not in self._running, "a task makes one call at a time"
        cancelling = task.cancelling()
        self._running[task] = monotonic() + within_s
        try:
            result = await work
        except BaseException as error:
            if self._is_ended(task) and task.uncancel() <= cancelling and isinstance(error, asyncio.CancelledError):
                raise Overdue from error
            raise
        if self._is_ended(task):
            # The work has an answer all the same.
            task.uncancel()
        return result

    def _is_ended(self, task: asyncio.Task[Any]) -> bool:
        """Whether we ended the task's call; it is over in any case."""
        return self._running.pop(task, None) is None

    def _look_soon(self) -> None:
        self._is_looking = True
        # Asked for once: the question is a call into the kernel.
        self._loop = self._loop or asyncio.get_running_loop()
        self._loop.call_later(LOOK_EVERY_S, self._look)

    def _look(self) -> None:
        now_s = monotonic()
        for task in [task for task, until_s in self._running.items() if until_s <= now_s]:
            del self._running[task]
            task.cancel()
        self._is_looking = False
        if self._running:
            self._look_soon()
