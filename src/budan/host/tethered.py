"""Command lines of programs that die with us."""

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from budan.host.folders import ServerUser

_SCRIPT: Final = Path(__file__).with_name("tether.py")


def tethered(argv: Sequence[str | Path], *, death_signal: signal.Signals, user: ServerUser | None = None) -> list[str]:
    """The command that becomes `argv`, as `user` if one is named, and gets `death_signal` when its parent is gone.

    The kernel means the parent's *thread*: start it on one that lives as long as the program shall.
    """
    assert Path(argv[0]).is_absolute()
    become = f"{user.uid}:{user.gid}" if user else "-"
    # Isolated and without site: 15 ms instead of 60, and nothing of the environment can change what it does.
    wrapper = [sys.executable, "-I", "-S", str(_SCRIPT), str(os.getpid()), str(int(death_signal)), become]
    return [*wrapper, *map(str, argv)]
