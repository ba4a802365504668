"""What flows take from the surfaces and give back to them."""

from collections.abc import Mapping
from datetime import datetime
from enum import Enum

import msgspec

from budan.core.cashback import CashbackPlan
from budan.core.fees import FeeTerms
from budan.core.numbers import AccountId, Lane, MerchantId
from budan.ports.channel import Method


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks: a merchant, known by key, shop code, terminal token or cashier address."""

    merchant_id: MerchantId
    lane: Lane


class Shop(msgspec.Struct, frozen=True, kw_only=True):
    """A shop behind its printed code."""

    shop_id: int
    name: str
    merchant_name: str
    caller: Caller


class Terminal(msgspec.Struct, frozen=True, kw_only=True):
    """A cash desk behind its token."""

    terminal_id: int
    name: str
    shop_id: int
    shop_name: str
    caller: Caller


class PaymentWish(msgspec.Struct, frozen=True, kw_only=True):
    """How a C2B payer shall be led to pay.

    `channel` None takes the merchant's first account that can do `method`. `payer_openid` is for JSAPI, `return_url`
    and `payer_ip`, the address of the payer's browser, for WAP.
    """

    method: Method
    channel: str | None = None
    payer_openid: str | None = None
    return_url: str | None = None
    payer_ip: str | None = None


class CreateOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A wish for an order; `request_digest` is SHA-256 of the request's body, for replays of `idempotency_key`."""

    caller: Caller
    reference: str
    amount_minor: int
    currency: str
    subject: str
    request_digest: bytes
    idempotency_key: str | None = None
    expires_in_s: int | None = None
    shop_id: int | None = None
    terminal_id: int | None = None
    payment: PaymentWish | None = None


class ChargeOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A wish to charge a payer's code (B2C). The code is sent once and never stored."""

    order: CreateOrder
    auth_code: str
    device_id: str
    device_ip: str
    wait_s: float


class PaymentStatus(Enum):
    """The three answers that a shop needs. `unpaid` after a charge is kept: what is paid later goes back to the payer."""

    PAID = "paid"
    UNPAID = "unpaid"
    PENDING = "pending"


class TradeView(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt, as merchants see it; `redirect_url` only while it leads to the wallet."""

    trade_no: str
    channel: str
    method: str
    state: str
    created_at: datetime
    qr_text: str | None = None
    jsapi_parameters: Mapping[str, str] | None = None
    redirect_url: str | None = None
    channel_reference: str | None = None
    code: str = ""
    message: str = ""


class RefundView(msgspec.Struct, frozen=True, kw_only=True):
    """One refund, as merchants see it. `origin`: merchant, operator (our staff), unwanted (a payment that goes back), external."""

    refund_no: str
    state: str
    origin: str
    amount_minor: int
    currency: str
    reason: str
    trade_no: str
    created_at: datetime
    refunded_at: datetime | None
    ended_at: datetime | None
    fee_given_back_minor: int
    channel_reference: str | None
    code: str
    message: str


class CashbackView(msgspec.Struct, frozen=True, kw_only=True):
    """What a paid order's payer was granted and has of it, and why: `decision` says also why there is none.

    granted; payer_unknown and order_held are booked later; budget_exhausted, not_in_force, method_excluded,
    amount_too_small.
    """

    decision: str
    granted_minor: int
    booked_minor: int
    funded_by: str | None
    payer_id: str | None


class OrderView(msgspec.Struct, frozen=True, kw_only=True):
    """An order, as merchants see it. Times are UTC, amounts minor units; no `cashback` means that there was no plan."""

    order_no: str
    reference: str
    state: str
    payment_status: PaymentStatus
    version: int
    amount_minor: int
    currency: str
    subject: str
    created_at: datetime
    expires_at: datetime
    hold_reason: str | None
    paid_at: datetime | None
    learned_source: str | None
    completed_at: datetime | None
    fee_minor: int | None
    trades: tuple[TradeView, ...]
    refunds: tuple[RefundView, ...] = ()
    cashback: CashbackView | None = None


class OrderPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of orders, newest first; `next_cursor` is None on the last."""

    orders: tuple[OrderView, ...]
    next_cursor: str | None


class PayerSum(msgspec.Struct, frozen=True, kw_only=True):
    """What a payer has, in one currency."""

    currency: str
    amount_minor: int


class MovementView(msgspec.Struct, frozen=True, kw_only=True):
    """Cashback that a payer got, or that was taken back (negative): paid, payer_known, released, refund, refund_freed."""

    order_no: str
    amount_minor: int
    currency: str
    cause: str
    booked_at: datetime


class PayerPage(msgspec.Struct, frozen=True, kw_only=True):
    """What a payer has of cashback, and a page of how it came; `next_cursor` is None on the last."""

    payer_id: str
    balances: tuple[PayerSum, ...]
    movements: tuple[MovementView, ...]
    next_cursor: str | None


class Payable(msgspec.Struct, frozen=True, kw_only=True):
    """A channel on which an order may be paid: by which methods, and with whose wallets."""

    channel: str
    methods: frozenset[Method]
    wallets: frozenset[str]


class AccountChoice(msgspec.Struct, frozen=True, kw_only=True):
    """An account that may take a new trade, with the terms of its fee that are in force and the merchant's plans."""

    account_id: AccountId
    channel: str
    fee_terms: FeeTerms
    cashback_plans: tuple[CashbackPlan, ...]
