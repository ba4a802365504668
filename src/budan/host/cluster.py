"""The files of a new database: made whole or not at all."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from budan.host.errors import ClusterFailed
from budan.host.folders import ServerUser
from budan.host.program import SERVER_MAJOR
from budan.host.tethered import tethered

# The role owns its database and may make others (tests copy a template); it is no superuser. It may read the server's
# statistics, which the console and the bench show.
# sql: constant, and run before there is a database that a named query could be prepared on.
_FIRST_STATEMENTS: Final = """\
CREATE ROLE budan LOGIN CREATEDB;
GRANT pg_monitor, pg_checkpoint TO budan;
CREATE DATABASE budan OWNER budan;
"""
_STEP_S_MAX: Final = 120.0
# Nothing of our caller's environment: PGDATA, PGOPTIONS or a locale would change what the programs do.
SERVER_ENVIRONMENT: Final = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def make_cluster(
    cluster: Path, *, programs: Path, user: ServerUser, durable: bool, progress: Callable[[str], None]
) -> None:
    """`cluster` holds a database with role and database `budan`, reachable through its Unix socket alone.

    Safe to repeat after a crash at any moment: the files get their name when they are complete.
    """
    unfinished = cluster.with_name(f"{cluster.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(unfinished, user.uid, user.gid)
    progress(f"making a new database in {cluster}")
    _run([programs / "initdb", *_initdb_options(durable=durable), "-D", unfinished], user=user, text="")
    unsynced = [] if durable else ["-c", "fsync=off"]
    # A server that nobody can connect to: one process that reads statements, a line each.
    single = [programs / "postgres", "--single", "-D", unfinished, *unsynced, "-c", "exit_on_error=on", "postgres"]
    _run(single, user=user, text=_FIRST_STATEMENTS)
    unfinished.rename(cluster)


def refuse_other_version(cluster: Path) -> None:
    """Raise ClusterFailed when the files were written by another major version, which this one cannot read."""
    found = (cluster / "PG_VERSION").read_text("ascii").strip()
    if found != str(SERVER_MAJOR):
        raise ClusterFailed(
            f"{cluster} was written by PostgreSQL {found}, and this is {SERVER_MAJOR}. Dump it with the budan that"
            " wrote it (pg_dump), move the folder away, and load the dump into a new one"
        )


def _initdb_options(*, durable: bool) -> list[str]:
    # The built-in locale sorts by code point and is the same on every machine: an upgrade of its C library cannot
    # put our indexes out of order.
    locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    access = ["--username=postgres", "--auth-local=trust", "--auth-host=reject"]
    return [*locale, *access, "--data-checksums", "--no-instructions", *([] if durable else ["--no-sync"])]


def _run(argv: Sequence[str | Path], *, user: ServerUser, text: str) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - the wheel's own programs
            tethered(argv, death_signal=signal.SIGKILL, user=user if os.geteuid() == 0 else None),
            input=text.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=SERVER_ENVIRONMENT,
            cwd="/",
            start_new_session=True,
            timeout=_STEP_S_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ClusterFailed(f"{Path(argv[0]).name} took longer than {_STEP_S_MAX:.0f} s") from error
    output = done.stdout.decode(errors="replace")
    if done.returncode != 0 or "ERROR:" in output or "FATAL:" in output:
        raise ClusterFailed(f"{Path(argv[0]).name} failed:\n{output.strip()}")
