"""Closing the days of the books: what stands against each, who closed it all the same, and what there is to say of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from budan.core.day_closing import Stand, StandPoint, list_against
from budan.core.errors import Refused, StoreUnavailable
from budan.core.journal import render_money
from budan.core.numbers import day_begin
from budan.flows.acts import PROPOSAL_LIFE, check_name, check_reason
from budan.flows.bill_days import FILE_OUTDATED, NOT_ASKED, NOT_READY, BillDays
from budan.flows.books import Books, Progress, last_day_over
from budan.flows.day_report import read_report
from budan.store import day_closing as stored
from budan.store import ledger
from budan.store import reconcile as bills
from budan.store.database import Database, RowsFailed, Transaction
from budan.store.ledger import ClosedDay

# Days that wait behind one that cannot be closed are told of, up to so many: nobody looks at more at once.
DAYS_WAITING_MAX: Final = 31
_WHY_NOT_COMPARED: Final = {
    NOT_ASKED: "nobody has asked for it; the job reconcile does",
    NOT_READY: "its channel has it from later today on",
    FILE_OUTDATED: "its file was loaded before we learned of more money of that day; load it again",
}

_WAITING: Final = {
    Stand.HOLD: "orders on hold",
    Stand.SUSPENSE: "payments in suspense",
    Stand.ADJUSTMENT: "adjustments",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Despite:
    """A person's word that days are closed although something stands against them."""

    by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LookedAt:
    """A day that is over, with what there was to tell of it, and whether it was closed now."""

    day: date
    points: Sequence[StandPoint]
    is_closed: bool

    @property
    def against(self) -> Sequence[StandPoint]:
        """What stood against it; nothing of a day that only waits for an earlier one."""
        return list_against(self.points)


class DayClosing:
    """Closes days one after another: each day's balances are those of the day before and its own movements."""

    def __init__(self, *, database: Database, books: Books, bills: BillDays) -> None:
        self._database = database
        self._books = books
        self._bills = bills

    async def close(
        self, *, through: date | None, by: str | None, despite: Despite | None, progress: Progress
    ) -> Sequence[LookedAt]:
        """Close the days that are over and have nothing against them, up to `through`; gives all that were looked at.

        The first day that something stands against stays open, and so does each one after it: with `despite` they are
        closed all the same, and what stood is kept with them. What comes up after the close belongs to the next open day.
        Safe to repeat and to race: a closed day stays as it is. Raises `Refused` with `name_malformed`,
        `reason_malformed`, or with `day_not_over` when `through` is not over yet by the database's clock; and
        `StoreUnavailable` where a comparison is being kept for so long that the day could not be closed.
        """
        by = None if by is None else check_name(by)
        if despite is not None:
            despite = Despite(by=check_name(despite.by), reason=check_reason(despite.reason))
        async with self._database.reading() as transaction:
            first = await ledger.next_day(transaction)
        last = last_day_over(first.now)
        if through is not None and through > last:
            raise Refused("day_not_over", param="through", detail=f"the last day that is over is {last}")
        seen: list[LookedAt] = []
        day, waiting = first.day, 0
        while day <= (last if through is None else through) and waiting < DAYS_WAITING_MAX:
            progress(f"looking at {day}")
            looked = LookedAt(day=day, points=await self.look(day), is_closed=False)
            if waiting == 0 and (despite is not None or not looked.against):
                looked = await self._close(day, by=by, despite=despite, progress=progress)
            if looked is not None:
                seen.append(looked)
                waiting += not looked.is_closed
            day += timedelta(days=1)
        return seen

    async def _close(
        self, day: date, *, by: str | None, despite: Despite | None, progress: Progress
    ) -> LookedAt | None:
        """Keep the day's sums and what stood against it; None where somebody else has closed it meanwhile.

        It is looked at once more while no run can be kept and no person opens a difference again: what comes up is seen
        here, and the day stays open, or it is of after the close and stands against the next one.
        """
        progress(f"closing {day}")
        moved = await self._books.sum_day(day)
        try:
            async with self._database.transaction() as transaction:
                await stored.lock_accounts(transaction)
                if await ledger.find_day(transaction, day) is not None:
                    return None
                # By other connections: whoever held an account has committed.
                points = await self.look(day)
                against = list_against(points)
                if against and despite is None:
                    return LookedAt(day=day, points=points, is_closed=False)
                word = despite if against else None
                await ledger.close_day(
                    transaction,
                    day,
                    moved,
                    by=by if word is None else word.by,
                    reason=None if word is None else word.reason,
                    stood=points,
                )
        except RowsFailed as error:
            async with self._database.reading() as transaction:
                if await ledger.find_day(transaction, day) is None:
                    raise StoreUnavailable(f"{day} is not closed, do it again: {error}") from error
            return None
        return LookedAt(day=day, points=points, is_closed=True)

    async def look(self, day: date) -> Sequence[StandPoint]:
        """What there is to tell of a day: its bills, then what differs, then the money that waits."""
        points = [
            StandPoint(
                stand=Stand.BILL_MISSING if bill.is_fetched or bill.code == FILE_OUTDATED else Stand.NO_BILL,
                account_id=bill.account_id,
                account=bill.account,
                code=bill.code,
            )
            for bill in await self._bills.list_uncompared(day)
        ]
        async with self._database.reading() as transaction:
            before = await ledger.find_day(transaction, day - timedelta(days=1))
            points += await _list_files(transaction, day)
        late_since = None if before is None else before.closed_at
        for run_id in await self._list_runs(day, late_since=late_since):
            # Of their own: many reports in one transaction would hold it open for long.
            points += await self._look_at_run(run_id, day=day)
        since, until = day_begin(day), day_begin(day + timedelta(days=1))
        async with self._database.reading() as transaction:
            points += await stored.list_differences(
                transaction, day=day, late_since=late_since, proposal_life=PROPOSAL_LIFE
            )
            points += await stored.list_waiting(transaction, since=since, until=until, proposal_life=PROPOSAL_LIFE)
            points += await stored.list_adjustments(transaction, day=day, since=since, until=until)
        return points

    async def _list_runs(self, day: date, *, late_since: datetime | None) -> Sequence[int]:
        """The newest whole bill of each account's day, and of closed days what was compared since the last was closed."""
        async with self._database.reading() as transaction:
            of_day = await stored.list_bills(transaction, day=day)
            late = [] if late_since is None else await stored.list_late_runs(transaction, since=late_since, before=day)
        return [bill.run_id for bill in of_day if bill.run_id is not None] + late

    async def _look_at_run(self, run_id: int, *, day: date) -> Sequence[StandPoint]:
        async with self._database.reading() as transaction:
            (run,) = await bills.list_runs(transaction, run_id=run_id, rows_max=1)
            report = await read_report(transaction, run)
        return [
            StandPoint(
                stand=Stand.UNTIED,
                account_id=run.account_id,
                account=f"{run.account_name} ({run.channel})",
                day=None if run.day == day else run.day,
                detail=line,
            )
            for line in report.tell_untied()
        ]


async def _list_files(transaction: Transaction, day: date) -> Sequence[StandPoint]:
    """Where a person's file is all that was compared, and whose."""
    return [
        StandPoint(stand=Stand.ONLY_FILE, account_id=bill.account_id, account=bill.account, detail=bill.file_by or "")
        for bill in await stored.list_bills(transaction, day=day)
        if bill.is_file_alone
    ]


def tell_point(point: StandPoint) -> str:
    """One line for people: what stands, how much it is, and of which earlier day where it came late."""
    sums = "" if point.amount_minor is None else f", {render_money(point.amount_minor, currency=point.currency)}"
    agree = f"; {point.proposed} wait for a second person" if point.proposed else ""
    late = "" if point.day is None else f", found of {point.day} after that day was closed"
    match point.stand:
        case Stand.BILL_MISSING:
            why = _WHY_NOT_COMPARED.get(point.code, point.code)
            return f"the bill of {point.account} is not compared: {why}"
        case Stand.UNTIED:
            return f"{point.account} does not tie out: {point.detail}{late}"
        case Stand.DISCREPANCY:
            verdict = point.verdict.replace("_", " ")
            return f"{point.account}: {point.rows_found} {point.kind} {verdict}{sums}{late}{agree}"
        case Stand.HOLD | Stand.SUSPENSE | Stand.ADJUSTMENT:
            return f"{_WAITING[point.stand]}: {point.rows_found}{sums}{agree}"
        case Stand.ONLY_FILE:
            return f"of {point.account} only a file was compared, loaded by {point.detail or 'nobody who is named'}"
        case Stand.NO_BILL:
            return f"{point.account} has no bill to be fetched, and none was loaded"


def tell_shown(point: StandPoint) -> str:
    """The same, of a day that is closed: despite this, or merely by whose word."""
    return f"despite: {tell_point(point)}" if point.is_against else tell_point(point)


def tell_closed(closed: ClosedDay) -> str:
    """By whom and when a day was closed, and why although something stood against it."""
    by = "" if closed.closed_by is None else f" by {closed.closed_by}"
    reason = "" if closed.reason is None else f", despite what was open: {closed.reason}"
    return f"{closed.day} is closed, {closed.closed_at:%Y-%m-%d %H:%M} UTC{by}{reason}"


def tell_books(day: date, closed: ClosedDay | None) -> Sequence[str]:
    """Whether a day is closed, by whom, what stood against it and where a file alone was compared; a line each."""
    if closed is None:
        return [f"the books of {day} are open"]
    return [tell_closed(closed), *(tell_shown(point) for point in closed.shown)]
