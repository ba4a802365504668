"""The proof's own connection to a private database: it looks, waits, and lets time pass."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg

from budan.proof.instance import Instance, Shop
from budan.proof.queries import query
from budan.proof.records import CONNECT_S_MAX, wait_for
from budan.proof.truth import TradeKey

STATEMENT_S_MAX: Final = 30.0
_GATEWAY_SET: Final = query("prove_gateway_set")
_PAYMENTS_UNSETTLED: Final = query("prove_payments_unsettled")
_WEBHOOKS_DUE_COUNT: Final = query("prove_webhooks_due_count")
_QUESTIONS_COUNT: Final = query("prove_questions_count")
_REFUNDS_OPEN_COUNT: Final = query("prove_refunds_open_count")
_TRADES_LIST: Final = query("prove_trades_list")
_STATES_LIST: Final = query("prove_states_list")
_TRADES_COUNT: Final = query("prove_trades_count")
_PAID_AT_LIST: Final = query("prove_paid_at_list")
_REFUNDS_HASTEN: Final = query("prove_refunds_hasten")
_TIME_PASS: Final = query("prove_time_pass")
_OUTCOMES_HOLD: Final = query("prove_outcomes_hold")
# A change of an account takes effect everywhere within two seconds; who sells next must find it done.
ACCOUNTS_FOLLOWED_S: Final = 2.5
_ACCOUNTS_ENABLE: Final = query("prove_accounts_enable")
_ORDER_TELL: Final = query("prove_order_tell")


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeRow:
    """An attempt as the database has it at `now`, by its own clock."""

    attempt: int
    state: str
    asked_count: int
    send_until: datetime
    now: datetime


class Hands:
    """Every call has a connection of its own: a cut or a restart between two of them does not matter."""

    def __init__(self, instance: Instance) -> None:
        self._dsn = instance.dsn

    async def lead_calls(self, *, from_url: str, to_url: str) -> None:
        """Every account is reached at `to_url` from now on; before anybody has called one."""
        await self._fetch(_GATEWAY_SET, from_url, to_url)

    async def list_unsettled(self, payments: Sequence[TradeKey]) -> set[TradeKey]:
        """Which of these payments have not come to an end here."""
        rows = await self._fetch(
            _PAYMENTS_UNSETTLED,
            [key.lane for key in payments],
            [key.order_id for key in payments],
            [key.attempt for key in payments],
        )
        return {TradeKey(row["lane"], row["order_id"], row["attempt"]) for row in rows}

    async def count_webhooks_due(self, merchant_ids: Sequence[int]) -> int:
        """Events that these merchants have not taken yet."""
        (row,) = await self._fetch(_WEBHOOKS_DUE_COUNT, list(merchant_ids))
        return row["due"]

    async def count_questions(self, merchant_ids: Sequence[int]) -> int:
        """How many of these merchants' open trades somebody is to ask about."""
        (row,) = await self._fetch(_QUESTIONS_COUNT, list(merchant_ids))
        return row["questions"]

    async def count_refunds_open(self, merchant_ids: Sequence[int]) -> int:
        """Refunds of these merchants' orders whose end the channel has not told."""
        (row,) = await self._fetch(_REFUNDS_OPEN_COUNT, list(merchant_ids))
        return row["open"]

    async def list_trades(self, *, shop: Shop, reference: str) -> list[TradeRow]:
        """The attempts of an order; none while it is not committed."""
        rows = await self._fetch(_TRADES_LIST, shop.lane, shop.merchant_id, reference)
        return [TradeRow(**dict(row)) for row in rows]

    async def list_states(self, merchant_ids: Sequence[int]) -> set[str]:
        """The states in which these merchants' orders are."""
        return {row["state"] for row in await self._fetch(_STATES_LIST, list(merchant_ids))}

    async def count_trades(self, merchant_ids: Sequence[int]) -> int:
        """How many intents these merchants' orders have."""
        (row,) = await self._fetch(_TRADES_COUNT, list(merchant_ids))
        return row["trades"]

    async def wait_trade(self, *, shop: Shop, reference: str, timeout_s: float) -> TradeRow:
        """The newest attempt of an order, as soon as it is committed; raises StepFailed."""

        async def look() -> TradeRow | None:
            trades = await self.list_trades(shop=shop, reference=reference)
            return trades[-1] if trades else None

        return await wait_for(look, what=f"the intent of {reference}", timeout_s=timeout_s)

    async def pass_time(self, merchant_ids: Sequence[int], *, by: timedelta) -> dict[TradeKey, datetime]:
        """Everything that these merchants' orders wait for lies further in the past; the send windows as they were."""
        rows = await self._fetch(_TIME_PASS, list(merchant_ids), by)
        return {TradeKey(row["lane"], row["order_id"], row["attempt"]): row["send_until"] for row in rows}

    async def list_paid_at(self, payments: Sequence[TradeKey]) -> dict[TradeKey, datetime]:
        """When these payments were made, by what budan believes of those that completed their orders."""
        rows = await self._fetch(
            _PAID_AT_LIST,
            [key.lane for key in payments],
            [key.order_id for key in payments],
            [key.attempt for key in payments],
        )
        return {TradeKey(row["lane"], row["order_id"], row["attempt"]): row["paid_at"] for row in rows}

    async def hasten_refunds(self, merchant_ids: Sequence[int], *, by: timedelta) -> None:
        """The next step of each of these merchants' refunds is due so much sooner."""
        await self._fetch(_REFUNDS_HASTEN, list(merchant_ids), by)

    @asynccontextmanager
    async def holding_outcomes(self) -> AsyncGenerator[None]:
        """Inside, no delivery's outcome can be written; whoever tries waits or gives up."""
        connection = await asyncpg.connect(self._dsn, timeout=CONNECT_S_MAX, command_timeout=STATEMENT_S_MAX)
        try:
            async with connection.transaction():
                await connection.execute(_OUTCOMES_HOLD)
                yield
        finally:
            connection.terminate()

    @asynccontextmanager
    async def accounts_disabled(self) -> AsyncGenerator[None]:
        """Inside, no channel account takes a new trade."""
        await self._fetch(_ACCOUNTS_ENABLE, False)  # noqa: FBT003 - a parameter of the statement
        try:
            yield
        finally:
            await self._fetch(_ACCOUNTS_ENABLE, True)  # noqa: FBT003 - a parameter of the statement
            await asyncio.sleep(ACCOUNTS_FOLLOWED_S)

    async def tell_order(self, *, lane: int, order_id: int) -> list[str]:
        """All that the database says of an order."""
        rows = await self._fetch(_ORDER_TELL, lane, order_id)
        return [f"{row['at']:%H:%M:%S.%f} {row['text']}" for row in rows]

    async def _fetch(self, text: str, *values: Any) -> list[Any]:
        connection = await asyncpg.connect(self._dsn, timeout=CONNECT_S_MAX, command_timeout=STATEMENT_S_MAX)
        try:
            return await connection.fetch(text, *values)
        finally:
            connection.terminate()
