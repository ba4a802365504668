"""A day of a bill against our books: each difference has its name, nobody invents one, and what can be is repaired."""

import asyncio
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import asyncpg
import duckdb
import pytest

from budan.cli.reconciling import sheet_cells
from budan.cli.sheets import open_sheet
from budan.core.errors import Refused
from budan.core.evidence import Source
from budan.core.numbers import Environment, day_begin
from budan.core.refund import RefundEvidence, RefundOutcome
from budan.flows.day_page import render_page
from budan.flows.discrepancies import FollowedUp
from budan.flows.door import DoorItem
from budan.flows.reconciling import BillWish
from budan.flows.refund_door import RefundItem
from budan.ports.bill import BillTables, FetchedBill, Packing, ReadBill
from budan.store.reconcile import DiscrepancyFilter, list_followed
from integration.cli.commands import Typist
from integration.flows.standing import until
from integration.reconcile.bills import Line, write_bill
from integration.reconcile.clerk import Clerk, add_refund, verdicts
from stage import AMOUNT_MINOR

Rows = asyncpg.Connection
FEE = "0.08000"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def test_a_day_that_agrees_ties_out_without_a_difference(clerk: Clerk, rows: Rows) -> None:
    orders = [await clerk.paid() for _ in range(3)]
    await add_refund(rows, orders[0], at=clerk.noon)
    lines = [clerk.line(order, fee=FEE) for order in orders]
    lines.append(clerk.line(orders[0], refund_no=clerk.refund_no(orders[0]), amount_minor=300, fee="-0.02000"))
    await clerk.discrepancies.set_contract(clerk.account_id, rate_e6=6_000, effective_from=clerk.day, by="ann")
    report = await clerk.compare(lines)
    assert verdicts(report, "payment") == {"matched": (3, 3)}
    assert verdicts(report, "refund") == {"matched": (1, 1)}
    assert (report.matched, report.differences, report.unresolved) == (4, 0, 0)
    assert await clerk.differences() == {}


async def test_every_kind_of_difference_has_its_name_and_its_line(clerk: Clerk, rows: Rows) -> None:
    """One bill with one of each beside rows that agree: all are found, none is invented, and both sides tie out."""
    names = ("fits", "missing there", "amount", "currency", "fee", "status", "double", "late day", "refund here")
    orders = {name: await clerk.paid() for name in names if name != "late day"}
    orders["late day"] = await clerk.paid(at=clerk.noon + timedelta(hours=12, minutes=1))
    unpaid = await clerk.order()
    await add_refund(rows, orders["refund here"], at=clerk.noon)
    await add_refund(rows, orders["fits"], at=clerk.noon, state="submitted")
    await clerk.discrepancies.set_contract(clerk.account_id, rate_e6=6_000, effective_from=clerk.day, by="ann")
    stranger = clerk.name(clerk.noon)
    lines = [
        clerk.line(orders["fits"], fee=FEE),
        clerk.line(orders["amount"], amount_minor=AMOUNT_MINOR - 1, fee=FEE),
        clerk.line(orders["currency"], currency="USD", fee=FEE),
        clerk.line(orders["fee"], fee="0.50000"),
        clerk.line(orders["status"], fee=FEE),
        clerk.line(orders["double"], fee=FEE),
        clerk.line(orders["double"], fee=FEE, channel_no="4200999"),
        clerk.line(orders["late day"], fee=FEE, at=clerk.noon + timedelta(hours=11, minutes=59)),
        clerk.line(unpaid, fee=FEE),
        clerk.line(stranger, fee=FEE),
        clerk.line(clerk.name(clerk.noon, environment=Environment.LIVE), fee=FEE),
        clerk.line(orders["refund here"], fee=FEE),
        clerk.line(orders["fits"], refund_no=clerk.refund_no(orders["fits"]), amount_minor=300),
        clerk.line(orders["fits"], refund_no="PORTAL1", amount_minor=200, channel_no="9"),
        clerk.line(orders["status"], refund_no=clerk.refund_no(orders["status"]), amount_minor=100, channel_no="8"),
    ]
    report = await clerk.compare(lines)
    assert verdicts(report, "payment") == {
        "matched": (4, 4),
        "amount_differs": (1, 1),
        "currency_differs": (1, 1),
        "double": (1, 0),
        "fee_differs": (1, 1),
        "here_only": (0, 1),
        "neighbour_day": (1, 0),
        "other_environment": (1, 0),
        "there_only": (1, 0),
        "unknown_number": (1, 0),
    }
    assert verdicts(report, "refund") == {"here_only": (0, 1), "there_only": (3, 0)}
    found = await clerk.differences()
    assert found[unpaid.trade_no].state == "asked"
    assert found[unpaid.trade_no].line_no == 10
    assert found[orders["missing there"].trade_no].line_no is None
    assert found[orders["amount"].trade_no].their_minor == AMOUNT_MINOR - 1
    assert found[orders["amount"].trade_no].our_minor == AMOUNT_MINOR
    assert found[clerk.refund_no(orders["fits"])].state == "asked"
    assert found["PORTAL1"].verdict == "there_only"
    due = await rows.fetchval("SELECT due_at <= now() FROM refund_due WHERE order_id = $1", orders["fits"].order_id)
    assert due, "a refund that the channel has and we have not is asked about at once"


@pytest.mark.invariant("I4")
async def test_paid_there_and_not_here_is_asked_about_at_once_and_completed_by_the_channels_word_alone(
    clerk: Clerk, rows: Rows
) -> None:
    unpaid = await clerk.order()
    report = await clerk.compare([clerk.line(unpaid)])
    state = await rows.fetchval("SELECT state FROM orders WHERE id = $1", unpaid.order_id)
    assert state != "paid", "a row of a bill completes nothing"
    assert await rows.fetchval("SELECT due_at <= now() FROM query_due WHERE order_id = $1", unpaid.order_id)
    assert (report.repaired, report.unresolved) == (0, 1)
    await clerk.stage.flows.door.record(DoorItem(evidence=clerk.stage.payment(unpaid, paid_at=clerk.noon)))
    followed = await clerk.discrepancies.follow_up(clerk.account_id)
    assert followed.repaired == 1
    report = await clerk.reconciliation.get_report(report.run.id)
    assert (report.repaired, report.unresolved) == (1, 0)
    assert (await clerk.differences())[unpaid.trade_no].resolution == "repaired"


@pytest.mark.invariant("I13")
async def test_a_number_of_another_environment_is_kept_and_shown_and_asks_nobody(clerk: Clerk, rows: Rows) -> None:
    order = await clerk.order()
    foreign = clerk.name(clerk.noon, environment=Environment.LIVE)
    foreign = replace(foreign, order_id=order.order_id)
    await rows.execute("UPDATE query_due SET due_at = 'infinity'")
    await clerk.compare([clerk.line(foreign)])
    assert (await clerk.differences())[foreign.trade_no].verdict == "other_environment"
    assert await rows.fetchval("SELECT count(*) FROM query_due WHERE due_at < 'infinity'") == 0


async def test_a_comparison_that_is_given_up_ends_its_reading_before_it_removes_what_is_read(clerk: Clerk) -> None:
    """A thread that went on would write into tables that are closed, and into a folder that is gone."""
    begun, loop = asyncio.Event(), asyncio.get_running_loop()
    left_behind: list[tuple[str, bool]] = []

    class Reader:
        def read_bill(self, tables: BillTables, bill: FetchedBill, *, day: date, folder: Path) -> ReadBill:
            """A statement that takes hours."""
            del day
            loop.call_soon_threadsafe(begun.set)
            try:
                return tables.execute("SELECT sum(a.range ^ b.range) FROM range(10000000) AS a, range(10000000) AS b")
            except duckdb.InterruptException as interrupted:
                left_behind.append((str(interrupted)[:9], bill.is_given_up() and folder.is_dir()))
                raise

    bill = FetchedBill(path=clerk.folder / "bill.csv", packing=Packing.PLAIN)
    wish = BillWish(account_id=clerk.account_id, day=clerk.day, bill=bill, origin="file")
    comparing = asyncio.create_task(clerk.reconciliation.compare(wish, reader=Reader(), progress=lambda _: None))
    await begun.wait()
    for _ in range(2):
        comparing.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await comparing
    assert left_behind == [("INTERRUPT", True)]
    assert not [path for path in clerk.folder.rglob("reconcile-*") if path.exists()]


async def test_the_same_bill_again_changes_nothing(clerk: Clerk, rows: Rows) -> None:
    await clerk.paid()
    lines = [clerk.line(await clerk.paid()), clerk.line(clerk.name(clerk.noon))]
    first = await clerk.compare(lines)
    before = await clerk.differences()
    second = await clerk.compare(lines)
    assert second == first
    assert {key: (row.id, row.found_at) for key, row in (await clerk.differences()).items()} == {
        key: (row.id, row.found_at) for key, row in before.items()
    }
    assert await rows.fetchval("SELECT count(*) FROM reconcile_run") == 1


async def test_another_bill_of_the_day_ends_what_it_does_not_have_and_keeps_the_owner_of_what_it_has(
    clerk: Clerk,
) -> None:
    kept, gone = clerk.name(clerk.noon), clerk.name(clerk.noon)
    await clerk.compare([clerk.line(kept), clerk.line(gone)])
    number = (await clerk.differences())[kept.trade_no].id
    await clerk.discrepancies.assign(number, owner="bob", by="ann", note="whose is it?")
    report = await clerk.compare([clerk.line(kept)])
    found = await clerk.differences()
    assert found[gone.trade_no].resolution == "gone"
    assert (found[kept.trade_no].owner, found[kept.trade_no].state) == ("bob", "open")
    assert found[kept.trade_no].run_id == report.run.id
    assert report.unresolved == 1


async def test_what_stands_in_the_next_days_bill_is_no_difference_once_that_is_read(clerk: Clerk) -> None:
    """The payment is ours of the last minute; the channel books it a minute later."""
    midnight = clerk.noon + timedelta(hours=12)
    order = await clerk.paid(at=midnight - timedelta(minutes=1))
    other = await clerk.paid()
    await clerk.compare([clerk.line(other)])
    assert (await clerk.differences())[order.trade_no].state == "awaited"
    next_day = clerk.day + timedelta(days=1)
    report = await clerk.compare([clerk.line(order, at=midnight + timedelta(minutes=1))], day=next_day)
    assert verdicts(report, "payment") == {"neighbour_day": (1, 0)}
    assert (await clerk.differences())[order.trade_no].resolution == "neighbour_day"


async def test_a_day_whose_row_stood_in_the_bill_before_does_not_miss_it(clerk: Clerk) -> None:
    midnight = clerk.noon + timedelta(hours=12)
    order = await clerk.paid(at=midnight + timedelta(minutes=1))
    other = await clerk.paid(at=midnight + timedelta(hours=3))
    first = await clerk.compare([clerk.line(order, at=midnight - timedelta(minutes=1))])
    assert verdicts(first, "payment") == {"neighbour_day": (1, 0)}
    next_day = clerk.day + timedelta(days=1)
    report = await clerk.compare([clerk.line(other, at=midnight + timedelta(hours=3))], day=next_day)
    assert verdicts(report, "payment") == {"matched": (1, 1), "neighbour_day": (0, 1)}
    assert await clerk.differences() == {}


async def test_what_no_bill_has_is_a_difference_once_the_day_beside_is_read(clerk: Clerk) -> None:
    midnight = clerk.noon + timedelta(hours=12)
    lost, other = await clerk.paid(at=midnight - timedelta(minutes=1)), await clerk.paid()
    await clerk.compare([clerk.line(other)])
    next_day = clerk.day + timedelta(days=1)
    await clerk.compare([clerk.line(clerk.name(midnight), at=midnight + timedelta(hours=1))], day=next_day)
    assert (await clerk.differences())[lost.trade_no].state == "open"


async def test_a_part_of_a_bill_misses_nothing_that_came_after_it(clerk: Clerk) -> None:
    early, late = await clerk.paid(), await clerk.paid(at=clerk.noon + timedelta(hours=2))
    missing = await clerk.paid(at=clerk.noon - timedelta(hours=1))
    report = await clerk.compare([clerk.line(early)], is_partial=True)
    assert verdicts(report, "payment") == {"matched": (1, 1), "here_only": (0, 1)}
    assert set(await clerk.differences()) == {missing.trade_no}
    whole = [clerk.line(order) for order in (early, late, missing)]
    await clerk.compare(whole)
    assert {row.resolution for row in (await clerk.differences()).values()} == {"gone"}


async def test_a_part_of_a_bill_without_a_row_misses_nothing(clerk: Clerk) -> None:
    """It was taken before the day's first payment was in it; nobody can say that it lacks one."""
    await clerk.paid()
    report = await clerk.compare([], is_partial=True)
    assert (report.tallies, report.unresolved) == ([], 0)


async def test_a_charge_that_was_taken_back_wants_its_reversal(clerk: Clerk, rows: Rows) -> None:
    returned, unreturned = await clerk.paid(), await clerk.paid()
    await rows.execute("UPDATE trade SET state = 'reversed'")
    back = clerk.line(returned, kind="REVOKED", channel_no="77")
    lines = [clerk.line(returned), back, clerk.line(unreturned)]
    report = await clerk.compare(lines)
    assert verdicts(report, "payment") == {"matched": (2, 2)}
    assert verdicts(report, "reversal") == {"matched": (1, 1), "here_only": (0, 1)}
    assert (await clerk.differences())[unreturned.trade_no].kind == "reversal"


async def test_a_refund_made_past_us_is_met_by_its_name_and_one_that_a_total_told_by_its_amount(
    clerk: Clerk, rows: Rows
) -> None:
    named, nameless, other = [await clerk.paid() for _ in range(3)]
    for order in (named, other):
        await add_refund(rows, order, at=clerk.noon, origin="external", channel_reference="PORTAL7")
    total = RefundEvidence(
        refund_no="",
        trade_no=nameless.trade_no,
        account_id=clerk.account_id,
        outcome=RefundOutcome.SUCCEEDED,
        source=Source.NOTICE,
        learned_at=clerk.stage.opened.clock.now(),
        refunded_total_minor=300,
        refunded_at=clerk.noon,
    )
    await clerk.stage.flows.refund_door.record(RefundItem(evidence=total))
    lines = [clerk.line(order) for order in (named, nameless, other)]
    for place, (order, minor) in enumerate([(named, 300), (nameless, 300), (other, 299)], start=7):
        refund_no = "PORTAL7" if order is other else f"PORTAL{place}"
        lines.append(clerk.line(order, refund_no=refund_no, amount_minor=minor, channel_no=f"{place}"))
    report = await clerk.compare(lines)
    assert verdicts(report, "refund") == {"matched": (2, 2), "amount_differs": (1, 1)}
    (found,) = await clerk.discrepancies.list_page(DiscrepancyFilter(), rows_max=10)
    assert (found.order_id, found.their_minor, found.our_minor) == (other.order_id, 299, 300)


async def test_no_refund_of_ours_is_taken_for_one_of_the_same_amount_that_was_made_past_us(
    clerk: Clerk, rows: Rows
) -> None:
    """Its channel has paid out twice, or not what we asked for; both looked like one refund that agrees."""
    twice, lost = await clerk.paid(), await clerk.paid()
    before = clerk.noon - timedelta(days=1)
    await add_refund(rows, twice, at=before, state="submitted")
    taken = clerk.line(twice, refund_no=clerk.refund_no(twice), at=before, amount_minor=300, status="PROCESSING")
    await clerk.compare([taken], day=before.date())
    await rows.execute("UPDATE refund SET state = 'succeeded', refunded_at = $1, ended_at = $1", clerk.noon)
    await add_refund(rows, lost, at=clerk.noon)
    lines = [clerk.line(order) for order in (twice, lost)]
    lines += [
        clerk.line(order, refund_no=f"PORTAL{order.order_id}", amount_minor=300, channel_no=f"{place}")
        for place, order in enumerate((twice, lost), start=6)
    ]
    report = await clerk.compare(lines)
    assert verdicts(report, "refund") == {"neighbour_day": (0, 1), "there_only": (2, 0), "here_only": (0, 1)}
    found = {row.subject: (row.verdict, row.state) for row in (await clerk.differences()).values()}
    assert found == {
        f"PORTAL{twice.order_id}": ("there_only", "asked"),
        f"PORTAL{lost.order_id}": ("there_only", "asked"),
        clerk.refund_no(lost): ("here_only", "open"),
    }


async def test_a_refund_made_past_us_that_is_not_here_is_asked_about_by_its_number(clerk: Clerk) -> None:
    """Without a number of its own nobody can be asked: that is a person's at once."""
    named, nameless = await clerk.paid(), await clerk.paid()
    lines = [
        *(clerk.line(order) for order in (named, nameless)),
        clerk.line(named, refund_no="PORTAL7", amount_minor=300, channel_no="5"),
        clerk.line(nameless, refund_no="", amount_minor=300, channel_no="6"),
    ]
    report = await clerk.compare(lines)
    assert verdicts(report, "refund") == {"there_only": (2, 0)}
    states = {row.subject: row.state for row in (await clerk.differences()).values()}
    assert states == {"PORTAL7": "asked", "50306": "open"}


async def test_a_number_with_one_wrong_character_is_no_number_of_ours(clerk: Clerk) -> None:
    """Its id and ordinal are right, so a join by these alone would match it."""
    order = await clerk.paid()
    wrong = order.trade_no[:7] + ("00" if order.trade_no[7:9] != "00" else "01") + order.trade_no[9:]
    report = await clerk.compare([clerk.line(order, trade_no=wrong)])
    assert verdicts(report, "payment") == {"here_only": (0, 1), "unknown_number": (1, 0)}
    assert set(await clerk.differences()) == {wrong, order.trade_no}


async def test_nothing_is_kept_of_a_bill_that_is_refused(clerk: Clerk, rows: Rows) -> None:
    order = await clerk.order()
    whole = write_bill([clerk.line(order), clerk.line(clerk.name(clerk.noon))])
    lines = whole.split(b"\r\n")
    bad = {
        "empty": b"",
        "truncated": b"\r\n".join(lines[:2]),
        "contradicts its summary": b"\r\n".join([lines[0], lines[1], *lines[3:]]),
        "in another encoding": whole.decode().encode("gbk"),
        "a line twice": b"\r\n".join([*lines[:3], lines[2], *lines[3:]]),
        "of another account": whole.replace(b"1900000109", b"1900000110"),
    }
    for what, content in bad.items():
        with pytest.raises(Refused) as refused:
            await clerk.compare_file(content)
        assert refused.value.code.startswith("bill_"), what
    with pytest.raises(Refused, match="bill_wrong_day"):
        await clerk.compare_file(whole, day=clerk.day - timedelta(days=3))
    for table in ("reconcile_run", "reconcile_tally", "discrepancy", "bill_sighting"):
        assert await rows.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608 - sql: a name of this test
    assert list((clerk.folder / "reconcile").iterdir()) == [], "no file of a refused bill stays"


async def test_rows_in_another_order_are_the_same_day(clerk: Clerk) -> None:
    orders = [await clerk.paid() for _ in range(4)]
    lines = [clerk.line(order) for order in orders]
    report = await clerk.compare(list(reversed(lines)))
    assert verdicts(report, "payment") == {"matched": (4, 4)}


async def test_the_report_is_a_page_and_a_sheet_that_run_nothing(clerk: Clerk, tmp_path: Path) -> None:
    """What strangers write into a bill is text to a browser and to a spreadsheet."""
    tag = clerk.line(clerk.name(clerk.noon), trade_no="<script>alert(1)</script>", channel_no="8")
    formula = clerk.line(clerk.name(clerk.noon), trade_no="=1+1", currency="USD", channel_no="9")
    report = await clerk.compare([clerk.line(await clerk.paid()), tag, formula])
    rows = list((await clerk.differences()).values())
    page = render_page(report, rows)
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert page.count("<rect ") == len(report.tallies)
    path = tmp_path / "differences.csv"
    with open_sheet(path, title="differences", header=("subject", "there")) as sheet:
        for row in rows:
            sheet.add(sheet_cells(row)[5:9:2])
    assert "'=1+1" in path.read_text("utf-8-sig")


async def test_a_sheet_of_differences_has_their_notes_and_an_age_that_ends_with_them(clerk: Clerk, rows: Rows) -> None:
    """Auditors read the sheet alone: who said what, and how long it took."""
    await clerk.compare([clerk.line(clerk.name(clerk.noon), trade_no="4711")])
    number = (await clerk.differences())["4711"].id
    await clerk.discrepancies.annotate(number, by="ann", note="whose is it?")
    await clerk.discrepancies.resolve(number, resolution="claimed", by="bob", note="told WeChat")
    await rows.execute("UPDATE discrepancy SET resolved_at = found_at + interval '90 minutes'")
    assert sheet_cells((await clerk.differences())["4711"])[-6:-3] == (
        "1.5",
        None,
        "ann: whose is it?; bob: told WeChat",
    )


async def test_people_take_care_of_differences_by_command(clerk: Clerk, typist: Typist, tmp_path: Path) -> None:
    formula = Line(trade_no="=HYPERLINK(1)", at=clerk.noon, amount_minor=5, channel_no="1")
    path = tmp_path / "by hand.csv"
    path.write_bytes(write_bill([formula]))
    words = ("reconcile", "--account", "main", "--channel", "wechat_v3", "--day", str(clerk.day), "--bill", str(path))
    report = await typist.json(*words, "--by", "ann")
    assert report["kinds"]["payment"]["verdicts"]["unknown_number"]["there"] == {"rows": 1, "minor": 5}
    number = (await clerk.differences())["=HYPERLINK(1)"].id
    shown = await typist.type("reconcile", "discrepancies", "--csv")
    assert ",'=HYPERLINK(1)," in shown.out, "a cell that a spreadsheet would run is made text"
    limited = await typist.type("reconcile", "discrepancies", "--csv", "--limit", "1")
    assert (limited.out, "--after" in limited.err) == (shown.out, True), "whoever names a bound is told of it"
    await clerk.discrepancies.assign(number, owner="bob", by="ann", note=None)
    words = ("reconcile", "resolve", str(number), "--as", "claimed", "--note", "told WeChat", "--by", "bob")
    ended = await typist.json(*words)
    assert (ended["discrepancy"]["owner"], ended["discrepancy"]["resolution"]) == ("bob", "claimed")
    assert [note["note"] for note in ended["notes"]] == ["given to bob", "told WeChat"]
    told = (await typist.type("reconcile", "discrepancy", str(number))).out
    assert "resolved: claimed" in told
    assert "owner: bob" in told
    with pytest.raises(Refused, match="discrepancy_resolved"):
        await clerk.discrepancies.resolve(number, resolution="claimed", by="eve", note="again")


async def test_what_a_person_ended_by_mistake_is_opened_again_with_its_history(
    clerk: Clerk, rows: Rows, typist: Typist
) -> None:
    """The wrong number typed must not hide a loss for ever, and who hid it, and who found it, must both be read."""
    report = await clerk.compare([clerk.line(clerk.name(clerk.noon), trade_no="4711")])
    before = report.as_json()
    (found,) = await clerk.list_differences()
    words = ("reconcile", "reopen", str(found.id), "--note", "it was 12", "--by", "ann")
    assert "discrepancy_not_resolved (discrepancy)" in (await typist.type(*words)).err
    await clerk.discrepancies.resolve(found.id, resolution="accepted", by="bob", note="so be it")
    assert (await clerk.reconciliation.get_report(report.run.id)).unresolved == 0
    opened = await typist.json(*words)
    assert [(note["written_by"], note["note"]) for note in opened["notes"]] == [
        ("bob", "so be it"),
        ("ann", "open again: it was resolved as accepted"),
        ("ann", "it was 12"),
    ]
    assert (await clerk.reconciliation.get_report(report.run.id)).as_json() == before
    (kept,) = await clerk.list_differences()
    assert (kept.state, kept.resolution, kept.resolved_at, kept.found_at) == ("open", None, None, found.found_at)
    # What a bill or the channel has ended is nobody's to open: the next look would end it again.
    await clerk.compare([], origin="channel")
    assert "discrepancy_settled (discrepancy)" in (await typist.type(*words)).err


async def test_what_both_sides_agree_on_by_now_is_not_opened_again(clerk: Clerk) -> None:
    """Somebody had accepted what the channel's own word has repaired since: opened, it would alarm for nothing."""
    order = await clerk.order()
    await clerk.compare([clerk.line(order)])
    (found,) = await clerk.list_differences()
    await clerk.discrepancies.resolve(found.id, resolution="accepted", by="bob", note="so be it")
    await clerk.stage.flows.door.record(DoorItem(evidence=clerk.stage.payment(order, paid_at=clerk.noon)))
    with pytest.raises(Refused, match="discrepancy_settled") as refused:
        await clerk.discrepancies.reopen(found.id, by="ann", note="whose is it?")
    assert refused.value.detail.endswith("repaired")
    assert [row.resolution for row in await clerk.list_differences()] == ["accepted"]


async def test_what_a_replaced_bill_opens_again_no_look_of_the_same_moment_ends(
    clerk: Clerk, rows: Rows, database_dsn: str
) -> None:
    """The look has read the other day's bill before it was replaced: nobody would open the difference a second time."""
    next_day, late = clerk.day + timedelta(days=1), day_begin(clerk.day + timedelta(days=1)) - timedelta(minutes=1)
    order = await clerk.paid(at=late)
    await clerk.keep(write_bill([]))
    await clerk.keep(write_bill([clerk.line(order, at=late + timedelta(minutes=2))]), day=next_day)
    async with clerk.stage.database.reading() as transaction:
        followed = await list_followed(transaction, after=0, account_id=clerk.account_id, rows_max=10)
    moves = await clerk.discrepancies._look_again(followed)
    assert [move.resolution for move in moves.values()] == ["neighbour_day"]
    somebody = await asyncpg.connect(database_dsn)
    await somebody.execute("BEGIN; SELECT FROM channel_account FOR NO KEY UPDATE")
    kept = asyncio.create_task(clerk.keep(write_bill([]), day=next_day))
    await until(rows, WAITING, is_so=lambda count: count == 1 or kept.done())
    assert not kept.done(), "a run is kept under the account's lock"
    assert await clerk.discrepancies.follow_up() == FollowedUp(), "a look does not wait for it"
    await somebody.close()
    await kept
    assert await clerk.discrepancies._settle(list(moves.values())) == [], "what was read before ends nothing"
    await clerk.discrepancies.follow_up()
    assert [(row.verdict, row.state) for row in (await clerk.differences()).values()] == [("here_only", "open")]
