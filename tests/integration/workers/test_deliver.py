import asyncio
from threading import Event

import asyncpg
import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from budan.cli.wiring import build_webhook_secrets
from budan.core.numbers import Environment
from budan.flows.delivering import render_event_id
from budan.flows.keeping import Housekeeping
from budan.wire.secret_box import SecretBox, new_key
from integration.workers.receivers import Received, answering, receiving, take
from integration.workers.watching import when
from integration.workers.working import QUICK_LADDER_S, delivering, keeper, working
from stage import Stage

Rows = asyncpg.Connection


ALL_TAKEN = "SELECT count(*) = 0 FROM webhook_due"


async def test_a_paid_order_is_told_with_a_signature_that_the_merchants_library_accepts(
    stage: Stage, rows: Rows
) -> None:
    async with receiving() as receiver, working(stage, allowed=[receiver.authority]):
        merchant = await stage.add_merchant(webhook_url=receiver.url())
        order = await stage.add_paid_order(merchant)
        await receiver.wait_for_count(1)
        await when(rows, ALL_TAKEN)
    (came,) = receiver.received
    event = came.verify(merchant.webhook_secret or "")
    assert event["type"] == "order.paid"
    assert event["data"]["order_no"] == order.order_no
    assert came.headers["content-type"] == "application/json"
    row = await rows.fetchrow("SELECT taken_at, created_at FROM webhook")
    assert row
    assert row["taken_at"] >= row["created_at"]
    delivery = await rows.fetchrow("SELECT attempt, status, error FROM delivery")
    assert delivery
    assert tuple(delivery) == (1, 204, "")


@pytest.mark.invariant("I6")
async def test_what_was_refused_climbs_the_ladder_and_is_taken_with_the_same_id(stage: Stage, rows: Rows) -> None:
    async with (
        receiving(answering(500, 302, 429, 200)) as receiver,
        working(stage, allowed=[receiver.authority], ladder=QUICK_LADDER_S),
    ):
        merchant = await stage.add_merchant(webhook_url=receiver.url())
        await stage.add_paid_order(merchant)
        await receiver.wait_for_count(4)
        await when(rows, ALL_TAKEN)
    assert len({came.headers["webhook-id"] for came in receiver.received}) == 1
    assert len({came.body for came in receiver.received}) == 1
    log = await rows.fetch("SELECT attempt, status FROM delivery ORDER BY attempt")
    assert [tuple(row) for row in log] == [(1, 500), (2, 302), (3, 429), (4, 200)]
    gaps = [b.at_s - a.at_s for a, b in zip(receiver.received, receiver.received[1:], strict=False)]
    assert all(gap >= rung * 0.9 for gap, rung in zip(gaps, QUICK_LADDER_S, strict=True))


async def test_the_next_try_is_as_far_away_as_the_ladder_says(stage: Stage, rows: Rows) -> None:
    async with (
        receiving(answering(500)) as receiver,
        delivering(stage, allowed=[receiver.authority], ladder=(100.0, 1_000.0)) as deliveries,
    ):
        await stage.add_paid_order(await stage.add_merchant(webhook_url=receiver.url()))
        lanes = keeper(stage)
        await lanes.renew()
        held = lanes.held()
        for expected_s in (100, 1_000, 1_000):
            await rows.execute("UPDATE webhook_due SET due_at = now()")
            (due,) = await deliveries.list_due(lanes=list(held), endpoints_left_out=[], rows_max=10)
            assert not await deliveries.deliver(due, fence=held[due.lane])
            left_s = await rows.fetchval(
                "SELECT extract(epoch FROM due_at - clock_timestamp())::float FROM webhook_due"
            )
            assert expected_s - 5 < left_s <= expected_s


async def test_events_of_one_order_go_in_order(stage: Stage, rows: Rows) -> None:
    """A later event waits until the merchant has taken the earlier one; other orders do not."""
    refused_once: set[int] = set()

    async def answer(came: Received) -> int | None:
        version = came.event["data"]["version"]
        if version not in refused_once:
            refused_once.add(version)
            return 503
        return await take(came)

    async with receiving(answer) as receiver:
        merchant = await stage.add_merchant(webhook_url=receiver.url())
        order = await stage.add_paid_order(merchant)
        await rows.execute(
            """
            WITH more AS (
                INSERT INTO webhook (lane, order_id, version, endpoint_id, event, body, created_at)
                SELECT w.lane, w.order_id, v, w.endpoint_id, w.event,
                    convert_to(jsonb_set(convert_from(w.body, 'utf8')::jsonb, '{data,version}', v::text::jsonb)::text, 'utf8'),
                    w.created_at
                FROM webhook AS w CROSS JOIN generate_series(7, 9) AS v
                RETURNING lane, order_id, version, endpoint_id
            )
            INSERT INTO webhook_due (lane, order_id, version, endpoint_id, due_at)
            SELECT lane, order_id, version, endpoint_id, now() - interval '1 minute' FROM more
            """,
        )
        async with working(stage, allowed=[receiver.authority], ladder=QUICK_LADDER_S):
            await when(rows, ALL_TAKEN)
    first = await rows.fetchval("SELECT min(version) FROM webhook WHERE order_id = $1", order.order_id)
    versions = [came.event["data"]["version"] for came in receiver.received]
    assert versions == [version for version in (first, 7, 8, 9) for _ in range(2)]


async def test_silent_name_servers_hold_up_no_other_merchants_webhooks(stage: Stage) -> None:
    """A look-up that nobody waits for any more still has its thread: a dozen once kept a healthy name for a minute."""
    is_over = Event()

    def look_up(host: str) -> list[str]:
        if host.endswith("silent.test"):
            is_over.wait()
        return ["127.0.0.1"]

    async with (
        receiving() as receiver,
        working(stage, allowed=[receiver.authority.replace("127.0.0.1", "shop.test")], look_up=look_up),
    ):
        try:
            for number in range(12):
                silent = await stage.add_merchant(webhook_url=f"http://{number}.silent.test/hook")
                await stage.add_paid_order(silent)
            healthy = await stage.add_merchant(webhook_url=receiver.url().replace("127.0.0.1", "shop.test"))
            order = await stage.add_paid_order(healthy)
            await receiver.wait_for_count(1)
        finally:
            is_over.set()
    assert [came.order_no for came in receiver.received] == [order.order_no]


async def test_a_private_address_that_is_not_listed_is_never_called(stage: Stage, rows: Rows) -> None:
    async with receiving() as receiver, working(stage):
        await stage.add_paid_order(await stage.add_merchant(webhook_url=receiver.url()))
        await when(rows, "SELECT count(*) = 1 FROM delivery")
    assert receiver.received == []
    assert (
        await rows.fetchval("SELECT error FROM delivery")
        == "AddressRefused: host leads to an address that is not public"
    )
    assert await rows.fetchval("SELECT attempts FROM webhook_due") == 1


async def test_a_secret_of_another_key_keeps_the_delivery_due(stage: Stage, rows: Rows) -> None:
    async with receiving() as receiver:
        merchant = await stage.add_merchant(webhook_url=receiver.url())
        other = SecretBox({"k2": new_key()}, sealing_key_id="k2")
        sealed = other.seal(b"whsec_AAAA", context=f"webhook_endpoint:{merchant.endpoint_id}")
        await rows.execute("UPDATE webhook_endpoint SET sealed_secret = $1", sealed)
        async with working(stage, allowed=[receiver.authority]):
            await stage.add_paid_order(merchant)
            await when(rows, "SELECT count(*) = 1 FROM delivery")
    assert receiver.received == []
    assert "secret" in await rows.fetchval("SELECT error FROM delivery")
    assert await rows.fetchval("SELECT count(*) FROM webhook_due") == 1


async def test_a_webhook_is_signed_with_both_secrets_until_the_overlap_of_a_rotation_ends(
    stage: Stage, rows: Rows
) -> None:
    """The merchant changes its secret when it can: neither the old nor the new one may miss an event meanwhile."""
    secrets = build_webhook_secrets(stage.opened)
    async with (
        receiving(answering(500)) as receiver,
        delivering(stage, allowed=[receiver.authority], ladder=(0.0,)) as deliveries,
    ):
        merchant = await stage.add_merchant(webhook_url=receiver.url())
        await stage.add_paid_order(merchant)
        lanes = keeper(stage)
        await lanes.renew()
        held = lanes.held()

        async def deliver() -> Received:
            (due,) = await deliveries.list_due(lanes=list(held), endpoints_left_out=[], rows_max=10)
            await deliveries.deliver(due, fence=held[due.lane])
            return receiver.received[-1]

        how = {"endpoint_id": None, "overlap_s": 3_600, "by": "Ann", "reason": "a laptop was stolen"}
        changed = await secrets.rotate(merchant.merchant_id, **how)
        during = await deliver()
        assert during.verify(merchant.webhook_secret or "") == during.verify(changed.webhook_secret)
        await rows.execute("UPDATE webhook_endpoint SET old_until = now()")
        after = await deliver()
    assert after.verify(changed.webhook_secret)
    with pytest.raises(WebhookVerificationError):
        after.verify(merchant.webhook_secret or "")
    housekeeping = Housekeeping(database=stage.database)
    assert [await housekeeping.forget_old_secrets() for _ in range(2)] == [1, 0]


async def test_an_outcome_of_a_lost_lane_is_not_written(stage: Stage, rows: Rows) -> None:
    async with receiving() as receiver, delivering(stage, allowed=[receiver.authority]) as deliveries:
        merchant = await stage.add_merchant(webhook_url=receiver.url())
        await stage.add_paid_order(merchant)
        lanes = keeper(stage)
        await lanes.renew()
        held = dict(lanes.held())
        (due,) = await deliveries.list_due(lanes=list(held), endpoints_left_out=[], rows_max=10)
        await lanes.release()
        other = keeper(stage)
        await other.renew()
        assert await deliveries.deliver(due, fence=held[due.lane])
        assert await rows.fetchval("SELECT count(*) FROM webhook_due") == 1
        assert await rows.fetchval("SELECT count(*) FROM delivery") == 0
        assert await deliveries.deliver(due, fence=other.held()[due.lane])
        assert await rows.fetchval("SELECT count(*) FROM webhook_due") == 0
    assert [came.headers["webhook-id"] for came in receiver.received] == [render_event_id(due)] * 2


async def test_many_orders_are_all_told_once_each(stage: Stage, rows: Rows) -> None:
    assert stage.settings.environment is Environment.LOCAL
    async with receiving() as receiver, working(stage, allowed=[receiver.authority]):
        merchants = [await stage.add_merchant(webhook_url=receiver.url(str(number))) for number in range(5)]
        orders = [stage.name_order(merchants[number % 5]) for number in range(500)]
        await stage.add_orders(orders)
        await asyncio.gather(*(stage.pay(order) for order in orders))
        await receiver.wait_for_count(500)
        await when(rows, ALL_TAKEN)
    assert sorted(came.order_no for came in receiver.received) == sorted(order.order_no for order in orders)
    assert await rows.fetchval("SELECT count(*) FROM webhook WHERE taken_at IS NULL") == 0
