"""Which days' bills are wanted of an account, when each may be fetched, and when somebody should wonder where it is."""

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from enum import Enum
from typing import Final

from budan.core.numbers import BEIJING, beijing_day


class BillState(Enum):
    """What became of a day's bill: waiting → compared, or missed once its channel keeps it no more.

    Only the channel's own bill makes a waiting one compared; a file that a person loads does so where it is missed.
    """

    WAITING = "waiting"
    COMPARED = "compared"
    MISSED = "missed"


# An account that is met for the first time begins a week back: nobody closes older days by a bill that nobody missed.
FIRST_DAYS: Final = 7
# Finance wants a day closed by noon; channels that promise ten o'clock are there by then on nearly all days.
LATE_AFTER: Final = timedelta(hours=2)
# "Nothing moved" is believed a day after the bill was due: until then it may not be made yet. Our own books are no
# witness before: where all payments of a day were lost they are as empty.
BELIEVED_AFTER: Final = timedelta(hours=24)
# Why a bill is waited for of which the channel says that nothing moved, as our own books do.
NOTHING_MOVED: Final = "nothing_moved"
# What a disabled account's bills are fetched for: its last payments, then their refunds. After so many days without a row
# there are none.
QUIET_DAYS: Final = 30
# A bill is asked for again after a tenth of its age, within these bounds; a little less than the job's ten minutes.
AGAIN_MIN: Final = timedelta(minutes=9)
AGAIN_MAX: Final = timedelta(hours=6)


def ready_at(day: date, ready: time) -> datetime:
    """When a channel that promises its bills at `ready` of the next day, Beijing's clock, has this day's."""
    return datetime.combine(day + timedelta(days=1), ready, tzinfo=BEIJING)


def list_wanted(
    *,
    created_at: datetime,
    planned_to: date | None,
    moved_on: date | None,
    used_at: datetime | None,
    enabled: bool,
    now: datetime,
    ready: time,
) -> Sequence[date]:
    """The days of an account that are ready and not planned yet, oldest first.

    `planned_to` is the last planned day, `moved_on` the last one whose bill had a row, `used_at` when by our own books
    its money last could move. A disabled account is followed until `QUIET_DAYS` passed after all of these.
    """
    last = beijing_day(now) - timedelta(days=1)
    if now < ready_at(last, ready):
        last -= timedelta(days=1)
    begin = max(beijing_day(created_at), last - timedelta(days=FIRST_DAYS - 1))
    if not enabled:
        stirred = [beijing_day(moment) for moment in (created_at, used_at) if moment is not None]
        last = min(last, max([*stirred, moved_on or stirred[0]]) + timedelta(days=QUIET_DAYS))
    first = begin if planned_to is None else planned_to + timedelta(days=1)
    return tuple(first + timedelta(days=days) for days in range((last - first).days + 1))


def is_wanted(
    day: date,
    *,
    created_at: datetime,
    planned_to: date | None,
    moved_on: date | None,
    used_at: datetime | None,
    enabled: bool,
    now: datetime,
    ready: time,
) -> bool:
    """Whether a day that is not planned is one of `list_wanted`, or will be once its bill is ready."""
    return day in list_wanted(
        created_at=created_at,
        planned_to=planned_to,
        moved_on=moved_on,
        used_at=used_at,
        enabled=enabled,
        now=max(now, ready_at(day, ready)),
        ready=ready,
    )


def ask_again_in(ready: datetime, *, now: datetime) -> timedelta:
    """How long to wait after an answer that brought no bill, or one that was refused."""
    return min(max((now - ready) / 10, AGAIN_MIN), AGAIN_MAX)


def is_late(ready: datetime, *, now: datetime, code: str, has_file: bool) -> bool:
    """Whether a bill that is not compared, last for the reason `code`, should have been by now.

    `has_file`: a person has loaded the whole day from a file. The channel's own bill is asked for all the same, and
    nobody waits for it.
    """
    # A day without movement troubles nobody before the question after which it is believed.
    return not has_file and now >= ready + (BELIEVED_AFTER + AGAIN_MAX if code == NOTHING_MOVED else LATE_AFTER)


def is_believed(ready: datetime, *, now: datetime) -> bool:
    """Whether the channel's "nothing moved" counts, whatever our own books have."""
    return now >= ready + BELIEVED_AFTER
