import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest
import uvloop

from budan.host.supervisor import Exit, OnExit, Program, ProgramFailed, supervise

_WAIT_S = 20.0
_READY = "from budan.host.readiness import tell_ready; tell_ready(); "
_FOREVER = "import signal; signal.pause()"
_STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "


class Heard:
    """What a supervisor told, and waiting for it."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.exits: list[Exit] = []
        self._changed = asyncio.Event()

    def line(self, name: str, line: str) -> None:
        self.lines.append((name, line))
        self._changed.set()

    def exit(self, ended: Exit) -> None:
        self.exits.append(ended)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(_WAIT_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


def _program(name: str, code: str, *, on_exit: OnExit = OnExit.FAIL, tells_ready: bool = True) -> Program:
    argv = (sys.executable, "-c", code)
    return Program(name=name, argv=argv, environment={"WORD": "said"}, on_exit=on_exit, tells_ready=tells_ready)


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def _two_programs_live_and_end() -> None:
    heard = Heard()
    code = "import os; print(os.environ['WORD']); " + _READY + _FOREVER
    async with supervise(on_line=heard.line, on_exit=heard.exit) as supervisor:
        both = (supervisor.start(_program(name, code), ready_s_max=_WAIT_S) for name in ("one", "two"))
        await asyncio.gather(*both)
        pids = supervisor.pids()
        assert set(pids) == {"one", "two"}
        await heard.until(lambda: len(heard.lines) == 2)
    assert sorted(heard.lines) == [("one", "said"), ("two", "said")]
    assert all(map(_is_gone, pids.values()))
    assert heard.exits == []


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_programs_are_ready_when_start_returns_and_gone_when_the_block_is_left(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_two_programs_live_and_end())


async def test_a_crashed_program_is_brought_back_and_its_exit_is_told() -> None:
    heard = Heard()
    async with supervise(on_line=heard.line, on_exit=heard.exit) as supervisor:
        code = "print('up'); " + _READY + _FOREVER
        await supervisor.start(_program("one", code, on_exit=OnExit.RESTART), ready_s_max=_WAIT_S)
        await heard.until(lambda: len(heard.lines) == 1)
        first = supervisor.pids()["one"]
        os.kill(first, signal.SIGKILL)
        await heard.until(lambda: len(heard.lines) == 2)
        assert supervisor.pids()["one"] != first
    assert [(ended.name, ended.code, ended.restart_delay_s) for ended in heard.exits] == [("one", -9, 0.1)]


async def test_each_restart_in_a_row_waits_longer() -> None:
    heard = Heard()
    async with supervise(on_line=heard.line, on_exit=heard.exit) as supervisor:
        await supervisor.start(_program("one", _READY, on_exit=OnExit.RESTART), ready_s_max=_WAIT_S)
        await heard.until(lambda: len(heard.exits) == 3)
    assert [ended.restart_delay_s for ended in heard.exits] == [0.1, 0.2, 0.4]


async def _run_until_failure(heard: Heard, *programs: Program) -> None:
    async with supervise(on_line=heard.line, on_exit=heard.exit) as supervisor:
        for program in programs:
            await supervisor.start(program, ready_s_max=_WAIT_S)
        await heard.until(lambda: False)


async def test_the_end_of_a_program_that_must_not_end_ends_the_others_in_order() -> None:
    heard = Heard()
    last_words = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('in order'))); "
    other = _program("other", last_words + _READY + _FOREVER)
    with pytest.raises(ProgramFailed, match="one ended with 3"):
        await _run_until_failure(heard, other, _program("one", _READY + "raise SystemExit(3)"))
    assert heard.lines == [("other", "in order")]
    assert [ended.code for ended in heard.exits] == [3]


async def test_a_program_that_ends_before_it_is_ready_is_not_tried_again() -> None:
    heard = Heard()
    with pytest.raises(ProgramFailed, match="one ended with 2"):
        await _run_until_failure(heard, _program("one", "print('why'); raise SystemExit(2)", on_exit=OnExit.RESTART))
    assert heard.lines == [("one", "why")]
    assert [ended.restart_delay_s for ended in heard.exits] == [None]


async def test_a_program_that_is_not_ready_in_time_fails() -> None:
    heard = Heard()
    async with supervise(on_line=heard.line, on_exit=heard.exit) as supervisor:
        with pytest.raises(ProgramFailed, match=r"one was not ready within 0\.2 s"):
            await supervisor.start(_program("one", _FOREVER), ready_s_max=0.2)


async def test_an_error_of_the_block_itself_comes_out_as_it_is() -> None:
    async def fail() -> None:
        heard = Heard()
        async with supervise(on_line=heard.line, on_exit=heard.exit) as supervisor:
            await supervisor.start(_program("one", _FOREVER, tells_ready=False), ready_s_max=_WAIT_S)
            raise LookupError("ours")

    with pytest.raises(LookupError, match="ours"):
        await fail()


async def test_a_stopped_program_is_gone_and_may_be_started_again() -> None:
    heard = Heard()
    async with supervise(on_line=heard.line, on_exit=heard.exit) as supervisor:
        program = _program("one", _READY + _FOREVER, on_exit=OnExit.RESTART)
        await supervisor.start(program, ready_s_max=_WAIT_S)
        first = supervisor.pids()["one"]
        await supervisor.stop("one")
        assert _is_gone(first)
        assert supervisor.pids() == {}
        await supervisor.start(program, ready_s_max=_WAIT_S)
        assert supervisor.pids()["one"] != first


async def test_a_program_and_its_children_that_do_not_want_to_end_are_killed() -> None:
    """They ignore every signal that can be ignored, and would run for ever: leaving the supervisor ends at all."""
    heard = Heard()
    child = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {_STUBBORN + _FOREVER!r}]).pid); "
    async with supervise(on_line=heard.line, on_exit=heard.exit) as supervisor:
        await supervisor.start(_program("one", _STUBBORN + child + _READY + _FOREVER), ready_s_max=_WAIT_S)
        await heard.until(lambda: len(heard.lines) == 1)
        grandchild = os.pidfd_open(int(heard.lines[0][1]))
    assert select.select([grandchild], [], [], _WAIT_S)[0]
    os.close(grandchild)


async def test_long_lines_are_cut_and_a_last_line_without_an_end_is_told() -> None:
    heard = Heard()
    with pytest.raises(ProgramFailed):
        await _run_until_failure(heard, _program("one", _READY + "print('x' * 600_000); print('last', end='')"))
    texts = [line for _, line in heard.lines]
    assert texts[-1] == "last"
    assert "".join(texts[:-1]) == "x" * 600_000
    assert len(texts) > 2


_SUPERVISOR = f"""
import asyncio, sys
from budan.host.supervisor import OnExit, Program, supervise

CHILD = '''
import os, signal, sys
def tell(number, frame):
    print("got", signal.Signals(number).name, flush=True)
    sys.exit(0)
signal.signal(signal.SIGINT, tell); signal.signal(signal.SIGTERM, tell)
print(os.getpid(), flush=True)
{_READY}{_FOREVER}
'''

async def main():
    program = Program(name="one", argv=(sys.executable, "-c", CHILD), environment={{}}, on_exit=OnExit.FAIL, tells_ready=True)
    async with supervise(on_line=lambda name, line: print(line, flush=True), on_exit=lambda ended: None) as supervisor:
        await supervisor.start(program, ready_s_max={_WAIT_S})
        await asyncio.Event().wait()

asyncio.run(main())
"""


def _supervisor_with_child() -> tuple["subprocess.Popen[str]", int]:
    """A supervisor in a process group of its own, and a descriptor of its child."""
    supervisor = subprocess.Popen(
        [sys.executable, "-c", _SUPERVISOR],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert supervisor.stdout
    return supervisor, os.pidfd_open(int(supervisor.stdout.readline()))


def test_programs_are_gone_when_their_supervisor_was_killed() -> None:
    supervisor, child = _supervisor_with_child()
    with supervisor:
        supervisor.kill()
        assert select.select([child], [], [], _WAIT_S)[0]
        os.close(child)


def test_ctrl_c_reaches_only_the_supervisor_who_ends_its_programs_in_order() -> None:
    supervisor, child = _supervisor_with_child()
    with supervisor:
        os.killpg(supervisor.pid, signal.SIGINT)
        said, _ = supervisor.communicate(timeout=_WAIT_S)
        assert said.split() == ["got", "SIGTERM"]
        assert select.select([child], [], [], 0)[0]
        os.close(child)
