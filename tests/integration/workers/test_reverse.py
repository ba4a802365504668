"""Charges that nobody answered for are reversed, durably, until the channel confirms: against the sandbox."""

import signal
from collections.abc import Iterator

import asyncpg
import pytest

from budan.core.evidence import Evidence, Outcome, Source
from budan.flows.door import DoorItem
from budan.flows.views import OrderView, PaymentStatus
from integration.sandbox.running import RunningSandbox, calling, start_sandbox
from integration.workers.receivers import receiving
from integration.workers.taking import CHANNELS, Counter, let_time_pass, open_counter
from integration.workers.watching import when
from integration.workers.working import working
from stage import AMOUNT_MINOR, Stage

Rows = asyncpg.Connection
TYPES_FOR_EVER_S = 600


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    running = start_sandbox(tmp_path_factory.mktemp("sandbox"))
    yield running
    assert running.end(by=signal.SIGTERM) == 0


@pytest.fixture
async def counter(stage: Stage, sandbox: RunningSandbox) -> Counter:
    return await open_counter(stage, sandbox.url)


async def charge(counter: Counter, sandbox: RunningSandbox, channel: str, **faults: object) -> OrderView:
    async with calling(sandbox.url) as payer:
        auth_code = await payer.auth_code(channel, **faults)
    return await counter.charge(auth_code, wait_s=0.5)


async def hear_paid(counter: Counter, order: OrderView) -> str:
    """The notice of a payment that a reverse overtook."""
    trade = order.trades[0]
    evidence = Evidence(
        trade_no=trade.trade_no,
        account_id=counter.account_ids[trade.channel],
        outcome=Outcome.PAID,
        source=Source.NOTICE,
        learned_at=counter.stage.opened.clock.now(),
        order_minor=AMOUNT_MINOR,
        currency="CNY",
    )
    return (await counter.stage.flows.door.record(DoorItem(evidence=evidence))).decision


async def balance(rows: Rows) -> dict[str, int]:
    """What is left on each account."""
    found = await rows.fetch(
        "SELECT account, sum(amount_minor)::bigint AS left FROM posting GROUP BY 1 HAVING sum(amount_minor) <> 0"
    )
    return {row["account"]: row["left"] for row in found}


@pytest.mark.invariant("I5", "I7")
async def test_a_charge_whose_payer_never_ends_typing_is_reversed_and_the_shop_is_told(
    stage: Stage, rows: Rows, sandbox: RunningSandbox
) -> None:
    async with receiving() as receiver, working(stage, allowed=[receiver.authority]):
        counter = await open_counter(stage, sandbox.url, webhook_url=receiver.url())
        order = await charge(counter, sandbox, "alipay", user_paying_s=TYPES_FOR_EVER_S)
        assert order.payment_status is PaymentStatus.PENDING
        await let_time_pass(rows, minutes=1)
        await receiver.wait_for_count(1)
    told = receiver.received[0].event
    assert (told["type"], told["data"]["state"]) == ("order.closed", "closed")
    assert told["data"]["trade_no"] == order.trades[0].trade_no
    assert tuple(await rows.fetchrow("SELECT state, told_unpaid FROM orders") or ()) == ("closed", True)
    assert await rows.fetchval("SELECT state FROM trade") == "reversed"
    assert (await counter.see(order)).payment_status is PaymentStatus.UNPAID
    async with calling(sandbox.url) as channel:
        assert (await channel.trade(order.trades[0].trade_no))["state"] == "closed"
    assert await rows.fetchval("SELECT count(*) FROM order_due") == 0
    await when(rows, "SELECT count(*) = 0 FROM close_due")


@pytest.mark.invariant("I6")
async def test_a_charge_is_left_alone_while_its_payer_has_time(
    counter: Counter, rows: Rows, sandbox: RunningSandbox
) -> None:
    await charge(counter, sandbox, "alipay", user_paying_s=TYPES_FOR_EVER_S)
    left_s = await rows.fetchval("SELECT extract(epoch FROM due_at - clock_timestamp())::float FROM order_due")
    assert 35 < left_s <= 45
    await rows.execute("UPDATE order_due SET due_at = now()")
    async with working(counter.stage):
        await when(rows, "SELECT due_at > now() + interval '30 s' FROM order_due")
    assert await rows.fetchval("SELECT state FROM trade") == "user_paying"
    assert await rows.fetchval("SELECT count(*) FROM close_due") == 0


@pytest.mark.invariant("I7")
@pytest.mark.parametrize("channel", CHANNELS)
async def test_money_that_is_there_completes_the_order_instead_of_being_reversed(
    counter: Counter, rows: Rows, sandbox: RunningSandbox, channel: str
) -> None:
    """The answer to the charge was lost, and so was every question since."""
    order = await charge(counter, sandbox, channel, timeout_after_charge=True)
    await rows.execute("UPDATE query_due SET due_at = now() + interval '1 hour'")
    await let_time_pass(rows, minutes=1)
    async with working(counter.stage):
        await when(rows, "SELECT state = 'paid' FROM orders")
        await when(rows, "SELECT count(*) = 0 FROM close_due")
    assert (await counter.see(order)).payment_status is PaymentStatus.PAID
    assert await rows.fetchval("SELECT cause FROM remedy") == "reply_missing"


@pytest.mark.invariant("I8", "I11")
async def test_a_reverse_whose_worker_died_after_the_intent_is_done_by_the_next_and_returns_the_money(
    counter: Counter, rows: Rows, sandbox: RunningSandbox
) -> None:
    """The intent is committed, the payer pays, and only then does the reverse leave: both are booked, and nothing is due."""
    order = await charge(counter, sandbox, "alipay", user_paying_s=0.5)
    async with calling(sandbox.url) as channel:
        await begin_reverse(counter, rows)
        await channel.trade_when(order.trades[0].trade_no, lambda trade: trade["state"] == "paid")
        async with working(counter.stage):
            await when(rows, "SELECT state = 'reversed' FROM trade")
        assert (await channel.trade(order.trades[0].trade_no))["state"] == "returned"
    assert (await counter.see(order)).state == "closed"
    assert await rows.fetchval("SELECT count(*) FROM posting") == 4
    assert await balance(rows) == {}
    assert await hear_paid(counter, order) == "already_returned"
    assert await balance(rows) == {}
    assert (await counter.see(order)).payment_status is PaymentStatus.UNPAID


@pytest.mark.invariant("I8")
async def test_a_success_that_is_heard_after_a_reverse_that_did_not_tell_of_money_books_both(
    counter: Counter, rows: Rows, sandbox: RunningSandbox
) -> None:
    order = await charge(counter, sandbox, "alipay", user_paying_s=TYPES_FOR_EVER_S)
    await begin_reverse(counter, rows)
    async with working(counter.stage):
        await when(rows, "SELECT state = 'reversed' FROM trade")
    assert await rows.fetchval("SELECT count(*) FROM posting") == 0
    assert await hear_paid(counter, order) == "book_returned"
    assert await rows.fetchval("SELECT count(*) FROM posting") == 4
    assert await balance(rows) == {}
    assert (await counter.see(order)).state == "closed"


async def test_a_cancel_that_is_put_off_by_its_channel_is_repeated(
    counter: Counter, rows: Rows, sandbox: RunningSandbox
) -> None:
    order = await charge(counter, sandbox, "alipay", user_paying_s=TYPES_FOR_EVER_S, retry_cancel=True)
    await begin_reverse(counter, rows)
    async with working(counter.stage):
        await when(rows, "SELECT attempts = 1 FROM close_due")
        assert await rows.fetchval("SELECT state FROM trade") == "reversing"
        assert await rows.fetchval("SELECT due_at > now() + interval '3 s' FROM close_due")
        await rows.execute("UPDATE close_due SET due_at = now()")
        await when(rows, "SELECT state = 'reversed' FROM trade")
    assert (await counter.see(order)).state == "closed"


async def test_wechats_reverse_leaves_no_sooner_than_it_may(
    counter: Counter, rows: Rows, sandbox: RunningSandbox
) -> None:
    """WeChat refuses a reverse in the first 15 s; ours waits for its time, and what is refused all the same is repeated."""
    order = await charge(counter, sandbox, "wechat_v3", user_paying_s=TYPES_FOR_EVER_S)
    await begin_reverse(counter, rows)
    async with working(counter.stage):
        await when(
            rows,
            "SELECT c.due_at = t.created_at + interval '15 s' FROM close_due AS c JOIN trade AS t USING (order_id)",
        )
        assert await rows.fetchval("SELECT attempts FROM close_due") == 0
        # By our clock it is time; by the channel's it is not.
        await let_time_pass(rows, minutes=1)
        await when(rows, "SELECT attempts = 1 FROM close_due")
        assert await rows.fetchval("SELECT state FROM trade") == "reversing"
    async with calling(sandbox.url) as channel:
        assert (await channel.trade(order.trades[0].trade_no))["state"] == "typing"
    assert (await counter.see(order)).payment_status is PaymentStatus.PENDING


@pytest.mark.invariant("I5")
async def test_a_charge_that_never_arrived_ends_after_its_send_window_by_an_answered_reverse_and_one_more_query(
    counter: Counter, rows: Rows, sandbox: RunningSandbox
) -> None:
    """An answer "no such trade" counts only when nothing can arrive any more."""
    await charge(counter, sandbox, "alipay", timeout_before_charge=True)
    await rows.execute("UPDATE query_due SET due_at = now() + interval '1 hour'")
    await let_time_pass(rows, minutes=1)
    async with working(counter.stage):
        await when(rows, "SELECT attempts >= 1 FROM close_due")
        assert tuple(await rows.fetchrow("SELECT state, not_found_count FROM trade") or ()) == ("reversing", 0)
        await let_time_pass(rows, minutes=3)
        await when(rows, "SELECT state = 'failed' FROM trade")
    assert await rows.fetchval("SELECT state FROM orders") == "closed"
    assert await rows.fetchval("SELECT not_found_count FROM trade") == 2


@pytest.mark.invariant("I7", "I9")
async def test_a_payment_that_can_no_longer_be_reversed_is_a_late_one_and_goes_back(
    counter: Counter, rows: Rows, sandbox: RunningSandbox
) -> None:
    """Alipay cancels for 24 hours; the shop was told "not paid", so the money is refunded."""
    order = await charge(counter, sandbox, "wechat_v3", timeout_after_charge=True)
    await begin_reverse(counter, rows)
    # WeChat says "not now" for ever once seven days are over: to this sandbox the charge is too young instead.
    await let_time_pass(rows, minutes=8 * 24 * 60)
    async with working(counter.stage):
        await when(rows, "SELECT state = 'succeeded' FROM trade")
        await when(rows, "SELECT count(*) = 0 FROM close_due")
    assert tuple(await rows.fetchrow("SELECT reason, amount_minor FROM refund") or ()) == ("late_payment", AMOUNT_MINOR)
    assert (await counter.see(order)).payment_status is PaymentStatus.UNPAID


@pytest.mark.invariant("I7")
async def test_a_held_charge_is_not_reversed_before_a_person_has_decided(
    counter: Counter, rows: Rows, sandbox: RunningSandbox
) -> None:
    await charge(counter, sandbox, "alipay", user_paying_s=TYPES_FOR_EVER_S)
    await let_time_pass(rows, minutes=1)
    await rows.execute("INSERT INTO close_due SELECT lane, order_id, attempt, now() FROM trade")
    await rows.execute("UPDATE orders SET hold_reason = 'wrong_amount', hold_since = now()")
    async with working(counter.stage):
        await when(rows, "SELECT attempts = 1 AND due_at > now() FROM close_due")
    assert await rows.fetchval("SELECT state FROM trade") == "user_paying"


@pytest.mark.invariant("I7", "I8")
async def test_a_cancel_that_returned_money_is_not_undone_by_the_success_notice(
    stage: Stage, rows: Rows, sandbox: RunningSandbox
) -> None:
    """The shop cancels while the payer's money is already there and the answer to the charge was lost."""
    async with receiving() as receiver, working(stage, allowed=[receiver.authority]):
        counter = await open_counter(stage, sandbox.url, webhook_url=receiver.url())
        order = await charge(counter, sandbox, "alipay", timeout_after_charge=True)
        cancelled = await stage.flows.withdrawals.cancel_charge(counter.caller, order.order_no)
        assert cancelled.trades[0].state in {"reversing", "reversed"}
        await receiver.wait_for_count(1)
        async with calling(sandbox.url) as channel:
            assert (await channel.trade(order.trades[0].trade_no))["state"] == "returned"
        assert await hear_paid(counter, order) == "already_returned"
        again = await stage.flows.withdrawals.cancel_charge(counter.caller, order.order_no)
    assert (again.state, again.payment_status) == ("closed", PaymentStatus.UNPAID)
    assert [one.event["type"] for one in receiver.received] == ["order.payment_returned"]
    assert await rows.fetchval("SELECT count(*) FROM posting") == 4
    assert await balance(rows) == {}


async def begin_reverse(counter: Counter, rows: Rows) -> None:
    """Commit the intent to reverse the only charge there is, and nothing more."""
    trade = await rows.fetchrow("SELECT lane, order_id, attempt, clock_timestamp() AS now FROM trade")
    assert trade is not None
    await counter.stage.flows.closing.begin_reverse(
        (trade["lane"], trade["order_id"]), trade["attempt"], reverse_at=trade["now"]
    )
