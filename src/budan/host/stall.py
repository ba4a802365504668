"""Ends a process whose event loop hangs, so that whoever started it starts it again."""

import asyncio
import faulthandler
import os
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

STALL_S_MAX: Final = 30.0
LOOKS: Final = 6
# A reader of stderr that has stopped reading must not keep us from ending: it may be what the loop hangs on.
TELL_S_MAX: Final = 5.0
_STDERR: Final = 2


class StallCount:
    """Counts looks in a row that saw no progress; a look that came late proves nothing and begins the count anew.

    A process that was stopped (SIGSTOP, a machine's sleep) made no progress and is well: nobody in it looked either, so
    its next look is late, and the one after it sees the loop go on.
    """

    def __init__(self, *, look_every_s: float) -> None:
        self._late_from_s = 2 * look_every_s
        self._seen = -1
        self._looks = 0

    def is_stalled(self, ticks: int, *, waited_s: float) -> bool:
        """Whether this look, `waited_s` after the last one, is the one too many that found the same number of ticks."""
        if ticks != self._seen or waited_s > self._late_from_s:
            self._seen, self._looks = ticks, 0
            return False
        self._looks += 1
        return self._looks >= LOOKS


@contextmanager
def end_if_stalled(*, stall_s_max: float = STALL_S_MAX) -> Generator[None]:
    """While the block lasts, end the process with 1 once the running event loop has made no turn for so long.

    All stacks are written to stderr before. Nothing is drained: a process of ours may be killed at any moment. What
    hangs in C without giving the interpreter free is not seen.
    """
    loop = asyncio.get_running_loop()
    look_every_s = stall_s_max / LOOKS
    ticks = 0
    over = threading.Event()

    def tick() -> None:
        nonlocal ticks, timer
        ticks += 1
        timer = loop.call_later(look_every_s / 2, tick)

    def watch() -> None:
        count, looked_at_s = StallCount(look_every_s=look_every_s), time.monotonic()
        while not over.wait(look_every_s):
            now_s = time.monotonic()
            if count.is_stalled(ticks, waited_s=now_s - looked_at_s):
                _end(stall_s_max)
                return
            looked_at_s = now_s

    timer = loop.call_later(0, tick)
    watcher = threading.Thread(target=watch, name="stall-watch", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        timer.cancel()
        watcher.join(look_every_s)


def _end(stall_s: float) -> None:
    threading.Thread(target=_exit_after_telling, name="stall-end", daemon=True).start()
    # By a thread that needs no interpreter; it ends the process when it has written.
    faulthandler.dump_traceback_later(0.1, exit=True, file=_STDERR)
    os.write(_STDERR, f"budan: the event loop has made no turn for {stall_s:.0f} s; ends after these stacks\n".encode())


def _exit_after_telling() -> None:
    time.sleep(TELL_S_MAX)
    os._exit(1)
