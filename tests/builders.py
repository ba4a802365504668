"""Values for tests: an order of 10.00 CNY with one trade on account 7, and what its channel may say of it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from budan.core.evidence import Evidence, Outcome, Source
from budan.core.fees import FeeTerms
from budan.core.numbers import (
    ID_EPOCH,
    AccountId,
    Environment,
    Lane,
    MerchantId,
    Number,
    NumberKind,
    OrderId,
    render_number,
)
from budan.core.order import Order, OrderState
from budan.core.trade import Direction, Trade, TradeState

CREATED_AT = datetime(2026, 1, 5, 4, 0, tzinfo=UTC)
SEND_UNTIL = CREATED_AT + timedelta(seconds=30)
EXPIRES_AT = CREATED_AT + timedelta(minutes=15)
AMOUNT_MINOR = 1_000
FEE_RATE_BP = 60
ACCOUNT = AccountId(7)
OTHER_ACCOUNT = AccountId(8)
MERCHANT = MerchantId(42)
ORDER_ID = OrderId(int((CREATED_AT - ID_EPOCH) / timedelta(milliseconds=1)) << 22 | 5 << 12)


def made_at(identity: int) -> datetime:
    """When an id was made, by the clock of the process that made it."""
    return ID_EPOCH + timedelta(milliseconds=identity >> 22)


def a_number(**changes: Any) -> Number:
    """The number of the order; `ordinal=1` makes it its first trade's."""
    parts = {
        "environment": Environment.TEST,
        "kind": NumberKind.ORDER,
        "lane": Lane(17),
        "merchant_id": MERCHANT,
        "order_id": ORDER_ID,
        "ordinal": 0,
    }
    return Number(**(parts | changes))


TRADE_NO = render_number(a_number(ordinal=1))


def an_order(**changes: Any) -> Order:
    """An order that waits for its payment."""
    parts = {
        "merchant_id": MERCHANT,
        "state": OrderState.PAYING,
        "amount_minor": AMOUNT_MINOR,
        "currency": "CNY",
    }
    return Order(**(parts | changes))


def a_trade(**changes: Any) -> Trade:
    """A C2B trade that the channel has taken; `direction=Direction.B2C` has no expiry unless it is given one."""
    b2c = changes.get("direction") is Direction.B2C
    parts = {
        "attempt": 1,
        "direction": Direction.C2B,
        "state": TradeState.SUBMITTED,
        "account_id": ACCOUNT,
        "amount_minor": AMOUNT_MINOR,
        "currency": "CNY",
        "fee_terms": FeeTerms(rate_bp=FEE_RATE_BP),
        "send_until": SEND_UNTIL,
        "expires_at": None if b2c else EXPIRES_AT,
    }
    return Trade(**(parts | changes))


def evidence(**changes: Any) -> Evidence:
    """What a query learned a second after it was asked."""
    parts = {
        "trade_no": TRADE_NO,
        "account_id": ACCOUNT,
        "outcome": Outcome.UNPAID_OPEN,
        "source": Source.QUERY,
        "asked_at": CREATED_AT + timedelta(seconds=10),
        "learned_at": CREATED_AT + timedelta(seconds=11),
    }
    return Evidence(**(parts | changes))


def paid(**changes: Any) -> Evidence:
    """The channel's word that the money came; by notice."""
    parts = {
        "outcome": Outcome.PAID,
        "source": Source.NOTICE,
        "order_minor": AMOUNT_MINOR,
        "currency": "CNY",
        "channel_reference": "4200000001",
    }
    return evidence(**(parts | changes))


def refused(**changes: Any) -> Evidence:
    """The channel's definite no."""
    return evidence(outcome=Outcome.UNPAID_FINAL, **changes)


def reversed_empty(**changes: Any) -> Evidence:
    """The trade was revoked; whether money went back is not said."""
    return refused(reversed_here=True, **changes)


def returned(**changes: Any) -> Evidence:
    """The trade was reversed and a payment went back."""
    return refused(reversed_here=True, money_returned=True, **changes)


def not_paid_yet(**changes: Any) -> Evidence:
    """The channel knows the trade and waits for the payer."""
    return evidence(**changes)


def not_found(**changes: Any) -> Evidence:
    """The channel knows no such trade."""
    return evidence(not_found=True, **changes)


def silence(**changes: Any) -> Evidence:
    """A time-out, 5xx, bad signature or unreadable answer."""
    return evidence(outcome=Outcome.UNKNOWN, **changes)
