import os
import select
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from budan.host import embedded
from budan.host.errors import ClusterFailed, FolderInUse, FolderUnusable, StartFailed
from budan.host.folders import SOCKET_PATH_BYTES_MAX
from budan.host.program import pgbench_path, psql_path

_END_S_MAX = 10.0


def _quiet(_line: str) -> None:
    """For starts whose progress is not what the test is about."""


def _start(
    folder: Path, *, progress: Callable[[str], None] = _quiet, durable: bool = False
) -> embedded.RunningPostgres:
    return embedded.start(folder=folder, durable=durable, progress=progress)


async def _ask(dsn: str, statement: str) -> object:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def _wait_gone(pidfd: int) -> bool:
    try:
        return bool(select.select([pidfd], [], [], _END_S_MAX)[0])
    finally:
        os.close(pidfd)


async def test_a_new_folder_becomes_a_database_that_takes_connections_and_keeps_them_after_a_restart(
    open_folder: Path,
) -> None:
    with _start(open_folder / "db", durable=True) as first:
        await _ask(first.dsn, "CREATE TABLE kept AS SELECT 7 AS number")
        settings = "SELECT current_setting('fsync') || current_setting('synchronous_commit') || current_user"
        assert await _ask(first.dsn, settings) == "ononbudan"
        assert await _ask(first.dsn, "SHOW data_checksums") == "on"
        assert await _ask(first.dsn, "SHOW listen_addresses") == ""
    with _start(open_folder / "db", durable=True) as second:
        assert second.dsn == first.dsn
        assert await _ask(second.dsn, "SELECT number FROM kept") == 7


def test_a_log_that_grows_while_the_server_runs_is_put_aside_and_written_on(tmp_path: Path) -> None:
    """A server that complains each second for a month fills the disk that its database lies on."""
    log, aside = tmp_path / "server.log", tmp_path / "server.log.1"
    writer = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for line in (b"first\n", b"second\n", b"third\n"):
        os.write(writer, line)
        embedded.bound_log(tmp_path, bytes_max=10)
    os.close(writer)
    assert (aside.read_text(), log.read_text()) == ("first\nsecond\n", "third\n")


async def test_the_socket_lies_where_only_the_servers_user_may_enter(open_folder: Path) -> None:
    with _start(open_folder / "db") as server:
        assert stat.S_IMODE(server.socket_dir.stat().st_mode) == 0o700


async def test_stop_ends_the_server_in_order_although_clients_are_connected(open_folder: Path) -> None:
    server = _start(open_folder / "db")
    connection = await asyncpg.connect(server.dsn, timeout=10)
    server.stop()
    # The first, orderly signal was enough: the ladder's others end it with another code.
    assert server.exit_code() == 0
    server.stop()
    connection.terminate()


async def test_what_was_committed_is_there_after_a_crash_and_the_wait_for_recovery_is_told(open_folder: Path) -> None:
    crashed = _start(open_folder / "db", durable=True)
    await _ask(crashed.dsn, "CREATE TABLE kept AS SELECT 7 AS number")
    crashed.kill()
    assert await crashed.wait_ended() == -signal.SIGKILL
    told: list[str] = []
    with _start(open_folder / "db", progress=told.append, durable=True) as server:
        assert await _ask(server.dsn, "SELECT number FROM kept") == 7
    assert any("automatic recovery in progress" in line for line in told)


async def test_the_end_of_the_server_is_noticed_at_once(open_folder: Path) -> None:
    server = _start(open_folder / "db")
    os.kill(server.pid, signal.SIGQUIT)
    await server.wait_ended()
    assert server.exit_code() is not None
    assert await server.wait_ended() == server.exit_code()


def test_the_server_is_gone_when_its_parent_was_killed_and_the_folder_is_free(open_folder: Path) -> None:
    """A SIGKILL leaves no moment to clean up; the kernel does it."""
    script = (
        "import signal, sys; from pathlib import Path; from budan.host import embedded\n"
        "server = embedded.start(folder=Path(sys.argv[1]), durable=False, progress=lambda line: None)\n"
        "print(server.pid, flush=True); signal.pause()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(open_folder / "db")], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout
        watched = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
        assert _wait_gone(watched)
    with _start(open_folder / "db") as server:
        assert server.exit_code() is None


def test_a_folder_that_is_in_use_is_refused_with_the_servers_number(open_folder: Path) -> None:
    with _start(open_folder / "db") as server, pytest.raises(FolderInUse, match=str(server.pid)):
        _start(open_folder / "db")


def test_a_running_server_is_found_by_its_folder_until_it_ends(open_folder: Path) -> None:
    assert embedded.find_running_dsn(open_folder / "db") is None
    with _start(open_folder / "db") as server:
        assert embedded.find_running_dsn(open_folder / "db") == server.dsn
    assert embedded.find_running_dsn(open_folder / "db") is None


def test_a_left_over_pid_file_with_the_number_of_another_program_does_not_stop_us(open_folder: Path) -> None:
    """After a restart of a container the number is likely to be taken again."""
    _start(open_folder / "db").stop()
    cluster = open_folder / "db" / "cluster"
    lines = [str(os.getpid()), str(cluster), "0", "5432", str(open_folder / "db" / "run"), "", "0 0", "ready"]
    (cluster / "postmaster.pid").write_text("\n".join(lines) + "\n", "ascii")
    assert embedded.find_running_dsn(open_folder / "db") is None
    with _start(open_folder / "db") as server:
        assert server.exit_code() is None


def test_a_folder_out_of_reach_is_named_with_its_remedy_and_left_as_it_is(open_folder: Path) -> None:
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700 if os.geteuid() == 0 else 0o500)
    before = closed.stat().st_mode
    with pytest.raises(FolderUnusable, match=rf"{closed}.*[cC]hoose a"):
        _start(closed / "db")
    assert closed.stat().st_mode == before
    assert list(closed.iterdir()) == []


def test_files_in_the_place_of_the_folder_are_refused(open_folder: Path) -> None:
    (open_folder / "db").write_text("", "ascii")
    with pytest.raises(FolderUnusable, match="is no folder"):
        _start(open_folder / "db")


def test_files_of_another_version_are_refused_before_anything_runs_on_them(open_folder: Path) -> None:
    _start(open_folder / "db").stop()
    (open_folder / "db" / "cluster" / "PG_VERSION").write_text("17\n", "ascii")
    with pytest.raises(ClusterFailed, match="written by PostgreSQL 17"):
        _start(open_folder / "db")


def test_a_database_that_was_half_made_is_made_anew(open_folder: Path) -> None:
    _start(open_folder / "db").stop()
    cluster = open_folder / "db" / "cluster"
    cluster.rename(cluster.with_name("cluster.unfinished"))
    with _start(open_folder / "db") as server:
        assert server.exit_code() is None


def test_a_server_that_cannot_start_says_why(open_folder: Path) -> None:
    _start(open_folder / "db").stop()
    (open_folder / "db" / "cluster" / "postgresql.conf").write_text("no_such_setting = 1\n", "ascii")
    with pytest.raises(StartFailed, match="no_such_setting"):
        _start(open_folder / "db")


async def test_a_folder_too_deep_for_a_socket_gets_one_elsewhere(open_folder: Path) -> None:
    deep = open_folder / ("deep" * 30)
    with _start(deep) as server:
        assert len(bytes(server.socket_dir)) < SOCKET_PATH_BYTES_MAX
        assert await _ask(server.dsn, "SELECT 1") == 1
        outside = server.socket_dir
    outside.rmdir()


def test_the_wheels_own_clients_reach_the_server(open_folder: Path) -> None:
    with _start(open_folder / "db") as server:
        asked = subprocess.run(
            [psql_path(), "-XAt", "-c", "SELECT 1", server.dsn], capture_output=True, text=True, timeout=30, check=True
        )
        assert asked.stdout.strip() == "1"
        filled = subprocess.run([pgbench_path(), "-i", "-q", server.dsn], capture_output=True, timeout=60, check=False)
        assert filled.returncode == 0
