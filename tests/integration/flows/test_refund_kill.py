"""Refunds by workers that are processes of their own, killed while the channel has the request."""

import signal
from pathlib import Path
from secrets import token_hex
from types import SimpleNamespace

import asyncpg
import pytest

from budan.core.numbers import Lane
from budan.flows.refunding import RefundOrder
from budan.flows.views import CreateOrder, PaymentWish
from budan.ports.channel import Method
from integration.flows.conftest import House
from integration.flows.standing import until
from integration.sandbox.running import calling
from integration.workers.test_kill import worker

AMOUNT_MINOR = 1_280
LANES = [Lane(lane) for lane in range(64)]


@pytest.mark.invariant("I6", "I11")
@pytest.mark.parametrize("fault", ["timeout_after_charge", "timeout_before_charge"])
async def test_a_worker_killed_while_the_channel_has_its_refund_is_followed_by_one_that_ends_it(
    house: House, tmp_path: Path, fault: str
) -> None:
    """Done or not done when the first one died, the money goes back once and is booked once."""
    rows = await asyncpg.connect(house.dsn)
    nobody = SimpleNamespace(authority="127.0.0.1:9")
    async with calling(house.sandbox.url) as payer:
        order = await house.flows.payments.create_order(
            CreateOrder(
                caller=house.caller,
                reference=f"ref-{token_hex(6)}",
                amount_minor=AMOUNT_MINOR,
                currency="CNY",
                subject="Latte",
                request_digest=bytes(32),
                payment=PaymentWish(method=Method.NATIVE, channel="wechat_v3"),
            )
        )
        trade_no = order.trades[0].trade_no
        await payer.pay(code_text=order.trades[0].qr_text, faults={"drop_notice": True})
        await rows.execute("UPDATE query_due SET due_at = now()")
        (due,) = await house.flows.questions.list_due(lanes=LANES, accounts_left_out=(), rows_max=2)
        await house.flows.questions.ask_due(due)
        await payer.admin("PUT", "/sandbox/refund-faults", {"trade_no": trade_no, "faults": {fault: True}})
        await house.flows.refunding.request(
            RefundOrder(
                caller=house.caller,
                order_no=order.order_no,
                amount_minor=280,
                reason="",
                request_digest=bytes(32),
                idempotency_key="once",
            )
        )
        async with worker(house, nobody, tmp_path) as killed:
            await until(rows, "SELECT send_until IS NOT NULL FROM refund", is_so=bool)
            if fault == "timeout_after_charge":
                await payer.trade_when(trade_no, lambda trade: bool(trade["refunds"]))
            assert await killed.end(signal.SIGKILL) == -signal.SIGKILL
        assert await rows.fetchval("SELECT count(*) FROM refund_due") == 1
        await payer.admin("PUT", "/sandbox/refund-faults", {"trade_no": trade_no, "faults": {}})
        await rows.execute("UPDATE lane_lease SET expires_at = '-infinity'")
        await rows.execute("DELETE FROM worker")
        # The send window of the dead one's request is over; the test does not wait that long.
        await rows.execute("UPDATE refund SET send_until = send_until - interval '1 minute'")
        await rows.execute("UPDATE refund_due SET due_at = now()")
        async with worker(house, nobody, tmp_path):
            await until(rows, "SELECT state FROM refund", is_so=lambda state: state == "succeeded")
        at_channel = await payer.trade(trade_no)
    assert (at_channel["refunded_minor"], len(at_channel["refunds"])) == (280, 1)
    assert await rows.fetchval("SELECT count(*) FROM refund_due") == 0
    assert await rows.fetchval("SELECT sum(amount_minor) FROM posting WHERE account LIKE 'channel:%'") == 1_000
    await rows.close()
