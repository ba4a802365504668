"""The commands of the books: ledger."""

import csv
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict
from datetime import UTC, date, datetime
from functools import partial
from shutil import copyfileobj
from tempfile import TemporaryFile

import click
from rich.table import Table

from budan.cli.adjustments import adjust
from budan.cli.day_closing import close, list_closed
from budan.cli.frame import ERR, EXIT_BROKEN, OUT, database_dsn, json_option, print_json, run_async, with_settings
from budan.cli.moments import Day
from budan.cli.settings import STORE_SETTINGS, Settings
from budan.cli.settlements import payout, settle, settlement, settlements
from budan.cli.shown import show_moment
from budan.cli.table_text import safe_cell
from budan.cli.wiring import open_database
from budan.core.journal import JournalFormat, render_amount, render_entries, render_header, render_money
from budan.core.numbers import MerchantId
from budan.flows.books import Books, LedgerCheck, TrialBalance
from budan.flows.statement import CLOSING, OPENING, StatementLine
from budan.store.database import Workload


@click.group()
def ledger() -> None:
    """The books: every cent of every order, in double entry. Days are Beijing days, like those of the channels' bills."""


for _command in (close, settle, settlements, settlement, payout, adjust):
    ledger.add_command(_command)


@ledger.command("check")
@with_settings(*STORE_SETTINGS)
@json_option
def ledger_check(*, settings: Settings, as_json: bool) -> None:
    """Prove the books as a whole: entries balance and belong to something, what moved is booked, days stand, batches tie."""

    async def check() -> LedgerCheck:
        async with _open_books(settings) as books:
            return await books.check(progress=_progress)

    found = run_async(check())
    if as_json:
        print_json(asdict(found) | {"ok": found.holds})
    else:
        _show_check(found)
    if not found.holds:
        raise SystemExit(EXIT_BROKEN)


@ledger.command("balance")
@click.option("--day", type=Day(), default=None, help="A closed day; now where absent.")
@with_settings(*STORE_SETTINGS)
@json_option
def ledger_balance(*, day: date | None, settings: Settings, as_json: bool) -> None:
    """The trial balance: every account over all lanes, at a closed day's end or now."""

    async def read() -> TrialBalance:
        async with _open_books(settings) as books:
            return await books.trial_balance(day=day)

    trial = run_async(read())
    if as_json:
        print_json({"at": trial.at, "is_closed": trial.is_closed, "lines": [asdict(line) for line in trial.lines]})
        return
    table = Table(
        "account", "currency", "debit", "credit", title=f"{'closed' if trial.is_closed else 'open'}, {trial.at}"
    )
    for line in trial.lines:
        sides = (line.debit_minor, line.credit_minor)
        amounts = (render_amount(side, currency=line.currency) if side else "" for side in sides)
        table.add_row(line.account, line.currency, *amounts)
    OUT.print(table)


@ledger.command("statement")
@click.argument("merchant_id", type=int)
@click.option("--from", "first_day", type=Day(), required=True, help="The first day.")
@click.option("--to", "last_day", type=Day(), required=True, help="The last day.")
@click.option("--csv", "as_csv", is_flag=True, help="Print rows for a spreadsheet.")
@with_settings(*STORE_SETTINGS)
@json_option
def ledger_statement(
    *,
    merchant_id: int,
    first_day: date,
    last_day: date,
    as_csv: bool,
    settings: Settings,
    as_json: bool,
) -> None:
    """What a merchant gained and gave, entry by entry, and what we owed it before, after each and at the end."""

    async def read() -> list[StatementLine]:
        async with _open_books(settings) as books:
            lines = books.statement(MerchantId(merchant_id), first_day=first_day, last_day=last_day)
            async with aclosing(lines):
                return [line async for line in lines]

    lines = run_async(read())
    if as_json:
        told = {OPENING: list[object](), "lines": list[object](), CLOSING: list[object]()}
        for line in lines:
            told[line.entry if line.entry in told else "lines"].append(asdict(line))
        print_json({"merchant_id": merchant_id} | told)
        return
    header = (
        "booked_at",
        "order_no",
        "reference",
        "entry",
        "currency",
        "amount",
        "owed",
        "payable",
        "held_back",
        "reason",
    )
    rows = [_statement_row(line) for line in lines]
    if as_csv:
        csv.writer(sys.stdout, lineterminator="\n").writerows([header, *rows])
        return
    table = Table(*header)
    for row in rows:
        table.add_row(*row)
    OUT.print(table)


@ledger.command("export")
@click.option("--from", "first_day", type=Day(), required=True, help="The first day.")
@click.option("--to", "last_day", type=Day(), required=True, help="The last day.")
@click.option("--format", "form", type=click.Choice([form.value for form in JournalFormat]), required=True)
@with_settings(*STORE_SETTINGS)
def ledger_export(*, first_day: date, last_day: date, form: str, settings: Settings) -> None:
    """Print the entries of some days as a journal for hledger or beancount."""

    async def write() -> None:
        accounts, currencies = set[str](), set[str]()
        # Read once: of the day that goes on, a second look would have accounts that the first one has not.
        with TemporaryFile("w+", encoding="utf-8") as text:
            async with (
                _open_books(settings) as books,
                aclosing(books.journal(first_day=first_day, last_day=last_day)) as entries,
            ):
                async for entry in entries:
                    accounts |= {line.account for line in entry.lines}
                    currencies |= {line.currency for line in entry.lines}
                    text.writelines(render_entries([entry], form=JournalFormat(form)))
            sys.stdout.write(render_header(accounts, sorted(currencies), day=first_day, form=JournalFormat(form)))
            text.seek(0)
            copyfileobj(text, sys.stdout)

    run_async(write())


@asynccontextmanager
async def _open_books(settings: Settings) -> AsyncGenerator[Books]:
    async with open_database(settings, dsn=database_dsn(settings), workload=Workload.BULK) as opened:
        yield Books(database=opened.database, environment=settings.environment, lanes=opened.lanes)


def _progress(text: str) -> None:
    ERR.print(text, style="dim")


def _show_check(found: LedgerCheck) -> None:
    OUT.print(f"{found.postings} postings in {found.entries} entries, {found.days_compared} closed days")
    for line in list_closed(found.closed_days):
        OUT.print(line)
    for fault in _list_faults(found):
        OUT.print(fault, style="bold red")
    OUT.print("the books hold" if found.holds else "THE BOOKS DO NOT HOLD")


def _list_faults(found: LedgerCheck) -> Iterator[str]:
    for unbalanced in found.unbalanced_entries:
        rest = render_money(unbalanced.sum_minor, currency=unbalanced.currency)
        yield f"UNBALANCED: {unbalanced.entry_key} of order {unbalanced.order_id}, lane {unbalanced.lane}: {rest}"
    for unbooked in found.unbooked_payments:
        paid = partial(_money_or_none, currency=unbooked.currency)
        yield (
            f"NOT BOOKED AS PAID: order {unbooked.order_id}, lane {unbooked.lane}: {paid(unbooked.amount_minor)} paid, "
            f"{paid(unbooked.came_minor)} booked; fee {paid(unbooked.fee_minor)}, "
            f"{paid(unbooked.fee_booked_minor)} booked"
        )
    for move in found.wrong_moves:
        moved = partial(render_money, currency=move.currency)
        yield (
            f"NOT BOOKED AS IT MOVED: {move.what} {move.ordinal} of order {move.order_id}, lane {move.lane}: "
            f"{moved(move.moved_minor)} moved, {moved(move.booked_minor)} booked on {move.account}"
        )
    for cashback in found.wrong_cashbacks:
        given = partial(render_money, currency=cashback.currency)
        yield (
            f"CASHBACK NOT BOOKED AS GRANTED: order {cashback.order_id}, lane {cashback.lane}: "
            f"{given(cashback.booked_minor)} granted, {given(cashback.posted_minor)} booked, "
            f"{given(cashback.funded_minor)} of it on who pays for it, {given(cashback.moved_minor)} in the payer's history"
        )
    for budget in found.wrong_budgets:
        granted = partial(render_money, currency=budget.currency)
        yield (
            f"BUDGET NOT AS GRANTED: cashback plan {budget.plan_id}, lane {budget.lane}: "
            f"{granted(budget.given_minor)} given, {granted(budget.standing_minor)} granted to orders"
        )
    for fee in found.wrong_fees:
        back = partial(render_money, currency=fee.currency)
        yield (
            f"FEE NOT GIVEN BACK AS SAID: {fee.what} {fee.ordinal} of order {fee.order_id}, lane {fee.lane}: "
            f"{back(fee.told_minor)} said, {back(fee.booked_minor)} {'booked' if fee.what == 'refund' else 'by its refunds'}"
        )
    for stray in found.strays:
        yield f"BELONGS TO NOTHING: {stray.entry_key} of {stray.order_id}, lane {stray.lane}"
    yield from _list_book_faults(found)


def _list_book_faults(found: LedgerCheck) -> Iterator[str]:
    """Of the books themselves: adjustments, closed days and batches."""
    for wrong in found.wrong_adjustments:
        approved = partial(render_money, currency=wrong.currency)
        yield (
            f"NOT ADJUSTED AS APPROVED: {wrong.entry_key} of {wrong.order_id}, lane {wrong.lane}: "
            f"{approved(wrong.approved_minor)} approved {show_moment(wrong.approved_at)}, "
            f"{approved(wrong.booked_minor)} booked {show_moment(wrong.booked_at)} on {wrong.account}"
        )
    for carry in found.wrong_carries:
        carried = partial(render_money, currency=carry.currency)
        yield (
            f"CARRIED WRONGLY: {carry.day}, {carry.account}, lane {carry.lane}: {carried(carry.closed_minor)}, "
            f"and by the days before {carried(carry.booked_minor)}"
        )
    for changed in found.wrong_balances:
        stood = partial(render_money, currency=changed.currency)
        yield (
            f"CHANGED AFTER CLOSING: {changed.day}, {changed.account}, lane {changed.lane}: closed with "
            f"{stood(changed.closed_minor)}, now {stood(changed.booked_minor)}"
        )
    for untied in found.untied_batches:
        owed = partial(render_money, currency=untied.currency)
        yield (
            f"BATCH DOES NOT TIE: {untied.batch_id} of merchant {untied.merchant_id}, {untied.day}, lane {untied.lane}: "
            f"{owed(untied.total_minor)}, its lines {owed(untied.lines_minor)}, booked {owed(untied.merchant_minor)}"
        )
    for astray in found.astray_entries:
        came = partial(render_money, currency=astray.currency)
        yield (
            f"NOT SETTLED AS BOOKED: {astray.entry_key} of order {astray.order_id}, lane {astray.lane}: "
            f"{came(astray.booked_minor)} booked, {came(astray.settled_minor)} settled"
        )


def _money_or_none(amount_minor: int | None, *, currency: str) -> str:
    return "none" if amount_minor is None else render_money(amount_minor, currency=currency)


def _statement_row(line: StatementLine) -> tuple[str, ...]:
    return (
        _moment(line.booked_at),
        line.order_no,
        safe_cell(line.reference),
        line.entry,
        line.currency,
        "" if line.entry in {OPENING, CLOSING} else render_amount(line.amount_minor, currency=line.currency),
        *(
            render_amount(owed, currency=line.currency)
            for owed in (line.owed_minor, line.payable_minor, line.held_back_minor)
        ),
        safe_cell(line.reason),
    )


def _moment(moment: datetime) -> str:
    # A day begins by Beijing's clock, an entry's moment is the database's.
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
