"""Commands as an operator types them, in processes of their own."""

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMAND_S_MAX = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, of a command that ended well."""
        assert self.code == 0, self.err
        return json.loads(self.out)


@dataclass(frozen=True, slots=True, kw_only=True)
class Typist:
    """Types commands at an instance's database."""

    dsn: str
    folder: Path

    async def type(self, *words: str) -> Ended:
        """Run one command to its end."""
        running = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "budan.cli.main", *words),
            *("--environment", "local", "--database", self.dsn, "--folder", str(self.folder)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(COMMAND_S_MAX):
                out, err = await running.communicate()
        except TimeoutError:
            running.kill()
            await running.wait()
            raise
        assert running.returncode is not None
        return Ended(code=running.returncode, out=out.decode(), err=err.decode())

    async def json(self, *words: str) -> Any:
        """What a command that ends well prints with `--json`."""
        return (await self.type(*words, "--json")).json
