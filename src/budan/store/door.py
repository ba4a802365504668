"""The door's reads and writes: ordered locks first, then one fixed order of tables."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

from budan.core.evidence import Evidence, evidence_digest
from budan.core.fees import FeeTerms
from budan.core.ledger import Entry
from budan.core.numbers import AccountId, Lane, MerchantId, OrderId
from budan.core.order import Order, OrderState
from budan.core.refund import TradeRefunds
from budan.core.trade import Direction, Trade, TradeState
from budan.store.cashbacks import BudgetKey, CashbackChange, write_cashbacks
from budan.store.database import Transaction, columns, id_bounds, sparse_columns
from budan.store.queries import query

_DOOR_LOCK_ORDERS = query("door_lock_orders")
_DOOR_LIST_TRADES = query("door_list_trades")
_DOOR_WRITE = query("door_write")
_DOOR_WRITE_RARE = query("door_write_rare")
_EVIDENCE_KEEP = query("evidence_keep")
_EVIDENCE_RELEASE = query("evidence_release")
_NOTICE_REJECT = query("notice_reject")

Key = tuple[Lane, OrderId]


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedOrder:
    """An order row that this transaction holds, as `decide` sees it and as the webhook tells it."""

    lane: Lane
    order_id: OrderId
    version: int
    order: Order
    reference: str
    subject: str
    created_at: datetime
    expires_at: datetime
    trade_count: int
    refund_count: int
    now: datetime
    paid_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedTrade:
    """A trade of a locked order, with what its refunds come to; `cashback_offer` is JSON."""

    trade: Trade
    channel: str
    method: str
    created_at: datetime
    paid_at: datetime | None
    channel_reference: str | None
    refunds: TradeRefunds
    payer_id: str | None = None
    cashback_offer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderChange:
    """The order row after a decision; `paid_*` only where this decision completes it.

    `refunds_made` takes so many of its refund numbers; the two amounts are added to what refunds of the payment that
    completed it promise and have given back. `raises` is how many versions the change takes: one for each event of it.
    `tells_unpaid` sets the order's mark that it is told "not paid"; nothing here takes it back.
    """

    locked: LockedOrder
    state: OrderState
    hold_reason: str | None = None
    paid_at: datetime | None = None
    paid_attempt: int | None = None
    learned_source: str | None = None
    learned_at: datetime | None = None
    fee_terms: FeeTerms | None = None
    fee_minor: int | None = None
    refunds_made: int = 0
    refund_reserved_minor: int = 0
    refunded_minor: int = 0
    raises: int = 1
    tells_unpaid: bool = False

    def __post_init__(self) -> None:
        assert self.raises >= 1, "a change that raises nothing could be taken for none"


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeChange:
    """The trade row after an evidence: its state, and the facts that the evidence names."""

    key: Key
    trade: Trade
    evidence: Evidence
    asked: bool
    action: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvidence:
    """A statement that could end or complete a trade, with what was decided on it."""

    key: Key
    attempt: int
    evidence: Evidence
    decision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewNotice:
    """A verified notice, raw."""

    key: Key
    notice_id: int
    account_id: AccountId
    trade_no: str
    received_at: datetime
    headers: str
    body: bytes
    decision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWebhook:
    """An event for every enabled endpoint of the merchant; `version` is the order's after the change."""

    key: Key
    version: int
    merchant_id: MerchantId
    event: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class NextQuestion:
    """When to ask about a trade again; `due_at` None means never. `needs_person` when no answer is likely to end it."""

    key: Key
    attempt: int
    due_at: datetime | None
    attempts: int
    needs_person: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NewContradiction:
    """Verified evidence that does not fit; `statement` is all of it as JSON, so that it can be decided again.

    What does not fit about a refund has none: when the hold is lifted the refund's own ladder goes on asking.
    """

    key: Key
    attempt: int
    digest: bytes
    mismatch: str
    statement: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRemedy:
    """A completion that did not come the normal way (I12)."""

    key: Key
    attempt: int
    cause: str
    learned_source: str
    paid_at: datetime | None
    learned_at: datetime
    actor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRefund:
    """The intent to give a payment back (I9); `ordinal` is the order's next refund number."""

    key: Key
    ordinal: int
    attempt: int
    amount_minor: int
    currency: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LateMoney:
    """Money of a day whose comparison might not hear of it (core/reconcile.py); `ordinal` is an attempt's or a refund's."""

    key: Key
    kind: str
    ordinal: int
    day: date
    account_id: AccountId


@dataclass(slots=True, kw_only=True)
class DoorWrites:
    """Everything that one door transaction writes, collected by table.

    `completions` are the entries by which orders are paid, `entries` all others, of which a repeat is ignored; `budgets` is
    what is left of the budgets that it has locked.
    """

    orders: list[OrderChange] = field(default_factory=list[OrderChange])
    trades: list[TradeChange] = field(default_factory=list[TradeChange])
    evidence: list[NewEvidence] = field(default_factory=list[NewEvidence])
    notices: list[NewNotice] = field(default_factory=list[NewNotice])
    completions: list[tuple[Key, Entry]] = field(default_factory=list[tuple[Key, Entry]])
    entries: list[tuple[Key, Entry]] = field(default_factory=list[tuple[Key, Entry]])
    webhooks: list[NewWebhook] = field(default_factory=list[NewWebhook])
    questions: list[NextQuestion] = field(default_factory=list[NextQuestion])
    contradictions: list[NewContradiction] = field(default_factory=list[NewContradiction])
    remedies: list[NewRemedy] = field(default_factory=list[NewRemedy])
    late: list[LateMoney] = field(default_factory=list[LateMoney])
    refunds: list[NewRefund] = field(default_factory=list[NewRefund])
    closes: list[tuple[Key, int]] = field(default_factory=list[tuple[Key, int]])
    cashbacks: list[CashbackChange] = field(default_factory=list[CashbackChange])
    budgets: dict[BudgetKey, int] = field(default_factory=dict[BudgetKey, int])


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptEvidence:
    """Evidence without effect yet: where it waits, why, and until when."""

    lane: Lane
    trade_no: str
    digest: bytes
    due_at: datetime
    attempts: int
    reason: str
    statement: str


async def lock_orders(transaction: Transaction, keys: Sequence[Key]) -> dict[Key, LockedOrder]:
    """Lock order rows in lane and id order, whatever the order of `keys`; unknown orders are absent."""
    rows = await transaction.many(
        _DOOR_LOCK_ORDERS, *columns(sorted(keys), 2), *id_bounds(order_id for _, order_id in keys)
    )
    return {
        (row["lane"], row["id"]): LockedOrder(
            lane=row["lane"],
            order_id=row["id"],
            version=row["version"],
            order=Order(
                merchant_id=row["merchant_id"],
                state=OrderState(row["state"]),
                amount_minor=row["amount_minor"],
                currency=row["currency"],
                told_unpaid=row["told_unpaid"],
                hold_reason=row["hold_reason"],
                paid_attempt=row["paid_attempt"],
            ),
            reference=row["reference"],
            subject=row["subject"],
            created_at=row["created_at"],
            expires_at=row["expires_at"],
            trade_count=row["trade_count"],
            refund_count=row["refund_count"],
            now=row["now"],
            paid_at=row["paid_at"],
        )
        for row in rows
    }


async def list_trades(transaction: Transaction, keys: Sequence[Key]) -> dict[Key, list[LockedTrade]]:
    """Every trade of orders that this transaction holds."""
    found: dict[Key, list[LockedTrade]] = {}
    for row in await transaction.many(
        _DOOR_LIST_TRADES, *columns(sorted(keys), 2), *id_bounds(order_id for _, order_id in keys)
    ):
        refunds = TradeRefunds(
            paid_minor=row["amount_minor"],
            reserved_minor=row["refund_reserved_minor"],
            refunded_minor=row["refunded_minor"],
            elsewhere_minor=row["refunded_elsewhere_minor"],
            fee_given_back_minor=row["fee_given_back_minor"],
        )
        trade = Trade(
            attempt=row["attempt"],
            direction=Direction.B2C if row["method"] == "code" else Direction.C2B,
            state=TradeState(row["state"]),
            account_id=row["account_id"],
            amount_minor=row["amount_minor"],
            currency=row["currency"],
            fee_terms=FeeTerms(
                rate_bp=row["fee_rate_bp"],
                minimum_minor=row["fee_minimum_minor"],
                maximum_minor=row["fee_maximum_minor"],
            ),
            send_until=row["send_until"],
            expires_at=row["expires_at"],
            paid_seen=row["paid_seen"],
            not_found_count=row["not_found_count"],
            not_found_asked_at=row["not_found_asked_at"],
            refund_known=refunds.reserved_minor + refunds.gone_minor > 0,
        )
        found.setdefault((row["lane"], row["order_id"]), []).append(
            LockedTrade(
                trade=trade,
                channel=row["channel"],
                method=row["method"],
                created_at=row["created_at"],
                paid_at=row["paid_at"],
                channel_reference=row["channel_reference"],
                refunds=refunds,
                payer_id=row["payer_id"],
                cashback_offer=row["cashback_offer"],
            ),
        )
    return found


async def write(transaction: Transaction, writes: DoorWrites, *, now: datetime) -> set[Key]:
    """Write a door transaction; gives the orders whose version was still the one that was read."""
    orders, trades = sparse_columns(_order_rows(writes), 18), sparse_columns(_trade_rows(writes), 19)
    *asked, need_person = sparse_columns(_asked_rows(writes), 6)
    rows = await transaction.many(
        _DOOR_WRITE,
        *orders[:8],
        now,
        *orders[8:12],
        *trades[:17],
        *sparse_columns(_evidence_rows(writes), 16),
        *sparse_columns(_notice_rows(writes), 9),
        *sparse_columns(_posting_rows(writes.completions), 7),
        *sparse_columns(_webhook_rows(writes), 6),
        *asked,
        *sparse_columns(_answered_rows(writes), 3),
        need_person,
        trades[17],
        *orders[12:15],
        trades[18],
        *orders[15:],
        *id_bounds([*(one.locked.order_id for one in writes.orders), *(one.key[1] for one in writes.trades)]),
    )
    rare = (writes.contradictions, writes.entries, writes.remedies, writes.refunds, writes.closes, writes.late)
    if any(rare):
        await _write_rare(transaction, writes, now=now)
    if writes.cashbacks:
        await write_cashbacks(transaction, writes.cashbacks, now=now)
    return {(row["lane"], row["id"]) for row in rows}


async def _write_rare(transaction: Transaction, writes: DoorWrites, *, now: datetime) -> None:
    contradictions = sparse_columns(
        sorted((*item.key, item.attempt, item.digest, item.mismatch, item.statement) for item in writes.contradictions),
        6,
    )
    remedies = [
        (
            *item.key,
            item.attempt,
            item.cause,
            item.learned_source,
            item.paid_at,
            item.learned_at,
            item.actor,
        )
        for item in sorted(writes.remedies, key=lambda item: (item.key, item.attempt))
    ]
    refunds = sorted(
        (*item.key, item.attempt, item.amount_minor, item.currency, item.reason, item.ordinal)
        for item in writes.refunds
    )
    closes = sorted((*key, attempt) for key, attempt in writes.closes)
    late = sorted((*item.key, item.kind, item.ordinal, item.day, item.account_id) for item in writes.late)
    await transaction.none(
        _DOOR_WRITE_RARE,
        now,
        *contradictions[:5],
        *sparse_columns(remedies, 8),
        *sparse_columns(refunds, 7),
        *sparse_columns(closes, 3),
        *contradictions[5:],
        *sparse_columns(_posting_rows(writes.entries), 7),
        *sparse_columns(late, 6),
    )


async def keep_evidence(transaction: Transaction, kept: Sequence[KeptEvidence]) -> None:
    """Keep evidence that has no effect yet; safe to repeat."""
    rows = [
        (item.lane, item.trade_no, item.digest, item.due_at, item.attempts, item.reason, item.statement)
        for item in sorted(kept, key=lambda item: (item.lane, item.trade_no, item.digest))
    ]
    await transaction.none(_EVIDENCE_KEEP, *columns(rows, 7))


async def release_evidence(transaction: Transaction, keys: Sequence[tuple[Lane, str, bytes]]) -> None:
    """Forget left-over evidence that has had its effect."""
    await transaction.none(_EVIDENCE_RELEASE, *columns(sorted(keys), 3))


async def reject_notice(
    transaction: Transaction,
    *,
    account_id: AccountId,
    digest: bytes,
    reason: str,
    sample: bytes,
    headers: str,
    body_bytes: int,
    samples_per_hour_max: int,
    digests_per_hour_max: int,
) -> bool:
    """Count an unverified notice, and keep it and a sample while the hour's shares last; nothing else changes.

    False where it is new and the hour's share of digests is used up: nothing was written. `headers` is JSON;
    `body_bytes` tells whether the sample is the whole of it.
    """
    row = await transaction.maybe(
        _NOTICE_REJECT,
        account_id,
        digest,
        reason,
        sample,
        samples_per_hour_max,
        headers,
        body_bytes,
        digests_per_hour_max,
    )
    return row is not None


def _order_rows(writes: DoorWrites) -> list[tuple[object, ...]]:
    return [
        (
            change.locked.lane,
            change.locked.order_id,
            change.locked.version,
            change.state.value,
            change.locked.order.told_unpaid or change.tells_unpaid,
            change.hold_reason,
            change.paid_at,
            change.paid_attempt,
            change.learned_source,
            change.learned_at,
            None if change.fee_terms is None else change.fee_terms.rate_bp,
            change.fee_minor,
            change.refunds_made,
            change.refund_reserved_minor,
            change.refunded_minor,
            None if change.fee_terms is None else change.fee_terms.minimum_minor,
            None if change.fee_terms is None else change.fee_terms.maximum_minor,
            change.raises,
        )
        for change in writes.orders
    ]


def _trade_rows(writes: DoorWrites) -> list[tuple[object, ...]]:
    return [
        (
            *change.key,
            change.trade.attempt,
            change.trade.state.value,
            change.trade.paid_seen,
            change.trade.not_found_count,
            int(change.asked),
            change.action,
            change.evidence.channel_reference,
            change.evidence.wallet_reference,
            change.evidence.payer_id,
            change.evidence.wallet,
            change.evidence.payer_minor,
            change.evidence.settle_minor,
            change.evidence.paid_at,
            change.evidence.code,
            change.evidence.message,
            change.trade.not_found_asked_at,
            change.evidence.is_channels_word,
        )
        for change in writes.trades
    ]


def _evidence_rows(writes: DoorWrites) -> list[tuple[object, ...]]:
    return [
        (
            *item.key,
            item.attempt,
            evidence_digest(item.evidence),
            item.evidence.outcome.value,
            item.evidence.source.value,
            item.decision,
            item.evidence.account_id,
            item.evidence.order_minor,
            item.evidence.payer_minor,
            item.evidence.settle_minor,
            item.evidence.currency,
            item.evidence.channel_reference,
            item.evidence.paid_at,
            item.evidence.asked_at,
            item.evidence.learned_at,
        )
        for item in writes.evidence
    ]


def _notice_rows(writes: DoorWrites) -> list[tuple[object, ...]]:
    return [
        (
            *item.key,
            item.notice_id,
            item.account_id,
            item.trade_no,
            item.received_at,
            item.headers,
            item.body,
            item.decision,
        )
        for item in writes.notices
    ]


def _posting_rows(entries: Sequence[tuple[Key, Entry]]) -> list[tuple[object, ...]]:
    return [
        (*key, entry.key, line, posting.account, posting.amount_minor, posting.currency)
        for key, entry in entries
        for line, posting in enumerate(entry.postings)
    ]


def _webhook_rows(writes: DoorWrites) -> list[tuple[object, ...]]:
    return [(*item.key, item.version, item.merchant_id, item.event, item.body) for item in writes.webhooks]


def _asked_rows(writes: DoorWrites) -> list[tuple[object, ...]]:
    return [
        (*item.key, item.attempt, item.due_at, item.attempts, item.needs_person)
        for item in writes.questions
        if item.due_at is not None
    ]


def _answered_rows(writes: DoorWrites) -> list[tuple[object, ...]]:
    return [(*item.key, item.attempt) for item in writes.questions if item.due_at is None]
