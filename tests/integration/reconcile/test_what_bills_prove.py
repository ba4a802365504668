"""What a bill is good for: it asks, it is believed as far as its origin goes, and no row of it is counted twice."""

from datetime import timedelta

import asyncpg
import pytest

from budan.core.evidence import Outcome, Source
from budan.core.reconcile import DAY_FEES
from budan.core.refund import RefundEvidence, RefundOutcome
from budan.flows.day_page import render_page
from budan.flows.door import DoorItem
from budan.flows.refund_door import RefundItem
from integration.reconcile.clerk import Clerk, add_refund, verdicts
from stage import AMOUNT_MINOR, StagedOrder

Rows = asyncpg.Connection
AN_HOUR_LATER = "UPDATE discrepancy SET found_at = found_at - interval '1 hour'"


@pytest.mark.invariant("I4")
async def test_a_paid_order_that_the_bill_calls_reversed_is_asked_about_and_decided_by_the_channels_answer(
    clerk: Clerk, rows: Rows
) -> None:
    """A payment that we have seen was never asked about again: its money could be back with the payer for ever."""
    order = await clerk.paid()
    await clerk.compare([clerk.line(order), clerk.line(order, kind="REVOKED", channel_no="77")])
    due = "SELECT due_at <= now() FROM query_due WHERE order_id = $1"
    assert await rows.fetchval(due, order.order_id), "its bill makes it due"
    answer = clerk.stage.payment(
        order,
        outcome=Outcome.UNPAID_FINAL,
        source=Source.QUERY,
        reversed_here=True,
        money_returned=True,
        order_minor=None,
        payer_minor=None,
        currency=None,
        paid_at=None,
    )
    await clerk.stage.flows.door.record(DoorItem(evidence=answer, asked_attempts=0))
    held = "SELECT state, hold_reason FROM orders WHERE id = $1"
    assert tuple(await rows.fetchrow(held, order.order_id)) == ("paid", "returned_elsewhere")
    assert await rows.fetchval(due, order.order_id) is None
    await clerk.discrepancies.follow_up(clerk.account_id)
    (found,) = (await clerk.differences()).values()
    assert (found.kind, found.state) == ("reversal", "asked")
    await rows.execute(AN_HOUR_LATER)
    await clerk.discrepancies.follow_up(clerk.account_id)
    (found,) = (await clerk.differences()).values()
    assert found.state == "open", "what an hour of asking did not mend is a person's"


async def answer_refund(clerk: Clerk, order: StagedOrder, outcome: RefundOutcome) -> None:
    """The channel's signed answer to a question about an order's refund."""
    now = clerk.stage.opened.clock.now()
    said = RefundEvidence(
        refund_no=clerk.refund_no(order),
        trade_no=order.trade_no,
        account_id=clerk.account_id,
        outcome=outcome,
        source=Source.QUERY,
        learned_at=now,
        asked_at=now,
        amount_minor=300,
        currency="CNY",
        refunded_at=clerk.noon,
    )
    await clerk.stage.flows.refund_door.record(RefundItem(evidence=said, attempts=0))


@pytest.mark.invariant("I4")
async def test_a_refund_of_the_bill_that_our_books_call_failed_is_asked_about_until_it_is_a_persons(
    clerk: Clerk, rows: Rows
) -> None:
    """Its amount was freed and may have been refunded anew: the channel's answer books it and holds the order."""
    done, denied = await clerk.paid(), await clerk.paid()
    for order in (done, denied):
        await add_refund(rows, order, at=clerk.noon, state="failed")
    lines = [clerk.line(order) for order in (done, denied)]
    lines += [
        clerk.line(order, refund_no=clerk.refund_no(order), amount_minor=300, channel_no=f"{place}")
        for place, order in enumerate((done, denied), start=5)
    ]
    await clerk.compare(lines)
    due = await clerk.stage.flows.refunding.list_due(lanes=[clerk.merchant.lane], accounts_left_out=(), rows_max=10)
    assert {row.order_id for row in due} == {done.order_id, denied.order_id}
    await answer_refund(clerk, done, RefundOutcome.SUCCEEDED)
    await answer_refund(clerk, denied, RefundOutcome.FAILED)
    assert await rows.fetchval("SELECT count(*) FROM refund_due") == 0
    held = await rows.fetchval("SELECT hold_reason FROM orders WHERE id = $1", done.order_id)
    assert held == "refunded_after_failed"
    ended = await rows.fetchval("SELECT ended_at FROM refund WHERE order_id = $1", done.order_id)
    assert ended > clerk.noon + timedelta(days=1), "it ended anew: its day's comparison began before we knew"
    await rows.execute(AN_HOUR_LATER)
    await clerk.discrepancies.follow_up(clerk.account_id)
    assert (await clerk.differences())[clerk.refund_no(denied)].state == "asked", "its job has not heard an answer"
    await rows.execute("UPDATE discrepancy SET answered_at = now()")
    await clerk.discrepancies.follow_up(clerk.account_id)
    found = await clerk.differences()
    states = [
        (found[clerk.refund_no(order)].state, found[clerk.refund_no(order)].resolution) for order in (done, denied)
    ]
    assert states == [("resolved", "repaired"), ("open", None)]


async def test_a_refund_that_takes_days_agrees_on_both_days_whenever_they_are_compared(
    clerk: Clerk, rows: Rows
) -> None:
    """Its channel takes it on one day and does it two days later; a bill that came late called it wrong on both."""
    order = await clerk.paid()
    done_at = clerk.noon + timedelta(days=1)
    taken_at = done_at - timedelta(days=2)
    await add_refund(rows, order, at=taken_at, state="submitted")
    taken = clerk.line(order, refund_no=clerk.refund_no(order), amount_minor=300, at=taken_at, status="PROCESSING")
    report = await clerk.compare([taken], day=taken_at.date(), origin="channel")
    assert verdicts(report, "refund") == {"neighbour_day": (1, 0)}
    await rows.execute("UPDATE refund SET state = 'succeeded', refunded_at = $1, ended_at = $1", done_at)
    for place in range(2):
        # Other bills of the two days, as if each came late.
        stranger = clerk.line(clerk.name(taken_at), at=taken_at, channel_no=f"{place}")
        report = await clerk.compare([taken, stranger], day=taken_at.date(), origin="channel")
        assert verdicts(report, "refund") == {"neighbour_day": (1, 0)}
        stranger = clerk.line(clerk.name(done_at), at=done_at, channel_no=f"{place}")
        report = await clerk.compare([stranger], day=done_at.date(), origin="channel")
        assert verdicts(report, "refund") == {"neighbour_day": (0, 1)}


async def test_what_waits_on_both_sides_must_be_of_the_same_amount_and_wanted_by_both(clerk: Clerk, rows: Rows) -> None:
    """A refund under way was believed whatever its bill said of it, also one that our books have given up."""
    same, other, given_up = [await clerk.paid() for _ in range(3)]
    for order in (same, other, given_up):
        await add_refund(rows, order, at=clerk.noon, state="failed" if order is given_up else "submitted")
    lines = [clerk.line(order) for order in (same, other, given_up)]
    for place, (order, minor) in enumerate([(same, 300), (other, 400), (given_up, 300)]):
        refund = {"refund_no": clerk.refund_no(order), "amount_minor": minor, "status": "PROCESSING"}
        lines.append(clerk.line(order, channel_no=f"{place}", **refund))
    report = await clerk.compare(lines)
    assert verdicts(report, "refund") == {"neighbour_day": (1, 0), "amount_differs": (1, 0), "there_only": (1, 0)}
    found = await clerk.differences()
    differs, asked = found[clerk.refund_no(other)], found[clerk.refund_no(given_up)]
    assert (differs.state, differs.their_minor, differs.our_minor) == ("open", 400, 300)
    assert asked.state == "asked"
    assert await rows.fetchval("SELECT due_at <= now() FROM refund_due WHERE order_id = $1", given_up.order_id)


@pytest.mark.parametrize("own_day_first", [True, False])
async def test_a_row_in_the_bill_of_the_day_beside_that_differs_is_one_difference_and_counts_once(
    clerk: Clerk, *, own_day_first: bool
) -> None:
    """It was missed by its own day as well, and its money was on both days' sides."""
    await clerk.discrepancies.set_contract(clerk.account_id, rate_e6=6_000, effective_from=clerk.day, by="ann")
    midnight = clerk.noon + timedelta(hours=12)
    order, once = await clerk.paid(at=midnight - timedelta(seconds=30)), await clerk.paid()
    next_day = clerk.day + timedelta(days=1)
    days = [
        (clerk.day, [clerk.line(once, fee="0.08000")]),
        (next_day, [clerk.line(order, at=midnight + timedelta(seconds=30), fee="0.09000")]),
    ]
    reports = {}
    for day, lines in days if own_day_first else reversed(days):
        reports[day] = await clerk.compare(lines, day=day, origin="channel")
    assert verdicts(reports[next_day], "payment") == {"fee_differs": (1, 0)}
    missed = "here_only" if own_day_first else "neighbour_day"
    assert verdicts(reports[clerk.day], "payment") == {"matched": (1, 1), missed: (0, 1)}
    left = [row for row in (await clerk.differences(with_resolved=False)).values() if row.kind != DAY_FEES]
    assert [(row.day, row.subject, row.verdict) for row in left] == [(next_day, order.trade_no, "fee_differs")]


@pytest.mark.parametrize("own_day_first", [True, False])
async def test_a_refund_made_past_us_that_the_bills_of_two_days_have_is_a_double(
    clerk: Clerk, rows: Rows, *, own_day_first: bool
) -> None:
    """We have it already, so it looked repaired: its channel had taken it twice."""
    order = await clerk.paid()
    await add_refund(rows, order, at=clerk.noon, origin="external", channel_reference="PORTAL7")
    days = [clerk.noon, clerk.noon + timedelta(days=1)]
    reports = {}
    for at in days if own_day_first else reversed(days):
        lines = [clerk.line(order, refund_no="PORTAL7", amount_minor=300, channel_no="5", at=at)]
        reports[at] = await clerk.compare(lines, day=at.date(), origin="channel")
    found = [verdicts(reports[at], "refund") for at in days]
    if own_day_first:
        assert found == [{"matched": (1, 1)}, {"double": (1, 0)}]
    else:
        assert found == [{"double": (1, 0), "neighbour_day": (0, 1)}, {"neighbour_day": (1, 0)}]
    (left,) = [row for row in (await clerk.differences(with_resolved=False)).values() if row.kind == "refund"]
    assert (left.verdict, left.order_id) == ("double", order.order_id)


async def test_a_refund_that_our_books_have_lost_is_not_mended_by_another_one_of_the_same_amount(
    clerk: Clerk, rows: Rows
) -> None:
    """Its number is ours and its row is not here: nobody can be asked, and a person looks at once."""
    order = await clerk.paid()
    await add_refund(rows, order, at=clerk.noon)
    lines = [clerk.line(order)]
    for ordinal in (1, 2):
        number = clerk.refund_no(order, ordinal)
        lines.append(clerk.line(order, refund_no=number, amount_minor=300, channel_no=f"{ordinal}"))
    report = await clerk.compare(lines)
    assert verdicts(report, "refund") == {"matched": (1, 1), "there_only": (1, 0)}
    assert {key: row.state for key, row in (await clerk.differences()).items()} == {clerk.refund_no(order, 2): "open"}


@pytest.mark.invariant("I4")
async def test_a_refund_that_is_named_by_our_number_of_one_made_past_us_is_another_one(clerk: Clerk) -> None:
    """Joined by that number it was found in the books twice: both sides had 600 where these held 300."""
    order = await clerk.paid()
    second = clerk.refund_no(order)
    await clerk.hear_of_portal_refund(order, refund_no="PORTAL1", at=clerk.noon)
    lines = [clerk.line(order), clerk.line(order, refund_no="PORTAL1", amount_minor=300, channel_no="5")]
    lines.append(clerk.line(order, refund_no=second, amount_minor=300, channel_no="6"))
    report = await clerk.compare(lines)
    assert verdicts(report, "refund") == {"matched": (1, 1), "there_only": (1, 0)}
    assert {key: row.state for key, row in (await clerk.differences()).items()} == {second: "asked"}
    assert (await clerk.discrepancies.follow_up()).repaired == 0
    await clerk.hear_of_portal_refund(order, refund_no=second, at=clerk.noon)
    assert (await clerk.discrepancies.follow_up()).repaired == 1
    report = await clerk.compare([*lines, clerk.line(order, refund_no=second, amount_minor=300, channel_no="7")])
    assert verdicts(report, "refund") == {"matched": (2, 2), "double": (1, 0)}


@pytest.mark.parametrize("own_day_first", [True, False])
async def test_a_payment_that_the_bills_of_two_days_have_is_a_double_whichever_is_compared_first(
    clerk: Clerk, *, own_day_first: bool
) -> None:
    """The channel owes one of them, and each bill alone looks right."""
    midnight = clerk.noon + timedelta(hours=12)
    twice, once = await clerk.paid(at=midnight - timedelta(minutes=1)), await clerk.paid()
    late = await clerk.paid(at=midnight - timedelta(minutes=2))
    own = [clerk.line(once), clerk.line(twice, at=midnight - timedelta(minutes=1))]
    beside = [clerk.line(order, at=midnight + timedelta(minutes=1)) for order in (twice, late)]
    days = [(clerk.day, own), (clerk.day + timedelta(days=1), beside)]
    reports = {}
    for day, lines in days if own_day_first else reversed(days):
        reports[day] = await clerk.compare(lines, day=day, origin="channel")
    found = [verdicts(reports[day], "payment") for day, _ in days]
    if own_day_first:
        assert found == [{"matched": (2, 2), "here_only": (0, 1)}, {"double": (1, 0), "neighbour_day": (1, 0)}]
    else:
        assert found == [{"matched": (1, 1), "double": (1, 0), "neighbour_day": (0, 2)}, {"neighbour_day": (2, 0)}]
    left = {row.subject: row.verdict for row in (await clerk.differences(with_resolved=False)).values()}
    assert left == {twice.trade_no: "double"}
    again = await clerk.compare(
        [*beside, clerk.line(clerk.name(midnight), at=midnight)], day=days[1][0], origin="channel"
    )
    assert verdicts(again, "payment")["neighbour_day"] == found[1]["neighbour_day"], "a newer bill says the same"


async def test_a_persons_file_of_the_day_beside_ends_nothing_that_the_channels_own_bill_has_found(clerk: Clerk) -> None:
    """A file may be mended by hand; the channel's next bill of that day is another matter, and takes its word back too."""
    midnight = clerk.noon + timedelta(hours=12)
    next_day = clerk.day + timedelta(days=1)
    lost = await clerk.paid(at=midnight - timedelta(minutes=1))
    await clerk.compare([clerk.line(clerk.name(clerk.noon))], origin="channel")
    beside = clerk.line(lost, at=midnight + timedelta(minutes=1))
    await clerk.compare([beside], day=next_day, is_partial=True)
    await clerk.compare([beside], day=next_day)
    assert (await clerk.differences())[lost.trade_no].resolution is None
    await clerk.compare([clerk.line(await clerk.paid(), at=clerk.noon)], origin="channel")
    assert (await clerk.differences())[lost.trade_no].resolution is None, "nor while its own day is compared anew"
    await clerk.compare([beside], day=next_day, origin="channel")
    assert (await clerk.differences())[lost.trade_no].resolution == "neighbour_day", "the same bytes, and their word"


async def test_a_bill_without_that_row_takes_back_what_an_earlier_one_had_of_the_day_beside(
    clerk: Clerk, rows: Rows
) -> None:
    """And a file takes back no word of the channel's. What had ended by that row is open again, with a note that says why."""
    midnight = clerk.noon + timedelta(hours=12)
    next_day = clerk.day + timedelta(days=1)
    order = await clerk.paid(at=midnight - timedelta(minutes=1))
    other = clerk.line(clerk.name(midnight), at=midnight + timedelta(hours=1))
    await clerk.compare([clerk.line(clerk.name(clerk.noon))], origin="channel")
    await clerk.compare([clerk.line(order, at=midnight), other], day=next_day, origin="channel")
    await clerk.compare([other], day=next_day)
    assert await rows.fetchval("SELECT count(*) FROM bill_sighting") == 1
    missed = (await clerk.differences())[order.trade_no]
    assert missed.resolution == "neighbour_day"
    await clerk.compare([other, clerk.line(clerk.name(midnight), at=midnight)], day=next_day, origin="channel")
    assert await rows.fetchval("SELECT count(*) FROM bill_sighting") == 0
    view = await clerk.discrepancies.get(missed.id)
    assert (view.discrepancy.state, view.discrepancy.found_at) == ("open", missed.found_at)
    assert [note.note for note in view.notes] == [
        f"open again: the bill of {next_day} that was read last has it no more"
    ]


async def test_what_a_person_has_ended_stays_so_while_parts_and_files_say_the_same(clerk: Clerk) -> None:
    """Each part of a day named it anew, and took the decision back; the channel's own whole bill may."""
    lost, early = await clerk.paid(), clerk.name(clerk.noon)
    rows = [clerk.line(early)]
    await clerk.compare(rows, is_partial=True)
    number = (await clerk.differences())[lost.trade_no].id
    await clerk.discrepancies.resolve(number, resolution="accepted", by="ann", note="the payer has it back")
    for is_partial in (True, False):
        rows.append(clerk.line(clerk.name(clerk.noon)))
        await clerk.compare(rows, is_partial=is_partial)
        assert (await clerk.differences())[lost.trade_no].resolution == "accepted"
    rows.append(clerk.line(lost, amount_minor=1))
    await clerk.compare(rows, is_partial=True)
    assert (await clerk.differences())[lost.trade_no].state == "open", "another verdict is another matter"
    await clerk.discrepancies.resolve(number, resolution="accepted", by="ann", note="so be it")
    await clerk.compare([*rows, clerk.line(clerk.name(clerk.noon))], origin="channel")
    assert (await clerk.differences())[lost.trade_no].state == "open"


async def test_the_same_bill_compared_anew_undoes_no_decision_and_another_one_tells_what_it_was(clerk: Clerk) -> None:
    """A day is compared anew for news of any of its rows: what a person had claimed of another row was open again."""
    lost, strangers = await clerk.paid(), [clerk.line(clerk.name(clerk.noon)) for _ in range(2)]
    await clerk.compare(strangers[:1], origin="channel")
    number = (await clerk.differences())[lost.trade_no].id
    await clerk.discrepancies.resolve(number, resolution="claimed", by="ann", note="told WeChat")
    await clerk.compare(strangers)
    await clerk.compare(strangers[:1], origin="channel")
    assert (await clerk.differences())[lost.trade_no].resolution == "claimed", "a file came between, not the channel"
    await clerk.compare(strangers, origin="channel")
    view = await clerk.discrepancies.get(number)
    assert (view.discrepancy.state, view.discrepancy.resolution) == ("open", None)
    assert [note.note for note in view.notes] == [
        "told WeChat",
        "open again by a newer bill: it was resolved as claimed",
    ]


async def test_a_fee_a_fen_too_high_is_a_difference_and_the_sum_of_fees_is_judged_with_rows_that_are_not_ours(
    clerk: Clerk,
) -> None:
    """Of 12.80 at 0.6 % a fen more than 0.08 is no rounding; what is taken of a stranger's payment only the sum shows."""
    await clerk.discrepancies.set_contract(clerk.account_id, rate_e6=6_000, effective_from=clerk.day, by="ann")
    cut, high = await clerk.paid(), await clerk.paid()
    lines = [clerk.line(cut, fee="0.07000"), clerk.line(high, fee="0.09000")]
    # A refund that came to nothing gives no fee back, and takes nothing of what the day's fees may be.
    lines.append(clerk.line(cut, refund_no=clerk.refund_no(cut), amount_minor=100_000, status="FAIL", channel_no="9"))
    report = await clerk.compare(lines)
    assert verdicts(report, "payment") == {"matched": (1, 1), "fee_differs": (1, 1)}
    assert (report.run.fee_wanted_e5, report.run.fee_least_e5, report.run.fee_most_e5) == (15_360, 13_360, 16_360)
    assert report.fees_fit, "the sum alone would not have shown it"
    assert DAY_FEES not in await clerk.differences()
    report = await clerk.compare([*lines, clerk.line(clerk.name(clerk.noon), fee="0.50000")])
    assert report.fees_fit is False
    assert "Fees there 0.66000, by the contract 0.23040" in report.tell_fees()
    assert "WHICH DIFFERS" in render_page(report, [])
    of_fees = (await clerk.differences(state="open"))[DAY_FEES]
    assert (of_fees.verdict, of_fees.their_minor, of_fees.our_minor) == ("fee_sum_differs", 66, 23)
    assert {count.amount_minor for count in report.counts if count.kind == DAY_FEES} == {43}
    await clerk.compare(lines)
    assert (await clerk.differences())[DAY_FEES].resolution == "gone", "a bill whose fees fit ends it"


async def test_a_payment_that_the_channel_settles_otherwise_is_a_difference_with_its_sum(
    clerk: Clerk, rows: Rows
) -> None:
    """A coupon that the merchant pays for: both sides have the order's amount, and finance sees the same day what is not paid."""
    whole, by_bill, by_answer = [await clerk.paid() for _ in range(3)]
    settle = "UPDATE trade SET settle_minor = amount_minor - $1 WHERE order_id = any($2)"
    await rows.execute(settle, 0, [whole.order_id])
    await rows.execute(settle, 80, [by_answer.order_id])
    lines = [clerk.line(whole), clerk.line(by_bill, settle_minor=AMOUNT_MINOR - 100), clerk.line(by_answer)]
    report = await clerk.compare(lines)
    assert verdicts(report, "payment") == {"matched": (1, 1), "settle_differs": (2, 2)}
    found = {key: (row.their_minor, row.our_minor) for key, row in (await clerk.differences(state="open")).items()}
    assert found == {
        by_bill.trade_no: (AMOUNT_MINOR - 100, AMOUNT_MINOR),
        by_answer.trade_no: (AMOUNT_MINOR - 80, AMOUNT_MINOR),
    }
    assert report.as_json()["settle_differs_minor"] == 180
    assert "SETTLED OTHERWISE than ordered by 1.80" in render_page(report, [])


async def test_fees_of_what_is_settled_are_no_alarm_and_less_than_that_is_one(clerk: Clerk, rows: Rows) -> None:
    """Where the merchant pays for coupons each day's sum of fees, and each refund's, was a false difference."""
    for days, rate_e6 in ((3, 3_000), (0, 6_000)):
        day = clerk.day - timedelta(days=days)
        await clerk.discrepancies.set_contract(clerk.account_id, rate_e6=rate_e6, effective_from=day, by="ann")
    older, orders = await clerk.paid(at=clerk.noon - timedelta(days=1)), [await clerk.paid() for _ in range(5)]
    await add_refund(rows, older, at=clerk.noon, amount_minor=AMOUNT_MINOR)
    settle_minor = AMOUNT_MINOR - 400
    refund_no = clerk.refund_no(older)
    back = clerk.line(older, refund_no=refund_no, channel_no="5", settle_minor=settle_minor, fee="-0.02640")
    report = await clerk.compare(
        [*(clerk.line(order, settle_minor=settle_minor, fee="0.05280") for order in orders), back]
    )
    assert verdicts(report, "payment") == {"settle_differs": (5, 5)}
    assert verdicts(report, "refund") == {"matched": (1, 1)}
    assert (report.run.fee_wanted_e5, report.fees_fit) == (5 * 5_280 - 2_640, True)
    report = await clerk.compare(
        [*(clerk.line(order, settle_minor=settle_minor, fee="0.03000") for order in orders), back]
    )
    assert report.fees_fit is False


async def test_what_goes_back_of_a_fee_is_judged_by_the_rate_on_its_payments_day(clerk: Clerk, rows: Rows) -> None:
    """After a new rate each refund of an older payment was a difference, and one that gave back too little was none."""
    earlier = clerk.noon - timedelta(days=1)
    for day, rate_e6 in ((clerk.day - timedelta(days=1), 6_000), (clerk.day, 3_000)):
        await clerk.discrepancies.set_contract(clerk.account_id, rate_e6=rate_e6, effective_from=day, by="ann")
    right, short, uncharged = [await clerk.paid(at=earlier - timedelta(days=back)) for back in (0, 0, 1)]
    lines = []
    for place, (order, fee) in enumerate([(right, "-6.00000"), (short, "-3.00000"), (uncharged, "0.00000")]):
        await add_refund(rows, order, at=clerk.noon, amount_minor=100_000)
        refund = {"refund_no": clerk.refund_no(order), "amount_minor": 100_000, "channel_no": f"{place}"}
        lines.append(clerk.line(order, fee=fee, **refund))
    report = await clerk.compare(lines)
    assert verdicts(report, "refund") == {"matched": (2, 2), "fee_differs": (1, 1)}
    found = await clerk.differences()
    assert found[clerk.refund_no(short)].verdict == "fee_differs"
    await clerk.compare([*lines[:1], clerk.line(await clerk.paid(), fee="0.04000")])
    assert (await clerk.reconciliation.get_report(2)).fees_fit
