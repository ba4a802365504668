"""Shifts the wall clock of a program of budan's that starts with this folder on its PYTHONPATH, and of that one alone."""

import os
from datetime import datetime, timedelta, tzinfo
from importlib import import_module

_SHIFT = timedelta(seconds=float(os.environ["PROOF_CLOCK_SHIFT_S"]))


class _ShiftedDatetime:
    """Stands where a module reads the present moment."""

    @staticmethod
    def now(zone: tzinfo | None = None) -> datetime:
        """What a wrongly set machine believes."""
        return datetime.now(zone) + _SHIFT


# The two places where our programs read the wall clock; durations are measured by another.
for _name in ("budan.cli.wiring", "budan.sandbox.asgi"):
    _names = vars(import_module(_name))
    assert _names["datetime"] is datetime, "it reads the clock by this name"
    _names["datetime"] = _ShiftedDatetime
