"""Money whose channel never tells when it moved: held against the bills all the same, by when we learned of it."""

from datetime import timedelta

import asyncpg
import pytest

from budan.core.evidence import Outcome
from integration.reconcile.clerk import Clerk, add_refund, verdicts

Rows = asyncpg.Connection


async def test_a_refund_or_payment_without_a_moment_that_the_bill_lacks_is_missed(clerk: Clerk, rows: Rows) -> None:
    """Else what iPaynow, WeChat's v2 and Alipay's replies say went back is believed whatever their bills say."""
    there, lost, unpaid_there = [await clerk.paid() for _ in range(3)]
    for order in (there, lost):
        await add_refund(rows, order, at=clerk.noon, learned_at=clerk.noon + timedelta(minutes=1))
    await rows.execute("UPDATE trade SET paid_at = NULL")
    await rows.execute("UPDATE posting SET booked_at = $1", clerk.noon)
    lines = [clerk.line(order) for order in (there, lost)]
    report = await clerk.compare([*lines, clerk.line(there, refund_no=clerk.refund_no(there), amount_minor=300)])
    assert verdicts(report, "payment") == {"matched": (2, 2), "here_only": (0, 1)}
    assert verdicts(report, "refund") == {"matched": (1, 1), "here_only": (0, 1)}
    assert set(await clerk.differences()) == {unpaid_there.trade_no, clerk.refund_no(lost)}


async def test_a_refund_without_a_moment_may_stand_in_each_bill_from_its_request_to_the_day_after_we_learned(
    clerk: Clerk, rows: Rows
) -> None:
    """Its own day's bill does not miss it then; a bill of before its request is another matter."""
    order, refund = await clerk.paid(), {"amount_minor": 300, "channel_no": "5"}
    await add_refund(rows, order, at=clerk.noon - timedelta(days=2), learned_at=clerk.noon)
    other = clerk.line(order)
    for days, verdict in ((-3, "status_differs"), (-2, "neighbour_day")):
        at = clerk.noon + timedelta(days=days)
        line = clerk.line(order, refund_no=clerk.refund_no(order), at=at, **refund)
        report = await clerk.compare([line], day=clerk.day + timedelta(days=days))
        assert set(verdicts(report, "refund")) == {verdict}
    report = await clerk.compare([other])
    assert verdicts(report, "refund") == {"neighbour_day": (0, 1)}


@pytest.mark.parametrize("days", [(-3, 0), (0, -3), (-3, -2), (-2, -3)])
async def test_a_refund_without_a_moment_that_two_days_bills_have_is_a_double(
    clerk: Clerk, rows: Rows, days: tuple[int, int]
) -> None:
    """Its channel took the money twice: whichever bill is read first, and if neither is that of the day we learned."""
    order = await clerk.paid()
    await add_refund(rows, order, at=clerk.noon - timedelta(days=3), learned_at=clerk.noon)
    for past in days:
        at = clerk.noon + timedelta(days=past)
        line = clerk.line(order, refund_no=clerk.refund_no(order), at=at, amount_minor=300, channel_no=f"{9 + past}")
        await clerk.compare([line], day=clerk.day + timedelta(days=past), origin="channel")
    found = (await clerk.differences(with_resolved=False)).values()
    assert [row.verdict for row in found if row.kind == "refund"] == ["double"]


async def test_a_refund_that_we_learned_of_by_its_bill_is_not_missed_by_the_bill_of_the_day_after(
    clerk: Clerk, rows: Rows
) -> None:
    """It ended a day late here, in answer to the question that its row had asked; the next day's bill cannot have it."""
    own, portal = await clerk.paid(), await clerk.paid()
    next_day = clerk.noon + timedelta(days=1)
    await add_refund(rows, own, at=clerk.noon, state="submitted")
    lines = [clerk.line(own), clerk.line(portal)]
    lines.append(clerk.line(own, refund_no=clerk.refund_no(own), amount_minor=300, channel_no="5"))
    lines.append(clerk.line(portal, refund_no="PORTAL7", amount_minor=300, channel_no="6"))
    await clerk.compare(lines)
    await rows.execute("UPDATE refund SET state = 'succeeded', ended_at = $1", next_day)
    await add_refund(rows, portal, at=next_day, learned_at=next_day, origin="external", channel_reference="PORTAL7")
    await clerk.discrepancies.follow_up(clerk.account_id)
    assert {row.resolution for row in (await clerk.differences()).values()} == {"repaired"}
    late = await clerk.paid(at=next_day)
    report = await clerk.compare([clerk.line(late, at=next_day)], day=clerk.day + timedelta(days=1))
    assert verdicts(report, "refund") == {"neighbour_day": (0, 2)}
    assert await clerk.differences(with_resolved=False) == {}


async def test_a_second_payment_without_a_moment_is_on_the_side_of_the_day_on_which_it_was_booked(
    clerk: Clerk, rows: Rows
) -> None:
    """It goes back to its payer: what no bill has of it is our loss, and what two bills have came twice."""
    paid = [await clerk.paid() for _ in range(4)]
    there, lost, beside, twice = seconds = [await clerk.attempt_again(order) for order in paid]
    for order in seconds:
        await clerk.hear(order, paid_at=None, channel_reference=f"4201{order.order_id}")
    await rows.execute("UPDATE posting SET booked_at = $1 WHERE entry_key = 'payment:2'", clerk.noon)
    before = clerk.noon - timedelta(days=2)
    await rows.execute("UPDATE orders SET created_at = $1", before)
    early = [clerk.line(order, at=before, channel_no=f"4201{order.order_id}") for order in (beside, twice)]
    report = await clerk.compare(early, day=clerk.day - timedelta(days=2))
    assert verdicts(report, "payment") == {"neighbour_day": (2, 0)}
    own = [clerk.line(order, channel_no=f"4201{order.order_id}") for order in (there, twice)]
    report = await clerk.compare([*(clerk.line(order) for order in paid), *own])
    assert verdicts(report, "payment") == {
        "matched": (5, 5),
        "double": (1, 0),
        "here_only": (0, 1),
        "neighbour_day": (0, 2),
    }
    assert {key: row.verdict for key, row in (await clerk.differences()).items()} == {
        lost.trade_no: "here_only",
        twice.trade_no: "double",
    }
    assert verdicts(await clerk.compare([], day=clerk.day + timedelta(days=1)), "payment") == {}


async def test_a_payment_that_is_seen_without_a_moment_while_we_reverse_is_on_no_side_until_it_is_booked(
    clerk: Clerk, rows: Rows
) -> None:
    """Its bill asks about it; then it and its way back are on the side of the day of the reverse's word, which has them there."""
    order = await clerk.order()
    await rows.execute("UPDATE trade SET state = 'reversing'")
    await clerk.hear(order, paid_at=None)
    report = await clerk.compare([clerk.line(order)])
    assert verdicts(report, "payment") == {"there_only": (1, 0)}
    await clerk.hear(order, paid_at=None, outcome=Outcome.UNPAID_FINAL, reversed_here=True, money_returned=True)
    next_day = clerk.noon + timedelta(days=1)
    await rows.execute("UPDATE posting SET booked_at = $1", next_day)
    await clerk.discrepancies.follow_up(clerk.account_id)
    assert [row.resolution for row in (await clerk.differences()).values()] == ["repaired"]
    report = await clerk.compare([], day=clerk.day + timedelta(days=1))
    assert verdicts(report, "payment") == {"neighbour_day": (0, 1)}


async def test_a_payment_of_an_order_that_was_made_long_before_is_on_its_days_side(clerk: Clerk, rows: Rows) -> None:
    """Our side is copied by the ids of two days' orders: an older one's payment that no bill has was missed by nobody."""
    made = clerk.noon - timedelta(days=3)
    told, untold, there = [await clerk.order(at=made) for _ in range(3)]
    for order in (told, there):
        await clerk.hear(order, paid_at=clerk.noon)
    await clerk.hear(untold, paid_at=None)
    await rows.execute("UPDATE posting SET booked_at = $1 WHERE order_id = $2", clerk.noon, untold.order_id)
    await rows.execute("UPDATE late_money SET day = $1 WHERE order_id = $2", clerk.day, untold.order_id)
    report = await clerk.compare([clerk.line(there)])
    assert verdicts(report, "payment") == {"matched": (1, 1), "here_only": (0, 2)}
    assert set(await clerk.differences()) == {told.trade_no, untold.trade_no}
