"""Accounts' health in memory: what this process saw is told each second, and what all saw is read back."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

import structlog

from budan.core.health import AccountHealth, HealthDelta, NoticeHealth, Sighting, fold, judge, rate_per_s
from budan.core.numbers import AccountId
from budan.flows.failures import Failures, attempt
from budan.ports.clock import Clock
from budan.store import health as stored
from budan.store.database import Database
from budan.telemetry import metrics

FOLD_EVERY_S: Final = 1.0
# What was read longer ago says nothing any more: every account is unknown then, and asked tightly.
BELIEVED_S: Final = 15.0
# A judgement is used again for this long: what it rests on is counted in seconds (core/health.py).
JUDGED_S: Final = 0.1
# Every process keeps all accounts; those above the bound are unknown to it.
ACCOUNTS_MAX: Final = 10_000

_NOTHING: Final[Mapping[AccountId, AccountHealth]] = MappingProxyType({})
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Seen:
    """What this process saw of an account and has not told yet: counted for every question, so it is no frozen value."""

    timely: int = 0
    missed: float = 0.0
    asked: int = 0
    busy: int = 0
    answered_at_s: float | None = None

    def add(self, other: "_Seen") -> None:
        """What could not be told is told with the next."""
        self.timely += other.timely
        self.missed += other.missed
        self.asked += other.asked
        self.busy += other.busy
        if self.answered_at_s is None:
            self.answered_at_s = other.answered_at_s

    def delta(self, *, seconds: float, now_s: float) -> HealthDelta:
        """As all processes fold it."""
        answered_ago_s = None if self.answered_at_s is None else max(0.0, now_s - self.answered_at_s)
        return HealthDelta(
            timely=self.timely,
            missed=self.missed,
            asked=self.asked,
            busy=self.busy,
            seconds=seconds,
            answered_ago=None if answered_ago_s is None else timedelta(seconds=answered_ago_s),
        )


class AccountHealths:
    """Knows how each account's notices come. It fills itself; what it has not read yet is unknown."""

    def __init__(self, *, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._seen: dict[AccountId, _Seen] = {}
        self._healths = _NOTHING
        # What was judged of them, and until when: four looks at it go with each order.
        self._judged: dict[AccountId, tuple[NoticeHealth, float]] = {}
        self._read_at: datetime | None = None
        self._read_at_s = 0.0
        self._folded_at_s = clock.monotonic_s()

    def notices_of(self, account_id: AccountId) -> NoticeHealth:
        """What may be expected of the account's notices; read from memory, so that no order waits for it."""
        judged = self._judged.get(account_id)
        if judged is not None and self._clock.monotonic_s() < judged[1]:
            return judged[0]
        now = self._now()
        notices = NoticeHealth.UNKNOWN if now is None else judge(self._healths.get(account_id), now=now)
        self._judged[account_id] = notices, self._clock.monotonic_s() + JUDGED_S
        return notices

    def rate_per_s(self, account_id: AccountId) -> float | None:
        """How many questions a second its channel takes from all of us; None while nothing speaks of a limit."""
        health = self._healths.get(account_id)
        # Nearly every account never was busy, and a sweep asks before each of its questions.
        if health is None or health.rate_per_s is None:
            return None
        now = self._now()
        return None if now is None else rate_per_s(health, now=now)

    def list_not_coming(self) -> list[AccountId]:
        """Accounts that were seen and whose notices cannot be relied on now."""
        return [account for account in self._healths if self.notices_of(account) is not NoticeHealth.COMING]

    def note_sighting(self, account_id: AccountId, sighting: Sighting, *, weight: float) -> None:
        """Count what a payment said of its account's notices."""
        seen = self._seen_of(account_id)
        match sighting:
            case Sighting.TIMELY:
                seen.timely += 1
            case Sighting.MISSED:
                seen.missed += weight

    def note_question(self, account_id: AccountId, *, busy: bool, answered: bool) -> None:
        """Count a question that left, whether the channel was too busy to look, and note when it said anything at all."""
        seen = self._seen_of(account_id)
        seen.asked += 1
        seen.busy += busy
        if answered:
            seen.answered_at_s = self._clock.monotonic_s()

    async def keep(self) -> None:
        """Tell and read each second until cancelled; what cannot be told now is told with the next."""
        failures = Failures(work="account_health")
        while True:
            await asyncio.sleep(FOLD_EVERY_S)
            await attempt(self.turn, failures)

    async def turn(self) -> None:
        """Tell what was seen and read what all saw. A crash loses what was not told: that costs pace, no payment."""
        began_s = self._clock.monotonic_s()
        if self._seen:
            await self._fold(began_s)
        async with self._database.reading_statement() as transaction:
            read = await stored.list_healths(transaction, rows_max=ACCOUNTS_MAX)
        before = {account: self.notices_of(account) for account in self._healths}
        self._healths, self._read_at, self._read_at_s = read.by_account, read.now, began_s
        self._judged = {}
        self._show(before)

    async def _fold(self, began_s: float) -> None:
        telling, self._seen = self._seen, {}
        seconds = max(began_s - self._folded_at_s, FOLD_EVERY_S)
        try:
            async with self._database.transaction() as transaction:
                held = await stored.lock_healths(transaction, list(telling))
                assert held.now is not None, "a row was made for each account"
                folded = {
                    account: fold(health, telling[account].delta(seconds=seconds, now_s=began_s), now=held.now)
                    for account, health in held.by_account.items()
                }
                await stored.write_healths(transaction, folded)
        except Exception:
            for account, seen in telling.items():
                self._seen_of(account).add(seen)
            raise
        self._folded_at_s = began_s

    def _seen_of(self, account_id: AccountId) -> "_Seen":
        seen = self._seen.get(account_id)
        if seen is None:
            seen = self._seen[account_id] = _Seen()
        return seen

    def _now(self) -> datetime | None:
        """The database's clock, or None where what was read is too old to be believed."""
        elapsed_s = self._clock.monotonic_s() - self._read_at_s
        if self._read_at is None or elapsed_s > BELIEVED_S:
            return None
        return self._read_at + timedelta(seconds=elapsed_s)

    def _show(self, before: Mapping[AccountId, NoticeHealth]) -> None:
        for account in self._healths:
            notices = self.notices_of(account)
            for one in NoticeHealth:
                metrics.ACCOUNT_NOTICES.labels(str(account), one.value).set(int(one is notices))
            rate = self.rate_per_s(account)
            metrics.ACCOUNT_RATE.labels(str(account)).set(float("inf") if rate is None else rate)
            was = before.get(account, NoticeHealth.UNKNOWN)
            if notices is not was and NoticeHealth.MISSING in {notices, was}:
                _log.warning("account_notices_changed", account_id=account, notices=notices.value, before=was.value)
