"""What waits for a person, counted."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from budan.store.database import Transaction
from budan.store.queries import query

_WAITING_COUNT = query("waiting_count")


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingCount:
    """How much of one kind waits, since when the oldest does, and for how many seconds."""

    what: str
    rows_found: int
    since: datetime
    oldest_s: float


async def count_waiting(
    transaction: Transaction,
    *,
    rows_max: int,
    untaken_after: timedelta,
    undone_after: timedelta,
    ineffective_after: timedelta,
) -> list[WaitingCount]:
    """What waits in all lanes, each kind counted up to a bound; a kind of which nothing waits is left out.

    A refund that its channel has not taken counts after `untaken_after`, one that it took after `undone_after`, a
    statement that had no effect after `ineffective_after`.
    """
    arguments = (rows_max, untaken_after, undone_after, ineffective_after)
    return [WaitingCount(**dict(row)) for row in await transaction.many(_WAITING_COUNT, *arguments)]
