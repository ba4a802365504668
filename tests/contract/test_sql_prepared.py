"""Every named query is prepared on the migrated schema, and the catalogue keeps the rules of docs/design.md section 6."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from budan.core.numbers import Environment
from budan.store.queries import all_queries
from budan.store.upgrade import upgrade

Connection = asyncpg.Connection
OPERATING = Path(__file__).parents[2] / "docs/operating.md"

PER_ORDER_TABLES = {
    "orders",
    "trade",
    "evidence",
    "notice",
    "posting",
    "settlement_line",
    "contradiction",
    "settled_contradiction",
    "operator_act",
    "remedy",
    "late_money",
    "refund",
    "refund_evidence",
    "webhook",
    "delivery",
    "cashback",
    "cashback_movement",
}
UNIQUENESS_TABLES = {"order_reference", "idempotency"}
DUE_TABLES = {"query_due", "webhook_due", "close_due", "refund_due", "evidence_due", "order_due", "settlement_wait"}


@pytest.fixture
async def connection(database_dsn: str) -> AsyncIterator[Connection]:
    opened = await asyncpg.connect(database_dsn)
    yield opened
    await opened.close()


async def test_every_query_is_prepared_on_the_schema(connection: Connection) -> None:
    for statement in all_queries().values():
        # SET and LOCK cannot be prepared with parameters and return nothing.
        if statement.sql.startswith(("SET ", "LOCK ")):
            continue
        await connection.prepare(statement.sql)


async def test_what_the_operating_page_has_on_call_look_at_is_prepared_too(connection: Connection) -> None:
    """At night nobody wants to find a column that was renamed."""
    blocks = re.findall(r"^```sql\n(.*?)^```", OPERATING.read_text(), flags=re.DOTALL | re.MULTILINE)
    statements = [one for block in blocks for one in re.split(r";[^\n]*\n", block) if one.strip()]
    assert len(statements) > len(blocks) > 1
    for statement in statements:
        await connection.prepare(statement)


async def test_an_upgrade_is_safe_to_repeat(database_dsn: str) -> None:
    assert await upgrade(dsn=database_dsn, environment=Environment.LOCAL) == []


async def test_the_lane_leads_every_key_of_per_order_tables(connection: Connection) -> None:
    rows = await connection.fetch(
        """
        SELECT c.relname, i.indexrelid::regclass::text AS index_name, a.attname
        FROM pg_index AS i
        JOIN pg_class AS c ON c.oid = i.indrelid
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
        WHERE i.indisunique AND c.relname = ANY ($1)
        """,
        list(PER_ORDER_TABLES | UNIQUENESS_TABLES | DUE_TABLES),
    )
    assert {row["relname"] for row in rows} == PER_ORDER_TABLES | UNIQUENESS_TABLES | DUE_TABLES
    assert {row["relname"] for row in rows if row["attname"] != "lane"} == set()


async def test_children_are_partitioned_by_the_order_they_belong_to(connection: Connection) -> None:
    rows = await connection.fetch(
        """
        SELECT c.relname, a.attname
        FROM pg_partitioned_table AS p
        JOIN pg_class AS c ON c.oid = p.partrelid
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = p.partattrs[0]
        WHERE p.partstrat = 'r'
        """,
    )
    partitioned = {row["relname"]: row["attname"] for row in rows}
    assert partitioned == {name: "id" if name == "orders" else "order_id" for name in PER_ORDER_TABLES}


async def test_due_tables_are_narrow(connection: Connection) -> None:
    rows = await connection.fetch(
        """
        SELECT table_name, count(*) AS width FROM information_schema.columns
        WHERE table_name = ANY ($1) AND table_name <> 'evidence_due' GROUP BY table_name
        """,
        list(DUE_TABLES),
    )
    assert {row["table_name"]: row["width"] for row in rows if row["width"] > 6} == {}


async def test_there_are_no_triggers_and_no_keys_that_leave_the_lane(connection: Connection) -> None:
    assert await connection.fetchval("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal") == 0
    foreign = await connection.fetch(
        "SELECT conrelid::regclass::text AS table_name FROM pg_constraint WHERE contype = 'f'",
    )
    assert {row["table_name"] for row in foreign} & (PER_ORDER_TABLES | UNIQUENESS_TABLES | DUE_TABLES) == set()


async def test_money_is_bigint_and_moments_carry_a_zone(connection: Connection) -> None:
    rows = await connection.fetch(
        """
        SELECT table_name, column_name, data_type FROM information_schema.columns
        WHERE table_schema = 'public'
        """,
    )
    wrong_money = [tuple(row) for row in rows if row["column_name"].endswith("_minor") and row["data_type"] != "bigint"]
    wrong_time = [
        tuple(row)
        for row in rows
        if row["column_name"].endswith("_at") and row["data_type"] != "timestamp with time zone"
    ]
    assert wrong_money == []
    assert wrong_time == []


async def test_partitions_are_there_at_least_a_week_ahead(connection: Connection) -> None:
    ahead = await connection.fetchval(
        """
        SELECT count(*) FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'orders'::regclass AND c.relname <> 'orders_default'
        """,
    )
    assert ahead >= 2
