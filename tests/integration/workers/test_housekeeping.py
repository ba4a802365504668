from math import isnan

import asyncpg
import pytest

from budan.core.numbers import Lane
from budan.flows.fleet import Fleet, show
from budan.flows.keeping import REJECTED_PRUNED_MAX, Housekeeping
from budan.flows.lanes import LaneKeeper
from budan.flows.waiting import KINDS
from budan.store import work
from budan.store.database import RowsFailed
from budan.telemetry import metrics
from budan.workers.housekeeping import HousekeepingTurns
from integration.workers.working import SteppedClock, keeper
from stage import Stage

Rows = asyncpg.Connection


async def test_partitions_that_are_missing_are_made_before_orders_need_them(stage: Stage, rows: Rows) -> None:
    housekeeping = Housekeeping(database=stage.database)
    assert await housekeeping.make_partitions() == 0
    last = await rows.fetchval(
        """
        SELECT max(substring(c.relname FROM '_w(\\d+)$')::integer)
        FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid WHERE i.inhparent = 'orders'::regclass
        """,
    )
    for parent in ("orders", "trade"):
        await rows.execute(f"DROP TABLE {parent}_w{last}")
    assert await housekeeping.make_partitions() == 2
    assert await housekeeping.make_partitions() == 0


async def test_a_count_that_fails_keeps_no_order_from_its_partition(stage: Stage, rows: Rows) -> None:
    """Whatever becomes of a metric, an order of next week must not fall into the default partition."""
    lanes = keeper(stage)
    await lanes.renew()
    last = await rows.fetchval(
        """
        SELECT max(c.relname::text) FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'trade'::regclass AND c.relname::text LIKE 'trade_w%'
        """,
    )
    await rows.execute(f"DROP TABLE {last}")
    await rows.execute("ALTER TABLE refund_due RENAME TO refund_due_gone")
    turns = HousekeepingTurns(housekeeping=Housekeeping(database=stage.database), lanes=lanes, clock=stage.opened.clock)
    failed = _failures("housekeeping")
    await turns.turn()
    assert _failures("housekeeping") == failed + 1
    assert await rows.fetchval("SELECT to_regclass($1) IS NOT NULL", last)


async def test_a_table_that_somebody_holds_keeps_no_other_from_its_partition(stage: Stage, rows: Rows) -> None:
    """A long statement on the orders of an evening must not leave their trades without a place."""
    weeks = [
        await rows.fetchval(
            """
            SELECT max(c.relname::text) FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
            WHERE i.inhparent = $1::text::regclass AND c.relname::text LIKE $1 || '_w%'
            """,
            parent,
        )
        for parent in ("orders", "trade")
    ]
    for week in weeks:
        await rows.execute(f"DROP TABLE {week}")
    async with rows.transaction():
        await rows.execute("LOCK TABLE ONLY orders IN SHARE UPDATE EXCLUSIVE MODE")
        with pytest.raises(RowsFailed):
            await Housekeeping(database=stage.database).make_partitions()
        made = [await rows.fetchval("SELECT to_regclass($1) IS NOT NULL", week) for week in weeks]
    assert made == [False, True]


async def test_partitions_that_could_not_be_made_are_tried_again_seldom(stage: Stage, rows: Rows) -> None:
    """While a try waits for a table every order waits behind it: each 5 s that would be a fault of its own."""
    clock = SteppedClock()
    lanes = LaneKeeper(database=stage.database, clock=clock, worker="late", lanes=stage.opened.lanes)
    turns = HousekeepingTurns(housekeeping=Housekeeping(database=stage.database), lanes=lanes, clock=clock)
    failed = _failures("partitions")
    tries: list[float] = []
    async with rows.transaction():
        await rows.execute("LOCK TABLE ONLY orders IN SHARE UPDATE EXCLUSIVE MODE")
        for wait_s in (0.0, 55.0, 10.0, 100.0, 25.0):
            clock.monotonic += wait_s
            await lanes.renew()
            await turns.turn()
            tries.append(_failures("partitions") - failed)
    assert tries == [1, 1, 2, 2, 3]


async def test_what_is_due_is_counted_up_to_a_bound_and_its_oldest_is_true(stage: Stage, rows: Rows) -> None:
    """After a day without workers millions are due; counting them must not hold up those who work them off."""
    await rows.execute(
        "INSERT INTO query_due (lane, order_id, attempt, due_at)"
        " SELECT 1, n, 1, now() - make_interval(mins => n) FROM generate_series(1, 9) AS n"
    )
    async with stage.database.reading() as transaction:
        (count,) = await work.count_due(transaction, lanes=[Lane(1)], rows_max=5)
    assert (count.work, count.rows_due) == ("query", 5)
    assert 9 * 60 <= count.oldest_s < 10 * 60


def _failures(work_name: str) -> float:
    return metrics.REGISTRY.get_sample_value("budan_turn_failures_total", {"work": work_name}) or 0.0


@pytest.mark.invariant("I6")
async def test_what_only_a_person_can_end_is_counted_until_somebody_does(stage: Stage, rows: Rows) -> None:
    """A log line of three weeks ago wakes nobody: a refund that the payer's account cannot take is shown all the time."""
    lanes = keeper(stage)
    await lanes.renew()
    held, strange = [await stage.add_paid_order(await stage.add_merchant()) for _ in range(2)]
    await rows.execute(
        "UPDATE orders SET hold_reason = 'operator', hold_since = now() - interval '20 days' WHERE id = $1",
        held.order_id,
    )
    await rows.execute(
        "INSERT INTO posting (lane, order_id, entry_key, line, account, amount_minor, currency, booked_at)"
        " VALUES ($1, $2, 'suspense:a', 1, 'suspense', -5, 'CNY', now() - interval '3 days'),"
        " ($1, $3, 'suspense:b', 1, 'suspense', -5, 'CNY', now()), ($1, $3, 'adjustment:b', 1, 'suspense', 5, 'CNY', now())",
        strange.lane,
        strange.order_id,
        held.order_id,
    )
    await rows.execute(
        "INSERT INTO refund (lane, order_id, ordinal, attempt, state, amount_minor, currency, reason, created_at)"
        " SELECT $1, $2, n, 1, state, 1, 'CNY', '', now() - age"
        " FROM unnest(array['abnormal', 'unknown', 'unknown', 'submitted', 'submitted', 'succeeded'],"
        "  array['1 min', '1 hour', '2 days', '6 days', '8 days', '9 days']::interval[])"
        " WITH ORDINALITY AS r (state, age, n)",
        held.lane,
        held.order_id,
    )
    await rows.execute(
        "INSERT INTO evidence_due (lane, trade_no, digest, due_at, reason, statement, kept_at)"
        " VALUES (1, 'D1', 'd', now(), 'failed', '{}', now()), (1, 'D2', 'd', now(), 'unknown_trade', '{}', now() - interval '5 h')"
    )
    await rows.execute(
        "INSERT INTO query_due (lane, order_id, attempt, due_at, needs_person) VALUES (1, 9, 1, now(), TRUE)"
    )
    await rows.execute(
        "INSERT INTO adjustment"
        " (lane, currency, debit, credit, amount_minor, fee_minor, reason, proposed_by, proposed_at, state)"
        " VALUES (1, 'CNY', 'channel:1', 'fee_income', 1, 0, 'a cent', 'Ann', now(), 'proposed')"
    )
    housekeeping = Housekeeping(database=stage.database)
    turns = HousekeepingTurns(housekeeping=housekeeping, lanes=lanes, clock=stage.opened.clock)
    await turns.turn()

    def value(name: str, what: str) -> float:
        return metrics.REGISTRY.get_sample_value(name, {"what": what}) or 0.0

    waiting = {what: value("budan_waiting_for_person", what) for what in KINDS}
    assert waiting == dict.fromkeys(KINDS, 1) | dict.fromkeys(
        ("evidence_failed", "evidence_unreadable", "evidence_foreign_environment"), 0
    )
    a_day_s = 86_400
    assert 20 * a_day_s <= value("budan_waiting_for_person_oldest_seconds", "order_held") < 21 * a_day_s
    assert 3 * a_day_s <= value("budan_waiting_for_person_oldest_seconds", "suspense") < 4 * a_day_s
    assert value("budan_waiting_for_person_oldest_seconds", "evidence_failed") == 0


async def test_a_worker_counts_what_is_due_and_orders_without_a_partition(stage: Stage, rows: Rows) -> None:
    lanes = keeper(stage)
    await lanes.renew()
    merchant = await stage.add_merchant(webhook_url="http://127.0.0.1:9/nobody")
    await stage.add_paid_order(merchant)
    await rows.execute("UPDATE webhook_due SET due_at = now() - interval '1 minute'")
    await stage.add_order(merchant, query_in_s=0)
    await stage.add_order(merchant, query_in_s=3_600)
    # An order of 2050, as a clock that is far ahead would make it.
    await rows.execute("UPDATE orders SET id = 3309000000000000000 WHERE state = 'paid'")
    turns = HousekeepingTurns(housekeeping=Housekeeping(database=stage.database), lanes=lanes, clock=stage.opened.clock)
    await turns.turn()

    def value(name: str, work: str) -> float | None:
        return metrics.REGISTRY.get_sample_value(name, {"work": work})

    assert value("budan_due_rows", "deliver") == 1
    assert 60 <= (value("budan_due_oldest_seconds", "deliver") or 0) < 120
    assert value("budan_due_rows", "query") == 1
    assert value("budan_due_rows", "evidence") == 0
    assert metrics.REGISTRY.get_sample_value("budan_default_partition_rows") == 1


async def test_a_worker_without_lanes_does_not_say_that_nothing_waits(stage: Stage, rows: Rows) -> None:
    """An alert on the oldest due row must not be quietened by the worker that has lost its lanes."""
    lanes = keeper(stage)
    await lanes.renew()
    turns = HousekeepingTurns(housekeeping=Housekeeping(database=stage.database), lanes=lanes, clock=stage.opened.clock)
    await turns.turn()
    assert _oldest("budan_due_oldest_seconds", "deliver") == 0
    await lanes.release()
    await turns.turn()
    assert _oldest("budan_due_oldest_seconds", "deliver") is None


async def test_whoever_serves_tells_of_lanes_without_a_worker_and_of_what_waits_there(stage: Stage, rows: Rows) -> None:
    """When the last worker has died nobody else is left to raise the alarm."""
    merchant = await stage.add_merchant(webhook_url="http://127.0.0.1:9/nobody")
    await stage.add_paid_order(merchant)
    await rows.execute("UPDATE webhook_due SET due_at = now() - interval '1 minute'")
    fleet, lanes = Fleet(database=stage.database, lanes=stage.opened.lanes), keeper(stage)
    show(await fleet.look())
    assert _free_lanes() == stage.opened.lanes
    assert 60 <= (_oldest("budan_fleet_due_oldest_seconds", "deliver") or 0) < 120
    await lanes.renew()
    show(await fleet.look())
    assert _free_lanes() == 0
    # The database is away: nobody knows, and so nobody says that all is well.
    show(None)
    assert isnan(_free_lanes())
    assert _oldest("budan_fleet_due_oldest_seconds", "deliver") is None


def _free_lanes() -> float:
    value = metrics.REGISTRY.get_sample_value("budan_fleet_lanes_without_worker")
    assert value is not None
    return value


def _oldest(name: str, work_name: str) -> float | None:
    return metrics.REGISTRY.get_sample_value(name, {"work": work_name})


async def test_unverified_notices_are_forgotten_after_a_month_a_batch_at_a_time(stage: Stage, rows: Rows) -> None:
    await rows.execute(
        """
        INSERT INTO notice_rejected (account_id, digest, reason, received_at)
        SELECT 1, sha256(n::text::bytea), 'forged', now() - make_interval(days => CASE WHEN n <= 5 THEN 29 ELSE 31 END)
        FROM generate_series(1, 5 + $1 + 1) AS n
        """,
        REJECTED_PRUNED_MAX,
    )
    lanes = keeper(stage)
    await lanes.renew()
    turns = HousekeepingTurns(housekeeping=Housekeeping(database=stage.database), lanes=lanes, clock=stage.opened.clock)
    left: list[int] = []
    for _ in range(3):
        await turns.turn()
        left.append(await rows.fetchval("SELECT count(*) FROM notice_rejected"))
    assert left == [6, 5, 5]
