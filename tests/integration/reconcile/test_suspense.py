"""Money that came and does not fit its order is on its day's side as what it is: the day ties out, and nobody looks for it twice."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from budan.flows.door import DoorItem
from budan.flows.holding import Resolution
from integration.reconcile.bills import Line, write_bill
from integration.reconcile.clerk import Clerk, verdicts
from integration.reconcile.counter import BillCounter
from integration.reconcile.test_day_ties import tie_out
from stage import AMOUNT_MINOR, StagedOrder

Rows = asyncpg.Connection
A = AMOUNT_MINOR
AnyDay = pytest.mark.parametrize("own_day_first", [True, False])


async def came(clerk: Clerk, order: StagedOrder, *, minor: int = A - 1, **said: Any) -> None:
    """The channel's word of a payment of another amount, at noon of the day and by its own number."""
    told = {"order_minor": minor, "paid_at": clerk.noon, "channel_reference": f"4299{order.order_id}"} | said
    await clerk.hear(order, **told)


def row(clerk: Clerk, order: StagedOrder, **changes: Any) -> Line:
    """The row that the channel's bill has of it."""
    return clerk.line(order, **({"amount_minor": A - 1, "channel_no": f"4299{order.order_id}"} | changes))


async def settle(clerk: Clerk, order: StagedOrder, resolution: Resolution) -> None:
    """Two persons say what becomes of the money."""
    holds = clerk.stage.operator.holds
    act = await holds.propose_release(order.order_no, by="Ann", reason="looked", accept=True, resolution=resolution)
    await holds.confirm_release(order.order_no, by="Bob", act=act.act)


async def test_money_in_suspense_is_on_both_sides_of_its_day_and_a_persons_until_it_is_settled(clerk: Clerk) -> None:
    """The bill had its row and our side had nothing: a wrong amount was a difference for ever that nothing explained."""
    fits, returned, second, lost = [await clerk.paid(), await clerk.order(), await clerk.paid(), await clerk.order()]
    for order in (returned, second, lost):
        await came(clerk, order)
    lines = [clerk.line(fits), row(clerk, returned), clerk.line(second), row(clerk, second)]
    report = await clerk.compare(lines)
    assert verdicts(report, "payment") == {"matched": (2, 2), "in_suspense": (2, 2), "here_only": (0, 1)}
    told = report.as_json()
    assert told["ties_out"]
    assert tie_out(told, "payment", "CNY") == {
        "all": ((4, 4 * A - 2), (5, 5 * A - 3)),
        "matched": ((2, 2 * A), (2, 2 * A)),
        "open": ((2, 2 * A - 2), (3, 3 * A - 3)),
    }
    found = await clerk.list_differences()
    assert [(one.subject, one.verdict, one.their_minor, one.our_minor) for one in found] == [
        (returned.trade_no, "in_suspense", A - 1, A),
        (second.trade_no, "in_suspense", A - 1, A),
        (lost.trade_no, "here_only", None, A - 1),
    ]
    await settle(clerk, returned, Resolution.RETURNED)
    await settle(clerk, second, Resolution.CREDITED)
    await clerk.discrepancies.follow_up(clerk.account_id)
    ended = [(one.state, one.resolution) for one in await clerk.list_differences()]
    assert ended == [("resolved", "refunded"), ("resolved", "corrected"), ("open", None)]
    again = (await clerk.reconciliation.get_report(report.run.id)).as_json()
    assert again["ties_out"]
    assert tie_out(again, "payment", "CNY")["by_hand"] == ((2, 2 * A - 2), (2, 2 * A - 2))


async def test_money_that_another_account_tells_of_is_on_that_accounts_side(clerk: Clerk) -> None:
    """Its bill's row named an order of ours, and was called an unknown number."""
    order = await clerk.order()
    theirs = clerk.merchant
    account_id = await clerk.stage.administration.add_account(
        channel="wechat_v3", name="other", settings=clerk.settings, account_secrets={}, by="Ann"
    )
    clerk.merchant = replace(theirs, account_id=account_id)
    await came(clerk, order, minor=A, account_id=account_id)
    report = await clerk.compare([row(clerk, order, amount_minor=A)])
    assert verdicts(report, "payment") == {"in_suspense": (1, 1)}
    clerk.merchant = theirs
    assert verdicts(await clerk.compare([clerk.line(await clerk.paid())]), "payment") == {"matched": (1, 1)}


async def test_a_bill_that_has_another_amount_for_the_same_payment_differs_from_what_lies_in_suspense(
    clerk: Clerk,
) -> None:
    """The channel has said two amounts of one payment, and neither is the order's."""
    order = await clerk.order()
    await came(clerk, order)
    report = await clerk.compare([row(clerk, order, amount_minor=A - 2)])
    assert verdicts(report, "payment") == {"amount_differs": (1, 1)}
    (found,) = await clerk.list_differences()
    assert (found.their_minor, found.our_minor, report.ties_out) == (A - 2, A - 1, True)


@AnyDay
async def test_money_in_suspense_is_looked_for_in_the_bill_of_the_day_beside(
    clerk: Clerk, *, own_day_first: bool
) -> None:
    """The two clocks straddle midnight for it as for any payment."""
    midnight = clerk.noon + timedelta(hours=12)
    order, other = await clerk.order(at=midnight - timedelta(minutes=1)), await clerk.paid()
    await came(clerk, order, paid_at=midnight - timedelta(seconds=30))
    days = [
        (clerk.day, [clerk.line(other)]),
        (clerk.day + timedelta(days=1), [row(clerk, order, at=midnight + timedelta(seconds=5))]),
    ]
    reports = {}
    for day, lines in days if own_day_first else reversed(days):
        reports[day] = await clerk.compare(lines, day=day, origin="channel")
    missed = "here_only" if own_day_first else "neighbour_day"
    assert verdicts(reports[days[0][0]], "payment") == {"matched": (1, 1), missed: (0, 1)}
    assert verdicts(reports[days[1][0]], "payment") == {"neighbour_day": (1, 0)}
    assert await clerk.differences(with_resolved=False) == {}


async def test_a_day_that_was_compared_before_we_knew_of_the_money_is_compared_once_more(
    clerk: Clerk, counter: BillCounter, rows: Rows
) -> None:
    """The bill asked about it and the answer did not fit: its difference stayed "the channel alone has it"."""
    order = await clerk.order()
    answer = clerk.stage.payment(
        order, order_minor=A - 1, paid_at=clerk.noon, channel_reference=f"4299{order.order_id}"
    )
    counter.answers[clerk.day] = write_bill([row(clerk, order)])
    await counter.run()
    (found,) = await clerk.list_differences()
    assert (found.verdict, found.state) == ("there_only", "asked")
    for _ in range(2):
        await clerk.stage.flows.door.record(DoorItem(evidence=answer, asked_attempts=0))
    await counter.run()
    # So that what is known now is no news to a comparison that has just begun.
    await rows.execute("UPDATE late_money SET known_at = known_at - interval '1 hour'")
    (found,) = await clerk.list_differences()
    assert (found.verdict, found.state, found.our_minor) == ("in_suspense", "open", A)
    asked = counter.asked[clerk.day]
    await clerk.stage.flows.door.record(DoorItem(evidence=answer, asked_attempts=0))
    await counter.run()
    assert counter.asked[clerk.day] == asked == 2, "a channel that repeats itself has no day compared again"


@pytest.mark.parametrize("is_named", [True, False])
async def test_a_payment_that_nobody_has_heard_of_does_not_end_with_another_one_of_its_amount(
    clerk: Clerk, *, is_named: bool
) -> None:
    """What went back of the one was taken for the other's: the books said of money that lay in suspense that it was gone."""
    order = await clerk.order()
    await came(clerk, order, **({} if is_named else {"channel_reference": None}))
    known, unheard = row(clerk, order), row(clerk, order, channel_no="4300")
    await clerk.compare([known])
    await settle(clerk, order, Resolution.RETURNED)
    await clerk.compare([known, unheard])
    await clerk.discrepancies.follow_up(clerk.account_id)
    first, second = await clerk.list_differences()
    assert (first.channel_no, first.verdict, first.resolution) == (known.channel_no, "in_suspense", "refunded")
    assert (second.channel_no, second.verdict, second.resolution) == ("4300", "there_only", None)
    await came(clerk, order, channel_reference="4300")
    await clerk.compare([known, unheard, clerk.line(await clerk.paid())])
    assert [(one.verdict, one.resolution) for one in await clerk.list_differences()] == [
        ("in_suspense", "refunded"),
        ("in_suspense", None),
    ]
    await settle(clerk, order, Resolution.CREDITED)
    await clerk.discrepancies.follow_up(clerk.account_id)
    assert [one.resolution for one in await clerk.list_differences()] == ["refunded", "corrected"]
