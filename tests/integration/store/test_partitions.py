import asyncio
from collections.abc import AsyncIterator

import pytest

from budan.core.numbers import Environment
from budan.flows.keeping import Housekeeping
from budan.store.database import RowsFailed
from budan.store.partitions import PARTITIONED
from budan.store.upgrade import upgrade
from integration.flows.standing import PATIENT, Till, open_till, stand_orders

WEEKS_MADE = 2
# Several of us at once wait for each other; a worker alone gives way much sooner.
PATIENT_MS = 1_000


@pytest.fixture
async def late(database_dsn: str) -> AsyncIterator[Till]:
    """A database whose partitions end with this week, as if nobody had made the next ones."""
    async with open_till(database_dsn, **PATIENT) as till:
        names = await till.rows(
            """
            SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
            WHERE c.relkind = 'r' AND c.relname ~ '_w[0-9]+$'
            AND substring(c.relname FROM '[0-9]+$')::bigint
                > floor(extract(epoch FROM now() - '2025-01-01 00:00:00+00') / 604800)
            """,
        )
        assert len(names) == WEEKS_MADE * len(PARTITIONED)
        for (name,) in names:
            await till.outside.execute(f"DROP TABLE {name}")
        yield till


def a_housekeeping(till: Till) -> Housekeeping:
    return Housekeeping(database=till.database)


async def test_every_partitioned_table_is_kept_ahead(late: Till) -> None:
    """One that is forgotten fills its default partition and is never archived."""
    catalogue = await late.rows("SELECT partrelid::regclass::text FROM pg_partitioned_table")
    assert {name for (name,) in catalogue} >= set(PARTITIONED)
    indexes = await late.rows("SELECT indrelid::regclass::text FROM pg_index WHERE indisunique")
    assert {name for (name,) in catalogue} & {name for (name,) in indexes} == set(PARTITIONED)


async def test_partitions_are_made_once(late: Till) -> None:
    assert await a_housekeeping(late).make_partitions() == WEEKS_MADE * len(PARTITIONED)
    assert await a_housekeeping(late).make_partitions() == 0


async def test_several_makers_at_once_make_each_partition_once(late: Till) -> None:
    """Every worker keeps house, and an upgrade does too."""
    async with asyncio.TaskGroup() as tasks:
        makers = [tasks.create_task(a_housekeeping(late).make_partitions(lock_timeout_ms=PATIENT_MS)) for _ in range(4)]
        tasks.create_task(upgrade(dsn=late.dsn, environment=Environment.LOCAL))
    assert sum(maker.result() for maker in makers) <= WEEKS_MADE * len(PARTITIONED)
    assert await a_housekeeping(late).make_partitions() == 0


async def test_making_partitions_and_reading_never_wait_for_each_other(late: Till) -> None:
    """A sweep reads trades before orders, the door orders before trades: no order of tables suits both."""
    async with late.outside.transaction():
        await late.outside.execute(f"SELECT 1 FROM {PARTITIONED[-1]} LIMIT 1")  # noqa: S608 - our own table
        making = asyncio.create_task(a_housekeeping(late).make_partitions(lock_timeout_ms=PATIENT_MS))
        await late.waiting_on_lock()
        for table in reversed(PARTITIONED):
            await late.outside.execute(f"SELECT 1 FROM {table} LIMIT 1")  # noqa: S608 - our own table
    assert await asyncio.wait_for(making, timeout=20) == WEEKS_MADE * len(PARTITIONED)


async def test_partitions_are_made_while_orders_are_taken(late: Till) -> None:
    made = asyncio.create_task(a_housekeeping(late).make_partitions(lock_timeout_ms=PATIENT_MS))
    taken = 0
    while not made.done():
        await stand_orders(late.database, merchant_id=late.merchant_id, lane=late.lane, orders=5, trades=2)
        taken += 5
    assert made.result() == WEEKS_MADE * len(PARTITIONED)
    assert await late.count("orders") == taken


async def test_rows_that_came_before_their_partition_move_into_it(late: Till) -> None:
    """Otherwise the partition can never be attached, nor any later one."""
    in_eight_days = """
        INSERT INTO notice (lane, order_id, id, account_id, trade_no, received_at, headers, body, decision)
        VALUES (1, (extract(epoch FROM now() + interval '8 days' - '2025-01-01 00:00:00+00') * 1000)::bigint << 22,
            1, 7, 'D', now(), '{}', '', 'unknown_trade'), (1, 0, 2, 7, 'D', now(), '{}', '', 'unknown_trade')
    """
    await late.outside.execute(in_eight_days)
    assert await late.rows("SELECT id FROM notice_default ORDER BY id") == [(1,), (2,)]
    assert await a_housekeeping(late).make_partitions() == WEEKS_MADE * len(PARTITIONED)
    assert await late.rows("SELECT id FROM notice_default") == [(2,)]
    assert await late.count("notice") == 2


async def test_a_week_whose_rows_cannot_move_keeps_no_later_week_from_its_partition(late: Till) -> None:
    """After weeks without a worker a week may have more rows than there is time for; from the next one on all is well again."""
    await late.outside.execute(
        """
        INSERT INTO notice (lane, order_id, id, account_id, trade_no, received_at, headers, body, decision)
        VALUES (1, (extract(epoch FROM now() + interval '7 days' - '2025-01-01 00:00:00+00') * 1000)::bigint << 22,
            1, 7, 'D', now(), '{}', '', 'unknown_trade');
        CREATE FUNCTION too_slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE query_canceled; END $$;
        CREATE TRIGGER too_slow BEFORE DELETE ON notice_default FOR EACH ROW EXECUTE FUNCTION too_slow();
        """
    )
    with pytest.raises(RowsFailed):
        await a_housekeeping(late).make_partitions()
    await late.outside.execute("DROP TRIGGER too_slow ON notice_default")
    assert await a_housekeeping(late).make_partitions() == 1
    assert await late.count("notice_default") == 0
