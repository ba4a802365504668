"""When to stop calling a channel that does not answer, and how to find out that it does again."""

from dataclasses import dataclass
from enum import Enum


class BreakerState(Enum):
    """`HALF_OPEN`: a probe is out and its answer decides."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(slots=True, kw_only=True)
class Breaker:
    """Opens after `failures_to_open` failures in a row; then lets one probe through per `probe_every_s`.

    It never blocks for ever: each interval one caller learns what the channel says now, also while an earlier probe
    still waits.
    """

    failures_to_open: int
    probe_every_s: float
    failures_in_row: int = 0
    probe_at_s: float | None = None  # None while closed; else when the next probe may leave
    probes_out: int = 0

    @property
    def is_closed(self) -> bool:
        """Whether every call passes."""
        return self.probe_at_s is None

    @property
    def state(self) -> BreakerState:
        """What a console shows."""
        if self.probe_at_s is None:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if self.probes_out else BreakerState.OPEN

    def refuses(self, *, now_s: float) -> bool:
        """Whether a call would be refused now; nothing is counted."""
        return self.probe_at_s is not None and now_s < self.probe_at_s

    def admit(self, *, now_s: float) -> "Admission":
        """Whether a call may leave now; what is admitted must be followed by `settle`."""
        if self.probe_at_s is None:
            return Admission.CALL
        if self.refuses(now_s=now_s):
            return Admission.REFUSED
        self.probe_at_s = now_s + self.probe_every_s
        self.probes_out += 1
        return Admission.PROBE

    def settle(self, admission: "Admission", *, answered: bool | None, now_s: float) -> None:
        """Counts what an admitted call came to; None when it ended without a verdict on the channel."""
        assert admission is not Admission.REFUSED
        if admission is Admission.PROBE:
            self.probes_out -= 1
        if answered is None:
            return
        if answered:
            self.failures_in_row = 0
            self.probe_at_s = None
            return
        self.failures_in_row += 1
        if self.probe_at_s is None and self.failures_in_row >= self.failures_to_open:
            self.probe_at_s = now_s + self.probe_every_s


class Admission(Enum):
    """How a call passes the breaker."""

    CALL = "call"
    PROBE = "probe"
    REFUSED = "refused"
