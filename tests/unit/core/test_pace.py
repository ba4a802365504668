"""When to ask again: laws of the pace, whatever a trade's age and its account's notices."""

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budan.core import pace
from budan.core.health import NoticeHealth
from budan.core.numbers import OrderId
from budan.core.trade import Direction

LADDERS = [
    pace.QUERY_LADDER_B2C_S,
    pace.QUERY_LADDER_ENDED_S,
    pace.DELIVERY_LADDER_S,
    pace.LEFTOVER_LADDER_S,
]
# Up to a week: the longest expiry is a day.
AGES = st.floats(min_value=0, max_value=604_800)
NOTICES = st.sampled_from(NoticeHealth)
TIGHT = st.sampled_from([NoticeHealth.UNKNOWN, NoticeHealth.MISSING])
# From the worst to the best.
ORDERED = (NoticeHealth.UNKNOWN, NoticeHealth.MISSING, NoticeHealth.COMING)
EXACT_S = 1e-3


def wait_s(
    age_s: float,
    *,
    notices: NoticeHealth,
    is_sampled: bool = False,
    direction: Direction = Direction.C2B,
    attempts: int = 0,
) -> float:
    wait = pace.question_wait(
        direction=direction,
        age=timedelta(seconds=age_s),
        attempts=attempts,
        notices=notices,
        is_sampled=is_sampled,
    )
    return wait.total_seconds()


def ages_asked(notices: NoticeHealth, *, until_s: float, is_sampled: bool = False) -> list[float]:
    """The ages at which a trade is asked about that nobody pays."""
    ages = [0.0]
    while ages[-1] < until_s:
        ages.append(ages[-1] + wait_s(ages[-1], notices=notices, is_sampled=is_sampled))
    return ages[1:-1]


@pytest.mark.invariant("I6")
@given(
    age_s=AGES,
    notices=NOTICES,
    is_sampled=st.booleans(),
    direction=st.sampled_from(Direction),
    attempts=st.integers(min_value=0, max_value=10_000),
)
def test_whatever_is_open_is_asked_about_again_and_never_at_once(
    *, age_s: float, notices: NoticeHealth, is_sampled: bool, direction: Direction, attempts: int
) -> None:
    wait = wait_s(age_s, notices=notices, is_sampled=is_sampled, direction=direction, attempts=attempts)
    assert pace.BETWEEN_S_MIN - EXACT_S <= wait <= pace.COMING_WAIT_S


@given(age_s=AGES, notices=TIGHT, is_sampled=st.booleans())
def test_while_notices_are_not_known_to_come_a_payment_is_found_within_its_bound(
    *, age_s: float, notices: NoticeHealth, is_sampled: bool
) -> None:
    """docs/design.md section 11: a payment at age `a` is healed within max(30 s, a/10), asking and answering included."""
    wait = wait_s(age_s, notices=notices, is_sampled=is_sampled)
    assert wait + pace.ANSWER_S <= max(30.0, age_s / 10) + EXACT_S


@given(age_s=AGES, notices=NOTICES, is_sampled=st.booleans(), later_s=st.floats(min_value=0, max_value=3_600))
def test_who_is_asked_about_later_is_not_asked_again_sooner(
    *, age_s: float, notices: NoticeHealth, is_sampled: bool, later_s: float
) -> None:
    after_s = age_s + later_s
    sooner = age_s + wait_s(age_s, notices=notices, is_sampled=is_sampled)
    assert after_s + wait_s(after_s, notices=notices, is_sampled=is_sampled) >= sooner - EXACT_S


@given(age_s=AGES, is_sampled=st.booleans())
def test_a_healthier_account_is_never_asked_about_sooner(*, age_s: float, is_sampled: bool) -> None:
    waits = [wait_s(age_s, notices=notices, is_sampled=is_sampled) for notices in ORDERED]
    assert all(worse <= better + EXACT_S for worse, better in pairwise(waits))


@given(age_s=AGES, notices=TIGHT)
def test_a_sample_changes_nothing_where_every_trade_is_asked_about(age_s: float, notices: NoticeHealth) -> None:
    assert wait_s(age_s, notices=notices, is_sampled=True) == wait_s(age_s, notices=notices, is_sampled=False)


def test_a_fresh_account_is_asked_about_after_three_seconds() -> None:
    """README promises that a lost notice is healed in about 3 s on a fresh instance."""
    assert wait_s(0, notices=NoticeHealth.UNKNOWN) == 3


def test_while_notices_come_an_unpaid_trade_is_asked_about_once_before_its_usual_expiry() -> None:
    assert ages_asked(NoticeHealth.COMING, until_s=900) == [90]
    assert ages_asked(NoticeHealth.COMING, until_s=900, is_sampled=True) == [8, 20, 90]


def test_a_trade_of_fifteen_minutes_costs_this_many_questions_in_an_outage() -> None:
    """A regression here costs the channel a call for each of a hundred unpaid orders a second."""
    assert len(ages_asked(NoticeHealth.MISSING, until_s=900)) == 25
    assert len(ages_asked(NoticeHealth.UNKNOWN, until_s=900)) == 26


def test_one_trade_in_twenty_is_sampled_whatever_the_spacing_of_ids() -> None:
    for spacing in (1, 1 << 12, 1 << 22, 37 << 22, 1_000 << 22):
        sampled = sum(pace.is_sampled(OrderId((n + 1) * spacing)) for n in range(20_000))
        assert 0.04 < sampled / 20_000 < 0.06, spacing


def test_a_miss_stands_for_the_sample_only_where_nobody_else_was_looked_at() -> None:
    young, old = timedelta(seconds=20), timedelta(seconds=90)
    assert pace.weight_of_miss(age=young, notices=NoticeHealth.COMING) == pace.SAMPLED_ONE_IN
    assert pace.weight_of_miss(age=old, notices=NoticeHealth.COMING) == 1
    assert pace.weight_of_miss(age=young, notices=NoticeHealth.MISSING) == 1


@pytest.mark.invariant("I6")
@pytest.mark.parametrize("ladder", LADDERS)
def test_a_ladder_climbs_and_its_last_rung_repeats_for_ever(ladder: tuple[float, ...]) -> None:
    delays = [pace.delay_after(ladder, attempts=attempts) for attempts in range(len(ladder))]
    assert delays == [timedelta(seconds=rung) for rung in ladder]
    assert all(sooner <= later for sooner, later in pairwise(delays))
    assert min(delays) > timedelta(0)
    for attempts in (len(ladder), len(ladder) + 1, 1_000_000):
        assert pace.delay_after(ladder, attempts=attempts) == delays[-1]


@pytest.mark.parametrize("ladder", LADDERS)
def test_a_person_is_asked_for_once_the_ladder_is_climbed(ladder: tuple[float, ...]) -> None:
    needed = [pace.needs_person(ladder, attempts=attempts) for attempts in range(len(ladder) + 3)]
    assert needed == [False] * len(ladder) + [True] * 3


def test_attempts_are_never_negative() -> None:
    with pytest.raises(AssertionError):
        pace.delay_after(pace.QUERY_LADDER_B2C_S, attempts=-1)


def test_no_b2c_question_comes_sooner_than_the_channels_want_after_the_first() -> None:
    assert all(rung >= 3 for rung in pace.QUERY_LADDER_B2C_S[1:])
    assert all(rung >= 5 for rung in pace.QUERY_LADDER_B2C_S[2:])


def test_an_ended_trade_is_asked_after_ten_minutes_and_the_next_morning() -> None:
    assert pace.QUERY_LADDER_ENDED_S[0] == 600
    assert pace.QUERY_LADDER_ENDED_S[1] >= 8 * 3_600
