"""The job `reconcile`: each day's bill is fetched when it is ready, asked for until it is there, and compared once."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta

import asyncpg
import pytest

from budan.core.bill_days import FIRST_DAYS
from budan.core.evidence import Outcome, Source
from budan.core.numbers import day_begin
from budan.flows.door import DoorItem
from budan.flows.remedies import RemedyFilter
from budan.ports.bill import BillNotYet, BillUnfetched, NoBill
from budan.store.accounts import set_enabled
from integration.jobs.quick import QuickChannel, start_quick_channel
from integration.reconcile.bills import write_bill
from integration.reconcile.clerk import Clerk, add_refund
from integration.reconcile.counter import BillCounter

Rows = asyncpg.Connection
NO_BILL = NoBill(code="NO_STATEMENT_EXIST")
COMPARED_LONG_SINCE = """
UPDATE late_money SET known_at = now() - interval '1 hour';
UPDATE bill_day SET state = 'compared', run_id = r.id FROM reconcile_run AS r WHERE r.day = bill_day.day
"""


@pytest.fixture
def quick() -> Iterator[QuickChannel]:
    """WeChat Pay as far as questions go: one trade of five is paid."""
    running = start_quick_channel()
    yield running
    running.end()


async def test_each_days_bill_is_fetched_and_compared_once(clerk: Clerk, counter: BillCounter, rows: Rows) -> None:
    """A day without movement is compared as well. Fees that do not fit together are the run's error, and a difference."""
    await clerk.discrepancies.set_contract(clerk.account_id, rate_e6=6_000, effective_from=clerk.day, by="ann")
    paid = await clerk.paid()
    stranger = clerk.line(clerk.name(clerk.noon), fee="0.50000")
    counter.answers[clerk.day] = write_bill([clerk.line(paid, fee="0.07680"), stranger])
    counts = await counter.run()
    planned = counts["planned"]
    assert planned >= 3
    assert (counts["compared"], counts["put_off"], counts["late"]) == (planned, 0, 0)
    run = await rows.fetchrow("SELECT origin, loaded_by, lines FROM reconcile_run WHERE day = $1", clerk.day)
    assert tuple(run) == ("channel", "", 2)
    done = "SELECT count(*) FROM bill_day WHERE state = 'compared' AND run_id IS NOT NULL"
    assert await rows.fetchval(done) == planned
    assert any("2 lines, 1 agree, 1 differ, 2 unresolved" in line for line in counter.said)
    assert [line for line in counter.said if line.startswith("error: ") and "WHICH DIFFERS" in line]
    asked = counter.asked.total()
    assert (await counter.run())["compared"] == 0
    assert counter.asked.total() == asked, "what is compared is not fetched again"
    again = await counter.run(since=clerk.noon, until=clerk.noon)
    assert (counter.asked[clerk.day], again["compared"]) == (2, 1)
    assert await rows.fetchval("SELECT count(*) FROM reconcile_run WHERE day = $1", clerk.day) == 1


async def test_what_we_learn_of_a_day_after_its_comparison_is_held_against_its_bill(
    clerk: Clerk, counter: BillCounter, rows: Rows
) -> None:
    """Else what the channel told a day late is believed though its bill never had it, however it told; once is enough."""
    known, asked, told, back, moved, by_bill = await clerk.paid(), *[await clerk.order() for _ in range(5)]
    second = await clerk.attempt_again(known)
    await clerk.hear(moved, paid_at=None)
    counter.answers[clerk.day] = write_bill([clerk.line(known), clerk.line(by_bill)])
    await counter.run()
    reversed_word = {"outcome": Outcome.UNPAID_FINAL, "reversed_here": True, "money_returned": True}
    moment = clerk.stage.payment(moved, paid_at=clerk.noon, source=Source.QUERY)
    news = {
        "by the question of its row": (clerk.hear(by_bill, paid_at=clerk.noon, source=Source.QUERY), 0),
        "by a question": (clerk.hear(asked, paid_at=clerk.noon, source=Source.QUERY), 1),
        "by a late notice": (clerk.hear(told, paid_at=clerk.noon), 1),
        "of a second payment": (clerk.hear(second, paid_at=clerk.noon, channel_reference="42018"), 1),
        "of a charge and its reverse": (clerk.hear(back, paid_at=clerk.noon, source=Source.REPLY, **reversed_word), 1),
        "of a moment": (clerk.stage.flows.door.record(DoorItem(evidence=moment, asked_attempts=0)), 1),
        "of the portal": (clerk.hear_of_portal_refund(known, refund_no="PORTAL9", at=clerk.noon), 1),
    }
    for name, (word, days) in news.items():
        await word
        assert (name, await counter.bills.plan()) == (name, days)
        await rows.execute(COMPARED_LONG_SINCE)
    await rows.execute("UPDATE late_money SET known_at = clock_timestamp()")
    for _ in range(2):
        counts = await counter.run()
        assert counter.asked[clerk.day] == 2
    assert counts["compared"] == 0
    found = {(row.kind, row.subject) for row in await clerk.list_differences(state="open")}
    assert found == {
        *(("payment", order.trade_no) for order in (asked, told, second, back, moved)),
        ("reversal", back.trade_no),
        ("refund", clerk.refund_no(known, ordinal=2)),
    }


async def test_a_wish_for_a_bill_that_comes_while_it_is_compared_is_not_ended_by_that_comparison(
    clerk: Clerk, counter: BillCounter, rows: Rows
) -> None:
    """The bill that was wanted anew may be another one by now than that which was fetched before."""
    await counter.bills.plan()
    (bill,) = [one for one in await counter.bills.list_due() if one.day == clerk.day]
    assert await counter.bills.begin(bill)
    assert await counter.bills.want_again(since=clerk.noon, until=clerk.noon) == 1
    await clerk.compare([], origin="channel")
    assert await rows.fetchval("SELECT state FROM bill_day WHERE day = $1", clerk.day) == "waiting"
    assert await counter.bills.begin(bill)
    await clerk.compare([], origin="channel")
    assert await rows.fetchval("SELECT state FROM bill_day WHERE day = $1", clerk.day) == "compared"


async def test_days_that_are_fetched_anew_after_a_pause_hide_none_that_nobody_has_planned(
    clerk: Clerk, counter: BillCounter, rows: Rows
) -> None:
    """The job was off for days, and then told to begin with a late one: those between are wanted too."""
    counter.answers = {clerk.day + timedelta(days=days): BillNotYet(code="STATEMENT_CREATING") for days in range(-2, 3)}
    first, paused_from, since = (clerk.day - timedelta(days=back) for back in (2, 1, 0))
    await counter.bills.plan()
    await rows.execute("DELETE FROM bill_day WHERE day >= $1", paused_from)
    await counter.run(since=clerk.noon)
    days = {row["day"] for row in await rows.fetch("SELECT day FROM bill_day WHERE day <= $1", clerk.day)}
    assert days == {first, paused_from, since}


async def test_an_account_may_say_itself_when_its_bills_are_ready(
    clerk: Clerk, counter: BillCounter, rows: Rows
) -> None:
    """When Swiftpass's are is not confirmed: 10:00 unless the account says otherwise."""
    await rows.execute("""UPDATE channel_account SET settings = settings || '{"bill_ready_at": "13:30"}'""")
    await counter.bills.plan()
    bills = await rows.fetch("SELECT day, ready_at FROM bill_day")
    assert bills
    assert {bill["ready_at"] - datetime.combine(bill["day"], time(5, 30), UTC) for bill in bills} == {timedelta(days=1)}


async def test_an_account_that_was_disabled_before_its_first_bill_is_followed_until_a_month_was_quiet(
    clerk: Clerk, counter: BillCounter, rows: Rows
) -> None:
    """Its last payments stand in bills that nobody would have fetched, and no bill of it would ever have been late."""
    order = await clerk.paid()
    async with clerk.stage.database.transaction() as transaction:
        assert await set_enabled(transaction, clerk.account_id, enabled=False)
    counter.answers[clerk.day] = write_bill([])
    assert (await counter.run())["compared"] >= 3
    assert (await clerk.differences())[order.trade_no].verdict == "here_only"
    await rows.execute("DELETE FROM bill_day")
    await rows.execute("UPDATE channel_account SET created_at = $1, disabled_at = $1", clerk.noon - timedelta(days=60))
    assert await counter.bills.plan() == 0
    await add_refund(rows, order, at=clerk.noon)
    assert await counter.bills.plan() == FIRST_DAYS, "a refund stirs it again"
    await rows.execute("DELETE FROM bill_day")
    await rows.execute("UPDATE refund SET refunded_at = $1", clerk.noon - timedelta(days=20))
    assert await counter.bills.plan() == 0, "while it was new it was seen"
    off_for = timedelta(days=25)
    assert await counter.bills.plan(last_begun_at=clerk.noon - off_for) == FIRST_DAYS, "but by a job that was off"


async def test_a_bill_that_does_not_come_is_asked_for_until_it_is_there(
    clerk: Clerk, counter: BillCounter, rows: Rows
) -> None:
    """Not made yet, no answer, a broken file: each is shown with its reason, and none keeps another day waiting."""
    days = [clerk.day - timedelta(days=back) for back in range(3)]
    whole = write_bill([clerk.line(clerk.name(clerk.noon))])
    counter.answers |= {
        days[0]: BillNotYet(code="STATEMENT_CREATING"),
        days[1]: BillUnfetched(code="no_answer", message="timed out"),
        days[2]: write_bill([clerk.line(clerk.name(clerk.noon), at=clerk.noon - timedelta(days=2))])[:-20],
    }
    counts = await counter.run()
    assert (counts["compared"], counts["put_off"]) == (counts["planned"] - 3, 3)
    assert counts["late"] == 3
    waited = {one.bill.day: one.bill for one in await counter.bills.list_waited()}
    assert [waited[day].code for day in days] == ["STATEMENT_CREATING", "no_answer", "bill_summary"]
    assert waited[days[2]].message.startswith("line 4")
    assert all(bill.due_at > bill.now for bill in waited.values())
    assert (await counter.run())["put_off"] == 0, "nobody asks again before its time"
    counter.answers[days[0]] = whole
    await rows.execute("UPDATE bill_day SET due_at = now() WHERE day = $1", days[0])
    assert (await counter.run())["compared"] == 1
    assert list((clerk.folder / "reconcile").iterdir()) == [], "no file of a bill stays"


async def test_a_channel_that_denies_what_our_books_have_is_not_believed_at_once(
    clerk: Clerk, counter: BillCounter, rows: Rows
) -> None:
    """Alipay says "no bill" of one that it has not made yet; believed, all our payments would be differences."""
    counter.answers[clerk.day] = NO_BILL
    await clerk.paid()
    await counter.bills.plan()
    await rows.execute("UPDATE bill_day SET ready_at = now() - interval '23 hours' WHERE day = $1", clerk.day)
    await counter.run()
    (waited,) = await counter.bills.list_waited()
    assert (waited.bill.day, waited.bill.code) == (clerk.day, "bill_not_made")
    assert await clerk.differences() == {}
    await rows.execute(
        "UPDATE bill_day SET ready_at = now() - interval '24 hours', due_at = now() WHERE day = $1", clerk.day
    )
    assert (await counter.run())["compared"] == 1
    assert [row.verdict for row in (await clerk.differences()).values()] == ["here_only"]


async def test_nothing_moved_closes_no_day_before_its_bill_must_be_made_though_our_books_are_as_empty(
    clerk: Clerk, counter: BillCounter, rows: Rows, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where all payments of a day were lost our books know of none: believed at once, its bill is never fetched again."""
    counter.answers[clerk.day] = NO_BILL
    await counter.bills.plan()
    await rows.execute("DELETE FROM bill_day WHERE day < $1", clerk.day)
    young = "UPDATE bill_day SET ready_at = now() - interval '23 hours', due_at = now() WHERE day = $1"
    await rows.execute(young, clerk.day)
    await counter.run()
    (waited,) = await counter.bills.list_waited()
    assert (waited.bill.day, waited.bill.code, waited.is_late) == (clerk.day, "nothing_moved", False)
    assert "bill_late" not in capsys.readouterr().out, "a quiet day wakes nobody"
    await rows.execute("UPDATE bill_day SET ready_at = now() - interval '1 day', due_at = now()")
    assert (await counter.run())["compared"] == 1
    await rows.execute(young, clerk.day)
    await counter.run(since=clerk.noon, until=clerk.noon)
    (waited,) = await counter.bills.list_waited()
    assert waited.bill.code == "nothing_moved", "nor does a run of the same word that is known"


async def test_a_bill_that_a_person_loads_ends_no_waiting_but_for_one_that_is_kept_no_more(
    clerk: Clerk, counter: BillCounter, rows: Rows
) -> None:
    """A file may lack a row and still agree with itself: while the channel has its own bill, that is fetched."""
    other = clerk.day - timedelta(days=1)
    counter.answers |= {day: BillUnfetched(code="no_answer") for day in (clerk.day, other)}
    await counter.bills.plan()
    await rows.execute("UPDATE bill_day SET ready_at = ready_at - interval '90 days' WHERE day = $1", other)
    await counter.run()
    await clerk.compare([clerk.line(clerk.name(clerk.noon))], is_partial=True)
    states = "SELECT day, state FROM bill_day WHERE state <> 'compared' ORDER BY day"
    assert [tuple(row) for row in await rows.fetch(states)] == [(other, "missed"), (clerk.day, "waiting")]
    assert [one.is_late for one in await counter.bills.list_waited()] == [True, True]
    await clerk.compare([clerk.line(clerk.name(clerk.noon))])
    await clerk.compare([clerk.line(clerk.name(clerk.noon), at=clerk.noon - timedelta(days=1))], day=other)
    assert [tuple(row) for row in await rows.fetch(states)] == [(clerk.day, "waiting")]
    (waited,) = await counter.bills.list_waited()
    assert (waited.is_late, waited.bill.file_run_id is not None) == (False, True), "nobody waits, and it is asked for"


async def test_a_file_takes_the_place_of_a_bill_that_never_came(clerk: Clerk, counter: BillCounter, rows: Rows) -> None:
    """A right to bills that an account lacks brings none for months; then the day is what the file said, and no alarm."""
    counter.answers[clerk.day] = BillUnfetched(code="no_right")
    await clerk.compare([clerk.line(clerk.name(clerk.noon))])
    await counter.bills.plan()
    await rows.execute("UPDATE bill_day SET ready_at = ready_at - interval '90 days' WHERE day = $1", clerk.day)
    assert (await counter.run())["late"] == 0
    state, run_id = await rows.fetchrow("SELECT state, run_id FROM bill_day WHERE day = $1", clerk.day)
    assert (state, run_id) == (
        "compared",
        await rows.fetchval("SELECT max(id) FROM reconcile_run WHERE origin = 'file'"),
    )


async def test_a_persons_file_ends_nothing_that_the_channels_own_bill_has_found(
    clerk: Clerk, counter: BillCounter, rows: Rows
) -> None:
    """Neither at once, nor by a file between; and what files have said since, the channel's bill says anew when it comes."""
    lost, kept = clerk.name(clerk.noon), clerk.name(clerk.noon)
    counter.answers[clerk.day] = write_bill([clerk.line(lost), clerk.line(kept)])
    await clerk.compare([clerk.line(kept)])
    await counter.bills.plan()
    await rows.execute("DELETE FROM bill_day WHERE day < $1", clerk.day)
    assert (await counter.run())["compared"] >= 1, "a file that was there first keeps no bill from being fetched"
    await clerk.compare([clerk.line(kept), clerk.line(lost), clerk.line(clerk.name(clerk.noon))])
    await clerk.compare([clerk.line(kept)])
    assert (await clerk.differences())[lost.trade_no].resolution is None
    await rows.execute("UPDATE discrepancy SET state = 'resolved', resolution = 'gone', resolved_at = now()")
    again = await counter.run(since=clerk.noon, until=clerk.noon)
    assert again["compared"] == 1
    assert await rows.fetchval("SELECT count(*) FROM reconcile_run WHERE day = $1", clerk.day) == 3
    found = await clerk.differences()
    assert [found[one.trade_no].resolution for one in (lost, kept)] == [None, None]
    run = await rows.fetchval("SELECT run_id FROM bill_day WHERE day = $1", clerk.day)
    assert (found[lost.trade_no].run_id, found[kept.trade_no].run_id) == (run, run)


async def test_our_own_mistake_with_one_bill_keeps_no_other_one_waiting_and_is_told(
    clerk: Clerk, counter: BillCounter
) -> None:
    counter.answers[clerk.day - timedelta(days=1)] = ValueError("a bug")
    with pytest.raises(ExceptionGroup, match="could not be compared"):
        await counter.run()
    (waited,) = await counter.bills.list_waited()
    assert (waited.bill.code, waited.bill.message) == ("internal_error", "ValueError")


async def test_a_bill_over_which_a_process_dies_is_not_met_again_at_once_by_the_next_one(
    clerk: Clerk, counter: BillCounter, rows: Rows
) -> None:
    """What takes all memory kills without a word: each process that took the run over would die of the same bill."""
    counter.answers[clerk.day] = asyncio.CancelledError()
    with pytest.raises(asyncio.CancelledError):
        await counter.run()
    (waited,) = [one.bill for one in await counter.bills.list_waited() if one.bill.day == clerk.day]
    assert (waited.code, waited.attempts, waited.due_at > waited.now) == ("under_way", 1, True)
    await counter.run()
    assert counter.asked[clerk.day] == 1
    counter.answers[clerk.day] = BillUnfetched(code="no_answer")
    await rows.execute("UPDATE bill_day SET due_at = now() WHERE day = $1", clerk.day)
    await counter.run()
    (waited,) = [one.bill for one in await counter.bills.list_waited()]
    assert (waited.code, waited.attempts) == ("no_answer", 2)


@pytest.mark.invariant("I4")
async def test_an_order_that_the_bill_calls_paid_is_completed_by_the_channels_signed_answer(
    clerk: Clerk, counter: BillCounter, rows: Rows, quick: QuickChannel
) -> None:
    """Its notice was lost and its question lies far away: the bill's row makes it due, and the remedy tells of the bill."""
    stage = clerk.stage
    clerk.merchant = await stage.add_merchant(account_id=await quick.add_account(stage))
    await rows.execute("UPDATE channel_account SET created_at = $1", clerk.noon)
    settings = await rows.fetchval("SELECT settings ->> 'mchid' FROM channel_account WHERE id = $1", clerk.account_id)
    clerk.settings = {"mchid": settings}
    lost = await clerk.order()
    while not quick.took_money(lost.trade_no):
        lost = await clerk.order()
    await rows.execute("UPDATE query_due SET due_at = 'infinity'")
    bill = write_bill([clerk.line(lost)]).replace(b"1900000109", settings.encode())
    counter.answers[clerk.day] = bill
    counts = await counter.run()
    # Once with the bill, once with the next day's where the hour has it ready already, once more with the run's last look.
    assert counts["asked"] in {2, 3}
    assert counts["repaired"] == 0
    assert await rows.fetchval("SELECT state FROM orders WHERE id = $1", lost.order_id) == "paying"
    (due,) = await stage.flows.questions.list_due(lanes=[lost.lane], accounts_left_out=(), rows_max=10)
    await stage.flows.questions.ask_due(due)
    assert await rows.fetchval("SELECT state FROM orders WHERE id = $1", lost.order_id) == "paid"
    said = await rows.fetch("SELECT source, decision FROM evidence WHERE order_id = $1 ORDER BY 1", lost.order_id)
    assert [tuple(row) for row in said] == [("bill", "channel_is_asked"), ("query", "complete")]
    (remedy,) = await stage.operator.remedies.list_remedies(
        RemedyFilter(day=None, since=day_begin(clerk.day), channel=None, cause=None, limit=10)
    )
    assert (remedy.cause, remedy.learned_source, remedy.found_by) == ("notice_missing", "query", "bill")
    assert (await counter.run())["repaired"] == 1
    # The other account's counter gives out the same bill, where the row is a difference of its own.
    assert (await clerk.differences(account_id=clerk.account_id))[lost.trade_no].resolution == "repaired"
