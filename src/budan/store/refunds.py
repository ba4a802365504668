"""Refunds: what is read and written of them, the order row locked first."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from budan.core.numbers import AccountId, Lane, MerchantId, OrderId
from budan.core.refund import Refund, RefundEvidence, refund_evidence_digest
from budan.store.database import Transaction, columns
from budan.store.door import Key
from budan.store.queries import query

_REFUND_FIND_MANY = query("refund_find_many")
_REFUND_WRITE = query("refund_write")
_REFUND_PREPARE = query("refund_prepare")
_REFUND_CLAIM_KEY = query("refund_claim_key")
_REFUND_FIND_KEY = query("refund_find_key")
_REFUND_LIST_DUE = query("refund_list_due")


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundRow:
    """A refund as it stands; `intent` is the JSON text of every value of its request.

    `by_total` is of one made past us whose amount is what its trade's total left over: it may be several refunds.
    """

    lane: Lane
    order_id: OrderId
    ordinal: int
    attempt: int
    origin: str
    state: str
    amount_minor: int
    currency: str
    reason: str
    created_at: datetime
    intent: str | None
    to_send: bool
    refused: bool
    untaken: bool
    send_until: datetime | None
    send_after: datetime | None
    channel_reference: str | None
    refunded_at: datetime | None
    ended_at: datetime | None
    fee_given_back_minor: int
    code: str
    message: str
    by_total: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DueRefund:
    """A refund whose next step is due; `now` is the database's clock when the row was read."""

    lane: Lane
    order_id: OrderId
    ordinal: int
    attempts: int
    due_at: datetime
    attempt: int
    to_send: bool
    created_at: datetime
    refund_reference: str | None
    account_id: AccountId
    channel_reference: str | None
    merchant_id: MerchantId
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SumsChange:
    """What moves in the sums of a trade."""

    key: Key
    attempt: int
    reserved_minor: int = 0
    refunded_minor: int = 0
    elsewhere_minor: int = 0
    fee_minor: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundChange:
    """The refund row after an evidence."""

    key: Key
    refund: Refund
    evidence: RefundEvidence
    asked: bool
    ended: bool
    fee_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundMade:
    """A new refund row: an intent, or one that was made past us and is over."""

    key: Key
    ordinal: int
    attempt: int
    origin: str
    state: str
    amount_minor: int
    currency: str
    reason: str
    send_after: datetime | None = None
    channel_reference: str | None = None
    refunded_at: datetime | None = None
    learned_source: str | None = None
    fee_minor: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NextStep:
    """When a refund's next step is due; `due_at` None means never."""

    key: Key
    ordinal: int
    due_at: datetime | None
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRefundEvidence:
    """A statement that could end a refund, with what was decided on it."""

    key: Key
    ordinal: int
    evidence: RefundEvidence
    decision: str


@dataclass(slots=True, kw_only=True)
class RefundWrites:
    """Everything that one transaction writes of refunds, collected by table."""

    sums: list[SumsChange] = field(default_factory=list[SumsChange])
    changes: list[RefundChange] = field(default_factory=list[RefundChange])
    made: list[RefundMade] = field(default_factory=list[RefundMade])
    evidence: list[KeptRefundEvidence] = field(default_factory=list[KeptRefundEvidence])
    steps: list[NextStep] = field(default_factory=list[NextStep])


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKey:
    """What an idempotency key made; `refund_ordinal` is None where it made an order."""

    request_digest: bytes
    order_id: OrderId
    refund_ordinal: int | None


async def list_refunds(transaction: Transaction, keys: Sequence[Key]) -> dict[Key, list[RefundRow]]:
    """The refunds of these orders, oldest first."""
    found: dict[Key, list[RefundRow]] = {}
    for row in await transaction.many(_REFUND_FIND_MANY, *columns(sorted(keys), 2)):
        found.setdefault((row["lane"], row["order_id"]), []).append(RefundRow(**dict(row)))
    return found


async def write_refunds(transaction: Transaction, writes: RefundWrites, *, now: datetime) -> None:
    """Write what refunds change; the caller holds the orders and has raised their versions."""
    await transaction.none(
        _REFUND_WRITE,
        *columns(_trade_rows(writes), 7),
        now,
        *columns(_change_rows(writes), 15),
        *columns(_made_rows(writes), 14),
        *columns(_evidence_rows(writes), 14),
        *columns([(*step.key, step.ordinal, step.due_at, step.attempts) for step in writes.steps if step.due_at], 5),
        *columns([(*step.key, step.ordinal) for step in writes.steps if step.due_at is None], 3),
    )


async def prepare_refund(
    transaction: Transaction,
    *,
    key: Key,
    ordinal: int,
    intent: str,
    send_until: datetime,
    due_at: datetime,
) -> None:
    """Commit that a refund is about to be sent; an intent that is there stays."""
    await transaction.none(_REFUND_PREPARE, *key, ordinal, intent, send_until, due_at)


async def claim_key(
    transaction: Transaction, *, key: Key, merchant_id: MerchantId, idempotency_key: str, digest: bytes, ordinal: int
) -> bool:
    """Whether the key is now this refund's."""
    lane, order_id = key
    arguments = (lane, merchant_id, idempotency_key, digest, order_id, ordinal)
    return await transaction.maybe(_REFUND_CLAIM_KEY, *arguments) is not None


async def find_key(
    transaction: Transaction, *, lane: Lane, merchant_id: MerchantId, idempotency_key: str
) -> KnownKey | None:
    """What the key made, if it is known."""
    row = await transaction.maybe(_REFUND_FIND_KEY, lane, merchant_id, idempotency_key)
    return None if row is None else KnownKey(**dict(row))


async def list_due_refunds(
    transaction: Transaction,
    *,
    lanes: Sequence[Lane],
    accounts_left_out: Sequence[AccountId],
    rows_max: int,
) -> list[DueRefund]:
    """Refunds whose next step is due, oldest first."""
    rows = await transaction.many(_REFUND_LIST_DUE, lanes, accounts_left_out, rows_max)
    return [DueRefund(**dict(row)) for row in rows]


def _trade_rows(writes: RefundWrites) -> list[tuple[object, ...]]:
    return [
        (*one.key, one.attempt, one.reserved_minor, one.refunded_minor, one.elsewhere_minor, one.fee_minor)
        for one in sorted(writes.sums, key=lambda one: (one.key, one.attempt))
    ]


def _change_rows(writes: RefundWrites) -> list[tuple[object, ...]]:
    return [
        (
            *change.key,
            change.refund.ordinal,
            change.refund.state.value,
            change.refund.to_send,
            change.refund.refused,
            change.refund.untaken,
            int(change.asked),
            change.evidence.channel_reference,
            change.evidence.refunded_at,
            change.evidence.source.value if change.ended else None,
            change.ended,
            change.fee_minor,
            change.evidence.code,
            change.evidence.message,
        )
        for change in writes.changes
    ]


def _made_rows(writes: RefundWrites) -> list[tuple[object, ...]]:
    return [
        (
            *made.key,
            made.ordinal,
            made.attempt,
            made.origin,
            made.state,
            made.amount_minor,
            made.currency,
            made.reason,
            made.send_after,
            made.channel_reference,
            made.refunded_at,
            made.learned_source,
            made.fee_minor,
        )
        for made in sorted(writes.made, key=lambda made: (made.key, made.ordinal))
    ]


def _evidence_rows(writes: RefundWrites) -> list[tuple[object, ...]]:
    return [
        (
            *item.key,
            item.ordinal,
            refund_evidence_digest(item.evidence),
            item.evidence.outcome.value,
            item.evidence.source.value,
            item.decision,
            item.evidence.account_id,
            item.evidence.amount_minor,
            item.evidence.currency,
            item.evidence.channel_reference,
            item.evidence.refunded_at,
            item.evidence.asked_at,
            item.evidence.learned_at,
        )
        for item in writes.evidence
    ]
