"""Starts one of our programs as on a machine whose clock is wrong: `python -m budan.proof.skewed FILE serve`."""

import runpy
import sys
from datetime import datetime, timedelta, tzinfo
from importlib import import_module
from pathlib import Path
from typing import Final

# No setting, flag or variable of budan moves a clock, so the proof puts itself between. These are the two places where
# our programs read the wall clock; durations are measured by another.
READ_IN: Final = ("budan.cli.wiring", "budan.sandbox.asgi")
# Before a moment at which the clock stands still, in seconds since 1970.
STOPPED: Final = "stopped at "


def main(arguments: list[str]) -> None:
    """The program that is named after the file, which says by how many seconds its clock is wrong, or where it stands."""
    file = Path(arguments[0])

    class ShiftedDatetime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            said = file.read_text("ascii")
            if said.startswith(STOPPED):
                return datetime.fromtimestamp(float(said.removeprefix(STOPPED)), tz)
            return datetime.now(tz) + timedelta(seconds=float(said))

    for name in READ_IN:
        names = vars(import_module(name))
        assert names["datetime"] is datetime, f"{name} reads the clock by this name"
        names["datetime"] = ShiftedDatetime
    sys.argv = ["budan", *arguments[1:]]
    runpy.run_module("budan.cli.main", run_name="__main__", alter_sys=False)


if __name__ == "__main__":
    main(sys.argv[1:])
