"""A channel that lies, through the real adapters over HTTP, and what two persons do about it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import msgspec
import pytest

from budan.cli.sandbox_account import add_sandbox_account
from budan.cli.wiring import operator_flows
from budan.core.errors import Refused
from budan.core.evidence import Evidence, Outcome, Source
from budan.core.numbers import AccountId
from budan.core.refund import RefundEvidence, RefundOutcome
from budan.flows.administering import Administration, MerchantWish
from budan.flows.door import DoorItem
from budan.flows.holding import Resolution
from budan.flows.refund_door import RefundItem
from budan.flows.views import OrderView, PaymentWish
from budan.flows.wired import OperatorFlows
from budan.ports.channel import Method
from integration.flows.conftest import House
from integration.flows.test_payments import a_charge, a_wish
from integration.sandbox.running import calling

# The sandbox types no longer.
TYPES_FOR_EVER_S = 600.0
CHANNELS = pytest.mark.parametrize("channel", ["wechat_v3", "alipay"])


async def paid_at_channel(house: House, channel: str = "wechat_v3", **faults: Any) -> OrderView:
    """An order that its payer has paid; its notice is lost, and the channel lies as `faults` say."""
    wish = a_wish(house, payment=PaymentWish(method=Method.NATIVE, channel=channel))
    order = await house.flows.payments.create_order(wish)
    async with calling(house.sandbox.url) as caller:
        await caller.pay(code_text=order.trades[0].qr_text, faults={"drop_notice": True, **faults})
    return order


async def ask(house: House, order: OrderView) -> str:
    """Every due question is asked; gives the order's state after it."""
    lanes = [house.caller.lane]
    connection = await asyncpg.connect(house.dsn)
    await connection.execute("UPDATE query_due SET due_at = now()")
    await connection.close()
    for due in await house.flows.questions.list_due(lanes=lanes, accounts_left_out=[], rows_max=10):
        await house.flows.questions.ask_due(due)
    return (await house.flows.reading.get_order(house.caller, order.order_no)).state


async def rows(house: House, statement: str) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(house.dsn)
    try:
        return [tuple(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


def persons(house: House) -> OperatorFlows:
    return operator_flows(house.opened, house.flows)


async def release(house: House, order: OrderView, **wish: Any) -> Any:
    wanted = {"accept": False, "resolution": None} | wish
    holds = persons(house).holds
    proposed = await holds.propose_release(order.order_no, by="Ann", reason="asked the channel", **wanted)
    return await holds.confirm_release(order.order_no, by="Bob", act=proposed.act)


@pytest.mark.invariant("I4")
@CHANNELS
async def test_a_query_that_answers_with_another_amount_completes_nothing(house: House, channel: str) -> None:
    order = await paid_at_channel(house, channel, amount_off_minor=-80)
    assert await ask(house, order) == "paying"
    assert await rows(house, "SELECT hold_reason FROM orders") == [("wrong_amount",)]
    assert await rows(house, "SELECT amount_minor FROM posting WHERE account = 'suspense'") == [(-1200,)]
    # The channel, asked afresh by the release, still says so.
    with pytest.raises(Refused, match="order_still_contradicted"):
        await release(house, order, resolution=Resolution.RETURNED)
    released = await release(house, order, accept=True, resolution=Resolution.RETURNED)
    assert [one.mismatch for one in released.accepted] == ["wrong_amount"]
    assert await rows(house, "SELECT sum(amount_minor) FROM posting WHERE account = 'suspense'") == [(0,)]
    # The ladder goes on and hears the same once more: that holds nothing again, and ends the trade, or its order would be
    # asked about and stay open for ever.
    assert await ask(house, order) == "paying"
    assert await rows(house, "SELECT hold_reason FROM orders") == [(None,)]
    assert await rows(house, "SELECT state, paid_at, payer_minor FROM trade") == [("closed", None, None)]
    assert await rows(house, "SELECT attempts, needs_person FROM query_due") == [(0, False)]
    closed = await house.flows.withdrawals.close_order(house.caller, order.order_no)
    assert (closed.state, await rows(house, "SELECT count(*) FROM order_due")) == ("closed", [(0,)])


@pytest.mark.invariant("I4", "I5")
@CHANNELS
async def test_a_query_that_answers_about_another_merchant_says_nothing(house: House, channel: str) -> None:
    order = await paid_at_channel(house, channel, wrong_merchant=True)
    assert await ask(house, order) == "paying"
    assert await rows(house, "SELECT state FROM trade") == [("unknown",)]
    assert await rows(house, "SELECT count(*) FROM evidence") == [(0,)]


@pytest.mark.invariant("I5", "I6")
@CHANNELS
async def test_a_query_from_before_the_payment_ends_nothing(house: House, channel: str) -> None:
    order = await paid_at_channel(house, channel, stale_query_s=2.0)
    assert await ask(house, order) == "paying"
    for _ in range(200):
        if await ask(house, order) == "paid":
            break
    assert await rows(house, "SELECT state, hold_reason, learned_source FROM orders") == [("paid", None, "query")]


@pytest.mark.invariant("I4")
async def test_a_denial_is_cleared_when_the_channel_asked_afresh_says_paid(house: House) -> None:
    """A replica that lagged said "not paid" of a payment that stands: nobody has to accept anything."""
    order = await paid_at_channel(house)
    assert await ask(house, order) == "paid"
    denial = Evidence(
        trade_no=order.trades[0].trade_no,
        account_id=AccountId(house.account_ids["wechat_v3"]),
        outcome=Outcome.UNPAID_FINAL,
        source=Source.QUERY,
        learned_at=house.opened.clock.now(),
    )
    await house.flows.door.record(DoorItem(evidence=denial))
    assert await rows(house, "SELECT state, hold_reason FROM orders") == [("paid", "payment_denied")]
    released = await release(house, order)
    assert [one.mismatch for one in released.cleared] == ["payment_denied"]
    assert await rows(house, "SELECT state, hold_reason FROM orders") == [("paid", None)]
    assert await rows(house, "SELECT how FROM settled_contradiction") == [("cleared",)]


@pytest.mark.invariant("I6", "I9")
async def test_a_denial_that_nobody_accepted_ends_no_reverse_whose_payment_was_seen(house: House) -> None:
    """The replica lags on after the release: the payment still waits for the reverse, and is still asked about."""
    async with calling(house.sandbox.url) as caller:
        code = await caller.auth_code("wechat_v3", user_paying_s=0.5)
    order = await house.flows.payments.charge(a_charge(house, code, wait_s=0.1))
    ((lane, order_id, now),) = await rows(house, "SELECT lane, order_id, clock_timestamp() FROM trade")
    await house.flows.closing.begin_reverse((lane, order_id), 1, reverse_at=now)
    for _ in range(200):
        await ask(house, order)
        if await rows(house, "SELECT state, paid_seen FROM trade") == [("reversing", True)]:
            break
    denial = Evidence(
        trade_no=order.trades[0].trade_no,
        account_id=AccountId(house.account_ids["wechat_v3"]),
        outcome=Outcome.UNPAID_FINAL,
        source=Source.QUERY,
        learned_at=now,
        asked_at=now,
    )
    await house.flows.door.record(DoorItem(evidence=denial))
    assert await rows(house, "SELECT hold_reason FROM orders") == [("payment_denied",)]
    assert [one.mismatch for one in (await release(house, order)).cleared] == ["payment_denied"]
    again = replace(denial, asked_at=now + timedelta(hours=1))
    assert (await house.flows.door.record(DoorItem(evidence=again, asked_attempts=1))).decision == "payment_denied"
    assert await rows(house, "SELECT state, hold_reason FROM orders") == [("paying", None)]
    assert await rows(house, "SELECT state, paid_seen FROM trade") == [("reversing", True)]
    assert await rows(house, "SELECT count(*) FROM query_due") == [(1,)]
    assert await rows(house, "SELECT count(*) FROM close_due") == [(1,)]


@pytest.mark.invariant("I4")
async def test_an_answer_from_before_persons_accepted_ends_no_trade(house: House) -> None:
    """A kept row may be taken to the door long after: only what is asked since is the channel's last word."""
    order = await paid_at_channel(house, amount_off_minor=-80)
    ((before,),) = await rows(house, "SELECT clock_timestamp()")
    await ask(house, order)
    await release(house, order, accept=True, resolution=Resolution.RETURNED)
    ((statement,),) = await rows(house, "SELECT statement::text FROM contradiction")
    told = replace(msgspec.json.decode(statement, type=Evidence), asked_at=before)
    await house.flows.door.record(DoorItem(evidence=told))
    assert await rows(house, "SELECT state FROM trade") == [("submitted",)]
    ((since,),) = await rows(house, "SELECT clock_timestamp()")
    await house.flows.door.record(DoorItem(evidence=replace(told, asked_at=since)))
    assert await rows(house, "SELECT state FROM trade") == [("closed",)]


@pytest.mark.invariant("I4")
async def test_what_is_said_of_a_refund_is_accepted_by_persons_and_never_cleared_by_the_payment(house: House) -> None:
    """That the order was paid says nothing of the money that went back; a repeat of what was judged holds no more."""
    order = await paid_at_channel(house)
    assert await ask(house, order) == "paid"
    told = RefundEvidence(
        refund_no="PORTAL1",
        trade_no=order.trades[0].trade_no,
        account_id=AccountId(house.account_ids["wechat_v3"]),
        outcome=RefundOutcome.SUCCEEDED,
        source=Source.NOTICE,
        learned_at=house.opened.clock.now(),
        amount_minor=order.amount_minor + 1,
        currency="CNY",
    )
    refund_door = house.flows.refund_door
    assert (await refund_door.record(RefundItem(evidence=told))).decision == "wrong_amount"
    assert await rows(house, "SELECT hold_reason FROM orders") == [("wrong_amount",)]
    with pytest.raises(Refused, match="order_still_contradicted"):
        await release(house, order)
    released = await release(house, order, accept=True)
    assert ([one.mismatch for one in released.accepted], released.cleared) == (["wrong_amount"], ())
    await refund_door.record(RefundItem(evidence=told))
    assert await rows(house, "SELECT hold_reason FROM orders") == [(None,)]
    assert await rows(house, "SELECT count(*) FROM refund") == [(0,)]
    await refund_door.record(RefundItem(evidence=replace(told, refund_no="PORTAL2")))
    assert await rows(house, "SELECT hold_reason FROM orders") == [("wrong_amount",)]


@pytest.mark.invariant("I4")
async def test_a_persons_word_is_refused_while_the_channel_answers_and_its_answer_counts(house: House) -> None:
    order = await paid_at_channel(house)
    word = {"by": "Ann", "reason": "I saw it", "outcome": "unpaid", "channel_reference": None, "paid_at": None}
    with pytest.raises(Refused, match="channel_answers"):
        await persons(house).testimony.propose(order.trades[0].trade_no, **word)
    assert await rows(house, "SELECT state, learned_source FROM orders") == [("paid", "query")]
    assert await rows(house, "SELECT count(*) FROM operator_act") == [(0,)]


@pytest.mark.invariant("I4")
async def test_a_signed_answer_that_settles_nothing_yet_is_an_answer_all_the_same(house: House) -> None:
    """IPaynow says A004 while the payer types: the trade is unknown, and the channel is there to be asked again."""
    administration = Administration(
        database=house.opened.database,
        environment=house.settings.environment,
        box=house.opened.keys.box,
        lanes=house.opened.lanes,
    )
    account_id, _ = await add_sandbox_account(
        administration, house.sandbox.url, channel="ipaynow", name="ipaynow", by="Ann"
    )
    wish = MerchantWish(
        name="Kiosk",
        webhook_url=None,
        account_ids=(account_id,),
        rates_bp={"ipaynow": 60},
        with_key=False,
        with_shop=False,
    )
    (merchant,) = await administration.add_merchants([wish], by="Ann")
    async with calling(house.sandbox.url) as caller:
        code = await caller.auth_code("wechat_v3", user_paying_s=TYPES_FOR_EVER_S)
    order = await house.flows.payments.charge(
        a_charge(replace(house, merchant=merchant), code, wait_s=1.0),
    )
    word = {"by": "Ann", "reason": "nobody answers", "outcome": "unpaid", "channel_reference": None, "paid_at": None}
    with pytest.raises(Refused, match="channel_answers"):
        await persons(house).testimony.propose(order.trades[0].trade_no, **word)
    assert await rows(house, "SELECT state, answered_at IS NULL FROM trade") == [("unknown", False)]
    assert await rows(house, "SELECT count(*) FROM operator_act") == [(0,)]


@pytest.mark.invariant("I4", "I5")
async def test_a_channel_that_is_down_lets_a_word_be_proposed_and_moves_nothing_itself(house: House) -> None:
    order = await paid_at_channel(house)
    word = {"by": "Ann", "reason": "the bank shows nothing", "outcome": "unpaid", "channel_reference": None}
    async with calling(house.sandbox.url) as caller:
        await caller.admin("PUT", "/sandbox/weather", {"down": True})
        try:
            proposed = await persons(house).testimony.propose(order.trades[0].trade_no, **word, paid_at=None)
        finally:
            await caller.admin("PUT", "/sandbox/weather", {})
    assert await rows(house, "SELECT state FROM trade") == [("unknown",)]
    # It is back: its word counts, and the proposal is dead.
    await rows(house, "UPDATE operator_act SET acted_at = acted_at - interval '1 hour' RETURNING ordinal")
    with pytest.raises(Refused, match="channel_answers"):
        await persons(house).testimony.confirm(order.trades[0].trade_no, by="Bob", act=proposed.act)
    assert await rows(house, "SELECT state, learned_source FROM orders") == [("paid", "query")]
