"""When a day of the books is over."""

from datetime import UTC, date, datetime

import pytest

from budan.flows.books import last_day_over


@pytest.mark.parametrize(
    ("minute", "day"),
    [(9, date(2026, 11, 23)), (10, date(2026, 11, 24))],
)
def test_a_day_is_over_when_all_that_was_begun_on_it_is_committed(minute: int, day: date) -> None:
    """Closed at midnight it would lack what committed a moment later, and be called changed for ever."""
    assert last_day_over(datetime(2026, 11, 24, 16, minute, tzinfo=UTC)) == day
