"""Persons move money in the books here, so each way is tried alone, together, twice, and behind the program's back."""

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from beancount import loader

from budan.core.adjustment import AdjustmentState
from budan.core.errors import Refused
from budan.core.ledger import merchant_account
from budan.core.numbers import beijing_day
from budan.flows.adjusting import Adjustments, AdjustmentWish, ReceiptWish
from budan.flows.books import Books
from budan.flows.payouts import Payouts
from budan.flows.settling import Settling
from budan.flows.timelines import Timelines
from budan.flows.waiting import count_waiting
from integration.cli.commands import Typist
from integration.cli.settled import Rows, balances, check, list_batches, list_lines, pass_days, settle, settle_one
from stage import AMOUNT_MINOR, FEE_RATE_BP, Stage, StagedMerchant

OWED_MINOR = AMOUNT_MINOR - (AMOUNT_MINOR * FEE_RATE_BP + 5_000) // 10_000


@pytest.fixture
def adjustments(stage: Stage) -> Adjustments:
    return Adjustments(database=stage.database, environment=stage.settings.environment, ids=stage.flows.ids)


def goodwill(merchant: StagedMerchant, *, minor: int = 200, **changes: Any) -> AdjustmentWish:
    """Ann gives a merchant something of our fees."""
    wish = AdjustmentWish(
        by="Ann",
        reason="the terminal was away",
        debit="fee_income",
        credit=merchant_account(merchant.merchant_id),
        amount_minor=minor,
        currency="CNY",
        order_no=None,
        difference=None,
    )
    return replace(wish, **changes)


def debit(merchant: StagedMerchant, *, minor: int) -> AdjustmentWish:
    """Ann takes from a merchant what its coupons cost."""
    accounts = {"debit": merchant_account(merchant.merchant_id), "credit": f"channel:{merchant.account_id}"}
    return goodwill(merchant, minor=minor, reason="coupons of its own", **accounts)


def receipt(merchant: StagedMerchant, **changes: Any) -> ReceiptWish:
    """Ann books what the channel paid for all but 80 of one order."""
    wish = ReceiptWish(
        by="Ann",
        reason="statement of 24 November",
        account_id=merchant.account_id,
        received_minor=AMOUNT_MINOR - 87,
        fee_minor=7,
        currency="CNY",
        reference="B2411",
    )
    return replace(wish, **changes)


async def refusal_of(work: Awaitable[object]) -> tuple[str, str | None]:
    with pytest.raises(Refused) as refused:
        await work
    return refused.value.code, refused.value.param


async def count_booked(rows: Rows) -> int:
    return await rows.fetchval("SELECT count(*) FROM posting WHERE entry_key LIKE 'adjustment:%'")


@pytest.mark.invariant("I10")
async def test_what_one_proposes_is_booked_once_another_approves_it_and_never_before(
    stage: Stage, rows: Rows, adjustments: Adjustments, books: Books
) -> None:
    """Whoever may book alone may take the money alone; and two who approve at once must not book twice."""
    merchant = await stage.add_merchant()
    order = await stage.add_paid_order(merchant)
    proposed = await adjustments.propose(goodwill(merchant, order_no=order.order_no))
    number = proposed.row.number
    assert await count_booked(rows) == 0
    assert await refusal_of(adjustments.approve(number, amount_minor=200, by=" aNN ")) == ("same_person", "by")
    assert await refusal_of(adjustments.approve(number, amount_minor=201, by="Bob")) == ("amount_differs", "amount")
    approved = await asyncio.gather(*(adjustments.approve(number, amount_minor=200, by="Bob") for _ in range(3)))
    assert sorted(one.changed for one in approved) == [False, False, True]
    assert await refusal_of(adjustments.approve(number, amount_minor=200, by="Cid")) == (
        "proposal_confirmed",
        "confirm",
    )
    assert await refusal_of(adjustments.reject(number, by="Cid", reason="no")) == ("adjustment_approved", "adjustment")
    booked = await rows.fetch(
        "SELECT order_id, account, amount_minor FROM posting WHERE entry_key = $1", "adjustment:1"
    )
    assert sorted(map(tuple, booked)) == [
        (order.order_id, "fee_income", 200),
        (order.order_id, merchant_account(merchant.merchant_id), -200),
    ]
    assert (await check(books)).holds
    day = beijing_day(approved[0].row.proposed_at)
    lines = [line async for line in books.statement(merchant.merchant_id, first_day=day, last_day=day)]
    shown = [(line.entry, line.order_no, line.amount_minor, line.reason) for line in lines if line.reason]
    assert shown == [("adjustment:1", order.order_no, 200, "the terminal was away")]
    timelines = Timelines(database=stage.database, environment=stage.settings.environment, lanes=stage.opened.lanes)
    told = [(one.what, one.detail) for one in (await timelines.get_timeline(order.order_no)).moments]
    assert ("adjustment_proposed", "adjustment 1 by Ann: the terminal was away") in told
    assert ("adjustment_approved", "adjustment 1 by Bob") in told


async def test_a_proposal_of_yesterday_is_not_approved_today(
    stage: Stage, rows: Rows, adjustments: Adjustments
) -> None:
    """What it was about may have changed since; it stays in the list, marked, until somebody rejects it."""
    number = (await adjustments.propose(goodwill(await stage.add_merchant()))).row.number
    await rows.execute("UPDATE adjustment SET proposed_at = proposed_at - interval '24 hours'")
    late = adjustments.approve(number, amount_minor=200, by="Bob")
    assert await refusal_of(late) == ("proposal_expired", "confirm")
    (waits,) = await adjustments.list_page(after=0, state=AdjustmentState.PROPOSED, rows_max=10)
    assert waits.has_lapsed
    assert await count_booked(rows) == 0
    assert not (await adjustments.reject(number, by="Bob", reason="too old")).has_lapsed


async def test_a_proposal_that_is_not_wanted_ends_and_waits_for_nobody(
    stage: Stage, rows: Rows, adjustments: Adjustments
) -> None:
    """What waits is counted where people look each morning, until somebody has decided."""
    merchant = await stage.add_merchant()
    numbers = [(await adjustments.propose(goodwill(merchant))).row.number for _ in range(2)]
    assert [(one.what, one.rows_found) for one in await count_waiting(stage.database)] == [("adjustment_proposed", 2)]
    ended = [await adjustments.reject(numbers[0], by="ann", reason="a slip") for _ in range(2)]
    assert [(one.row.state, one.changed) for one in ended] == [("withdrawn", True), ("withdrawn", False)]
    assert (await adjustments.reject(numbers[1], by="Bob", reason="not agreed")).row.state == "rejected"
    for late in (
        adjustments.approve(numbers[0], amount_minor=200, by="Bob"),
        adjustments.reject(numbers[1], by="Cid", reason="no"),
    ):
        assert await refusal_of(late) == ("adjustment_ended", "adjustment")
    assert await count_waiting(stage.database) == []
    assert await adjustments.list_page(after=0, state=AdjustmentState.PROPOSED, rows_max=10) == []
    done = await adjustments.list_page(after=0, state=None, rows_max=10)
    assert [one.row.decision_reason for one in done] == ["a slip", "not agreed"]
    assert await count_booked(rows) == 0


@pytest.mark.invariant("I10")
async def test_a_receipt_leaves_of_the_channels_account_what_it_still_owes(
    stage: Stage, adjustments: Adjustments, books: Books
) -> None:
    """People type the bank's statement: a repeat, however it is typed, must not count twice, nor a second sum be lost."""
    merchant = await stage.add_merchant()
    await stage.add_paid_order(merchant)
    told = [await adjustments.receive(receipt(merchant)) for _ in range(2)]
    assert [(one.row.number, one.changed) for one in told] == [(1, True), (1, False)]
    for typed in ("b2411", "Ｂ2411", "B 24 11"):  # noqa: RUF001 - a wide letter is the point
        assert not (await adjustments.receive(receipt(merchant, reference=typed))).changed, typed
    assert await refusal_of(adjustments.receive(receipt(merchant, fee_minor=8))) == ("receipt_exists", "reference")
    await adjustments.approve(1, amount_minor=AMOUNT_MINOR - 87, by="Bob")
    assert not (await adjustments.receive(receipt(merchant))).changed
    found = await balances(books)
    assert (found["bank"], found["channel_fee"]) == (AMOUNT_MINOR - 87, 7)
    assert found[f"channel:{merchant.account_id}"] == 80
    assert sum(found.values()) == 0
    # Under the same reference anew, where the first one came to nothing.
    again = await adjustments.receive(receipt(merchant, reference="B2412"))
    await adjustments.reject(again.row.number, by="Bob", reason="it is the same one")
    assert (await adjustments.receive(receipt(merchant, reference="B2412"))).changed
    assert (await check(books)).holds


@pytest.mark.invariant("I10")
async def test_a_debit_beyond_what_a_merchant_is_owed_lessens_its_next_batches(
    *, stage: Stage, rows: Rows, settling: Settling, payouts: Payouts, adjustments: Adjustments, books: Books
) -> None:
    """An adjustment that no batch has would be owed for ever; one that makes a batch negative could not be paid out."""
    merchant = await stage.add_merchant()
    await stage.add_paid_order(merchant)
    proposed = await adjustments.propose(debit(merchant, minor=OWED_MINOR + 300))
    await adjustments.approve(proposed.row.number, amount_minor=OWED_MINOR + 300, by="Bob")
    await pass_days(rows, 2)
    assert await settle(settling) == []
    assert (await check(books)).holds
    await stage.add_paid_order(merchant)
    await pass_days(rows, 2)
    batch = await settle_one(settling)
    assert (batch.lines, batch.payout_minor) == (3, OWED_MINOR - 300)
    (made,) = await list_batches(payouts)
    (line,) = [one for one in await list_lines(payouts, made) if one.line.reason]
    assert (line.order_no, line.line.entry_key, line.line.amount_minor) == ("", "adjustment:1", -OWED_MINOR - 300)
    assert line.line.reason == "coupons of its own"
    assert (await check(books)).holds


# What somebody does behind the program's back, all of it balanced, and how many lines are wrong and entries astray.
BREAKS = (
    ("UPDATE posting SET amount_minor = amount_minor * 2 WHERE entry_key LIKE 'adj%'", (2, 0)),
    ("DELETE FROM posting WHERE entry_key LIKE 'adj%'", (2, 0)),
    ("UPDATE posting SET entry_key = 'adjustment:2' WHERE entry_key LIKE 'adj%'", (4, 1)),
    ("UPDATE posting SET order_id = order_id + 1 WHERE entry_key LIKE 'adj%'", (4, 1)),
    (
        "UPDATE posting SET booked_at = booked_at - interval '3 hours' WHERE entry_key LIKE 'adj%' AND line = 2",
        (1, 0),
    ),
)


@pytest.mark.invariant("I10")
async def test_an_entry_that_is_not_what_two_persons_approved_breaks_the_check(
    stage: Stage, rows: Rows, adjustments: Adjustments, books: Books
) -> None:
    """The second one only waits: an entry of its number belongs to nothing, however well it balances."""
    merchant = await stage.add_merchant()
    await stage.add_paid_order(merchant)
    for _ in range(2):
        await adjustments.propose(goodwill(merchant))
    await adjustments.approve(1, amount_minor=200, by="Bob")
    await rows.execute("CREATE TEMPORARY TABLE kept AS TABLE posting")
    for break_it, expected in BREAKS:
        await rows.execute(break_it)
        found = await check(books)
        assert (len(found.wrong_adjustments), len(found.strays)) == expected, break_it
        assert not found.unbalanced
        await rows.execute("TRUNCATE posting; INSERT INTO posting TABLE kept")
    with pytest.raises(asyncpg.CheckViolationError, match="adjustment_two_persons"):
        await rows.execute("UPDATE adjustment SET decided_by = 'ANN' WHERE state = 'approved'")
    assert (await check(books)).holds


async def test_what_cannot_be_adjusted_is_refused_by_name_and_nothing_is_kept(
    stage: Stage, rows: Rows, adjustments: Adjustments
) -> None:
    merchant, other = await stage.add_merchant(), await stage.add_merchant()
    order = await stage.add_paid_order(other)
    wishes: tuple[tuple[dict[str, Any], tuple[str, str]], ...] = (
        ({"by": " "}, ("name_malformed", "by")),
        ({"reason": ""}, ("reason_malformed", "reason")),
        ({"amount_minor": None}, ("adjustment_incomplete", "amount")),
        ({"debit": None, "credit": None, "amount_minor": None}, ("adjustment_incomplete", "debit")),
        ({"debit": None, "difference": 9}, ("adjustment_incomplete", "debit")),
        ({"debit": "suspense"}, ("account_untouchable", "debit")),
        ({"order_no": "X"}, ("order_no_malformed", "order_no")),
        ({"order_no": stage.name_order(merchant).order_no}, ("order_not_found", "order_no")),
        ({"order_no": order.order_no}, ("merchants_differ", "debit")),
        ({"debit": merchant_account(other.merchant_id)}, ("merchants_differ", "debit")),
        ({"debit": "channel:99"}, ("account_unknown", "account")),
        ({"credit": "merchant:99"}, ("merchant_unknown", "merchant")),
        ({"difference": 9}, ("discrepancy_not_found", "discrepancy")),
        ({"difference": 1 << 63}, ("discrepancy_not_found", "discrepancy")),
    )
    for changes, refusal in wishes:
        assert await refusal_of(adjustments.propose(goodwill(merchant, **changes))) == refusal, changes
    receipts = (
        ({"account_id": 99}, ("account_unknown", "account")),
        ({"account_id": 1 << 31}, ("account_unknown", "account")),
        ({"received_minor": 0}, ("amount_not_positive", "received")),
        ({"reference": "\n"}, ("reference_malformed", "reference")),
    )
    for changes, refusal in receipts:
        assert await refusal_of(adjustments.receive(receipt(merchant, **changes))) == refusal, changes
    for number in (9, 1 << 31):
        late = adjustments.approve(number, amount_minor=1, by="Bob")
        assert await refusal_of(late) == ("adjustment_not_found", "adjustment")
    assert await adjustments.list_page(after=1 << 31, state=None, rows_max=1) == []
    assert await rows.fetchval("SELECT count(*) FROM adjustment") == 0


async def test_the_commands_book_a_receipt_that_a_real_beancount_reads(
    stage: Stage, rows: Rows, typist: Typist, tmp_path: Path
) -> None:
    """It is of no order and no merchant, and its reason is a person's: the journal must take both."""
    merchant = await stage.add_merchant()
    await stage.add_paid_order(merchant)
    words = ("--account", str(merchant.account_id), "--received", "993", "--fee", "7", "--reference", "B1")
    told = await typist.type("ledger", "adjust", "receipt", *words, "--reason", '[/x] "day" 24', "--by", "Ann")
    assert "to agree: budan ledger adjust approve 1 --amount MINOR --by NAME" in told.out, told.err
    agree = ("ledger", "adjust", "approve", "1", "--amount")
    alone = await typist.type(*agree, "993", "--by", "Ann")
    assert (alone.code, "same_person (by)" in alone.err) == (2, True)
    unseen = await typist.type(*agree, "994", "--by", "Bob")
    assert (unseen.code, "amount_differs (amount)" in unseen.err) == (2, True)
    listed = (await typist.type("ledger", "adjust", "list")).out
    assert listed.splitlines()[:6] == [
        "adjustment 1: proposed",
        "  amount: 9.93 CNY",
        "  bank: 9.93 CNY",
        "  channel_fee: 0.07 CNY",
        f"  channel:{merchant.account_id}: -10.00 CNY",
        "  reference: B1",
    ]
    approved = await typist.type(*agree, "993", "--by", "Bob")
    assert "adjustment 1: approved\n  amount: 9.93 CNY\n  bank: 9.93 CNY" in approved.out
    assert '  reason: [/x] "day" 24' in approved.out
    assert not (await typist.json(*agree, "993", "--by", "Bob"))["changed"]
    words = ("--debit", "fee_income", "--credit", merchant_account(merchant.merchant_id), "--amount", "5")
    proposed = await typist.json("ledger", "adjust", "propose", *words, "--reason", "goodwill", "--by", "Ann")
    assert proposed["lines"] == [
        {"account": "fee_income", "amount_minor": 5},
        {"account": merchant_account(merchant.merchant_id), "amount_minor": -5},
    ]
    rejected = await typist.json("ledger", "adjust", "reject", "2", "--reason", "not agreed", "--by", "Bob")
    assert (rejected["state"], rejected["decision_reason"]) == ("rejected", "not agreed")
    assert (await typist.json("ledger", "adjust", "list")) == {"adjustments": []}
    assert len((await typist.json("ledger", "adjust", "list", "--all"))["adjustments"]) == 2
    day = str(beijing_day(await rows.fetchval("SELECT clock_timestamp()")))
    ended = await typist.type("ledger", "export", "--from", day, "--to", day, "--format", "beancount")
    journal = tmp_path / "books.beancount"
    journal.write_text(ended.out, encoding="utf-8")
    entries, errors, _ = loader.load_file(str(journal))
    assert errors == []
    fees = [line.units.number for one in entries for line in getattr(one, "postings", ()) if "Fee" in line.account]
    assert max(int(fee * 100) for fee in fees) == 7
    assert "Expenses:ChannelFee" in ended.out
