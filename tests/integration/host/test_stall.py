"""A process whose event loop hangs ends itself; one that was only stopped does not."""

import subprocess
import sys
from collections.abc import Iterator
from itertools import count

from budan.host.stall import LOOKS, StallCount

_HANGS = """
import asyncio, time
from budan.host.stall import end_if_stalled
async def hang_here():
    with end_if_stalled(stall_s_max=0.3):
        await asyncio.sleep(0.5)
        print("goes on", flush=True)
        time.sleep(60)
asyncio.run(hang_here())
"""


def looks_until_stalled(looks: Iterator[tuple[int, float]]) -> int:
    """How many of these looks at a loop, by ticks and seconds waited, it takes until it counts as stalled."""
    stall = StallCount(look_every_s=5.0)
    return next(number for number, (ticks, waited_s) in enumerate(looks) if stall.is_stalled(ticks, waited_s=waited_s))


def test_a_loop_that_hangs_ends_its_process_with_all_stacks() -> None:
    """A supervisor starts again what has ended; what only hangs it takes for well."""
    ended = subprocess.run([sys.executable, "-c", _HANGS], capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout) == (1, "goes on\n")
    assert "the event loop has made no turn" in ended.stderr
    assert "in hang_here" in ended.stderr


def test_a_loop_counts_as_stalled_after_several_looks_in_a_row() -> None:
    assert looks_until_stalled((7, 5.0) for _ in count()) == LOOKS


def test_a_process_that_was_stopped_is_not_taken_for_one_that_hangs() -> None:
    """SIGSTOP or a sleeping machine stops the loop and whoever watches it alike, however often it happens."""
    stall = StallCount(look_every_s=5.0)
    for _ in range(3 * LOOKS):
        assert not stall.is_stalled(7, waited_s=40.0)
        assert not stall.is_stalled(7, waited_s=5.0)
