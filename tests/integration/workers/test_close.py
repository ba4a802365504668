"""Orders end by themselves, and codes that nobody shall pay any more are closed at their channels: against the sandbox."""

import asyncio
import signal
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from budan.core.errors import Refused
from budan.core.evidence import Evidence, Outcome, Source
from budan.core.numbers import parse_number
from budan.flows.administering import OrderTerms
from budan.flows.door import DoorItem
from budan.flows.views import OrderView, PaymentStatus, PaymentWish
from budan.ports.channel import Method
from integration.sandbox.running import RunningSandbox, calling, start_sandbox
from integration.workers.receivers import receiving
from integration.workers.taking import CHANNELS, Counter, let_time_pass, open_counter
from integration.workers.watching import when
from integration.workers.working import working
from stage import AMOUNT_MINOR, Stage

Rows = asyncpg.Connection
# An order's life, and after it the time that clocks may differ.
LIFE_MIN, SKEW_MIN = 15, 3
NON_FINAL_WITHOUT_WORK = """
    SELECT count(*) FROM orders AS o
    WHERE o.state IN ('created', 'paying', 'closing')
        AND NOT EXISTS (SELECT 1 FROM order_due AS d WHERE d.lane = o.lane AND d.order_id = o.id)
"""


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    running = start_sandbox(tmp_path_factory.mktemp("sandbox"))
    yield running
    assert running.end(by=signal.SIGTERM) == 0


@pytest.fixture
async def counter(stage: Stage, sandbox: RunningSandbox) -> Counter:
    return await open_counter(stage, sandbox.url)


def payment(counter: Counter, order: OrderView, *, attempt: int = 1, source: Source = Source.NOTICE) -> Evidence:
    """The channel's word that one of the order's codes was paid."""
    trade = order.trades[attempt - 1]
    now = counter.stage.opened.clock.now()
    return Evidence(
        trade_no=trade.trade_no,
        account_id=counter.account_ids[trade.channel],
        outcome=Outcome.PAID,
        source=source,
        learned_at=now,
        order_minor=AMOUNT_MINOR,
        currency="CNY",
        channel_reference=f"4200{attempt}",
        paid_at=now,
    )


async def hear(counter: Counter, evidence: Evidence) -> str:
    return (await counter.stage.flows.door.record(DoorItem(evidence=evidence))).decision


@pytest.mark.invariant("I6", "I7")
async def test_an_order_that_nobody_began_to_pay_expires_and_the_merchant_is_told(
    stage: Stage, rows: Rows, sandbox: RunningSandbox
) -> None:
    async with receiving() as receiver, working(stage, allowed=[receiver.authority]):
        counter = await open_counter(stage, sandbox.url, webhook_url=receiver.url())
        order = await counter.order()
        await let_time_pass(rows, minutes=LIFE_MIN)
        await receiver.wait_for_count(1)
    told = receiver.received[0].verify(counter.merchant.webhook_secret or "")
    assert (told["type"], told["data"]["state"], told["data"]["version"]) == ("order.expired", "expired", 2)
    assert (told["data"]["order_no"], told["data"]["trade_no"]) == (order.order_no, None)
    seen = await counter.see(order)
    assert (seen.state, seen.version, seen.payment_status) == ("expired", 2, PaymentStatus.UNPAID)
    assert await rows.fetchval("SELECT count(*) FROM order_due") == 0


@pytest.mark.invariant("I6")
async def test_an_order_is_not_ended_before_its_time(counter: Counter, rows: Rows) -> None:
    """A look that comes too soon changes nothing but the next look."""
    order = await counter.order("wechat_v3")
    await rows.execute("UPDATE order_due SET due_at = now()")
    async with working(counter.stage):
        await when(rows, "SELECT d.due_at = o.expires_at FROM order_due AS d JOIN orders AS o ON o.id = d.order_id")
    assert (await counter.see(order)).state == "paying"
    assert await rows.fetchval("SELECT count(*) FROM close_due") == 0


@pytest.mark.invariant("I7")
async def test_a_code_of_an_expired_order_is_closed_at_its_channel(
    counter: Counter, rows: Rows, sandbox: RunningSandbox
) -> None:
    order = await counter.order("wechat_v3")
    await let_time_pass(rows, minutes=LIFE_MIN)
    async with working(counter.stage), calling(sandbox.url) as channel:
        await when(rows, "SELECT state = 'expired' FROM orders")
        assert (await channel.trade(order.trades[0].trade_no))["state"] == "closed"
    assert await rows.fetchval("SELECT state FROM trade") == "closed"
    assert await rows.fetchval("SELECT count(*) FROM close_due") == 0
    assert await rows.fetchval("SELECT count(*) FROM order_due") == 0
    # A trade that ended unpaid is asked once more after ten minutes.
    assert await rows.fetchval("SELECT due_at > now() + interval '9 min' FROM query_due")


@pytest.mark.invariant("I7")
async def test_a_payment_whose_notice_was_lost_completes_the_order_when_it_is_about_to_expire(
    counter: Counter, rows: Rows, sandbox: RunningSandbox
) -> None:
    """A payment makes the close fail, and the question after it brings the proof."""
    order = await counter.order("wechat_v3")
    async with calling(sandbox.url) as payer:
        await payer.pay(trade_no=order.trades[0].trade_no, faults={"drop_notice": True})
    # The question's own ladder is out of the way: the close alone must find it.
    await rows.execute("UPDATE query_due SET due_at = now() + interval '1 hour'")
    await let_time_pass(rows, minutes=LIFE_MIN)
    async with working(counter.stage):
        await when(rows, "SELECT state = 'paid' FROM orders")
        await when(rows, "SELECT count(*) = 0 FROM close_due")
    assert await rows.fetchval("SELECT count(*) FROM order_due") == 0
    assert [tuple(row) for row in await rows.fetch("SELECT event FROM webhook")] == []
    assert await rows.fetchval("SELECT cause FROM remedy") == "notice_missing"


@pytest.mark.invariant("I5", "I7")
async def test_a_code_that_its_channel_does_not_know_yet_ends_after_the_last_moment_and_not_before(
    counter: Counter, rows: Rows
) -> None:
    """Until somebody scans it, Alipay answers a close with "no such trade": that is not its word."""
    await counter.order("alipay")
    await let_time_pass(rows, minutes=LIFE_MIN)
    async with working(counter.stage):
        await when(rows, "SELECT attempts >= 1 FROM close_due")
        assert await rows.fetchval("SELECT state FROM orders") == "closing"
        assert await rows.fetchval("SELECT not_found_count FROM trade") == 0
        await let_time_pass(rows, minutes=SKEW_MIN)
        # A first answer after the last moment may end the order; the second one ends its trade.
        await when(rows, "SELECT state = 'expired' FROM orders")
        await when(rows, "SELECT state = 'closed' FROM trade")
    assert await rows.fetchval("SELECT not_found_count FROM trade") == 2
    assert await rows.fetchval("SELECT count(*) FROM order_due") == 0


@pytest.mark.invariant("I5", "I6")
async def test_an_order_whose_channel_is_away_stays_closing_and_due(stage: Stage, rows: Rows, tmp_path: Path) -> None:
    """Time alone ends nothing: without the channel's word the order waits, and what never left climbs no ladder."""
    dying = start_sandbox(tmp_path / "dying")
    counter = await open_counter(stage, dying.url)
    await counter.order("wechat_v3")
    dying.end(by=signal.SIGKILL)
    await let_time_pass(rows, minutes=LIFE_MIN + SKEW_MIN)
    async with working(stage):
        await when(rows, "SELECT due_at > now() + interval '1 s' FROM close_due")
    assert await rows.fetchval("SELECT state FROM orders") == "closing"
    assert await rows.fetchval("SELECT attempts FROM close_due") == 0
    assert await rows.fetchval(NON_FINAL_WITHOUT_WORK) == 0


@pytest.mark.invariant("I3", "I9")
async def test_the_other_code_of_a_paid_order_is_closed_at_its_channel(
    counter: Counter, rows: Rows, sandbox: RunningSandbox
) -> None:
    order = await counter.order("wechat_v3", "alipay")
    assert await hear(counter, payment(counter, order, attempt=2)) == "complete"
    async with working(counter.stage), calling(sandbox.url) as channel:
        await when(rows, "SELECT state = 'closed' FROM trade WHERE attempt = 1")
        await when(rows, "SELECT count(*) = 0 FROM close_due")
        assert (await channel.trade(order.trades[0].trade_no))["state"] == "closed"
    assert (await counter.see(order)).state == "paid"


@pytest.mark.invariant("I9")
async def test_a_close_that_comes_too_late_finds_the_second_payment_and_it_goes_back(
    counter: Counter, rows: Rows, sandbox: RunningSandbox
) -> None:
    """Two wallets paid one order; the second one's notice was lost."""
    order = await counter.order("wechat_v3", "alipay")
    async with calling(sandbox.url) as payer:
        await payer.pay(trade_no=order.trades[0].trade_no, faults={"drop_notice": True})
    await rows.execute("UPDATE query_due SET due_at = now() + interval '1 hour'")
    assert await hear(counter, payment(counter, order, attempt=2)) == "complete"
    async with working(counter.stage):
        await when(rows, "SELECT count(*) = 0 FROM close_due")
    assert await rows.fetchval("SELECT state FROM trade WHERE attempt = 1") == "succeeded"
    assert tuple(await rows.fetchrow("SELECT attempt, reason FROM refund") or ()) == (1, "second_payment")
    assert await rows.fetchval("SELECT paid_attempt FROM orders") == 2


@pytest.mark.invariant("I7", "I12")
@pytest.mark.parametrize(("policy", "decision"), [("complete", "complete"), ("refund", "return_late")])
async def test_a_payment_after_the_expiry_is_what_the_merchant_chose(
    counter: Counter, rows: Rows, policy: str, decision: str
) -> None:
    await counter.stage.administration.set_terms(
        counter.merchant.merchant_id, OrderTerms(late_payment=policy), by="Ann"
    )
    order = await counter.order("wechat_v3")
    await let_time_pass(rows, minutes=LIFE_MIN)
    async with working(counter.stage):
        await when(rows, "SELECT state = 'expired' FROM orders")
    assert await hear(counter, payment(counter, order)) == decision
    assert await rows.fetchval("SELECT cause FROM remedy") == "late_payment"
    assert await rows.fetchval("SELECT count(*) FROM refund") == (policy == "refund")
    assert (await counter.see(order)).state == ("paid" if policy == "complete" else "expired")
    assert await rows.fetchval("SELECT sum(amount_minor) FROM posting") == 0


async def test_the_merchant_hears_of_a_late_payment(stage: Stage, rows: Rows, sandbox: RunningSandbox) -> None:
    async with receiving() as receiver, working(stage, allowed=[receiver.authority]):
        counter = await open_counter(stage, sandbox.url, webhook_url=receiver.url())
        order = await counter.order("wechat_v3")
        await let_time_pass(rows, minutes=LIFE_MIN)
        await receiver.wait_for_count(1)
        await hear(counter, payment(counter, order))
        await receiver.wait_for_count(2)
    assert [one.event["type"] for one in receiver.received] == ["order.expired", "order.paid"]


@pytest.mark.invariant("I7", "I8")
async def test_an_expiry_and_a_success_in_the_same_instant_end_in_a_paid_order(counter: Counter, rows: Rows) -> None:
    """Whoever is first: nobody was told anything, so the payment completes."""
    orders = [await counter.order("alipay") for _ in range(12)]
    # After the last moment everywhere, and asked after it: nothing but the looks is left to do.
    await let_time_pass(rows, minutes=LIFE_MIN + SKEW_MIN)
    await rows.execute(
        "INSERT INTO close_due SELECT lane, order_id, attempt, now() + interval '1 hour', 0, now() FROM trade"
    )
    keys = [(number.lane, number.order_id) for number in (parse_number(order.order_no) for order in orders)]
    closing = counter.stage.flows.closing
    await asyncio.gather(
        *(closing.look(key) for key in keys), *(hear(counter, payment(counter, order)) for order in orders)
    )
    assert {(await counter.see(order)).state for order in orders} == {"paid"}
    assert await rows.fetchval("SELECT count(*) FROM refund") == 0
    assert await rows.fetchval("SELECT count(*) FROM order_due") == 0


@pytest.mark.invariant("I7", "I9")
async def test_what_comes_after_the_merchants_close_goes_back_and_each_step_is_told(
    stage: Stage, rows: Rows, sandbox: RunningSandbox
) -> None:
    async with receiving() as receiver, working(stage, allowed=[receiver.authority]):
        counter = await open_counter(stage, sandbox.url, webhook_url=receiver.url())
        order = await counter.order("wechat_v3")
        closing = await stage.flows.withdrawals.close_order(counter.caller, order.order_no)
        assert closing.state in {"closing", "closed"}
        await receiver.wait_for_count(1)
        assert (await counter.see(order)).state == "closed"
        async with calling(sandbox.url) as channel:
            assert (await channel.trade(order.trades[0].trade_no))["state"] == "closed"
        assert await hear(counter, payment(counter, order)) == "return_late"
        await receiver.wait_for_count(2)
    assert [one.event["type"] for one in receiver.received] == ["order.closed", "order.payment_returning"]
    assert await rows.fetchval("SELECT sum(amount_minor) FROM posting") == 0
    assert await rows.fetchval("SELECT count(*) FROM refund") == 1


@pytest.mark.invariant("I7", "I8", "I9")
async def test_a_close_and_a_success_in_the_same_instant_end_paid_or_returned_and_never_both(
    counter: Counter, rows: Rows
) -> None:
    """The merchant is told "closed" only where the money goes back, and "paid" only where it stays."""
    orders = [await counter.order("alipay") for _ in range(12)]
    await rows.execute("UPDATE trade SET state = 'closed'")
    withdrawals = counter.stage.flows.withdrawals
    answers = await asyncio.gather(
        *(withdrawals.close_order(counter.caller, order.order_no) for order in orders),
        *(hear(counter, payment(counter, order)) for order in orders),
        return_exceptions=True,
    )
    for order, told, decision in zip(orders, answers[:12], answers[12:], strict=True):
        state = (await counter.see(order)).state
        if state == "paid":
            assert decision == "complete"
            assert isinstance(told, Refused)
            assert told.code == "order_already_paid"
        else:
            assert state == "closed"
            assert decision == "return_late"
    paid = await rows.fetchval("SELECT count(*) FROM orders WHERE state = 'paid'")
    assert paid + await rows.fetchval("SELECT count(*) FROM refund") == 12
    assert await rows.fetchval("SELECT count(*) FROM order_due") == 0


@pytest.mark.parametrize("channel", CHANNELS)
async def test_a_channel_is_given_no_later_moment_than_the_orders(
    counter: Counter, sandbox: RunningSandbox, channel: str
) -> None:
    order = await counter.order(channel)
    async with calling(sandbox.url) as payer:
        given = datetime.fromisoformat((await payer.trade(order.trades[0].trade_no))["expires_at"])
    assert order.expires_at - timedelta(seconds=1) < given <= order.expires_at


async def test_an_order_lives_as_long_as_its_merchant_says_and_longer_with_a_payer(
    counter: Counter, rows: Rows
) -> None:
    async def life_s(**changes: Any) -> float:
        order = await counter.take(**changes)
        return (order.expires_at - order.created_at).total_seconds()

    with_payer = {"payment": PaymentWish(method=Method.JSAPI, channel="wechat_v3", payer_openid="oUpF8uMuAJO")}
    assert (await life_s(), await life_s(**with_payer)) == (900, 7_200)
    terms = OrderTerms(expires_in_s=300, expires_in_with_payer_s=600)
    await counter.stage.administration.set_terms(counter.merchant.merchant_id, terms, by="Ann")
    # The directory follows the store within its two seconds.
    async with asyncio.timeout(20):
        while await life_s() == 900:
            pass
    assert (await life_s(), await life_s(**with_payer), await life_s(expires_in_s=60)) == (300, 600, 60)
    assert await rows.fetchval("SELECT late_payment FROM merchant") == "complete"


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        (OrderTerms(expires_in_s=59), "expires_in_out_of_range"),
        (OrderTerms(expires_in_with_payer_s=86_401), "expires_in_out_of_range"),
        (OrderTerms(late_payment="keep"), "late_payment_unknown"),
    ],
)
async def test_terms_that_no_channel_keeps_or_nobody_knows_are_refused(
    stage: Stage, terms: OrderTerms, code: str
) -> None:
    merchant = await stage.add_merchant()
    with pytest.raises(Refused, match=rf"^{code}$"):
        await stage.administration.set_terms(merchant.merchant_id, terms, by="Ann")
    with pytest.raises(Refused, match=r"^merchant_unknown$"):
        await stage.administration.set_terms(1_000_000, OrderTerms(), by="Ann")


@pytest.mark.invariant("I6")
async def test_a_held_order_is_not_closed_but_stays_due(counter: Counter, rows: Rows) -> None:
    await counter.order("wechat_v3")
    await rows.execute("UPDATE orders SET hold_reason = 'wrong_amount', hold_since = now()")
    await let_time_pass(rows, minutes=LIFE_MIN)
    async with working(counter.stage):
        await when(rows, "SELECT due_at > now() FROM order_due")
    assert await rows.fetchval("SELECT state FROM orders") == "paying"
    assert await rows.fetchval("SELECT count(*) FROM close_due") == 0


async def test_a_disabled_account_still_ends_its_trades(counter: Counter, rows: Rows, sandbox: RunningSandbox) -> None:
    """An account that takes nothing new must not leave what is in flight for ever payable."""
    order = await counter.order("wechat_v3")
    await rows.execute("UPDATE channel_account SET enabled = FALSE")
    await let_time_pass(rows, minutes=LIFE_MIN)
    async with working(counter.stage), calling(sandbox.url) as channel:
        await when(rows, "SELECT state = 'expired' FROM orders")
        assert (await channel.trade(order.trades[0].trade_no))["state"] == "closed"


@pytest.mark.invariant("I6")
async def test_every_order_that_is_not_final_has_its_due_row_from_intake_to_its_end(
    counter: Counter, rows: Rows, sandbox: RunningSandbox
) -> None:
    async with calling(sandbox.url) as payer:
        refused = await payer.auth_code("wechat_v3", user_paying_s=0.01, user_paying_ends="failed")
        taken = await payer.auth_code("wechat_v3")
    await counter.order()
    paid = await counter.order("wechat_v3", "alipay")
    await counter.charge(refused, wait_s=5)
    await counter.charge(taken, wait_s=5)
    await hear(counter, payment(counter, paid))
    states = {row["state"]: row["count"] for row in await rows.fetch("SELECT state, count(*) FROM orders GROUP BY 1")}
    assert states == {"created": 1, "paying": 1, "paid": 2}
    assert await rows.fetchval(NON_FINAL_WITHOUT_WORK) == 0
    assert await rows.fetchval("SELECT count(*) FROM order_due") == 2
    async with working(counter.stage):
        await let_time_pass(rows, minutes=LIFE_MIN)
        await when(rows, "SELECT count(*) = 0 FROM orders WHERE state IN ('created', 'paying', 'closing')")
    assert await rows.fetchval("SELECT count(*) FROM order_due") == 0
