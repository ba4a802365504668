"""A clerk on a stage, somebody who types commands, and a way to look at the rows."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from budan.core.numbers import beijing_day
from budan.flows.discrepancies import Discrepancies
from budan.flows.reconciling import Reconciliation
from budan.store.database import Database, Workload
from integration.reconcile.bills import MCHID
from integration.reconcile.clerk import Clerk
from integration.reconcile.counter import BillCounter
from stage import Stage, open_stage


@pytest.fixture
async def stage(database_dsn: str, tmp_path: Path) -> AsyncIterator[Stage]:
    async with open_stage(database_dsn, tmp_path) as stage:
        yield stage


@pytest.fixture
async def clerk(stage: Stage, rows: asyncpg.Connection, database_dsn: str, tmp_path: Path) -> AsyncIterator[Clerk]:
    bulk = await Database.connect(database_dsn, workload=Workload.BULK)
    account_id = await stage.administration.add_account(
        channel="wechat_v3", name="main", settings={"mchid": MCHID}, account_secrets={}, by="Ann"
    )
    yield Clerk(
        stage=stage,
        merchant=await stage.add_merchant(account_id=account_id),
        reconciliation=Reconciliation(
            database=stage.database,
            bulk=bulk,
            environment=stage.settings.environment,
            lanes=stage.opened.lanes,
            folder=tmp_path / "reconcile",
            threads=1,
        ),
        discrepancies=Discrepancies(database=stage.database, door=stage.flows.door),
        folder=tmp_path,
        rows=rows,
        day=beijing_day(datetime.now(UTC)) - timedelta(days=2),
    )
    await bulk.close()


@pytest.fixture
async def counter(clerk: Clerk, rows: asyncpg.Connection) -> BillCounter:
    """The clerk's account is there since two days before the clerk's day: three or four bills are ready."""
    await rows.execute("UPDATE channel_account SET created_at = $1", clerk.noon - timedelta(days=2))
    return BillCounter(clerk=clerk)


@pytest.fixture
async def rows(database_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_dsn)
    yield connection
    await connection.close()
