"""The command that closes the days of the books, below `ledger`, and how a day's close is told."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import date
from typing import Final

import click

from budan.cli.frame import (
    ERR,
    EXIT_BROKEN,
    OUT,
    by_option,
    database_dsn,
    json_option,
    print_json,
    run_async,
    with_settings,
)
from budan.cli.moments import Day
from budan.cli.settings import STORE_SETTINGS, Settings
from budan.cli.wiring import build_bill_days, open_database
from budan.core.day_closing import Stand, StandPoint
from budan.core.errors import Refused
from budan.flows.books import Books
from budan.flows.day_closing import DayClosing, Despite, LookedAt, tell_closed, tell_point
from budan.store.database import Workload
from budan.store.ledger import ClosedDay

# What a person does about it.
_ACTS: Final = {
    Stand.BILL_MISSING: "budan reconcile runs --day {day}",
    Stand.UNTIED: "load its whole bill once more; else somebody's hand was in the tables, or it is our bug",
    Stand.DISCREPANCY: "budan reconcile discrepancies --account {account} --day {day}",
    Stand.HOLD: "budan orders list --held",
    Stand.SUSPENSE: "say whose it is: budan orders release",
    Stand.ADJUSTMENT: "budan ledger adjust list",
    Stand.ONLY_FILE: "what its channel says itself was not looked at",
    Stand.NO_BILL: "budan reconcile --account {account} --day {day} --bill FILE",
}


@click.command("close")
@click.option("--through", type=Day(), default=None, help="The last day to close; yesterday where absent.")
@click.option(
    "--despite-open",
    is_flag=True,
    help="Close them although something is open, and keep what; with --through, --reason.",
)
@click.option("--reason", default=None, help="Why a day is closed although something is open; kept with it.")
@by_option
@with_settings(*STORE_SETTINGS)
@json_option
def close(
    *, through: date | None, despite_open: bool, reason: str | None, by: str, settings: Settings, as_json: bool
) -> None:
    """Close the days that are over and have nothing open, and tell of each other one what is open: exit 1.

    Open is: a bill that is not compared, a report that does not tie out, a difference that nobody has ended, an order on
    hold, money in suspense; and what was found of a closed day since the last one was closed. Days are closed in order, so
    all after an open one wait. Safe to repeat: a closed day stays as it is.
    """
    despite = _read_despite(through=through, despite_open=despite_open, reason=reason, by=by)

    async def act() -> Sequence[LookedAt]:
        async with open_database(settings, dsn=database_dsn(settings), workload=Workload.BULK) as opened:
            books = Books(database=opened.database, environment=settings.environment, lanes=opened.lanes)
            closing = DayClosing(database=opened.database, books=books, bills=build_bill_days(opened))
            return await closing.close(through=through, by=by or None, despite=despite, progress=_progress)

    seen = run_async(act())
    if as_json:
        closed = [one.day for one in seen if one.is_closed]
        print_json({"closed": closed, "days": [asdict(one) | {"against": len(one.against)} for one in seen]})
    else:
        for line in _list_seen(seen):
            OUT.print(line)
    if not all(one.is_closed for one in seen):
        raise SystemExit(EXIT_BROKEN)


def list_closed(days: Sequence[ClosedDay]) -> Iterator[str]:
    """The last closed day, and each that was closed although something stood against it, with what."""
    for day in days:
        if day.despite or day is days[-1]:
            yield tell_closed(day)
            yield from (f"  {tell_point(point)}" for point in day.shown)


def _read_despite(*, through: date | None, despite_open: bool, reason: str | None, by: str) -> Despite | None:
    """A person's word; raises `Refused` where it does not say which days, or why, or has no name."""
    if not despite_open:
        if reason is not None:
            raise Refused("reason_unwanted", param="reason", detail="it goes with --despite-open")
        return None
    if through is None:
        raise Refused(
            "day_missing", param="through", detail="name the last day that is closed although something is open"
        )
    return Despite(by=by, reason=reason or "")


def _list_seen(seen: Sequence[LookedAt]) -> Iterator[str]:
    if not seen:
        yield "nothing to close"
    first_open = next((one.day for one in seen if not one.is_closed), None)
    for one in seen:
        if one.is_closed:
            yield f"closed {one.day}{', despite:' if one.against else ''}"
        else:
            yield f"NOT CLOSED {one.day}: {_tell_why(one, first_open=first_open)}"
        yield from (f"  {tell_point(point)}: {_tell_act(point, one.day)}" for point in one.points)
    if first_open is not None:
        yield (
            "what stays open all the same is kept with the day: "
            f"budan ledger close --through {first_open} --despite-open --by NAME --reason WHY"
        )


def _tell_why(one: LookedAt, *, first_open: date | None) -> str:
    return "open is" if one.against else f"{first_open} is not closed"


def _tell_act(point: StandPoint, day: date) -> str:
    return _ACTS[point.stand].format(day=point.day or day, account=point.account_id)


def _progress(text: str) -> None:
    ERR.print(text, style="dim")
