import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from budan.core.numbers import Lane
from budan.store import door
from budan.store.door import KeptEvidence
from integration.flows.standing import PATIENT, Till, connect, open_till

LANE = Lane(3)
HASHES = {"enable_nestloop": "off", "enable_hashjoin": "on", "enable_seqscan": "on", "enable_indexscan": "off"}
# Kept in this order, so that the table has them in this order.
SCATTERED = ("u3", "u2", "u1")


def a_kept(trade_no: str) -> KeptEvidence:
    return KeptEvidence(
        lane=LANE,
        trade_no=trade_no,
        digest=b"d",
        due_at=datetime(2026, 1, 5, tzinfo=UTC),
        attempts=0,
        reason="unknown_trade",
        statement="{}",
    )


@pytest.fixture
async def till(database_dsn: str) -> AsyncIterator[Till]:
    async with open_till(database_dsn, **PATIENT) as opened:
        for trade_no in SCATTERED:
            async with opened.database.transaction() as transaction:
                await door.keep_evidence(transaction, [a_kept(trade_no)])
        yield opened


@asynccontextmanager
async def row_held(till: Till, trade_no: str) -> AsyncIterator[None]:
    async with till.outside.transaction():
        await till.outside.execute("SELECT 1 FROM evidence_due WHERE trade_no = $1 FOR UPDATE", trade_no)
        yield


async def test_keeping_and_releasing_the_same_evidence_by_two_plans_do_not_deadlock(till: Till) -> None:
    """Evidence of an unknown trade has no order row to lock first."""
    hashing = await connect(till.dsn, **PATIENT, **HASHES)

    async def keep() -> None:
        async with till.database.transaction() as transaction:
            await door.keep_evidence(transaction, [a_kept(trade_no) for trade_no in SCATTERED])

    async def release() -> None:
        async with hashing.transaction() as transaction:
            await door.release_evidence(transaction, [(LANE, trade_no, b"d") for trade_no in SCATTERED])

    try:
        async with row_held(till, "u2"):
            acts = [asyncio.create_task(act()) for act in (keep, release)]
            await till.until(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
                is_so=lambda count: count == 2,
            )
        await asyncio.gather(*acts)
    finally:
        await hashing.close()
