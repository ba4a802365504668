"""A day's books for the page: each account's report, the bills that are waited for, and the oldest open differences."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from budan.core.numbers import beijing_day
from budan.flows.bill_days import BillDays, WaitedBill
from budan.flows.day_report import DayReport, read_report
from budan.store import ledger
from budan.store import reconcile as stored
from budan.store.database import Database
from budan.store.ledger import ClosedDay
from budan.store.reconcile import DiscrepancyFilter, DiscrepancyRow

RUNS_READ_MAX: Final = 200
ROWS_SHOWN: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class DayBooksView:
    """What there is to say of a day. `closed` is how its books were closed, None while they are open.

    `open_rows` are of all days, the oldest first, `ROWS_SHOWN` at most.
    """

    day: date
    closed: ClosedDay | None
    reports: Sequence[DayReport]
    waited: Sequence[WaitedBill]
    open_rows: Sequence[DiscrepancyRow]


class DayBooks:
    """Reads; changes nothing."""

    def __init__(self, *, database: Database, bills: BillDays) -> None:
        self._database = database
        self._bills = bills

    async def show(self, day: date | None) -> DayBooksView:
        """The books of a day of bills, yesterday's where it is None. Of an account the newest whole bill is shown."""
        async with self._database.reading() as transaction:
            if day is None:
                day = beijing_day(await transaction.clock()) - timedelta(days=1)
            runs = await stored.list_runs(transaction, day=day, rows_max=RUNS_READ_MAX)
            # The last one counts, also of bytes that came again; a part of the day only where there is no whole bill.
            last = sorted(runs, key=lambda run: (not run.is_partial, run.ended_at, run.id))
            newest = {run.account_id: run for run in last}
            reports = [await read_report(transaction, newest[account_id]) for account_id in sorted(newest)]
            open_rows = await stored.list_discrepancies(transaction, DiscrepancyFilter(), rows_max=ROWS_SHOWN)
            closed = await ledger.find_day(transaction, day)
        waited = await self._bills.list_waited()
        return DayBooksView(day=day, closed=closed, reports=reports, waited=waited, open_rows=open_rows)
