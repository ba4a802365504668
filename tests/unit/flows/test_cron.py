from datetime import UTC, datetime, timedelta

import pytest

from budan.core.errors import Refused
from budan.flows.autobudan import AUTOBUDAN
from budan.flows.cron import MISSED_TOLD_MAX, parse_cron
from budan.flows.job import RunArguments, check_arguments

NOW = datetime(2026, 3, 10, 18, 0, tzinfo=UTC)


def test_two_in_the_morning_is_the_wall_clock_of_its_place() -> None:
    assert parse_cron("0 2 * * *", "Asia/Shanghai").slot_after(NOW) == datetime(2026, 3, 11, 18, 0, tzinfo=UTC)
    assert parse_cron("0 2 * * *", "UTC").slot_after(NOW) == datetime(2026, 3, 11, 2, 0, tzinfo=UTC)


def test_a_night_without_that_hour_has_its_slot_all_the_same() -> None:
    """Clocks in Berlin go from 2:00 to 3:00 on 29 March 2026: a nightly audit must not fall out."""
    before = datetime(2026, 3, 28, 12, 0, tzinfo=UTC)
    slots = [before]
    for _ in range(3):
        slots.append(parse_cron("30 2 * * *", "Europe/Berlin").slot_after(slots[-1]))
    assert [slot.date().day for slot in slots[1:]] == [29, 30, 31]


def test_slots_since_the_last_are_told_newest_first_and_one_that_is_now_has_come() -> None:
    cron = parse_cron("*/30 * * * *", "Asia/Shanghai")
    first = NOW - timedelta(hours=2)
    assert list(cron.slots_since(first, now=NOW)) == [NOW - timedelta(minutes=30) * number for number in range(5)]
    assert list(cron.slots_since(NOW, now=NOW - timedelta(seconds=1))) == []
    assert len(cron.slots_since(NOW - timedelta(days=90), now=NOW)) == MISSED_TOLD_MAX + 1


@pytest.mark.parametrize(
    ("cron", "zone", "code"),
    [
        ("0 0 30 2 *", "UTC", "cron_never_fires"),
        ("0 0 31 4 *", "UTC", "cron_never_fires"),
        ("* * *", "UTC", "cron_malformed"),
        ("* * * * * *", "UTC", "cron_malformed"),
        ("61 * * * *", "UTC", "cron_malformed"),
        ("0 0 32 * *", "UTC", "cron_malformed"),
        ("every night", "UTC", "cron_malformed"),
        ("", "UTC", "cron_malformed"),
        ("0 2 * * *", "Asia/Peking_Duck", "zone_unknown"),
        ("0 2 * * *", "../etc/passwd", "zone_unknown"),
        ("0 2 * * *", "", "zone_unknown"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(cron: str, zone: str, code: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_cron(cron, zone)
    assert refused.value.code == code


def test_the_29th_of_february_fires() -> None:
    assert parse_cron("0 0 29 2 *", "UTC").slot_after(NOW) == datetime(2028, 2, 29, tzinfo=UTC)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (RunArguments(order_no="D", merchant_id=1), "job_arguments_conflict"),
        (RunArguments(since=NOW), "time_range_in_future"),
        (RunArguments(since=NOW - timedelta(days=1), until=NOW - timedelta(days=2)), "time_range_empty"),
        (RunArguments(since=NOW - timedelta(days=1), until=NOW - timedelta(days=1)), "time_range_empty"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: RunArguments, code: str) -> None:
    with pytest.raises(Refused) as refused:
        check_arguments(AUTOBUDAN, arguments, now=NOW)
    assert refused.value.code == code
