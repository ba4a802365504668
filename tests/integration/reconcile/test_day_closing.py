"""Closing a day: what stands against it is told, and it stays open until that is gone or a person says why not."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import date, timedelta
from typing import Any

import asyncpg
import msgspec
import pytest

from budan.cli.wiring import build_bill_days
from budan.core.day_closing import Stand, StandPoint
from budan.flows.bill_days import FILE_OUTDATED
from budan.flows.books import Books
from budan.flows.day_closing import DayClosing, Despite, tell_books
from budan.flows.day_page import render_page
from budan.flows.holding import Resolution
from budan.store.ledger import find_day
from budan.web.asgi import build_app
from integration.cli.commands import Typist
from integration.flows.standing import until
from integration.reconcile.bills import write_bill
from integration.reconcile.clerk import Clerk
from integration.reconcile.counter import BillCounter
from integration.reconcile.test_books_page import get
from integration.reconcile.test_reconciling import WAITING
from stage import AMOUNT_MINOR

Rows = asyncpg.Connection


@pytest.fixture
async def closing(clerk: Clerk, counter: BillCounter, rows: Rows) -> DayClosing:
    """The installation is there since the clerk's day, its account since before."""
    await rows.execute("UPDATE installation SET created_at = $1", clerk.noon)
    stage = clerk.stage
    books = Books(database=stage.database, environment=stage.settings.environment, lanes=stage.opened.lanes)
    return DayClosing(database=stage.database, books=books, bills=build_bill_days(stage.opened))


async def close(closing: DayClosing, day: date, *, despite: Despite | None = None) -> Sequence[StandPoint] | None:
    """Close up to a day; gives what stood against that day, None where it is closed."""
    seen = await closing.close(through=day, by="ann", despite=despite, progress=lambda _: None)
    return None if seen[-1].is_closed else seen[-1].against


async def test_a_day_with_something_open_is_closed_only_by_a_persons_word_and_says_so_from_then_on(
    clerk: Clerk, counter: BillCounter, closing: DayClosing, typist: Typist
) -> None:
    """Balances that never change again must not hide what nobody has explained."""
    day = str(clerk.day)
    command = ("ledger", "close", "--through", day)
    ended = await typist.type(*command)
    assert ended.code == 1
    assert f"NOT CLOSED {day}: open is" in ended.out
    assert "the bill of main (wechat_v3) is not compared: nobody has asked for it" in ended.out
    stranger = clerk.line(clerk.name(clerk.noon), trade_no="4711", channel_no="71", amount_minor=70)
    counter.answers[clerk.day] = write_bill([clerk.line(await clerk.paid()), stranger])
    await counter.run()
    told = msgspec.json.decode((await typist.type(*command, "--json")).out)
    (looked,) = told["days"]
    (point,) = looked["points"]
    found = (told["closed"], looked["is_closed"], looked["against"], point["stand"], point["verdict"])
    assert found == ([], False, 1, "discrepancy", "unknown_number")
    assert (point["rows_found"], point["amount_minor"], point["currency"]) == (1, 70, "CNY")

    for words, refused in (
        (("--despite-open", "--reason", "x", "--by", " "), "name_malformed (by)"),
        (("--despite-open", "--by", "ann"), "reason_malformed (reason)"),
        (("--reason", "x"), "reason_unwanted (reason)"),
    ):
        wrong = await typist.type(*command, *words)
        assert (wrong.code, refused in wrong.err) == (2, True), wrong.err
    wrong = await typist.type("ledger", "close", "--despite-open", "--reason", "x", "--by", "ann")
    assert (wrong.code, "day_missing (through)" in wrong.err) == (2, True)
    assert await close(closing, clerk.day) is not None, "a refusal closes nothing"

    word = ("--despite-open", "--by", "ann", "--reason", "WeChat looks for it")
    ended = await typist.type(*command, *word)
    assert (ended.code, f"closed {day}, despite:" in ended.out) == (0, True)
    assert (await typist.type(*command, *word)).out.strip() == "nothing to close"
    checked = await typist.type("ledger", "check")
    assert "by ann, despite what was open: WeChat looks for it" in checked.out
    despite = "main (wechat_v3): 1 payment unknown number, 0.70 CNY"
    assert despite in checked.out
    (run,) = (await typist.json("reconcile", "runs", "--day", day, "--account", "main"))["runs"]
    wrong = await typist.type("reconcile", "discrepancies", "--account", "mane")
    assert (wrong.code, "account_unknown (account)" in wrong.err) == (2, True), "nobody reads it as nothing found"
    assert (run["closed"]["closed_by"], run["closed"]["stood"][0]["amount_minor"]) == ("ann", 70)
    assert f"despite: {despite}" in (await typist.type("reconcile", "show", str(run["run"]))).out
    assert despite in render_page(await clerk.reconciliation.get_report(run["run"]), [])
    flows = clerk.stage.flows
    for language, words in (("en", "unknown number, 0.70 CNY."), ("zh", "收款未知单号 1 笔，0.70 CNY。")):
        _, page = await get(
            build_app(flows), f"/books/{flows.books_links.render()}", language=language, query=f"day={day}"
        )
        assert words in page


async def test_what_is_found_of_a_closed_day_stands_against_the_next_one_and_once_only(
    clerk: Clerk, counter: BillCounter, closing: DayClosing, rows: Rows
) -> None:
    """The books are not opened again, so what comes late must be met where somebody still looks."""
    ended = clerk.line(clerk.name(clerk.noon), trade_no="4710", channel_no="70")
    counter.answers[clerk.day] = write_bill([ended])
    await counter.run()
    (difference,) = await clerk.list_differences()
    await clerk.discrepancies.resolve(difference.id, resolution="claimed", by="bob", note="told WeChat")
    assert await close(closing, clerk.day) is None
    next_day = clerk.day + timedelta(days=1)
    assert await close(closing, next_day) is None
    await rows.execute("DELETE FROM ledger_day WHERE day = $1", next_day)
    assert not any(row.after_close for row in await clerk.list_differences())

    stranger = clerk.line(clerk.name(clerk.noon), trade_no="4711", channel_no="71")
    await clerk.compare([ended, stranger], origin="channel")
    found = await clerk.differences()
    assert (found["4711"].after_close, found["4710"].after_close) == (True, True), "found, and opened again"
    late, *others = await close(closing, next_day) or []
    assert not others
    assert (late.day, late.verdict, late.rows_found) == (clerk.day, "unknown_number", 2)
    assert await close(closing, next_day, despite=Despite(by="ann", reason="told WeChat")) is None
    async with clerk.stage.database.reading() as transaction:
        kept = await find_day(transaction, next_day)
    assert kept is not None
    assert (kept.reason, kept.despite) == ("told WeChat", (late,))
    after = await closing.look(next_day + timedelta(days=1))
    assert not [point for point in after if point.stand is Stand.DISCREPANCY]


@pytest.fixture
async def somebody(database_dsn: str) -> AsyncIterator[Rows]:
    """Another session, which has begun a transaction."""
    connection = await asyncpg.connect(database_dsn)
    await connection.execute("BEGIN")
    yield connection
    await connection.close()


async def test_what_a_run_keeps_while_the_day_is_being_closed_keeps_it_open(
    clerk: Clerk, counter: BillCounter, closing: DayClosing, rows: Rows, somebody: Rows
) -> None:
    """Between the look and the close it stood against no day, ever: neither this one nor the next was told."""
    counter.answers[clerk.day] = write_bill([clerk.line(clerk.name(clerk.noon), trade_no="4711")])
    await counter.run()
    (difference,) = await clerk.list_differences()
    await clerk.discrepancies.resolve(difference.id, resolution="claimed", by="bob", note="told WeChat")
    await somebody.execute("SELECT FROM channel_account FOR NO KEY UPDATE")
    await somebody.execute("UPDATE discrepancy SET state = 'open', resolved_at = NULL, resolution = NULL")
    closed = asyncio.create_task(close(closing, clerk.day))
    await until(rows, WAITING, is_so=lambda count: count == 1 or closed.done())
    await somebody.execute("COMMIT")
    (against,) = await closed or ()
    assert (against.stand, against.verdict) == (Stand.DISCREPANCY, "unknown_number")
    assert await close(closing, clerk.day, despite=Despite(by="ann", reason="told WeChat")) is None


async def test_a_run_that_waits_while_the_day_is_closed_has_found_what_it_finds_after_the_close(
    clerk: Clerk, rows: Rows, somebody: Rows
) -> None:
    """Its transaction began before: by that moment the difference was one that the closer had seen."""
    await somebody.execute("SELECT FROM channel_account FOR NO KEY UPDATE")
    bill = [clerk.line(clerk.name(clerk.noon), trade_no="4711")]
    kept = asyncio.create_task(clerk.compare(bill, origin="channel"))
    await until(rows, WAITING, is_so=lambda count: count == 1 or kept.done())
    await somebody.execute(
        "INSERT INTO ledger_day (day, postings, closed_at) VALUES ($1, 0, clock_timestamp())", clerk.day
    )
    await somebody.execute("COMMIT")
    report = await kept
    (found,) = await clerk.list_differences()
    assert found.after_close
    assert report.closed is not None
    assert report.run.ended_at > report.closed.closed_at, "a sum that does not tie out is told of it too"


async def test_a_difference_that_was_known_at_the_close_and_says_more_since_is_told_again(
    clerk: Clerk, counter: BillCounter, closing: DayClosing, rows: Rows
) -> None:
    """A day was closed despite 0.70, a later bill made it 70,000.00, and nobody was told."""
    counter.answers[clerk.day] = write_bill([clerk.line(clerk.name(clerk.noon), trade_no="4711", amount_minor=70)])
    await counter.run()
    assert await close(closing, clerk.day, despite=Despite(by="ann", reason="told WeChat")) is None
    next_day = clerk.day + timedelta(days=1)
    grown = clerk.line(clerk.name(clerk.noon), trade_no="4711", amount_minor=7_000_000)
    await clerk.compare([grown], origin="channel")
    (found,) = await clerk.list_differences()
    assert found.after_close
    await rows.execute(
        "INSERT INTO adjustment (lane, discrepancy_id, discrepancy_seen, currency, debit, credit, amount_minor, fee_minor,"
        " reason, proposed_by, proposed_at, state)"
        " VALUES (0, $1, 'x', 'CNY', 'bank', 'fee_income', 70, 0, 'x', 'ann', now(), 'proposed')",
        found.id,
    )
    (late,) = await close(closing, next_day) or []
    assert (late.day, late.rows_found, late.amount_minor, late.proposed) == (clerk.day, 1, 7_000_000, 1)
    assert await close(closing, next_day, despite=Despite(by="ann", reason="told WeChat")) is None
    await clerk.compare([grown, clerk.line(await clerk.paid())], origin="channel")
    after = await closing.look(next_day + timedelta(days=1))
    assert not [point for point in after if point.stand is Stand.DISCREPANCY], "it says the same"


async def test_money_and_persons_that_wait_and_a_report_that_does_not_tie_out_stand_against_their_day(
    clerk: Clerk, counter: BillCounter, closing: DayClosing, rows: Rows
) -> None:
    """A day's cents are explained when nobody needs to decide about any of them."""
    wrong, held = await clerk.order(), await clerk.paid()
    await clerk.hear(wrong, order_minor=AMOUNT_MINOR - 1, paid_at=clerk.noon)
    await clerk.stage.operator.holds.hold(held.order_no, by="ann", reason="asked")
    await rows.execute("UPDATE posting SET booked_at = $1", clerk.noon)
    await rows.execute("UPDATE orders SET hold_since = now()")
    counter.answers[clerk.day] = write_bill(
        [clerk.line(held), clerk.line(wrong, amount_minor=AMOUNT_MINOR - 1, fee="0.00000")]
    )
    await counter.run()
    await rows.execute("DELETE FROM reconcile_side")
    await rows.execute("DELETE FROM discrepancy_note; DELETE FROM reconcile_finding; DELETE FROM discrepancy")
    found = {point.stand: point for point in await close(closing, clerk.day) or ()}
    assert set(found) == {Stand.UNTIED, Stand.HOLD, Stand.SUSPENSE}
    assert (found[Stand.HOLD].rows_found, found[Stand.HOLD].amount_minor) == (2, 2 * AMOUNT_MINOR)
    assert (found[Stand.SUSPENSE].rows_found, found[Stand.SUSPENSE].amount_minor) == (1, AMOUNT_MINOR - 1)
    assert "older release" in found[Stand.UNTIED].detail
    await clerk.stage.operator.holds.propose_release(
        wrong.order_no, by="ann", reason="x", resolution=Resolution.RETURNED, accept=True
    )
    found = {point.stand: point for point in await close(closing, clerk.day) or ()}
    assert (found[Stand.HOLD].proposed, found[Stand.SUSPENSE].proposed) == (1, 1)
    await rows.execute(
        "INSERT INTO adjustment (lane, currency, debit, credit, amount_minor, fee_minor, reason, proposed_by,"
        " proposed_at, state) VALUES (0, 'CNY', 'bank', 'fee_income', 70, 0, 'coupon', 'ann', $1, 'proposed')",
        clerk.noon,
    )
    found = {point.stand: point for point in await close(closing, clerk.day) or ()}
    assert (found[Stand.ADJUSTMENT].rows_found, found[Stand.ADJUSTMENT].amount_minor) == (1, 70)


async def test_a_file_counts_while_it_knows_all_that_we_know_and_the_closed_day_says_that_it_was_one(
    clerk: Clerk, counter: BillCounter, closing: DayClosing, rows: Rows
) -> None:
    """One person with a file could close a day whose money it had never seen, and nothing told it from the channel's own."""
    known, late = await clerk.paid(), await clerk.order()
    await clerk.compare([clerk.line(known)])
    await clerk.hear(late, paid_at=clerk.noon)
    (against,) = await close(closing, clerk.day) or ()
    assert (against.stand, against.code) == (Stand.BILL_MISSING, FILE_OUTDATED)
    await clerk.compare([clerk.line(known), clerk.line(late)])
    # So that what is known now is no news to a comparison that has just begun.
    await rows.execute("UPDATE late_money SET known_at = known_at - interval '1 minute'")
    assert await close(closing, clerk.day) is None
    async with clerk.stage.database.reading() as transaction:
        kept = await find_day(transaction, clerk.day)
    assert kept is not None
    assert [(point.stand, point.detail) for point in kept.stood] == [(Stand.ONLY_FILE, "ann")]
    told = "of main (wechat_v3) only a file was compared, loaded by ann"
    assert tell_books(clerk.day, kept)[1:] == [told]
    await clerk.compare([clerk.line(known), clerk.line(late)], origin="channel")
    assert not await closing.look(clerk.day), "the channel's own bill says so"


async def test_an_account_without_a_bill_keeps_no_day_open(clerk: Clerk, closing: DayClosing, rows: Rows) -> None:
    """Nobody could ever close: what its channel does not give is told, and is nobody's fault."""
    await rows.execute("UPDATE channel_account SET channel = 'ipaynow'")
    seen: Sequence[Any] = await closing.close(through=clerk.day, by=None, despite=None, progress=lambda _: None)
    (one,) = seen
    assert one.is_closed
    assert {(point.stand, point.account) for point in one.points} == {(Stand.NO_BILL, "main (ipaynow)")}
    async with clerk.stage.database.reading() as transaction:
        kept = await find_day(transaction, clerk.day)
    assert kept is not None
    assert (kept.closed_by, kept.reason, kept.despite, len(kept.stood)) == (None, None, (), 1)
