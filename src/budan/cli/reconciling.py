"""The commands of reconciliation: a bill against our books, the differences, and what people do about them."""

import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import click
from rich.table import Table

from budan.cli.books_desk import BooksDesk, open_books_desk
from budan.cli.file_words import stand_for_rows
from budan.cli.frame import ERR, OUT, database_dsn, json_option, print_json, run_async, with_settings
from budan.cli.moments import Day
from budan.cli.settings import STORE_SETTINGS, Settings
from budan.cli.setup_acts import print_acts, show_act
from budan.cli.sheets import Amount, Cell, CsvSheet, Sheet, open_sheet
from budan.cli.table_text import safe_cell
from budan.core.errors import Refused
from budan.core.journal import render_money
from budan.core.money import CURRENCY_EXPONENTS
from budan.core.numbers import AccountId, beijing_day
from budan.core.reconcile import parse_rate, render_rate
from budan.flows.bill_days import WaitedBill
from budan.flows.day_closing import tell_books
from budan.flows.day_page import render_page
from budan.flows.day_report import ALL, DayReport, TieLine
from budan.flows.discrepancies import ASKED_FOR, LIST_ROWS_MAX, RESOLUTIONS, DiscrepancyView
from budan.flows.reconciling import BillWish
from budan.host.memory import spare_what_is_built
from budan.ports.bill import FetchedBill, Packing
from budan.store.contracts import ContractRow
from budan.store.reconcile import DiscrepancyFilter, DiscrepancyRow
from budan.store.setup_acts import SetupActRow

# What a screen shows where nobody says how much.
LIST_ROWS: Final = 100
_BY = click.option("--by", default=None, help="Your name. It is recorded as given; nobody checks it.")
_NAMED_BY = click.option("--by", required=True, help="Your name. It is recorded as given; nobody checks it.")


@click.group(invoke_without_command=True)
@click.option("--channel", default=None, help="The channel, where several accounts have the name.")
@click.option("--account", default=None, help="The channel account, by number or name.")
@click.option("--day", type=Day(), default=None, help="The bill's day in Beijing; yesterday where absent.")
@click.option("--bill", "path", type=click.Path(path_type=Path), default=None, help="A bill as the channel gave it.")
@click.option("--partial", is_flag=True, help="The bill is of a part of the day: what comes later is not missed.")
@click.option("--propose", type=int, default=None, help="Stand for what this run's loaded bill calls paid.")
@click.option("--confirm", type=int, default=None, help="Agree to what another person stands for.")
@click.option("--reason", default=None, help="Why; with --propose.")
@_BY
@with_settings(*STORE_SETTINGS)
@json_option
@click.pass_context
def reconcile(
    context: click.Context,
    *,
    channel: str | None,
    account: str | None,
    day: date | None,
    path: Path | None,
    partial: bool,
    propose: int | None,
    confirm: int | None,
    reason: str | None,
    by: str | None,
    settings: Settings,
    as_json: bool,
) -> None:
    """Compare a channel's bill with our books: `budan reconcile --account NAME --bill FILE --by NAME`.

    What the channel has and we have not is asked about at once. Everything else that differs waits in
    `budan reconcile discrepancies`. Where the channel cannot be asked any more, two persons may stand for the file:
    one by --propose RUN with a --reason, another one half an hour later by --confirm RUN.
    """
    if context.invoked_subcommand is not None:
        return
    if propose is not None or confirm is not None:
        stand_for_rows(settings, propose=propose, confirm=confirm, by=by, reason=reason, as_json=as_json)
        return
    if account is None or path is None or by is None:
        raise click.UsageError("--account, --bill and --by are needed, or a command: see --help")
    day = day or beijing_day(datetime.now(UTC)) - timedelta(days=1)
    # Differences are many small objects: each few hundred would have the whole program looked through for garbage.
    spare_what_is_built()

    async def compare() -> DayReport:
        async with open_books_desk(settings, dsn=database_dsn(settings)) as desk:
            config = await desk.find_account(account, channel=channel)
            wish = BillWish(
                account_id=config.account_id,
                day=day,
                bill=_bill_of(path),
                origin="file",
                loaded_by=by,
                is_partial=partial,
            )
            run = await desk.reconciliation.compare(wish, reader=desk.reader_of(config), progress=_progress)
            await desk.discrepancies.follow_up(config.account_id)
            return await desk.reconciliation.get_report(run.id)

    _show_report(run_async(compare()), as_json=as_json)


@reconcile.command("runs")
@click.option("--account", default=None, help="Of this account, by number or name.")
@click.option("--day", type=Day(), default=None, help="Of this day.")
@click.option("--limit", type=int, default=50, show_default=True, help="At most so many.")
@click.option("--link", is_flag=True, help="Also an address of the page that shows them, good for 12 hours.")
@with_settings(*STORE_SETTINGS, "listen", "public_url")
@json_option
def reconcile_runs(
    *, account: str | None, day: date | None, limit: int, link: bool, settings: Settings, as_json: bool
) -> None:
    """Which bills were compared, newest first, and which are waited for."""

    async def read() -> tuple[list[DayReport], Sequence[WaitedBill], str]:
        async with _open(settings) as desk:
            account_id = await _find_account_id(desk, account)
            runs = await desk.reconciliation.list_runs(account_id=account_id, day=day, rows_max=limit)
            reports = [await desk.reconciliation.get_report(run.id) for run in runs]
            waited = await desk.bills.list_waited()
        fits = [one for one in waited if account_id in {None, one.bill.account_id} and day in {None, one.bill.day}]
        return reports, fits, f"{settings.public_url.rstrip('/')}/books/{desk.links.render()}"

    reports, waited, address = run_async(read())
    for report in reports:
        _tell_untied(report)
    if as_json:
        page = {"page": address} if link else {}
        print_json({"runs": [report.as_json() for report in reports], "waited": waited} | page)
        return
    heads = ("run", "day", "account", "channel", "from", "lines", "agree", "differ", "repaired", "unresolved", "ties")
    table = Table(*heads, "books")
    for report in reports:
        run = report.run
        numbers = (run.lines, report.matched, report.differences, report.repaired, report.unresolved)
        origin = f"{run.origin}, a part" if run.is_partial else run.origin
        ties = "yes" if report.ties_out else "NO"
        books = "open" if report.closed is None else "closed, despite" if report.closed.despite else "closed"
        table.add_row(str(run.id), str(run.day), run.account_name, run.channel, origin, *map(str, numbers), ties, books)
    OUT.print(table)
    for one in waited:
        said = f"{one.bill.code} {one.bill.message}".strip() or "not asked for yet"
        state = "late" if one.is_late and one.bill.state != "missed" else one.bill.state
        file = "" if one.bill.file_run_id is None else f"; a file was compared by run {one.bill.file_run_id}"
        OUT.print(f"{one.bill.day} of {one.bill.account_name}: {state}, {said}{file}")
    if link:
        OUT.print(address)


@reconcile.command("show")
@click.argument("run_id", metavar="RUN", type=int)
@with_settings(*STORE_SETTINGS)
@json_option
def reconcile_show(*, run_id: int, settings: Settings, as_json: bool) -> None:
    """What a run found, and what became of it since."""

    async def read() -> DayReport:
        async with _open(settings) as desk:
            return await desk.reconciliation.get_report(run_id)

    _show_report(run_async(read()), as_json=as_json)


@reconcile.command("report")
@click.argument("run_id", metavar="RUN", type=int)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--all", "with_resolved", is_flag=True, help="Resolved differences as well.")
@with_settings(*STORE_SETTINGS)
@json_option
def reconcile_report(*, run_id: int, path: Path, with_resolved: bool, settings: Settings, as_json: bool) -> None:
    """Write a run's report to a file: a page with bars (.html), or a sheet (.csv, .xlsx): its tie-out, its day's differences."""

    async def write() -> int:
        async with _open(settings) as desk:
            report = await desk.reconciliation.get_report(run_id)
            _tell_untied(report)
            wanted = DiscrepancyFilter(
                account_id=report.run.account_id, day=report.run.day, with_resolved=with_resolved
            )
            if path.suffix.lower() == ".html":
                rows = await desk.discrepancies.list_page(wanted, rows_max=LIST_ROWS_MAX)
                _write_page(path, render_page(report, rows))
                return len(rows)
            return await _write_sheet(desk, path, wanted, report)

    written = run_async(write())
    if as_json:
        print_json({"run": run_id, "path": str(path), "differences": written})
    else:
        OUT.print(f"{path}: {written} differences")


@reconcile.command("discrepancies")
@click.option("--account", default=None, help="Of this account, by number or name.")
@click.option("--day", type=Day(), default=None, help="Of this day.")
@click.option("--state", type=click.Choice(["open", "asked", "awaited", "resolved"]), default=None)
@click.option("--all", "with_resolved", is_flag=True, help="Resolved ones as well.")
@click.option("--after", type=int, default=0, help="Goes on after this number.")
@click.option("--limit", type=int, default=None, help="At most so many: 100 where absent, and all with --csv.")
@click.option("--csv", "as_csv", is_flag=True, help="Print rows for a spreadsheet.")
@with_settings(*STORE_SETTINGS)
@json_option
def reconcile_discrepancies(
    *,
    account: str | None,
    day: date | None,
    state: str | None,
    with_resolved: bool,
    after: int,
    limit: int | None,
    as_csv: bool,
    settings: Settings,
    as_json: bool,
) -> None:
    """What differs and is not resolved, oldest first."""
    wanted = DiscrepancyFilter(
        after=after,
        day=day,
        state=state,
        with_resolved=with_resolved or state == "resolved",
    )

    if as_csv and limit is None:
        run_async(_print_sheet(settings, wanted, account=account))
        return
    rows_max = LIST_ROWS if limit is None else limit

    async def read() -> list[DiscrepancyRow]:
        async with _open(settings) as desk:
            of_account = replace(wanted, account_id=await _find_account_id(desk, account))
            return await desk.discrepancies.list_page(of_account, rows_max=rows_max)

    rows = run_async(read())
    if as_json:
        print_json({"discrepancies": rows})
        return
    if len(rows) == rows_max:
        # On the error stream: a spreadsheet of rows must hold nothing else.
        ERR.print(f"there may be more: --after {rows[-1].id}", style="yellow")
    if as_csv:
        _add_all(CsvSheet(sys.stdout, header=_SHEET_HEADER), rows)
        return
    table = Table(*_DISCREPANCY_HEADER)
    for row in rows:
        table.add_row(*_discrepancy_cells(row))
    OUT.print(table)


@reconcile.command("discrepancy")
@click.argument("number", type=int)
@with_settings(*STORE_SETTINGS)
@json_option
def reconcile_discrepancy(*, number: int, settings: Settings, as_json: bool) -> None:
    """One difference with all that was written to it."""

    async def read() -> DiscrepancyView:
        async with _open(settings) as desk:
            return await desk.discrepancies.get(number)

    _show_discrepancy(run_async(read()), as_json=as_json)


@reconcile.command("assign")
@click.argument("number", type=int)
@click.option("--to", "owner", required=True, help="Who takes care of it.")
@click.option("--note", default=None, help="What they should know.")
@_NAMED_BY
@with_settings(*STORE_SETTINGS)
@json_option
def reconcile_assign(*, number: int, owner: str, note: str | None, by: str, settings: Settings, as_json: bool) -> None:
    """Say who takes care of a difference."""

    async def change() -> DiscrepancyView:
        async with _open(settings) as desk:
            return await desk.discrepancies.assign(number, owner=owner, by=by, note=note)

    _show_discrepancy(run_async(change()), as_json=as_json)


@reconcile.command("note")
@click.argument("number", type=int)
@click.argument("note")
@_NAMED_BY
@with_settings(*STORE_SETTINGS)
@json_option
def reconcile_note(*, number: int, note: str, by: str, settings: Settings, as_json: bool) -> None:
    """Write to a difference."""

    async def change() -> DiscrepancyView:
        async with _open(settings) as desk:
            return await desk.discrepancies.annotate(number, by=by, note=note)

    _show_discrepancy(run_async(change()), as_json=as_json)


@reconcile.command("resolve")
@click.argument("number", type=int)
@click.option("--as", "resolution", type=click.Choice(RESOLUTIONS), required=True, help="How it ended.")
@click.option("--note", required=True, help="Why.")
@_NAMED_BY
@with_settings(*STORE_SETTINGS)
@json_option
def reconcile_resolve(*, number: int, resolution: str, note: str, by: str, settings: Settings, as_json: bool) -> None:
    """End a difference by your decision. This moves no money: `budan orders` does, and here you say that it is done."""

    async def change() -> DiscrepancyView:
        async with _open(settings) as desk:
            return await desk.discrepancies.resolve(number, resolution=resolution, by=by, note=note)

    _show_discrepancy(run_async(change()), as_json=as_json)


@reconcile.command("reopen")
@click.argument("number", type=int)
@click.option("--note", required=True, help="Why.")
@_NAMED_BY
@with_settings(*STORE_SETTINGS)
@json_option
def reconcile_reopen(*, number: int, note: str, by: str, settings: Settings, as_json: bool) -> None:
    """Open a difference again that somebody ended by mistake; not one that a bill or the channel's word has ended."""

    async def change() -> DiscrepancyView:
        async with _open(settings) as desk:
            return await desk.discrepancies.reopen(number, by=by, note=note)

    _show_discrepancy(run_async(change()), as_json=as_json)


@reconcile.command("contract")
@click.argument("account")
@click.option("--rate", default=None, help="What the channel takes of a payment, as 0.6%.")
@click.option("--from", "effective_from", type=Day(), default=None, help="The first day; today where absent.")
@_BY
@with_settings(*STORE_SETTINGS)
@json_option
def reconcile_contract(
    *,
    account: str,
    rate: str | None,
    effective_from: date | None,
    by: str | None,
    settings: Settings,
    as_json: bool,
) -> None:
    """What an account's contract says of the channel's fee, with who said what before, or set it.

    Without it fees are summed and not judged.
    """
    if rate is not None and by is None:
        raise Refused("name_malformed", param="by", detail="whoever sets a rate says who they are")

    async def act() -> tuple[list[ContractRow], list[SetupActRow]]:
        async with _open(settings) as desk:
            config = await desk.find_account(account, channel=None)
            if rate is not None:
                await desk.discrepancies.set_contract(
                    config.account_id,
                    rate_e6=parse_rate(rate),
                    effective_from=effective_from or beijing_day(datetime.now(UTC)),
                    by=by or "",
                )
            rows = await desk.discrepancies.list_contracts(config.account_id)
            return rows, await desk.discrepancies.list_contract_acts(config.account_id)

    rows, acts = run_async(act())
    if as_json:
        kept = [{"effective_from": row.effective_from, "rate_e6": row.rate_e6, "set_by": row.set_by} for row in rows]
        print_json({"contract": kept, "acts": [show_act(act) for act in acts]})
        return
    for row in rows:
        OUT.print(f"from {row.effective_from}: {render_rate(row.rate_e6)}, set by {row.set_by}")
    print_acts(acts)


@asynccontextmanager
async def _open(settings: Settings) -> AsyncGenerator[BooksDesk]:
    async with open_books_desk(settings, dsn=database_dsn(settings)) as desk:
        yield desk


async def _find_account_id(desk: BooksDesk, name: str | None) -> AccountId | None:
    """The account of a number or name, None where none is named; raises `Refused` with `account_unknown`."""
    return None if name is None else (await desk.find_account(name, channel=None)).account_id


def _bill_of(path: Path) -> FetchedBill:
    """A file by hand; how it is packed is told by its first bytes, as people rename what they load down."""
    try:
        with path.open("rb") as stream:
            begin = stream.read(4)
    except OSError as error:
        raise Refused("bill_unreadable", param="bill", detail=f"{path}: {error.strerror}") from error
    packing = Packing.GZIP if begin[:2] == b"\x1f\x8b" else Packing.ZIP if begin == b"PK\x03\x04" else Packing.PLAIN
    return FetchedBill(path=path, packing=packing)


def _write_page(path: Path, page: str) -> None:
    """A file that is there is not written over: somebody may have been sent it."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(page)
    except FileExistsError as error:
        raise Refused("file_exists", param="path", detail=str(path)) from error
    except OSError as error:
        raise Refused("folder_missing", param="path", detail=f"{path}: {error.strerror}") from error


async def _write_sheet(desk: BooksDesk, path: Path, wanted: DiscrepancyFilter, report: DayReport) -> int:
    """The tie-out first, in rows without a number: whoever opens the file sees whether the day ties out."""
    with open_sheet(path, title="differences", header=_SHEET_HEADER) as sheet:
        for line in report.tell_untied():
            sheet.add((None, report.run.day, report.run.account_id, None, "DOES NOT TIE OUT", line))
        for line in tell_books(report.run.day, report.closed):
            sheet.add((None, report.run.day, report.run.account_id, None, "books", line))
        for line in report.tie_lines():
            sheet.add(tie_cells(line, report))
        return await _fill(sheet, desk, wanted)


async def _print_sheet(settings: Settings, wanted: DiscrepancyFilter, *, account: str | None) -> None:
    async with _open(settings) as desk:
        of_account = replace(wanted, account_id=await _find_account_id(desk, account))
        await _fill(CsvSheet(sys.stdout, header=_SHEET_HEADER), desk, of_account)


async def _fill(sheet: Sheet, desk: BooksDesk, wanted: DiscrepancyFilter) -> int:
    """All differences that fit, page by page; gives how many."""
    written = 0
    while rows := await desk.discrepancies.list_page(wanted, rows_max=LIST_ROWS_MAX):
        _add_all(sheet, rows)
        written += len(rows)
        wanted = replace(wanted, after=rows[-1].id)
    return written


def _add_all(sheet: Sheet, rows: Sequence[DiscrepancyRow]) -> None:
    for row in rows:
        sheet.add(sheet_cells(row))


def sheet_cells(row: DiscrepancyRow) -> tuple[Cell, ...]:
    """A difference as a row of a sheet; an amount in a currency that we keep no books in is text."""
    return (
        row.id,
        row.day,
        row.account_id,
        row.kind,
        row.verdict,
        row.subject,
        row.line_no,
        _money(row.their_minor, row.currency),
        _money(row.our_minor, row.our_currency or row.currency),
        row.state,
        row.resolution,
        f"{row.age_s / 3_600:.1f}",
        row.owner,
        row.notes,
        safe_cell(row.currency),
        safe_cell(row.our_currency or row.currency),
        "yes" if row.after_close else None,
    )


def tie_cells(line: TieLine, report: DayReport) -> tuple[Cell, ...]:
    """What became of the rows of a kind and currency, or all of them as they were counted, as a row of a sheet."""
    sides, is_all = line.sides, line.name == ALL
    return (
        None,
        report.run.day,
        report.run.account_id,
        line.kind,
        f"tie-out: {line.name}",
        f"{sides.theirs.rows} rows there, {sides.ours.rows} rows here",
        None,
        _money(sides.theirs.amount_minor, line.currency),
        _money(sides.ours.amount_minor, line.currency),
        ("ties out" if report.ties_out else "DOES NOT TIE OUT") if is_all else None,
        *(None, None, None, None),
        safe_cell(line.currency),
        safe_cell(line.currency),
    )


def _money(amount_minor: int | None, currency: str) -> Cell:
    if amount_minor is None or currency not in CURRENCY_EXPONENTS:
        return _amount(amount_minor, currency)
    return Amount(amount_minor=amount_minor, currency=currency)


def _progress(text: str) -> None:
    ERR.print(text, style="dim")


def _tell_untied(report: DayReport) -> None:
    """On the error stream, so that no form of a report is silent about it: not JSON that nobody reads, nor a file."""
    for line in report.tell_untied():
        ERR.print(f"run {report.run.id} DOES NOT TIE OUT: {line}", style="bold red")


def _show_report(report: DayReport, *, as_json: bool) -> None:
    _tell_untied(report)
    if as_json:
        print_json(report.as_json())
        return
    run = report.run
    OUT.print(
        f"run {run.id}: {run.day} of {run.account_name} ({run.channel}), {run.lines} lines, "
        f"{report.matched} agree, {report.differences} differ, {report.repaired} repaired, "
        f"{report.unresolved} unresolved",
    )
    OUT.print(report.tell_sums())
    table = Table("what", "outcome", "rows there", "sum there", "rows here", "sum here")
    for line in report.tie_lines():
        theirs, ours = line.sides.theirs, line.sides.ours
        sums = (_amount(theirs.amount_minor, line.currency), _amount(ours.amount_minor, line.currency))
        end = line.name == ALL
        table.add_row(line.kind, line.name, str(theirs.rows), sums[0], str(ours.rows), sums[1], end_section=end)
    OUT.print(table)
    table = Table("what", "verdict", "rows there", "sum there", "rows here", "sum here")
    for tally in report.tallies:
        sums = (_amount(tally.their_minor, tally.currency), _amount(tally.our_minor, tally.currency))
        table.add_row(tally.kind, tally.verdict, str(tally.their_rows), sums[0], str(tally.our_rows), sums[1])
    OUT.print(table)
    OUT.print(f"ties out: {'yes' if report.ties_out else 'NO'}")
    for line in tell_books(run.day, report.closed):
        OUT.print(line)
    if report.unresolved:
        OUT.print(f"budan reconcile discrepancies --account {run.account_id} --day {run.day}")


_DISCREPANCY_HEADER: Final = (
    *("number", "day", "account", "kind", "verdict", "subject", "line", "there", "here"),
    *("state", "resolution", "age_h", "owner"),
)
# A screen has no room for notes: `budan reconcile discrepancy` shows those of one. In a sheet amounts are numbers.
_SHEET_HEADER: Final = (*_DISCREPANCY_HEADER, "notes", "currency_there", "currency_here", "found_after_close")


def _discrepancy_cells(row: DiscrepancyRow) -> tuple[str, ...]:
    return (
        str(row.id),
        str(row.day),
        str(row.account_id),
        row.kind,
        row.verdict,
        safe_cell(row.subject),
        safe_cell(row.line_no),
        _amount(row.their_minor, row.currency),
        _amount(row.our_minor, row.our_currency or row.currency),
        tell_state(row),
        row.resolution or "",
        f"{row.age_s / 3_600:.1f}",
        safe_cell(row.owner),
    )


def tell_state(row: DiscrepancyRow) -> str:
    """The state, whether it came after its day was closed, and how often its channel was asked in vain about a refund.

    0 times where its account cannot be used.
    """
    late = ", found after the close" if row.after_close else ""
    is_waiting = row.ask_count > 0 or (row.kind == "refund" and row.age_s > ASKED_FOR.total_seconds())
    if row.state != "asked" or not is_waiting:
        return f"{row.state}{late}"
    answer = "no final answer yet" if row.answered_at is None else f"denied at {row.answered_at:%Y-%m-%d %H:%M}"
    return f"asked {row.ask_count} times, {answer}{late}"


def _tell_end(row: DiscrepancyRow) -> str:
    return tell_state(row) if row.resolution is None else f"{tell_state(row)}: {row.resolution}"


def _show_discrepancy(view: DiscrepancyView, *, as_json: bool) -> None:
    if as_json:
        print_json(view)
        return
    row = view.discrepancy
    OUT.print(f"{row.id}: {row.kind} {row.verdict}, {row.subject}, {row.day}, {_tell_end(row)}")
    here = _amount(row.our_minor, row.our_currency or row.currency)
    OUT.print(f"there {_amount(row.their_minor, row.currency)}, here {here}")
    if row.owner is not None:
        OUT.print(f"owner: {row.owner}")
    for note in view.notes:
        OUT.print(f"{note.written_at:%Y-%m-%d %H:%M} UTC {note.written_by}: {note.note}")


def _amount(amount_minor: int | None, currency: str) -> str:
    return "" if amount_minor is None else safe_cell(render_money(amount_minor, currency=currency))
