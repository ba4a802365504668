"""The lost-order report of a day, below `remedies`."""

import sys
from contextlib import aclosing
from dataclasses import asdict
from datetime import date
from typing import Final

import click

from budan.cli.frame import OUT, database_dsn, json_option, print_json, run_async, with_settings
from budan.cli.moments import Day
from budan.cli.settings import Settings
from budan.cli.sheets import Amount, Cell, CsvSheet
from budan.cli.wiring import open_database
from budan.core.losses import LossTally
from budan.core.numbers import day_span
from budan.flows.losses import Losses, LossLine
from budan.flows.report import losses_text, render_losses_page

HEADER: Final = (
    "order",
    "merchant",
    "reference",
    "channel",
    "currency",
    "amount",
    "cause",
    "learned_by",
    "paid_at",
    "learned_at",
    "completed_at",
    "taken_at",
    "recover_s",
)


@click.command("report")
@click.option("--day", type=Day(), required=True, help="The orders that became paid on this day, in Beijing.")
@click.option("--csv", "as_csv", is_flag=True, help="Print each lost or late order as a row for a spreadsheet.")
@click.option("--html", "as_html", is_flag=True, help="Print the page.")
@with_settings("environment", "folder", "database")
@json_option
def losses_report(*, day: date, as_csv: bool, as_html: bool, settings: Settings, as_json: bool) -> None:
    """Lost and late orders of a day by channel and cause, the time to recover, and how many nothing explains."""
    if as_csv + as_html + as_json > 1:
        raise click.UsageError("one of --csv, --html and --json")
    if as_csv:
        run_async(_print_lines(settings, day))
        return
    tally = run_async(_tally(settings, day))
    if as_json:
        counts = {"day": day, "paid": tally.paid, "lost": tally.lost, "unexplained": tally.unexplained}
        rows = {"counts": [asdict(row) for row in tally.counts()], "outages": [asdict(row) for row in tally.outages]}
        print_json(counts | {"whole": _figures(tally)} | rows)
    elif as_html:
        click.echo(render_losses_page(tally, day=day, environment=settings.environment))
    else:
        OUT.print("\n".join(losses_text(tally, day=day)))


async def _tally(settings: Settings, day: date) -> LossTally:
    since, until = day_span(day)
    async with open_database(settings, dsn=database_dsn(settings)) as opened:
        return await Losses(bulk=opened.bulk, environment=settings.environment).tally(since=since, until=until)


async def _print_lines(settings: Settings, day: date) -> None:
    since, until = day_span(day)
    sheet = CsvSheet(sys.stdout, header=HEADER)
    async with open_database(settings, dsn=database_dsn(settings)) as opened:
        lines = Losses(bulk=opened.bulk, environment=settings.environment).list_lines(since=since, until=until)
        async with aclosing(lines):
            async for line in lines:
                sheet.add(_cells(line))


def _cells(line: LossLine) -> tuple[Cell, ...]:
    return (
        line.order_no,
        line.merchant_id,
        line.reference,
        line.channel,
        line.currency,
        Amount(amount_minor=line.amount_minor, currency=line.currency),
        line.cause,
        line.learned_source,
        line.paid_at,
        line.learned_at,
        line.completed_at,
        line.taken_at,
        None if line.recover_s is None else f"{line.recover_s:.3f}",
    )


def _figures(tally: LossTally) -> dict[str, float | None]:
    whole = tally.whole()
    return {
        "recover_p50_s": whole.recover_p50_s,
        "recover_p99_s": whole.recover_p99_s,
        "recover_max_s": whole.recover_max_s,
    }
