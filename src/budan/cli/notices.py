"""Commands about notices and the remedies that missing ones made needed."""

import csv
import sys
from dataclasses import astuple, fields
from datetime import UTC, date, datetime, timedelta

import click
from rich.table import Table

from budan.cli.frame import ERR, OUT, json_option, print_json, run_async, with_settings
from budan.cli.losses import losses_report
from budan.cli.moments import Day, Since
from budan.cli.orders import STORE_SETTINGS, open_operator_flows
from budan.cli.settings import Settings
from budan.cli.shown import show_fields
from budan.cli.table_text import safe_cell
from budan.cli.wiring import KINDS
from budan.flows.remedies import RemedyFilter, RemedyLine
from budan.flows.replaying import NoticeFilter, NoticeLine, RejectedLine, Replayed

_DAY = timedelta(days=1)
_ACCOUNT = click.option("--account", "account_id", type=int, default=None, help="To this channel account.")
_DECISION = click.option("--decision", default=None, help="On which this was decided when it came, as wrong_amount.")
_ORDER = click.option("--order", "order_no", default=None, help="Of this order.")


@click.group()
def notices() -> None:
    """What channels told us: verified and rejected."""


@notices.command("list")
@_ORDER
@click.option(
    "--since", type=Since(), default=None, help="Of orders created since then, or rejected since; 1d if absent."
)
@_ACCOUNT
@_DECISION
@click.option("--rejected", is_flag=True, help="Those that did not verify, instead.")
@click.option("--unknown", "of_no_order", is_flag=True, help="Those whose number is no order of ours, instead.")
@click.option("--limit", type=int, default=50, show_default=True, help="At most so many.")
@with_settings(*STORE_SETTINGS)
@json_option
def notices_list(
    *,
    order_no: str | None,
    since: datetime | None,
    account_id: int | None,
    decision: str | None,
    rejected: bool,
    of_no_order: bool,
    limit: int,
    settings: Settings,
    as_json: bool,
) -> None:
    """The notices of the newest orders. The first column names a notice for a replay."""
    wanted = NoticeFilter(
        order_no=order_no,
        since=since or datetime.now(UTC) - _DAY,
        account_id=account_id,
        decision=decision,
        of_no_order=of_no_order,
        limit=limit,
    )

    async def read() -> list[NoticeLine] | list[RejectedLine]:
        async with open_operator_flows(settings) as flows:
            return await (flows.replays.list_rejected(wanted) if rejected else flows.replays.list_verified(wanted))

    _print_lines("notices", run_async(read()), as_json=as_json)


@notices.command("replay")
@click.argument("names", nargs=-1, metavar="[NOTICE]...")
@_ORDER
@click.option("--since", type=Since(), default=None, help="All of orders created since then.")
@_ACCOUNT
@_DECISION
@click.option("--dry-run", "dry", is_flag=True, help="Say what each would change, and change nothing.")
@click.option("--limit", type=int, default=1_000, show_default=True, help="At most so many, of the newest orders.")
@with_settings(*STORE_SETTINGS)
@json_option
def notices_replay(
    *,
    names: tuple[str, ...],
    order_no: str | None,
    since: datetime | None,
    account_id: int | None,
    decision: str | None,
    dry: bool,
    limit: int,
    settings: Settings,
    as_json: bool,
) -> None:
    """Run stored notices through today's code, with the clock at the moment when they came. Safe to repeat.

    By name, or all that the filters find. A rejected one that verifies today, its key being right now, is taken.
    """
    if bool(names) == (order_no is not None or since is not None):
        raise click.UsageError("name the notices, or say --order or --since")
    wanted = NoticeFilter(
        order_no=order_no,
        since=since or datetime.now(UTC),
        account_id=account_id,
        decision=decision,
        of_no_order=False,
        limit=limit,
    )

    async def replay() -> list[Replayed]:
        async with open_operator_flows(settings) as flows:
            if names:
                return await flows.replays.replay(names, dry=dry)
            return await flows.replays.replay_found(wanted, dry=dry)

    done = run_async(replay())
    _print_lines("replayed", done, as_json=as_json)
    if not as_json:
        word = "would change" if dry else "changed"
        OUT.print(f"{sum(one.changed for one in done)} of {len(done)} {word} something")


@click.group()
def remedies() -> None:
    """Payments that did not come the normal way, and how they were healed."""


remedies.add_command(losses_report)


@remedies.command("list")
@click.option("--day", type=Day(), default=None, help="Completed on this day, in Beijing.")
@click.option("--since", type=Since(), default=None, help="Completed since then: an age as 2h, or RFC 3339.")
@click.option("--channel", type=click.Choice(sorted(KINDS)), default=None, help="Of this channel.")
@click.option("--cause", default=None, help="Of this cause, as notice_missing.")
@click.option("--limit", type=int, default=1_000, show_default=True, help="At most so many, the newest.")
@click.option("--csv", "as_csv", is_flag=True, help="Print a table for a spreadsheet.")
@with_settings(*STORE_SETTINGS)
@json_option
def remedies_list(
    *,
    day: date | None,
    since: datetime | None,
    channel: str | None,
    cause: str | None,
    limit: int,
    as_csv: bool,
    settings: Settings,
    as_json: bool,
) -> None:
    """Every remedy with its cause, how it was learned, both times, and the seconds from the payment to its completion."""
    if as_csv and as_json:
        raise click.UsageError("one of --csv and --json")
    wanted = RemedyFilter(day=day, since=since, channel=channel, cause=cause, limit=limit)

    async def read() -> list[RemedyLine]:
        async with open_operator_flows(settings) as flows:
            return await flows.remedies.list_remedies(wanted)

    lines = run_async(read())
    if len(lines) == limit:
        # On the error stream: a spreadsheet of rows must hold nothing else.
        ERR.print(f"there may be more: --limit shows {limit}; --day or --since for the rest", style="yellow")
    if as_csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(field.name for field in fields(RemedyLine))
        writer.writerows([safe_cell(value) for value in astuple(line)] for line in lines)
        return
    _print_lines("remedies", lines, as_json=as_json)


def _print_lines(
    name: str,
    lines: list[NoticeLine] | list[RejectedLine] | list[Replayed] | list[RemedyLine],
    *,
    as_json: bool,
) -> None:
    if as_json:
        print_json({name: lines})
        return
    if not lines:
        OUT.print(f"no {name}")
        return
    shown = [show_fields(line) for line in lines]
    table = Table(*shown[0])
    for line in shown:
        table.add_row(*line.values())
    OUT.print(table)
