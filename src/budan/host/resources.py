"""What our programs and the rest of the machine use, read from /proc."""

import math
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_PROC: Final = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Of one program with all that it started: CPU since its start (dead descendants included), memory now.

    `memory_bytes` counts a page shared by the family once, as far as the kernel's cheap figures tell: PostgreSQL's
    backends share their buffers, and the plain sum of resident sets would count these once per connection.
    """

    cpu_s: float
    memory_bytes: int
    members: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One moment: `by_name` our programs, `machine_busy_s` all cores together since boot, stolen time included."""

    taken_s: float
    machine_busy_s: float
    by_name: Mapping[str, Usage]


def take_snapshot(pids: Mapping[str, int]) -> Snapshot:
    """What the programs `pids` and the machine used until now. A program that is gone is left out."""
    readings = _read_all()
    usages = {name: _family_usage(pid, readings) for name, pid in pids.items() if pid in readings}
    return Snapshot(taken_s=time.monotonic(), machine_busy_s=_machine_busy_s(), by_name=usages)


def cpu_s_between(before: Snapshot, after: Snapshot) -> dict[str, float]:
    """CPU seconds per program that is in both."""
    both = before.by_name.keys() & after.by_name.keys()
    return {name: after.by_name[name].cpu_s - before.by_name[name].cpu_s for name in sorted(both)}


def foreign_cores(before: Snapshot, after: Snapshot) -> float:
    """How many cores, on average, somebody else kept busy: a measurement with much of it says little about us."""
    elapsed_s = after.taken_s - before.taken_s
    assert elapsed_s > 0
    ours_s = sum(cpu_s_between(before, after).values())
    # The two figures come from different counters, read one after the other: small negatives mean none.
    return max(0.0, (after.machine_busy_s - before.machine_busy_s - ours_s) / elapsed_s)


def usable_cores() -> float:
    """The cores that we may use: of our affinity, and not more than the container's quota."""
    allowed = float(len(os.sched_getaffinity(0)))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text("ascii").split()
    except (OSError, ValueError):
        return allowed
    return allowed if quota == "max" else min(allowed, int(quota) / int(period))


def peak_memory_bytes(pid: int) -> int | None:
    """The most that a process has had in memory since it became its program; None once it has ended."""
    try:
        lines = (_PROC / str(pid) / "status").read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    # One that ended and was not waited for has no memory any more (proc_pid_status(5)).
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    parent: int
    cpu_s: float
    resident_bytes: int
    shared_bytes: int


def _read_all() -> dict[int, _Reading]:
    numbers = (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal())
    found = ((pid, _read(pid)) for pid in numbers)
    return {pid: reading for pid, reading in found if reading is not None}


def _read(pid: int) -> _Reading | None:
    try:
        # The name in parentheses may hold anything, spaces and parentheses too (proc_pid_stat(5)).
        fields = (_PROC / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        pages = (_PROC / str(pid) / "statm").read_text("ascii").split()
    except OSError:
        return None
    # utime, stime, and the same of children that were waited for: a backend's work counts after its end as well.
    ticks = sum(int(field) for field in fields[11:15])
    return _Reading(
        parent=int(fields[1]),
        cpu_s=ticks / _TICKS_PER_S,
        resident_bytes=int(pages[1]) * _PAGE_BYTES,
        shared_bytes=int(pages[2]) * _PAGE_BYTES,
    )


def _family_usage(root: int, readings: Mapping[int, _Reading]) -> Usage:
    family = [readings[pid] for pid in _family(root, readings)]
    private = sum(member.resident_bytes - member.shared_bytes for member in family)
    return Usage(
        cpu_s=math.fsum(member.cpu_s for member in family),
        memory_bytes=private + max(member.shared_bytes for member in family),
        members=len(family),
    )


def _family(root: int, readings: Mapping[int, _Reading]) -> Iterable[int]:
    children: dict[int, list[int]] = {}
    for pid, reading in readings.items():
        children.setdefault(reading.parent, []).append(pid)
    found = [root]
    # Grows while it is walked: each process has one parent, so each is met once.
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def _machine_busy_s() -> float:
    # cpu user nice system idle iowait irq softirq steal ... (proc_stat(5)); guest time is inside user.
    fields = [int(field) for field in (_PROC / "stat").read_text("ascii").partition("\n")[0].split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) / _TICKS_PER_S
