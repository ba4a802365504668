from datetime import UTC, datetime, timedelta

import pytest

from budan.core.evidence import Source
from builders import ACCOUNT, AMOUNT_MINOR, not_paid_yet, paid, refused
from integration.flows.standing import Standing, Till

PAID_AT = datetime(2026, 1, 5, 4, 3, 2, tzinfo=UTC)


async def plant(till: Till, table: str) -> None:
    """From now on nothing can be written to the table."""
    await till.outside.execute(f"ALTER TABLE {table} ADD CONSTRAINT planted CHECK (false) NOT VALID")


async def uproot(till: Till, table: str) -> None:
    await till.outside.execute(f"ALTER TABLE {table} DROP CONSTRAINT planted")


@pytest.mark.invariant("I3")
@pytest.mark.parametrize("table", ["evidence", "posting", "webhook", "webhook_due", "remedy", "close_due"])
async def test_a_completion_that_loses_one_of_its_rows_loses_them_all(till: Till, table: str) -> None:
    """A paid order without its posting, webhook, close intent or remedy is what this system was built to end."""
    standing = await till.stand(trades=2)
    statement = paid(trade_no=standing.trade_no(), source=Source.QUERY, paid_at=PAID_AT)
    await plant(till, table)
    planned = await till.hear(statement)
    assert planned.decision == "failed"
    assert await till.order_state(standing) == "paying"
    assert await till.trade_state(standing) == "created"
    for name in ("evidence", "posting", "webhook", "webhook_due", "remedy", "close_due"):
        assert await till.count(name) == 0, name
    assert await till.rows("SELECT reason, attempts FROM evidence_due") == [("failed", 0)]

    await uproot(till, table)
    planned = await till.hear(statement, leftover_attempts=0)
    assert planned.decision == "complete"
    await assert_completed_once(till, standing)
    assert await till.count("evidence_due") == 0


async def assert_completed_once(till: Till, standing: Standing) -> None:
    assert await till.order_state(standing) == "paid"
    assert await till.rows("SELECT entry_key, account, amount_minor FROM posting ORDER BY line") == [
        ("payment:1", f"channel:{ACCOUNT}", AMOUNT_MINOR),
        ("payment:1", f"merchant:{standing.merchant_id}", 6 - AMOUNT_MINOR),
        ("payment:1", "fee_income", -6),
    ]
    assert await till.rows("SELECT event, version FROM webhook") == [("order.paid", 2)]
    assert await till.rows("SELECT version FROM webhook_due") == [(2,)]
    assert await till.rows("SELECT cause, learned_source, paid_at FROM remedy") == [
        ("notice_missing", "query", PAID_AT)
    ]
    assert await till.rows("SELECT attempt FROM close_due") == [(2,)]
    assert await till.rows("SELECT attempt FROM query_due") == [(2,)]


@pytest.mark.invariant("I3")
async def test_a_completion_by_notice_writes_everything_and_no_remedy(till: Till) -> None:
    standing = await till.stand()
    await till.hear(paid(trade_no=standing.trade_no()))
    assert await till.order_state(standing) == "paid"
    assert [await till.count(table) for table in ("posting", "webhook", "webhook_due", "remedy")] == [3, 1, 1, 0]
    assert await till.count("query_due") == 0


@pytest.mark.invariant("I8", "I9")
async def test_the_same_payment_heard_again_completes_once(till: Till) -> None:
    standing = await till.stand()
    for source in (Source.NOTICE, Source.NOTICE, Source.QUERY):
        await till.hear(paid(trade_no=standing.trade_no(), source=source))
    assert [await till.count(table) for table in ("evidence", "posting", "webhook", "refund")] == [1, 3, 1, 0]
    assert await till.rows("SELECT version FROM orders") == [(2,)]


@pytest.mark.invariant("I9")
async def test_a_second_payment_is_booked_and_goes_back(till: Till) -> None:
    """Both trades of one order took money: the payer must not wait for somebody to notice."""
    standing = await till.stand(trades=2)
    await till.hear(paid(trade_no=standing.trade_no(1)))
    for _ in range(2):
        await till.hear(paid(trade_no=standing.trade_no(2), channel_reference="4200000002"))
    assert await till.rows("SELECT paid_attempt, version FROM orders") == [(1, 3)]
    assert await till.rows("SELECT entry_key, account, amount_minor FROM posting WHERE entry_key = 'payment:2'") == [
        ("payment:2", f"channel:{ACCOUNT}", AMOUNT_MINOR),
        ("payment:2", "refund_payable", -AMOUNT_MINOR),
    ]
    assert await till.rows("SELECT ordinal, attempt, state, amount_minor, reason FROM refund") == [
        (1, 2, "created", AMOUNT_MINOR, "second_payment")
    ]
    assert await till.rows("SELECT ordinal FROM refund_due") == [(1,)]
    assert await till.rows("SELECT attempt, refund_reserved_minor FROM trade ORDER BY attempt") == [
        (1, 0),
        (2, AMOUNT_MINOR),
    ]
    assert await till.rows("SELECT event FROM webhook ORDER BY version") == [
        ("order.paid",),
        ("order.payment_returning",),
    ]
    assert await till.rows("SELECT attempt, cause FROM remedy") == [(2, "second_payment")]


@pytest.mark.invariant("I3", "I9")
@pytest.mark.parametrize("table", ["refund", "refund_due"])
async def test_a_second_payment_without_its_refund_intent_is_not_booked(till: Till, table: str) -> None:
    standing = await till.stand(trades=2)
    await till.hear(paid(trade_no=standing.trade_no(1)))
    await plant(till, table)
    planned = await till.hear(paid(trade_no=standing.trade_no(2), channel_reference="4200000002"))
    assert planned.decision == "failed"
    assert await till.rows("SELECT DISTINCT entry_key FROM posting") == [("payment:1",)]
    assert await till.trade_state(standing, 2) == "created"


@pytest.mark.invariant("I10")
async def test_every_entry_sums_to_zero_and_belongs_to_one_order(till: Till) -> None:
    standings = [await till.stand(trades=2) for _ in range(3)]
    for standing in standings:
        await till.hear(paid(trade_no=standing.trade_no(1), order_minor=AMOUNT_MINOR + 7))
        await till.hear(paid(trade_no=standing.trade_no(2)))
        await till.hear(paid(trade_no=standing.trade_no(1), channel_reference="4200000003"))
    sums = await till.rows("SELECT lane, order_id, entry_key, sum(amount_minor) FROM posting GROUP BY 1, 2, 3")
    assert len(sums) == 9
    assert {total for *_, total in sums} == {0}
    assert await till.count("posting") == 3 * (2 + 3 + 2)


@pytest.mark.invariant("I12")
async def test_a_remedy_keeps_the_original_times(till: Till) -> None:
    """Settlement goes by the day the payer paid on, however late we learned of it."""
    standing = await till.stand()
    await till.hear(refused(trade_no=standing.trade_no()))
    assert await till.trade_state(standing) == "closed"
    learned_at = PAID_AT + timedelta(days=2)
    await till.hear(paid(trade_no=standing.trade_no(), paid_at=PAID_AT, learned_at=learned_at))
    # Heard again later and with another time: what is written once stays.
    await till.hear(
        paid(trade_no=standing.trade_no(), paid_at=learned_at, learned_at=learned_at + timedelta(days=1)),
    )
    assert await till.rows("SELECT cause, actor, paid_at, learned_at FROM remedy") == [
        ("ended_trade_paid", "budan", PAID_AT, learned_at)
    ]
    assert await till.rows("SELECT paid_at, learned_at, learned_source FROM orders") == [
        (PAID_AT, learned_at, "notice")
    ]
    assert await till.rows("SELECT paid_at FROM trade") == [(PAID_AT,)]
    (completed_at,) = (await till.rows("SELECT completed_at FROM orders"))[0]
    assert completed_at > learned_at


async def test_an_answer_that_says_not_paid_yet_is_counted_and_not_stored(till: Till) -> None:
    standing = await till.stand()
    for attempts in range(3):
        await till.hear(not_paid_yet(trade_no=standing.trade_no()), asked_attempts=attempts)
    assert await till.rows("SELECT state, asked_count FROM trade") == [("submitted", 3)]
    assert await till.count("evidence") == 0
    assert await till.rows("SELECT attempts FROM query_due") == [(3,)]
