from datetime import timedelta
from itertools import pairwise

import pytest

from budan.core import pace

LADDERS = [
    pace.QUERY_LADDER_S,
    pace.QUERY_LADDER_B2C_S,
    pace.QUERY_LADDER_ENDED_S,
    pace.DELIVERY_LADDER_S,
    pace.LEFTOVER_LADDER_S,
]


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
        pace.delay_after(pace.QUERY_LADDER_S, attempts=-1)


def test_a_young_order_is_asked_about_within_the_goal_for_recovery() -> None:
    """docs/design.md section 11: with every notice lost half of the orders are found within 5 s, 99 % within 30 s."""
    assert pace.QUERY_LADDER_S[0] <= 5
    assert sum(pace.QUERY_LADDER_S[:4]) <= 30


def test_no_b2c_question_comes_sooner_than_the_channels_want_after_the_first() -> None:
    assert all(rung >= 3 for rung in pace.QUERY_LADDER_B2C_S[1:])
    assert all(rung >= 5 for rung in pace.QUERY_LADDER_B2C_S[2:])


def test_an_ended_trade_is_asked_after_ten_minutes_and_the_next_morning() -> None:
    assert pace.QUERY_LADDER_ENDED_S[0] == 600
    assert pace.QUERY_LADDER_ENDED_S[1] >= 8 * 3_600
