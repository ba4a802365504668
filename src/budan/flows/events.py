"""What a webhook tells the merchant."""

from datetime import datetime

import msgspec

from budan.core.numbers import Environment, Number, NumberKind, render_number, trade_number
from budan.core.order import OrderState
from budan.flows.views import CashbackView
from budan.store.door import LockedOrder


class OrderEventOrder(msgspec.Struct, frozen=True, kw_only=True):
    """The order as it is after the event; `trade_no` and `channel` where one attempt brought it about.

    `cashback` is told with `order.paid`: what its payer was granted, or why nothing; null where no plan was in force.
    """

    order_no: str
    reference: str
    state: str
    version: int
    amount_minor: int
    currency: str
    subject: str
    paid_at: datetime | None
    trade_no: str | None
    channel: str | None
    channel_reference: str | None
    fee_minor: int | None
    cashback: CashbackView | None


class OrderEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A Standard Webhooks payload: `type`, `timestamp`, and what it is about."""

    type: str
    timestamp: datetime
    data: OrderEventOrder  # their name


class RefundEventRefund(msgspec.Struct, frozen=True, kw_only=True):
    """The refund as it is after the event; `version` is the order's, and `cashback` what its payer has of it now."""

    refund_no: str
    order_no: str
    reference: str
    version: int
    state: str
    origin: str
    amount_minor: int
    currency: str
    reason: str
    trade_no: str
    refunded_at: datetime | None
    fee_given_back_minor: int
    cashback: CashbackView | None


class RefundEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A Standard Webhooks payload about a refund."""

    type: str
    timestamp: datetime
    data: RefundEventRefund  # their name


_ENCODER = msgspec.json.Encoder()


def render_event(event: OrderEvent | RefundEvent) -> bytes:
    """The bytes that are stored, signed and sent, the same ones at every try."""
    return _ENCODER.encode(event)


def render_order_event(environment: Environment, locked: LockedOrder, *, event: str, state: OrderState) -> bytes:
    """An event of a locked order that no attempt brought about: it ended without a payment."""
    return render_event(
        OrderEvent(
            type=event,
            timestamp=locked.now,
            data=OrderEventOrder(
                order_no=render_trade_no(environment, locked, attempt=0),
                reference=locked.reference,
                state=state.value,
                version=locked.version + 1,
                amount_minor=locked.order.amount_minor,
                currency=locked.order.currency,
                subject=locked.subject,
                paid_at=None,
                trade_no=None,
                channel=None,
                channel_reference=None,
                fee_minor=None,
                cashback=None,
            ),
        ),
    )


def render_trade_no(environment: Environment, locked: LockedOrder, *, attempt: int) -> str:
    """The number of a locked order's trade; attempt 0 is the order itself."""
    return trade_number(
        environment=environment,
        lane=locked.lane,
        merchant_id=locked.order.merchant_id,
        order_id=locked.order_id,
        attempt=attempt,
    )


def render_refund_no(environment: Environment, locked: LockedOrder, *, ordinal: int) -> str:
    """The number of a locked order's refund."""
    return render_number(
        Number(
            environment=environment,
            kind=NumberKind.REFUND,
            lane=locked.lane,
            merchant_id=locked.order.merchant_id,
            order_id=locked.order_id,
            ordinal=ordinal,
        ),
    )
