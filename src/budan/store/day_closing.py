"""What stands against closing a day of the books, read from bills, differences and money that waits."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from budan.core.bill_days import BillState
from budan.core.day_closing import Stand, StandPoint
from budan.store.bill_days import COMMIT_MAX
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

    `by_channel`: one of these was the channel's own; `has_file`: one a person has loaded. `file_by` has loaded the newest
    file that counts; None where each was compared before we learned of money that it has no row of.
    """

    account_id: int
    account: str
    state: str | None
    code: str | None
    run_id: int | None
    by_channel: bool
    has_file: bool
    file_by: str | None

    @property
    def is_compared(self) -> bool:
        """Whether a whole bill was compared that counts now."""
        return self.file_by is not None or self._is_channels

    @property
    def is_file_alone(self) -> bool:
        """Whether the day is compared by the word of a person's file, and not by the channel's own bill."""
        return self.file_by is not None and not self._is_channels

    @property
    def _is_channels(self) -> bool:
        return self.by_channel and self.state in {None, BillState.COMPARED.value}


async def lock_accounts(transaction: Transaction) -> None:
    """Nobody else changes any account's differences until the transaction ends; waits for runs that are being kept."""
    await transaction.one(_WAIT_LONGER)
    await transaction.none(_LOCK_ACCOUNTS)


async def list_bills(transaction: Transaction, *, day: date) -> list[BillOfDay]:
    """All accounts with what they have of a day's bill."""
    rows = await transaction.many(_LIST_BILLS, day, COMMIT_MAX.total_seconds())
    return [BillOfDay(**dict(row)) for row in rows]


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
