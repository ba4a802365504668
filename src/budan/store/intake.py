"""Order intake: claims, orders, trade intents."""

from collections.abc import Sequence
from typing import cast

from budan.core.numbers import Lane, MerchantId, OrderId
from budan.store.database import Transaction, columns, sparse_columns
from budan.store.queries import query
from budan.store.rows import Claim, ClaimOutcome, FirstCopy, NewOrder, NewTrade

_INTAKE_CLAIM = query("intake_claim")
_INTAKE_RELEASE = query("intake_release")
_INTAKE_ADD = query("intake_add")
_IDEMPOTENCY_LIST = query("idempotency_list")
_TRADE_OPEN = query("trade_open")

IdempotencyKey = tuple[Lane, MerchantId, str]


async def claim(transaction: Transaction, claims: Sequence[Claim]) -> dict[OrderId, ClaimOutcome]:
    """Claim keys and references; what another order owns already is not claimed."""
    rows = [
        (item.lane, item.merchant_id, item.order_id, item.reference, item.idempotency_key, item.request_digest)
        for item in claims
    ]
    row = await transaction.one(_INTAKE_CLAIM, *columns(rows, 6))
    keys, references = set(row["key_claimed"]), set(row["reference_claimed"])
    return {
        item.order_id: ClaimOutcome(
            key_claimed=item.order_id in keys,
            reference_claimed=item.order_id in references,
            now=row["now"],
        )
        for item in claims
    }


async def list_first_copies(
    transaction: Transaction,
    keys: Sequence[IdempotencyKey],
) -> dict[IdempotencyKey, FirstCopy]:
    """The orders that these idempotency keys made."""
    return {
        (row["lane"], row["merchant_id"], row["key"]): FirstCopy(
            order_id=row["order_id"],
            request_digest=row["request_digest"],
        )
        for row in await transaction.many(_IDEMPOTENCY_LIST, *columns(keys, 3))
    }


async def release(transaction: Transaction, claims: Sequence[Claim]) -> None:
    """Give back what refused items claimed in this transaction."""
    rows = [(item.lane, item.merchant_id, item.order_id, item.reference, item.idempotency_key) for item in claims]
    await transaction.none(_INTAKE_RELEASE, *columns(rows, 5))


async def add(transaction: Transaction, *, orders: Sequence[NewOrder], trades: Sequence[NewTrade]) -> None:
    """Write orders and trade intents, sorted by key; each order is due to be looked at, each trade to be asked about."""
    in_order = sorted(orders, key=lambda order: (order.lane, order.order_id))
    order_rows = [
        (
            order.lane,
            order.order_id,
            order.merchant_id,
            order.reference,
            order.state,
            order.amount_minor,
            order.currency,
            order.subject,
            order.shop_id,
            order.terminal_id,
            order.created_at,
            order.expires_at,
            order.trade_count,
        )
        for order in in_order
    ]
    trade_rows = [
        (
            trade.lane,
            trade.order_id,
            trade.attempt,
            trade.account_id,
            trade.channel,
            trade.method,
            trade.amount_minor,
            trade.currency,
            trade.fee_terms.rate_bp,
            trade.created_at,
            trade.send_until,
            trade.expires_at,
            trade.intent,
            trade.query_at,
            trade.fee_terms.minimum_minor,
            trade.fee_terms.maximum_minor,
            trade.cashback_offer,
        )
        for trade in sorted(trades, key=lambda trade: (trade.lane, trade.order_id, trade.attempt))
    ]
    looks = [order.expires_at if order.look_at is None else order.look_at for order in in_order]
    trade_columns = sparse_columns(trade_rows, 17)
    await transaction.none(
        _INTAKE_ADD, *sparse_columns(order_rows, 13), *trade_columns[:14], looks, *trade_columns[14:]
    )


async def open_trade(transaction: Transaction, *, lane: Lane, order_id: OrderId, version: int) -> int | None:
    """Count one more trade on a locked order and give its attempt; None when the order changed or takes none."""
    row = await transaction.maybe(_TRADE_OPEN, lane, order_id, version)
    return None if row is None else cast("int", row["trade_count"])
