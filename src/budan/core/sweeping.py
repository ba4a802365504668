"""Which orders a sweep asks about: all young ones each time, each older one at its turns, none that is too old to answer."""

from collections.abc import Sequence
from datetime import datetime, timedelta

# An order is asked about in every sweep so long: what goes wrong with a payment shows within a day.
YOUNG_FOR = timedelta(days=1)

# An older order's turn comes this much after the one before it. Not once a day: a channel that is away each night at the
# same time would never be asked about an order whose turns fall there. So each falls five hours later in the day than the
# last, and in time into every hour, with no memory of who could not be asked.
TURN_EVERY = timedelta(hours=29)

# The protocols name no age at which a channel stops to answer a query (the earliest bound in docs/protocols is WeChat's:
# refunds for a year). A payment that nobody saw in a month of questions is for reconciliation to find.
ASKED_FOR_DAYS = 30
TURNS = (timedelta(days=ASKED_FOR_DAYS) - YOUNG_FOR) // TURN_EVERY

Span = tuple[datetime, datetime]


def sweep_spans(*, begun_at: datetime, last_begun_at: datetime | None) -> Sequence[Span]:
    """When the orders were made that a sweep begun at `begun_at` asks about, youngest first; spans do not overlap.

    An older order's turn comes when it is no longer young and each `TURN_EVERY` from then on. The turns since the last
    sweep that ended well are all taken, so that no missed sweep leaves anybody out; without a last one that is everybody.
    """
    gap = TURN_EVERY if last_begun_at is None else min(max(begun_at - last_begun_at, timedelta()), TURN_EVERY)
    young_since = begun_at - YOUNG_FOR
    turns = (young_since - number * TURN_EVERY for number in range(TURNS))
    return [(young_since, begun_at), *((turn - gap, turn) for turn in turns)]


def whole_span(*, begun_at: datetime) -> Span:
    """Everything that a channel may still answer about, for a sweep that a person asked for."""
    return begun_at - timedelta(days=ASKED_FOR_DAYS), begun_at
