"""How well an account's notices come, and how fast its channel lets itself be asked: counts that fade, and what they say."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from math import log

from budan.core.evidence import Evidence, Outcome, Source
from budan.core.trade import Direction

# A count is worth half after this: an outage is seen within seconds, and forgiven within minutes.
HALF_LIFE_S = 60.0

# With fewer notices than this in the last minutes nobody can say that they come.
TIMELY_MIN = 5.0
# Of a hundred payments ten without their notice are no bad luck.
MISSED_SHARE_MAX = 0.1
MISSED_MIN = 0.5
# No notice although this many were to be expected: with arrivals at random that is once in 160,000 gaps.
EXPECTED_MAX = 12.0
# A process may stop for a moment, and its counts are folded in each second: shorter gaps say nothing.
QUIET_MIN = timedelta(seconds=5)

# A question that finds a payment this young was only quicker than its notice.
NOTICE_GRACE = timedelta(seconds=3)
# A notice that comes later than this is no help to the payer who waits; channels repeat theirs after 15 s.
NOTICE_LATE = timedelta(seconds=15)
# What was paid longer ago says how notices came then, not now.
NOTICE_OLD = timedelta(minutes=10)

# The pace of an account whose channel says "busy", by TCP's rule: halved, at most once a second, and raised by a step each second.
RATE_CUT = 0.5
RATE_CUT_EVERY = timedelta(seconds=1)
RATE_STEP_PER_S = 1.0
RATE_MIN_PER_S = 1.0
# Above this nobody is held back: the bound of calls in flight is lower.
RATE_MAX_PER_S = 1_000.0


class NoticeHealth(Enum):
    """What we may expect of an account's notices."""

    COMING = "coming"  # so an order that nobody tells of is most likely unpaid
    UNKNOWN = "unknown"  # too few lately, or suddenly none
    MISSING = "missing"  # questions find payments that no notice told of


class Sighting(Enum):
    """What one payment says of its account's notices."""

    TIMELY = "timely"
    MISSED = "missed"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthDelta:
    """What one process saw of an account since it last told; `missed` is weighed by how few were looked at.

    `asked` counts questions that left, `busy` those of them that the channel did not want to look at, and `seconds` is
    over how long. Its last answer to any of them came `answered_ago` before this is told; None where it gave none.
    """

    timely: int = 0
    missed: float = 0.0
    asked: int = 0
    busy: int = 0
    seconds: float = 1.0
    answered_ago: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountHealth:
    """One account, as all processes together see it at `at`, by the database's clock.

    `timely`, `missed` and `asked` fade by `HALF_LIFE_S`. `rate_per_s` is the pace left after the last cut at `cut_at`,
    None where the channel never was busy. `answered_at` is when it last answered a question, whatever it said.
    """

    at: datetime
    timely: float = 0.0
    missed: float = 0.0
    asked: float = 0.0
    noticed_at: datetime | None = None
    rate_per_s: float | None = None
    cut_at: datetime | None = None
    answered_at: datetime | None = None


def sight(
    evidence: Evidence, *, direction: Direction, created_at: datetime, is_news: bool, now: datetime
) -> Sighting | None:
    """What `evidence` of a payment says of its account's notices; None where it says nothing.

    `is_news` when nothing had told of the payment before. Only C2B payments have a notice that must come: a B2C one is
    answered or asked about.
    """
    if direction is Direction.B2C or evidence.outcome is not Outcome.PAID:
        return None
    # The channel's clock may be ahead or behind; no payment is older than its trade.
    late = now - created_at if evidence.paid_at is None else min(now - evidence.paid_at, now - created_at)
    match evidence.source:
        case Source.NOTICE:
            if late <= NOTICE_LATE:
                return Sighting.TIMELY
            return Sighting.MISSED if is_news and late <= NOTICE_OLD else None
        case Source.QUERY:
            proven = is_news and evidence.paid_at is not None and NOTICE_GRACE < late <= NOTICE_OLD
            return Sighting.MISSED if proven else None
        case Source.REPLY | Source.BILL | Source.OPERATOR:
            return None


def fold(health: AccountHealth, delta: HealthDelta, *, now: datetime) -> AccountHealth:
    """The account after what one more process saw. Deltas may come in any order, and a lost one costs only pace."""
    faded = fade(health, now=now)
    folded = replace(
        faded,
        timely=faded.timely + delta.timely,
        missed=faded.missed + delta.missed,
        asked=faded.asked + delta.asked,
        noticed_at=faded.at if delta.timely else faded.noticed_at,
        answered_at=_latest(faded.answered_at, None if delta.answered_ago is None else faded.at - delta.answered_ago),
    )
    return _cut(folded, delta) if delta.busy else folded


def _latest(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((moment for moment in (one, other) if moment is not None), default=None)


def fade(health: AccountHealth, *, now: datetime) -> AccountHealth:
    """The same account at a later moment, when nothing more was seen; a clock that went back fades nothing."""
    at = max(now, health.at)
    left = 0.5 ** ((at - health.at).total_seconds() / HALF_LIFE_S)
    return replace(health, at=at, timely=health.timely * left, missed=health.missed * left, asked=health.asked * left)


def judge(health: AccountHealth | None, *, now: datetime) -> NoticeHealth:
    """What may be expected of the account's notices now; of an account that nobody has seen, nothing."""
    if health is None:
        return NoticeHealth.UNKNOWN
    seen = fade(health, now=now)
    if seen.missed >= MISSED_MIN and seen.missed >= MISSED_SHARE_MAX * (seen.timely + seen.missed):
        return NoticeHealth.MISSING
    if seen.timely < TIMELY_MIN or _is_quiet(seen):
        return NoticeHealth.UNKNOWN
    return NoticeHealth.COMING


def rate_per_s(health: AccountHealth | None, *, now: datetime) -> float | None:
    """How many questions a second the account's channel takes from all of us; None while nothing speaks of a limit."""
    if health is None or health.rate_per_s is None or health.cut_at is None:
        return None
    rate = health.rate_per_s + RATE_STEP_PER_S * max(0.0, (now - health.cut_at).total_seconds())
    return None if rate >= RATE_MAX_PER_S else rate


def _is_quiet(seen: AccountHealth) -> bool:
    """Whether notices stopped: silence for longer than chance explains at the rate at which they came before it."""
    assert seen.noticed_at is not None, "a timely notice sets it"
    quiet = seen.at - seen.noticed_at
    before = seen.timely / 0.5 ** (quiet.total_seconds() / HALF_LIFE_S)
    expected = before * log(2) / HALF_LIFE_S * quiet.total_seconds()
    return quiet > QUIET_MIN and expected > EXPECTED_MAX


def _cut(folded: AccountHealth, delta: HealthDelta) -> AccountHealth:
    if folded.cut_at is not None and folded.at - folded.cut_at < RATE_CUT_EVERY:
        return folded
    rate = rate_per_s(folded, now=folded.at)
    if rate is None:
        # The first cut starts from what was really asked: by everybody over the last minute, or by this process just now.
        rate = max(folded.asked * log(2) / HALF_LIFE_S, delta.asked / delta.seconds)
    return replace(folded, rate_per_s=max(RATE_MIN_PER_S, min(rate, RATE_MAX_PER_S) * RATE_CUT), cut_at=folded.at)
