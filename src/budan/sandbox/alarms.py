"""One clock for everything that is to happen to a trade later."""

import asyncio
import heapq
from collections.abc import Callable
from datetime import datetime
from typing import Final

ALARMS_MAX: Final = 1_000_000
# Rung in pieces, so that a million alarms due at once do not hold the loop.
_RINGS_PER_TURN: Final = 64


class Alarms:
    """Calls `ring(nth)` when a trade's time has come; what is to be done then the trade itself tells."""

    def __init__(self, *, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._heap: list[tuple[datetime, int]] = []
        self._changed = asyncio.Event()

    @property
    def is_full(self) -> bool:
        """Whether more may not be promised."""
        return len(self._heap) >= ALARMS_MAX

    def set(self, nth: int, *, at: datetime) -> None:
        """Rings for this trade at this moment, or at once when it is over."""
        heapq.heappush(self._heap, (at, nth))
        if self._heap[0][1] == nth:
            self._changed.set()

    async def run(self, ring: Callable[[int], None]) -> None:
        """Rings until it is cancelled."""
        while True:
            self._ring_due(ring)
            self._changed.clear()
            await self._wait()

    def _ring_due(self, ring: Callable[[int], None]) -> None:
        now = self._clock()
        for _ in range(_RINGS_PER_TURN):
            if not self._heap or self._heap[0][0] > now:
                return
            _, nth = heapq.heappop(self._heap)
            ring(nth)

    async def _wait(self) -> None:
        wait_s = None
        if self._heap:
            wait_s = max(0.0, (self._heap[0][0] - self._clock()).total_seconds())
        try:
            async with asyncio.timeout(wait_s):
                await self._changed.wait()
        except TimeoutError:
            return
