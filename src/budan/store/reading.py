"""Orders and trades as people and programs see them."""

from collections.abc import Sequence
from typing import cast

from budan.core.numbers import Lane, MerchantId, OrderId
from budan.store.database import Record, Transaction, columns
from budan.store.queries import query
from budan.store.rows import OrderRow, TradeRow

_ORDER_FIND_MANY = query("order_find_many")
_ORDER_LIST = query("order_list")
_ORDER_FIND_REFERENCE = query("order_find_reference")
_ORDER_FIND_NTH = query("order_find_nth")
_ORDER_COUNT_OPEN_OF_PAGE = query("order_count_open_of_page")
_TRADE_LIST_MANY = query("trade_list_many")

Key = tuple[Lane, OrderId]


async def find_orders(transaction: Transaction, keys: Sequence[Key]) -> dict[Key, OrderRow]:
    """The orders of these keys; unknown ones are absent."""
    rows = await transaction.many(_ORDER_FIND_MANY, *columns(sorted(keys), 2))
    return {(row["lane"], row["id"]): _order(row) for row in rows}


async def list_orders(
    transaction: Transaction,
    *,
    lane: Lane,
    merchant_id: MerchantId,
    before: OrderId,
    rows_max: int,
    state: str | None,
    looked_at_max: int,
) -> list[OrderRow]:
    """A merchant's orders older than `before`, newest first; those in `state` of the first `looked_at_max`."""
    rows = await transaction.many(_ORDER_LIST, lane, merchant_id, before, rows_max, state, looked_at_max)
    return [_order(row) for row in rows]


async def find_nth(
    transaction: Transaction, *, lane: Lane, merchant_id: MerchantId, before: OrderId, nth: int
) -> OrderId | None:
    """The id of a merchant's `nth` order before `before`, counted from the newest; None where there are fewer."""
    row = await transaction.maybe(_ORDER_FIND_NTH, lane, merchant_id, before, nth)
    return None if row is None else cast("OrderId", row["id"])


async def count_open_of_page(
    transaction: Transaction,
    *,
    lane: Lane,
    merchant_id: MerchantId,
    shop_id: int,
    oldest: OrderId,
    rows_max: int,
) -> int:
    """How many orders of a shop's page wait, of the merchant's newest `rows_max` that are no older than `oldest`."""
    row = await transaction.one(_ORDER_COUNT_OPEN_OF_PAGE, lane, merchant_id, shop_id, oldest, rows_max)
    return row["waiting"]


async def find_reference(
    transaction: Transaction,
    *,
    lane: Lane,
    merchant_id: MerchantId,
    reference: str,
) -> OrderId | None:
    """The order that a merchant calls `reference`."""
    row = await transaction.maybe(_ORDER_FIND_REFERENCE, lane, merchant_id, reference)
    return None if row is None else cast("OrderId", row["order_id"])


async def list_trades(transaction: Transaction, keys: Sequence[Key]) -> dict[Key, list[TradeRow]]:
    """The trades of these orders, oldest first."""
    found: dict[Key, list[TradeRow]] = {}
    for row in await transaction.many(_TRADE_LIST_MANY, *columns(sorted(keys), 2)):
        found.setdefault((row["lane"], row["order_id"]), []).append(TradeRow(**dict(row)))
    return found


def _order(row: Record) -> OrderRow:
    fields = dict(row)
    fields["order_id"] = fields.pop("id")
    return OrderRow(**fields)
