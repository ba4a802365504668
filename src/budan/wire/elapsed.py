"""How much time has gone by, a machine's sleep included."""

import time
from typing import Final

# The monotonic clock stands still while a machine is suspended, and a request would leave after its window (I11).
_CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed_s() -> float:
    """Seconds that never go back, suspension counted where the system tells it; only differences mean something."""
    return time.clock_gettime(_CLOCK)
