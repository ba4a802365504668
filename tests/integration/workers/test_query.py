"""Questions asked over HTTP of the sandbox, which lost the notices on purpose."""

import signal
from collections.abc import Iterator
from datetime import timedelta

import asyncpg
import pytest

from budan.cli.sandbox_account import add_sandbox_account
from budan.core.pace import UNKNOWN_AGES_S
from budan.flows.views import Caller, CreateOrder, PaymentWish
from budan.ports.channel import Method
from integration.sandbox.running import RunningSandbox, calling, start_sandbox
from integration.workers.receivers import receiving
from integration.workers.watching import when
from integration.workers.working import working
from stage import AMOUNT_MINOR, Stage, StagedMerchant

Rows = asyncpg.Connection


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    running = start_sandbox(tmp_path_factory.mktemp("sandbox"))
    yield running
    assert running.end(by=signal.SIGTERM) == 0


def wish(merchant: StagedMerchant, *, channel: str) -> CreateOrder:
    return CreateOrder(
        caller=Caller(merchant_id=merchant.merchant_id, lane=merchant.lane),
        reference="first",
        amount_minor=AMOUNT_MINOR,
        currency="CNY",
        subject="tea",
        request_digest=bytes(32),
        payment=PaymentWish(method=Method.NATIVE, channel=channel),
    )


@pytest.mark.invariant("I6", "I12")
@pytest.mark.parametrize("channel", ["wechat_v3", "alipay"])
async def test_a_payment_whose_notice_was_lost_is_found_told_and_marked(
    stage: Stage, rows: Rows, sandbox: RunningSandbox, channel: str
) -> None:
    account_id, _ = await add_sandbox_account(
        stage.administration, sandbox.url, channel=channel, name="account", by="Ann"
    )
    async with receiving() as receiver, working(stage, allowed=[receiver.authority]), calling(sandbox.url) as payer:
        merchant = await stage.add_merchant(webhook_url=receiver.url(), account_id=account_id)
        order = await stage.flows.payments.create_order(wish(merchant, channel=channel))
        (trade,) = order.trades
        assert trade.state == "submitted"
        await payer.pay(trade_no=trade.trade_no, faults={"drop_notice": True})
        await rows.execute("UPDATE query_due SET due_at = now()")
        await receiver.wait_for_count(1)
        await when(rows, "SELECT count(*) = 0 FROM query_due")
    assert receiver.received[0].verify(merchant.webhook_secret or "")["data"]["order_no"] == order.order_no
    learned = await rows.fetchrow("SELECT state, learned_source FROM orders")
    assert learned
    assert tuple(learned) == ("paid", "query")
    remedy = await rows.fetchrow("SELECT cause, learned_source, completed_at >= paid_at AS later FROM remedy")
    assert remedy
    assert tuple(remedy) == ("notice_missing", "query", True)


@pytest.mark.invariant("I6")
async def test_an_unpaid_order_is_asked_about_ever_more_rarely_as_it_ages(
    stage: Stage, rows: Rows, sandbox: RunningSandbox
) -> None:
    account_id, _ = await add_sandbox_account(
        stage.administration, sandbox.url, channel="wechat_v3", name="account", by="Ann"
    )
    merchant = await stage.add_merchant(account_id=account_id)
    await stage.flows.payments.create_order(wish(merchant, channel="wechat_v3"))
    assert await rows.fetchval("SELECT due_at - created_at FROM query_due JOIN trade USING (lane, order_id)") == (
        timedelta(seconds=UNKNOWN_AGES_S[0])
    )
    async with working(stage):
        for attempts, (age_s, next_s) in enumerate([(1, 3), (7, 11), (60, 89.2), (600, 659.2)], start=1):
            await rows.execute("UPDATE trade SET created_at = now() - make_interval(secs => $1)", age_s)
            await rows.execute("UPDATE query_due SET due_at = now()")
            await when(rows, "SELECT attempts = $1 FROM query_due", attempts)
            due_age_s = await rows.fetchval(
                "SELECT extract(epoch FROM due_at - created_at)::float FROM query_due JOIN trade USING (lane, order_id)"
            )
            # The order is some moments older when it is asked about.
            assert next_s <= due_age_s < next_s + 2
    assert await rows.fetchval("SELECT asked_count FROM trade") == 4


async def test_an_account_that_cannot_be_reached_stays_asked_about(stage: Stage, rows: Rows) -> None:
    merchant = await stage.add_merchant()
    await stage.add_order(merchant, query_in_s=0)
    async with working(stage):
        await when(rows, "SELECT due_at > clock_timestamp() + interval '2 s' FROM query_due")
    assert await rows.fetchval("SELECT state FROM trade") == "created"
