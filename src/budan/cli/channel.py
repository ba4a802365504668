"""Commands for channel accounts: list, add, check, disable, enable, rotate, allow, disallow."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import ParamSpec, TypeVar

import click
import msgspec
from rich.table import Table

from budan.cli.frame import EXIT_BROKEN, OUT, by_option, database_dsn, json_option, print_json, run_async, with_settings
from budan.cli.sandbox_account import add_sandbox_account
from budan.cli.secret_files import read_secret_file
from budan.cli.settings import STORE_SETTINGS, Settings
from budan.cli.setup_acts import acts_option, print_acts, show_act
from budan.cli.wiring import Opened, ask_channel, build_account_desk, build_sealing, open_database
from budan.core.errors import Refused
from budan.flows.account_desk import METHODS, AccountDesk, AccountStanding, Taker
from budan.flows.choosing import CHANNELS
from budan.flows.rotating import OVERLAP_S_DEFAULT
from budan.flows.sealing import SealedAgain
from budan.store.setup_acts import SetupActRow

P = ParamSpec("P")
R = TypeVar("R")


@click.group()
def channel() -> None:
    """Channel accounts and their keys."""


@channel.command("list")
@click.argument("account_id", type=int, required=False)
@acts_option
@with_settings(*STORE_SETTINGS)
@json_option
def channel_list(*, account_id: int | None, with_acts: bool, settings: Settings, as_json: bool) -> None:
    """All channel accounts, or one, without secrets: whether new trades go there, and when their keys end."""

    async def read() -> tuple[list[AccountStanding], list[SetupActRow]]:
        async with _open_desk(settings) as (_, desk):
            standings = _chosen(await desk.list_standings(), () if account_id is None else (account_id,))
            return standings, await desk.list_acts(account_id) if with_acts else []

    standings, acts = run_async(read())
    rows = [_show(standing) for standing in standings]
    if as_json:
        print_json({"accounts": rows} | ({"acts": [show_act(act) for act in acts]} if with_acts else {}))
    elif not rows:
        OUT.print("no accounts")
    else:
        _print_table(rows, ("account_id", "channel", "name", "enabled", "usable", "ends_at", "settings"))
        print_acts(acts)


@channel.command("add")
@click.argument("channel_name", type=click.Choice(sorted(CHANNELS)))
@click.option("--name", required=True, help="What people call the account.")
@click.option("--sandbox", is_flag=True, help="Open the account at the sandbox, with fresh keys.")
@click.option("--set", "sets", multiple=True, metavar="FIELD=VALUE", help="A setting, as docs/channels.md names it.")
@click.option(
    "--secret-file", "files", multiple=True, metavar="FIELD=PATH", help="A key, from a file; - is the standard input."
)
@by_option
@with_settings(*STORE_SETTINGS, "sandbox_url")
@json_option
def channel_add(
    *,
    channel_name: str,
    name: str,
    sandbox: bool,
    sets: tuple[str, ...],
    files: tuple[str, ...],
    by: str,
    settings: Settings,
    as_json: bool,
) -> None:
    """Add an account of a channel.

    Keys come from files or from the standard input, never from arguments: those stand in the machine's list of
    processes. A file of `platform_keys.SERIAL` is one of several keys.
    """
    if sandbox and (sets or files):
        raise Refused("options_exclude", param="sandbox", detail="the sandbox gives settings and keys itself")
    given = _read_pairs(sets), _read_files(files)

    async def add() -> dict[str, object]:
        async with _open_desk(settings) as (_, desk):
            row: dict[str, object] = {"channel": channel_name, "name": name}
            if sandbox:
                sandbox_url = settings.text("sandbox_url")
                account_id, sandbox_id = await add_sandbox_account(
                    desk, sandbox_url, channel=channel_name, name=name, by=by
                )
                return {"account_id": account_id, **row, "sandbox_account_id": sandbox_id}
            account_id = await desk.add_account(
                channel=channel_name, name=name, settings=given[0], account_secrets=given[1], by=by
            )
            return {"account_id": account_id, **row}

    row = run_async(add())
    if as_json:
        print_json(row)
    else:
        OUT.print(f"account {row['account_id']}: {channel_name}, {name}")


@channel.command("check")
@click.argument("account_ids", nargs=-1, type=int, metavar="[ACCOUNT]...")
@click.option("--ask", is_flag=True, help="Ask each channel for a trade that nobody made: both sides' keys are used.")
@with_settings(*STORE_SETTINGS)
@json_option
def channel_check(*, account_ids: tuple[int, ...], ask: bool, settings: Settings, as_json: bool) -> None:
    """Judge accounts, all unless named: every field, every pair of keys, the environment, and when certificates end.

    Ends with 1 when one cannot be used, or with --ask does not answer. A certificate that ends within 30 days is a
    warning.
    """

    async def check() -> list[tuple[AccountStanding, str | None]]:
        async with _open_desk(settings) as (opened, desk):
            standings = _chosen(await desk.list_standings(), account_ids)
            return [(one, await _ask(opened, desk, one) if ask else None) for one in standings]

    checked = run_async(check())
    rows = [_show(standing) | ({"answers": why is None, "no_answer": why} if ask else {}) for standing, why in checked]
    is_well = all(standing.is_usable and why is None for standing, why in checked)
    if as_json:
        print_json({"accounts": rows, "well": is_well})
    else:
        for standing, why in checked:
            _print_verdict(standing, why)
    if not is_well:
        raise SystemExit(EXIT_BROKEN)


@channel.command("disable")
@click.argument("account_id", type=int)
@by_option
@with_settings(*STORE_SETTINGS)
@json_option
def channel_disable(*, account_id: int, by: str, settings: Settings, as_json: bool) -> None:
    """Let no new trade go there. Notices, queries, closes and refunds go on. Takes effect within seconds."""
    _set_enabled(settings, account_id, enabled=False, by=by, as_json=as_json)


@channel.command("enable")
@click.argument("account_id", type=int)
@by_option
@with_settings(*STORE_SETTINGS)
@json_option
def channel_enable(*, account_id: int, by: str, settings: Settings, as_json: bool) -> None:
    """Let new trades go there again."""
    _set_enabled(settings, account_id, enabled=True, by=by, as_json=as_json)


@channel.command("rotate")
@click.argument("account_id", type=int, required=False)
@click.option("--set", "sets", multiple=True, metavar="FIELD=VALUE", help="A setting that changes with the keys.")
@click.option("--secret-file", "files", multiple=True, metavar="FIELD=PATH", help="A new key; - is the standard input.")
@click.option(
    "--overlap-s", type=int, default=OVERLAP_S_DEFAULT, show_default=True, help="How long the old keys count too."
)
@click.option("--end-overlap", is_flag=True, help="Refuse what was signed with the old keys from now on.")
@click.option("--reseal", is_flag=True, help="Seal all secrets of the database with the installation's newest key.")
@by_option
@with_settings(*STORE_SETTINGS)
@json_option
def channel_rotate(
    *,
    account_id: int | None,
    sets: tuple[str, ...],
    files: tuple[str, ...],
    overlap_s: int,
    end_overlap: bool,
    reseal: bool,
    by: str,
    settings: Settings,
    as_json: bool,
) -> None:
    """Put new keys in place of an account's; what is not named stays.

    What the channel signed or sealed with the old ones still counts for a while: notices on their way are not lost.
    With --reseal no account is named: it is the installation's own key that was replaced.
    """
    if reseal:
        if account_id is not None or sets or files or end_overlap:
            raise Refused(
                "options_exclude", param="reseal", detail="it is of all accounts, and changes no key of theirs"
            )
        _reseal(settings, as_json=as_json)
        return
    if account_id is None:
        raise Refused("option_missing", param="account", detail="which account gets new keys")
    if end_overlap == bool(sets or files):
        raise Refused("options_exclude", param="end_overlap", detail="either new keys, or the end of the old ones")
    given = _read_pairs(sets), _read_files(files)

    async def rotate() -> dict[str, object]:
        async with _open_desk(settings) as (_, desk):
            if end_overlap:
                return {"account_id": account_id, "ended": await desk.end_overlap(account_id, by=by), "old_until": None}
            until = await desk.rotate(
                account_id, settings=given[0], account_secrets=given[1], overlap_s=overlap_s, by=by
            )
            return {"account_id": account_id, "old_until": until}

    row = run_async(rotate())
    if as_json:
        print_json(row)
    else:
        until = row["old_until"]
        ended = "the old keys are refused" if row.get("ended") else "no old keys were in force any more"
        OUT.print(f"account {account_id}: {ended if until is None else f'old keys until {until}'}")


def _reseal(settings: Settings, *, as_json: bool) -> None:
    async def seal() -> SealedAgain:
        async with open_database(settings, dsn=database_dsn(settings)) as opened:
            return await build_sealing(opened).seal_again()

    done = run_async(seal())
    if as_json:
        print_json({**asdict(done), "whole": done.is_whole})
    else:
        OUT.print(f"sealed anew: {done.accounts} accounts, {done.endpoints} webhook endpoints, {done.payees} payees")
        for name in done.unreadable:
            OUT.print(f"  {name}: no key opens it")
        if done.changing:
            OUT.print(f"  {done.changing} were changed at the same time: run it again")
    if not done.is_whole:
        raise SystemExit(EXIT_BROKEN)


def _taker_options(command: Callable[P, R]) -> Callable[P, R]:
    """Adds the flags of whose orders are meant."""
    for option in (
        click.option("--shop", "shop_id", type=int, default=None, help="Of this shop alone."),
        click.option("--merchant", "merchant_id", type=int, default=None, help="Of all shops of this merchant."),
    ):
        command = option(command)
    return command


@channel.command("allow")
@click.argument("account_id", type=int)
@_taker_options
@click.option(
    "--method", "methods", multiple=True, help="native, jsapi, wap or code; all that the channel has unless told."
)
@click.option("--priority", type=int, default=0, show_default=True, help="The lowest goes first.")
@by_option
@with_settings(*STORE_SETTINGS)
@json_option
def channel_allow(
    *,
    account_id: int,
    merchant_id: int | None,
    shop_id: int | None,
    methods: tuple[str, ...],
    priority: int,
    by: str,
    settings: Settings,
    as_json: bool,
) -> None:
    """Let new orders of a merchant or of one shop go to an account.

    A shop that has accounts of its own uses no other ones. Of several the first whose channel answers takes an order.
    """
    taker = Taker(merchant_id=merchant_id, shop_id=shop_id)

    async def allow() -> None:
        async with _open_desk(settings) as (_, desk):
            await desk.allow(account_id, taker, priority=priority, methods=methods, by=by)

    run_async(allow())
    row = {
        "account_id": account_id,
        "merchant_id": merchant_id,
        "shop_id": shop_id,
        "priority": priority,
        "methods": list(methods) or list(METHODS),
    }
    if as_json:
        print_json(row)
    else:
        OUT.print(f"account {account_id}: allowed")


@channel.command("disallow")
@click.argument("account_id", type=int)
@_taker_options
@by_option
@with_settings(*STORE_SETTINGS)
@json_option
def channel_disallow(
    *, account_id: int, merchant_id: int | None, shop_id: int | None, by: str, settings: Settings, as_json: bool
) -> None:
    """Let new orders of a merchant or of one shop go to an account no more. What is in flight there goes on."""
    taker = Taker(merchant_id=merchant_id, shop_id=shop_id)

    async def disallow() -> bool:
        async with _open_desk(settings) as (_, desk):
            return await desk.disallow(account_id, taker, by=by)

    was = run_async(disallow())
    if as_json:
        print_json({"account_id": account_id, "merchant_id": merchant_id, "shop_id": shop_id, "was_allowed": was})
    else:
        OUT.print(f"account {account_id}: {'not allowed any more' if was else 'was not allowed'}")


@asynccontextmanager
async def _open_desk(settings: Settings) -> AsyncGenerator[tuple[Opened, AccountDesk]]:
    async with open_database(settings, dsn=database_dsn(settings)) as opened:
        yield opened, build_account_desk(opened)


async def _ask(opened: Opened, desk: AccountDesk, standing: AccountStanding) -> str | None:
    if standing.wrong_field is not None:
        return "not asked: the account cannot be used"
    return await ask_channel(opened, await desk.open_account(standing.account_id))


def _set_enabled(settings: Settings, account_id: int, *, enabled: bool, by: str, as_json: bool) -> None:
    async def change() -> None:
        async with _open_desk(settings) as (_, desk):
            await desk.set_enabled(account_id, enabled=enabled, by=by)

    run_async(change())
    if as_json:
        print_json({"account_id": account_id, "enabled": enabled})
    else:
        OUT.print(f"account {account_id}: {'enabled' if enabled else 'takes no new trades'}")


def _chosen(standings: list[AccountStanding], account_ids: tuple[int, ...]) -> list[AccountStanding]:
    known = {int(standing.account_id) for standing in standings}
    for account_id in account_ids:
        if account_id not in known:
            raise Refused("account_unknown", param="account", detail=str(account_id))
    return [standing for standing in standings if not account_ids or standing.account_id in account_ids]


def _show(standing: AccountStanding) -> dict[str, object]:
    ends = sorted(key.ends_at for key in standing.keys)
    return {
        "account_id": standing.account_id,
        "channel": standing.channel,
        "name": standing.name,
        "enabled": standing.enabled,
        "usable": standing.is_usable,
        "wrong_field": standing.wrong_field,
        "wrong_because": standing.wrong_because,
        "ends_at": ends[0] if ends else None,
        "keys": [
            {"field": key.field_name, "ends_at": key.ends_at, "verdict": key.verdict.value} for key in standing.keys
        ],
        "old_until": standing.old_until,
        "sealed_with_current": standing.sealed_with_current,
        "warnings": standing.list_warnings(),
        "settings": standing.settings,
    }


def _print_table(rows: list[dict[str, object]], columns: tuple[str, ...]) -> None:
    table = Table(*columns)
    for row in rows:
        table.add_row(*("" if row[column] is None else str(row[column]) for column in columns))
    OUT.print(table)


def _print_verdict(standing: AccountStanding, why: str | None) -> None:
    warnings = standing.list_warnings()
    state = "well" if standing.is_usable and why is None else "NOT USABLE"
    OUT.print(f"account {standing.account_id} ({standing.channel}, {standing.name}): {state}")
    for line in [*warnings, *([f"no proven answer: {why}"] if why else [])]:
        OUT.print(f"  {line}")


def _read_pairs(texts: tuple[str, ...]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals or name in pairs:
            raise Refused("option_malformed", param="set", detail="FIELD=VALUE, each field once")
        pairs[name] = value
    return pairs


def _read_files(texts: tuple[str, ...]) -> dict[str, str]:
    """Keys by field; those of `FIELD.NAME=PATH` together, as the JSON object that the field is."""
    plain: dict[str, str] = {}
    several: dict[str, dict[str, str]] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not name or not equals or not path:
            raise Refused("option_malformed", param="secret_file", detail="FIELD=PATH")
        field_name, dot, member = name.partition(".")
        if dot:
            several.setdefault(field_name, {})[member] = read_secret_file(name, path)
        else:
            plain[name] = read_secret_file(name, path)
    return plain | {name: msgspec.json.encode(members).decode() for name, members in several.items()}
