"""Time for code that must not read it itself."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Wall time for stamps, monotonic time for durations."""

    def now(self) -> datetime:
        """The present moment, aware and UTC."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that never go back, a suspension of the machine counted; only differences mean something."""
        ...
