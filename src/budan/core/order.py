"""A merchant's request to be paid."""

from dataclasses import dataclass
from enum import Enum

from budan.core.numbers import MerchantId


class OrderState(Enum):
    """created → paying → paid; expired; closing → closed. A hold is a mark beside the state."""

    CREATED = "created"
    PAYING = "paying"
    PAID = "paid"
    EXPIRED = "expired"
    CLOSING = "closing"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What `decide` needs of an order.

    `told_unpaid`: the merchant or the payer was told "not paid", so goods may have been kept back; a payment that
    arrives later is returned instead of completed. `paid_attempt` names the trade whose money completed the order.
    """

    merchant_id: MerchantId
    state: OrderState
    amount_minor: int
    currency: str
    told_unpaid: bool = False
    hold_reason: str | None = None
    paid_attempt: int | None = None
