"""Runs commands one after the other in one process: an interpreter for each costs a proof more than what it does."""

import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from io import StringIO
from typing import Final

import msgspec

from budan.cli.frame import exit_codes
from budan.cli.main import root

# What sets an instance up; loaded while nobody waits for it.
_LOADED_FIRST: Final = ("budan.cli.setting_up", "budan.cli.channel")
_PREFIX: Final = "BUDAN_"


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A command as it would be typed, and the settings that the environment would give it: no others count."""

    words: list[str]
    environment: dict[str, str]


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended and what it printed."""

    code: int
    out: str
    err: str


def main() -> None:
    """A line of JSON in for each command, a line out when it has ended, until the input does."""
    # What a command prints by mistake past its own answer must not be taken for one.
    answers, sys.stdout = sys.stdout, sys.stderr
    for name in _LOADED_FIRST:
        import_module(name)
    for line in sys.stdin.buffer:
        ended = run(msgspec.json.decode(line, type=Told))
        answers.write(msgspec.json.encode(ended).decode() + "\n")
        answers.flush()


def run(told: Told) -> Ended:
    """One command to its end, as `budan` runs it; an error that no command expects ends the process, with its traceback."""
    for name in [name for name in os.environ if name.startswith(_PREFIX)]:
        del os.environ[name]
    os.environ.update(told.environment)
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = _run(told.words)
    return Ended(code=code, out=out.getvalue(), err=err.getvalue())


def _run(words: list[str]) -> int:
    try:
        with exit_codes():
            root(words, prog_name="budan")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


if __name__ == "__main__":
    main()
