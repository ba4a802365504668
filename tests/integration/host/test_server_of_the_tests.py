"""The fixtures that all other tests with a database stand on."""

import os
import select
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

_TESTS = Path(__file__).parents[2]
_WAIT_S = 60.0
_INNER = """
import os, pathlib, sys, asyncpg, pytest

@pytest.mark.parametrize("number", range(4))
async def test_inner(number, database_dsn):
    connection = await asyncpg.connect(database_dsn)
    folder = await connection.fetchval("SELECT current_setting('unix_socket_directories')")
    await connection.close()
    pid = pathlib.Path(folder).parent.joinpath("cluster", "postmaster.pid").read_text().split()[0]
    with open(os.environ["INNER_OUT"], "a") as out:
        out.write(pid + " " + os.environ["BUDAN_TEST_RUN_FOLDER"] + "\\n")
    if wait := os.environ.get("INNER_WAIT"):
        print("ready", file=sys.__stdout__, flush=True)
        os.read(int(wait), 1)
"""


async def test_each_test_has_a_migrated_database_of_its_own(database_dsn: str, empty_database_dsn: str) -> None:
    assert database_dsn != empty_database_dsn
    assert urlsplit(database_dsn).path != "/budan"
    tables = {dsn: await _count_tables(dsn) for dsn in (database_dsn, empty_database_dsn)}
    assert tables[database_dsn] > 10
    assert tables[empty_database_dsn] == 0


def test_all_workers_of_a_run_share_a_server_that_is_gone_when_the_run_is_over(tmp_path: Path) -> None:
    with _inner_run(tmp_path, "-n2", "-p", "xdist", environment={}) as run:
        said, _ = run.communicate(timeout=_WAIT_S)
        assert run.returncode == 0, said
    lines = (tmp_path / "out").read_text("utf-8").splitlines()
    assert len(lines) == 4
    assert len(set(lines)) == 1
    pid, folder = lines[0].split()
    assert not Path("/proc", pid, "exe").exists()
    assert not Path(folder).exists()


def test_the_server_is_gone_when_the_run_was_killed(tmp_path: Path) -> None:
    never, never_writer = os.pipe()
    try:
        with _inner_run(tmp_path, "-n0", "-s", environment={"INNER_WAIT": str(never)}, inherited=(never,)) as run:
            assert run.stdout
            assert any("ready" in line for line in run.stdout)
            server = os.pidfd_open(int((tmp_path / "out").read_text("utf-8").split()[0]))
            run.kill()
            assert select.select([server], [], [], _WAIT_S)[0]
            os.close(server)
    finally:
        os.close(never)
        os.close(never_writer)


def _inner_run(
    folder: Path, *arguments: str, environment: dict[str, str], inherited: tuple[int, ...] = ()
) -> "subprocess.Popen[str]":
    """A pytest of its own, with this suite's fixtures, on a test file in `folder`."""
    (folder / "test_inner.py").write_text(_INNER, "utf-8")
    paths = os.pathsep.join(filter(None, (str(_TESTS), os.environ.get("PYTHONPATH"))))
    own = {"PYTHONPATH": paths, "INNER_OUT": str(folder / "out")}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BUDAN_", "PYTEST_"))}
    settings = ["-c", str(_TESTS.parent / "pyproject.toml"), "--rootdir", str(folder), "-p", "conftest"]
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", *settings, "-p", "no:cacheprovider", *arguments, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env={**kept, **own, **environment},
        pass_fds=inherited,
    )


async def _count_tables(dsn: str) -> int:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"))
    finally:
        await connection.close()
