"""What a webhook tells the merchant."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

import msgspec

from budan.core.numbers import Environment, Number, NumberKind, render_number, trade_number
from budan.core.order import OrderState
from budan.flows.views import CashbackView
from budan.store.door import DoorWrites, Key, LockedOrder, NewWebhook


class OrderEventOrder(msgspec.Struct, frozen=True, kw_only=True):
    """The order as it is after the event; `trade_no` and `channel` where one attempt brought it about.

    `cashback` is told with `order.paid`: what its payer was granted, or why nothing; null where no plan was in force.
    `hold_reason` while the order is on hold: it can still be paid, but is neither refunded by API nor paid out.
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
    hold_reason: str | None


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


ORDER_EVENTS: Final[Mapping[str, str]] = {
    "order.paid": "The order was paid and is completed.",
    "order.expired": "Its time is over, and nobody paid.",
    "order.closed": "It was closed or taken back, and nobody paid.",
    "order.payment_returning": "A second or late payment came, completes nothing, and goes back.",
    "order.payment_returned": "A payment was there when the charge was taken back, and went back with it.",
    "order.held": "It is on hold until two persons release it; `hold_reason` says why.",
    "order.released": "It is on hold no more.",
}
REFUND_EVENTS: Final[Mapping[str, str]] = {
    "refund.succeeded": "The money went back.",
    "refund.failed": "The channel refused for good; the amount may be refunded anew.",
    "refund.abnormal": "The payer's account cannot take it; a person must act at the channel.",
}

_ENCODER = msgspec.json.Encoder()


def render_event(event: OrderEvent | RefundEvent) -> bytes:
    """The bytes that are stored, signed and sent, the same ones at every try."""
    assert event.type in (ORDER_EVENTS if isinstance(event, OrderEvent) else REFUND_EVENTS), event.type
    return _ENCODER.encode(event)


def tell_held(writes: DoorWrites, *, environment: Environment) -> dict[Key, int]:
    """Adds `order.held` for each order that these writes put on hold, and gives the versions of those orders after it.

    An event has a version of its own: where the writes tell something else of the order too, its hold comes after that.
    """
    told = {webhook.key for webhook in writes.webhooks}
    versions: dict[Key, int] = {}
    for at, change in enumerate(writes.orders):
        locked = change.locked
        if change.hold_reason is None or locked.order.hold_reason is not None:
            continue
        key = (locked.lane, locked.order_id)
        raised = replace(change, raises=1 + (key in told))
        versions[key] = locked.version + raised.raises
        writes.orders[at] = raised
        writes.webhooks.append(
            _webhook(
                environment,
                replace(locked, paid_at=change.paid_at or locked.paid_at),
                event="order.held",
                state=change.state,
                version=versions[key],
                hold_reason=change.hold_reason,
            )
        )
    return versions


def hold_webhook(environment: Environment, locked: LockedOrder, *, hold_reason: str | None) -> NewWebhook:
    """A person's hold of a locked order, or with None its release, as the order's next version."""
    return _webhook(
        environment,
        locked,
        event="order.released" if hold_reason is None else "order.held",
        state=locked.order.state,
        version=locked.version + 1,
        hold_reason=hold_reason,
    )


def end_webhook(environment: Environment, locked: LockedOrder, *, state: OrderState) -> NewWebhook:
    """The end of a locked order that nobody paid: expired or closed."""
    return _webhook(
        environment,
        locked,
        event=f"order.{state.value}",
        state=state,
        version=locked.version + 1,
        hold_reason=locked.order.hold_reason,
    )


def _webhook(
    environment: Environment,
    locked: LockedOrder,
    *,
    event: str,
    state: OrderState,
    version: int,
    hold_reason: str | None,
) -> NewWebhook:
    """An event of a locked order that no attempt brought about."""
    told = OrderEvent(
        type=event,
        timestamp=locked.now,
        data=OrderEventOrder(
            order_no=render_trade_no(environment, locked, attempt=0),
            reference=locked.reference,
            state=state.value,
            version=version,
            amount_minor=locked.order.amount_minor,
            currency=locked.order.currency,
            subject=locked.subject,
            paid_at=locked.paid_at,
            trade_no=None,
            channel=None,
            channel_reference=None,
            fee_minor=None,
            cashback=None,
            hold_reason=hold_reason,
        ),
    )
    return NewWebhook(
        key=(locked.lane, locked.order_id),
        version=version,
        merchant_id=locked.order.merchant_id,
        event=event,
        body=render_event(told),
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
