"""Which orders a sweep asks about: all young ones each time, each older one once a day, none that is too old to answer."""

from collections.abc import Sequence
from datetime import datetime, timedelta

# An order is asked about in every sweep so long: what goes wrong with a payment shows within a day.
YOUNG_FOR = timedelta(days=1)

# The protocols name no age at which a channel stops to answer a query (the earliest bound in docs/protocols is WeChat's:
# refunds for a year). A payment that nobody saw in a month of questions is for reconciliation to find.
ASKED_FOR_DAYS = 30

Span = tuple[datetime, datetime]


def sweep_spans(*, begun_at: datetime, last_begun_at: datetime | None) -> Sequence[Span]:
    """When the orders were made that a sweep begun at `begun_at` asks about, youngest first; spans do not overlap.

    An older order's turn comes at each whole day of its age. The turns since the last sweep that ended well are all
    taken, so that no missed sweep leaves anybody out; without a last one that is everybody.
    """
    gap = YOUNG_FOR if last_begun_at is None else min(max(begun_at - last_begun_at, timedelta()), YOUNG_FOR)
    young = (begun_at - YOUNG_FOR, begun_at)
    days = (begun_at - timedelta(days=age) for age in range(1, ASKED_FOR_DAYS))
    return [young, *((day - gap, day) for day in days)]


def whole_span(*, begun_at: datetime) -> Span:
    """Everything that a channel may still answer about, for a sweep that a person asked for."""
    return begun_at - timedelta(days=ASKED_FOR_DAYS), begun_at
