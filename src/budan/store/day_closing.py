"""What stands against closing a day of the books, read from bills, differences and money that waits."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from budan.core.day_closing import Stand, StandPoint
from budan.store.database import Record, Transaction
from budan.store.queries import query

_WAIT_LONGER = query("closing_wait_longer")
_LOCK_ACCOUNTS = query("closing_lock_accounts")
_LIST_BILLS = query("closing_list_bills")
_LIST_LATE_RUNS = query("closing_list_late_runs")
_LIST_WATCHED_RUNS = query("closing_list_watched_runs")
_LIST_DIFFERENCES = query("closing_list_differences")
_LIST_WAITING = query("closing_list_waiting")
_LIST_ADJUSTMENTS = query("closing_list_adjustments")


@dataclass(frozen=True, slots=True, kw_only=True)
class BillOfDay:
    """What an account has of a day's bill: its row where it is planned, and the newest run over a whole one.

    `has_file`: one of these a person has loaded.
    """

    account_id: int
    state: str | None
    code: str | None
    run_id: int | None
    has_file: bool


async def lock_accounts(transaction: Transaction) -> None:
    """Nobody else changes any account's differences until the transaction ends; waits for runs that are being kept."""
    await transaction.one(_WAIT_LONGER)
    await transaction.none(_LOCK_ACCOUNTS)


async def list_bills(transaction: Transaction, *, day: date) -> list[BillOfDay]:
    """All accounts with what they have of a day's bill."""
    return [BillOfDay(**dict(row)) for row in await transaction.many(_LIST_BILLS, day)]


async def list_late_runs(transaction: Transaction, *, since: datetime, before: date) -> list[int]:
    """The newest runs, by number, over whole bills of days before one, of those that ended since a moment."""
    return [row["id"] for row in await transaction.many(_LIST_LATE_RUNS, since, before)]


async def list_watched_runs(transaction: Transaction, *, days: int, rows_max: int) -> list[int]:
    """The newest runs, by number, over whole bills of the last days: of open ones, or since the last close."""
    return [row["id"] for row in await transaction.many(_LIST_WATCHED_RUNS, days, rows_max)]


async def list_differences(
    transaction: Transaction, *, day: date, late_since: datetime | None, proposal_life: timedelta
) -> Sequence[StandPoint]:
    """The day's differences that nobody has ended, and those of days before that were found since a moment."""
    rows = await transaction.many(_LIST_DIFFERENCES, day, late_since, proposal_life)
    return [_point(row, stand=Stand.DISCREPANCY, day=None if row["day"] == day else row["day"]) for row in rows]


async def list_waiting(
    transaction: Transaction, *, since: datetime, until: datetime, proposal_life: timedelta
) -> Sequence[StandPoint]:
    """The holds and the money in suspense of a time."""
    rows = await transaction.many(_LIST_WAITING, since, until, proposal_life)
    return [_point(row, stand=Stand(row["stand"])) for row in rows]


async def list_adjustments(
    transaction: Transaction, *, day: date, since: datetime, until: datetime
) -> Sequence[StandPoint]:
    """Adjustments that one person has proposed, in a time or of a difference of the day, and no second one has decided."""
    rows = await transaction.many(_LIST_ADJUSTMENTS, since, until, day)
    return [_point(row, stand=Stand.ADJUSTMENT) for row in rows]


def _point(row: Record, **changes: Any) -> StandPoint:
    values: dict[str, Any] = dict(row)
    return StandPoint(**(values | changes))
