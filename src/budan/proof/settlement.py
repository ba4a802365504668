"""Settles a day of many merchants on a private database: how fast, for how long a snapshot is held, and whether it ties."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

import asyncpg
import msgspec

from budan.proof.queries import query
from budan.proof.records import CONNECT_S_MAX
from budan.proof.steps import run_cli

ORDERS_PER_STATEMENT: Final = 20_000
STATEMENT_S_MAX: Final = 600.0
COMMAND_S_MAX: Final = 1_800.0
SAMPLE_EVERY_S: Final = 0.05
# No transaction holds a snapshot longer on the primary (docs/design.md section 6).
SNAPSHOT_S_MAX: Final = 30.0
# One of so many orders is on hold and stays out; a prime, so that they lie with all merchants.
HELD_EACH: Final = 997
_PARTITIONS_MAKE: Final = query("settlement_partitions_make")
_MERCHANTS_ADD: Final = query("settlement_merchants_add")
_MERCHANTS_NEXT: Final = query("settlement_merchants_next")
_ORDERS_ADD: Final = query("settlement_orders_add")
_SUMS: Final = query("settlement_sums")
_LONGEST_SNAPSHOT: Final = query("settlement_longest_snapshot")
_CLEAN: Final = query("preload_clean")
_CHECKPOINT: Final = "CHECKPOINT"


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlePlan:
    """How much is settled."""

    orders: int
    merchants: int


SHORT: Final = SettlePlan(orders=50_000, merchants=1_000)
LONG: Final = SettlePlan(orders=1_000_000, merchants=10_000)


class SettleResult(msgspec.Struct, frozen=True, kw_only=True):
    """What settling took, and what was wrong with it; docs/bench.md says how each figure is made."""

    settle_orders: int
    settle_merchants: int
    settle_seconds: float
    settle_orders_per_s: float
    settle_longest_snapshot_s: float
    problems: list[str]


async def measure_settlement(
    *, dsn: str, folder: Path, plan: SettlePlan, progress: Callable[[str], None]
) -> SettleResult:
    """Fill a database of its own, settle it by the command line, settle it again, and have the ledger checked.

    Raises StepFailed where a command does not end well.
    """
    environment = _environment(folder, dsn=dsn)
    await run_cli("db", "upgrade", environment=environment, timeout_s=COMMAND_S_MAX)
    connection = await asyncpg.connect(dsn, timeout=CONNECT_S_MAX, command_timeout=STATEMENT_S_MAX)
    try:
        progress(f"settlement: selling {plan.orders} orders of {plan.merchants} merchants")
        await _sell(connection, plan)
        progress("settlement: settling them")
        began_s = monotonic()
        async with _watched(dsn) as watched:
            first = await run_cli("ledger", "settle", environment=environment, timeout_s=COMMAND_S_MAX)
        seconds = monotonic() - began_s
        progress("settlement: settling again, and checking the ledger")
        again = await run_cli("ledger", "settle", environment=environment, timeout_s=COMMAND_S_MAX)
        await run_cli("ledger", "check", environment=environment, timeout_s=COMMAND_S_MAX)
        sums = dict(await connection.fetchrow(_SUMS) or {})
    finally:
        await connection.close()
    settled = plan.orders - plan.orders // HELD_EACH
    return SettleResult(
        settle_orders=settled,
        settle_merchants=plan.merchants,
        settle_seconds=round(seconds, 2),
        settle_orders_per_s=round(settled / seconds, 1),
        settle_longest_snapshot_s=round(watched.longest_s, 2),
        problems=find_problems(plan, first=first, again=again, sums=sums, longest_s=watched.longest_s),
    )


def find_problems(
    plan: SettlePlan, *, first: dict[str, int], again: dict[str, int], sums: dict[str, int], longest_s: float
) -> list[str]:
    """What is not as it must be, in words: every order that is not held is settled once, for what was booked."""
    expected = plan.orders - plan.orders // HELD_EACH
    found = {
        f"{first['batches']} batches of {plan.merchants} merchants": first["batches"] != plan.merchants,
        f"settling again made {again['batches']} batches": again["batches"] != 0,
        f"{sums['orders']} orders are settled, not {expected}": sums["orders"] != expected,
        f"{sums['held_lines']} lines of orders on hold are settled": sums["held_lines"] != 0,
        f"{sums['lines_minor']} settled, {sums['owed_minor']} owed": sums["lines_minor"] != sums["owed_minor"],
        f"{sums['payout_minor']} to be paid out, {sums['owed_minor']} owed": sums["payout_minor"] != sums["owed_minor"],
        f"a snapshot of {longest_s:.1f} s": longest_s > SNAPSHOT_S_MAX,
    }
    return [text for text, is_wrong in found.items() if is_wrong]


@dataclass(slots=True, kw_only=True)
class _Watched:
    longest_s: float = 0.0


@asynccontextmanager
async def _watched(dsn: str) -> AsyncGenerator[_Watched]:
    """The longest transaction of the books while the block runs, looked for twenty times a second."""
    watched = _Watched()
    connection = await asyncpg.connect(dsn, timeout=CONNECT_S_MAX, command_timeout=STATEMENT_S_MAX)

    async def watch() -> None:
        while True:
            seconds = await connection.fetchval(_LONGEST_SNAPSHOT)
            watched.longest_s = max(watched.longest_s, seconds)
            await asyncio.sleep(SAMPLE_EVERY_S)

    try:
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(watch())
            yield watched
            watching.cancel()
    finally:
        await connection.close()


async def _sell(connection: "asyncpg.Connection[asyncpg.Record]", plan: SettlePlan) -> None:
    await connection.fetchval(_PARTITIONS_MAKE)
    await connection.fetch(_MERCHANTS_ADD, plan.merchants)
    await connection.fetchval(_MERCHANTS_NEXT)
    for first in range(1, plan.orders + 1, ORDERS_PER_STATEMENT):
        last = min(plan.orders, first + ORDERS_PER_STATEMENT - 1)
        await connection.execute(_ORDERS_ADD, first, last, plan.orders, plan.merchants)
    await connection.execute(_CLEAN)
    await connection.execute(_CHECKPOINT)


def _environment(folder: Path, *, dsn: str) -> dict[str, str]:
    # Nothing of our caller's settings, as in a private instance.
    theirs = {name: text for name, text in os.environ.items() if not name.startswith("BUDAN_")}
    return theirs | {"BUDAN_ENVIRONMENT": "local", "BUDAN_DATABASE": dsn, "BUDAN_FOLDER": str(folder)}
