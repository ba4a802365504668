"""Commands about orders: what there is, one order's whole life, holds and persons' words."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from hashlib import sha256

import click
from rich.table import Table

from budan.cli.frame import OUT, begin_role, database_dsn, json_option, print_json, run_async, with_settings
from budan.cli.hold_words import (
    tell_held,
    tell_proposed_release,
    tell_proposed_word,
    tell_released,
    tell_taken_word,
)
from budan.cli.moments import Before, Since
from budan.cli.settings import STORE_SETTINGS, Settings
from budan.cli.shown import show_fields, show_moment
from budan.cli.wiring import open_database, open_flows, operator_flows
from budan.core.gap import Gap
from budan.core.journal import render_money
from budan.core.numbers import render_number
from budan.core.order import OrderState
from budan.flows.closing import OrderClosing
from budan.flows.holding import HeldOrder, Released, Resolution
from budan.flows.refunding import RefundOrder
from budan.flows.testifying import Proposed, Testified
from budan.flows.timelines import OrderFilter, OrderLines, OrderTimeline, Timelines, parse_order_no
from budan.flows.views import Caller, RefundView
from budan.flows.wired import OperatorFlows


@click.group()
def orders() -> None:
    """Orders: what there is, what happened to one, and what persons decide about it."""


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
            render_money(line.amount_minor, currency=line.currency),
            show_moment(line.created_at),
            show_moment(line.paid_at),
            line.hold_reason or "",
        )
    OUT.print(table if found.orders else "no orders")
    if found.next_before is not None:
        OUT.print(f"older ones: --before {found.next_before}")


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
    for name, shown in show_fields(found.order).items():
        if name not in {"lane", "order_id"} and shown:
            OUT.print(f"{name}: {shown}")
    table = Table("at (UTC)", "what", "detail")
    for moment in found.moments:
        table.add_row(show_moment(moment.at), moment.what, moment.detail)
    OUT.print(table)
    OUT.print(f"gap: {_show_gap(found.gap)}")
    if found.cut:
        OUT.print(f"not all rows are shown of: {', '.join(found.cut)}")


@orders.command("close")
@click.argument("order_no")
@with_settings(*STORE_SETTINGS)
@json_option
def orders_close(*, order_no: str, settings: Settings, as_json: bool) -> None:
    """Close an order for its merchant: a payment that comes after it is closed goes back.

    What is open at a channel is closed there by a worker; until then the order is `closing`. Safe to repeat.
    """

    async def close() -> OrderState:
        async with (
            open_database(settings, dsn=database_dsn(settings)) as opened,
            OrderClosing(database=opened.database, environment=settings.environment) as closing,
        ):
            number = parse_order_no(order_no, environment=settings.environment)
            return await closing.close(number)

    state = run_async(close())
    if as_json:
        print_json({"order_no": order_no, "state": state})
    else:
        OUT.print(f"{order_no}: {state.value}")


_BY = click.option("--by", required=True, help="Your name. It is recorded as given; nobody checks it.")
_CONFIRM = click.option("--confirm", "act", type=int, default=None, help="Agree to this proposal of another person.")
_REASON = click.option("--reason", default=None, help="Why; needed unless you confirm.")


@orders.command("hold")
@click.argument("order_no")
@click.option("--reason", required=True, help="Why.")
@_BY
@with_settings(*STORE_SETTINGS)
@json_option
def orders_hold(*, order_no: str, reason: str, by: str, settings: Settings, as_json: bool) -> None:
    """Put an order on hold: no payout, refund by API or closing. A payment still completes it."""

    async def hold() -> HeldOrder:
        async with open_operator_flows(settings) as flows:
            return await flows.holds.hold(order_no, by=by, reason=reason)

    held = run_async(hold())
    _print_told(held, tell_held(held), as_json=as_json)


@orders.command("release")
@click.argument("order_no")
@_BY
@_REASON
@click.option("--accept", is_flag=True, help="Take what still contradicts as it is.")
@click.option(
    "--resolution",
    type=click.Choice([resolution.value for resolution in Resolution]),
    default=None,
    help="What became of money in suspense: it went back to the payer at the channel, or the merchant keeps it.",
)
@_CONFIRM
@with_settings(*STORE_SETTINGS)
@json_option
def orders_release(
    *,
    order_no: str,
    by: str,
    reason: str | None,
    accept: bool,
    resolution: str | None,
    act: int | None,
    settings: Settings,
    as_json: bool,
) -> None:
    """Lift a hold, in two steps by two persons.

    The first proposes it with a reason. The second confirms with --confirm: then the channels are asked afresh, what
    contradicted is decided again, and the hold is lifted where nothing stands or --accept was proposed.
    """
    if act is not None and (reason is not None or accept or resolution is not None):
        raise click.UsageError("--confirm agrees to what was proposed, and takes nothing but --by")
    if act is None and reason is None:
        raise click.UsageError("a proposal needs its --reason")

    async def release() -> HeldOrder | Released:
        async with open_operator_flows(settings) as flows:
            if act is not None:
                return await flows.holds.confirm_release(order_no, by=by, act=act)
            return await flows.holds.propose_release(
                order_no,
                by=by,
                reason=reason or "",
                accept=accept,
                resolution=None if resolution is None else Resolution(resolution),
            )

    found = run_async(release())
    told = tell_released(found) if isinstance(found, Released) else tell_proposed_release(found)
    _print_told(found, told, as_json=as_json)


@orders.command("evidence")
@click.argument("trade_no")
@_BY
@_REASON
@click.option("--outcome", default=None, help="paid or unpaid: what you saw with your own eyes, at the bank for one.")
@click.option("--channel-reference", default=None, help="What the channel calls the payment, where you know it.")
@click.option("--paid-at", type=Since(), default=None, help="When it was paid, with --outcome paid.")
@_CONFIRM
@with_settings(*STORE_SETTINGS)
@json_option
def orders_evidence(
    *,
    trade_no: str,
    by: str,
    reason: str | None,
    outcome: str | None,
    channel_reference: str | None,
    paid_at: datetime | None,
    act: int | None,
    settings: Settings,
    as_json: bool,
) -> None:
    """Say what became of a trade whose channel answers no more; a second person confirms half an hour later.

    The channel is asked first, each time: where it answers, its word counts and yours is not needed.
    """
    if act is not None and any(value is not None for value in (reason, outcome, channel_reference, paid_at)):
        raise click.UsageError("--confirm agrees to what was proposed, and takes nothing but --by")
    if act is None and (reason is None or outcome is None):
        raise click.UsageError("a proposal needs its --reason and --outcome")

    async def testify() -> Proposed | Testified:
        async with open_operator_flows(settings) as flows:
            if act is not None:
                return await flows.testimony.confirm(trade_no, by=by, act=act)
            return await flows.testimony.propose(
                trade_no,
                by=by,
                reason=reason or "",
                outcome=outcome or "",
                channel_reference=channel_reference,
                paid_at=paid_at,
            )

    found = run_async(testify())
    told = tell_taken_word(found) if isinstance(found, Testified) else tell_proposed_word(found)
    _print_told(found, told, as_json=as_json)


def _print_told(found: object, told: Iterable[str], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    for line in told:
        OUT.print(line)


@orders.command("refund")
@click.argument("order_no")
@click.option("--amount", "amount_minor", type=int, required=True, help="Minor units, fen for CNY.")
@click.option("--reason", required=True, help="Why; some wallets show it to the payer. At most 80 bytes.")
@click.option("--key", "idempotency_key", required=True, help="Makes a repeat safe: one key is one refund.")
@_BY
@with_settings(*STORE_SETTINGS)
@json_option
def orders_refund(
    *, order_no: str, amount_minor: int, reason: str, idempotency_key: str, by: str, settings: Settings, as_json: bool
) -> None:
    """Give back what was paid for an order, in part or all; a worker sends it. Its merchant sees that you asked for it.

    Bounded by what is left of the payment; refused for an order on hold.
    """

    async def refund() -> RefundView:
        begin_role(settings, "command")
        async with open_database(settings, dsn=database_dsn(settings)) as opened, open_flows(opened) as flows:
            number = replace(parse_order_no(order_no, environment=settings.environment), ordinal=0)
            wish = RefundOrder(
                caller=Caller(merchant_id=number.merchant_id, lane=number.lane),
                order_no=render_number(number),
                amount_minor=amount_minor,
                reason=reason,
                request_digest=sha256(f"cli refund {amount_minor} {reason}".encode()).digest(),
                idempotency_key=idempotency_key,
                by=by,
            )
            return await flows.refunding.request(wish)

    view = run_async(refund())
    if as_json:
        print_json(view)
    else:
        amount = render_money(view.amount_minor, currency=view.currency)
        OUT.print(f"{view.refund_no}: {view.state}, {amount}")


@asynccontextmanager
async def open_operator_flows(settings: Settings) -> AsyncGenerator[OperatorFlows]:
    """The use cases on the settings' database, for a command that changes an order or asks its channels."""
    begin_role(settings, "command")
    async with open_database(settings, dsn=database_dsn(settings)) as opened, open_flows(opened) as flows:
        yield operator_flows(opened, flows)


@asynccontextmanager
async def open_timelines(settings: Settings) -> AsyncGenerator[Timelines]:
    """The orders of the settings' database."""
    async with open_database(settings, dsn=database_dsn(settings)) as opened:
        yield Timelines(database=opened.database, environment=settings.environment, lanes=opened.lanes)


def _show_gap(gap: Gap | None) -> str:
    if gap is None:
        return "none"
    end = "now" if gap.ended_at is None else show_moment(gap.ended_at)
    return f"{gap.cause.value}, {gap.seconds:.3f} s from {show_moment(gap.began_at)} to {end}"
