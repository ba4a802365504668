"""Orders that stand in a database and a door to them, with no channel behind: what a test says is all that is heard."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from secrets import token_hex
from typing import Any

import asyncpg

from budan.core.evidence import Evidence, Source
from budan.core.fees import FeeTerms
from budan.core.numbers import ID_EPOCH, AccountId, Environment, Lane, MerchantId, OrderId, trade_number
from budan.flows.door import Door, DoorItem
from budan.flows.door_plan import Planned
from budan.flows.healths import AccountHealths
from budan.store import database as stored
from budan.store import directory, intake
from budan.store.database import Database
from budan.store.rows import NewOrder, NewTrade
from builders import ACCOUNT, AMOUNT_MINOR, FEE_RATE_BP
from integration.flows.platform_side import MovingClock

LANES = 64
WAIT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where an order stands, and how its trades are called."""

    lane: Lane
    order_id: OrderId
    merchant_id: MerchantId

    @property
    def key(self) -> tuple[Lane, OrderId]:
        return self.lane, self.order_id

    def trade_no(self, attempt: int = 1, *, environment: Environment = Environment.LOCAL) -> str:
        return trade_number(
            environment=environment,
            lane=self.lane,
            merchant_id=self.merchant_id,
            order_id=self.order_id,
            attempt=attempt,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Till:
    """A merchant with one webhook endpoint, and the door.

    `outside` is for acts from outside, locks above all; `watching` only looks, and is in no transaction.
    """

    dsn: str
    database: Database
    door: Door
    healths: AccountHealths
    outside: "asyncpg.Connection[asyncpg.Record]"
    watching: "asyncpg.Connection[asyncpg.Record]"
    merchant_id: MerchantId
    lane: Lane

    async def stand(self, **changes: Any) -> Standing:
        """A paying order of 10.00 CNY with one C2B trade on account 7; `trades` and `method` change that."""
        (standing,) = await stand_orders(
            self.database, merchant_id=self.merchant_id, lane=self.lane, orders=1, **changes
        )
        return standing

    async def allow(self, account_id: AccountId) -> None:
        """Let the merchant take payments through one more account."""
        await self.outside.execute(
            "INSERT INTO channel_account (id, channel, name, settings, sealed_secrets) OVERRIDING SYSTEM VALUE"
            " VALUES ($1, 'wechat_v3', 'another', '{}', '') ON CONFLICT DO NOTHING",
            account_id,
        )
        await self.outside.execute(
            "INSERT INTO merchant_account (merchant_id, account_id) VALUES ($1, $2)", self.merchant_id, account_id
        )

    async def hear(self, evidence: Evidence, **along: Any) -> Planned:
        if evidence.source is Source.OPERATOR:
            along = {"actor": "Ann, Bob"} | along
        return await self.door.record(DoorItem(evidence=evidence, **along))

    async def rows(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.watching.fetch(statement, *arguments)]

    async def order_state(self, standing: Standing) -> str:
        return await self.watching.fetchval(
            "SELECT state FROM orders WHERE lane = $1 AND id = $2", standing.lane, standing.order_id
        )

    async def trade_state(self, standing: Standing, attempt: int = 1) -> str:
        return await self.watching.fetchval(
            "SELECT state FROM trade WHERE lane = $1 AND order_id = $2 AND attempt = $3", *standing.key, attempt
        )

    async def count(self, table: str) -> int:
        return await self.watching.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608 - a test's own word

    async def waiting_on_lock(self) -> None:
        """Returns when one of our own sessions waits for a lock; each look is one round to the database."""
        statement = """
            SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'budan' AND wait_event_type = 'Lock'
        """
        await self.until(statement, is_so=lambda count: count > 0)

    async def until(self, statement: str, *, is_so: Any) -> None:
        """Returns when the statement's value is so, within the bound of every wait here."""
        await until(self.watching, statement, is_so=is_so)


async def until(connection: "asyncpg.Connection[asyncpg.Record]", statement: str, *, is_so: Any) -> None:
    """Asks again and again, each look being one round to the database; fails when it does not become so in time."""
    began = await connection.fetchval("SELECT clock_timestamp()")
    while not is_so(await connection.fetchval(statement)):
        waited: timedelta = await connection.fetchval("SELECT clock_timestamp()") - began
        assert waited.total_seconds() < WAIT_S, f"not so in time: {statement}"


async def stand_orders(
    database: Database,
    *,
    merchant_id: MerchantId,
    lane: Lane,
    orders: int,
    trades: int = 1,
    method: str = "native",
    state: str = "paying",
    send_window: timedelta = timedelta(seconds=30),
    life: timedelta = timedelta(minutes=15),
    age: timedelta = timedelta(0),
    account_id: AccountId = ACCOUNT,
) -> list[Standing]:
    """Orders with their trades and due questions, written by the store's own intake statement."""
    async with database.transaction() as transaction:
        created_at = await transaction.clock() - age
        standing = [Standing(lane=lane, order_id=_order_id(created_at), merchant_id=merchant_id) for _ in range(orders)]
        await intake.add(
            transaction,
            orders=[_order(one, created_at=created_at, state=state, trades=trades, life=life) for one in standing],
            trades=[
                NewTrade(
                    lane=one.lane,
                    order_id=one.order_id,
                    attempt=attempt,
                    account_id=account_id,
                    channel="wechat_v3",
                    method=method,
                    amount_minor=AMOUNT_MINOR,
                    currency="CNY",
                    fee_terms=FeeTerms(rate_bp=FEE_RATE_BP),
                    created_at=created_at,
                    send_until=created_at + send_window,
                    expires_at=None if method == "code" else created_at + life,
                    intent="{}",
                    query_at=created_at,
                )
                for one in standing
                for attempt in range(1, trades + 1)
            ],
        )
    return standing


_IDS_GIVEN = count()


def _order_id(created_at: datetime) -> OrderId:
    return OrderId(int((created_at - ID_EPOCH) / timedelta(milliseconds=1)) << 22 | next(_IDS_GIVEN))


def _order(one: Standing, *, created_at: datetime, state: str, trades: int, life: timedelta) -> NewOrder:
    return NewOrder(
        lane=one.lane,
        order_id=one.order_id,
        merchant_id=one.merchant_id,
        reference=f"ref-{token_hex(8)}",
        state=state,
        amount_minor=AMOUNT_MINOR,
        currency="CNY",
        subject="Latte",
        shop_id=None,
        terminal_id=None,
        created_at=created_at,
        expires_at=created_at + life,
        trade_count=trades,
    )


# For tests that hold a lock until they have seen somebody wait for it: on a busy machine that takes its time.
PATIENT = {"lock_timeout": "20s", "statement_timeout": "20s"}
CONNECTIONS = 4


async def connect(dsn: str, **settings: str) -> Database:
    """The program's own pool, all its connections open, with some of its settings changed."""
    pool = await asyncpg.create_pool(
        dsn,
        min_size=CONNECTIONS,
        max_size=CONNECTIONS,
        reset=stored._keep_session,
        server_settings=stored._SESSION_SETTINGS | settings,
    )
    return Database(pool)


@asynccontextmanager
async def open_till(dsn: str, **settings: str) -> AsyncIterator[Till]:
    """A till on a migrated database of its own."""
    database = await connect(dsn, **settings)
    outside, watching = [await asyncpg.connect(dsn, server_settings={"application_name": "test"}) for _ in range(2)]
    try:
        async with database.transaction() as transaction:
            merchant = await directory.add_merchant(transaction, name="Corner shop", lanes=LANES)
            endpoint = await directory.add_endpoint(
                transaction, merchant_id=merchant.merchant_id, url="http://127.0.0.1:9/taken"
            )
            await directory.seal_endpoint(transaction, endpoint_id=endpoint, sealed_secret=b"sealed")
        healths = AccountHealths(database=database, clock=MovingClock())
        async with Door(database=database, environment=Environment.LOCAL, lanes=LANES, healths=healths) as door:
            yield Till(
                dsn=dsn,
                database=database,
                door=door,
                healths=healths,
                outside=outside,
                watching=watching,
                merchant_id=merchant.merchant_id,
                lane=merchant.lane,
            )
    finally:
        await outside.close()
        await watching.close()
        await database.close()


async def lock_orders(connection: "asyncpg.Connection[asyncpg.Record]", standing: Sequence[Standing]) -> None:
    """Hold order rows from outside; the caller's transaction decides for how long."""
    for one in standing:
        await connection.execute("SELECT 1 FROM orders WHERE lane = $1 AND id = $2 FOR UPDATE", *one.key)
