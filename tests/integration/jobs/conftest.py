"""A stage, a way to look at its rows, and a channel that answers questions quickly."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from integration.jobs.quick import QuickChannel, start_quick_channel
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
def quick() -> Iterator[QuickChannel]:
    """WeChat Pay as far as questions go: one trade of five is paid."""
    running = start_quick_channel()
    yield running
    running.end()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that the database's user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="budan-jobs-test-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)
