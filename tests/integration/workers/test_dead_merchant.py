"""One merchant's endpoint is dead or slow; the others must not notice."""

import asyncio
from dataclasses import replace
from math import log2
from statistics import median
from time import monotonic

import asyncpg
import pytest

from budan.core.numbers import Lane
from budan.flows.delivering import PROBES_KEPT
from budan.store import work as stored
from budan.store.database import Transaction
from budan.workers.deliver import DELIVERY_LIMITS
from integration.workers.receivers import Received, Receiver, answering, receiving, stay_silent, take
from integration.workers.watching import when
from integration.workers.working import delivering, working
from stage import Stage, StagedMerchant, StagedOrder

Rows = asyncpg.Connection
PAUSES = DELIVERY_LIMITS.pauses
HEALTHY = 99
ROUNDS = 7
WAVES = 3
DEAD_ORDERS_PER_WAVE = 20
# What a round may differ by chance on a machine that does other things too; a blocked delivery waits for seconds.
NOISE_S = 0.05


async def pay_all(stage: Stage, merchants: list[StagedMerchant]) -> dict[str, float]:
    """An order for each merchant, all paid at once; when each was, by its number."""
    orders = [stage.name_order(merchant) for merchant in merchants]
    await stage.add_orders(orders)
    paid_at_s: dict[str, float] = {}

    async def pay(order: StagedOrder) -> None:
        await stage.pay(order)
        paid_at_s[order.order_no] = monotonic()

    await asyncio.gather(*(pay(order) for order in orders))
    return paid_at_s


async def healthy_p99_s(
    stage: Stage, receiver: Receiver, healthy: list[StagedMerchant], dead: StagedMerchant | None
) -> float:
    """The 99th percentile, over some waves, from an order's commit to its merchant's endpoint."""
    late_s: list[float] = []
    for _ in range(WAVES):
        if dead is not None:
            await pay_all(stage, [dead] * DEAD_ORDERS_PER_WAVE)
        before = len(receiver.received)
        paid_at_s = await pay_all(stage, healthy)
        await receiver.wait_for_count(before + len(healthy))
        late_s += [came.at_s - paid_at_s[came.order_no] for came in receiver.received[before:]]
    return sorted(late_s)[int(len(late_s) * 0.99)]


async def test_one_dead_merchant_does_not_slow_ninety_nine_healthy_ones(stage: Stage, rows: Rows) -> None:
    async with (
        receiving() as receiver,
        receiving(stay_silent) as silent,
        working(stage, allowed=[receiver.authority, silent.authority]),
    ):
        healthy = [await stage.add_merchant(webhook_url=receiver.url(str(number))) for number in range(HEALTHY)]
        dead = await stage.add_merchant(webhook_url=silent.url())
        await healthy_p99_s(stage, receiver, healthy, None)
        without_s: list[float] = []
        with_dead_s: list[float] = []
        for _ in range(ROUNDS):
            without_s.append(await healthy_p99_s(stage, receiver, healthy, None))
            with_dead_s.append(await healthy_p99_s(stage, receiver, healthy, dead))
            # For the next round without it, the dead one's orders are out of sight.
            await rows.execute(
                "UPDATE webhook_due SET due_at = now() + interval '1 day' WHERE endpoint_id = $1", dead.endpoint_id
            )
        assert median(with_dead_s) <= 1.5 * median(without_s) + NOISE_S
        assert 1 <= silent.waiting_most <= DELIVERY_LIMITS.rows_max
        await when(rows, "SELECT count(*) = 0 FROM webhook_due WHERE endpoint_id <> $1", dead.endpoint_id)


async def test_an_endpoint_that_refuses_is_tried_less_and_less_and_gets_everything_once_it_is_back(
    stage: Stage, rows: Rows
) -> None:
    async with (
        receiving() as receiver,
        receiving(answering(500)) as broken,
        # What was refused once would wait an hour if its endpoint's recovery did not bring it forward.
        working(stage, allowed=[receiver.authority, broken.authority], ladder=(3_600.0,)),
    ):
        other = await stage.add_merchant(webhook_url=receiver.url())
        merchant = await stage.add_merchant(webhook_url=broken.url())
        assert PAUSES is not None
        began_s = monotonic()
        await pay_all(stage, [merchant] * 300)
        await pay_all(stage, [other] * 100)
        await receiver.wait_for_count(100)
        # Until the gate closes, its bound is in flight and a few have failed; then probes: the first pause is a second,
        # each next one twice as long.
        await broken.wait_for_count(len(broken.received) + 1)
        probes_max = 1 + log2(1 + monotonic() - began_s)
        assert len(broken.received) <= DELIVERY_LIMITS.rows_max + PAUSES.failures_to_open + probes_max
        await when(rows, "SELECT count(*) <= $1 FROM webhook_due WHERE due_at <= now()", PROBES_KEPT)
        broken.answer = take
        await when(rows, "SELECT count(*) = 0 FROM webhook_due")
    taken = {came.order_no for came in broken.received}
    assert len(taken) == 300
    assert await rows.fetchval("SELECT count(*) FROM webhook WHERE taken_at IS NULL") == 0


async def test_a_backlog_that_another_worker_left_is_delivered_as_soon_as_its_endpoint_is_back(
    stage: Stage, rows: Rows
) -> None:
    """The worker that saw the endpoint die was redeployed: its successor knows of no outage, only of rows due in hours."""
    async with receiving() as receiver:
        merchant = await stage.add_merchant(webhook_url=receiver.url())
        await pay_all(stage, [merchant] * 20)
        await rows.execute("UPDATE webhook_due SET attempts = 7, due_at = clock_timestamp() + interval '4 hours'")
        async with working(stage, allowed=[receiver.authority]):
            await pay_all(stage, [merchant])
            await when(rows, "SELECT count(*) = 0 FROM webhook_due")
    assert len({came.order_no for came in receiver.received}) == len(receiver.received) == 21


async def test_a_lane_that_changed_hands_is_looked_through_once_and_not_for_each_endpoint(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a million deliveries that wait for one dead endpoint would be read anew for each of its neighbours."""
    looked_through: list[Lane] = []
    look = stored.list_waiting_endpoints

    async def list_waiting(transaction: Transaction, lane: Lane) -> frozenset[int]:
        looked_through.append(lane)
        return await look(transaction, lane)

    monkeypatch.setattr(stored, "list_waiting_endpoints", list_waiting)
    async with receiving() as receiver, delivering(stage, allowed=[receiver.authority]) as deliveries:
        merchants = [await stage.add_merchant(webhook_url=receiver.url(str(number))) for number in range(3)]
        await pay_all(stage, merchants)
        lanes = sorted({merchant.lane for merchant in merchants})
        due = await deliveries.list_due(lanes=lanes, endpoints_left_out=[], rows_max=10)
        for fence in (1, 1, 2):
            # As neighbours in one lane.
            rows = [replace(row, lane=lanes[0]) for row in due]
            await asyncio.gather(*(deliveries.bring_left_behind_forward(row, fence=fence) for row in rows))
    assert len(due) == 3
    assert looked_through == [lanes[0]] * 2


async def test_the_backlog_of_one_endpoint_hides_no_other(stage: Stage, rows: Rows) -> None:
    """A thousand older deliveries of one merchant, and one fresh one of another."""
    held = asyncio.Event()

    async def answer(came: Received) -> int | None:
        await held.wait()
        return await take(came)

    async with (
        receiving() as receiver,
        receiving(answer) as slow,
        working(stage, allowed=[receiver.authority, slow.authority]),
    ):
        await pay_all(stage, [await stage.add_merchant(webhook_url=slow.url())] * 1_000)
        await slow.wait_for_count(DELIVERY_LIMITS.rows_max)
        await pay_all(stage, [await stage.add_merchant(webhook_url=receiver.url())])
        await receiver.wait_for_count(1)
        assert slow.waiting_now == slow.waiting_most == DELIVERY_LIMITS.rows_max
        held.set()
        await when(rows, "SELECT count(*) = 0 FROM webhook_due")
    assert slow.waiting_most == DELIVERY_LIMITS.rows_max
    assert len({came.order_no for came in slow.received}) == len(slow.received) == 1_000
