"""Compares the three independent records of a run: what the channel took, what budan booked, what merchants were told."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any, Final

import asyncpg
import msgspec

from budan.proof.queries import query
from budan.proof.records import CONNECT_S_MAX, Webhook, read_webhooks
from budan.proof.truth import TradeKey, TrueTrade, parse_merchant_id, parse_trade_no, read_truth

STATEMENT_S_MAX: Final = 120.0
# A broken run may break everything: so many are named, all are counted.
EXAMPLES_MAX: Final = 5
_ORDERS_LIST: Final = query("audit_orders_list")
_PAYMENTS_LIST: Final = query("audit_payments_list")
_ENTRIES_UNBALANCED: Final = query("audit_entries_unbalanced")
_REFUNDS_LIST: Final = query("audit_refunds_list")
_BALANCES_LIST: Final = query("audit_balances_list")
_NOTICES_LIST: Final = query("audit_notices_list")
_WEBHOOKS_LIST: Final = query("audit_webhooks_list")
_TRADES_LIST: Final = query("audit_trades_list")
_PAID_EVENT: Final = "order.paid"
# What a merchant must have been told of an order, and of a refund, that has come to this.
_ORDER_EVENTS: Final = {"paid": _PAID_EVENT, "expired": "order.expired", "closed": "order.closed"}
# A charge whose cancel gave money back is told so in the place of the order's end.
_RETURNED_EVENT: Final = "order.payment_returned"
_REFUND_EVENTS: Final = {"succeeded": "refund.succeeded", "failed": "refund.failed", "abnormal": "refund.abnormal"}
# A request that left in time may be recorded by a busy channel a little after its window.
SEND_SLACK: Final = timedelta(seconds=3)
_REFUND_ENDS: Final = frozenset({"succeeded", "failed", "abnormal"})

OrderKey = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One broken promise: whose, and how it is named."""

    order: OrderKey
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BookedOrder:
    """An order as budan's tables have it; `payments` are booked amounts by attempt, for the merchant and in all.

    `channel_minor` is the money that the books have at channels for it, `suspended` the attempts whose money lies in
    suspense, `notices` and `webhooks` how many were stored.
    """

    state: str
    amount_minor: int
    paid_attempt: int | None
    completed_at: datetime | None
    payments: Mapping[int, tuple[int, int]]
    channel_minor: int = 0
    suspended: frozenset[int] = frozenset()
    notices: int = 0
    webhooks: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BookedRefund:
    """A refund as budan's tables have it; `ordinal` is its number among its order's."""

    ordinal: int
    origin: str
    state: str

    @property
    def event(self) -> str | None:
        """What its merchant must have been told of it; a payment that must go back all the same begins anew unheard."""
        begins_anew = self.origin == "unwanted" and self.state == "failed"
        return None if begins_anew else _REFUND_EVENTS.get(self.state)


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """All that budan wrote down about a run; `refunds` are those of each trade."""

    orders: Mapping[OrderKey, BookedOrder]
    unbalanced: Collection[OrderKey]
    refunds: Mapping[TradeKey, Sequence[BookedRefund]]
    send_until: Mapping[TradeKey, datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What budan told a caller of an order: that it is taken, for a charge whether it is paid, or which refund it took."""

    order_no: str
    payment_status: str
    refund_no: str | None = None


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of the comparison. Everything from `refunds_unknown` on must be zero; `examples` names some that are not.

    `lost`: paid at the channel, neither completed nor back with its payer nor in suspense. `doubled`: completed or told
    more than once, or given back so. `wrongly_completed`: completed without that payment at the channel, told to a merchant so, or
    completed after a caller was told that it is not paid. `unbalanced`: an entry that does not sum to zero, a paid
    order whose booked payment is not its amount, or books that have another sum at the channel than the channel.
    `webhooks_missing`: an event that the merchant does not have: one that was written, or that an order or a refund in
    its state must have had. `unkept`: a success answer whose row is not there
    (I1). `sent_late`: at the channel after the send window of its intent (I11). `refunds_unknown`: without an end that
    the channel told. `webhooks_repeated` is allowed: the same event, delivered again.
    """

    orders: int
    paid: int
    completed: int
    webhooks: int
    webhooks_repeated: int
    refunds_unknown: int
    lost: int
    doubled: int
    wrongly_completed: int
    unbalanced: int
    webhooks_missing: int
    unkept: int
    sent_late: int
    examples: list[str]
    concerned: list[OrderKey]

    @property
    def holds(self) -> bool:
        """Whether every promise was kept."""
        broken = (self.lost, self.doubled, self.wrongly_completed, self.unbalanced, self.webhooks_missing)
        return not any((*broken, self.unkept, self.sent_late, self.refunds_unknown))


async def audit_run(
    *,
    dsn: str,
    merchant_ids: Sequence[int],
    truth_file: Path,
    events_file: Path,
    answers: Sequence[Answer] = (),
) -> Audit:
    """The audit of a run of these merchants that has come to rest: everything paid long enough ago to be told."""
    books = await read_books(dsn=dsn, merchant_ids=merchant_ids)
    wanted = set(merchant_ids)
    return compare(
        truth=[trade for trade in read_truth(truth_file) if trade.merchant_id in wanted],
        books=books,
        webhooks=[event for event in read_webhooks(events_file) if parse_merchant_id(event.order.order_no) in wanted],
        answers=answers,
    )


def tell_webhooks(path: Path, *, lane: int, order_id: int) -> list[str]:
    """What the merchant was told of an order, a line each."""
    return [
        f"{event.at:%H:%M:%S.%f} {event.webhook_id} {event.type}: {event.order.state} {event.order.amount_minor}"
        for event in read_webhooks(path)
        if parse_trade_no(event.order.order_no).order == (lane, order_id)
    ]


def compare(
    *, truth: Sequence[TrueTrade], books: Books, webhooks: Sequence[Webhook], answers: Sequence[Answer] = ()
) -> Audit:
    """The findings of three records, and of what callers were answered; pure."""
    paid = {trade.key: trade for trade in truth if trade.paid_at is not None}
    told = _told(webhooks)
    findings: dict[str, list[Finding]] = {
        "lost": _lost(paid, books),
        "doubled": _doubled(truth, books, told),
        "wrongly_completed": [*_wrongly_completed(paid, books, told), *_wrongly_answered(books, answers)],
        "unbalanced": _unbalanced(truth, books),
        "webhooks_missing": _webhooks_missing(books, webhooks),
        "unkept": _unkept(truth, books, answers),
        "sent_late": _sent_late(truth, books),
    }
    return Audit(
        orders=len(books.orders),
        paid=len(paid),
        completed=len(_completed(books)),
        webhooks=len(webhooks),
        webhooks_repeated=len(webhooks) - len({webhook.webhook_id for webhook in webhooks}),
        refunds_unknown=sum(one.state not in _REFUND_ENDS for one in chain.from_iterable(books.refunds.values())),
        **{kind: len(found) for kind, found in findings.items()},
        examples=[f"{kind}: {one.text}" for kind, found in findings.items() for one in found[:EXAMPLES_MAX]],
        concerned=sorted({one.order for found in findings.values() for one in found[:EXAMPLES_MAX]}),
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
            merchants = list(merchant_ids)
            lists = _OrderLists(
                orders=await connection.fetch(_ORDERS_LIST, merchants),
                payments=await connection.fetch(_PAYMENTS_LIST, merchants),
                balances=await connection.fetch(_BALANCES_LIST, merchants),
                notices=await connection.fetch(_NOTICES_LIST, merchants),
                webhooks=await connection.fetch(_WEBHOOKS_LIST, merchants),
            )
            unbalanced = await connection.fetch(_ENTRIES_UNBALANCED, merchants)
            refunds = await connection.fetch(_REFUNDS_LIST, merchants)
            trades = await connection.fetch(_TRADES_LIST, merchants)
    finally:
        connection.terminate()
    return Books(
        orders=_booked_orders(lists),
        unbalanced={(row["lane"], row["order_id"]) for row in unbalanced},
        refunds=_booked_refunds(refunds),
        send_until={TradeKey(row["lane"], row["order_id"], row["attempt"]): row["send_until"] for row in trades},
    )


def _booked_refunds(rows: Sequence[Any]) -> dict[TradeKey, list[BookedRefund]]:
    found: dict[TradeKey, list[BookedRefund]] = {}
    for row in rows:
        refund = BookedRefund(ordinal=row["ordinal"], origin=row["origin"], state=row["state"])
        found.setdefault(TradeKey(row["lane"], row["order_id"], row["attempt"]), []).append(refund)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _OrderLists:
    """Rows that are about orders, as they were read."""

    orders: Sequence[Any]
    payments: Sequence[Any]
    balances: Sequence[Any]
    notices: Sequence[Any]
    webhooks: Sequence[Any]


def _booked_orders(lists: _OrderLists) -> dict[OrderKey, BookedOrder]:
    by_order: dict[OrderKey, dict[int, tuple[int, int]]] = {}
    for row in lists.payments:
        attempt = int(row["entry_key"].removeprefix("payment:"))
        booked = by_order.setdefault((row["lane"], row["order_id"]), {})
        booked[attempt] = (row["merchant_minor"], row["amount_minor"])
    balances = {(row["lane"], row["order_id"]): row for row in lists.balances}
    notices = _counts(lists.notices)
    webhooks = _counts(lists.webhooks)
    found: dict[OrderKey, BookedOrder] = {}
    for row in lists.orders:
        key = (row["lane"], row["order_id"])
        balance = balances.get(key)
        found[key] = BookedOrder(
            state=row["state"],
            amount_minor=row["amount_minor"],
            paid_attempt=row["paid_attempt"],
            completed_at=row["completed_at"],
            payments=by_order.get(key, {}),
            channel_minor=0 if balance is None else balance["channel_minor"],
            suspended=frozenset() if balance is None else frozenset(balance["suspended"]),
            notices=notices.get(key, 0),
            webhooks=webhooks.get(key, 0),
        )
    return found


def _counts(rows: Sequence[Any]) -> dict[OrderKey, int]:
    return {(row["lane"], row["order_id"]): row["times"] for row in rows}


def _told(webhooks: Sequence[Webhook]) -> dict[OrderKey, list[Webhook]]:
    """The events `order.paid` by order, each once."""
    told: dict[OrderKey, dict[str, Webhook]] = {}
    for webhook in webhooks:
        if webhook.type == _PAID_EVENT:
            key = parse_trade_no(webhook.order.order_no).order
            told.setdefault(key, {})[webhook.webhook_id] = webhook
    return {key: list(events.values()) for key, events in told.items()}


def _completed(books: Books) -> list[OrderKey]:
    return [key for key, order in books.orders.items() if order.state == "paid"]


def _lost(paid: Mapping[TradeKey, TrueTrade], books: Books) -> list[Finding]:
    """What completes nothing must be back with its payer, by the channel's own word: a refund's row returns nothing (I9)."""
    found: list[Finding] = []
    for key, trade in paid.items():
        order = books.orders.get(key.order)
        completes = order is not None and order.state == "paid" and order.paid_attempt == key.attempt
        is_suspended = order is not None and key.attempt in order.suspended
        if not completes and not is_suspended and trade.kept_minor > 0:
            found.append(_of_trade(key))
    return found


def _doubled(truth: Sequence[TrueTrade], books: Books, told: Mapping[OrderKey, Sequence[Webhook]]) -> list[Finding]:
    """Credited twice, told twice, or given back more than came."""
    credited = Counter(
        key for key, order in books.orders.items() for merchant_minor, _ in order.payments.values() if merchant_minor
    )
    twice = {key for key, count in credited.items() if count > 1} | {
        key for key, events in told.items() if len(events) > 1
    }
    twice |= {trade.key.order for trade in truth if trade.kept_minor < 0}
    return [_of_order(key) for key in sorted(twice)]


def _wrongly_completed(
    paid: Mapping[TradeKey, TrueTrade], books: Books, told: Mapping[OrderKey, Sequence[Webhook]]
) -> list[Finding]:
    found: list[Finding] = []
    for key, order in books.orders.items():
        if order.state == "paid":
            assert order.paid_attempt is not None, "the table's CHECK"
            trade = paid.get(TradeKey(*key, order.paid_attempt))
            if trade is None or trade.amount_minor != order.amount_minor:
                found.append(_of_order(key))
    for key, events in told.items():
        for event in events:
            trade_no = event.order.trade_no
            trade = None if trade_no is None else paid.get(parse_trade_no(trade_no))
            if trade is None or trade.amount_minor != event.order.amount_minor:
                found.append(Finding(order=key, text=f"told {event.webhook_id}"))
    return found


def _wrongly_answered(books: Books, answers: Sequence[Answer]) -> list[Finding]:
    """The last word to a caller stands: "unpaid" is never completed afterwards, "paid" is."""
    found: list[Finding] = []
    for answer in answers:
        key = parse_trade_no(answer.order_no).order
        order = books.orders.get(key)
        is_paid = order is not None and order.state == "paid"
        if (answer.payment_status == "paid" and not is_paid) or (answer.payment_status == "unpaid" and is_paid):
            found.append(Finding(order=key, text=f"{_name(key)} answered {answer.payment_status}"))
    return found


def _unbalanced(truth: Sequence[TrueTrade], books: Books) -> list[Finding]:
    """Money in suspense is what somebody claimed, so an order that has some is compared by a person."""
    at_channel: Counter[OrderKey] = Counter()
    for trade in truth:
        at_channel[trade.key.order] += trade.kept_minor
    wrong = {
        key
        for key, order in books.orders.items()
        if (order.state == "paid" and order.payments.get(order.paid_attempt or 0, (0, 0))[1] != order.amount_minor)
        or (not order.suspended and _is_booked(order) and order.channel_minor != at_channel[key])
    }
    return [_of_order(key) for key in sorted({*wrong, *books.unbalanced})]


def _is_booked(order: BookedOrder) -> bool:
    """What was not booked at all is lost, and counted there."""
    return bool(order.payments)


def _webhooks_missing(books: Books, webhooks: Sequence[Webhook]) -> list[Finding]:
    """Of what was written, and of what must have been written by the states of orders and refunds alone."""
    taken: dict[OrderKey, set[str]] = {}
    told: set[tuple[str, OrderKey, int]] = set()
    for webhook in webhooks:
        key = parse_trade_no(webhook.order.order_no).order
        taken.setdefault(key, set()).add(webhook.webhook_id)
        refund_no = webhook.order.refund_no
        said = f"order.{webhook.order.state}" if webhook.type == _RETURNED_EVENT else webhook.type
        told.add((said, key, 0 if refund_no is None else parse_trade_no(refund_no).attempt))
    owed = {(event, key, 0) for key, order in books.orders.items() if (event := _ORDER_EVENTS.get(order.state))}
    owed |= {
        (event, trade.order, one.ordinal)
        for trade, refunds in books.refunds.items()
        for one in refunds
        if (event := one.event)
    }
    missing = {key for key, order in books.orders.items() if len(taken.get(key, ())) < order.webhooks}
    return [_of_order(key) for key in sorted(missing | {key for _, key, _ in owed - told})]


def _unkept(truth: Sequence[TrueTrade], books: Books, answers: Sequence[Answer]) -> list[Finding]:
    keys = {parse_trade_no(answer.order_no).order for answer in answers}
    found = [
        Finding(order=key, text=f"{_name(key)} answered and not there") for key in sorted(keys - books.orders.keys())
    ]
    promised: dict[OrderKey, set[str]] = {}
    for answer in answers:
        if answer.refund_no is not None:
            promised.setdefault(parse_trade_no(answer.order_no).order, set()).add(answer.refund_no)
    kept = Counter(key.order for key, refunds in books.refunds.items() for _ in refunds)
    found += [
        Finding(order=key, text=f"{_name(key)} refund answered and not there")
        for key, refunds in promised.items()
        if kept[key] < len(refunds)
    ]
    for trade in truth:
        order = books.orders.get(trade.key.order)
        if trade.notices_acknowledged and (order is None or not order.notices):
            found.append(Finding(order=trade.key.order, text=f"{_name(trade.key)} notice acknowledged and not there"))
    return found


def _sent_late(truth: Sequence[TrueTrade], books: Books) -> list[Finding]:
    return [
        _of_trade(trade.key)
        for trade in truth
        if trade.key in books.send_until and trade.placed_at > books.send_until[trade.key] + SEND_SLACK
    ]


def _of_trade(key: TradeKey) -> Finding:
    return Finding(order=key.order, text=_name(key))


def _of_order(key: OrderKey) -> Finding:
    return Finding(order=key, text=_name(key))


def _name(key: TradeKey | OrderKey) -> str:
    return "/".join(map(str, key))
