"""What rotations of an account's keys and of a webhook secret have in common: one at a time, and an overlap."""

from datetime import datetime
from typing import Final

from budan.core.errors import Refused

# By whoever rotates and says nothing: a day, in which the other side changes too.
OVERLAP_S_DEFAULT: Final = 86_400
OVERLAP_S_MAX: Final = 30 * 86_400


def check_overlap(overlap_s: int) -> None:
    """Raises `Refused` with `overlap_out_of_range`."""
    if not 0 <= overlap_s <= OVERLAP_S_MAX:
        raise Refused("overlap_out_of_range", param="overlap_s", detail=f"0 to {OVERLAP_S_MAX} seconds")


def refuse_running(old_until: datetime | None, *, now: datetime, param: str) -> None:
    """Raises `Refused` with `rotation_running` while what the last rotation replaced still counts.

    A third set would throw the first away, while the other side may know no other one.
    """
    if old_until is not None and now < old_until:
        detail = f"what the last one replaced counts until {old_until:%F %R} UTC; end that first"
        raise Refused("rotation_running", param=param, detail=detail)
