import os
import subprocess
import sys

import pytest

from budan.host.resources import cpu_s_between, foreign_cores, peak_memory_bytes, take_snapshot, usable_cores

_BURN_S = 0.3
# Burns in a child of its own, reaps it, and stays: the work of the dead must count.
_FAMILY = (
    "import subprocess, sys; print('up', flush=True); sys.stdin.readline()\n"
    f"burn = 'import time\\nwhile time.process_time() < {_BURN_S}: pass'\n"
    "subprocess.run([sys.executable, '-S', '-c', burn]); print('burnt', flush=True); sys.stdin.readline()"
)


def test_the_work_of_dead_descendants_counts_for_the_program_that_started_them() -> None:
    with subprocess.Popen(
        [sys.executable, "-S", "-c", _FAMILY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as family:
        assert family.stdin
        assert family.stdout
        family.stdout.readline()
        before = take_snapshot({"family": family.pid})
        family.stdin.write("\n")
        family.stdin.flush()
        family.stdout.readline()
        after = take_snapshot({"family": family.pid, "gone": 2**22 + 1})
        family.stdin.close()
    assert cpu_s_between(before, after) == {"family": pytest.approx(_BURN_S, abs=0.2)}
    assert after.by_name["family"].members == 1
    assert 1024**2 < after.by_name["family"].memory_bytes < 1024**3
    assert 0 <= foreign_cores(before, after) <= (os.cpu_count() or 1) + 1


def test_a_family_counts_its_living_members() -> None:
    with subprocess.Popen(
        [sys.executable, "-S", "-c", "print(1, flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdin
        assert child.stdout
        child.stdout.readline()
        ours = take_snapshot({"us": os.getpid(), "child": child.pid}).by_name
        child.stdin.close()
    assert ours["us"].members > ours["child"].members >= 1


def test_there_is_a_core_for_us() -> None:
    assert 0 < usable_cores() <= (os.cpu_count() or 1)


def test_the_peak_of_a_program_is_its_own_and_not_that_of_whoever_started_it() -> None:
    """A child begins as a copy of its parent: the bench has gigabytes in memory when it starts what it measures."""
    ballast = bytearray(200 * 1024**2)
    with subprocess.Popen(
        [sys.executable, "-S", "-c", "print(1, flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdin
        assert program.stdout
        program.stdout.readline()
        peak = peak_memory_bytes(program.pid)
        program.stdin.close()
    assert peak is not None
    assert 1024**2 < peak < len(ballast)
    assert peak_memory_bytes(program.pid) is None
