import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from secrets import token_hex
from typing import Any

import msgspec
import pytest

from budan.core.errors import Refused
from budan.core.evidence import Outcome
from budan.core.fees import FeeTerms
from budan.core.numbers import AccountId, Environment
from budan.flows.asking import Questions
from budan.flows.calling import ChannelCalls
from budan.flows.choosing import Chooser
from budan.flows.directory import Directory
from budan.flows.ids import IdSource
from budan.flows.intake import OrderIntake
from budan.flows.intents import IntentMaker
from budan.flows.paying import Charging, Payments
from budan.flows.reading import Reading
from budan.flows.views import Caller, ChargeOrder, CreateOrder, PaymentWish
from budan.ports.channel import (
    Ack,
    Call,
    Capabilities,
    ChannelAccount,
    CreateResult,
    EndResult,
    Method,
    Notice,
    PayAction,
    PayResult,
    RawNotice,
    RefundIntent,
    RefundRef,
    RefundResult,
    TradeIntent,
    TradeRef,
)
from budan.store import directory as stored
from budan.store.accounts import allow_account
from budan.store.rates import set_rate
from integration.flows.platform_side import Accounts, MovingClock
from integration.flows.standing import LANES, WAIT_S, Till

CODE = "130000000000000001"
WINDOW = timedelta(seconds=30)
CAPABILITIES = Capabilities(
    wallets=frozenset({"wechat"}),
    methods=frozenset(Method),
    auth_code_pattern="13[0-9]{16}",
    close=True,
    reverse=True,
    send_window=WINDOW,
    call_timeout=timedelta(seconds=5),
    refund=True,
    refund_window=None,
    refund_spacing=timedelta(0),
)

SILENCE = PayResult(outcome=Outcome.UNKNOWN, trade_no="")


@dataclass(slots=True)
class PausingChannel:
    """Another implementation of the port: a channel that answers when the test lets it, and says what it was asked."""

    asked: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    calls: list[Call] = field(default_factory=list[Call])
    intents: list[TradeIntent] = field(default_factory=list[TradeIntent])
    meanwhile: Callable[[], None] = lambda: None
    answer: PayResult = SILENCE
    capabilities: Capabilities = CAPABILITIES

    async def create(self, intent: TradeIntent, *, call: Call) -> CreateResult:
        self.intents.append(intent)
        result = await self._answer(intent.trade_no, call)
        is_placed = result.outcome is Outcome.UNPAID_OPEN and result.sent
        return CreateResult(result=result, action=PayAction(qr_text="weixin://x") if is_placed else None)

    async def charge(self, intent: TradeIntent, *, auth_code: str, call: Call) -> PayResult:
        assert auth_code == CODE
        self.intents.append(intent)
        return await self._answer(intent.trade_no, call)

    async def query(self, ref: TradeRef, *, call: Call) -> PayResult:
        return await self._answer(ref.trade_no, call)

    async def close(self, ref: TradeRef, *, call: Call) -> EndResult:
        raise NotImplementedError

    async def reverse(self, ref: TradeRef, *, call: Call) -> EndResult:
        raise NotImplementedError

    async def refund(self, intent: RefundIntent, *, call: Call) -> RefundResult:
        raise NotImplementedError

    async def query_refund(self, ref: RefundRef, *, call: Call) -> RefundResult:
        raise NotImplementedError

    def parse_notice(self, notice: RawNotice, *, now: object) -> Notice:
        raise NotImplementedError

    def acknowledge(self, *, accepted: bool) -> Ack:
        raise NotImplementedError

    async def _answer(self, trade_no: str, call: Call) -> PayResult:
        self.calls.append(call)
        self.asked.release()
        await self.turns.acquire()
        self.meanwhile()
        return msgspec.structs.replace(self.answer, trade_no=trade_no)

    async def was_asked(self) -> None:
        await asyncio.wait_for(self.asked.acquire(), WAIT_S)

    def let_all_go(self) -> None:
        for _ in range(100):
            self.turns.release()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """A merchant whose one account is a pausing channel, and the flows that serve him."""

    till: Till
    channel: PausingChannel
    clock: MovingClock
    payments: Payments
    questions: Questions
    caller: Caller

    def wish(self, **changes: Any) -> CreateOrder:
        fields = {
            "caller": self.caller,
            "reference": f"ref-{token_hex(6)}",
            "amount_minor": 1_000,
            "currency": "CNY",
            "subject": "Latte",
            "request_digest": bytes(32),
            "payment": PaymentWish(method=Method.NATIVE),
        }
        return CreateOrder(**(fields | changes))

    async def create(self) -> object:
        return await self.payments.create_order(self.wish(idempotency_key="k"))

    async def start(self) -> object:
        order = await self.payments.create_order(self.wish(payment=None))
        return await self.payments.start_payment(self.caller, order.order_no, PaymentWish(method=Method.NATIVE))

    async def charge(self) -> object:
        wish = self.wish(payment=None, idempotency_key="k")
        charge = ChargeOrder(order=wish, auth_code=CODE, device_id="P", device_ip="127.0.0.1", wait_s=1)
        return await self.payments.charge(charge)

    async def charge_again(self) -> object:
        order = await self.payments.create_order(self.wish(payment=None))
        charging = Charging(auth_code=CODE, device_id="P", device_ip="127.0.0.1", wait_s=1)
        return await self.payments.charge_again(self.caller, order.order_no, charging)


@asynccontextmanager
async def open_shop(till: Till) -> AsyncIterator[Shop]:
    channel, clock = PausingChannel(), MovingClock()
    async with till.database.transaction() as transaction:
        account_id = await stored.add_account(transaction, channel="wechat_v3", name="w", settings={})
        await allow_account(transaction, merchant_id=till.merchant_id, account_id=account_id, priority=0, methods=None)
        await set_rate(
            transaction,
            merchant_id=till.merchant_id,
            channel="wechat_v3",
            shop_id=None,
            method=None,
            effective_from=None,
            terms=FeeTerms(rate_bp=60),
            set_by=None,
        )
    account = ChannelAccount(
        account_id=account_id, channel="wechat_v3", name="w", enabled=True, adapter=channel, takes_new=lambda: True
    )
    accounts = Accounts({AccountId(account_id): account})
    environment, database = Environment.LOCAL, till.database
    ids = IdSource(database=database, clock=clock)
    await ids.start()
    intents = IntentMaker(environment=environment, public_url="http://127.0.0.1:8080", healths=till.healths)
    reading = Reading(database=database, environment=environment)
    calls = ChannelCalls(accounts=accounts, door=till.door, clock=clock, healths=till.healths)
    directory = Directory(database=database, environment=environment, clock=clock)
    async with OrderIntake(database=database, ids=ids, intents=intents) as intake:
        payments = Payments(
            database=database,
            environment=environment,
            clock=clock,
            directory=directory,
            chooser=Chooser(directory=directory, accounts=accounts),
            intake=intake,
            intents=intents,
            calls=calls,
            reading=reading,
        )
        async with payments:
            yield Shop(
                till=till,
                channel=channel,
                clock=clock,
                payments=payments,
                questions=Questions(
                    database=database,
                    environment=environment,
                    clock=clock,
                    calls=calls,
                    reading=reading,
                    healths=till.healths,
                ),
                caller=Caller(merchant_id=till.merchant_id, lane=till.lane),
            )


@pytest.fixture
async def shop(till: Till) -> AsyncIterator[Shop]:
    async with open_shop(till) as opened:
        yield opened


async def sessions(till: Till) -> set[str]:
    """What our own sessions do just now."""
    rows = await till.rows(
        """
        SELECT state FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'budan'
        """
    )
    return {state for (state,) in rows}


ACTS: dict[str, Callable[[Shop], Awaitable[object]]] = {
    "create": Shop.create,
    "start": Shop.start,
    "charge": Shop.charge,
    "charge_again": Shop.charge_again,
}


@pytest.mark.invariant("I11")
@pytest.mark.parametrize("act", ACTS)
async def test_the_intent_is_committed_and_no_transaction_is_open_while_the_channel_thinks(
    shop: Shop, act: str
) -> None:
    """A lock held while a stranger thinks is what stopped the old platform; an intent not yet written is lost money."""
    acting = asyncio.ensure_future(ACTS[act](shop))
    await shop.channel.was_asked()
    assert await sessions(shop.till) == {"idle"}
    assert await shop.till.rows("SELECT state, intent->>'trade_no' FROM trade") == [
        ("created", shop.channel.intents[0].trade_no)
    ]
    assert await shop.till.rows("SELECT state FROM orders") == [("paying",)]
    assert await shop.till.count("query_due") == 1
    shop.channel.let_all_go()
    await asyncio.wait_for(acting, WAIT_S)
    # A charge's answer is recorded even when its caller did not wait for it.
    await asyncio.gather(*shop.payments._charges)
    assert await shop.till.rows("SELECT state FROM trade") == [("unknown",)]


@pytest.mark.invariant("I6", "I11")
@pytest.mark.parametrize("act", ACTS)
async def test_a_crash_while_the_channel_thinks_leaves_a_question_that_finds_the_money(shop: Shop, act: str) -> None:
    acting = asyncio.ensure_future(ACTS[act](shop))
    await shop.channel.was_asked()
    dying = [acting, *shop.payments._charges]
    for task in dying:
        task.cancel()
    await asyncio.gather(*dying, return_exceptions=True)
    await shop.till.outside.execute("UPDATE query_due SET due_at = now()")
    (due,) = await shop.questions.list_due(lanes=list(range(LANES)), accounts_left_out=[], rows_max=10)
    shop.channel.answer = PayResult(
        outcome=Outcome.PAID, trade_no="", order_minor=1_000, currency="CNY", channel_reference="42"
    )
    shop.channel.let_all_go()
    await shop.questions.ask_due(due)
    assert await shop.till.rows("SELECT state, learned_source FROM orders") == [("paid", "query")]


@pytest.mark.invariant("I11")
async def test_no_transaction_is_open_while_a_question_is_asked(shop: Shop) -> None:
    standing = await shop.till.stand(account_id=AccountId(1))
    (due,) = await shop.questions.list_due(lanes=list(range(LANES)), accounts_left_out=[], rows_max=10)
    asking = asyncio.create_task(shop.questions.ask_due(due))
    await shop.channel.was_asked()
    assert await sessions(shop.till) == {"idle"}
    shop.channel.let_all_go()
    await asyncio.wait_for(asking, WAIT_S)
    assert await shop.till.trade_state(standing) == "unknown"


async def test_a_channel_that_is_busy_is_asked_at_a_pace_and_for_no_page(shop: Shop) -> None:
    """Pages ask beside the ladder, and nobody splits what they ask over the workers."""
    shop.channel.let_all_go()
    shop.channel.answer = PayResult(outcome=Outcome.UNPAID_OPEN, trade_no="")
    order = await shop.create()
    await shop.till.outside.execute("UPDATE trade SET created_at = created_at - interval '1 minute'")
    await shop.till.outside.execute("UPDATE query_due SET due_at = now()")
    shop.channel.answer = PayResult(outcome=Outcome.UNKNOWN, trade_no="", busy=True)
    (due,) = await shop.questions.list_due(lanes=list(range(LANES)), accounts_left_out=[], rows_max=10)
    await shop.questions.ask_due(due)
    await shop.till.healths.turn()
    assert shop.till.healths.rate_per_s(due.account_id) is not None
    calls = len(shop.channel.calls)
    await shop.questions.watch_order(shop.caller, order.order_no)
    assert len(shop.channel.calls) == calls


@pytest.mark.invariant("I11")
@pytest.mark.parametrize("act", ACTS)
async def test_a_call_is_told_the_end_of_its_send_window(shop: Shop, act: str) -> None:
    began_s = shop.clock.monotonic_s()
    shop.channel.let_all_go()
    await ACTS[act](shop)
    (call, *_) = shop.channel.calls
    assert call.send_before_s is not None
    # From the commit on; never later than that, though what the call waited for before it may make it sooner.
    assert began_s + WINDOW.total_seconds() <= call.send_before_s <= shop.clock.monotonic_s() + WINDOW.total_seconds()
    waited = await shop.till.rows("SELECT extract(epoch FROM clock_timestamp() - created_at)::float FROM trade")
    assert call.send_before_s - shop.clock.monotonic_s() <= WINDOW.total_seconds() - waited[0][0] + 0.001


@pytest.mark.invariant("I11")
async def test_a_repeat_sends_nothing_after_the_window_of_the_first_intent(shop: Shop) -> None:
    """By then the channel's "no such trade" would count as an end, and a late copy would be a payment of nothing."""
    shop.channel.let_all_go()
    await shop.create()
    await shop.till.outside.execute("UPDATE trade SET send_until = clock_timestamp()")
    await shop.create()
    assert len(shop.channel.calls) == 1


@pytest.mark.invariant("I11")
async def test_the_time_that_a_repeat_waits_for_other_calls_counts_against_its_window(shop: Shop) -> None:
    """The window is read with the row; what happens between reading and sending must not make it longer."""
    shop.channel.let_all_go()
    await shop.create()
    await shop.till.outside.execute(
        """
        INSERT INTO trade (lane, order_id, attempt, account_id, channel, method, state, amount_minor, currency,
            fee_rate_bp, created_at, send_until, expires_at, intent)
        SELECT lane, order_id, 2, account_id, channel, method, 'created', amount_minor, currency, fee_rate_bp,
            created_at, send_until, expires_at, intent
        FROM trade
        """
    )
    shop.channel.calls.clear()
    began_s = shop.clock.monotonic_s()

    def take_long() -> None:
        shop.clock.ahead += timedelta(seconds=10)

    shop.channel.meanwhile = take_long
    await shop.create()
    ends_s = [call.send_before_s for call in shop.channel.calls]
    assert len(ends_s) == 2
    assert all(end_s is not None and end_s - began_s <= WINDOW.total_seconds() for end_s in ends_s)


async def test_a_payer_whose_code_never_came_gets_another_after_the_window(shop: Shop) -> None:
    shop.channel.let_all_go()
    order = await shop.payments.create_order(shop.wish())
    await shop.till.outside.execute("UPDATE trade SET send_until = clock_timestamp()")
    shop.channel.answer = PayResult(outcome=Outcome.UNPAID_OPEN, trade_no="")
    wish = PaymentWish(method=Method.NATIVE)
    for _ in range(2):
        again = await shop.payments.start_payment(shop.caller, order.order_no, wish)
        assert [(trade.state, trade.qr_text) for trade in again.trades] == [
            ("unknown", None),
            ("submitted", "weixin://x"),
        ]


@pytest.mark.invariant("I11")
async def test_a_repeat_within_the_window_is_equal_in_every_value(shop: Shop) -> None:
    shop.channel.let_all_go()
    await shop.create()
    await shop.create()
    first, second = shop.channel.intents
    assert first == second


@pytest.mark.invariant("I5", "I6")
async def test_what_was_never_sent_is_said_and_stays_due(shop: Shop) -> None:
    shop.channel.answer = PayResult(outcome=Outcome.UNPAID_OPEN, trade_no="", sent=False)
    shop.channel.let_all_go()
    with pytest.raises(Refused, match="channel_unavailable"):
        await shop.create()
    assert await shop.till.rows("SELECT state FROM trade") == [("created",)]
    assert await shop.till.count("query_due") == 1
    # The same key goes on with the same trade once the channel is back.
    shop.channel.answer = PayResult(outcome=Outcome.UNPAID_OPEN, trade_no="")
    await shop.create()
    assert await shop.till.rows("SELECT state, action IS NOT NULL FROM trade") == [("submitted", True)]


@pytest.mark.invariant("I5")
async def test_an_auth_code_is_neither_stored_nor_sent_again(shop: Shop) -> None:
    shop.channel.let_all_go()
    for _ in range(2):
        await shop.charge()
    assert len(shop.channel.intents) == 1
    for table in ("orders", "trade", "evidence", "idempotency"):
        rows = await shop.till.rows(f"SELECT t::text FROM {table} AS t")  # noqa: S608 - our own tables
        assert not [text for (text,) in rows if CODE in text]


async def test_a_machine_whose_clock_is_behind_finds_a_rate_that_is_in_force(shop: Shop) -> None:
    """Its merchants' payers would be refused for as long as it is behind, while every other machine takes them."""
    shop.clock.ahead = -timedelta(minutes=10)
    shop.channel.let_all_go()
    await shop.create()
    assert await shop.till.rows("SELECT state FROM orders") == [("paying",)]
