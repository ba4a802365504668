from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest

from budan.core.bill_days import NOTHING_MOVED, ask_again_in, is_believed, is_late, is_wanted, list_wanted, ready_at

TEN = time(10)
TODAY = date(2026, 3, 20)
# Noon of Beijing.
NOW = datetime(2026, 3, 20, 4, tzinfo=UTC)


def wanted(**changes: Any) -> list[int]:
    """How many days before today each wanted day is."""
    parts = {
        "created_at": NOW - timedelta(days=100),
        "planned_to": None,
        "moved_on": None,
        "used_at": None,
        "enabled": True,
        "now": NOW,
        "ready": TEN,
    }
    return [(TODAY - day).days for day in list_wanted(**(parts | changes))]


@pytest.mark.parametrize(
    ("changes", "days"),
    [
        ({}, [7, 6, 5, 4, 3, 2, 1]),
        ({"now": NOW - timedelta(hours=3)}, [8, 7, 6, 5, 4, 3, 2]),
        ({"created_at": NOW - timedelta(days=2)}, [2, 1]),
        ({"created_at": NOW}, []),
        ({"planned_to": TODAY - timedelta(days=1)}, []),
        ({"planned_to": TODAY - timedelta(days=2)}, [1]),
        # The job was paused for three weeks: every day is caught up with.
        ({"planned_to": TODAY - timedelta(days=22)}, [*range(21, 0, -1)]),
        ({"enabled": False}, []),
        ({"enabled": False, "created_at": NOW - timedelta(days=2)}, [2, 1]),
        ({"enabled": False, "used_at": NOW - timedelta(days=35)}, [7, 6, 5]),
        ({"enabled": False, "used_at": NOW - timedelta(days=40), "moved_on": TODAY - timedelta(days=36)}, [7, 6]),
        ({"enabled": False, "moved_on": TODAY - timedelta(days=9), "planned_to": TODAY - timedelta(days=3)}, [2, 1]),
        ({"enabled": False, "moved_on": TODAY - timedelta(days=32), "planned_to": TODAY - timedelta(days=3)}, [2]),
        ({"enabled": False, "moved_on": TODAY - timedelta(days=40), "planned_to": TODAY - timedelta(days=3)}, []),
    ],
)
def test_a_day_is_wanted_once_it_is_ready_and_no_day_is_left_out(changes: dict[str, Any], days: list[int]) -> None:
    assert wanted(**changes) == days


@pytest.mark.parametrize(
    ("changes", "is_one"),
    [
        ({}, True),
        # Not ready before ten: whoever closes at night waits for it all the same.
        ({"now": NOW - timedelta(hours=11)}, True),
        ({"created_at": NOW}, False),
        ({"planned_to": TODAY - timedelta(days=1)}, False),
        ({"enabled": False}, False),
    ],
)
def test_yesterdays_bill_is_wanted_before_it_is_ready(changes: dict[str, Any], *, is_one: bool) -> None:
    """A day must not be closed in the hours before its bill can be there."""
    parts = {
        "created_at": NOW - timedelta(days=100),
        "planned_to": None,
        "moved_on": None,
        "used_at": None,
        "enabled": True,
        "now": NOW,
        "ready": TEN,
    }
    assert is_wanted(TODAY - timedelta(days=1), **(parts | changes)) is is_one


def test_a_bill_is_late_after_two_hours_and_asked_for_more_rarely_with_its_age() -> None:
    ready = ready_at(date(2026, 3, 19), TEN)
    assert ready == datetime(2026, 3, 20, 2, tzinfo=UTC)

    def late(code: str, *, has_file: bool = False, **ago: float) -> bool:
        return is_late(ready, now=ready + timedelta(**ago), code=code, has_file=has_file)

    assert not late("no_answer", minutes=119)
    assert late("no_answer", hours=2)
    assert not late("no_answer", hours=2, has_file=True), "finance has the day"
    assert not late(NOTHING_MOVED, hours=24), "both sides say that it was quiet"
    assert late(NOTHING_MOVED, hours=30), "it should have been believed by now"
    assert not is_believed(ready, now=ready + timedelta(hours=23))
    assert is_believed(ready, now=ready + timedelta(hours=24))
    waits = [ask_again_in(ready, now=ready + timedelta(hours=age)) for age in (0, 1, 10, 60, 600)]
    assert [wait.total_seconds() for wait in waits] == [540, 540, 3_600, 21_600, 21_600]
