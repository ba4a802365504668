"""What counts say of an account's notices, and how fast its channel may be asked."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budan.core.evidence import Evidence, Outcome, Source
from budan.core.health import (
    EXPECTED_MAX,
    HALF_LIFE_S,
    NOTICE_GRACE,
    NOTICE_LATE,
    NOTICE_OLD,
    QUIET_MIN,
    RATE_CUT,
    RATE_MIN_PER_S,
    RATE_STEP_PER_S,
    AccountHealth,
    HealthDelta,
    NoticeHealth,
    Sighting,
    fade,
    fold,
    judge,
    rate_per_s,
    sight,
)
from budan.core.trade import Direction
from builders import CREATED_AT, evidence, paid

NOW = CREATED_AT + timedelta(hours=1)
SECOND = timedelta(seconds=1)
DELTAS = st.builds(
    HealthDelta,
    timely=st.integers(0, 1_000),
    missed=st.floats(0, 1_000),
    asked=st.integers(0, 1_000),
    busy=st.integers(0, 10),
)


def seen_steadily(*, rate_per_s: float, seconds: int, timely_share: float = 1.0) -> AccountHealth:
    """An account whose notices came at this rate until NOW."""
    health = AccountHealth(at=NOW - seconds * SECOND)
    carried = 0.0
    for second in range(1, seconds + 1):
        carried += rate_per_s
        came, carried = int(carried), carried - int(carried)
        delta = HealthDelta(timely=round(came * timely_share), missed=came - round(came * timely_share))
        health = fold(health, delta, now=NOW - (seconds - second) * SECOND)
    return health


def payment(source: Source, *, late: timedelta, is_dated: bool = True) -> Evidence:
    return paid(source=source, paid_at=NOW - late if is_dated else None)


@pytest.mark.parametrize(
    ("heard", "is_news", "sighting"),
    [
        (payment(Source.NOTICE, late=SECOND), True, Sighting.TIMELY),
        # A copy, or a question that was quicker: the notice came all the same.
        (payment(Source.NOTICE, late=SECOND), False, Sighting.TIMELY),
        (payment(Source.NOTICE, late=NOTICE_LATE + SECOND), True, Sighting.MISSED),
        (payment(Source.NOTICE, late=NOTICE_LATE + SECOND), False, None),
        (payment(Source.QUERY, late=NOTICE_GRACE + SECOND), True, Sighting.MISSED),
        (payment(Source.QUERY, late=NOTICE_GRACE), True, None),
        # A sweep finds what was lost in the night.
        (payment(Source.QUERY, late=NOTICE_OLD + SECOND), True, None),
        (payment(Source.NOTICE, late=NOTICE_OLD + SECOND), True, None),
        (payment(Source.QUERY, late=NOTICE_GRACE + SECOND), False, None),
        # When it was paid decides whether its notice is missing, so without that nothing is said.
        (payment(Source.QUERY, late=SECOND, is_dated=False), True, None),
        (payment(Source.REPLY, late=SECOND), True, None),
        (payment(Source.BILL, late=SECOND), True, None),
        (evidence(source=Source.NOTICE, outcome=Outcome.UNPAID_FINAL), False, None),
    ],
)
def test_what_a_payment_says_of_its_accounts_notices(
    *, heard: Evidence, is_news: bool, sighting: Sighting | None
) -> None:
    assert sight(heard, direction=Direction.C2B, created_at=CREATED_AT, is_news=is_news, now=NOW) is sighting
    assert sight(heard, direction=Direction.B2C, created_at=CREATED_AT, is_news=is_news, now=NOW) is None


def test_no_payment_is_older_than_its_trade_whatever_the_channels_clock_says() -> None:
    """Two machines with clocks minutes apart: every notice of a channel that is behind would look late."""
    behind = payment(Source.NOTICE, late=timedelta(minutes=5))
    assert sight(behind, direction=Direction.C2B, created_at=NOW - SECOND, is_news=True, now=NOW) is Sighting.TIMELY
    found = payment(Source.QUERY, late=timedelta(minutes=5))
    assert sight(found, direction=Direction.C2B, created_at=NOW - SECOND, is_news=True, now=NOW) is None


def test_nothing_is_expected_of_an_account_that_nobody_has_seen() -> None:
    assert judge(None, now=NOW) is NoticeHealth.UNKNOWN
    assert judge(AccountHealth(at=NOW), now=NOW) is NoticeHealth.UNKNOWN


def test_notices_come_when_enough_of_them_did_lately() -> None:
    assert judge(seen_steadily(rate_per_s=10, seconds=1), now=NOW) is NoticeHealth.COMING
    assert judge(seen_steadily(rate_per_s=0.25, seconds=300), now=NOW) is NoticeHealth.COMING


def test_an_account_with_little_traffic_is_unknown_and_so_asked_tightly() -> None:
    assert judge(seen_steadily(rate_per_s=1 / 60, seconds=3_600), now=NOW) is NoticeHealth.UNKNOWN


@pytest.mark.parametrize("rate", [0.5, 1.0, 3.0, 30.0, 1_000.0])
def test_notices_that_stop_are_missed_before_any_question_finds_out(rate: float) -> None:
    """An outage of every notice is seen within 5 s where there is traffic, and within 12 mean gaps where there is little."""
    health = seen_steadily(rate_per_s=rate, seconds=600)
    assert health.noticed_at
    seen_after = max(QUIET_MIN.total_seconds(), EXPECTED_MAX / rate) + 1
    assert judge(health, now=health.noticed_at + seen_after * SECOND) is NoticeHealth.UNKNOWN
    assert judge(health, now=health.noticed_at + 3 * SECOND) is NoticeHealth.COMING


def test_a_few_lost_among_many_are_bad_luck_and_a_tenth_is_not() -> None:
    assert judge(seen_steadily(rate_per_s=100, seconds=60, timely_share=0.95), now=NOW) is NoticeHealth.COMING
    assert judge(seen_steadily(rate_per_s=100, seconds=60, timely_share=0.85), now=NOW) is NoticeHealth.MISSING


def test_what_few_questions_find_in_an_outage_is_seen_within_a_minute() -> None:
    """Half of the notices get lost: nothing is quiet, and only one order in twenty is asked about young."""
    health = seen_steadily(rate_per_s=10, seconds=600)
    for second in range(1, 61):
        # 5 come, 5 are lost; of one lost in twenty more than half are found by the sample, each stands for twenty.
        found = 5 * 0.6 if second > 8 else 0.0
        health = fold(health, HealthDelta(timely=5, missed=found), now=NOW + second * SECOND)
    assert judge(health, now=NOW + 60 * SECOND) is NoticeHealth.MISSING


def test_notices_that_come_again_are_believed_after_a_few_minutes() -> None:
    health = seen_steadily(rate_per_s=10, seconds=600, timely_share=0.0)
    assert judge(health, now=NOW) is NoticeHealth.MISSING
    for second in range(1, 301):
        health = fold(health, HealthDelta(timely=10), now=NOW + second * SECOND)
    assert judge(health, now=NOW + 300 * SECOND) is NoticeHealth.COMING


@given(one=DELTAS, other=DELTAS)
def test_it_does_not_matter_which_process_tells_first(one: HealthDelta, other: HealthDelta) -> None:
    start = AccountHealth(at=NOW, timely=3.0, noticed_at=NOW)
    now = NOW + SECOND
    ways = [fold(fold(start, first, now=now), second, now=now) for first, second in ((one, other), (other, one))]
    assert ways[0].noticed_at == ways[1].noticed_at
    assert ways[0].asked == pytest.approx(ways[1].asked)
    assert ways[0].missed == pytest.approx(ways[1].missed)
    assert ways[0].timely == pytest.approx(ways[1].timely)
    assert judge(ways[0], now=now) is judge(ways[1], now=now)


@given(seconds=st.floats(0, 86_400), timely=st.floats(0, 1e6))
def test_a_count_fades_by_half_in_each_half_life_and_never_grows(seconds: float, timely: float) -> None:
    health = AccountHealth(at=NOW, timely=timely, noticed_at=NOW)
    assert fade(health, now=NOW + timedelta(seconds=HALF_LIFE_S)).timely == pytest.approx(timely / 2)
    assert fade(health, now=NOW + timedelta(seconds=seconds)).timely <= timely
    assert fade(health, now=NOW - timedelta(seconds=seconds)) == health


def test_a_busy_channel_is_asked_half_as_fast_at_most_once_in_a_second() -> None:
    health = fold(AccountHealth(at=NOW), HealthDelta(asked=100, busy=3), now=NOW)
    assert rate_per_s(health, now=NOW) == 100 * RATE_CUT
    again = fold(health, HealthDelta(asked=10, busy=3), now=NOW + 0.5 * SECOND)
    assert rate_per_s(again, now=NOW + 0.5 * SECOND) == pytest.approx(100 * RATE_CUT + 0.5 * RATE_STEP_PER_S)
    later = fold(again, HealthDelta(asked=10, busy=3), now=NOW + SECOND)
    assert rate_per_s(later, now=NOW + SECOND) == pytest.approx((100 * RATE_CUT + RATE_STEP_PER_S) * RATE_CUT)


def test_a_channel_that_is_not_busy_any_more_is_asked_faster_each_second_until_nothing_speaks_of_a_limit() -> None:
    health = AccountHealth(at=NOW, rate_per_s=20.0, cut_at=NOW)
    assert rate_per_s(health, now=NOW + 10 * SECOND) == pytest.approx(20 + 10 * RATE_STEP_PER_S)
    assert rate_per_s(health, now=NOW + timedelta(hours=1)) is None
    assert rate_per_s(None, now=NOW) is None


@given(deltas=st.lists(DELTAS, max_size=50))
def test_a_pace_never_falls_to_nothing(deltas: list[HealthDelta]) -> None:
    health = AccountHealth(at=NOW)
    for number, delta in enumerate(deltas):
        health = fold(health, replace(delta, busy=1), now=NOW + number * SECOND)
        rate = rate_per_s(health, now=health.at)
        assert rate is None or rate >= RATE_MIN_PER_S
