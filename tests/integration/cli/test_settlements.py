"""Merchants are paid by these figures, so each is compared with what was sold, and the books must prove all of them."""

import asyncio
from contextlib import aclosing
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from budan.core.errors import Refused
from budan.core.settlement import BatchState
from budan.flows import settling as settling_module
from budan.flows.administering import OrderTerms
from budan.flows.books import Books
from budan.flows.job import RunArguments, RunningJob
from budan.flows.payouts import BatchFilter, Payouts
from budan.flows.settlement_terms import SettlementTerms
from budan.flows.settling import SettleDaily, Settling
from budan.store.settlement import lock_due
from integration.cli.commands import Typist
from integration.cli.settled import (
    Rows,
    balances,
    check,
    list_batches,
    list_lines,
    pass_days,
    sell,
    settle,
    settle_one,
)
from stage import AMOUNT_MINOR, FEE_RATE_BP, Stage, StagedOrder

OWED_MINOR = AMOUNT_MINOR - (AMOUNT_MINOR * FEE_RATE_BP + 5_000) // 10_000


async def refund(rows: Rows, order: StagedOrder, *, minor: int) -> None:
    """What the door of refunds leaves of one that went back, with its share of the fee."""
    fee = (minor * FEE_RATE_BP + 5_000) // 10_000
    await rows.execute(
        "INSERT INTO refund (lane, order_id, ordinal, attempt, state, amount_minor, currency, reason, created_at,"
        " origin, refunded_at, fee_given_back_minor)"
        " VALUES ($1, $2, 1, 1, 'succeeded', $3, 'CNY', '', now(), 'merchant', now(), $4)",
        order.lane,
        order.order_id,
        minor,
        fee,
    )
    await rows.execute("UPDATE trade SET fee_given_back_minor = $2 WHERE order_id = $1", order.order_id, fee)
    owner, account = order.merchant.merchant_id, order.merchant.account_id
    lines = [(f"merchant:{owner}", minor - fee), ("fee_income", fee), (f"channel:{account}", -minor)]
    for line, (account, amount) in enumerate(line for line in lines if line[1]):
        await rows.execute(
            "INSERT INTO posting (lane, order_id, entry_key, line, account, amount_minor, currency, booked_at)"
            " VALUES ($1, $2, 'refund:1', $3, $4, $5, 'CNY', clock_timestamp())",
            order.lane,
            order.order_id,
            line + 1,
            account,
            amount,
        )


async def marks(payouts: Payouts) -> list[str]:
    """The marks of the newest batch's lines."""
    newest, *_ = await list_batches(payouts)
    return sorted(line.line.mark for line in await list_lines(payouts, newest))


@pytest.mark.invariant("I10")
async def test_a_day_is_settled_once_and_ties_to_the_ledger(
    stage: Stage, rows: Rows, settling: Settling, payouts: Payouts, books: Books
) -> None:
    one, other = await stage.add_merchant(), await stage.add_merchant()
    await sell(stage, one, orders=2)
    (sold,) = await sell(stage, other)
    await refund(rows, sold, minor=30)
    # A channel whose clock is fast: what is booked on a day is not of a later one.
    await rows.execute("UPDATE orders SET paid_at = paid_at + interval '1 day' WHERE id <> $1", sold.order_id)
    await pass_days(rows, 2)
    await sell(stage, one)
    made = await settle(settling)
    assert len({batch.day for batch in made}) == 1
    assert [(batch.merchant_id, batch.lines, batch.payout_minor) for batch in made] == [
        (one.merchant_id, 2, 2 * OWED_MINOR),
        (other.merchant_id, 2, OWED_MINOR - 30),
    ]
    assert await settle(settling) == []
    assert (await check(books)).holds
    found = await balances(books)
    assert found[f"merchant:{one.merchant_id}"] == -OWED_MINOR  # today's, not settled yet
    assert f"merchant:{other.merchant_id}" not in found
    assert found[f"payable:{one.merchant_id}"] == -2 * OWED_MINOR
    # The statement shows the batch, and that all of it is owed still.
    trial = await books.trial_balance(day=None)
    lines = books.statement(
        one.merchant_id, first_day=trial.at.date() - timedelta(days=4), last_day=trial.at.date() + timedelta(days=1)
    )
    async with aclosing(lines):
        entries = [(line.entry.partition(":")[0], line.amount_minor, line.payable_minor) async for line in lines]
    # A batch changes what is payable and nothing of what is owed.
    assert entries[:3] == [("opening", 0, 0), ("payment", OWED_MINOR, 0), ("payment", OWED_MINOR, 0)]
    assert ("settlement", 0, 2 * OWED_MINOR) in entries[3:]
    assert entries[-1] == ("closing", 0, 2 * OWED_MINOR)
    assert [batch.row.day for batch in await list_batches(payouts)] == [batch.day for batch in made]


async def test_what_comes_after_its_day_was_settled_goes_into_the_next_batch_with_its_reason(
    stage: Stage, rows: Rows, settling: Settling, payouts: Payouts, books: Books
) -> None:
    """A lost order that is found days later must be paid, and finance must see why it is in another day's batch."""
    merchant = await stage.add_merchant()
    await sell(stage, merchant)
    await pass_days(rows, 3)
    await settle(settling)
    repaired, late, held, refunding, normal = await sell(stage, merchant, orders=5)
    for order in (repaired, late):
        await rows.execute("UPDATE orders SET paid_at = paid_at - interval '3 days' WHERE id = $1", order.order_id)
    await rows.execute(
        "INSERT INTO remedy (lane, order_id, attempt, cause, learned_source, learned_at, completed_at, actor)"
        " VALUES ($1, $2, 1, 'notice_missing', 'query', now(), now(), 'worker')",
        repaired.lane,
        repaired.order_id,
    )
    await stage.operator.holds.hold(held.order_no, by="Ann", reason="asks the payer")
    await rows.execute("UPDATE orders SET refund_reserved_minor = 1 WHERE id = $1", refunding.order_id)
    await pass_days(rows, 2)
    batch = await settle_one(settling)
    assert (batch.lines, batch.late_lines, batch.payout_minor) == (3, 2, 3 * OWED_MINOR)
    assert await marks(payouts) == ["", "late", "repaired"]
    assert (await check(books)).holds
    # What waited is paid with the next day, although nothing was sold on it.
    await rows.execute("UPDATE orders SET hold_reason = NULL, hold_since = NULL, refund_reserved_minor = 0")
    await pass_days(rows, 2)
    batch = await settle_one(settling)
    assert (batch.lines, batch.late_lines, batch.payout_minor) == (2, 2, 2 * OWED_MINOR)
    assert await marks(payouts) == ["waited", "waited"]
    assert await rows.fetchval("SELECT count(*) FROM settlement_wait") == 0
    assert (await check(books)).holds
    assert normal.order_id


async def test_what_a_held_order_owes_lessens_the_next_payout_once_its_payment_is_settled(
    stage: Stage, rows: Rows, settling: Settling, payouts: Payouts, books: Books
) -> None:
    """Left to wait, a debit would come off nothing while its merchant goes on being paid in full."""
    merchant = await stage.add_merchant()
    (sold,) = await sell(stage, merchant)
    await pass_days(rows, 2)
    await settle(settling)
    settled, fresh, _ = sold, *await sell(stage, merchant, orders=2)
    for order in (settled, fresh):
        await stage.operator.holds.hold(order.order_no, by="Ann", reason="refunded in the portal")
        await refund(rows, order, minor=30)
    await pass_days(rows, 2)
    batch = await settle_one(settling)
    assert (batch.lines, batch.payout_minor) == (2, OWED_MINOR - 30)
    # The other's debit waits beside its payment; and a batch that only takes back of a held order is paid.
    assert await rows.fetch("SELECT order_id, count(*) AS n FROM settlement_wait GROUP BY 1") == [(fresh.order_id, 2)]
    assert [one.is_held for one in await list_batches(payouts)] == [False, True]
    assert (await check(books)).holds


async def test_a_statement_says_what_is_owed_wherever_it_stands(
    stage: Stage, rows: Rows, settling: Settling, payouts: Payouts, typist: Typist
) -> None:
    """A merchant read that nothing was owed while a batch waited for the bank, and no payout was ever shown."""
    merchant = await stage.add_merchant()
    terms = SettlementTerms(hold_back_bp=1_000, hold_back_days=7)
    await stage.administration.set_terms(merchant.merchant_id, OrderTerms(), settlement=terms, by="Ann")
    await sell(stage, merchant)
    await pass_days(rows, 2)
    batch = await settle_one(settling)
    (shown,) = await list_batches(payouts)
    await payouts.pay_out([shown.batch_no], by="Ann", reference="b1")
    await payouts.take_back([shown.batch_no], by="Ann", reference="b1", reason="no such account")
    today = await rows.fetchval("SELECT (clock_timestamp() AT TIME ZONE 'Asia/Shanghai')::date")

    async def read(since: int, until: int) -> dict[str, Any]:
        days = ("--from", str(today - timedelta(days=since)), "--to", str(today - timedelta(days=until)))
        return await typist.json("ledger", "statement", str(merchant.merchant_id), *days)

    told = await read(0, 0)
    payout = batch.payout_minor
    assert [(line["entry"].partition(":")[0], line["amount_minor"], line["owed_minor"]) for line in told["lines"]] == [
        ("settlement", 0, OWED_MINOR),
        ("payout", -payout, OWED_MINOR - payout),
        ("payout_return", payout, OWED_MINOR),
    ]
    (closing,) = told["closing"]
    kept = ("owed_minor", "payable_minor", "held_back_minor")
    assert [closing[part] for part in kept] == [OWED_MINOR, payout, batch.held_back_minor]
    quiet = await read(1, 1)
    assert [quiet[part][0]["owed_minor"] for part in ("opening", "closing")] == [OWED_MINOR, OWED_MINOR]
    assert quiet["lines"] == []
    before = await read(9, 8)
    assert [before[part][0]["owed_minor"] for part in ("opening", "closing")] == [0, 0]


async def test_too_little_waits_and_a_share_stays_here_for_refunds(
    stage: Stage, rows: Rows, settling: Settling, books: Books, typist: Typist
) -> None:
    """Whoever asks where a share went that was held back is told by either batch."""
    merchant = await stage.add_merchant()
    terms = SettlementTerms(payout_minor_min=OWED_MINOR + 1, hold_back_bp=1_002, hold_back_days=7)
    await stage.administration.set_terms(merchant.merchant_id, OrderTerms(), settlement=terms, by="Ann")
    (sold,) = await sell(stage, merchant)
    await pass_days(rows, 3)
    assert await settle(settling) == []
    await sell(stage, merchant)
    await pass_days(rows, 3)
    batch = await settle_one(settling)
    held_back = 2 * OWED_MINOR * 1_002 // 10_000 + 1  # rounded, not cut off
    assert (batch.lines, batch.late_lines) == (2, 0)
    assert (batch.held_back_minor, batch.payout_minor) == (held_back, 2 * OWED_MINOR - held_back)
    assert (await balances(books))[f"held_back:{merchant.merchant_id}"] == -held_back
    # A refund that no sale covers takes what was held back, when its days are over.
    await stage.administration.set_terms(
        merchant.merchant_id, OrderTerms(), settlement=SettlementTerms(payout_minor_min=1), by="Ann"
    )
    await refund(rows, sold, minor=30)
    await pass_days(rows, 3)
    assert await settle(settling) == []
    await pass_days(rows, 7)
    batch = await settle_one(settling)
    assert (batch.total_minor, batch.released_minor, batch.payout_minor) == (-30, held_back, held_back - 30)
    assert (await check(books)).holds
    assert f"held_back:{merchant.merchant_id}" not in await balances(books)
    later, earlier = [one["batch_no"] for one in (await typist.json("ledger", "settlements"))["batches"]]
    told = [await typist.json("ledger", "settlement", batch_no) for batch_no in (later, earlier)]
    assert [(one["released_in"], one["releases"]) for one in told] == [(None, [earlier]), (later, [])]
    assert f"held back: given back in {later}" in (await typist.type("ledger", "settlement", earlier)).out
    assert f"released: held back by {earlier}" in (await typist.type("ledger", "settlement", later)).out


async def test_a_day_ends_by_the_merchants_own_clock_and_is_settled_so_many_days_later(
    stage: Stage, rows: Rows, settling: Settling, typist: Typist
) -> None:
    near, far = await stage.add_merchant(), await stage.add_merchant()
    set_far = ("merchant", "set", str(far.merchant_id), "--settles-after", "5", "--settles-zone", "America/New_York")
    assert (await typist.json(*set_far))["settles_zone"] == "America/New_York"
    await sell(stage, near)
    await sell(stage, far)
    await pass_days(rows, 3)
    assert [batch.merchant_id for batch in await settle(settling)] == [near.merchant_id]
    await pass_days(rows, 4)
    batch = await settle_one(settling)
    assert batch.merchant_id == far.merchant_id
    ends_at = await rows.fetchval(
        "SELECT ends_at AT TIME ZONE zone FROM settlement_batch WHERE id = $1", batch.batch_id
    )
    assert (ends_at.hour, ends_at.date() - batch.day) == (0, timedelta(days=1))
    for wrong in (
        SettlementTerms(zone="Mars/Base"),
        SettlementTerms(after_days=0),
        SettlementTerms(hold_back_bp=10_000),
    ):
        with pytest.raises(Refused):
            await stage.administration.set_terms(near.merchant_id, OrderTerms(), settlement=wrong, by="Ann")


async def test_a_day_ends_no_sooner_than_the_last_batch_did(stage: Stage, rows: Rows) -> None:
    """From Samoa to the Line Islands midnight comes 25 hours sooner: the day's batch would reach into the last one."""
    merchant = await stage.add_merchant()
    await rows.execute("UPDATE merchant SET settles_zone = 'Pacific/Kiritimati' WHERE id = $1", merchant.merchant_id)
    batched_at = datetime(2026, 1, 6, 11, tzinfo=UTC)
    await rows.execute(
        "INSERT INTO settlement_mark (lane, merchant_id, currency, settled_day, batched_at)"
        " VALUES ($1, $2, 'CNY', '2026-01-05', $3)",
        *(merchant.lane, merchant.merchant_id, batched_at),
    )
    async with stage.database.transaction() as transaction:
        (due,) = await lock_due(
            transaction, merchant.lane, merchant_id=merchant.merchant_id, settles_from_s=0.0, rows_max=1
        )
    assert (due.day, due.ends_at) == (date(2026, 1, 6), batched_at)


async def test_however_many_settle_at_once_and_in_parts_each_line_is_settled_once(
    stage: Stage, rows: Rows, settling: Settling, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling_module, "MERCHANTS_PER_STATEMENT_MAX", 2)
    # Neighbours in age lie in different lanes: of so many some share one.
    for _ in range(12):
        await sell(stage, await stage.add_merchant())
    await rows.execute("UPDATE merchant SET lane = 3")
    await rows.execute("UPDATE posting SET lane = 3")
    await rows.execute("UPDATE trade SET lane = 3")
    await rows.execute("UPDATE orders SET lane = 3")
    await pass_days(rows, 2)
    made = await asyncio.gather(settle(settling), settle(settling))
    assert sum(len(batches) for batches in made) == 12
    assert await settle(settling) == []
    assert await rows.fetchval("SELECT count(*) FROM settlement_line") == 12
    assert (await check(books)).holds


# What somebody does to the tables by hand, how it is undone, and how many batches and entries are found by it.
BREAKS = (
    (
        "UPDATE settlement_line SET amount_minor = amount_minor + 1",
        "UPDATE settlement_line SET amount_minor = amount_minor - 1",
        (1, 1),
    ),
    (
        "UPDATE settlement_line SET entry_key = 'payment:2'",
        "UPDATE settlement_line SET entry_key = 'payment:1'",
        (0, 2),
    ),
    (
        "UPDATE settlement_batch SET total_minor = total_minor + 1, payout_minor = payout_minor + 1",
        "UPDATE settlement_batch SET total_minor = total_minor - 1, payout_minor = payout_minor - 1",
        (1, 0),
    ),
    (
        "UPDATE settlement_batch SET state = 'paid_out', bank_reference = 'b'",
        "UPDATE settlement_batch SET state = 'open', bank_reference = NULL",
        (1, 0),
    ),
    (
        "UPDATE posting SET account = 'payable:9' WHERE account LIKE 'payable:%'",
        "UPDATE posting SET account = 'payable:' || (SELECT id FROM merchant) WHERE account = 'payable:9'",
        (1, 0),
    ),
    ("DELETE FROM settlement_line", "SELECT 1", (1, 1)),
)


@pytest.mark.invariant("I10")
async def test_a_batch_that_does_not_tie_breaks_the_check(
    stage: Stage, rows: Rows, settling: Settling, books: Books
) -> None:
    await sell(stage, await stage.add_merchant())
    await pass_days(rows, 2)
    await settle(settling)
    for break_it, undo, expected in BREAKS:
        assert (await check(books)).holds
        await rows.execute(break_it)
        found = await check(books)
        assert (len(found.untied_batches), len(found.astray_entries)) == expected, break_it
        assert not found.holds
        await rows.execute(undo)


# What somebody writes by hand, and of what it is found, with what is said and what is booked.
WRONG_FEES = [
    (
        (
            "UPDATE posting SET amount_minor = amount_minor + CASE WHEN account = 'fee_income' THEN 1 ELSE -1 END"
            " WHERE entry_key = 'refund:1' AND account NOT LIKE 'channel:%'"
        ),
        (
            "UPDATE posting SET amount_minor = amount_minor - CASE WHEN account = 'fee_income' THEN 1 ELSE -1 END"
            " WHERE entry_key = 'refund:1' AND account NOT LIKE 'channel:%'"
        ),
        ("refund", 2, 3),
    ),
    (
        "UPDATE trade SET fee_given_back_minor = fee_given_back_minor + 1",
        "UPDATE trade SET fee_given_back_minor = fee_given_back_minor - 1",
        ("payment", 3, 2),
    ),
]


@pytest.mark.invariant("I10")
async def test_a_fee_that_did_not_go_back_as_its_refund_says_breaks_the_check(
    stage: Stage, rows: Rows, books: Books
) -> None:
    """The channel's side is right and the entry balances: only its split between merchant and house is not."""
    (sold,) = await sell(stage, await stage.add_merchant())
    await refund(rows, sold, minor=280)
    for break_it, undo, expected in WRONG_FEES:
        assert (await check(books)).holds
        await rows.execute(break_it)
        found = await check(books)
        assert [(one.what, one.told_minor, one.booked_minor) for one in found.wrong_fees] == [expected]
        assert not found.holds
        await rows.execute(undo)


async def test_a_payout_is_told_by_a_person_and_may_come_back(
    stage: Stage, rows: Rows, settling: Settling, payouts: Payouts, books: Books
) -> None:
    merchant = await stage.add_merchant()
    (sold,) = await sell(stage, merchant)
    await pass_days(rows, 2)
    await settle(settling)
    (batch,) = await list_batches(payouts)
    number = batch.batch_no
    # A hold stops payouts, also one that came after the batch.
    await stage.operator.holds.hold(sold.order_no, by="Ann", reason="asks the payer")
    assert [one.is_held for one in await list_batches(payouts)] == [True]
    # What the bank has sent all the same is a fact, and untold it would be in the next file again.
    told = [await payouts.pay_out([number], by="Ann", reference="b1") for _ in range(2)]
    assert [(one.changed, one.is_held) for (one,) in told] == [(True, True), (False, True)]
    await rows.execute("UPDATE orders SET hold_reason = NULL, hold_since = NULL")
    assert (await balances(books))["bank"] == -OWED_MINOR
    assert await list_batches(payouts, BatchFilter(day=None, merchant_id=None, due=True)) == []
    back = [await payouts.take_back([number], by="Bob", reference="b1", reason="no such account") for _ in range(2)]
    assert [one.changed for (one,) in back] == [True, False]
    assert (await balances(books))[f"payable:{merchant.merchant_id}"] == -OWED_MINOR
    with pytest.raises(Refused, match="payout_returned"):
        await payouts.pay_out([number], by="Ann", reference="b1")
    (again,) = await payouts.pay_out([number], by="Ann", reference="b2")
    assert (again.state, again.changed) == (BatchState.PAID_OUT, True)
    await payouts.take_back([number], by="Bob", reference="b2", reason="no such account")
    with pytest.raises(Refused, match="payout_returned"):
        await payouts.pay_out([number], by="Ann", reference="b1")
    assert (await check(books)).holds
    made = [(one.bank_reference, one.paid_by, one.returned_by) for one in await payouts.list_payouts(batch)]
    assert made == [("b1", "Ann", "Bob"), ("b2", "Ann", "Bob")]
    for wrong, code in ((sold.order_no, "batch_no_malformed"), (number[:-1] + "*", "batch_no_malformed")):
        with pytest.raises(Refused, match=code):
            await payouts.pay_out([wrong], by="Ann", reference="b3")


@pytest.mark.invariant("I10")
async def test_what_a_bank_sent_twice_is_owed_back_and_lessens_the_next_payout(
    stage: Stage, rows: Rows, settling: Settling, payouts: Payouts, books: Books
) -> None:
    """Two files reached the bank: the second transfer is a fact, and must come back out of what is settled next."""
    merchant = await stage.add_merchant()
    await sell(stage, merchant)
    await pass_days(rows, 2)
    await settle(settling)
    (batch,) = await list_batches(payouts)
    number = batch.batch_no
    with pytest.raises(Refused, match="payout_not_made"):
        await payouts.pay_second([number], by="Ann", reference="b2", reason="two files")
    await payouts.pay_out([number], by="Ann", reference="b1")
    told = [await payouts.pay_second([number], by="Ann", reference="b2", reason="two files") for _ in range(2)]
    assert [(one.state, one.changed) for (one,) in told] == [(BatchState.PAID_OUT, True), (BatchState.PAID_OUT, False)]
    assert (await balances(books))["bank"] == -2 * OWED_MINOR
    assert (await check(books)).holds
    await sell(stage, merchant, orders=2)
    await pass_days(rows, 2)
    following = await settle_one(settling)
    assert (following.lines, following.payout_minor) == (3, OWED_MINOR)
    newest, _ = await list_batches(payouts)
    assert number in {line.order_no for line in await list_lines(payouts, newest)}
    # The bank recalled it: the merchant has it back with the next batch, and the first payout stays.
    back = [await payouts.take_back([number], by="Bob", reference="b2", reason="recalled") for _ in range(2)]
    assert [(one.state, one.changed) for (one,) in back] == [(BatchState.PAID_OUT, True), (BatchState.PAID_OUT, False)]
    await pass_days(rows, 2)
    assert (await settle_one(settling)).payout_minor == OWED_MINOR
    assert (await check(books)).holds
    made = [(one.bank_reference, one.second_reason, one.returned_by) for one in await payouts.list_payouts(batch)]
    assert made == [("b1", None, None), ("b2", "two files", "Bob")]
    await rows.execute("DELETE FROM settlement_second_payout")
    await rows.execute("UPDATE posting SET amount_minor = amount_minor * 2 WHERE entry_key LIKE 'second_payout:%'")
    assert [one.batch_id for one in (await check(books)).untied_batches] == [batch.row.batch_id]


async def test_the_job_goes_on_in_the_lane_where_another_broke_off(
    stage: Stage, rows: Rows, settling: Settling
) -> None:
    merchants = [await stage.add_merchant() for _ in range(3)]
    for merchant in merchants:
        await sell(stage, merchant)
    await pass_days(rows, 2)
    last = max(merchant.lane for merchant in merchants)

    async def say(_level: str, line: str) -> None:
        raise AssertionError(line)

    now = stage.opened.clock.now()
    running = RunningJob(
        run_id=1,
        arguments=RunArguments(),
        slot=now,
        started_at=now,
        last_begun_at=None,
        cursor=str(last),
        progress={"batches": 2, "lines": 2},
        say=say,
    )
    await SettleDaily(settling=settling).run(running)
    fresh = [merchant for merchant in merchants if merchant.lane == last]
    assert await rows.fetchval("SELECT count(*) FROM settlement_batch") == len(fresh)
    assert running.progress["batches"] == 2 + len(fresh)
    assert running.cursor == str(last)
