"""The sweep, on a channel that signs what it says: whatever is paid there is paid here, and nothing else."""

import asyncio
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from budan.core.numbers import Environment
from budan.host import embedded
from budan.store.upgrade import upgrade
from integration.jobs.centre import counted, desk_of, ended, job_worker, order_run
from integration.jobs.quick import QuickChannel
from integration.workers.watching import when
from stage import AMOUNT_MINOR, Stage, StagedMerchant, StagedOrder, open_stage

Rows = asyncpg.Connection
# Suspects with a restart of the database half way; `budan bench --sweep` has the 120,000.
MANY = 3_000
# An order may stand here in any of these ways while its payer paid.
STANDS = (
    ("paying", "submitted"),
    ("paying", "created"),
    ("paying", "unknown"),
    ("paying", "user_paying"),
    ("expired", "closed"),
    ("closed", "closed"),
    ("closed", "failed"),
    ("closing", "submitted"),
    ("expired", "unknown"),
)


async def stand_suspects(stage: Stage, rows: Rows, merchants: list[StagedMerchant], count: int) -> list[StagedOrder]:
    """Unpaid orders in every way in which one may stand, with no question due."""
    orders = [stage.name_order(merchants[number % len(merchants)]) for number in range(count)]
    await stage.add_orders(orders)
    for number, (order_state, trade_state) in enumerate(STANDS):
        ids = [order.order_id for order in orders[number :: len(STANDS)]]
        await rows.execute("UPDATE orders SET state = $1 WHERE id = any($2)", order_state, ids)
        await rows.execute("UPDATE trade SET state = $1 WHERE order_id = any($2)", trade_state, ids)
    await rows.execute("DELETE FROM query_due")
    return orders


async def paid_here(rows: Rows) -> set[int]:
    return {row["id"] for row in await rows.fetch("SELECT id FROM orders WHERE state = 'paid'")}


async def assert_books(rows: Rows, *, paid: int) -> None:
    """Each payment is booked once and in balance."""
    entries = await rows.fetch(
        "SELECT count(DISTINCT entry_key) AS keys, sum(amount_minor) AS total, sum(greatest(amount_minor, 0)) AS came"
        " FROM posting GROUP BY lane, order_id"
    )
    assert [(row["keys"], row["total"]) for row in entries] == [(1, 0)] * paid
    assert await rows.fetchval("SELECT count(*) FROM remedy") == paid


@pytest.mark.invariant("I6", "I7", "I12")
async def test_every_order_that_was_paid_is_found_whatever_its_state_here(
    stage: Stage, rows: Rows, quick: QuickChannel
) -> None:
    """No question is due for any of them: the sweep reads the orders, and depends on no row that could be missing."""
    account = await quick.add_account(stage)
    merchants = [await stage.add_merchant(account_id=account) for _ in range(5)]
    orders = await stand_suspects(stage, rows, merchants, 200)
    async with job_worker(stage):
        row = await ended(stage, await order_run(stage))
    paid = {order.order_id for order in orders if quick.took_money(order.trade_no)}
    assert 10 < len(paid) < 100
    assert await paid_here(rows) == paid
    assert counted(row)["asked"] == 200
    assert counted(row)["completed"] == len(paid)
    await assert_books(rows, paid=len(paid))
    # Found by many askers and written together: each transaction costs nearly the same, whatever is in it.
    written = await rows.fetchval("SELECT count(DISTINCT xmin::text) FROM orders WHERE state = 'paid'")
    assert written <= len(paid) / 4


async def test_what_the_channel_says_that_is_known_touches_no_order(
    stage: Stage, rows: Rows, quick: QuickChannel
) -> None:
    """120,000 such answers each half an hour must not cost the rows that payments need."""
    account = await quick.add_account(stage)
    orders = await stand_suspects(stage, rows, [await stage.add_merchant(account_id=account)], 90)
    unpaid = [order.order_id for order in orders if not quick.took_money(order.trade_no)]
    written = "SELECT xmin::text FROM trade WHERE order_id = any($1) AND state NOT IN ('created', 'unknown') ORDER BY 1"
    # Where a trade has ended here it was closed at the channel too: "closed" is no news either.
    await quick.close(
        [
            order.trade_no
            for number, order in enumerate(orders)
            if STANDS[number % len(STANDS)][1] in {"closed", "failed"}
        ]
    )
    before = await rows.fetch(written, unpaid)
    moving = await rows.fetchval(
        "SELECT count(*) FROM trade WHERE order_id = any($1) AND state IN ('created', 'unknown')", unpaid
    )
    async with job_worker(stage):
        row = await ended(stage, await order_run(stage))
        again = await ended(stage, await order_run(stage))
    assert counted(row)["changed"] == moving
    assert counted(row)["unchanged"] == len(before)
    # What the first sweep learned is known to the second.
    assert counted(again) == {"asked": len(unpaid), "unchanged": len(unpaid)}
    assert await rows.fetch("SELECT count(*) FROM evidence WHERE outcome <> 'paid'") == [(0,)]


@pytest.mark.invariant("I6", "I11")
async def test_a_database_that_dies_half_way_loses_nothing_and_the_sweep_ends(
    tmp_path: Path, open_folder: Path, quick: QuickChannel
) -> None:
    """The run is taken up at its cursor; what was asked twice did no harm."""
    folder = open_folder / "db"
    server = await asyncio.to_thread(embedded.start, folder=folder, durable=True, progress=lambda _: None)
    try:
        await upgrade(dsn=server.dsn, environment=Environment.LOCAL)
        async with open_stage(server.dsn, tmp_path) as stage:
            account = await quick.add_account(stage)
            merchants = [await stage.add_merchant(account_id=account) for _ in range(20)]
            rows = await asyncpg.connect(server.dsn, timeout=10)
            orders = await stand_suspects(stage, rows, merchants, MANY)
            async with job_worker(stage):
                run_id = await order_run(stage)
                await when(rows, "SELECT count(*) > $1 FROM orders WHERE state = 'paid'", MANY // 20)
                await asyncio.to_thread(server.kill)
                server = await asyncio.to_thread(embedded.start, folder=folder, durable=True, progress=lambda _: None)
                row = await ended(stage, run_id)
            rows = await asyncpg.connect(server.dsn, timeout=10)
            paid = {order.order_id for order in orders if quick.took_money(order.trade_no)}
            assert await paid_here(rows) == paid
            await assert_books(rows, paid=len(paid))
            assert row.state == "succeeded"
            assert await rows.fetchval("SELECT fence FROM job_run WHERE id = $1", run_id) > 1
            await rows.close()
    finally:
        await asyncio.to_thread(server.stop)


async def test_a_run_by_hand_is_about_what_was_named(stage: Stage, rows: Rows, quick: QuickChannel) -> None:
    account = await quick.add_account(stage)
    first, second = [await stage.add_merchant(account_id=account) for _ in range(2)]
    orders = await stand_suspects(stage, rows, [first, second], 40)
    one = orders[7]
    moment = (await rows.fetchval("SELECT created_at FROM orders WHERE id = $1", one.order_id)) - timedelta(days=3)
    old = [order.order_id for order in orders if order.merchant is second]
    async with job_worker(stage):
        alone = await ended(stage, await order_run(stage, order_no=one.order_no))
        assert counted(alone)["asked"] == 1
        of_merchant = await ended(stage, await order_run(stage, merchant_id=second.merchant_id))
        left = [order for order in orders if order.order_id in old]
        assert counted(of_merchant)["asked"] == len(left) - (one in left and quick.took_money(one.trade_no))
        in_time = await ended(stage, await order_run(stage, until=moment))
        assert counted(in_time) == {}
    paid = {order.order_id for order in left if quick.took_money(order.trade_no)}
    assert await paid_here(rows) == paid


async def test_an_account_that_gives_no_word_is_left_alone_and_the_others_are_asked(
    stage: Stage, rows: Rows, quick: QuickChannel
) -> None:
    """A dead channel must not hold up what a living one knows."""
    living = await stage.add_merchant(account_id=await quick.add_account(stage))
    dead = await stage.add_merchant()
    orders = await stand_suspects(stage, rows, [living, dead], 60)
    async with job_worker(stage, silent_s_max=0.5):
        row = await ended(stage, await order_run(stage))
    assert counted(row)["unasked"] == 30
    assert counted(row)["asked"] == 30
    paid = {order.order_id for order in orders if order.merchant is living and quick.took_money(order.trade_no)}
    assert await paid_here(rows) == paid
    assert await rows.fetchval("SELECT line LIKE '30 trades were not asked%' FROM job_line")


async def test_a_busy_channel_that_is_asked_slowly_holds_up_no_other(
    stage: Stage, rows: Rows, quick: QuickChannel
) -> None:
    """Hundreds of its suspects wait for minutes; what the others know must not wait behind them."""
    busy_account, prompt_account = await quick.add_account(stage, "swiftpass"), await quick.add_account(stage)
    busy = await stage.add_merchant(account_id=busy_account)
    prompt = busy
    while prompt.lane <= busy.lane:  # Lanes are read in order: the busy channel's rows come first.
        prompt = await stage.add_merchant(account_id=prompt_account)
    orders = await stand_suspects(stage, rows, [busy, busy, busy, prompt], 400)
    stage.flows.healths.note_question(busy_account, busy=True, answered=True)
    await stage.flows.healths.turn()
    await rows.execute("UPDATE account_health SET rate_per_s = 1, cut_at = clock_timestamp() + interval '1 hour'")
    await stage.flows.healths.turn()
    assert stage.flows.healths.rate_per_s(busy_account) == 1
    paid = {order.order_id for order in orders if order.merchant is prompt and quick.took_money(order.trade_no)}
    async with job_worker(stage, rows_ahead_max=20):
        run = await order_run(stage)
        await when(
            rows, "SELECT count(*) = $1 FROM orders WHERE state = 'paid' AND id = any($2)", len(paid), list(paid)
        )
        assert (await desk_of(stage).get_run(run))[0].finished_at is None


async def test_an_amount_that_is_not_ours_completes_nothing(stage: Stage, rows: Rows, quick: QuickChannel) -> None:
    account = await quick.add_account(stage)
    orders = await stand_suspects(stage, rows, [await stage.add_merchant(account_id=account)], 9)
    await rows.execute("UPDATE orders SET amount_minor = $1", AMOUNT_MINOR + 1)
    await rows.execute("UPDATE trade SET amount_minor = $1", AMOUNT_MINOR + 1)
    async with job_worker(stage):
        await ended(stage, await order_run(stage))
    assert await paid_here(rows) == set()
    held = await rows.fetchval("SELECT count(*) FROM orders WHERE hold_reason = 'wrong_amount'")
    assert held == sum(quick.took_money(order.trade_no) for order in orders)
