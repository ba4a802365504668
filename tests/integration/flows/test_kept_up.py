"""What goes on by itself tells when it fails: nobody waits for it, so nobody would notice."""

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest

from budan.flows import healths, ids
from budan.flows.healths import AccountHealths
from budan.flows.ids import IdSource
from budan.telemetry import metrics
from integration.flows.conftest import House

WAIT_S = 20.0
KEEPERS: dict[str, tuple[str, Callable[..., Any]]] = {
    "account_health": ("account_health", AccountHealths),
    "id_lease": ("id_lease", IdSource),
}


def failures(work: str) -> float:
    return metrics.REGISTRY.get_sample_value("budan_turn_failures_total", {"work": work}) or 0.0


@pytest.mark.parametrize("work", KEEPERS)
async def test_a_turn_that_fails_is_counted_and_the_next_one_comes(
    house: House, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    monkeypatch.setattr(healths, "FOLD_EVERY_S", 0.01)
    monkeypatch.setattr(ids, "RENEW_EVERY_S", 0.01)
    table, kind = KEEPERS[work]
    keeper = kind(database=house.opened.database, clock=house.opened.clock)
    if isinstance(keeper, IdSource):
        await keeper.start()
    before = failures(work)
    connection = await asyncpg.connect(house.dsn)
    try:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            keeping = asyncio.create_task(keeper.keep())
            async with asyncio.timeout(WAIT_S):
                while failures(work) < before + 2:
                    await connection.execute("SELECT 1")
        assert not keeping.done()
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
    finally:
        await connection.close()
