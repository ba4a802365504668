"""Commands as an operator types them, in a process that runs one after the other."""

import asyncio
import os
import select
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec

from budan.cli.many import Ended, Told

COMMAND_S_MAX = 60.0
END_S_MAX = 20.0
# Wide and without colours, so that what a test looks for is not cut in two.
_PRINTING = {"NO_COLOR": "1", "COLUMNS": "200"}


class CommandLine:
    """A process that runs what it is told; starting an interpreter for each command would take most of the tests' time."""

    def __init__(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "budan.cli.many"],
            env=os.environ | _PRINTING,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._turn = Lock()

    def run(self, told: Told) -> Ended:
        """One command to its end."""
        assert self._child.stdin
        assert self._child.stdout
        with self._turn:
            self._child.stdin.write(msgspec.json.encode(told) + b"\n")
            self._child.stdin.flush()
            ready, _, _ = select.select([self._child.stdout], [], [], COMMAND_S_MAX)
            assert ready, f"{' '.join(told.words)} took longer than {COMMAND_S_MAX:g} s"
            return msgspec.json.decode(self._child.stdout.readline(), type=Ended)

    def close(self) -> None:
        """It ends by itself when nothing more can be told."""
        assert self._child.stdin
        assert self._child.stdout
        self._child.stdin.close()
        try:
            self._child.wait(END_S_MAX)
        finally:
            self._child.kill()
            self._child.wait()
            self._child.stdout.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Typist:
    """Types commands at an instance's database."""

    dsn: str
    folder: Path
    line: CommandLine

    async def type(self, *words: str) -> Ended:
        """Run one command to its end."""
        settings = {"ENVIRONMENT": "local", "DATABASE": self.dsn, "FOLDER": str(self.folder)}
        told = Told(words=list(words), environment={f"BUDAN_{name}": text for name, text in settings.items()})
        return await asyncio.to_thread(self.line.run, told)

    async def json(self, *words: str) -> Any:
        """What a command that ends well prints with `--json`."""
        ended = await self.type(*words, "--json")
        assert ended.code == 0, ended.err
        return msgspec.json.decode(ended.out)
