"""A stage for integration tests: merchants, accounts, orders and trades on a real database, set by the program's own parts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path
from secrets import token_hex
from typing import Any

from budan.cli.settings import Settings, load_settings
from budan.cli.wiring import Opened, open_database, open_flows, operator_flows
from budan.core.evidence import Evidence, Outcome, Source
from budan.core.fees import FeeTerms
from budan.core.numbers import AccountId, Lane, MerchantId, OrderId, next_id, trade_number
from budan.core.order import OrderState
from budan.flows.administering import Administration, MerchantWish
from budan.flows.door import DoorItem
from budan.flows.door_plan import Planned
from budan.flows.intents import encode_intent
from budan.flows.wired import Flows, OperatorFlows
from budan.ports.channel import Method, TradeIntent
from budan.store import intake
from budan.store.database import Database
from budan.store.rows import Claim, NewOrder, NewTrade

AMOUNT_MINOR = 1_280
FEE_RATE_BP = 60
# Of the ids that the stage makes itself; the program's own processes lease theirs from below.
PROCESS_NUMBER = 1_023


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedMerchant:
    """A merchant with one account and, if it has an address, one endpoint."""

    merchant_id: MerchantId
    lane: Lane
    account_id: AccountId
    api_key: str
    endpoint_id: int | None = None
    webhook_secret: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedOrder:
    """An order of AMOUNT_MINOR fen with one submitted trade."""

    lane: Lane
    order_id: OrderId
    order_no: str
    trade_no: str
    merchant: StagedMerchant


@dataclass
class Stage:
    """What a test plays with; every act goes through the program's own flows or store functions.

    `cashback_offer` is kept with the trades that are added from then on.
    """

    settings: Settings
    opened: Opened
    flows: Flows
    administration: Administration
    cashback_offer: str | None = None
    _previous_id: int = 0
    _numbers: Any = field(default_factory=lambda: count(1))

    @property
    def database(self) -> Database:
        """The test's own database."""
        return self.opened.database

    @property
    def operator(self) -> OperatorFlows:
        """What persons do at the command line."""
        return operator_flows(self.opened, self.flows)

    async def add_account(self, channel: str = "wechat_v3") -> AccountId:
        """An account that nobody can call: for tests whose evidence comes from elsewhere."""
        return await self.administration.add_account(
            channel=channel, name=f"account {token_hex(4)}", settings={}, account_secrets={}, by="Ann"
        )

    async def add_merchant(self, *, webhook_url: str | None = None, account_id: int | None = None) -> StagedMerchant:
        """A merchant that takes orders through this account, or one of its own."""
        account = await self.add_account() if account_id is None else AccountId(account_id)
        wish = MerchantWish(
            name=f"merchant {next(self._numbers)}",
            webhook_url=webhook_url,
            account_ids=(account,),
            rates_bp={"wechat_v3": FEE_RATE_BP, "alipay": FEE_RATE_BP},
            with_key=True,
            with_shop=False,
        )
        (added,) = await self.administration.add_merchants([wish], by="Ann")
        assert added.api_key
        return StagedMerchant(
            merchant_id=added.merchant_id,
            lane=Lane(added.lane),
            account_id=account,
            api_key=added.api_key,
            endpoint_id=added.webhook_endpoint_id,
            webhook_secret=added.webhook_secret,
        )

    def name_order(self, merchant: StagedMerchant) -> StagedOrder:
        """The numbers of an order that is not written yet."""
        order_id = self._next_order_id()
        numbers = [
            trade_number(
                environment=self.settings.environment,
                lane=merchant.lane,
                merchant_id=merchant.merchant_id,
                order_id=order_id,
                attempt=attempt,
            )
            for attempt in (0, 1)
        ]
        return StagedOrder(
            lane=merchant.lane, order_id=order_id, order_no=numbers[0], trade_no=numbers[1], merchant=merchant
        )

    async def add_orders(self, orders: list[StagedOrder], *, query_in_s: float = 3_600.0) -> None:
        """Write orders with their trade intents, as intake does; the first question is due in so many seconds."""
        async with self.database.transaction() as transaction:
            now = await transaction.clock()
            new_orders = [
                NewOrder(
                    lane=order.lane,
                    order_id=order.order_id,
                    merchant_id=order.merchant.merchant_id,
                    reference=f"r{order.order_id}",
                    state=OrderState.PAYING.value,
                    amount_minor=AMOUNT_MINOR,
                    currency="CNY",
                    subject="tea",
                    shop_id=None,
                    terminal_id=None,
                    created_at=now,
                    expires_at=now + timedelta(hours=2),
                    trade_count=1,
                )
                for order in orders
            ]
            claims = [
                Claim(
                    lane=order.lane,
                    merchant_id=order.merchant_id,
                    order_id=order.order_id,
                    reference=order.reference,
                    idempotency_key=None,
                    request_digest=bytes(32),
                )
                for order in sorted(new_orders, key=lambda order: (order.lane, order.order_id))
            ]
            await intake.claim(transaction, claims)
            trades = [self._trade(order, now=now, query_in_s=query_in_s) for order in orders]
            await intake.add(transaction, orders=new_orders, trades=trades)

    async def add_order(self, merchant: StagedMerchant, *, query_in_s: float = 3_600.0) -> StagedOrder:
        """One order with its trade."""
        order = self.name_order(merchant)
        await self.add_orders([order], query_in_s=query_in_s)
        return order

    async def add_paid_order(self, merchant: StagedMerchant) -> StagedOrder:
        """One order, paid by a notice; its webhook is due."""
        order = await self.add_order(merchant)
        await self.pay(order)
        return order

    async def pay(self, order: StagedOrder) -> Planned:
        """Its notice comes to the door."""
        return await self.flows.door.record(DoorItem(evidence=self.payment(order)))

    def payment(self, order: StagedOrder, **changes: Any) -> Evidence:
        """The channel's word that the order's trade was paid."""
        now = self.opened.clock.now()
        parts = {
            "trade_no": order.trade_no,
            "account_id": order.merchant.account_id,
            "outcome": Outcome.PAID,
            "source": Source.NOTICE,
            "learned_at": now,
            "order_minor": AMOUNT_MINOR,
            "payer_minor": AMOUNT_MINOR,
            "currency": "CNY",
            "channel_reference": f"4200{order.order_id}",
            "paid_at": now,
        }
        return Evidence(**(parts | changes))

    def _trade(self, order: StagedOrder, *, now: Any, query_in_s: float) -> NewTrade:
        intent = TradeIntent(
            trade_no=order.trade_no,
            method=Method.NATIVE,
            amount_minor=AMOUNT_MINOR,
            currency="CNY",
            subject="tea",
            notify_url="http://127.0.0.1:9/nobody",
            created_at=now,
            expires_at=now + timedelta(hours=2),
        )
        return NewTrade(
            lane=order.lane,
            order_id=order.order_id,
            attempt=1,
            account_id=order.merchant.account_id,
            channel="wechat_v3",
            method=Method.NATIVE.value,
            amount_minor=AMOUNT_MINOR,
            currency="CNY",
            fee_terms=FeeTerms(rate_bp=FEE_RATE_BP),
            created_at=now,
            send_until=now + timedelta(seconds=30),
            expires_at=intent.expires_at,
            intent=encode_intent(intent),
            query_at=now + timedelta(seconds=query_in_s),
            cashback_offer=self.cashback_offer,
        )

    def _next_order_id(self) -> OrderId:
        now_ms = int(self.opened.clock.now().timestamp() * 1_000)
        self._previous_id = next_id(previous=self._previous_id, now_ms=now_ms, process_number=PROCESS_NUMBER)
        return OrderId(self._previous_id)


def stage_settings(dsn: str, folder: Path, **texts: str) -> Settings:
    """Settings of a local instance on this database; `folder` keeps its keys."""
    return load_settings({"environment": "local", "database": dsn, "folder": str(folder), **texts}, environ={})


@asynccontextmanager
async def open_stage(dsn: str, folder: Path, **texts: str) -> AsyncIterator[Stage]:
    """A stage on a test's database, wired as the program wires itself; `texts` are more settings."""
    settings = stage_settings(dsn, folder, **texts)
    async with open_database(settings, dsn=dsn) as opened, open_flows(opened) as flows:
        administration = Administration(
            database=opened.database,
            environment=settings.environment,
            box=opened.keys.box,
            lanes=opened.lanes,
        )
        yield Stage(settings=settings, opened=opened, flows=flows, administration=administration)
