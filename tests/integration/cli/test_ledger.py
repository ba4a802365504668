"""Finance people read these figures, so each is compared with what was really paid, and each break is made on purpose."""

from datetime import date, timedelta
from pathlib import Path

import asyncpg
import pytest
from beancount import loader

from budan.cli.wiring import build_bill_days
from budan.core.errors import Refused
from budan.core.numbers import beijing_day, day_begin
from budan.flows.books import Books
from budan.flows.day_closing import DayClosing
from integration.cli.commands import Typist
from stage import AMOUNT_MINOR, FEE_RATE_BP, Stage, StagedMerchant

Rows = asyncpg.Connection
FEE_MINOR = (AMOUNT_MINOR * FEE_RATE_BP + 5_000) // 10_000
OWED_MINOR = AMOUNT_MINOR - FEE_MINOR


async def close_days(stage: Stage, books: Books) -> list[date]:
    """What a person does who closes what can be closed; gives the days that were."""
    closing = DayClosing(database=stage.database, books=books, bills=build_bill_days(stage.opened))
    seen = await closing.close(through=None, by=None, despite=None, progress=lambda _: None)
    return [one.day for one in seen if one.is_closed]


async def check_holds(books: Books) -> bool:
    return (await books.check(progress=lambda _: None)).holds


async def pass_days(rows: Rows, days: int) -> None:
    """So many days go by: everything that happened is that much longer ago."""
    ago = timedelta(days=days)
    await rows.execute("UPDATE posting SET booked_at = booked_at - $1::interval", ago)
    await rows.execute("UPDATE installation SET created_at = created_at - $1::interval", ago)
    await rows.execute("UPDATE ledger_day SET day = day - $1::integer", days)
    await rows.execute("UPDATE ledger_balance SET day = day - $1::integer", days)


async def today(rows: Rows) -> date:
    return beijing_day(await rows.fetchval("SELECT clock_timestamp()"))


async def sell(stage: Stage, merchant: StagedMerchant, *, orders: int) -> None:
    for _ in range(orders):
        await stage.add_paid_order(merchant)


@pytest.mark.invariant("I10")
async def test_books_that_hold_are_said_to_hold(stage: Stage, typist: Typist) -> None:
    merchant = await stage.add_merchant()
    await sell(stage, merchant, orders=3)
    await stage.add_order(merchant)
    found = await typist.json("ledger", "check")
    assert found["ok"] is True
    assert (found["postings"], found["entries"], found["unbalanced"]) == (9, 3, 0)


@pytest.mark.invariant("I10")
@pytest.mark.parametrize(
    "break_it",
    [
        "UPDATE posting SET amount_minor = amount_minor + 1 WHERE account = 'fee_income'",
        "DELETE FROM posting WHERE account = 'fee_income'",
    ],
)
async def test_an_entry_that_does_not_sum_to_zero_breaks_the_check(
    stage: Stage, rows: Rows, typist: Typist, break_it: str
) -> None:
    merchant = await stage.add_merchant()
    await sell(stage, merchant, orders=2)
    await rows.execute(break_it)
    ended = await typist.type("ledger", "check")
    assert ended.code == 1
    assert ended.out.count("UNBALANCED: payment:1") == 2
    assert "THE BOOKS DO NOT HOLD" in ended.out


@pytest.mark.invariant("I3")
@pytest.mark.parametrize(
    "break_it",
    [
        "DELETE FROM posting",
        "UPDATE posting SET amount_minor = amount_minor * 2",
        "UPDATE orders SET fee_minor = fee_minor + 1",
    ],
)
async def test_a_paid_order_whose_payment_is_not_booked_breaks_the_check(
    stage: Stage, rows: Rows, books: Books, break_it: str
) -> None:
    """Entries may balance and still tell of another payment than the one that the order says."""
    order = await stage.add_paid_order(await stage.add_merchant())
    await rows.execute(break_it)
    found = await books.check(progress=lambda _: None)
    assert [unbooked.order_id for unbooked in found.unbooked_payments] == [order.order_id]
    assert found.unbalanced == 0


@pytest.mark.invariant("I10")
async def test_a_closed_day_stands_and_any_later_change_of_it_is_found(stage: Stage, rows: Rows, books: Books) -> None:
    merchant = await stage.add_merchant()
    await sell(stage, merchant, orders=2)
    await pass_days(rows, 1)
    yesterday = await today(rows) - timedelta(days=1)
    assert await close_days(stage, books) == [yesterday]
    assert await close_days(stage, books) == []
    assert await check_holds(books)
    # A whole entry that balances, slipped in afterwards.
    await rows.execute(
        "INSERT INTO posting (lane, order_id, entry_key, line, account, amount_minor, currency, booked_at)"
        " SELECT lane, order_id, 'payment:2', line, account, amount_minor, currency, booked_at FROM posting"
        " WHERE order_id = (SELECT min(order_id) FROM posting)"
    )
    found = await books.check(progress=lambda _: None)
    assert {wrong.account for wrong in found.wrong_balances} == {
        f"channel:{merchant.account_id}",
        f"merchant:{merchant.merchant_id}",
        "fee_income",
    }
    assert not found.unbalanced


@pytest.mark.invariant("I10")
async def test_a_carried_balance_that_the_days_before_do_not_give_breaks_the_check(
    stage: Stage, rows: Rows, books: Books
) -> None:
    """A day's movements may be right and what it carries wrong: every later trial balance would repeat it."""
    merchant = await stage.add_merchant()
    for _ in range(2):
        await sell(stage, merchant, orders=1)
        await pass_days(rows, 1)
    await close_days(stage, books)
    assert await check_holds(books)
    await rows.execute("UPDATE ledger_balance SET balance_minor = balance_minor + 1 WHERE account = 'fee_income'")
    await rows.execute(
        "UPDATE ledger_balance SET balance_minor = balance_minor + 5 WHERE account LIKE 'channel:%'"
        " AND day = (SELECT max(day) FROM ledger_balance)"
    )
    found = await books.check(progress=lambda _: None)
    yesterday = await today(rows) - timedelta(days=1)
    carries = [(one.day, one.account, one.closed_minor - one.booked_minor) for one in found.wrong_carries]
    assert carries == [
        (yesterday - timedelta(days=1), "fee_income", 1),
        (yesterday, f"channel:{merchant.account_id}", 5),
    ]
    assert not found.wrong_balances
    assert not found.holds


# What somebody writes by hand, balanced and all, and which entry is found by it.
STRAYS = (
    ("UPDATE posting SET order_id = 5", "payment:1"),
    ("UPDATE posting SET order_id = order_id + (1::bigint << 60)", "payment:1"),
    ("UPDATE posting SET entry_key = 'gift:1'", "gift:1"),
    ("UPDATE posting SET entry_key = 'adjustment:fee:1'", "adjustment:fee:1"),
    ("UPDATE posting SET entry_key = 'adjustment:suspense:1:1:x'", "adjustment:suspense:1:1:x"),
)


@pytest.mark.invariant("I10")
async def test_an_entry_that_belongs_to_nothing_breaks_the_check(stage: Stage, rows: Rows, books: Books) -> None:
    """It balances, so nothing else would see the money that it moves; also with an id that no clock has given yet."""
    await stage.add_paid_order(await stage.add_merchant())
    await rows.execute("CREATE TEMPORARY TABLE kept AS TABLE posting")
    for break_it, entry_key in STRAYS:
        await rows.execute(break_it)
        found = await books.check(progress=lambda _: None)
        assert [stray.entry_key for stray in found.strays] == [entry_key], break_it
        await rows.execute("TRUNCATE posting; INSERT INTO posting TABLE kept")
    assert await check_holds(books)


async def test_a_balance_is_the_last_closed_day_and_the_postings_since(
    stage: Stage, rows: Rows, books: Books, typist: Typist
) -> None:
    merchant = await stage.add_merchant()
    await sell(stage, merchant, orders=2)
    await pass_days(rows, 2)
    await typist.type("ledger", "close")
    await sell(stage, merchant, orders=3)
    now = await typist.json("ledger", "balance")
    balances = {line["account"]: line["balance_minor"] for line in now["lines"]}
    assert balances == {
        f"channel:{merchant.account_id}": 5 * AMOUNT_MINOR,
        f"merchant:{merchant.merchant_id}": -5 * OWED_MINOR,
        "fee_income": -5 * FEE_MINOR,
    }
    assert sum(balances.values()) == 0
    day = await today(rows) - timedelta(days=1)
    closed = await books.trial_balance(day=day)
    assert closed.is_closed
    assert {line.account: line.balance_minor for line in closed.lines} == {
        account: balance * 2 // 5 for account, balance in balances.items()
    }


async def test_days_close_in_order_and_none_before_it_is_over(stage: Stage, rows: Rows, typist: Typist) -> None:
    await sell(stage, await stage.add_merchant(), orders=1)
    await pass_days(rows, 3)
    this_day = await today(rows)
    refused = await typist.type("ledger", "close", "--through", str(this_day))
    assert refused.code == 2
    assert "day_not_over (through)" in refused.err
    closed = await typist.json("ledger", "close", "--through", str(this_day - timedelta(days=2)))
    assert closed["closed"] == [str(this_day - timedelta(days=3)), str(this_day - timedelta(days=2))]
    open_day = await typist.type("ledger", "balance", "--day", str(this_day - timedelta(days=1)))
    assert open_day.code == 2
    assert "day_not_closed (day)" in open_day.err
    assert (await typist.type("ledger", "balance", "--day", "25.11.2026")).code == 2


async def test_a_statement_begins_with_what_stood_before_it(stage: Stage, rows: Rows, typist: Typist) -> None:
    merchant, other = await stage.add_merchant(), await stage.add_merchant()
    await sell(stage, merchant, orders=2)
    await sell(stage, other, orders=1)
    await pass_days(rows, 1)
    await typist.type("ledger", "close")
    order = await stage.add_paid_order(merchant)
    day = str(await today(rows))
    words = ("ledger", "statement", str(merchant.merchant_id), "--from", day, "--to", day)
    (line,) = (await typist.json(*words))["lines"]
    assert (line["order_no"], line["amount_minor"], line["owed_minor"]) == (
        order.order_no,
        OWED_MINOR,
        3 * OWED_MINOR,
    )
    await rows.execute("UPDATE orders SET reference = '=1+1' WHERE id = $1", order.order_id)
    header, opening, row, closing = (await typist.type(*words, "--csv")).out.splitlines()
    assert header == "booked_at,order_no,reference,entry,currency,amount,owed,payable,held_back,reason"
    assert [line.split(",")[3:6] for line in (opening, closing)] == [["opening", "CNY", ""], ["closing", "CNY", ""]]
    assert opening.startswith(f"{day_begin(date.fromisoformat(day)):%Y-%m-%dT%H:%M:%S}.000000Z,"), "Beijing's midnight"
    assert row.split(",")[2] == "'=1+1", "a spreadsheet would run it"


async def test_a_statement_of_a_time_that_is_not_closed_counts_what_came_before(
    stage: Stage, rows: Rows, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether somebody has closed the days yet must not change what a merchant reads."""
    monkeypatch.setattr("budan.flows.books.STATEMENT_ROWS", 2)
    merchant = await stage.add_merchant()
    await sell(stage, merchant, orders=5)
    await pass_days(rows, 1)
    await sell(stage, merchant, orders=3)
    day = await today(rows)
    lines = [line async for line in books.statement(merchant.merchant_id, first_day=day, last_day=day)]
    assert [line.owed_minor // OWED_MINOR for line in lines] == [5, 6, 7, 8, 8]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("statement", "999", "--from", "2026-11-01", "--to", "2026-11-02"), "merchant_unknown (merchant)"),
        (("statement", "1", "--from", "2026-11-03", "--to", "2026-11-02"), "period_reversed (to)"),
        (("export", "--from", "2999-01-02", "--to", "2999-01-03", "--format", "hledger"), "day_not_closed (from)"),
        (("export", "--from", "2026-11-03", "--to", "2026-11-02", "--format", "hledger"), "period_reversed (to)"),
    ],
)
async def test_what_cannot_be_told_is_refused_by_name(
    stage: Stage, typist: Typist, words: tuple[str, ...], code: str
) -> None:
    ended = await typist.type("ledger", *words)
    assert ended.code == 2
    assert code in ended.err


async def test_the_journal_is_one_that_a_real_beancount_reads_and_sums_alike(
    stage: Stage, rows: Rows, books: Books, typist: Typist, tmp_path: Path
) -> None:
    merchant = await stage.add_merchant()
    await sell(stage, merchant, orders=2)
    await pass_days(rows, 1)
    await typist.type("ledger", "close")
    await sell(stage, merchant, orders=1)
    await rows.execute(
        "UPDATE posting SET entry_key = 'suspense:1:1:a\"b\\c' WHERE booked_at > now() - interval '1 hour'"
    )
    day = str(await today(rows))
    ended = await typist.type("ledger", "export", "--from", day, "--to", day, "--format", "beancount")
    assert ended.code == 0, ended.err
    journal = tmp_path / "books.beancount"
    journal.write_text(ended.out, encoding="utf-8")
    entries, errors, _ = loader.load_file(str(journal))
    assert errors == []
    sums: dict[str, int] = {}
    for entry in entries:
        for posting in getattr(entry, "postings", ()):
            sums[posting.account] = sums.get(posting.account, 0) + int(posting.units.number * 100)
    assert sums == {
        f"Assets:Channel:A{merchant.account_id}": 3 * AMOUNT_MINOR,
        f"Liabilities:Merchant:M{merchant.merchant_id}": -3 * OWED_MINOR,
        "Income:FeeIncome": -3 * FEE_MINOR,
    }


async def test_a_journal_that_begins_after_an_open_day_would_lack_its_opening(
    stage: Stage, rows: Rows, books: Books
) -> None:
    await sell(stage, await stage.add_merchant(), orders=1)
    await pass_days(rows, 2)
    day = await today(rows)
    with pytest.raises(Refused, match="day_not_closed"):
        [entry async for entry in books.journal(first_day=day, last_day=day)]
