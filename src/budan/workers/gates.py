"""How much of a worker one endpoint or account may have: a bound, a smaller one when it is slow, none when it is dead."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

# Only groups with work in flight or failures are remembered; what is forgotten is learned again by failing.
GROUPS_REMEMBERED_MAX = 10_000
# Who takes rows is remembered too, some 100 bytes each; what is forgotten is only brought forward once more.
TAKERS_REMEMBERED_MAX = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pauses:
    """When a group is taken for dead: after so many failures in a row it has nothing for a pause, and then one probe.

    Each failed probe doubles the pause.
    """

    failures_to_open: int
    pause_s_first: float
    pause_s_max: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GateLimits:
    """The numbers of every gate of one kind of work.

    While its oldest row in flight is older than `slow_after_s`, a group has `slow_rows_max` instead of `rows_max`.
    `pauses` is None where somebody else watches over failures.
    """

    rows_max: int
    slow_rows_max: int
    slow_after_s: float
    pauses: Pauses | None


class Verdict(Enum):
    """What the end of a row said about its group."""

    NOTHING_NEW = "nothing_new"
    HELD_BACK = "held_back"  # it takes nothing: a pause begins
    LET_THROUGH = "let_through"  # it was held back and takes rows again
    FIRST_TAKEN = "first_taken"  # it takes rows, and whether the lane's last holder held it back nobody knows any more


@dataclass(slots=True)
class _Gate:
    in_flight: dict[Hashable, float] = field(default_factory=dict[Hashable, float])
    failures_in_row: int = 0
    pause_s: float = 0.0
    probe_at_s: float | None = None
    probe: Hashable | None = None


class Shares(Protocol):
    """What this worker may have of a bound that all workers share."""

    def rows_max(self, group: int, *, of: int) -> int:
        """Its part of `of` rows in flight; at least one."""
        ...

    def take(self, group: int, *, now_s: float) -> bool:
        """Whether its part of the group's pace allows one more row now; it is counted."""
        ...

    def held_back(self, *, now_s: float) -> list[int]:
        """The groups whose pace allows none now."""
        ...


class Gates:
    """One gate for each group that has work in flight or failed lately; `shares` where other workers have the same groups."""

    def __init__(self, limits: GateLimits, *, shares: Shares | None = None) -> None:
        self._limits = limits
        self._shares = shares
        self._gates: dict[int, _Gate] = {}
        # The fence under which each group last took a row, in the order in which they first did.
        self._takers: dict[int, int] = {}

    def left_out(self, *, now_s: float) -> list[int]:
        """The groups that take nothing more now: their rows need not be listed."""
        full = [group for group, gate in self._gates.items() if self._free(group, gate, now_s=now_s) <= 0]
        return full if self._shares is None else [*{*full, *self._shares.held_back(now_s=now_s)}]

    def admit(self, group: int, key: Hashable, *, now_s: float) -> bool:
        """Whether this row may start now; what is admitted must be followed by `settle`."""
        gate = self._gates.get(group)
        if gate is not None and self._free(group, gate, now_s=now_s) <= 0:
            return False
        if self._shares is not None and not self._shares.take(group, now_s=now_s):
            return False
        if gate is None:
            gate = self._gates[group] = _Gate()
        gate.in_flight[key] = now_s
        if gate.probe_at_s is not None:
            gate.probe = key
        return True

    def settle(self, group: int, key: Hashable, *, succeeded: bool | None, fence: int, now_s: float) -> Verdict:
        """End an admitted row; None where its end says nothing about the group.

        `fence` is its lane's: until a row is taken under it, nobody here knows what the group did under the one before.
        """
        gate = self._gates[group]
        del gate.in_flight[key]
        is_probe = gate.probe == key
        if is_probe:
            gate.probe = None
        verdict = Verdict.NOTHING_NEW
        if succeeded:
            is_first = self._is_first_taken(group, fence)
            if gate.probe_at_s is not None:
                verdict = Verdict.LET_THROUGH
            elif is_first:
                verdict = Verdict.FIRST_TAKEN
            gate.failures_in_row, gate.pause_s, gate.probe_at_s = 0, 0.0, None
        elif succeeded is False:
            verdict = self._count_failure(gate, is_probe=is_probe, now_s=now_s)
        if not gate.in_flight and (gate.failures_in_row == 0 or len(self._gates) > GROUPS_REMEMBERED_MAX):
            del self._gates[group]
            if gate.failures_in_row:
                self._takers.pop(group, None)
        return verdict

    @property
    def groups(self) -> int:
        """How many groups are remembered."""
        return len(self._gates)

    def pause_s(self, group: int) -> float:
        """How long the group is held back between two probes; 0 for one that is not."""
        gate = self._gates.get(group)
        return 0.0 if gate is None else gate.pause_s

    def _free(self, group: int, gate: _Gate, *, now_s: float) -> int:
        limits = self._limits
        if gate.probe_at_s is not None:
            return 0 if gate.in_flight or now_s < gate.probe_at_s else 1
        oldest_s = next(iter(gate.in_flight.values()), now_s)
        rows_max = limits.slow_rows_max if now_s - oldest_s > limits.slow_after_s else limits.rows_max
        if self._shares is not None:
            rows_max = self._shares.rows_max(group, of=rows_max)
        return rows_max - len(gate.in_flight)

    def _is_first_taken(self, group: int, fence: int) -> bool:
        """Whether the group takes its first row under this fence; it is remembered."""
        if self._limits.pauses is None or self._takers.get(group) == fence:
            return False
        if group not in self._takers and len(self._takers) >= TAKERS_REMEMBERED_MAX:
            del self._takers[next(iter(self._takers))]
        self._takers[group] = fence
        return True

    def _count_failure(self, gate: _Gate, *, is_probe: bool, now_s: float) -> Verdict:
        """Rows that left before the gate opened fail after it; only the probe's failure makes the pause longer."""
        pauses = self._limits.pauses
        if pauses is None:
            return Verdict.NOTHING_NEW
        gate.failures_in_row += 1
        if is_probe:
            gate.pause_s = min(gate.pause_s * 2, pauses.pause_s_max)
        elif gate.probe_at_s is None and gate.failures_in_row >= pauses.failures_to_open:
            gate.pause_s = pauses.pause_s_first
        else:
            return Verdict.NOTHING_NEW
        gate.probe_at_s = now_s + gate.pause_s
        return Verdict.HELD_BACK
