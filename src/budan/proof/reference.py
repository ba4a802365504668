"""The yardstick: a plain order life by pgbench, on the same server, in a database of its own."""

import os
import re
from importlib.resources import files
from typing import Final
from urllib.parse import urlsplit

import asyncpg

from budan.host.program import pgbench_path
from budan.host.resources import usable_cores
from budan.proof.records import CONNECT_S_MAX
from budan.proof.steps import StepFailed, run_step

CLIENTS: Final = 32
_DATABASE: Final = "reference"
# sql: a database's name takes no parameter, and this one is constant.
_DATABASE_MAKE: Final = "CREATE DATABASE reference"
_START_S_MAX: Final = 30.0
_RATE: Final = re.compile(rb"^tps = (?P<rate>[0-9.]+)", re.MULTILINE)


async def make_reference(dsn: str) -> str:
    """The dsn of the reference's database on the server of `dsn`."""
    connection = await asyncpg.connect(dsn, timeout=CONNECT_S_MAX)
    try:
        await connection.execute(_DATABASE_MAKE)
    finally:
        await connection.close()
    made = urlsplit(dsn)._replace(path=f"/{_DATABASE}").geturl()
    connection = await asyncpg.connect(made, timeout=CONNECT_S_MAX)
    try:
        tables = files("budan.proof").joinpath("reference_tables.sql").read_text("utf-8")
        await connection.execute(tables)
    finally:
        await connection.close()
    return made


async def measure_reference(dsn: str, *, seconds: int) -> float:
    """Plain lives per second; raises StepFailed."""
    flags = ["-n", "-M", "prepared", "-c", str(CLIENTS), "-j", str(max(1, int(usable_cores()))), "-T", str(seconds)]
    script = files("budan.proof").joinpath("reference.sql")
    written = await run_step(
        [str(pgbench_path()), *flags, "-f", str(script), dsn],
        environment=os.environ,
        timeout_s=seconds + _START_S_MAX,
    )
    found = _RATE.search(written)
    if found is None:
        raise StepFailed(f"pgbench told no rate: {written[-500:]!r}")
    return float(found["rate"])
