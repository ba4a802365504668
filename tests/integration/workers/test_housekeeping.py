import asyncpg

from budan.flows.keeping import REJECTED_PRUNED_MAX, Housekeeping
from budan.telemetry import metrics
from budan.workers.housekeeping import HousekeepingTurns
from integration.workers.working import keeper
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
