"""A listing runs a hundred times a second, so it must read what is due and nothing else."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from budan.store.queries import query


@pytest.fixture
async def connection(database_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that plans as the program's do."""
    settings = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"}
    connection = await asyncpg.connect(database_dsn, timeout=10, server_settings=settings)
    yield connection
    await connection.close()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("query_list_due", "'{1,2}', '{}', 10"),
        ("webhook_list_due", "'{1,2}', '{}', 10"),
        ("evidence_list_due", "'{1,2}', 10"),
        ("look_list_due", "'{1,2}', 10"),
        ("close_list_due", "'{1,2}', '{}', 10"),
        ("work_count_due", "'{1,2}', 10"),
    ],
)
async def test_a_listing_reads_its_index_up_to_now_only(
    connection: asyncpg.Connection, name: str, arguments: str
) -> None:
    """Most due rows are due later: each open trade has a question, each dead endpoint its deliveries."""
    await connection.execute(f"PREPARE listing AS {query(name).sql}")
    plan = [row[0] for row in await connection.fetch(f"EXPLAIN EXECUTE listing({arguments})")]
    by_moment = [line for line in plan if "Index Cond" in line and "due_at <=" in line]
    assert len(by_moment) == (6 if name == "work_count_due" else 1), "\n".join(plan)
    assert not any("Filter" in line and "due_at" in line for line in plan), "\n".join(plan)
