"""Failures of what goes on by itself: each is counted, and a line tells of them at a bounded rate."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from budan.core.errors import Overloaded, StoreUnavailable
from budan.store.database import RowsFailed
from budan.telemetry import metrics

# A database that is away fails hundreds of rows in a second; one line tells it.
FAILURE_LINES_EVERY_S = 1.0
# A line is read by a person: these are enough to look at.
ORDERS_TOLD_MAX = 20

Answer = TypeVar("Answer")

_log = structlog.get_logger(__name__)


class Failures:
    """Counts the failures of one kind of work, and logs them at a bounded rate with the orders that they kept waiting."""

    def __init__(self, *, work: str) -> None:
        self._work = work
        self._counter = metrics.TURN_FAILURES.labels(work)
        self._log_at_s = 0.0
        self._unlogged = 0
        # In the order in which they failed; a dictionary keeps each once.
        self._orders: dict[str, None] = {}

    def count(self, error: Exception, *, order_no: str | None = None) -> None:
        """Count one; a traceback is logged for what is not one of the known failures.

        A line names the orders of all that failed since the one before it, so many of them at most.
        """
        self._counter.inc()
        if order_no is not None and len(self._orders) < ORDERS_TOLD_MAX:
            self._orders[order_no] = None
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
            orders=list(self._orders),
            exc_info=None if known else error,
        )
        self._log_at_s = now_s + FAILURE_LINES_EVERY_S
        self._unlogged = 0
        self._orders.clear()


async def attempt(act: Callable[[], Awaitable[Answer]], failures: Failures) -> Answer | None:
    """The answer of `act`, or None where it failed and was counted: what goes on by itself ends with no failure."""
    try:
        return await act()
    except Exception as error:  # noqa: BLE001 - the top of a turn: logged, counted, and the next turn comes later
        failures.count(error)
        return None
