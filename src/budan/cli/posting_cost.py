"""Measures what posting adds to a completion: the door's own transactions with their postings, and without."""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

from budan.cli.settings import load_settings
from budan.cli.wiring import build_administration, open_database, open_flows
from budan.core.evidence import Evidence, Outcome, Source
from budan.core.fees import FeeTerms
from budan.core.numbers import AccountId, Lane, MerchantId, OrderId, trade_number
from budan.core.order import OrderState
from budan.flows.administering import AddedMerchant, Administration, MerchantWish
from budan.flows.door import ArrivedNotice, Door, DoorItem
from budan.flows.intents import encode_intent
from budan.flows.wired import Flows
from budan.ports.channel import Method, TradeIntent
from budan.store import intake
from budan.store.database import Database, Record, Transaction
from budan.store.queries import Query, query
from budan.store.rows import Claim, NewOrder, NewTrade

MERCHANTS: Final = 32
BY: Final = "budan bench"
# A few of the door's batches; a round is some tens of milliseconds.
ORDERS_PER_ROUND: Final = 600
AMOUNT_MINOR: Final = 1_000
FEE_RATE_BP: Final = 60
LIFE: Final = timedelta(hours=2)
_NOTICE_BYTES: Final = 900
_DOOR_WRITE: Final = query("door_write")


def posting_parameters(sql: str) -> frozenset[int]:
    """Which parameters of the door's statement are the postings' columns."""
    unnested = re.search(r"\bINTO posting\b.*?unnest\((.*?)\)\s+AS", sql, re.DOTALL)
    assert unnested is not None, "the door books"
    return frozenset(int(number) for number in re.findall(r"\$(\d+)::", unnested[1]))


class _Unposted(Transaction):
    """The same statements with no posting to write."""

    _POSTINGS: Final = posting_parameters(_DOOR_WRITE.sql)

    def __init__(self, inner: Transaction) -> None:
        super().__init__(inner._connection)  # noqa: SLF001 - the same open transaction

    async def many(self, statement: Query, *arguments: object) -> list[Record]:
        """See Transaction.many."""
        if statement.name != _DOOR_WRITE.name:
            return await super().many(statement, *arguments)
        nothing = list[object]()
        kept = (nothing if number in self._POSTINGS else given for number, given in enumerate(arguments, start=1))
        return await super().many(statement, *kept)


class _UnpostedDatabase(Database):
    def __init__(self, inner: Database) -> None:
        super().__init__(inner._pool)  # noqa: SLF001 - the same sessions

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Transaction]:
        async with super().transaction() as transaction:
            yield _Unposted(transaction)


async def measure_posting(*, dsn: str, folder: Path, rounds: int) -> tuple[float, float]:
    """Seconds of a round of completions with their postings and without, the medians of interleaved rounds."""
    settings = load_settings({"environment": "local", "database": dsn, "folder": str(folder)}, environ={})
    async with open_database(settings, dsn=dsn) as opened, open_flows(opened) as flows:
        merchants, account_id = await _add_merchants(build_administration(opened))
        database = _UnpostedDatabase(opened.database)
        unposted = Door(database=database, environment=settings.environment, lanes=opened.lanes, healths=flows.healths)
        with_s, without_s = list[float](), list[float]()
        async with unposted:
            # The first round of each warms its connections and plans and is not counted.
            for number in range(rounds + 1):
                for door, seconds in ((flows.door, with_s), (unposted, without_s))[:: 1 if number % 2 else -1]:
                    took_s = await _complete(flows, door, merchants, account_id)
                    if number:
                        seconds.append(took_s)
    return median(with_s), median(without_s)


async def _add_merchants(administration: Administration) -> tuple[list[AddedMerchant], AccountId]:
    account_id = await administration.add_account(
        channel="wechat_v3", name="posting", settings={}, account_secrets={}, by=BY
    )
    wishes = [
        MerchantWish(
            name=f"Merchant {number}",
            webhook_url="http://127.0.0.1:9/nobody",
            account_ids=(account_id,),
            rates_bp={"wechat_v3": FEE_RATE_BP},
            with_key=False,
            with_shop=False,
        )
        for number in range(MERCHANTS)
    ]
    return await administration.add_merchants(wishes, by=BY), account_id


async def _complete(flows: Flows, door: Door, merchants: Sequence[AddedMerchant], account_id: AccountId) -> float:
    """Place a round of orders, then the seconds in which all of them are paid by their notices."""
    ids = [OrderId(flows.ids.next()) for _ in range(ORDERS_PER_ROUND)]
    sold = [(merchants[number % len(merchants)], order_id) for number, order_id in enumerate(ids)]
    await _place(flows, sold, account_id)
    items = [_paid(flows, merchant, order_id, account_id) for merchant, order_id in sold]
    began_s = perf_counter()
    await asyncio.gather(*(door.record(item) for item in items))
    return perf_counter() - began_s


async def _place(flows: Flows, sold: Sequence[tuple[AddedMerchant, OrderId]], account_id: AccountId) -> None:
    """What intake writes for a code that is on a payer's screen."""
    async with flows.database.transaction() as transaction:
        now = await transaction.clock()
        orders = [_order(merchant, order_id, now=now) for merchant, order_id in sold]
        claims = [_claim(order) for order in sorted(orders, key=lambda order: (order.lane, order.order_id))]
        await intake.claim(transaction, claims)
        trades = [_trade(flows, order, account_id) for order in orders]
        await intake.add(transaction, orders=orders, trades=trades)


def _order(merchant: AddedMerchant, order_id: OrderId, *, now: datetime) -> NewOrder:
    return NewOrder(
        lane=Lane(merchant.lane),
        order_id=order_id,
        merchant_id=merchant.merchant_id,
        reference=f"posting-{order_id}",
        state=OrderState.PAYING.value,
        amount_minor=AMOUNT_MINOR,
        currency="CNY",
        subject="Posting",
        shop_id=None,
        terminal_id=None,
        created_at=now,
        expires_at=now + LIFE,
        trade_count=1,
    )


def _claim(order: NewOrder) -> Claim:
    return Claim(
        lane=order.lane,
        merchant_id=order.merchant_id,
        order_id=order.order_id,
        reference=order.reference,
        idempotency_key=None,
        request_digest=bytes(32),
    )


def _trade(flows: Flows, order: NewOrder, account_id: AccountId) -> NewTrade:
    intent = TradeIntent(
        trade_no=_trade_no(flows, order.lane, order.merchant_id, order.order_id),
        method=Method.NATIVE,
        amount_minor=AMOUNT_MINOR,
        currency="CNY",
        subject=order.subject,
        notify_url="http://127.0.0.1:9/nobody",
        created_at=order.created_at,
        expires_at=order.expires_at,
    )
    return NewTrade(
        lane=order.lane,
        order_id=order.order_id,
        attempt=1,
        account_id=account_id,
        channel="wechat_v3",
        method=Method.NATIVE.value,
        amount_minor=AMOUNT_MINOR,
        currency="CNY",
        fee_terms=FeeTerms(rate_bp=FEE_RATE_BP),
        created_at=order.created_at,
        send_until=order.created_at + timedelta(seconds=30),
        expires_at=order.expires_at,
        intent=encode_intent(intent),
        query_at=order.expires_at,
    )


def _paid(flows: Flows, merchant: AddedMerchant, order_id: OrderId, account_id: AccountId) -> DoorItem:
    """The order's notice, as large as a channel's."""
    now = datetime.now(UTC)
    evidence = Evidence(
        trade_no=_trade_no(flows, Lane(merchant.lane), merchant.merchant_id, order_id),
        account_id=account_id,
        outcome=Outcome.PAID,
        source=Source.NOTICE,
        learned_at=now,
        order_minor=AMOUNT_MINOR,
        payer_minor=AMOUNT_MINOR,
        currency="CNY",
        channel_reference=f"4200{order_id}",
        paid_at=now,
    )
    notice = ArrivedNotice(
        notice_id=order_id, received_at=now, headers="{}", body=bytes(_NOTICE_BYTES), tells_refund=False
    )
    return DoorItem(evidence=evidence, notice=notice)


def _trade_no(flows: Flows, lane: Lane, merchant_id: MerchantId, order_id: OrderId) -> str:
    return trade_number(environment=flows.environment, lane=lane, merchant_id=merchant_id, order_id=order_id, attempt=1)
