"""Commands that set an instance up: db, merchant, key, config."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import ParamSpec, TypeVar

import click
from rich.table import Table

from budan.cli.frame import OUT, by_option, database_dsn, json_option, print_json, run_async, with_settings
from budan.cli.payees import payee
from budan.cli.settings import STORE_SETTINGS, Settings
from budan.cli.setup_acts import acts_option, print_acts, show_act
from budan.cli.shown import show_values
from budan.cli.wiring import build_administration, build_webhook_secrets, open_database
from budan.core.errors import Refused
from budan.flows.administering import AddedMerchant, Administration, MerchantWish, OrderTerms
from budan.flows.rotating import OVERLAP_S_DEFAULT
from budan.flows.settlement_terms import SettlementTerms
from budan.flows.webhook_secrets import ChangedSecret, EndedOverlap
from budan.store.setup_acts import SetupActRow
from budan.store.upgrade import upgrade

P = ParamSpec("P")
R = TypeVar("R")


@click.group()
def db() -> None:
    """The database."""


@db.command("upgrade")
@click.option("--force", is_flag=True, help="Although a serve or worker runs on it.")
@with_settings(*STORE_SETTINGS)
@json_option
def db_upgrade(*, force: bool, settings: Settings, as_json: bool) -> None:
    """Bring the database to this version, with no serve or worker running on it. Safe to repeat."""
    ran = run_async(
        upgrade(
            dsn=database_dsn(settings),
            environment=settings.environment,
            may_run_beside=force,
            on_begin=(lambda _name: None) if as_json else OUT.print,
        )
    )
    if as_json:
        print_json({"ran": ran})
    else:
        OUT.print(f"{len(ran)} files ran" if ran else "nothing to do")


@click.group()
def config() -> None:
    """Settings."""


@config.command("show")
@with_settings("environment", "folder")
@json_option
def config_show(*, settings: Settings, as_json: bool) -> None:
    """Every setting with its value and where it comes from; secrets are not shown."""
    rows = [
        {
            "name": value.setting.name,
            "value": "(set)" if value.setting.secret and value.text else value.text,
            "source": value.source,
            "purpose": value.setting.purpose,
        }
        for value in settings.values.values()
    ]
    if as_json:
        print_json({"settings": rows})
        return
    table = Table("setting", "value", "source", "purpose")
    for row in rows:
        table.add_row(*(row[column] for column in ("name", "value", "source", "purpose")))
    OUT.print(table)


@click.group()
def merchant() -> None:
    """Who gets paid."""


merchant.add_command(payee)


def _terms_options(command: Callable[P, R]) -> Callable[P, R]:
    """Adds the flags of how a merchant's orders end."""
    for option in (
        click.option("--late-payment", default=None, help="complete or refund: what is paid after an order expired."),
        click.option(
            "--expires-in-with-payer", type=int, default=None, help="The same where the payer is known; 7200."
        ),
        click.option("--expires-in", type=int, default=None, help="Seconds that an order lives; 900 unless told."),
    ):
        command = option(command)
    return command


def _settlement_options(command: Callable[P, R]) -> Callable[P, R]:
    """Adds the flags of how a merchant is settled."""
    for option in (
        click.option("--hold-back-days", type=int, default=None, help="For how many days that stays here; 7."),
        click.option("--hold-back", "hold_back_bp", type=int, default=None, help="Basis points that stay here; 0."),
        click.option("--payout-min", "payout_minor_min", type=int, default=None, help="Least payout, minor units; 1."),
        click.option("--settles-after", type=int, default=None, help="Days after which a day is settled, T+n; 1."),
        click.option("--settles-zone", default=None, help="By whose clock its days end; Asia/Shanghai."),
    ):
        command = option(command)
    return command


@merchant.command("add")
@click.argument("names", nargs=-1, required=True)
@click.option("--webhook", default=None, help="Where these merchants take webhooks.")
@click.option("--account", "account_ids", type=int, multiple=True, help="Channel account, first choice first.")
@click.option("--rate", "rates", multiple=True, help="CHANNEL=BASIS_POINTS, from now on.")
@click.option("--with-key", is_flag=True, help="Issue an API key and print it, this once.")
@click.option("--with-shop", is_flag=True, help="Add a shop with a printed code and a desk.")
@_terms_options
@by_option
@with_settings(*STORE_SETTINGS, "public_url", "listen")
@json_option
def merchant_add(
    *,
    names: tuple[str, ...],
    webhook: str | None,
    account_ids: tuple[int, ...],
    rates: tuple[str, ...],
    with_key: bool,
    with_shop: bool,
    expires_in: int | None,
    expires_in_with_payer: int | None,
    late_payment: str | None,
    by: str,
    settings: Settings,
    as_json: bool,
) -> None:
    """Add merchants with all that the options say, or none of them."""
    rates_bp = dict(_parse_rate(rate) for rate in rates)
    terms = OrderTerms(
        expires_in_s=expires_in, expires_in_with_payer_s=expires_in_with_payer, late_payment=late_payment
    )
    wishes = [
        MerchantWish(
            name=name,
            webhook_url=webhook,
            account_ids=account_ids,
            rates_bp=rates_bp,
            with_key=with_key,
            with_shop=with_shop,
            terms=terms,
        )
        for name in names
    ]
    added = run_async(_add_merchants(settings, wishes, by=by))
    rows = [show_merchant(one, public_url=settings.public_url) for one in added]
    if as_json:
        print_json({"merchants": rows})
        return
    for row in rows:
        for name, shown in show_values(row).items():
            OUT.print(f"{name}: {shown}")


def show_merchant(added: AddedMerchant, *, public_url: str) -> dict[str, object]:
    """A merchant just added, with the addresses of its pages."""
    shop_url = None if added.shop_code is None else f"{public_url}/s/{added.shop_code}"
    terminal_url = None if added.terminal_token is None else f"{public_url}/terminal/{added.terminal_token}"
    fields = asdict(added) | {"shop_url": shop_url, "terminal_url": terminal_url}
    return {name: value for name, value in fields.items() if value is not None}


@merchant.command("set")
@click.argument("merchant_id", type=int)
@_terms_options
@_settlement_options
@by_option
@with_settings(*STORE_SETTINGS)
@json_option
def merchant_set(
    *,
    merchant_id: int,
    expires_in: int | None,
    expires_in_with_payer: int | None,
    late_payment: str | None,
    settles_zone: str | None,
    settles_after: int | None,
    payout_minor_min: int | None,
    hold_back_bp: int | None,
    hold_back_days: int | None,
    by: str,
    settings: Settings,
    as_json: bool,
) -> None:
    """Change how a merchant's orders end and how it is settled; what is not told stays.

    New orders live as long as told. A settlement's terms hold from the next day that is settled.
    """
    terms = OrderTerms(
        expires_in_s=expires_in, expires_in_with_payer_s=expires_in_with_payer, late_payment=late_payment
    )

    settlement = SettlementTerms(
        zone=settles_zone,
        after_days=settles_after,
        payout_minor_min=payout_minor_min,
        hold_back_bp=hold_back_bp,
        hold_back_days=hold_back_days,
    )

    async def set_terms() -> dict[str, object]:
        async with open_administration(settings) as administration:
            await administration.set_terms(merchant_id, terms, settlement=settlement, by=by)
            return next(asdict(row) for row in await administration.list_merchants() if row.merchant_id == merchant_id)

    row = run_async(set_terms())
    if as_json:
        print_json(row)
    else:
        _print_rows("merchants", [row], as_json=False)


@merchant.command("rotate")
@click.argument("merchant_id", type=int)
@click.option("--endpoint", "endpoint_id", type=int, default=None, help="Which one, where the merchant has several.")
@click.option(
    "--overlap-s", type=int, default=OVERLAP_S_DEFAULT, show_default=True, help="How long the old secret signs too."
)
@click.option("--end-overlap", is_flag=True, help="Sign with the new secret alone from now on.")
@click.option("--by", required=True, help="Your name. It is recorded as given; nobody checks it.")
@click.option("--reason", required=True, help="Why.")
@with_settings(*STORE_SETTINGS)
@json_option
def merchant_rotate(
    *,
    merchant_id: int,
    endpoint_id: int | None,
    overlap_s: int,
    end_overlap: bool,
    by: str,
    reason: str,
    settings: Settings,
    as_json: bool,
) -> None:
    """Put a new webhook secret in place of a merchant's and print it, this once.

    Until the overlap ends each webhook has a signature of both, so the merchant misses none while it changes.
    """

    async def rotate() -> ChangedSecret | EndedOverlap:
        async with open_database(settings, dsn=database_dsn(settings)) as opened:
            desk = build_webhook_secrets(opened)
            if end_overlap:
                return await desk.end_overlap(merchant_id, endpoint_id=endpoint_id, by=by, reason=reason)
            return await desk.rotate(merchant_id, endpoint_id=endpoint_id, overlap_s=overlap_s, by=by, reason=reason)

    row = asdict(run_async(rotate()))
    if as_json:
        print_json(row)
        return
    for name, shown in show_values(row).items():
        OUT.print(f"{name}: {shown}")


@merchant.command("list")
@click.argument("merchant_id", type=int, required=False)
@acts_option
@with_settings(*STORE_SETTINGS)
@json_option
def merchant_list(*, merchant_id: int | None, with_acts: bool, settings: Settings, as_json: bool) -> None:
    """All merchants, or one of them."""

    async def read() -> tuple[list[dict[str, object]], list[SetupActRow]]:
        async with open_administration(settings) as administration:
            acts = await administration.list_acts(merchant_id) if with_acts else []
            rows = [row for row in await administration.list_merchants() if merchant_id in {None, row.merchant_id}]
            if merchant_id is not None and not rows:
                raise Refused("merchant_unknown", param="merchant")
            return [asdict(row) for row in rows], acts

    rows, acts = run_async(read())
    if as_json:
        print_json({"merchants": rows} | ({"acts": [show_act(act) for act in acts]} if with_acts else {}))
        return
    _print_rows("merchants", rows, as_json=False)
    print_acts(acts)


@click.group()
def key() -> None:
    """API keys."""


@key.command("issue")
@click.argument("merchant_id", type=int)
@by_option
@with_settings(*STORE_SETTINGS)
@json_option
def key_issue(*, merchant_id: int, by: str, settings: Settings, as_json: bool) -> None:
    """Issue an API key and print it, this once."""

    async def issue() -> str:
        async with open_administration(settings) as administration:
            return await administration.issue_key(merchant_id, by=by)

    api_key = run_async(issue())
    if as_json:
        print_json({"merchant_id": merchant_id, "api_key": api_key})
    else:
        OUT.print(f"api_key: {api_key}")


@asynccontextmanager
async def open_administration(settings: Settings) -> AsyncGenerator[Administration]:
    """The administration of the settings' database."""
    async with open_database(settings, dsn=database_dsn(settings)) as opened:
        yield build_administration(opened)


async def _add_merchants(settings: Settings, wishes: list[MerchantWish], *, by: str) -> list[AddedMerchant]:
    async with open_administration(settings) as administration:
        return await administration.add_merchants(wishes, by=by)


def _parse_rate(text: str) -> tuple[str, int]:
    name, equals, points = text.partition("=")
    if not equals or not points.isdigit():
        raise click.BadParameter(f"{text!r} is not CHANNEL=BASIS_POINTS", param_hint="--rate")
    return name, int(points)


def _print_rows(name: str, rows: list[dict[str, object]], *, as_json: bool) -> None:
    if as_json:
        print_json({name: rows})
        return
    if not rows:
        OUT.print(f"no {name}")
        return
    shown = [show_values(row) for row in rows]
    table = Table(*shown[0])
    for row in shown:
        table.add_row(*row.values())
    OUT.print(table)
