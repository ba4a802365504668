"""Paid orders that were completed late, or not the normal way."""

from dataclasses import dataclass
from datetime import datetime
from typing import cast

from budan.core.numbers import Lane, MerchantId, OrderId
from budan.store.database import Transaction
from budan.store.queries import query

_LOSS_LIST = query("loss_list")
_LOSS_COUNT_PAID = query("loss_count_paid")


@dataclass(frozen=True, slots=True, kw_only=True)
class LossRow:
    """An order with the moments that tell where its time went; see core.gap.Milestones."""

    lane: Lane
    order_id: OrderId
    merchant_id: MerchantId
    reference: str
    amount_minor: int
    currency: str
    channel: str
    method: str
    paid_at: datetime | None
    learned_at: datetime
    learned_source: str
    completed_at: datetime
    remedy_cause: str | None
    noticed_at: datetime | None
    rejected_at: datetime | None
    is_to_tell: bool
    told_at: datetime | None
    taken_at: datetime | None


async def list_losses(
    transaction: Transaction, *, since: datetime, until: datetime, late_after_s: float
) -> list[LossRow]:
    """Those that became paid from `since` up to and without `until`, the oldest first."""
    return [LossRow(**dict(row)) for row in await transaction.many(_LOSS_LIST, since, until, late_after_s)]


async def count_paid(transaction: Transaction, *, since: datetime, until: datetime) -> int:
    """All orders that became paid in a time, the timely ones too."""
    return cast("int", (await transaction.one(_LOSS_COUNT_PAID, since, until))["paid"])
