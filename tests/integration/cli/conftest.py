"""A stage, and a way to look at its rows."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from budan.flows.books import Books
from budan.flows.payouts import Payouts
from budan.flows.settling import Settling
from budan.store.database import Database, Workload
from stage import Stage, open_stage


@pytest.fixture
async def stage(database_dsn: str, tmp_path: Path) -> AsyncIterator[Stage]:
    async with open_stage(database_dsn, tmp_path) as stage:
        yield stage


@pytest.fixture
async def rows(database_dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """The database as a bystander reads it."""
    connection = await asyncpg.connect(database_dsn, timeout=10)
    yield connection
    await connection.close()


@pytest.fixture
def settling(stage: Stage) -> Settling:
    return Settling(bulk=stage.opened.bulk, ids=stage.flows.ids)


@pytest.fixture
async def books(stage: Stage, database_dsn: str) -> AsyncIterator[Books]:
    database = await Database.connect(database_dsn, workload=Workload.BULK)
    yield Books(database=database, environment=stage.settings.environment, lanes=stage.opened.lanes)
    await database.close()


@pytest.fixture
def payouts(stage: Stage) -> Payouts:
    return Payouts(database=stage.database, environment=stage.settings.environment, box=stage.opened.keys.box)
