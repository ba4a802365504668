"""The deadlines of many calls, all watched by one timer of the loop."""

import asyncio
from time import monotonic
from typing import Final

# How much later than its deadline a call may end.
LOOK_EVERY_S: Final = 0.1


class Deadlines:
    """Gives contexts as `asyncio.timeout` does, for calls that end long before their deadline; belongs to one event loop.

    A timer for each call, made and taken back ten thousand times a second, costs as much as all else that a guard does.
    """

    __slots__ = ("_is_looking", "_running")

    def __init__(self) -> None:
        # By its context, when a call is overdue.
        self._running: dict[asyncio.Timeout, float] = {}
        self._is_looking = False

    def begin(self, within_s: float) -> asyncio.Timeout:
        """A context to enter at once, over at the latest `LOOK_EVERY_S` after so many seconds. Give it to `end` afterwards."""
        context = asyncio.Timeout(None)
        self._running[context] = monotonic() + within_s
        if not self._is_looking:
            self._look_soon()
        return context

    def end(self, context: asyncio.Timeout) -> None:
        """The call is over, in time or not."""
        self._running.pop(context, None)

    def _look_soon(self) -> None:
        self._is_looking = True
        asyncio.get_running_loop().call_later(LOOK_EVERY_S, self._look)

    def _look(self) -> None:
        now_s = monotonic()
        overdue = [context for context, until_s in self._running.items() if until_s <= now_s]
        for context in overdue:
            # Told once: a context that is being ended takes no other moment.
            self.end(context)
            context.reschedule(asyncio.get_running_loop().time())
        self._is_looking = False
        if self._running:
            self._look_soon()
