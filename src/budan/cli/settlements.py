"""The commands of settlement, below `ledger`: settle, settlements, settlement, payout."""

import sys
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Final

import click
from rich.table import Table

from budan.cli.frame import ERR, OUT, by_option, database_dsn, json_option, print_json, run_async, with_settings
from budan.cli.moments import Day
from budan.cli.payees import mask
from budan.cli.settings import STORE_SETTINGS, Settings
from budan.cli.sheets import Amount, Cell, CsvSheet, Sheet, digest, open_sheet
from budan.cli.table_text import safe_cell
from budan.cli.wiring import open_database, open_settling
from budan.core.errors import Refused, StoreUnavailable
from budan.core.journal import render_amount
from budan.core.numbers import MerchantId
from budan.core.settlement import BatchState
from budan.flows.payouts import Batch, BatchFilter, PaidOut, Payouts, SettledLine
from budan.store.database import RowsFailed, Workload
from budan.store.payees import PayeeRow
from budan.store.settlement import PayoutRow

_BY = click.option("--by", required=True, help="Your name. It is recorded as given; nobody checks it.")
_REFERENCE = click.option("--reference", required=True, help="The bank's number of the transfer; it tells a repeat.")
_DAY = click.option("--day", type=Day(), default=None, help="One day, by the merchants' own calendars.")
_MERCHANT = click.option("--merchant", "merchant_id", type=int, default=None, help="One merchant.")
SHOWN_MAX: Final = 1_000

BATCH_HEADER: Final = (
    "batch",
    "merchant",
    "name",
    "day",
    "zone",
    "currency",
    "lines",
    "late",
    "total",
    "held_back",
    "released",
    "payout",
    "state",
    "on_hold",
    "reference",
    "sent_at",
    "payee",
)
# What a bank needs to pay, in place of how the number ends.
PAYOUT_HEADER: Final = (
    *BATCH_HEADER[:-1],
    "payee_holder",
    "payee_bank",
    "payee_bank_code",
    "payee_kind",
    "payee_number",
)
LINE_HEADER: Final = (
    "batch",
    "order",
    "merchant",
    "merchant_reference",
    "entry",
    "counts_at",
    "currency",
    "order_amount",
    "order_fee",
    "amount",
    "mark",
    "reason",
)


@click.command("settle")
@_MERCHANT
@with_settings(*STORE_SETTINGS)
@json_option
def settle(*, merchant_id: int | None, settings: Settings, as_json: bool) -> None:
    """Make a batch of each merchant's day that is over, as the job settle-daily does. Safe to repeat: a settled day stays."""
    made = run_async(_settle(settings, merchant_id))
    if as_json:
        print_json(made)
    else:
        OUT.print(f"{made['batches']} batches of {made['lines']} lines, {made['late_lines']} of them late")


@click.command("settlements")
@_DAY
@_MERCHANT
@click.option("--due", is_flag=True, help="Only what is to be paid out.")
@click.option("--csv", "as_csv", is_flag=True, help="Print all of them as rows for a spreadsheet.")
@with_settings(*STORE_SETTINGS)
@json_option
def settlements(
    *, day: date | None, merchant_id: int | None, due: bool, as_csv: bool, settings: Settings, as_json: bool
) -> None:
    """Settlement batches, the newest day first."""
    wanted = BatchFilter(day=day, merchant_id=merchant_id, due=due)
    if as_csv:
        sheet = CsvSheet(sys.stdout, header=BATCH_HEADER)
        run_async(_write_batches(settings, wanted, sheet))
        return
    batches = run_async(_list(settings, wanted))
    shown = batches[:SHOWN_MAX]
    if as_json:
        print_json({"batches": [_batch(batch) for batch in shown], "more": len(batches) > SHOWN_MAX})
        return
    table = Table(*BATCH_HEADER)
    for batch in shown:
        table.add_row(*(_shown(cell) for cell in _batch_cells(batch)))
    OUT.print(table)
    if len(batches) > SHOWN_MAX:
        ERR.print(f"the newest {SHOWN_MAX}; --day, --merchant or --csv for the rest", style="yellow")


@click.command("settlement")
@click.argument("batch_no", metavar="BATCH")
@click.option("--csv", "as_csv", is_flag=True, help="Print its lines as rows for a spreadsheet.")
@with_settings(*STORE_SETTINGS)
@json_option
def settlement(*, batch_no: str, as_csv: bool, settings: Settings, as_json: bool) -> None:
    """One settlement batch with its lines."""
    if as_csv:
        run_async(_print_lines(settings, batch_no))
        return

    async def read() -> tuple[Batch, list[str], list[PayoutRow], list[SettledLine]]:
        async with _open_payouts(settings) as payouts:
            batch = await payouts.get_batch(batch_no)
            lines = payouts.list_lines(batch)
            async with aclosing(lines):
                releases, made = await payouts.list_releases(batch), await payouts.list_payouts(batch)
                return batch, releases, made, [line async for line in lines]

    batch, releases, made, lines = run_async(read())
    if as_json:
        parts = {"payouts_of": [_payout(one) for one in made], "lines_of": [_line(line) for line in lines]}
        print_json(_batch(batch) | {"releases": releases} | parts)
        return
    for name, cell in zip(BATCH_HEADER, _batch_cells(batch), strict=True):
        OUT.print(f"{name}: {_shown(cell)}")
    for line in _tell_releases(batch, releases):
        OUT.print(line)
    for one in made:
        back = f"; back {one.returned_at:%F %R}, {one.returned_by}: {one.return_reason}" if one.returned_at else ""
        second = "" if one.second_reason is None else f"; one too many: {one.second_reason}"
        to = "" if one.number_end is None else f" to {one.holder}, {mask(one.number_end)}"
        OUT.print(f"{one.bank_reference}: sent{to} {one.paid_at:%F %R}, {one.paid_by}{second}{back}")
    table = Table(*LINE_HEADER[1:])
    for line in lines:
        table.add_row(*(_shown(cell) for cell in _line_cells(line)[1:]))
    OUT.print(table)


def _tell_releases(batch: Batch, releases: Sequence[str]) -> Iterator[str]:
    """Where what was held back went, and whose hold-back this batch gives back."""
    if batch.row.held_back_minor:
        waits = f"stays here, from {batch.row.release_on} on the next batch gives it back"
        yield f"held back: {waits if batch.released_in is None else f'given back in {batch.released_in}'}"
    if releases:
        yield f"released: held back by {', '.join(releases)}"


@click.group("payout")
def payout() -> None:
    """What is sent to merchants: a file for the bank, and what the bank did."""


@payout.command("file")
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@_DAY
@_MERCHANT
@click.option("--lines", "with_lines", is_flag=True, help="The lines of all that is due, instead; it sends nothing.")
@click.option("--again", is_flag=True, help="Also what an earlier file has: only if no bank ever got that.")
@by_option
@with_settings(*STORE_SETTINGS)
@json_option
def payout_file(
    *,
    path: Path,
    day: date | None,
    merchant_id: int | None,
    with_lines: bool,
    again: bool,
    by: str,
    settings: Settings,
    as_json: bool,
) -> None:
    """Write what is to be paid out into PATH, .csv or .xlsx, and mark it as sent: tell what the bank did by payout paid.

    Left out and named are a batch with an order on hold, one whose merchant has no payee, and one that an earlier file has.
    """
    wanted = BatchFilter(day=day, merchant_id=merchant_id, due=True)
    due = run_async(_list(settings, wanted))
    payable = [batch for batch in due if not batch.is_held and batch.payee is not None]
    if with_lines:
        with open_sheet(path, title="lines", header=LINE_HEADER) as sheet:
            run_async(_write_lines(settings, payable, sheet))
        _print_file(path, payable, [], due=due, again=False, as_json=as_json)
        return
    sent_before = [batch for batch in payable if batch.row.files]
    paid = payable if again else [batch for batch in payable if not batch.row.files]

    def send(whole: Path) -> None:
        run_async(_send(settings, paid, by=by, file_sha256=digest(whole)))

    # Marked first: a file that is marked and not there is asked for again, one that is there unmarked is paid twice.
    with open_sheet(path, title="payouts", header=PAYOUT_HEADER, before_it_is_there=send) as sheet:
        run_async(_write_payouts(settings, paid, sheet))
    _print_file(path, paid, sent_before, due=due, again=again, as_json=as_json)


def _print_file(
    path: Path,
    paid: Sequence[Batch],
    sent_before: Sequence[Batch],
    *,
    due: Sequence[Batch],
    again: bool,
    as_json: bool,
) -> None:
    totals = Counter[str]()
    for batch in paid:
        totals[batch.row.currency] += batch.row.payout_minor
    on_hold = [batch.batch_no for batch in due if batch.is_held]
    no_payee = [batch for batch in due if not batch.is_held and batch.payee is None]
    if as_json:
        written = {"path": str(path), "sha256": digest(path), "batches": len(paid), "payout_minor": dict(totals)}
        left_out = {"on_hold": on_hold, "no_payee": [batch.batch_no for batch in no_payee]}
        sent = {"repeated" if again else "sent_before": [batch.batch_no for batch in sent_before]}
        print_json(written | left_out | {"repeated": [], "sent_before": []} | sent)
        return
    sums = ", ".join(f"{render_amount(total, currency=currency)} {currency}" for currency, total in totals.items())
    OUT.print(f"{path}: {len(paid)} batches{f', {sums}' if sums else ''}, sha256 {digest(path)}")
    for batch_no in on_hold:
        ERR.print(f"left out: {batch_no} has an order on hold", style="yellow")
    for batch in no_payee:
        why = f"merchant {batch.row.merchant_id} has no payee (budan merchant payee)"
        ERR.print(f"left out: {batch.batch_no}: {why}", style="yellow")
    for batch in sent_before:
        what, style = ("SENT AGAIN", "bold red") if again else ("left out", "yellow")
        file = f"{batch.row.sent_by}'s file of {batch.row.sent_at:%F %R}, sha256 {batch.row.file_sha256}"
        ERR.print(f"{what}: {batch.batch_no} is in {file}{_other_payee(batch)}", style=style)


def _other_payee(batch: Batch) -> str:
    """What else is to be known of a batch that a file has: its merchant's payee is another one since."""
    sent_to, now = batch.row.sent_number_end, batch.payee
    if sent_to is None or now is None or now.id == batch.row.sent_payee_id:
        return ""
    return f", to {mask(sent_to)}; the payee is {mask(now.number_end)} since"


@payout.command("paid")
@click.argument("batch_nos", metavar="BATCH...", nargs=-1, required=True)
@_REFERENCE
@click.option(
    "--second",
    "reason",
    default=None,
    metavar="REASON",
    help="They were paid out before, and this transfer is one too many: the merchant owes it back, and why.",
)
@_BY
@with_settings(*STORE_SETTINGS)
@json_option
def payout_paid(
    *, batch_nos: tuple[str, ...], reference: str, reason: str | None, by: str, settings: Settings, as_json: bool
) -> None:
    """The bank has sent these batches' money: all of them or none. Safe to repeat."""

    async def tell() -> list[PaidOut]:
        async with _open_payouts(settings) as payouts:
            if reason is not None:
                return await payouts.pay_second(batch_nos, by=by, reference=reference, reason=reason)
            return await payouts.pay_out(batch_nos, by=by, reference=reference)

    _print_told(run_async(tell()), as_json=as_json)


@payout.command("returned")
@click.argument("batch_nos", metavar="BATCH...", nargs=-1, required=True)
@_REFERENCE
@click.option("--reason", required=True, help="Why it came back, in the bank's words.")
@_BY
@with_settings(*STORE_SETTINGS)
@json_option
def payout_returned(
    *, batch_nos: tuple[str, ...], reference: str, reason: str, by: str, settings: Settings, as_json: bool
) -> None:
    """The money came back: it is to be paid out again, by another reference. Safe to repeat."""

    async def tell() -> list[PaidOut]:
        async with _open_payouts(settings) as payouts:
            return await payouts.take_back(batch_nos, by=by, reference=reference, reason=reason)

    _print_told(run_async(tell()), as_json=as_json)


@asynccontextmanager
async def _open_payouts(settings: Settings) -> AsyncGenerator[Payouts]:
    async with open_database(settings, dsn=database_dsn(settings), workload=Workload.BULK) as opened:
        yield Payouts(database=opened.database, environment=settings.environment, box=opened.keys.box)


async def _settle(settings: Settings, merchant_id: int | None) -> dict[str, int]:
    counts = {"batches": 0, "lines": 0, "late_lines": 0}
    async with open_database(settings, dsn=database_dsn(settings)) as opened, open_settling(opened) as settling:
        settled_days = settling.settle(merchant_id=None if merchant_id is None else MerchantId(merchant_id))
        try:
            async with aclosing(settled_days):
                async for settled in settled_days:
                    counts["batches"] += len(settled.batches)
                    counts["lines"] += sum(batch.lines for batch in settled.batches)
                    counts["late_lines"] += sum(batch.late_lines for batch in settled.batches)
                    if settled.batches:
                        ERR.print(f"lane {settled.lane}: {len(settled.batches)} batches", style="dim")
        except RowsFailed as error:
            raise StoreUnavailable(f"not all is settled, run it again: {error}") from error
    return counts


async def _list(settings: Settings, wanted: BatchFilter) -> list[Batch]:
    async with _open_payouts(settings) as payouts:
        batches = payouts.list_batches(wanted)
        async with aclosing(batches):
            return [batch async for batch in batches]


async def _send(settings: Settings, batches: Sequence[Batch], *, by: str, file_sha256: str) -> None:
    async with _open_payouts(settings) as payouts:
        await payouts.send(batches, by=by, file_sha256=file_sha256)


async def _write_payouts(settings: Settings, batches: Sequence[Batch], sheet: Sheet) -> None:
    async with _open_payouts(settings) as payouts:
        for batch in batches:
            assert batch.payee is not None, "who has none is left out"
            sheet.add((*_batch_cells(batch)[:-1], *_payee_cells(batch.payee, number=payouts.open_number(batch.payee))))


async def _write_batches(settings: Settings, wanted: BatchFilter, sheet: Sheet) -> None:
    async with _open_payouts(settings) as payouts:
        batches = payouts.list_batches(wanted)
        async with aclosing(batches):
            async for batch in batches:
                sheet.add(_batch_cells(batch))


async def _print_lines(settings: Settings, batch_no: str) -> None:
    async with _open_payouts(settings) as payouts:
        batch = await payouts.get_batch(batch_no)
        await _add_lines(payouts, batch, CsvSheet(sys.stdout, header=LINE_HEADER))


async def _write_lines(settings: Settings, batches: Sequence[Batch], sheet: Sheet) -> None:
    async with _open_payouts(settings) as payouts:
        for batch in batches:
            await _add_lines(payouts, batch, sheet)


async def _add_lines(payouts: Payouts, batch: Batch, sheet: Sheet) -> None:
    lines = payouts.list_lines(batch)
    async with aclosing(lines):
        async for line in lines:
            sheet.add(_line_cells(line))


def _batch_cells(batch: Batch) -> tuple[Cell, ...]:
    row = batch.row
    amounts = (row.total_minor, row.held_back_minor, row.released_minor, row.payout_minor)
    return (
        batch.batch_no,
        row.merchant_id,
        row.merchant_name,
        row.day,
        row.zone,
        row.currency,
        row.lines,
        row.late_lines,
        *(Amount(amount_minor=amount, currency=row.currency) for amount in amounts),
        row.state,
        "yes" if batch.is_held else "",
        row.bank_reference,
        row.sent_at,
        _shown_payee(batch),
    )


def _payee_cells(payee: PayeeRow, *, number: str) -> tuple[Cell, ...]:
    kind = "card" if payee.is_card else "account"
    return payee.holder, payee.bank_name, payee.bank_code, kind, number


def _shown_payee(batch: Batch) -> str | None:
    """Whom the last file of a batch names; before there is one, whom it will."""
    if batch.row.files:
        return None if batch.row.sent_number_end is None else mask(batch.row.sent_number_end)
    return None if batch.payee is None else mask(batch.payee.number_end)


def _line_cells(settled: SettledLine) -> tuple[Cell, ...]:
    line = settled.line
    fee = None if line.fee_minor is None else Amount(amount_minor=line.fee_minor, currency=line.currency)
    order = None if line.order_minor is None else Amount(amount_minor=line.order_minor, currency=line.currency)
    return (
        settled.batch_no,
        settled.order_no,
        line.merchant_id,
        line.reference,
        line.entry_key,
        line.counts_at,
        line.currency,
        order,
        fee,
        Amount(amount_minor=line.amount_minor, currency=line.currency),
        line.mark,
        line.reason,
    )


def _batch(batch: Batch) -> dict[str, object]:
    row = batch.row
    return {
        "batch_no": batch.batch_no,
        "merchant_id": row.merchant_id,
        "merchant_name": row.merchant_name,
        "currency": row.currency,
        "day": row.day,
        "zone": row.zone,
        "ends_at": row.ends_at,
        "created_at": row.created_at,
        "lines": row.lines,
        "late_lines": row.late_lines,
        "total_minor": row.total_minor,
        "held_back_minor": row.held_back_minor,
        "released_minor": row.released_minor,
        "payout_minor": row.payout_minor,
        "release_on": row.release_on,
        "released_in": batch.released_in,
        "state": row.state,
        "on_hold": batch.is_held,
        "payouts": row.payouts,
        "bank_reference": row.bank_reference,
        "changed_by": row.changed_by,
        "changed_at": row.changed_at,
        "return_reason": row.return_reason,
        "files": row.files,
        "file_sha256": row.file_sha256,
        "sent_by": row.sent_by,
        "sent_at": row.sent_at,
        "sent_payee_id": row.sent_payee_id,
        "payee": _shown_payee(batch),
    }


def _payout(made: PayoutRow) -> dict[str, object]:
    fields: dict[str, object] = asdict(made)
    del fields["number_end"]
    fields["payee"] = None if made.number_end is None else mask(made.number_end)
    return fields


def _line(settled: SettledLine) -> dict[str, object]:
    line = settled.line
    return {
        "order_no": settled.order_no,
        "reference": line.reference,
        "entry": line.entry_key,
        "counts_at": line.counts_at,
        "currency": line.currency,
        "order_minor": line.order_minor,
        "fee_minor": line.fee_minor,
        "amount_minor": line.amount_minor,
        "mark": line.mark,
        "reason": line.reason,
    }


def _shown(cell: Cell) -> str:
    return render_amount(cell.amount_minor, currency=cell.currency) if isinstance(cell, Amount) else safe_cell(cell)


def _print_told(told: Sequence[PaidOut], *, as_json: bool) -> None:
    if not told:
        raise Refused("batch_not_found", param="batch")
    if as_json:
        rows = [
            {"batch_no": one.batch_no, "state": one.state.value, "changed": one.changed, "on_hold": one.is_held}
            for one in told
        ]
        print_json({"batches": rows})
        return
    for one in told:
        OUT.print(f"{one.batch_no}: {one.state.value}{'' if one.changed else ', told before'}")
        if one.is_held and one.state is BatchState.PAID_OUT:
            ERR.print(f"{one.batch_no} has an order on hold, and its money is gone", style="yellow")
