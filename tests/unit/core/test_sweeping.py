from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from budan.core.sweeping import ASKED_FOR_DAYS, TURN_EVERY, YOUNG_FOR, sweep_spans, whole_span

NOW = datetime(2026, 3, 10, 18, 0, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)


def asked(moment: datetime, sweeps: list[datetime]) -> int:
    """How many of these sweeps, each after the one before it, ask about an order made at a moment."""
    pairs = zip([sweeps[0] - HALF_HOUR, *sweeps], sweeps, strict=False)
    return sum(
        any(since <= moment < until for since, until in sweep_spans(begun_at=begun_at, last_begun_at=last))
        for last, begun_at in pairs
    )


def test_the_first_sweep_asks_about_everybody_once() -> None:
    spans = sorted(sweep_spans(begun_at=NOW, last_begun_at=None))
    assert (spans[0][0], spans[-1][1]) == whole_span(begun_at=NOW)
    assert all(before[1] == after[0] for before, after in pairwise(spans))


def test_a_young_order_is_asked_about_each_time_and_an_older_one_once_at_each_turn() -> None:
    sweeps = [NOW + HALF_HOUR * number for number in range(TURN_EVERY // HALF_HOUR)]
    assert asked(NOW - HALF_HOUR, sweeps[:48]) == 48
    for age_days in (2, 3, 10, ASKED_FOR_DAYS - 2):
        assert asked(NOW - timedelta(days=age_days, minutes=17), sweeps) == 1


@given(
    age_min=st.integers(min_value=24 * 60, max_value=(ASKED_FOR_DAYS - 9) * 24 * 60),
    away_from_h=st.integers(min_value=0, max_value=23),
    away_h=st.integers(min_value=1, max_value=18),
)
def test_a_channel_that_is_away_each_day_at_the_same_time_is_asked_about_every_order_all_the_same(
    age_min: int, away_from_h: int, away_h: int
) -> None:
    """With a turn at the same time each day, who was made in the hours of a nightly maintenance was never asked about."""
    moment = NOW - timedelta(minutes=age_min)
    sweeps = [NOW + HALF_HOUR * number for number in range(7 * 48)]
    heard = [
        begun_at
        for last, begun_at in pairwise(sweeps)
        if any(since <= moment < until for since, until in sweep_spans(begun_at=begun_at, last_begun_at=last))
        and (begun_at.hour - away_from_h) % 24 >= away_h
    ]
    assert heard


@given(
    gaps=st.lists(st.integers(min_value=1, max_value=30 * 60), min_size=1, max_size=60),
    age_min=st.integers(min_value=YOUNG_FOR // timedelta(minutes=1) + 1, max_value=(ASKED_FOR_DAYS - 4) * 24 * 60),
)
def test_no_order_is_left_out_however_irregular_the_sweeps_are(gaps: list[int], age_min: int) -> None:
    """A sweep that was missed, late or by another plan takes the turns that fell into its time."""
    begun_at, last, moment = NOW, NOW, NOW - timedelta(minutes=age_min)
    turns = 0
    for gap in gaps:
        begun_at += timedelta(minutes=gap)
        spans = sweep_spans(begun_at=begun_at, last_begun_at=last)
        assert all(before[0] >= after[1] for before, after in pairwise(spans))
        turns += any(since <= moment < until for since, until in spans)
        last = begun_at
    within = min(begun_at - NOW, timedelta(days=3))
    # Of each turn that went by, at least one sweep took it, however long the gaps were.
    assert turns >= within // TURN_EVERY - (timedelta(minutes=max(gaps)) > TURN_EVERY) * 3
