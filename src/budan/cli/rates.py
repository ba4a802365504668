"""The commands of what payments cost: rate."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import datetime
from typing import ParamSpec, TypeVar

import click
from rich.table import Table

from budan.cli.cashback import cashback
from budan.cli.frame import OUT, by_option, database_dsn, json_option, print_json, run_async, with_settings
from budan.cli.moments import parse_moment
from budan.cli.settings import STORE_SETTINGS, Settings
from budan.cli.wiring import open_database
from budan.core.journal import render_money
from budan.core.money import CURRENCY_EXPONENTS
from budan.core.numbers import MerchantId
from budan.flows.rates import METHODS, CorrectedFee, FeeWish, Rates, RateWish
from budan.store.rates import RateRow

P = ParamSpec("P")
R = TypeVar("R")


@click.group()
def rate() -> None:
    """What payments cost and give back: fee rates in basis points, their corrections, and cashback."""


rate.add_command(cashback)


def _bounds_options(command: Callable[P, R]) -> Callable[P, R]:
    """Adds the flags of a fee's bounds."""
    for option in (
        click.option("--maximum", type=int, default=None, help="A fee is never more, in minor units."),
        click.option("--minimum", type=int, default=0, show_default=True, help="A fee is never less, in minor units."),
    ):
        command = option(command)
    return command


@rate.command("set")
@click.argument("merchant_id", type=int)
@click.argument("channel_name", metavar="CHANNEL")
@click.argument("rate_bp", type=int)
@click.option("--shop", "shop_id", type=int, default=None, help="Of this shop only.")
@click.option("--method", default=None, help=f"Of this way of paying only: {', '.join(sorted(METHODS))}.")
@_bounds_options
@click.option("--from", "effective_from", default=None, help="RFC 3339 moment in the future; now where absent.")
@click.option("--withdraw", is_flag=True, help="Take this very rate away, which has not begun.")
@by_option
@with_settings(*STORE_SETTINGS)
@json_option
def rate_set(
    *,
    merchant_id: int,
    channel_name: str,
    rate_bp: int,
    shop_id: int | None,
    method: str | None,
    minimum: int,
    maximum: int | None,
    effective_from: str | None,
    withdraw: bool,
    by: str,
    settings: Settings,
    as_json: bool,
) -> None:
    """Set what a merchant's payments on a channel cost, from a moment on. A rate in the past is never changed.

    Every process knows it within 2 seconds: orders made in these may still have the rate before. Where the moment must be
    exact, name one that is a minute ahead.

    A rate of a shop and a method counts before one of the shop, that before one of the method, that before one of the
    channel.
    """
    wish = RateWish(
        merchant_id=merchant_id,
        channel=channel_name,
        fee=FeeWish(rate_bp=rate_bp, minimum_minor=minimum, maximum_minor=maximum),
        shop_id=shop_id,
        method=method,
        effective_from=None if effective_from is None else parse_moment(effective_from, hint="--from"),
        by=by,
    )

    async def set_rate() -> datetime:
        async with _open_rates(settings) as rates:
            if not withdraw:
                return await rates.set(wish)
            await rates.withdraw(wish)
            assert wish.effective_from is not None, "it was withdrawn by its moment"
            return wish.effective_from

    begins = run_async(set_rate())
    row = RateRow(
        merchant_id=MerchantId(merchant_id),
        channel=channel_name,
        shop_id=shop_id,
        method=method,
        effective_from=begins,
        rate_bp=rate_bp,
        minimum_minor=minimum,
        maximum_minor=maximum,
        set_by=by,
    )
    if as_json:
        print_json(asdict(row) | ({"withdrawn": True} if withdraw else {}))
    else:
        told = " ".join(part for part in _row(row) if part)
        OUT.print(f"withdrawn: {told}" if withdraw else told)


@rate.command("list")
@click.argument("merchant_id", type=int)
@click.option("--past", is_flag=True, help="Also what was in force before.")
@with_settings(*STORE_SETTINGS)
@json_option
def rate_list(*, merchant_id: int, past: bool, settings: Settings, as_json: bool) -> None:
    """A merchant's rates in force and to come."""

    async def read() -> list[RateRow]:
        async with _open_rates(settings) as rates:
            return await rates.list_of(merchant_id, past=past)

    rows = run_async(read())
    if as_json:
        print_json({"merchant_id": merchant_id, "rates": [asdict(row) for row in rows]})
        return
    table = Table("channel", "shop", "method", "rate", "minimum", "maximum", "from", "set by")
    for row in rows:
        table.add_row(*_row(row))
    OUT.print(table)


@rate.command("correct")
@click.argument("order_nos", metavar="ORDER_NO", nargs=-1, required=True)
@click.option("--rate", "rate_bp", type=int, required=True, help="What the rate should have been, in basis points.")
@_bounds_options
@click.option("--by", required=True, help="Who corrects it.")
@click.option("--reason", required=True, help="Why.")
@with_settings(*STORE_SETTINGS)
@json_option
def rate_correct(
    *,
    order_nos: tuple[str, ...],
    rate_bp: int,
    minimum: int,
    maximum: int | None,
    by: str,
    reason: str,
    settings: Settings,
    as_json: bool,
) -> None:
    """Charge paid orders as if this had been their rate, each by one posting with your name and reason.

    Safe to repeat. The first order that is refused ends it; those before it are corrected.
    """
    wish = FeeWish(rate_bp=rate_bp, minimum_minor=minimum, maximum_minor=maximum)

    async def correct() -> None:
        async with _open_rates(settings) as rates:
            for order_no in order_nos:
                _show_corrected(await rates.correct(order_no, wish, by=by, reason=reason), as_json=as_json)

    run_async(correct())


def _show_corrected(corrected: CorrectedFee, *, as_json: bool) -> None:
    """One line for each order, so that what was done is known when the next one is refused."""
    if as_json:
        print_json(asdict(corrected))
        return
    what = "right already" if corrected.act is None else f"corrected by act {corrected.act}"
    before = render_money(corrected.kept_before_minor, currency=corrected.currency)
    after = render_money(corrected.kept_after_minor, currency=corrected.currency)
    OUT.print(f"{corrected.order_no}: {what}; fee kept {before} before, {after} now")


def _row(row: RateRow) -> tuple[str, ...]:
    return (
        row.channel,
        "" if row.shop_id is None else f"shop {row.shop_id}",
        row.method or "",
        f"{row.rate_bp} bp",
        f"at least {_bound(row.minimum_minor)}" if row.minimum_minor else "",
        "" if row.maximum_minor is None else f"at most {_bound(row.maximum_minor)}",
        f"from {row.effective_from:%Y-%m-%dT%H:%M:%SZ}",
        "" if row.set_by is None else f"by {row.set_by}",
    )


def _bound(amount_minor: int) -> str:
    """A fee's bound counts in the currency of the payment that it is for, and there is one today."""
    (currency,) = CURRENCY_EXPONENTS
    return render_money(amount_minor, currency=currency)


@asynccontextmanager
async def _open_rates(settings: Settings) -> AsyncGenerator[Rates]:
    async with open_database(settings, dsn=database_dsn(settings)) as opened:
        yield Rates(database=opened.database, environment=settings.environment)
