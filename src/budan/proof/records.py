"""Reads the three records of one order: the sandbox's, budan's and the merchant's."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

import asyncpg
import msgspec

from budan.proof.client import Client
from budan.proof.instance import Instance, Shop
from budan.proof.merchant import Taken
from budan.proof.queries import query
from budan.proof.steps import StepFailed

LOOK_AGAIN_S: Final = 0.02
ANSWER_S_MAX: Final = 20.0
CONNECT_S_MAX: Final = 10.0
TRADES_LISTED_MAX: Final = 1_000
_ORDER_FIND: Final = query("proof_order_find")
_Found = TypeVar("_Found")


class SandboxEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened to a trade, by the sandbox's file."""

    at: datetime
    kind: str
    text: str = ""


class SandboxTrade(msgspec.Struct, frozen=True, kw_only=True):
    """A trade as the sandbox knows it; `events` only where it was asked for alone."""

    trade_no: str
    account_id: str
    subject: str
    state: str
    amount_minor: int
    notice_state: str
    notices_sent: int
    paid_at: datetime | None = None
    events: list[SandboxEvent] = []

    @property
    def kinds(self) -> list[str]:
        """What happened, in order."""
        return [event.kind for event in self.events]


class _Trades(msgspec.Struct):
    trades: list[SandboxTrade]


class OrderRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An order as budan's database has it."""

    order_id: int
    state: str
    amount_minor: int
    created_at: datetime
    payment_entries: int
    postings_sum_minor: int
    learned_source: str | None = None
    completed_at: datetime | None = None
    fee_minor: int | None = None
    remedy_attempt: int | None = None
    remedy_cause: str | None = None
    remedy_source: str | None = None
    webhook_taken_at: datetime | None = None


class EventOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What a webhook says of an order, or of one of its refunds; the end of one that nobody paid names no trade."""

    order_no: str
    reference: str
    state: str
    amount_minor: int
    trade_no: str | None = None
    refund_no: str | None = None


class _Event(msgspec.Struct):
    type: str
    # The payload's own member (Standard Webhooks).
    data: EventOrder  # their name


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the merchant's file."""

    at: datetime
    webhook_id: str
    type: str
    order: EventOrder


class Records:
    """All three, of one instance."""

    def __init__(self, *, instance: Instance, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._instance = instance
        self._connection = connection
        self._asking = asyncio.Lock()
        self.api = Client(instance.public_url, connections_max=16)
        self.sandbox = Client(instance.sandbox_url, connections_max=16)

    async def find_trade(self, subject: str) -> SandboxTrade | None:
        """The sandbox's trade of this subject, with its events."""
        listed = await self.sandbox.get(f"/sandbox/trades?limit={TRADES_LISTED_MAX}", timeout_s=ANSWER_S_MAX)
        trades = msgspec.json.decode(listed.body, type=_Trades).trades
        found = next((trade for trade in trades if trade.subject == subject), None)
        if found is None:
            return None
        path = f"/sandbox/trades/{found.trade_no}?account_id={found.account_id}"
        answer = await self.sandbox.get(path, timeout_s=ANSWER_S_MAX)
        return msgspec.json.decode(answer.body, type=SandboxTrade)

    async def find_order(self, shop: Shop, reference: str) -> OrderRecord | None:
        """Budan's order of this merchant's reference."""
        async with self._asking:
            row = await self._connection.fetchrow(_ORDER_FIND, shop.lane, shop.merchant_id, reference)
        return None if row is None else msgspec.convert(dict(row), OrderRecord)

    def list_webhooks(self, reference: str) -> list[Webhook]:
        """The merchant's lines of this reference."""
        return [
            webhook for webhook in read_webhooks(self._instance.events_file) if webhook.order.reference == reference
        ]


@asynccontextmanager
async def open_records(instance: Instance) -> AsyncGenerator[Records]:
    """The three records, over connections of our own; the database's can only read."""
    connection = await asyncpg.connect(
        instance.dsn, timeout=CONNECT_S_MAX, server_settings={"default_transaction_read_only": "on"}
    )
    records = Records(instance=instance, connection=connection)
    try:
        yield records
    finally:
        records.api.close()
        records.sandbox.close()
        connection.terminate()


def read_webhooks(path: Path) -> list[Webhook]:
    """The merchant's file; a last line that is not whole yet is left out."""
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    found: list[Webhook] = []
    for line in whole.splitlines():
        taken = msgspec.json.decode(line, type=Taken)
        event = msgspec.json.decode(taken.event, type=_Event)
        found.append(Webhook(at=taken.at, webhook_id=taken.webhook_id, type=event.type, order=event.data))
    return found


async def wait_for(look: Callable[[], Awaitable[_Found | None]], *, what: str, timeout_s: float) -> _Found:
    """What `look` finds, as soon as it does; raises StepFailed with `what` was waited for."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        if (found := await look()) is not None:
            return found
        if asyncio.get_running_loop().time() > deadline:
            raise StepFailed(f"waited {timeout_s:g} s in vain for {what}")
        await asyncio.sleep(LOOK_AGAIN_S)
