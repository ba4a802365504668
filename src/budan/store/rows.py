"""What the store gives and takes: rows as typed values."""

from dataclasses import dataclass
from datetime import datetime

from budan.core.fees import FeeTerms
from budan.core.numbers import AccountId, Lane, MerchantId, OrderId


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderKey:
    """Where an order's rows are."""

    lane: Lane
    order_id: OrderId


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRow:
    """An order as people and programs see it."""

    lane: Lane
    order_id: OrderId
    merchant_id: MerchantId
    reference: str
    state: str
    version: int
    amount_minor: int
    currency: str
    subject: str
    shop_id: int | None
    created_at: datetime
    expires_at: datetime
    told_unpaid: bool
    hold_reason: str | None
    paid_at: datetime | None
    paid_attempt: int | None
    learned_source: str | None
    learned_at: datetime | None
    completed_at: datetime | None
    fee_rate_bp: int | None
    fee_minor: int | None
    refund_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeRow:
    """A trade as people and programs see it; `intent`, `action` and `cashback_offer` are JSON texts."""

    lane: Lane
    order_id: OrderId
    attempt: int
    account_id: AccountId
    channel: str
    method: str
    state: str
    amount_minor: int
    currency: str
    created_at: datetime
    send_until: datetime
    expires_at: datetime | None
    intent: str
    action: str | None
    paid_at: datetime | None
    channel_reference: str | None
    asked_count: int
    code: str
    message: str
    now: datetime
    cashback_offer: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOrder:
    """An order about to be written; `look_at` where somebody must look at it before it expires."""

    lane: Lane
    order_id: OrderId
    merchant_id: MerchantId
    reference: str
    state: str
    amount_minor: int
    currency: str
    subject: str
    shop_id: int | None
    terminal_id: int | None
    created_at: datetime
    expires_at: datetime
    trade_count: int
    look_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTrade:
    """A trade intent about to be written, with the first question about it (I6, I11); `cashback_offer` is JSON."""

    lane: Lane
    order_id: OrderId
    attempt: int
    account_id: AccountId
    channel: str
    method: str
    amount_minor: int
    currency: str
    fee_terms: FeeTerms
    created_at: datetime
    send_until: datetime
    expires_at: datetime | None
    intent: str
    query_at: datetime
    cashback_offer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a new order claims: its merchant's reference and, if given, the idempotency key."""

    lane: Lane
    merchant_id: MerchantId
    order_id: OrderId
    reference: str
    idempotency_key: str | None
    request_digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimOutcome:
    """Which of its claims an item got, and the database's clock."""

    key_claimed: bool
    reference_claimed: bool
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstCopy:
    """The order that an idempotency key made, with the digest of its request."""

    order_id: OrderId
    request_digest: bytes
