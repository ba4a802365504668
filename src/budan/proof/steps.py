"""Runs our own command line for what a person would type, and reads its JSON."""

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import msgspec

from budan.host.tethered import tethered

_OUTPUT_CHARACTERS_MAX: Final = 2_000
CLI: Final = (sys.executable, "-m", "budan.cli.main")
_MANY: Final = (sys.executable, "-m", "budan.cli.many")
_LINE_BYTES_MAX: Final = 1 << 24
_END_S_MAX: Final = 5.0


class StepFailed(RuntimeError):  # noqa: N818 - says what is wrong, like wire.errors
    """A step of the proof did not do what it must; the message is for the person who started it."""


async def run_step(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    timeout_s: float,
    given: bytes = b"",
    on_start: Callable[[int], None] | None = None,
) -> bytes:
    """What a program wrote when it ended well; it dies with us, and when we are cancelled it is gone before.

    `on_start` is told its pid. Raises StepFailed.
    """
    child = await asyncio.create_subprocess_exec(
        *tethered(argv, death_signal=signal.SIGKILL),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(environment),
    )
    name = " ".join(argv[1:6])
    if on_start is not None:
        on_start(child.pid)
    try:
        async with asyncio.timeout(timeout_s):
            written, complaint = await child.communicate(given)
    except TimeoutError:
        raise StepFailed(f"{name} took longer than {timeout_s:g} s") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode != 0:
        said = (complaint or written).decode(errors="replace")[-_OUTPUT_CHARACTERS_MAX:].strip()
        raise StepFailed(f"{name} ended with {child.returncode}: {said}")
    return written


async def run_cli(
    *arguments: str,
    environment: Mapping[str, str],
    timeout_s: float,
    on_start: Callable[[int], None] | None = None,
) -> Any:
    """The JSON that a `budan` command printed; `on_start` is told its pid. Raises StepFailed."""
    argv = [*CLI, *arguments, "--json"]
    written = await run_step(argv, environment=environment, timeout_s=timeout_s, on_start=on_start)
    return _decode(arguments, written)


class CommandLine:
    """A process that runs one `budan` command after the other: nobody waits for an interpreter to start."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self._child = child
        self._turn = asyncio.Lock()

    async def run(self, *arguments: str, environment: Mapping[str, str], timeout_s: float) -> Any:
        """What `run_cli` gives, of the settings in `environment`; raises StepFailed."""
        settings = {name: text for name, text in environment.items() if name.startswith("BUDAN_")}
        told = msgspec.json.encode({"words": [*arguments, "--json"], "environment": settings}) + b"\n"
        name = f"budan {' '.join(arguments[:3])}"
        async with self._turn:
            try:
                async with asyncio.timeout(timeout_s):
                    line = await self._ask(told)
            except TimeoutError:
                # What comes later would be taken for the answer to the next command.
                self._child.kill()
                raise StepFailed(f"{name} took longer than {timeout_s:g} s") from None
        if not line:
            raise StepFailed(f"{name} was never run: what runs the commands is gone")
        ended = msgspec.json.decode(line, type=_Ended)
        if ended.code != 0:
            said = (ended.err or ended.out)[-_OUTPUT_CHARACTERS_MAX:].strip()
            raise StepFailed(f"{name} ended with {ended.code}: {said}")
        return _decode(arguments, ended.out.encode())

    async def _ask(self, told: bytes) -> bytes:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        with suppress(ConnectionError):
            self._child.stdin.write(told)
            await self._child.stdin.drain()
        return await self._child.stdout.readline()


class _Ended(msgspec.Struct, frozen=True, kw_only=True):
    code: int
    out: str
    err: str


@asynccontextmanager
async def open_command_line() -> AsyncGenerator[CommandLine]:
    """A command line that is gone afterwards; what itself complains of goes to our own stderr."""
    child = await asyncio.create_subprocess_exec(
        *tethered(_MANY, death_signal=signal.SIGKILL),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LINE_BYTES_MAX,
    )
    assert child.stdin is not None
    try:
        yield CommandLine(child)
        child.stdin.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_S_MAX):
                await child.wait()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


def _decode(arguments: Sequence[str], written: bytes) -> Any:
    try:
        return msgspec.json.decode(written)
    except msgspec.DecodeError as error:
        raise StepFailed(f"budan {arguments[0]} did not print JSON: {written[:200]!r}") from error
