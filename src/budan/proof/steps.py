"""Runs our own command line for what a person would type, and reads its JSON."""

import asyncio
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from budan.host.tethered import tethered

_OUTPUT_CHARACTERS_MAX: Final = 2_000
CLI: Final = (sys.executable, "-m", "budan.cli.main")


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


async def run_cli(*arguments: str, environment: Mapping[str, str], timeout_s: float) -> Any:
    """The JSON that a `budan` command printed; raises StepFailed."""
    written = await run_step([*CLI, *arguments, "--json"], environment=environment, timeout_s=timeout_s)
    try:
        return msgspec.json.decode(written)
    except msgspec.DecodeError as error:
        raise StepFailed(f"budan {arguments[0]} did not print JSON: {written[:200]!r}") from error
