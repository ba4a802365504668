"""A charge that was taken back: its two rows may stand in the bills of two days, and under two names."""

from dataclasses import replace
from datetime import date, timedelta

import asyncpg
import pytest

from budan.flows.day_report import DayReport
from integration.reconcile.bills import Line
from integration.reconcile.clerk import Clerk, verdicts
from stage import StagedOrder

Rows = asyncpg.Connection
Days = dict[date, list[Line]]


async def taken_back(clerk: Clerk, rows: Rows) -> tuple[StagedOrder, Line, Line]:
    """A charge of half a minute before midnight, its row, and that of its reversal of a minute later."""
    midnight = clerk.noon + timedelta(hours=12)
    order = await clerk.paid(at=midnight - timedelta(seconds=30))
    await rows.execute("UPDATE trade SET state = 'reversed' WHERE order_id = $1", order.order_id)
    paid = clerk.line(order, at=midnight - timedelta(seconds=30))
    return order, paid, clerk.line(order, kind="REVOKED", channel_no="77", at=midnight + timedelta(seconds=30))


async def compare(clerk: Clerk, days: Days, *, own_day_first: bool) -> list[DayReport]:
    """The reports of the days, in their order, each with a row of its own beside."""
    reports = {}
    for day in sorted(days, reverse=not own_day_first):
        other = await clerk.paid(at=clerk.noon + (day - clerk.day))
        lines = [*days[day], clerk.line(other, at=clerk.noon + (day - clerk.day))]
        reports[day] = await clerk.compare(lines, day=day, origin="channel")
    return [await clerk.reconciliation.get_report(reports[day].run.id) for day in sorted(days)]


@pytest.mark.parametrize("own_day_first", [True, False])
@pytest.mark.parametrize("has_payment", [True, False])
async def test_a_reversal_in_the_bill_of_the_next_day_is_missed_by_no_day_and_counts_once(
    clerk: Clerk, rows: Rows, *, own_day_first: bool, has_payment: bool
) -> None:
    """The next day had it as matched, and its payment's day missed it: our side had it twice. Some bills have it alone."""
    _, paid, back = await taken_back(clerk, rows)
    next_day = clerk.day + timedelta(days=1)
    days = {clerk.day: [paid] if has_payment else [], next_day: [back]}
    own, beside = await compare(clerk, days, own_day_first=own_day_first)
    missed = {"here_only" if own_day_first else "neighbour_day": (0, 1)}
    assert verdicts(own, "reversal") == missed
    assert verdicts(beside, "reversal") == {"neighbour_day": (1, 0)}
    alone = {"matched": (1, 1), "here_only" if own_day_first else "returned": (0, 1)}
    gone = {"matched": (2, 2)} if has_payment else alone
    assert verdicts(own, "payment") == gone
    assert (own.ties_out, beside.ties_out) == (True, True)
    assert await clerk.differences(with_resolved=False) == {}
    await clerk.compare([back, clerk.line(await clerk.paid())], day=next_day, origin="channel")
    assert await clerk.differences(day=clerk.day, with_resolved=False) == {}, "a newer bill has it, too"


@pytest.mark.parametrize("own_day_first", [True, False])
@pytest.mark.parametrize("days_on", [0, 1])
async def test_a_reversal_that_its_bill_calls_a_refund_is_that_reversal(
    clerk: Clerk, rows: Rows, *, own_day_first: bool, days_on: int
) -> None:
    """Alipay's and iPaynow's bills have no other word: each charge that was taken back was missed, and a refund past us."""
    order, paid, back = await taken_back(clerk, rows)
    back = replace(back, kind=None, refund_no=order.trade_no, at=clerk.noon + timedelta(days=days_on))
    next_day = clerk.day + timedelta(days=1)
    days = {clerk.day: [paid, back] if days_on == 0 else [paid], next_day: [back] if days_on else []}
    own, beside = await compare(clerk, days, own_day_first=own_day_first)
    if days_on:
        assert verdicts(own, "reversal") == {"here_only" if own_day_first else "neighbour_day": (0, 1)}
        assert verdicts(beside, "refund") == {"neighbour_day": (1, 0)}
    else:
        assert verdicts(own, "refund") == {"matched": (1, 1)}
        assert verdicts(own, "reversal") == {}
    assert verdicts(own, "payment") == {"matched": (2, 2)}
    assert (own.ties_out, beside.ties_out) == (True, True)
    assert await clerk.differences(with_resolved=False) == {}


async def test_a_refund_of_another_amount_of_a_charge_that_was_taken_back_is_another_refund(
    clerk: Clerk, rows: Rows
) -> None:
    """And so is a second row of all of it: the channel is asked about both."""
    _, paid, back = await taken_back(clerk, rows)
    back = replace(back, kind=None, at=clerk.noon)
    lines = [paid, *(replace(back, refund_no=f"P{place}", channel_no=f"7{place}") for place in range(2))]
    lines.append(replace(back, refund_no="P2", channel_no="72", amount_minor=300))
    report = await clerk.compare(lines)
    assert verdicts(report, "refund") == {"matched": (1, 1), "there_only": (2, 0)}
    assert {one.subject: one.state for one in await clerk.list_differences()} == {"P1": "asked", "P2": "asked"}


@pytest.mark.parametrize("own_day_first", [True, False])
async def test_a_reversal_that_the_bills_of_two_days_have_is_a_double(
    clerk: Clerk, rows: Rows, *, own_day_first: bool
) -> None:
    """Each bill alone looks right, and the channel has taken the money back twice."""
    _, paid, back = await taken_back(clerk, rows)
    days = {clerk.day: [paid, back], clerk.day + timedelta(days=1): [back]}
    own, beside = await compare(clerk, days, own_day_first=own_day_first)
    found = verdicts(own, "reversal"), verdicts(beside, "reversal")
    if own_day_first:
        assert found == ({"matched": (1, 1)}, {"double": (1, 0)})
    else:
        assert found == ({"double": (1, 0), "neighbour_day": (0, 1)}, {"neighbour_day": (1, 0)})
    assert verdicts(own, "payment") == {"matched": (2, 2)}


async def test_a_reversal_is_awaited_until_the_bill_of_the_day_after_its_payment_is_read(
    clerk: Clerk, rows: Rows
) -> None:
    """Its charge may be of any hour: it is taken back when its shop gives up, which nobody has told."""
    order = await clerk.paid()
    await rows.execute("UPDATE trade SET state = 'reversed'")
    await clerk.compare([clerk.line(order)], origin="channel")
    (found,) = (await clerk.differences()).values()
    assert (found.kind, found.verdict, found.state) == ("reversal", "here_only", "awaited")
    tomorrow = clerk.noon + timedelta(days=1)
    other = clerk.line(await clerk.paid(at=tomorrow), at=tomorrow)
    await clerk.compare([other], day=clerk.day + timedelta(days=1), origin="channel")
    (found, *_) = (await clerk.differences(day=clerk.day)).values()
    assert found.state == "open", "both bills are there, and neither has it"
