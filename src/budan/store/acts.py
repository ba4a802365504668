"""What persons do to orders: holds, proposals and their confirmation, and the contradictions that they settle."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from budan.core.numbers import Lane, OrderId
from budan.store.database import Transaction, columns
from budan.store.queries import query

_ACT_LIST_OF = query("act_list_of")
_ACT_ADD = query("act_add")
_ACT_CONFIRM = query("act_confirm")
_ACT_ANSWERED_AT = query("act_answered_at")
_ORDER_HOLD_IF = query("order_hold_if")
_ORDER_RELEASE_IF = query("order_release_if")
_CONTRADICTION_LIST_OPEN = query("contradiction_list_open")
_CONTRADICTION_LIST_SETTLED = query("contradiction_list_settled")
_CONTRADICTION_SETTLE = query("contradiction_settle")

Key = tuple[Lane, OrderId]
# A statement about a trade: lane, order, attempt, digest.
StatementKey = tuple[Lane, OrderId, int, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActRow:
    """What a person did or proposed, and who agreed; `wish` is JSON."""

    lane: Lane
    order_id: OrderId
    ordinal: int
    kind: str
    acted_by: str
    reason: str
    acted_at: datetime
    wish: str
    confirmed_by: str | None
    confirmed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenContradiction:
    """Evidence that did not fit and that no release has settled; `statement` is None where it was of a refund."""

    lane: Lane
    order_id: OrderId
    attempt: int
    digest: bytes
    mismatch: str
    found_at: datetime
    statement: str | None


async def list_acts(transaction: Transaction, keys: Sequence[Key], *, rows_max: int) -> list[ActRow]:
    """What persons did to these orders, oldest first."""
    rows = await transaction.many(_ACT_LIST_OF, *columns(sorted(keys), 2), rows_max)
    return [ActRow(**dict(row)) for row in rows]


async def add_act(
    transaction: Transaction, key: Key, *, kind: str, acted_by: str, reason: str, acted_at: datetime, wish: str
) -> int:
    """Write an act down and give its ordinal; the order is held by the gate."""
    row = await transaction.one(_ACT_ADD, *key, kind, acted_by, reason, acted_at, wish)
    return cast("int", row["ordinal"])


async def confirm_act(
    transaction: Transaction, key: Key, *, ordinal: int, confirmed_by: str, confirmed_at: datetime
) -> None:
    """Another person agrees; one that is confirmed already stays as it is."""
    await transaction.none(_ACT_CONFIRM, *key, ordinal, confirmed_by, confirmed_at)


async def find_answered_at(transaction: Transaction, key: Key, *, attempt: int) -> datetime | None:
    """When the trade's channel last answered, of this trade or another, whatever it said; None where it never did."""
    row = await transaction.maybe(_ACT_ANSWERED_AT, *key, attempt)
    return None if row is None else row["answered_at"]


async def hold_order_if(transaction: Transaction, key: Key, *, version: int, reason: str, now: datetime) -> bool:
    """Hold an order that is not on hold; False where its version is another one."""
    return await transaction.maybe(_ORDER_HOLD_IF, *key, version, reason, now) is not None


async def release_order_if(transaction: Transaction, key: Key, *, version: int) -> bool:
    """Lift a hold; False where the order's version is another one."""
    return await transaction.maybe(_ORDER_RELEASE_IF, *key, version) is not None


async def list_open_contradictions(transaction: Transaction, keys: Sequence[Key]) -> list[OpenContradiction]:
    """What did not fit these orders and is not settled, oldest first."""
    rows = await transaction.many(_CONTRADICTION_LIST_OPEN, *columns(sorted(keys), 2))
    return [OpenContradiction(**dict(row)) for row in rows]


async def find_settled(
    transaction: Transaction, statements: Sequence[StatementKey]
) -> dict[StatementKey, datetime | None]:
    """Which of these statements a release has settled, and when two persons accepted it; None where it was cleared."""
    rows = await transaction.many(_CONTRADICTION_LIST_SETTLED, *columns(sorted(statements), 4))
    return {(row["lane"], row["order_id"], row["attempt"], row["digest"]): row["accepted_at"] for row in rows}


async def settle_contradictions(
    transaction: Transaction, key: Key, *, act: int, settled: Sequence[tuple[int, bytes, str]]
) -> None:
    """Keep what a release settled: attempt, digest, and `cleared` or `accepted`. Safe to repeat."""
    await transaction.none(_CONTRADICTION_SETTLE, *key, act, *columns(sorted(settled), 3))
