"""Keeps one PostgreSQL and its template for a whole test run, and takes both away when the run is over.

It watches the run's first process instead of being its child: any xdist worker may be the first that needs a database,
the server must outlive that worker, and it must not outlive a run that was killed.
Arguments: the run's folder, the pid of the run's first process. Prints one line of JSON when ready.
"""

import asyncio
import json
import os
import select
import shutil
import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from budan.core.numbers import Environment
from budan.host import embedded
from budan.store.upgrade import upgrade


def main() -> None:
    """Start, say where, wait for the end of the run or SIGTERM, clean up."""
    run_folder, run_pid = Path(sys.argv[1]), int(sys.argv[2])
    watched = os.pidfd_open(run_pid)
    stop_reader, stop_writer = os.pipe()
    signal.signal(signal.SIGTERM, lambda _number, _frame: os.write(stop_writer, b"x"))
    prefix = f"budan_test_{run_folder.name.rpartition('-')[2]}"
    (run_folder / "keeper.pid").write_text(str(os.getpid()), "ascii")
    given_dsn = os.environ.get("BUDAN_DATABASE", "")
    server = None if given_dsn else embedded.start(folder=run_folder / "server", durable=False, progress=_say)
    dsn = server.dsn if server else given_dsn
    try:
        template = asyncio.run(_make_template(dsn, prefix=prefix))
        sys.stdout.write(json.dumps({"dsn": dsn, "prefix": prefix, "template": template}) + "\n")
        sys.stdout.flush()
        # No time limit of its own: the run's end is certain, and the kernel reports it.
        select.select([watched, stop_reader], [], [])
    finally:
        if server:
            server.stop()
        else:
            asyncio.run(_drop_all(dsn, prefix=prefix))
        shutil.rmtree(run_folder, ignore_errors=True)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


async def _make_template(dsn: str, *, prefix: str) -> str:
    template = f"{prefix}_template"
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        await connection.execute(f"CREATE DATABASE {template}")
        await upgrade(dsn=urlsplit(dsn)._replace(path=f"/{template}").geturl(), environment=Environment.LOCAL)
        # A copy is refused while anybody, autovacuum included, is connected to its source.
        await connection.execute(f"ALTER DATABASE {template} ALLOW_CONNECTIONS false")
    finally:
        await connection.close()
    return template


async def _drop_all(dsn: str, *, prefix: str) -> None:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        for row in await connection.fetch("SELECT datname FROM pg_database WHERE starts_with(datname, $1)", prefix):
            await connection.execute(f"DROP DATABASE {row['datname']} WITH (FORCE)")
    finally:
        await connection.close()


if __name__ == "__main__":
    main()
