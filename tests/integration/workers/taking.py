"""Orders taken through accounts at the sandbox, by the program's own flows."""

from dataclasses import dataclass
from datetime import timedelta
from secrets import token_hex
from typing import Any

import asyncpg

from budan.cli.sandbox_account import add_sandbox_account
from budan.core.numbers import AccountId
from budan.flows.administering import AddedMerchant, MerchantWish
from budan.flows.views import Caller, ChargeOrder, CreateOrder, OrderView, PaymentWish
from budan.ports.channel import Method
from stage import AMOUNT_MINOR, FEE_RATE_BP, Stage

CHANNELS = ("wechat_v3", "alipay")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """A merchant that takes both channels."""

    stage: Stage
    merchant: AddedMerchant
    account_ids: dict[str, AccountId]

    @property
    def caller(self) -> Caller:
        return Caller(merchant_id=self.merchant.merchant_id, lane=self.merchant.lane)

    async def order(self, *channels: str) -> OrderView:
        """An order with a code of each of these channels."""
        order = await self.take()
        for channel in channels:
            wish = PaymentWish(method=Method.NATIVE, channel=channel)
            order = await self.stage.flows.payments.start_payment(self.caller, order.order_no, wish)
        return order

    async def take(self, **changes: Any) -> OrderView:
        """An order as the merchant wishes it."""
        return await self.stage.flows.payments.create_order(self._wish(**changes))

    async def charge(self, auth_code: str, *, wait_s: float = 0.0) -> OrderView:
        """An order that is charged to a payer's code."""
        wish = ChargeOrder(
            order=self._wish(), auth_code=auth_code, device_id="POS1", device_ip="127.0.0.1", wait_s=wait_s
        )
        return await self.stage.flows.payments.charge(wish)

    async def see(self, order: OrderView) -> OrderView:
        """The order as it is now."""
        return await self.stage.flows.reading.get_order(self.caller, order.order_no)

    def _wish(self, **changes: Any) -> CreateOrder:
        fields = {
            "caller": self.caller,
            "reference": f"ref-{token_hex(6)}",
            "amount_minor": AMOUNT_MINOR,
            "currency": "CNY",
            "subject": "tea",
            "request_digest": bytes(32),
        }
        return CreateOrder(**(fields | changes))


async def open_counter(stage: Stage, sandbox_url: str, *, webhook_url: str | None = None) -> Counter:
    """A merchant with an account at the sandbox on each channel."""
    account_ids = {
        channel: AccountId(
            (await add_sandbox_account(stage.administration, sandbox_url, channel=channel, name=channel, by="Ann"))[0]
        )
        for channel in CHANNELS
    }
    wish = MerchantWish(
        name="counter",
        webhook_url=webhook_url,
        account_ids=tuple(account_ids.values()),
        rates_bp=dict.fromkeys(CHANNELS, FEE_RATE_BP),
        with_key=True,
        with_shop=False,
    )
    (merchant,) = await stage.administration.add_merchants([wish], by="Ann")
    return Counter(stage=stage, merchant=merchant, account_ids=account_ids)


async def let_time_pass(rows: "asyncpg.Connection[asyncpg.Record]", *, minutes: int) -> None:
    """Everything that is written down of orders, trades and due rows happened so much earlier, or comes so much sooner."""
    for statement in (
        "UPDATE orders SET created_at = created_at - $1::interval, expires_at = expires_at - $1::interval",
        """
        UPDATE trade SET created_at = created_at - $1::interval, send_until = send_until - $1::interval,
            expires_at = expires_at - $1::interval
        """,
        "UPDATE order_due SET due_at = due_at - $1::interval",
        "UPDATE close_due SET due_at = due_at - $1::interval",
        "UPDATE query_due SET due_at = due_at - $1::interval",
    ):
        await rows.execute(statement, timedelta(minutes=minutes))
