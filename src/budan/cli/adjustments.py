"""The commands of adjustments: what two persons book where nothing else can."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict

import click

from budan.cli.frame import ERR, OUT, database_dsn, json_option, print_json, run_async, with_settings
from budan.cli.settings import STORE_SETTINGS, Settings
from budan.cli.shown import show_moment
from budan.cli.wiring import open_database, open_ids
from budan.core.adjustment import TOUCHED, AdjustmentState
from budan.core.journal import render_money
from budan.flows.adjusting import Adjustment, Adjustments, AdjustmentWish, ReceiptWish

_BY = click.option("--by", required=True, help="Your name. It is recorded as given; nobody checks it.")
_REASON = click.option("--reason", required=True, help="Why; the merchant's statement shows it.")
_CURRENCY = click.option("--currency", default="CNY", show_default=True, help="Of the amounts.")
_NUMBER = click.argument("number", metavar="ADJUSTMENT", type=int)
LIST_ROWS = 100


@click.group()
def adjust() -> None:
    """Postings with a reason, by two persons: one proposes, another approves, and only then it is booked.

    For what nothing else can book: coupons that a merchant pays for, a cent that a channel will never give, goodwill, and
    what a channel paid into our bank.
    """


@adjust.command("propose")
@click.option("--debit", default=None, help=f"What is debited, of {', '.join(TOUCHED)}: a merchant is owed less.")
@click.option("--credit", default=None, help="What is credited, of the same ones: a channel owes us less.")
@click.option("--amount", "amount_minor", type=int, default=None, help="Minor units, fen for CNY.")
@_CURRENCY
@click.option("--order", "order_no", default=None, help="The order that it belongs to.")
@click.option(
    "--difference",
    type=int,
    default=None,
    help="The difference of reconciliation that it mends, and resolves. Of settle_differs it says accounts and amount too.",
)
@_REASON
@_BY
@with_settings(*STORE_SETTINGS)
@json_option
def adjust_propose(
    *,
    debit: str | None,
    credit: str | None,
    amount_minor: int | None,
    currency: str,
    order_no: str | None,
    difference: int | None,
    reason: str,
    by: str,
    settings: Settings,
    as_json: bool,
) -> None:
    """Propose that an amount moves from one account to another. Nothing is booked until another person approves it."""
    wish = AdjustmentWish(
        by=by,
        reason=reason,
        debit=debit,
        credit=credit,
        amount_minor=amount_minor,
        currency=currency,
        order_no=order_no,
        difference=difference,
    )

    async def propose() -> Adjustment:
        async with _open(settings) as adjustments:
            return await adjustments.propose(wish)

    _print(run_async(propose()), as_json=as_json)


@adjust.command("receipt")
@click.option("--account", "account_id", type=int, required=True, help="The channel account that was paid out.")
@click.option("--received", "received_minor", type=int, required=True, help="What came into our bank, in minor units.")
@click.option(
    "--fee", "fee_minor", type=int, required=True, help="What the channel kept of it; negative where it gave back more."
)
@_CURRENCY
@click.option("--reference", required=True, help="The bank's number: it tells a repeat from a second receipt.")
@_REASON
@_BY
@with_settings(*STORE_SETTINGS)
@json_option
def adjust_receipt(
    *,
    account_id: int,
    received_minor: int,
    fee_minor: int,
    currency: str,
    reference: str,
    reason: str,
    by: str,
    settings: Settings,
    as_json: bool,
) -> None:
    """Propose what a channel paid into our bank for an account, with the fee that it kept. Safe to repeat."""
    wish = ReceiptWish(
        by=by,
        reason=reason,
        account_id=account_id,
        received_minor=received_minor,
        fee_minor=fee_minor,
        currency=currency,
        reference=reference,
    )

    async def receive() -> Adjustment:
        async with _open(settings) as adjustments:
            return await adjustments.receive(wish)

    _print(run_async(receive()), as_json=as_json)


@adjust.command("approve")
@_NUMBER
@click.option(
    "--amount",
    "amount_minor",
    type=int,
    required=True,
    help="What you agree to: its amount in minor units, fen for CNY.",
)
@_BY
@with_settings(*STORE_SETTINGS)
@json_option
def adjust_approve(*, number: int, amount_minor: int, by: str, settings: Settings, as_json: bool) -> None:
    """Agree to what another person proposed: it is booked, once, and the difference that it mends is resolved with it.

    Give its amount again, and read what was booked: the entry stays, and only its opposite undoes it.
    """

    async def approve() -> Adjustment:
        async with _open(settings) as adjustments:
            return await adjustments.approve(number, amount_minor=amount_minor, by=by)

    _print(run_async(approve()), as_json=as_json)


@adjust.command("reject")
@_NUMBER
@click.option("--reason", required=True, help="Why not.")
@_BY
@with_settings(*STORE_SETTINGS)
@json_option
def adjust_reject(*, number: int, reason: str, by: str, settings: Settings, as_json: bool) -> None:
    """End a proposal without booking it: another person rejects it, whoever proposed it withdraws it."""

    async def reject() -> Adjustment:
        async with _open(settings) as adjustments:
            return await adjustments.reject(number, by=by, reason=reason)

    _print(run_async(reject()), as_json=as_json)


@adjust.command("list")
@click.option("--all", "with_done", is_flag=True, help="Also what was approved, rejected or withdrawn.")
@click.option("--after", type=int, default=0, help="Goes on after this number.")
@click.option("--limit", type=int, default=LIST_ROWS, show_default=True, help="At most so many.")
@with_settings(*STORE_SETTINGS)
@json_option
def adjust_list(*, with_done: bool, after: int, limit: int, settings: Settings, as_json: bool) -> None:
    """What waits for a second person, oldest first."""
    state = None if with_done else AdjustmentState.PROPOSED

    async def read() -> list[Adjustment]:
        async with _open(settings) as adjustments:
            return await adjustments.list_page(after=after, state=state, rows_max=limit)

    found = run_async(read())
    if as_json:
        print_json({"adjustments": [_as_json(one) for one in found]})
        return
    if not found:
        OUT.print("no adjustments")
    for one in found:
        _print_block(one, aside="")
    if len(found) == limit:
        ERR.print(f"there may be more: --after {found[-1].row.number}", style="yellow")


@asynccontextmanager
async def _open(settings: Settings) -> AsyncGenerator[Adjustments]:
    async with open_database(settings, dsn=database_dsn(settings)) as opened, open_ids(opened) as ids:
        yield Adjustments(database=opened.database, environment=settings.environment, ids=ids)


def _print(one: Adjustment, *, as_json: bool) -> None:
    if as_json:
        print_json(_as_json(one))
        return
    row = one.row
    _print_block(one, aside="" if one.changed else ", told before")
    if row.state == AdjustmentState.PROPOSED.value and not one.has_lapsed:
        OUT.print(f"to agree: budan ledger adjust approve {row.number} --amount MINOR --by NAME")
    if one.left_minor == 0:
        OUT.print(f"difference {row.discrepancy_id} is resolved: corrected")
    elif one.left_minor is not None:
        left = render_money(one.left_minor, currency=row.currency)
        OUT.print(f"difference {row.discrepancy_id} stays open: {left} of it is left")


def _print_block(one: Adjustment, *, aside: str) -> None:
    """All of an adjustment, a fact a line: a table's cells are cut where a second person must read them."""
    row = one.row
    lapsed = ", lapsed: reject it and propose it again" if one.has_lapsed else ""
    OUT.print(f"adjustment {row.number}: {row.state}{lapsed}{aside}")
    facts = {
        "amount": render_money(row.amount_minor, currency=row.currency),
        **{line.account: render_money(line.amount_minor, currency=line.currency) for line in one.entry.postings},
        "order": one.order_no,
        "difference": None if row.discrepancy_id is None else f"{row.discrepancy_id}, {row.discrepancy_seen}",
        "reference": row.bank_reference,
        "reason": row.reason,
        "proposed": f"{show_moment(row.proposed_at)} by {row.proposed_by}",
        "decided": row.decided_by and f"{show_moment(row.decided_at)} by {row.decided_by}",
        "because": row.decision_reason,
    }
    for name, value in facts.items():
        if value:
            OUT.print(f"  {name}: {value}")


def _as_json(one: Adjustment) -> dict[str, object]:
    told: dict[str, object] = {
        name: value for name, value in asdict(one.row).items() if name not in {"lane", "order_id", "entry_id"}
    }
    lines = [{"account": line.account, "amount_minor": line.amount_minor} for line in one.entry.postings]
    return (
        told
        | {"order_no": one.order_no, "entry": one.entry.key, "lines": lines}
        | {
            "changed": one.changed,
            "has_lapsed": one.has_lapsed,
            "difference_left_minor": one.left_minor,
        }
    )
