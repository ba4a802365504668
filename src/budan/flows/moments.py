"""One order's rows as moments, in the order in which they happened."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime

from budan.core.journal import render_money
from budan.store.acts import ActRow
from budan.store.adjustments import AdjustmentRow
from budan.store.rows import TradeRow
from budan.store.timeline import (
    ContradictionRow,
    DeliveryRow,
    EvidenceRow,
    NoticeRow,
    PostingRow,
    RefundEvidenceRow,
    RefundRow,
    RemedyRow,
    WebhookRow,
    WholeOrder,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRows:
    """What belongs to an order, by table."""

    evidence: tuple[EvidenceRow, ...]
    notices: tuple[NoticeRow, ...]
    postings: tuple[PostingRow, ...]
    remedies: tuple[RemedyRow, ...]
    contradictions: tuple[ContradictionRow, ...]
    refunds: tuple[RefundRow, ...]
    refund_evidence: tuple[RefundEvidenceRow, ...]
    webhooks: tuple[WebhookRow, ...]
    deliveries: tuple[DeliveryRow, ...]
    acts: tuple[ActRow, ...]
    adjustments: tuple[AdjustmentRow, ...]

    def cut(self, rows_max: int) -> tuple[str, ...]:
        """The tables that have at least as many rows as were read."""
        return tuple(field.name for field in fields(self) if len(getattr(self, field.name)) >= rows_max)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Something that happened to an order: `what` is a word for machines, `detail` tells people."""

    at: datetime
    what: str
    detail: str


def list_moments(order: WholeOrder, trades: Sequence[TradeRow], rows: OrderRows) -> list[Moment]:
    """Everything that happened to an order, oldest first. Moments that a channel tells are by its clock."""
    moments = [
        *_of_order(order),
        *(_of_trade(trade) for trade in trades),
        *(moment for row in rows.evidence for moment in _of_evidence(row)),
        *(_of_notice(row) for row in rows.notices),
        *_of_postings(rows.postings),
        *(_of_remedy(row) for row in rows.remedies),
        *(_of_contradiction(row) for row in rows.contradictions),
        *(_of_refund(row) for row in rows.refunds),
        *(moment for row in rows.refund_evidence for moment in _of_refund_evidence(row)),
        *(moment for row in rows.webhooks for moment in _of_webhook(row)),
        *(_of_delivery(row) for row in rows.deliveries),
        *(moment for row in rows.acts for moment in _of_act(row)),
        *(moment for row in rows.adjustments for moment in _of_adjustment(row)),
    ]
    return sorted(moments, key=lambda moment: moment.at)


def _of_order(order: WholeOrder) -> Iterator[Moment]:
    amount = render_money(order.amount_minor, currency=order.currency)
    yield Moment(at=order.created_at, what="order_created", detail=f"{amount}, {order.subject}")
    if order.completed_at is not None:
        yield Moment(at=order.completed_at, what="order_paid", detail=f"by trade {order.paid_attempt}")
    if order.hold_since is not None:
        yield Moment(at=order.hold_since, what="order_held", detail=order.hold_reason or "")


def _of_trade(trade: TradeRow) -> Moment:
    said = f", channel says {trade.code} {trade.message}".rstrip() if trade.code else ""
    return Moment(
        at=trade.created_at,
        what="trade_created",
        detail=f"trade {trade.attempt}: {trade.channel} {trade.method}, account {trade.account_id}, "
        f"now {trade.state}, asked {trade.asked_count} times{said}",
    )


def _of_evidence(row: EvidenceRow) -> Iterator[Moment]:
    amount = _said_amount(row.order_minor, row.currency)
    reference = "" if row.channel_reference is None else f", {row.channel_reference}"
    if row.paid_at is not None and row.outcome == "paid":
        yield Moment(at=row.paid_at, what="channel_paid", detail=f"trade {row.attempt}:{amount}{reference}")
    yield Moment(
        at=row.learned_at,
        what="evidence",
        detail=f"trade {row.attempt}: {row.outcome}{amount} by {row.source} of account {row.account_id}: {row.decision}",
    )


def _of_notice(row: NoticeRow) -> Moment:
    return Moment(at=row.received_at, what="notice", detail=f"{row.id} to account {row.account_id}: {row.decision}")


def _of_postings(rows: Sequence[PostingRow]) -> Iterator[Moment]:
    """One moment for each entry, its lines beside each other."""
    entries: dict[str, list[PostingRow]] = {}
    for row in rows:
        entries.setdefault(row.entry_key, []).append(row)
    for key, lines in entries.items():
        booked = ", ".join(
            f"{line.account} {render_money(line.amount_minor, currency=line.currency)}" for line in lines
        )
        yield Moment(at=lines[0].booked_at, what="booked", detail=f"{key}: {booked}")


def _of_remedy(row: RemedyRow) -> Moment:
    return Moment(
        at=row.completed_at,
        what="remedy",
        detail=f"trade {row.attempt}: {row.cause}, learned by {row.learned_source}, by {row.actor}",
    )


def _of_contradiction(row: ContradictionRow) -> Moment:
    return Moment(at=row.found_at, what="contradiction", detail=f"trade {row.attempt}: {row.mismatch}")


def _of_refund(row: RefundRow) -> Moment:
    return Moment(
        at=row.created_at,
        what="refund_created",
        detail=f"refund {row.ordinal} of trade {row.attempt}: "
        f"{render_money(row.amount_minor, currency=row.currency)}, {row.reason}, now {row.state}",
    )


def _of_refund_evidence(row: RefundEvidenceRow) -> Iterator[Moment]:
    amount = _said_amount(row.amount_minor, row.currency)
    reference = "" if row.channel_reference is None else f", {row.channel_reference}"
    if row.refunded_at is not None and row.outcome == "succeeded":
        yield Moment(at=row.refunded_at, what="channel_refunded", detail=f"refund {row.ordinal}:{amount}{reference}")
    yield Moment(
        at=row.learned_at,
        what="refund_evidence",
        detail=f"refund {row.ordinal}: {row.outcome}{amount} by {row.source} of account {row.account_id}: "
        f"{row.decision}",
    )


def _said_amount(amount_minor: int | None, currency: str | None) -> str:
    return "" if amount_minor is None else f" {render_money(amount_minor, currency=currency or 'of no currency')}"


def _of_webhook(row: WebhookRow) -> Iterator[Moment]:
    named = f"{row.event} version {row.version} to endpoint {row.endpoint_id}"
    yield Moment(at=row.created_at, what="webhook", detail=named)
    if row.taken_at is not None:
        yield Moment(at=row.taken_at, what="webhook_taken", detail=named)


def _of_delivery(row: DeliveryRow) -> Moment:
    answer = f"status {row.status}" if row.status is not None else f"no answer: {row.error}"
    return Moment(
        at=row.started_at,
        what="delivery",
        detail=f"version {row.version} to endpoint {row.endpoint_id}, try {row.attempt}: {answer}, {row.latency_ms} ms",
    )


# What a person does alone; everything else another one confirms.
_ACTS_OF_ONE = {"hold": "held_by_hand", "fee": "fee_corrected_by_hand", "refund": "refunded_by_hand"}


def _of_act(row: ActRow) -> Iterator[Moment]:
    what = _ACTS_OF_ONE.get(row.kind, f"{row.kind}_proposed")
    yield Moment(at=row.acted_at, what=what, detail=f"act {row.ordinal} by {row.acted_by}: {row.reason}")
    if row.confirmed_by is not None and row.confirmed_at is not None:
        detail = f"act {row.ordinal} by {row.confirmed_by}"
        yield Moment(at=row.confirmed_at, what=f"{row.kind}_confirmed", detail=detail)


def _of_adjustment(row: AdjustmentRow) -> Iterator[Moment]:
    """What was booked for it is among the postings."""
    detail = f"adjustment {row.number} by {row.proposed_by}: {row.reason}"
    yield Moment(at=row.proposed_at, what="adjustment_proposed", detail=detail)
    if row.decided_by is not None and row.decided_at is not None:
        why = "" if row.decision_reason is None else f": {row.decision_reason}"
        detail = f"adjustment {row.number} by {row.decided_by}{why}"
        yield Moment(at=row.decided_at, what=f"adjustment_{row.state}", detail=detail)
