"""A stage, a way to look at its rows, and somebody who types commands."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from integration.cli.commands import Typist
from stage import Stage, open_stage


@pytest.fixture
async def stage(database_dsn: str, tmp_path: Path) -> AsyncIterator[Stage]:
    async with open_stage(database_dsn, tmp_path) as stage:
        yield stage


@pytest.fixture
def typist(stage: Stage, database_dsn: str, tmp_path: Path) -> Typist:
    return Typist(dsn=database_dsn, folder=tmp_path)


@pytest.fixture
async def rows(database_dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """The database as a bystander reads it."""
    connection = await asyncpg.connect(database_dsn, timeout=10)
    yield connection
    await connection.close()
