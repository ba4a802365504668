"""A stage, and a way to look at its rows."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

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
