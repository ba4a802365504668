import asyncio

import asyncpg
import pytest

from budan.flows.door import UNKNOWN_TRADE, DoorItem
from budan.flows.leftovers import UNREADABLE
from integration.workers.watching import when
from integration.workers.working import working
from stage import Stage

Rows = asyncpg.Connection


@pytest.mark.invariant("I6")
async def test_evidence_that_comes_before_its_trade_has_its_effect_once_the_trade_is_there(
    stage: Stage, rows: Rows
) -> None:
    """The channel's answer can be faster than our own commit, and a copy of a database can be behind."""
    merchant = await stage.add_merchant()
    order = stage.name_order(merchant)
    planned = await stage.flows.door.record(DoorItem(evidence=stage.payment(order)))
    assert planned.decision == UNKNOWN_TRADE
    async with working(stage):
        await when(rows, "SELECT attempts > 0 FROM evidence_due")
        await stage.add_orders([order])
        await rows.execute("UPDATE evidence_due SET due_at = now()")
        await when(rows, "SELECT state = 'paid' FROM orders WHERE id = $1", order.order_id)
        await when(rows, "SELECT count(*) = 0 FROM evidence_due")
    row = await rows.fetchrow("SELECT learned_source, fee_minor FROM orders")
    assert row
    assert tuple(row) == ("notice", 8)


async def test_what_this_version_cannot_read_waits_and_holds_up_nothing(stage: Stage, rows: Rows) -> None:
    merchant = await stage.add_merchant()
    unreadable, readable = stage.name_order(merchant), stage.name_order(merchant)
    for order in (unreadable, readable):
        await stage.flows.door.record(DoorItem(evidence=stage.payment(order)))
    await stage.add_orders([unreadable, readable])
    await rows.execute(
        'UPDATE evidence_due SET statement = \'{"from": "the future"}\' WHERE trade_no = $1', unreadable.trade_no
    )
    await rows.execute("UPDATE evidence_due SET due_at = now()")
    async with working(stage):
        await when(rows, "SELECT state = 'paid' FROM orders WHERE id = $1", readable.order_id)
        await when(rows, "SELECT reason = $1 FROM evidence_due", UNREADABLE)
    kept = await rows.fetchrow("SELECT trade_no, attempts, statement FROM evidence_due")
    assert kept
    assert kept["trade_no"] == unreadable.trade_no
    assert kept["attempts"] == 1
    assert "future" in kept["statement"]


async def test_many_at_once_are_settled_in_batches(stage: Stage, rows: Rows) -> None:
    merchant = await stage.add_merchant()
    orders = [stage.name_order(merchant) for _ in range(300)]
    await asyncio.gather(
        *(stage.flows.door.record(DoorItem(evidence=stage.payment(order))) for order in orders),
    )
    await stage.add_orders(orders)
    await rows.execute("UPDATE evidence_due SET due_at = now()")
    async with working(stage):
        await when(rows, "SELECT count(*) = 0 FROM evidence_due")
    assert await rows.fetchval("SELECT count(*) FROM orders WHERE state = 'paid'") == 300
