"""One PostgreSQL per test run, and a database of its own for each test that asks for one."""

import fcntl
import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

_KEEPER = Path(__file__).with_name("postgres_keeper.py")
_RUN_FOLDER = "BUDAN_TEST_RUN_FOLDER"
_RUN_PID = "BUDAN_TEST_RUN_PID"
_KEEPER_END_S_MAX = 15.0
_MEMORY_BYTES_MIN = 2 * 1024**3


@dataclass(frozen=True, slots=True, kw_only=True)
class TestServer:
    """The server of this run: `dsn` of a database for administration, and the migrated template's name."""

    __test__ = False

    dsn: str
    prefix: str
    template: str


class ChaosTogether(LoadScopeScheduling):
    """One tester plays all chaos, on one platform and from the start; every other test goes to whoever is free.

    The mark `xdist_group` would say the same, but this version of xdist adds it to a name that pytest 9.2 does not read.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "chaos" if nodeid.startswith("tests/chaos/") else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ChaosTogether | None:
    # The largest scope is dealt out first.
    return ChaosTogether(config, log) if config.getvalue("dist") == "loadscope" else None


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        return
    # xdist's workers inherit both. Nothing is made before a test needs it.
    os.environ[_RUN_FOLDER] = str(_fastest_place() / f"budan-test-{secrets.token_hex(4)}")
    os.environ[_RUN_PID] = str(os.getpid())


def _fastest_place() -> Path:
    # Measured: a copy of the template takes 13 ms in memory and 350 ms on a disk, and nothing here is worth keeping.
    # A container's /dev/shm is often too small for a server.
    memory = Path("/dev/shm")  # noqa: S108 - the name is random
    roomy = memory.is_dir() and shutil.disk_usage(memory).free >= _MEMORY_BYTES_MIN
    return memory if roomy and os.access(memory, os.W_OK) else Path(tempfile.gettempdir())


def pytest_unconfigure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        return
    with suppress(FileNotFoundError, ProcessLookupError):
        _end_keeper(int((Path(os.environ[_RUN_FOLDER]) / "keeper.pid").read_text("ascii")))


def _end_keeper(pid: int) -> None:
    watched = os.pidfd_open(pid)
    try:
        # After the descriptor is open the number cannot change hands; before, it could have.
        if os.environ[_RUN_FOLDER].encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
            signal.pidfd_send_signal(watched, signal.SIGTERM)
            select.select([watched], [], [], _KEEPER_END_S_MAX)
    finally:
        os.close(watched)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[TestServer]:
    """The run's server, started by whichever worker comes first; BUDAN_DATABASE names another one instead."""
    folder = Path(os.environ[_RUN_FOLDER])
    # Passable, not readable: as root the server runs as an unprivileged user that must get through.
    folder.mkdir(mode=0o711, exist_ok=True)
    ready = folder / "ready.json"
    keeper = None
    with (folder / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            keeper, line = _start_keeper(folder)
            ready.write_text(line, "utf-8")
    yield TestServer(**json.loads(ready.read_text("utf-8")))
    if keeper is not None:
        # It outlives this worker on purpose; without a code the object would complain of a child that still runs.
        keeper.returncode = 0


def _start_keeper(folder: Path) -> tuple["subprocess.Popen[str]", str]:
    keeper = subprocess.Popen(
        [sys.executable, str(_KEEPER), str(folder), os.environ[_RUN_PID]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert keeper.stdout
    assert keeper.stderr
    with keeper.stdout, keeper.stderr:
        line = keeper.stdout.readline()
        if not line:
            raise RuntimeError(f"no PostgreSQL for the tests: {keeper.stderr.read()}")
    return keeper, line


@pytest.fixture
async def database_dsn(postgres_server: TestServer) -> AsyncIterator[str]:
    """A database of this test's own, migrated and otherwise empty."""
    async with _own_database(postgres_server, template=postgres_server.template) as dsn:
        yield dsn


@pytest.fixture
async def empty_database_dsn(postgres_server: TestServer) -> AsyncIterator[str]:
    """A database of this test's own without any table: for the migrations themselves."""
    async with _own_database(postgres_server, template="template0") as dsn:
        yield dsn


@asynccontextmanager
async def _own_database(server: TestServer, *, template: str) -> AsyncIterator[str]:
    name = f"{server.prefix}_{secrets.token_hex(6)}"
    await _administrate(server, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    try:
        yield urlsplit(server.dsn)._replace(path=f"/{name}").geturl()
    finally:
        await _drop(server, name)


async def _drop(server: TestServer, name: str) -> None:
    # FORCE ends sessions that a test left behind, but may not end autovacuum's; a plain DROP asks autovacuum to go.
    try:
        await _administrate(server, f"DROP DATABASE {name} WITH (FORCE)")
    except asyncpg.InsufficientPrivilegeError:
        await _administrate(server, f"DROP DATABASE {name}")


async def _administrate(server: TestServer, statement: str) -> None:
    connection = await asyncpg.connect(server.dsn, timeout=10)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests that explore a whole space counted, by `record_property("explored", …)`."""
    reports = terminalreporter.getreports("passed")
    for line in sorted(
        str(value) for report in reports for name, value in report.user_properties if name == "explored"
    ):
        terminalreporter.write_line(f"explored {line}")
