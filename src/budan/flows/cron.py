"""When a job runs: cron by the clock of a place."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from budan.core.errors import Refused

# A day of the half-hourly sweep's slots is told one by one; what was missed before it is long known.
MISSED_TOLD_MAX = 48
# The library takes a sixth field for seconds; no job of ours is worth starting each second.
CRON_FIELDS = 5

_SOME_DAY = datetime(2025, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    """A cron expression and the zone whose wall clock it reads."""

    text: str
    zone: ZoneInfo

    def slot_after(self, moment: datetime) -> datetime:
        """The first slot after a moment, in UTC."""
        return next(self._slots(moment, backwards=False)).astimezone(UTC)

    def slots_since(self, first: datetime, *, now: datetime) -> Sequence[datetime]:
        """The slots from `first` to `now`, newest first, at most `MISSED_TOLD_MAX` and the newest."""
        # The backward walk leaves its moment out, and a slot that is now has come.
        newest = self._slots(now + timedelta(microseconds=1), backwards=True)
        slots = takewhile(lambda slot: slot >= first, (slot.astimezone(UTC) for slot in newest))
        return [slot for slot, _ in zip(slots, range(MISSED_TOLD_MAX + 1), strict=False)]

    def _slots(self, moment: datetime, *, backwards: bool) -> CronSim:
        return CronSim(self.text, moment.astimezone(self.zone), reverse=backwards)


def parse_cron(text: str, zone: str) -> Cron:
    """The plan in these words; a zone is a name of the IANA database.

    Raises `Refused` with `zone_unknown`, `cron_malformed` or `cron_never_fires`, in this order.
    """
    try:
        clock = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise Refused("zone_unknown", param="zone", detail=f"{zone}: a name like Asia/Shanghai") from error
    cron = Cron(text=text, zone=clock)
    if len(text.split()) != CRON_FIELDS:
        raise Refused("cron_malformed", param="cron", detail=f"{text}: minute hour day month weekday")
    try:
        cron.slot_after(_SOME_DAY)
    except CronSimError as error:
        code = "cron_never_fires" if _is_well_formed_in_another_month(text) else "cron_malformed"
        raise Refused(code, param="cron", detail=f"{text}: {error}") from error
    except StopIteration as error:
        raise Refused("cron_never_fires", param="cron", detail=f"{text}: not in fifty years") from error
    return cron


def _is_well_formed_in_another_month(text: str) -> bool:
    """The 30th of February is no slip of the pen in any one field."""
    fields = text.split()
    fields[3:4] = ["*"]
    try:
        CronSim(" ".join(fields), _SOME_DAY)
    except CronSimError:
        return False
    return True
