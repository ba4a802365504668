"""Runs our other programs: waits until they serve, brings back those that crash, leaves none behind."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import IO, Final

from budan.host.endings import wait_ended
from budan.host.readiness import READY_FD_VARIABLE
from budan.host.tethered import tethered

# Together below 5 s: asked to end, then made to end, then the last lines read.
TERM_GRACE_S: Final = 4.0
KILL_GRACE_S: Final = 0.5
LAST_LINES_S: Final = 0.3
RESTART_DELAY_S_MIN: Final = 0.1
RESTART_DELAY_S_MAX: Final = 5.0
# A program that ran this long was well: its next crash starts the ladder anew.
HEALTHY_S: Final = 10.0
RESTARTS_IN_A_ROW_MAX: Final = 20
LINE_BYTES_MAX: Final = 256 * 1024
CHUNK_BYTES_MAX: Final = 64 * 1024


class OnExit(Enum):
    """What a program's end means, whatever its exit code: ours run until they are stopped."""

    RESTART = auto()
    FAIL = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A command to keep running. `argv` starts with an absolute path; `environment` is added to ours."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    on_exit: OnExit
    # It calls `readiness.tell_ready`; otherwise it counts as ready once it runs.
    tells_ready: bool
    inherited: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """A program ended that we had not stopped. `code` is minus the signal that ended it; no delay: no restart."""

    name: str
    code: int
    ran_s: float
    restart_delay_s: float | None


class ProgramFailed(RuntimeError):  # noqa: N818 - says what is wrong, like wire.errors
    """A program ended that may not, ended before it was ready, crashed too often, or was not ready in time."""


OnLine = Callable[[str, str], None]
OnExitReport = Callable[[Exit], None]


class Supervisor:
    """The programs inside a `supervise` block."""

    __slots__ = ("_group", "_on_exit", "_on_line", "_running", "_tasks")

    def __init__(self, group: asyncio.TaskGroup, *, on_line: OnLine, on_exit: OnExitReport) -> None:
        self._group = group
        self._on_line = on_line
        self._on_exit = on_exit
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self, program: Program, *, ready_s_max: float) -> None:
        """`program` is ready when this returns. Start several at once with gather; raises ProgramFailed."""
        assert program.name not in self._tasks, program.name
        ready = asyncio.get_running_loop().create_future()
        self._tasks[program.name] = self._group.create_task(self._keep(program, ready=ready), name=program.name)
        try:
            async with asyncio.timeout(ready_s_max):
                await ready
        except TimeoutError:
            raise ProgramFailed(f"{program.name} was not ready within {ready_s_max:g} s") from None

    async def stop(self, name: str) -> None:
        """The program is gone within 5 s and is not brought back; its name may be started again."""
        task = self._tasks.pop(name)
        task.cancel()
        await asyncio.wait([task], timeout=TERM_GRACE_S + KILL_GRACE_S + LAST_LINES_S)

    def stop_all(self) -> None:
        """Every program begins to end; leaving the block waits for it."""
        for task in self._tasks.values():
            # A second cancellation would cut short the grace that the first one gives.
            if not task.cancelling():
                task.cancel()

    def pids(self) -> dict[str, int]:
        """The programs that run at this moment. Between a crash and the restart a program has none."""
        return {name: child.pid for name, child in self._running.items()}

    async def _keep(self, program: Program, *, ready: "asyncio.Future[None]") -> None:
        loop = asyncio.get_running_loop()
        in_a_row = 0
        try:
            while True:
                began_s = loop.time()
                code = await self._run_once(program, ready=ready)
                ran_s = loop.time() - began_s
                in_a_row = 1 if ran_s >= HEALTHY_S else in_a_row + 1
                # What never worked does not get better by repeating: a wrong setting, most likely.
                again = program.on_exit is OnExit.RESTART and ready.done() and in_a_row <= RESTARTS_IN_A_ROW_MAX
                delay_s = min(RESTART_DELAY_S_MIN * 2 ** (in_a_row - 1), RESTART_DELAY_S_MAX) if again else None
                self._on_exit(Exit(name=program.name, code=code, ran_s=ran_s, restart_delay_s=delay_s))
                if delay_s is None:
                    raise ProgramFailed(f"{program.name} ended with {code} after {ran_s:.1f} s")
                await asyncio.sleep(delay_s)
        finally:
            ready.cancel()

    async def _run_once(self, program: Program, *, ready: "asyncio.Future[None]") -> int:
        """One life of the program, from start to exit code; when we are cancelled, it ends first."""
        child, ready_reader = _spawn(program)
        self._running[program.name] = child
        assert child.stdout is not None
        lines = _Lines(child.stdout, on_line=partial(self._on_line, program.name))
        if not program.tells_ready:
            _set_ready(ready)
        try:
            with _noticing(ready_reader, ready=ready):
                await wait_ended(child.pid)
        finally:
            del self._running[program.name]
            try:
                code = await _end(child)
            finally:
                await lines.finish()
        return code


class _Lines:
    """Cuts a child's output into lines; one that is too long is cut there."""

    __slots__ = ("_ended", "_on_line", "_output", "_rest")

    def __init__(self, output: "IO[bytes]", *, on_line: Callable[[str], None]) -> None:
        self._output = output
        self._on_line = on_line
        self._rest = b""
        self._ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(output.fileno(), self._read)

    async def finish(self) -> None:
        """The last lines are told. Somebody who inherited the output and lives on is not waited for."""
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_LINES_S):
                    await self._ended.wait()
        finally:
            asyncio.get_running_loop().remove_reader(self._output.fileno())
            self._output.close()

    def _read(self) -> None:
        chunk = os.read(self._output.fileno(), CHUNK_BYTES_MAX)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if not chunk or len(self._rest) > LINE_BYTES_MAX:
            lines, self._rest = [*lines, self._rest], b""
        if not chunk:
            asyncio.get_running_loop().remove_reader(self._output.fileno())
            self._ended.set()
        for line in filter(None, lines):
            self._on_line(line.decode(errors="replace"))


@asynccontextmanager
async def supervise(*, on_line: OnLine, on_exit: OnExitReport) -> AsyncGenerator[Supervisor]:
    """Programs started inside the block run at most as long as it: leaving it, by whatever way, ends them in 5 s.

    A program that may not end, and does, cancels the block, which then raises ProgramFailed. Children are in sessions
    of their own, so Ctrl-C reaches only us; if we are killed, the kernel kills them. Use it on the main thread: the
    kernel ties the children to the thread that started them.
    """
    try:
        async with asyncio.TaskGroup() as group:
            supervisor = Supervisor(group, on_line=on_line, on_exit=on_exit)
            try:
                yield supervisor
            finally:
                supervisor.stop_all()
    except BaseExceptionGroup as failures:
        # One error is the rule, and the block's own errors should look as if there were no group.
        if len(failures.exceptions) == 1:
            raise failures.exceptions[0] from None
        raise


def _spawn(program: Program) -> "tuple[subprocess.Popen[bytes], int]":
    """The child, and the end of the pipe through which it tells that it is ready."""
    ready_reader, ready_writer = os.pipe()
    additions = {"PYTHONUNBUFFERED": "1", READY_FD_VARIABLE: str(ready_writer)}
    try:
        child = subprocess.Popen(  # noqa: S603 - commands of our own making
            tethered(program.argv, death_signal=signal.SIGKILL),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **additions, **program.environment},
            pass_fds=(ready_writer, *program.inherited),
            start_new_session=True,
        )
    except BaseException:
        os.close(ready_reader)
        raise
    finally:
        os.close(ready_writer)
    return child, ready_reader


@contextmanager
def _noticing(reader: int, *, ready: "asyncio.Future[None]") -> Generator[None]:
    """While inside, the byte that a child sends through `reader` makes it ready."""
    loop = asyncio.get_running_loop()

    def read() -> None:
        loop.remove_reader(reader)
        # Nothing to read is the end of a child that never got ready.
        if os.read(reader, 1):
            _set_ready(ready)

    loop.add_reader(reader, read)
    try:
        yield
    finally:
        loop.remove_reader(reader)
        os.close(reader)


def _set_ready(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)


async def _end(child: "subprocess.Popen[bytes]") -> int:
    """The child and its process group are gone, and its exit code is known.

    Until we reap it, its number, which is its group's too, is not given away: no signal can hit anybody else. So
    nothing of Popen that reaps (poll, terminate) is called before.
    """
    try:
        os.kill(child.pid, signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(TERM_GRACE_S):
                await wait_ended(child.pid)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        code = child.wait(KILL_GRACE_S)
    return code
