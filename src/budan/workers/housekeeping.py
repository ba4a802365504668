"""What no order waits for: partitions ahead of time, the metrics of what is due, and forgeries and old secrets forgotten."""

import asyncio
from typing import Final

import structlog

from budan.flows.failures import Failures
from budan.flows.keeping import KINDS, Housekeeping
from budan.flows.lanes import LaneKeeper
from budan.flows.waiting import KINDS as WAITING_KINDS
from budan.ports.clock import Clock
from budan.telemetry import metrics
from budan.workers.loop import attempt, stopped_within

COUNT_EVERY_S: Final = 5.0
PARTITIONS_EVERY_S: Final = 3_600.0
# Each try shuts tables for a moment, so one that failed is repeated seldom, and more and more so.
PARTITIONS_AGAIN_S: Final = 60.0
PRUNE_EVERY_S: Final = 3_600.0
BOOKS_EVERY_S: Final = 60.0
# Each open day's report is made anew for it; what does not tie out needs an engineer, who comes within the hour.
UNTIED_EVERY_S: Final = 600.0
WAITING_EVERY_S: Final = 60.0

_log = structlog.get_logger(__name__)


class HousekeepingTurns:
    """Takes turns of its own pace; lanes do not depend on it."""

    def __init__(self, *, housekeeping: Housekeeping, lanes: LaneKeeper, clock: Clock) -> None:
        self._housekeeping = housekeeping
        self._lanes = lanes
        self._clock = clock
        works = ("housekeeping", "partitions", "forgeries", "books", "untied", "waiting")
        self._failures = {work: Failures(work=work) for work in works}
        self._partitions_at_s = float("-inf")
        self._partitions_rest_s = PARTITIONS_AGAIN_S
        self._prune_at_s = float("-inf")
        self._books_at_s = float("-inf")
        self._untied_at_s = float("-inf")
        self._waiting_at_s = float("-inf")

    async def run(self, stop: asyncio.Event) -> None:
        """Take turns until `stop`."""
        while not stop.is_set():
            await self.turn()
            await stopped_within(COUNT_EVERY_S, stop)

    async def turn(self) -> None:
        """Count what is due; each hour see to the partitions, and forget old forgeries and secrets. None waits for another's luck."""
        await attempt(self._see_to_partitions, self._failures["partitions"])
        await attempt(self._count, self._failures["housekeeping"])
        await attempt(self._forget_forgeries, self._failures["forgeries"])
        await attempt(self._count_books, self._failures["books"])
        await attempt(self._count_untied, self._failures["untied"])
        await attempt(self._count_waiting, self._failures["waiting"])

    async def _count(self) -> None:
        held = list(self._lanes.held())
        try:
            counts = {count.work: count for count in await self._housekeeping.count_due(lanes=held)} if held else {}
            needing_person = await self._housekeeping.count_needing_person(lanes=held) if held else 0
        except Exception:
            _forget_due()
            raise
        metrics.PERSON_ROWS.set(needing_person)
        if not held:
            _forget_due()
            return
        for kind in KINDS:
            count = counts.get(kind)
            metrics.DUE_ROWS.labels(kind).set(count.rows_due if count else 0)
            metrics.DUE_OLDEST_SECONDS.labels(kind).set(count.oldest_s if count else 0.0)

    async def _see_to_partitions(self) -> None:
        # One worker is enough, and two would wait for each other's locks.
        if 0 not in self._lanes.held() or self._clock.monotonic_s() < self._partitions_at_s:
            return
        self._partitions_at_s = self._clock.monotonic_s() + self._partitions_rest_s
        self._partitions_rest_s = min(2 * self._partitions_rest_s, PARTITIONS_EVERY_S)
        try:
            made = await self._housekeeping.make_partitions()
        finally:
            await self._count_default_rows()
        if made:
            _log.info("partitions_made", count=made)
        self._partitions_at_s = self._clock.monotonic_s() + PARTITIONS_EVERY_S
        self._partitions_rest_s = PARTITIONS_AGAIN_S

    async def _count_default_rows(self) -> None:
        late = await self._housekeeping.count_default_rows()
        metrics.DEFAULT_PARTITION_ROWS.set(late)
        if late:
            _log.error("partitions_were_late", orders=late)

    async def _count_books(self) -> None:
        if self._clock.monotonic_s() < self._books_at_s:
            return
        # The worker that holds lane 0 shows them; one that held it shows nothing any more, rather than what was.
        metrics.BILLS_LATE.clear()
        metrics.DISCREPANCIES_OPEN.clear()
        if 0 in self._lanes.held():
            count = await self._housekeeping.count_books()
            for account_id, late in count.late_bills.items():
                metrics.BILLS_LATE.labels(str(account_id)).set(late)
            for ages in count.ages:
                for age, rows in (("day", ages.day), ("week", ages.week), ("older", ages.older)):
                    metrics.DISCREPANCIES_OPEN.labels(str(ages.account_id), age).set(rows)
        self._books_at_s = self._clock.monotonic_s() + BOOKS_EVERY_S

    async def _count_untied(self) -> None:
        if self._clock.monotonic_s() < self._untied_at_s:
            return
        metrics.DAYS_UNTIED.clear()
        if 0 in self._lanes.held():
            for account_id, days in (await self._housekeeping.count_untied_days()).items():
                metrics.DAYS_UNTIED.labels(str(account_id)).set(days)
        self._untied_at_s = self._clock.monotonic_s() + UNTIED_EVERY_S

    async def _count_waiting(self) -> None:
        if self._clock.monotonic_s() < self._waiting_at_s:
            return
        # As of the books: shown by the worker that holds lane 0, and by nobody who cannot look.
        metrics.WAITING.clear()
        metrics.WAITING_OLDEST_SECONDS.clear()
        if 0 in self._lanes.held():
            counts = {count.what: count for count in await self._housekeeping.count_waiting()}
            for what in dict.fromkeys((*WAITING_KINDS, *counts)):
                count = counts.get(what)
                metrics.WAITING.labels(what).set(count.rows_found if count else 0)
                metrics.WAITING_OLDEST_SECONDS.labels(what).set(count.oldest_s if count else 0.0)
        self._waiting_at_s = self._clock.monotonic_s() + WAITING_EVERY_S

    async def _forget_forgeries(self) -> None:
        # One batch a turn, so that a month of forgeries holds nobody up.
        is_time = 0 in self._lanes.held() and self._clock.monotonic_s() >= self._prune_at_s
        if is_time and not await self._housekeeping.prune_rejected():
            await self._housekeeping.forget_old_secrets()
            self._prune_at_s = self._clock.monotonic_s() + PRUNE_EVERY_S


def _forget_due() -> None:
    """Absent, not 0: a worker without lanes, or one that cannot look, does not know how long anything waits."""
    metrics.DUE_ROWS.clear()
    metrics.DUE_OLDEST_SECONDS.clear()
