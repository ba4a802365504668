"""Compares the three independent records of a run: what the channel took, what budan booked, what merchants were told."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import asyncpg
import msgspec

from budan.proof.queries import query
from budan.proof.records import CONNECT_S_MAX, Webhook, read_webhooks
from budan.proof.truth import TradeKey, TrueTrade, parse_trade_no, read_truth

STATEMENT_S_MAX: Final = 120.0
# A broken run may break everything: so many are named, all are counted.
EXAMPLES_MAX: Final = 5
_ORDERS_LIST: Final = query("audit_orders_list")
_PAYMENTS_LIST: Final = query("audit_payments_list")
_ENTRIES_UNBALANCED: Final = query("audit_entries_unbalanced")
_REFUNDS_LIST: Final = query("audit_refunds_list")
_PAID_EVENT: Final = "order.paid"

OrderKey = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class BookedOrder:
    """An order as budan's tables have it; `payments` are booked amounts by attempt, for the merchant and in all."""

    state: str
    amount_minor: int
    paid_attempt: int | None
    completed_at: datetime | None
    payments: Mapping[int, tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """All that budan wrote down about a run."""

    orders: Mapping[OrderKey, BookedOrder]
    unbalanced: Collection[OrderKey]
    refunds: Collection[TradeKey]


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of the comparison. Everything from `lost` on must be zero; `examples` names some that are not.

    `lost`: paid at the channel, neither completed nor on its way back. `doubled`: completed or told more than once.
    `wrongly_completed`: completed without that payment at the channel, or told to a merchant so. `unbalanced`: an
    entry that does not sum to zero, or a paid order whose booked payment is not its amount. `webhooks_missing`:
    completed, and the merchant has no event. `webhooks_repeated` is allowed: the same event, delivered again.
    """

    orders: int
    paid: int
    completed: int
    webhooks: int
    webhooks_repeated: int
    lost: int
    doubled: int
    wrongly_completed: int
    unbalanced: int
    webhooks_missing: int
    examples: list[str]

    @property
    def holds(self) -> bool:
        """Whether every promise was kept."""
        return not (self.lost or self.doubled or self.wrongly_completed or self.unbalanced or self.webhooks_missing)


async def audit_run(*, dsn: str, merchant_ids: Sequence[int], truth_file: Path, events_file: Path) -> Audit:
    """The audit of a run that has come to rest: everything paid long enough ago to be told."""
    books = await read_books(dsn=dsn, merchant_ids=merchant_ids)
    return compare(truth=read_truth(truth_file), books=books, webhooks=read_webhooks(events_file))


def compare(*, truth: Sequence[TrueTrade], books: Books, webhooks: Sequence[Webhook]) -> Audit:
    """The findings of three records; pure."""
    paid = {trade.key: trade for trade in truth if trade.paid_at is not None}
    told = _told(webhooks)
    findings = {
        "lost": _lost(paid, books),
        "doubled": _doubled(books, told),
        "wrongly_completed": _wrongly_completed(paid, books, told),
        "unbalanced": _unbalanced(books),
        "webhooks_missing": [_name(key) for key in _completed(books) if key not in told],
    }
    return Audit(
        orders=len(books.orders),
        paid=len(paid),
        completed=len(_completed(books)),
        webhooks=len(webhooks),
        webhooks_repeated=len(webhooks) - len({webhook.webhook_id for webhook in webhooks}),
        lost=len(findings["lost"]),
        doubled=len(findings["doubled"]),
        wrongly_completed=len(findings["wrongly_completed"]),
        unbalanced=len(findings["unbalanced"]),
        webhooks_missing=len(findings["webhooks_missing"]),
        examples=[f"{kind}: {name}" for kind, names in findings.items() for name in names[:EXAMPLES_MAX]],
    )


async def read_books(*, dsn: str, merchant_ids: Sequence[int]) -> Books:
    """What budan wrote, in one snapshot, over a connection that can only read."""
    connection = await asyncpg.connect(
        dsn,
        timeout=CONNECT_S_MAX,
        command_timeout=STATEMENT_S_MAX,
        server_settings={"default_transaction_read_only": "on"},
    )
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            orders = await connection.fetch(_ORDERS_LIST, list(merchant_ids))
            payments = await connection.fetch(_PAYMENTS_LIST, list(merchant_ids))
            unbalanced = await connection.fetch(_ENTRIES_UNBALANCED)
            refunds = await connection.fetch(_REFUNDS_LIST)
    finally:
        connection.terminate()
    return Books(
        orders=_booked_orders(orders, payments),
        unbalanced={(row["lane"], row["order_id"]) for row in unbalanced},
        refunds={TradeKey(row["lane"], row["order_id"], row["attempt"]) for row in refunds},
    )


def _booked_orders(orders: Sequence[Any], payments: Sequence[Any]) -> dict[OrderKey, BookedOrder]:
    by_order: dict[OrderKey, dict[int, tuple[int, int]]] = {}
    for row in payments:
        attempt = int(row["entry_key"].removeprefix("payment:"))
        booked = by_order.setdefault((row["lane"], row["order_id"]), {})
        booked[attempt] = (row["merchant_minor"], row["amount_minor"])
    return {
        (row["lane"], row["order_id"]): BookedOrder(
            state=row["state"],
            amount_minor=row["amount_minor"],
            paid_attempt=row["paid_attempt"],
            completed_at=row["completed_at"],
            payments=by_order.get((row["lane"], row["order_id"]), {}),
        )
        for row in orders
    }


def _told(webhooks: Sequence[Webhook]) -> dict[OrderKey, list[Webhook]]:
    """The events `order.paid` by order, each once."""
    told: dict[OrderKey, dict[str, Webhook]] = {}
    for webhook in webhooks:
        if webhook.type == _PAID_EVENT:
            key = parse_trade_no(webhook.order.trade_no)
            told.setdefault((key.lane, key.order_id), {})[webhook.webhook_id] = webhook
    return {key: list(events.values()) for key, events in told.items()}


def _completed(books: Books) -> list[OrderKey]:
    return [key for key, order in books.orders.items() if order.state == "paid"]


def _lost(paid: Mapping[TradeKey, TrueTrade], books: Books) -> list[str]:
    found: list[str] = []
    for key, trade in paid.items():
        order = books.orders.get((key.lane, key.order_id))
        completes = order is not None and order.state == "paid" and order.paid_attempt == key.attempt
        if not completes and not trade.is_returned and key not in books.refunds:
            found.append(_name(key))
    return found


def _doubled(books: Books, told: Mapping[OrderKey, Sequence[Webhook]]) -> list[str]:
    credited = Counter(
        key for key, order in books.orders.items() for merchant_minor, _ in order.payments.values() if merchant_minor
    )
    twice = {key for key, count in credited.items() if count > 1} | {
        key for key, events in told.items() if len(events) > 1
    }
    return [_name(key) for key in twice]


def _wrongly_completed(
    paid: Mapping[TradeKey, TrueTrade], books: Books, told: Mapping[OrderKey, Sequence[Webhook]]
) -> list[str]:
    found: list[str] = []
    for (lane, order_id), order in books.orders.items():
        if order.state == "paid":
            assert order.paid_attempt is not None, "the table's CHECK"
            trade = paid.get(TradeKey(lane, order_id, order.paid_attempt))
            if trade is None or trade.amount_minor != order.amount_minor:
                found.append(_name((lane, order_id)))
    for events in told.values():
        for event in events:
            trade = paid.get(parse_trade_no(event.order.trade_no))
            if trade is None or trade.amount_minor != event.order.amount_minor:
                found.append(f"told {event.webhook_id}")
    return found


def _unbalanced(books: Books) -> list[str]:
    wrong = [
        key
        for key, order in books.orders.items()
        if order.state == "paid" and order.payments.get(order.paid_attempt or 0, (0, 0))[1] != order.amount_minor
    ]
    return [_name(key) for key in {*wrong, *books.unbalanced}]


def _name(key: TradeKey | OrderKey) -> str:
    return "/".join(map(str, key))
