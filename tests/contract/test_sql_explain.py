"""The hot queries read by key, whatever the statistics say: on fresh tables, on full ones, and after ANALYZE."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from budan.store.database import _BULK_SETTINGS, _SESSION_SETTINGS
from budan.store.queries import all_queries, query

Connection = asyncpg.Connection
ORDERS = 20_000

REFUNDS = ("refund_find_many", "refund_write", "refund_prepare", "refund_claim_key", "refund_find_key")
DOOR = ("door_lock_orders", "door_list_trades", "door_write", "door_write_rare", "evidence_keep", "evidence_release")
INTAKE = ("intake_claim", "idempotency_list", "intake_release", "intake_add", "trade_open")
CLOSING = ("closing_list", "closing_write", "reverse_begin", "order_look_sooner")
HOLDS = ("order_hold_if", "order_release_if")
READING = tuple(name for name in all_queries() if name.startswith(("order_find", "order_list", "trade_list")))
TIMELINE = tuple(name for name in all_queries() if name.startswith("order_scan") or name.endswith("_list_of"))
NOTICES = (
    "notice_reject",
    "notice_prune",
    "notice_scan",
    "notice_find_raw",
    "notice_list_rejected",
    "notice_find_rejected",
    "remedy_scan",
)
ACTS = tuple(name for name in all_queries() if name.startswith(("act_", "contradiction_")) or name in HOLDS)
SWEEP = tuple(name for name in all_queries() if name.startswith(("suspect_", "audit_")))
WORK = (
    *(name for name in all_queries() if name.endswith("_list_due")),
    "webhook_list_events",
    "webhook_write",
    "work_count_due",
    "query_bring_forward",
)
# Their last two parameters are the lowest and the highest order id.
BOUNDED = ("door_lock_orders", "door_list_trades", "door_write", "webhook_list_events", "webhook_write")
EVERY_ID = "0, 9223372036854775807"
# Tables that grow with the orders. The others hold a handful of rows, or are read by an index anyhow.
LARGE = (
    "orders",
    "trade",
    "evidence",
    "notice",
    "posting",
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
    "order_reference",
    "idempotency",
    "query_due",
    "webhook_due",
    "close_due",
    "order_due",
    "refund_due",
    "evidence_due",
    "notice_rejected",
)
# An index that is entered by the lane alone reads a sixty-fourth of the table.
KEY_WORDS = (
    "order_id",
    "id =",
    "id)",
    "reference",
    "key",
    "trade_no",
    "due_at",
    "merchant_id",
    "endpoint_id",
    "id <",
    "received_at",
    "completed_at",
)

FILL = """
INSERT INTO orders (lane, id, merchant_id, reference, state, amount_minor, currency, subject, created_at, expires_at,
    trade_count)
SELECT n % 64, made, 1 + n % 50, 'r' || n, 'paying', 1000, 'CNY', 'Latte', now(), now(), 1
FROM (
    SELECT n, ((extract(epoch FROM now() + (n % 3) * interval '7 days' - '2025-01-01 00:00:00+00') * 1000)::bigint << 22)
        + n AS made
    FROM generate_series(1, $1::integer) AS n
) AS rows;
"""
CHILDREN = """
INSERT INTO trade (lane, order_id, attempt, account_id, channel, method, state, amount_minor, currency, fee_rate_bp,
    created_at, send_until, intent)
SELECT lane, id, 1, 7, 'wechat_v3', 'native', 'submitted', 1000, 'CNY', 60, now(), now(), '{}' FROM orders;
INSERT INTO query_due (lane, order_id, attempt, due_at)
SELECT lane, id, 1, now() + (id % 100 - 1) * interval '1 minute' FROM orders;
INSERT INTO order_due (lane, order_id, due_at) SELECT lane, id, now() + (id % 100 - 1) * interval '1 minute' FROM orders;
INSERT INTO close_due (lane, order_id, attempt, due_at)
SELECT lane, id, 1, now() + (id % 100 - 1) * interval '1 minute' FROM orders;
INSERT INTO order_reference (lane, merchant_id, reference, order_id) SELECT lane, merchant_id, reference, id FROM orders;
INSERT INTO idempotency (lane, merchant_id, key, request_digest, order_id, created_at)
SELECT lane, merchant_id, reference, decode(repeat('00', 32), 'hex'), id, now() FROM orders;
INSERT INTO webhook (lane, order_id, version, endpoint_id, event, body, created_at)
SELECT lane, id, 2, 1, 'order.paid', '', now() FROM orders;
INSERT INTO webhook_due (lane, order_id, version, endpoint_id, due_at) SELECT lane, id, 2, 1, now() FROM orders;
INSERT INTO posting (lane, order_id, entry_key, line, account, amount_minor, currency, booked_at)
SELECT lane, id, 'payment:1', line, 'a', 1 - 2 * line, 'CNY', now() FROM orders, generate_series(0, 1) AS line;
INSERT INTO evidence (lane, order_id, attempt, digest, outcome, source, decision, account_id, learned_at)
SELECT lane, id, 1, decode(repeat('00', 32), 'hex'), 'paid', 'notice', 'complete', 7, now() FROM orders;
INSERT INTO evidence_due (lane, trade_no, digest, due_at, reason, statement, kept_at)
SELECT lane, 'D' || id, 'd', now(), 'unknown_trade', '{}', now() FROM orders;
"""


@pytest.fixture(params=["fresh", "full", "full and analyzed"])
async def connection(database_dsn: str, request: pytest.FixtureRequest) -> AsyncIterator[Connection]:
    """A session as the pool opens it, on tables that are fresh, full, or full and known to the planner."""
    if request.param != "fresh":
        filling = await asyncpg.connect(database_dsn)
        await filling.execute(FILL.replace("$1::integer", str(ORDERS)))
        await filling.execute(CHILDREN)
        if request.param == "full and analyzed":
            await filling.execute("ANALYZE")
        await filling.close()
    settings = {name: text for name, text in _SESSION_SETTINGS.items() if name != "statement_timeout"}
    opened = await asyncpg.connect(database_dsn, server_settings=settings)
    yield opened
    await opened.close()


@dataclass(frozen=True, slots=True)
class Access:
    """How a plan reads one table."""

    kind: str
    table: str
    condition: str


def accesses(node: dict[str, Any]) -> Iterator[Access]:
    if "Relation Name" in node:
        # The condition of a bitmap is in the node below, which names no table.
        below = node.get("Plans", [{}])[0].get("Index Cond", "")
        yield Access(node["Node Type"], node["Relation Name"], str(node.get("Index Cond", below)))
    for child in node.get("Plans", []):
        yield from accesses(child)


async def explain(connection: Connection, name: str, *, bounds: str = EVERY_ID) -> list[Access]:
    """The plan that every execution shares: `plan_cache_mode` is force_generic_plan in the pool's sessions."""
    await connection.execute(f"PREPARE {name} AS {query(name).sql}")
    parameters = await connection.fetchval(
        "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = $1", name
    )
    given = [bounds] if name in BOUNDED else []
    arguments = ", ".join(["NULL"] * (parameters - 2 * len(given)) + given)
    execute = f"EXECUTE {name}({arguments})" if parameters else f"EXECUTE {name}"
    (plan,) = json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) {execute}"))
    await connection.execute(f"DEALLOCATE {name}")
    return list(accesses(plan["Plan"]))


def table_of(partition: str) -> str:
    return (
        partition.partition("_w")[0].removesuffix("_default")
        if "_w" in partition or "_default" in partition
        else partition
    )


def is_by_key(read: Access) -> bool:
    by_index = "Index" in read.kind or "Bitmap" in read.kind
    return by_index and any(word in read.condition for word in KEY_WORDS)


async def test_a_hot_query_reads_large_tables_by_key_alone(connection: Connection) -> None:
    """A scan of one partition is a second of standstill on a day with two million orders."""
    loose = [
        (name, read)
        for name in dict.fromkeys((*DOOR, *REFUNDS, *INTAKE, *CLOSING, *READING, *TIMELINE, *ACTS, *NOTICES, *WORK))
        for read in await explain(connection, name)
        if table_of(read.table) in LARGE and read.kind != "ModifyTable" and not is_by_key(read)
    ]
    # Known to have no row at all, they cost one page however they are read, and a new ANALYZE makes a new plan. Looked
    # at last: the server analyzes by itself too, at any moment.
    empty = {name for (name,) in await connection.fetch("SELECT relname FROM pg_class WHERE reltuples = 0")}
    assert [(name, read) for name, read in loose if read.table not in empty] == []


@pytest.mark.parametrize("connection", ["fresh"], indirect=True)
async def test_what_the_door_does_costs_no_more_when_years_of_partitions_are_there(connection: Connection) -> None:
    """Each partition that a statement may read is opened before it starts, whatever the batch is: a week is one of them."""
    this_week = await connection.fetchval(
        "SELECT (extract(epoch FROM now() - '2025-01-01 00:00:00+00') * 1000)::bigint << 22"
    )
    for name in BOUNDED:
        for bounds, partitions in ((f"{this_week}, {this_week + 1}", 1), (EVERY_ID, 4)):
            reads = {read for read in await explain(connection, name, bounds=bounds) if "Index" in read.kind}
            for parent in ("orders", "trade", "webhook"):
                found = {read.table for read in reads if table_of(read.table) == parent}
                assert len(found) in {0, partitions}, (name, parent, found)
            assert any("_w" in read.table for read in reads), name


@pytest.mark.parametrize("connection", ["fresh"], indirect=True)
async def test_a_look_for_due_webhooks_opens_no_partition(connection: Connection) -> None:
    """Each worker looks up to a hundred times a second: with three years of partitions a look took 0.53 ms, now 0.04."""
    assert {read.table for read in await explain(connection, "webhook_list_due")} == {"webhook_due", "webhook_endpoint"}


async def test_who_has_deliveries_waiting_in_a_lane_is_read_by_the_index_of_turns(connection: Connection) -> None:
    """Asked when a lane changed hands, which is when everything else is asked too."""
    await connection.execute("PREPARE waiting AS " + query("webhook_list_waiting_endpoints").sql)
    plan = await connection.fetchval("EXPLAIN (FORMAT JSON) EXECUTE waiting (NULL)")
    assert '"Index Name": "webhook_due_due_at"' in plan


async def test_what_a_person_must_look_at_is_read_by_its_own_index(connection: Connection) -> None:
    """Asked each few seconds by every worker, of a table with a row for each open order."""
    await connection.execute("PREPARE counting AS " + query("query_count_needing_person").sql)
    plan = await connection.fetchval("EXPLAIN (FORMAT JSON) EXECUTE counting (NULL, NULL)")
    assert '"Index Name": "query_due_needs_person"' in plan


async def test_what_waits_for_a_person_is_read_by_indexes_that_have_little_else(connection: Connection) -> None:
    """Asked each minute, of every order, posting and refund there ever was."""
    await connection.execute("PREPARE waiting AS " + query("waiting_count").sql)
    plan = await connection.fetchval("EXPLAIN (FORMAT JSON) EXECUTE waiting (NULL, NULL, NULL, NULL)")
    assert set(re.findall(r'"Node Type": "([^"]*Scan)"', plan)) <= {
        "Index Scan",
        "Index Only Scan",
        "Bitmap Heap Scan",
        "Bitmap Index Scan",
        "Subquery Scan",
        "CTE Scan",
    }
    used = await connection.fetch(
        "SELECT DISTINCT coalesce(i.inhparent, c.oid)::regclass::text AS name"
        " FROM pg_class AS c LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid WHERE c.relname = any($1::text[])",
        re.findall(r'"Index Name": "([^"]+)"', plan),
    )
    assert {row["name"] for row in used} == {
        "orders_held",
        "posting_suspense",
        "refund_open",
        "evidence_due_due_at",
        "query_due_needs_person",
        "adjustment_proposed",
    }


async def test_a_page_of_waiting_questions_ends_at_its_bound(connection: Connection) -> None:
    """The page is cut before it is joined: what is read does not grow with what waits."""
    await connection.execute("PREPARE paging AS " + query("query_bring_forward").sql)
    arguments = "NULL, NULL, NULL, 7200, 6.5, 29.5, 0.1, 2000"
    (plan,) = json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE paging ({arguments})"))
    text = json.dumps(plan)
    assert text.count('"Node Type": "Limit"') == 1
    assert '"Index Name": "query_due_due_at"' in text


BALANCES = """
INSERT INTO ledger_balance (lane, account, currency, day, debit_minor, credit_minor, balance_minor)
SELECT a % 64, 'merchant:' || a, 'CNY', '2026-01-01'::date + d, 1, 0, d
FROM generate_series(0, 199) AS d, generate_series(1, 50) AS a
"""


def rows_read(node: dict[str, Any], table: str) -> float:
    own = node["Actual Rows"] * node["Actual Loops"] if node.get("Relation Name") == table else 0.0
    return own + sum(rows_read(child, table) for child in node.get("Plans", []))


@pytest.mark.parametrize("known", [False, True])
async def test_the_books_read_a_balance_of_each_account_however_many_days_are_closed(
    database_dsn: str, *, known: bool
) -> None:
    """A year of days was read for each day that was checked: with 30,000 accounts no trial balance came to an end."""
    connection = await asyncpg.connect(database_dsn, server_settings=_BULK_SETTINGS)
    await connection.execute(BALANCES)
    if known:
        await connection.execute("ANALYZE ledger_balance")
    for name, rows_max in (("ledger_balance_list", 3 * 50), ("ledger_balance_list_moved", 50)):
        await connection.execute(f"PREPARE {name} AS {query(name).sql}")
        plan = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE {name} ('2026-06-30')")
        assert rows_read(json.loads(plan)[0]["Plan"], "ledger_balance") <= rows_max, name
    await connection.close()


def test_the_hot_queries_are_all_there() -> None:
    assert len(READING) >= 3
    assert len(TIMELINE) >= 10
    assert len(ACTS) >= 6
    assert set(WORK) >= {"query_list_due", "webhook_list_due", "evidence_list_due", "webhook_write", "work_count_due"}
