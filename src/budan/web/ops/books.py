"""A day's bills against the books, for whoever was given a link: it shows, and changes nothing."""

from collections.abc import Sequence
from datetime import date, timedelta
from urllib.parse import parse_qs

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from budan.core.day_closing import StandPoint
from budan.core.errors import Refused
from budan.flows.bill_days import WaitedBill
from budan.flows.day_page import render_sum
from budan.flows.day_report import DayReport, Untied, UntiedSide
from budan.flows.wired import Flows
from budan.store.ledger import ClosedDay
from budan.store.reconcile import DiscrepancyRow
from budan.web.exchange import Answer, Exchange, Scope
from budan.web.page.render import Pages, local_address, speech_of
from budan.web.page.words import Words
from budan.web.rest import PageRequest, exchange_of, path_of, respond


class BooksPage:
    """Answers for the holder of a link of `budan reconcile runs --link`."""

    def __init__(self, *, flows: Flows, pages: Pages) -> None:
        self._flows = flows
        self._pages = pages

    def handlers(self) -> list[HTTPRouteHandler]:
        """The page that Litestar serves."""

        @get(path_of("books"), name="books")
        async def books(request: PageRequest) -> Response[bytes]:
            return respond(await self._show(exchange_of(request)))

        return [books]

    async def _show(self, exchange: Exchange) -> Answer:
        token = exchange.parameters[0]
        if not self._flows.books_links.is_good(token):
            raise Refused("page_not_found")
        view = await self._flows.day_books.show(_asked_day(exchange.scope))
        speech, path = speech_of(exchange.scope), f"/books/{token}"

        def address(days: int) -> str:
            return local_address(exchange.scope, path, day=f"{view.day + timedelta(days=days)}")

        return self._pages.render(
            "books.html",
            speech=speech,
            day=view.day,
            books=_books(view.closed, speech),
            earlier=address(-1),
            later=address(1),
            reports=[_report(report, speech) for report in view.reports],
            waited=[_waited(one, speech) for one in view.waited],
            open_rows=[_difference(row, speech) for row in view.open_rows],
        )


def _asked_day(scope: Scope) -> date | None:
    asked = parse_qs(scope["query_string"].decode("latin-1")).get("day", [""])[-1]
    if not asked:
        return None
    try:
        return date.fromisoformat(asked)
    except ValueError:
        raise Refused("page_not_found") from None


def _report(report: DayReport, speech: Words) -> dict[str, object]:
    run = report.run
    rows = [
        (
            speech.say(f"books.kind.{tally.kind}"),
            speech.say(f"books.verdict.{tally.verdict}"),
            str(tally.their_rows),
            render_sum(tally.their_minor, tally.currency),
            str(tally.our_rows),
            render_sum(tally.our_minor, tally.currency),
        )
        for tally in report.tallies
    ]
    outcomes = [
        (
            speech.say(f"books.kind.{line.kind}"),
            speech.say(f"books.outcome.{line.name}"),
            str(line.sides.theirs.rows),
            render_sum(line.sides.theirs.amount_minor, line.currency),
            str(line.sides.ours.rows),
            render_sum(line.sides.ours.amount_minor, line.currency),
        )
        for line in report.tie_lines()
    ]
    return {
        "account": f"{run.account_name} ({run.channel})",
        "run": run.id,
        "lines": run.lines,
        "is_partial": run.is_partial,
        "untied": [_untied(found, speech, lines=run.lines) for found in report.list_untied()],
        "elsewhere": report.unresolved_elsewhere,
        "outcomes": outcomes,
        "rows": rows,
    }


def _books(closed: ClosedDay | None, speech: Words) -> Sequence[str]:
    """Whether the day is closed, by whom, why although something was open, what that was, and where a file alone counted."""
    if closed is None:
        return [speech.say("books.not_closed")]
    told = [speech.say("books.closed", at=f"{closed.closed_at:%Y-%m-%d %H:%M} UTC")]
    if closed.closed_by is not None:
        told.append(speech.say("books.closed_by", name=closed.closed_by))
    if closed.reason is not None:
        told.append(speech.say("books.closed_despite", reason=closed.reason))
    return [*told, *(_stood(point, speech) for point in closed.shown)]


def _stood(point: StandPoint, speech: Words) -> str:
    """What stood against the day when it was closed, or by whose file it was compared; of an earlier day where it was found late."""
    told = speech.say(
        f"books.stand.{point.stand.value}",
        account=point.account,
        code=point.code,
        name=point.detail,
        count=point.rows_found,
        kind=speech.say(f"books.kind.{point.kind}") if point.kind else "",
        verdict=speech.say(f"books.verdict.{point.verdict}") if point.verdict else "",
        sum=render_sum(point.amount_minor, point.currency),
    )
    return told if point.day is None else told + speech.say("books.stand_late", day=point.day)


def _untied(found: UntiedSide | Untied, speech: Words, *, lines: int) -> str:
    kind = speech.say(f"books.kind.{found.kind}") if found.kind else ""
    if isinstance(found, Untied):
        return speech.say(f"books.untied.{found.what}", kind=kind, lines=lines, counted=found.counted)
    return speech.say(
        f"books.untied.{found.side}",
        kind=kind,
        rows=found.counted.rows,
        sum=render_sum(found.counted.amount_minor, found.currency),
        known_rows=found.known.rows,
        known_sum=render_sum(found.known.amount_minor, found.currency),
    )


def _waited(one: WaitedBill, speech: Words) -> Sequence[str]:
    bill = one.bill
    state = "late" if one.is_late else "waiting"
    return (
        str(bill.day),
        f"{bill.account_name} ({bill.channel})",
        speech.say(f"books.bill.{bill.state if bill.state == 'missed' else state}"),
        f"{bill.code} {bill.message}".strip(),
    )


def _difference(row: DiscrepancyRow, speech: Words) -> Sequence[str]:
    return (
        str(row.id),
        str(row.day),
        speech.say(f"books.kind.{row.kind}"),
        speech.say(f"books.verdict.{row.verdict}"),
        row.subject,
        "" if row.line_no is None else str(row.line_no),
        render_sum(row.their_minor, row.currency),
        render_sum(row.our_minor, row.our_currency or row.currency),
        speech.say(f"books.state.{row.state}") + (speech.say("books.after_close") if row.after_close else ""),
        row.owner or "",
        speech.say("books.age", hours=f"{row.age_s / 3_600:.0f}"),
    )
