"""Everything that an operator may want to know of orders, row by row."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar, cast

from budan.core.numbers import AccountId, Lane, MerchantId, OrderId
from budan.store.database import Transaction, columns
from budan.store.queries import Query, query

_ORDER_SCAN = query("order_scan")
_ORDER_SCAN_MERCHANT = query("order_scan_merchant")
_ORDER_FIND_WHOLE = query("order_find_whole")
_EVIDENCE_LIST_OF = query("evidence_list_of")
_NOTICE_FIRST_REJECTED = query("notice_first_rejected")
_NOTICE_LIST_OF = query("notice_list_of")
_POSTING_LIST_OF = query("posting_list_of")
_REMEDY_LIST_OF = query("remedy_list_of")
_CONTRADICTION_LIST_OF = query("contradiction_list_of")
_REFUND_LIST_OF = query("refund_list_of")
_REFUND_EVIDENCE_LIST_OF = query("refund_evidence_list_of")
_WEBHOOK_LIST_OF = query("webhook_list_of")
_DELIVERY_LIST_OF = query("delivery_list_of")

Key = tuple[Lane, OrderId]


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeOrder:
    """An order as its operator sees it."""

    lane: Lane
    order_id: OrderId
    merchant_id: MerchantId
    reference: str
    state: str
    version: int
    amount_minor: int
    currency: str
    subject: str
    created_at: datetime
    expires_at: datetime
    told_unpaid: bool
    hold_reason: str | None
    hold_since: datetime | None
    paid_at: datetime | None
    paid_attempt: int | None
    learned_source: str | None
    learned_at: datetime | None
    completed_at: datetime | None
    fee_rate_bp: int | None
    fee_minimum_minor: int | None
    fee_maximum_minor: int | None
    fee_minor: int | None
    refund_reserved_minor: int
    refunded_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceRow:
    """A statement that could end or complete a trade, and what was decided on it first."""

    lane: Lane
    order_id: OrderId
    attempt: int
    digest: str
    outcome: str
    source: str
    decision: str
    account_id: AccountId
    order_minor: int | None
    currency: str | None
    channel_reference: str | None
    paid_at: datetime | None
    asked_at: datetime | None
    learned_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeRow:
    """A verified notice, without its body."""

    lane: Lane
    order_id: OrderId
    id: int
    account_id: AccountId
    trade_no: str
    received_at: datetime
    decision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PostingRow:
    """A line of a journal entry."""

    lane: Lane
    order_id: OrderId
    entry_key: str
    line: int
    account: str
    amount_minor: int
    currency: str
    booked_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RemedyRow:
    """A completion that did not come the normal way."""

    lane: Lane
    order_id: OrderId
    attempt: int
    cause: str
    learned_source: str
    paid_at: datetime | None
    learned_at: datetime
    completed_at: datetime
    actor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContradictionRow:
    """Verified evidence that did not fit; `digest` names the evidence."""

    lane: Lane
    order_id: OrderId
    attempt: int
    digest: str
    mismatch: str
    found_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundRow:
    """Money that goes back, or went."""

    lane: Lane
    order_id: OrderId
    ordinal: int
    attempt: int
    state: str
    amount_minor: int
    currency: str
    reason: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundEvidenceRow:
    """What was said of a refund, and what was decided on it."""

    lane: Lane
    order_id: OrderId
    ordinal: int
    digest: str
    outcome: str
    source: str
    decision: str
    account_id: AccountId
    amount_minor: int | None
    currency: str | None
    channel_reference: str | None
    refunded_at: datetime | None
    asked_at: datetime | None
    learned_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRow:
    """An event for one endpoint; `taken_at` is set once it answered 2xx."""

    lane: Lane
    order_id: OrderId
    version: int
    endpoint_id: int
    event: str
    created_at: datetime
    taken_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRow:
    """One try to deliver an event."""

    lane: Lane
    order_id: OrderId
    version: int
    endpoint_id: int
    attempt: int
    started_at: datetime
    latency_ms: int
    status: int | None
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScannedOrders:
    """Keys found, newest first, and the order down to which all were looked at; None where nothing is left."""

    keys: list[Key]
    bound: Key | None


async def scan_orders(
    transaction: Transaction,
    *,
    lanes: Sequence[Lane],
    merchant_id: MerchantId | None,
    before: OrderId,
    since: OrderId,
    looked_at_max: int,
    state: str | None,
    held: bool,
) -> ScannedOrders:
    """Look at so many of the newest orders of each lane; a merchant's are in the one lane that is given."""
    if merchant_id is None:
        row = await transaction.one(_ORDER_SCAN, lanes, before, since, looked_at_max, state, held)
    else:
        (lane,) = lanes
        row = await transaction.one(_ORDER_SCAN_MERCHANT, lane, before, since, looked_at_max, state, held, merchant_id)
    keys = list(zip(row["lanes"], row["order_ids"], strict=True))
    bound = None if row["bound_id"] is None else (row["bound_lane"], row["bound_id"])
    return ScannedOrders(keys=keys, bound=bound)


async def find_orders(transaction: Transaction, keys: Sequence[Key]) -> dict[Key, WholeOrder]:
    """The orders of these keys; unknown ones are absent."""
    found: dict[Key, WholeOrder] = {}
    for row in await transaction.many(_ORDER_FIND_WHOLE, *columns(sorted(keys), 2)):
        fields = dict(row)
        fields["order_id"] = fields.pop("id")
        found[row["lane"], row["id"]] = WholeOrder(**fields)
    return found


async def list_evidence(transaction: Transaction, keys: Sequence[Key], *, rows_max: int) -> list[EvidenceRow]:
    """What was said of these orders, oldest first."""
    return await _list_of(transaction, _EVIDENCE_LIST_OF, EvidenceRow, keys, rows_max)


async def list_notices(transaction: Transaction, keys: Sequence[Key], *, rows_max: int) -> list[NoticeRow]:
    """The verified notices of these orders, oldest first."""
    return await _list_of(transaction, _NOTICE_LIST_OF, NoticeRow, keys, rows_max)


async def find_first_rejected(
    transaction: Transaction, account_id: AccountId, *, since: datetime, until: datetime
) -> datetime | None:
    """When the account was first told something in this time that we could not verify."""
    row = await transaction.one(_NOTICE_FIRST_REJECTED, account_id, since, until)
    return cast("datetime | None", row["rejected_at"])


async def list_postings(transaction: Transaction, keys: Sequence[Key], *, rows_max: int) -> list[PostingRow]:
    """What was booked for these orders, oldest first."""
    return await _list_of(transaction, _POSTING_LIST_OF, PostingRow, keys, rows_max)


async def list_remedies(transaction: Transaction, keys: Sequence[Key], *, rows_max: int) -> list[RemedyRow]:
    """The remedies of these orders, oldest first."""
    return await _list_of(transaction, _REMEDY_LIST_OF, RemedyRow, keys, rows_max)


async def list_contradictions(
    transaction: Transaction, keys: Sequence[Key], *, rows_max: int
) -> list[ContradictionRow]:
    """What did not fit these orders, oldest first."""
    return await _list_of(transaction, _CONTRADICTION_LIST_OF, ContradictionRow, keys, rows_max)


async def list_refunds(transaction: Transaction, keys: Sequence[Key], *, rows_max: int) -> list[RefundRow]:
    """The refunds of these orders, oldest first."""
    return await _list_of(transaction, _REFUND_LIST_OF, RefundRow, keys, rows_max)


async def list_refund_evidence(
    transaction: Transaction, keys: Sequence[Key], *, rows_max: int
) -> list[RefundEvidenceRow]:
    """What was said of the refunds of these orders, oldest first."""
    return await _list_of(transaction, _REFUND_EVIDENCE_LIST_OF, RefundEvidenceRow, keys, rows_max)


async def list_webhooks(transaction: Transaction, keys: Sequence[Key], *, rows_max: int) -> list[WebhookRow]:
    """The events of these orders, oldest first."""
    return await _list_of(transaction, _WEBHOOK_LIST_OF, WebhookRow, keys, rows_max)


async def list_deliveries(transaction: Transaction, keys: Sequence[Key], *, rows_max: int) -> list[DeliveryRow]:
    """The tries to deliver the events of these orders, oldest first."""
    return await _list_of(transaction, _DELIVERY_LIST_OF, DeliveryRow, keys, rows_max)


Row = TypeVar("Row")


async def _list_of(
    transaction: Transaction, statement: Query, made: type[Row], keys: Sequence[Key], rows_max: int
) -> list[Row]:
    rows = await transaction.many(statement, *columns(sorted(keys), 2), rows_max)
    return [made(**dict(row)) for row in rows]
