"""Commands about orders: what there is, and one order's whole life."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import datetime

import click
from rich.table import Table

from budan.cli.frame import OUT, database_dsn, json_option, print_json, run_async, with_settings
from budan.cli.moments import Before, Since
from budan.cli.settings import Settings
from budan.cli.wiring import open_database
from budan.core.gap import Gap
from budan.flows.timelines import OrderFilter, OrderLines, OrderTimeline, Timelines

STORE_SETTINGS = ("environment", "folder", "database")


@click.group()
def orders() -> None:
    """Orders: what there is, and what happened to one."""


@orders.command("list")
@click.option("--state", default=None, help="created, paying, paid, expired, closing or closed.")
@click.option("--merchant", "merchant_id", type=int, default=None, help="Of this merchant.")
@click.option("--held", is_flag=True, help="Only orders on hold.")
@click.option("--since", type=Since(), default=None, help="Created since then: an age as 2h, or RFC 3339.")
@click.option("--before", type=Before(), default=None, help="Older than this order or moment: goes on with a list.")
@click.option("--limit", type=int, default=50, show_default=True, help="At most so many.")
@with_settings(*STORE_SETTINGS)
@json_option
def orders_list(
    *,
    state: str | None,
    merchant_id: int | None,
    held: bool,
    since: datetime | None,
    before: str | datetime | None,
    limit: int,
    settings: Settings,
    as_json: bool,
) -> None:
    """The newest orders that fit, newest first."""
    wanted = OrderFilter(state=state, merchant_id=merchant_id, held=held, since=since, before=before, limit=limit)

    async def read() -> OrderLines:
        async with open_timelines(settings) as timelines:
            return await timelines.list_orders(wanted)

    found = run_async(read())
    if as_json:
        print_json(found)
        return
    table = Table("order", "merchant", "reference", "state", "amount", "created", "paid", "hold")
    for line in found.orders:
        table.add_row(
            line.order_no,
            str(line.merchant_id),
            line.reference,
            line.state,
            f"{line.amount_minor} {line.currency}",
            show_moment(line.created_at),
            show_moment(line.paid_at),
            line.hold_reason or "",
        )
    OUT.print(table if found.orders else "no orders", markup=False)
    if found.next_before is not None:
        OUT.print(f"older ones: --before {found.next_before}", markup=False)


@orders.command("show")
@click.argument("order_no")
@with_settings(*STORE_SETTINGS)
@json_option
def orders_show(*, order_no: str, settings: Settings, as_json: bool) -> None:
    """One order's whole life: everything that was said, decided, booked and told, and where time was lost.

    ORDER_NO may be the number of one of its trades.
    """

    async def read() -> OrderTimeline:
        async with open_timelines(settings) as timelines:
            return await timelines.get_timeline(order_no)

    found = run_async(read())
    if as_json:
        print_json(found)
        return
    for name, value in asdict(found.order).items():
        if name not in {"lane", "order_id"} and value is not None:
            shown = show_moment(value) if isinstance(value, datetime) else str(value)
            OUT.print(f"{name}: {shown}", markup=False)
    table = Table("at (UTC)", "what", "detail")
    for moment in found.moments:
        table.add_row(show_moment(moment.at), moment.what, moment.detail)
    OUT.print(table, markup=False)
    OUT.print(f"gap: {_show_gap(found.gap)}", markup=False)
    if found.cut:
        OUT.print(f"not all rows are shown of: {', '.join(found.cut)}", markup=False)


@asynccontextmanager
async def open_timelines(settings: Settings) -> AsyncGenerator[Timelines]:
    """The orders of the settings' database."""
    async with open_database(settings, dsn=database_dsn(settings)) as opened:
        yield Timelines(database=opened.database, environment=settings.environment, lanes=opened.lanes)


def show_moment(moment: datetime | None) -> str:
    """A moment for people, UTC, to the millisecond; empty where there is none."""
    return "" if moment is None else moment.isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00")


def _show_gap(gap: Gap | None) -> str:
    if gap is None:
        return "none"
    end = "now" if gap.ended_at is None else show_moment(gap.ended_at)
    return f"{gap.cause.value}, {gap.seconds:.3f} s from {show_moment(gap.began_at)} to {end}"
