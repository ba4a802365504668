"""Failures of what goes on by itself: each is counted, and a line tells of them at a bounded rate."""

import asyncio

import structlog

from budan.core.errors import Overloaded, StoreUnavailable
from budan.store.database import RowsFailed
from budan.telemetry import metrics

# A database that is away fails hundreds of rows in a second; one line tells it.
FAILURE_LINES_EVERY_S = 1.0

_log = structlog.get_logger(__name__)


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
