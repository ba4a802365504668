"""What a webhook tells the merchant."""

from datetime import datetime

import msgspec

from budan.core.numbers import Environment, trade_number
from budan.store.door import LockedOrder


class OrderEventOrder(msgspec.Struct, frozen=True, kw_only=True):
    """The order as it is after the event."""

    order_no: str
    reference: str
    state: str
    version: int
    amount_minor: int
    currency: str
    subject: str
    paid_at: datetime | None
    trade_no: str
    channel: str
    channel_reference: str | None
    fee_minor: int | None


class OrderEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A Standard Webhooks payload: `type`, `timestamp`, and what it is about."""

    type: str
    timestamp: datetime
    data: OrderEventOrder  # their name


_ENCODER = msgspec.json.Encoder()


def render_event(event: OrderEvent) -> bytes:
    """The bytes that are stored, signed and sent, the same ones at every try."""
    return _ENCODER.encode(event)


def render_trade_no(environment: Environment, locked: LockedOrder, *, attempt: int) -> str:
    """The number of a locked order's trade; attempt 0 is the order itself."""
    return trade_number(
        environment=environment,
        lane=locked.lane,
        merchant_id=locked.order.merchant_id,
        order_id=locked.order_id,
        attempt=attempt,
    )
