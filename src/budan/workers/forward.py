"""Questions that wait because notices came, brought forward when these stop."""

import asyncio
from collections.abc import Collection
from datetime import datetime
from typing import Final

import structlog

from budan.core.numbers import AccountId, Lane
from budan.flows.asking import Questions
from budan.flows.failures import Failures, attempt
from budan.flows.healths import AccountHealths
from budan.flows.lanes import LaneKeeper
from budan.telemetry import metrics
from budan.workers.loop import stopped_within

LOOK_EVERY_S: Final = 0.5
# Waiting questions read in one statement, and statements in one turn: nothing else waits for a long one.
ROWS_READ_MAX: Final = 2_000
PAGES_PER_TURN_MAX: Final = 10
# A process learns within a second or two that notices stopped, and puts orders off until then: they are found in the
# next rounds.
ROUNDS: Final = 4
ROUND_EVERY_S: Final = 1.0

_log = structlog.get_logger(__name__)


class ForwardTurns:
    """Walks through what waits in held lanes when an account's notices stop, and when lanes come whose holder may not have."""

    def __init__(self, *, questions: Questions, healths: AccountHealths, lanes: LaneKeeper) -> None:
        self._questions = questions
        self._healths = healths
        self._lanes = lanes
        self._accounts: frozenset[AccountId] = frozenset()
        self._held: frozenset[Lane] = frozenset()
        self._rounds_left = 0
        self._after: datetime | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Take turns until `stop`."""
        failures = Failures(work="forward")
        while not stop.is_set():
            await attempt(self.turn, failures)
            await stopped_within(ROUND_EVERY_S if self._after is None else LOOK_EVERY_S, stop)

    async def turn(self) -> None:
        """Look at what changed, and read on for some pages."""
        accounts, held = frozenset(self._healths.list_not_coming()), frozenset(self._lanes.held())
        if not accounts <= self._accounts or not held <= self._held:
            self._rounds_left, self._after = ROUNDS, None
        self._accounts, self._held = accounts, held
        if self._rounds_left and accounts and held:
            await self._read_on(accounts, held)

    async def _read_on(self, accounts: Collection[AccountId], held: Collection[Lane]) -> None:
        moved = 0
        for _ in range(PAGES_PER_TURN_MAX):
            page = await self._questions.bring_forward(
                lanes=sorted(held), accounts=sorted(accounts), after=self._after, rows_max=ROWS_READ_MAX
            )
            moved += page.rows_moved
            self._after = page.last_due_at
            if page.rows_read < ROWS_READ_MAX:
                self._rounds_left, self._after = self._rounds_left - 1, None
                break
        if moved:
            metrics.BROUGHT_FORWARD.inc(moved)
            _log.warning("questions_brought_forward", questions=moved, accounts=len(accounts))
