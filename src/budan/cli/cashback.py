"""The commands of what payers get back: rate cashback."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import datetime

import click
from rich.table import Table

from budan.cli.frame import OUT, by_option, database_dsn, json_option, print_json, run_async, with_settings
from budan.cli.moments import parse_moment
from budan.cli.settings import STORE_SETTINGS, Settings
from budan.cli.wiring import open_database
from budan.core.journal import render_money
from budan.flows.cashbacks import FUNDERS, AddedPlan, CashbackPlans, PlanWish
from budan.flows.rates import METHODS
from budan.store.cashbacks import PlanRow


@click.group()
def cashback() -> None:
    """What payers get back of their payments, by plans with a budget."""


@cashback.command("add")
@click.argument("name")
@click.option("--merchant", "merchant_id", type=int, default=None, help="Of this merchant; of every one where absent.")
@click.option("--funded-by", default="platform", show_default=True, help=f"Who pays for it: {' or '.join(FUNDERS)}.")
@click.option("--fixed", type=int, default=None, help="So much of each payment, in minor units.")
@click.option("--rate", "rate_bp", type=int, default=None, help="This share of each payment, in basis points.")
@click.option("--cap", type=int, default=None, help="A share is never more, in minor units.")
@click.option("--currency", default="CNY", show_default=True, help="Of which payments.")
@click.option("--budget", type=int, required=True, help="All of it together is never more, in minor units.")
@click.option("--method", "methods", multiple=True, help=f"Only of these: {', '.join(sorted(METHODS))}.")
@click.option("--from", "begins_at", default=None, help="RFC 3339 moment in the future; now where absent.")
@click.option("--until", "ends_at", default=None, help="RFC 3339 moment; open where absent.")
@by_option
@with_settings(*STORE_SETTINGS)
@json_option
def cashback_add(
    *,
    name: str,
    merchant_id: int | None,
    funded_by: str,
    fixed: int | None,
    rate_bp: int | None,
    cap: int | None,
    currency: str,
    budget: int,
    methods: tuple[str, ...],
    begins_at: str | None,
    ends_at: str | None,
    by: str,
    settings: Settings,
    as_json: bool,
) -> None:
    """Add a plan. Payments that begin in its time keep what it offered; nothing but its end can be changed."""
    wish = PlanWish(
        name=name,
        merchant_id=merchant_id,
        funded_by=funded_by,
        fixed_minor=fixed,
        rate_bp=rate_bp,
        cap_minor=cap,
        currency=currency,
        budget_minor=budget,
        methods=methods,
        begins_at=None if begins_at is None else parse_moment(begins_at, hint="--from"),
        ends_at=None if ends_at is None else parse_moment(ends_at, hint="--until"),
        by=by,
    )

    async def add() -> AddedPlan:
        async with _open_plans(settings) as plans:
            return await plans.add(wish)

    added = run_async(add())
    if as_json:
        print_json(asdict(added))
    else:
        OUT.print(f"plan {added.plan_id} from {_moment(added.begins_at)}")


@cashback.command("end")
@click.argument("plan_id", type=int)
@by_option
@with_settings(*STORE_SETTINGS)
@json_option
def cashback_end(*, plan_id: int, by: str, settings: Settings, as_json: bool) -> None:
    """End a plan for payments that begin from now on. What was offered before stands."""

    async def end() -> datetime:
        async with _open_plans(settings) as plans:
            return await plans.end(plan_id, by=by)

    ended_at = run_async(end())
    if as_json:
        print_json({"plan_id": plan_id, "ends_at": ended_at})
    else:
        OUT.print(f"plan {plan_id} until {_moment(ended_at)}")


@cashback.command("list")
@with_settings(*STORE_SETTINGS)
@json_option
def cashback_list(*, settings: Settings, as_json: bool) -> None:
    """Every plan, with what of its budget stands granted."""

    async def read() -> list[PlanRow]:
        async with _open_plans(settings) as plans:
            return await plans.list_all()

    rows = run_async(read())
    if as_json:
        print_json({"plans": [asdict(row) for row in rows]})
        return
    table = Table(
        "plan",
        "name",
        "merchant",
        "paid by",
        "gives",
        "methods",
        "from",
        "until",
        "budget",
        "granted",
        "left",
        "set by",
    )
    for row in rows:
        table.add_row(*_row(row))
    OUT.print(table)


def _row(row: PlanRow) -> tuple[str, ...]:
    return (
        str(row.plan_id),
        row.name,
        "every" if row.merchant_id is None else str(row.merchant_id),
        row.funded_by,
        _gives(row),
        "every" if row.methods is None else ", ".join(row.methods),
        _moment(row.begins_at),
        "" if row.ends_at is None else _moment(row.ends_at),
        render_money(row.budget_minor, currency=row.currency),
        render_money(row.granted_minor, currency=row.currency),
        _left(row),
        row.set_by or "",
    )


def _left(row: PlanRow) -> str:
    """A lane gives of its own portion only, so the least and the most of them are told."""
    least, most = min(row.left_minor_of_lanes), max(row.left_minor_of_lanes)
    ends = render_money(least, currency=row.currency)
    if least != most:
        ends = f"{ends} to {render_money(most, currency=row.currency)}"
    return ends if row.merchant_id is not None else f"{ends} in each of {len(row.left_minor_of_lanes)} lanes"


def _gives(row: PlanRow) -> str:
    if row.fixed_minor is not None:
        return render_money(row.fixed_minor, currency=row.currency)
    most = "" if row.cap_minor is None else f", at most {render_money(row.cap_minor, currency=row.currency)}"
    return f"{row.rate_bp} bp{most}"


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


@asynccontextmanager
async def _open_plans(settings: Settings) -> AsyncGenerator[CashbackPlans]:
    async with open_database(settings, dsn=database_dsn(settings)) as opened:
        yield CashbackPlans(database=opened.database, lanes=opened.lanes)
