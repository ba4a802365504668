import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from budan.core.errors import StoreUnavailable
from budan.core.evidence import Evidence, Outcome, Source
from budan.core.numbers import Environment
from budan.flows.door import ArrivedNotice
from budan.flows.door_plan import Planned
from budan.flows.leftovers import Leftovers
from budan.flows.stamp import stamp
from budan.ports.channel import PayResult
from builders import ACCOUNT, AMOUNT_MINOR, not_paid_yet, paid, refused, silence
from integration.flows.standing import LANES, Standing, Till, lock_orders, stand_orders

ALL_LANES = tuple(range(LANES))


def a_notice(number: int = 1) -> ArrivedNotice:
    return ArrivedNotice(
        notice_id=number,
        received_at=datetime(2026, 1, 5, 4, 4, tzinfo=UTC),
        headers="{}",
        body=b"as it came",
        tells_refund=False,
    )


async def retry_all(till: Till) -> list[str]:
    """What came of every left-over evidence, its time come."""
    await till.outside.execute("UPDATE evidence_due SET due_at = now()")
    leftovers = Leftovers(database=till.database, door=till.door)
    due = await leftovers.list_due(lanes=ALL_LANES, rows_max=10)
    return [(await leftovers.retry(one)).decision for one in due]


async def vanish(till: Till, standing: Standing) -> None:
    """Take the order away, as if its intent were still on its way to the database."""
    for table, column in (("query_due", "order_id"), ("trade", "order_id"), ("orders", "id")):
        await till.outside.execute(
            f"CREATE TABLE hidden_{table} AS SELECT * FROM {table} WHERE lane = $1 AND {column} = $2",  # noqa: S608 - names of our own tables
            *standing.key,
        )
        await till.outside.execute(f"DELETE FROM {table} WHERE lane = $1 AND {column} = $2", *standing.key)  # noqa: S608 - names of our own tables


async def appear(till: Till) -> None:
    for table in ("query_due", "trade", "orders"):
        await till.outside.execute(f"INSERT INTO {table} SELECT * FROM hidden_{table}")  # noqa: S608 - names of our own tables


@pytest.mark.invariant("I6", "I8")
async def test_evidence_of_an_unknown_trade_is_kept_until_its_trade_is_there(till: Till) -> None:
    """A notice may overtake the commit of its own intent, or a restore may lose the order: money is not forgotten."""
    standing = await till.stand()
    await vanish(till, standing)
    planned = await till.hear(paid(trade_no=standing.trade_no()), notice=a_notice())
    assert planned.decision == "unknown_trade"
    assert await till.rows("SELECT trade_no, decision, body FROM notice") == [
        (standing.trade_no(), "unknown_trade", b"as it came")
    ]
    assert [await retry_all(till) for _ in range(3)] == [["unknown_trade"]] * 3
    assert await till.rows("SELECT attempts, reason, due_at > now() FROM evidence_due") == [(3, "unknown_trade", True)]

    await appear(till)
    assert await retry_all(till) == ["complete"]
    assert await till.order_state(standing) == "paid"
    assert await till.count("evidence_due") == 0
    assert await till.count("posting") == 3


async def test_a_copy_that_has_its_effect_first_leaves_the_kept_one_to_be_decided_again(till: Till) -> None:
    standing = await till.stand()
    await vanish(till, standing)
    statement = paid(trade_no=standing.trade_no())
    await till.hear(statement)
    await appear(till)
    await till.hear(statement)
    assert await retry_all(till) == ["already_succeeded"]
    assert await till.count("evidence_due") == 0
    assert await till.count("posting") == 3


@pytest.mark.invariant("I3", "I10")
async def test_a_completion_that_is_booked_already_has_no_effect_at_all(till: Till) -> None:
    """Only a bug or a hand in the database can make it so: paid twice in the books would be worse than a row that waits."""
    standing = await till.stand()
    await till.outside.execute(
        "INSERT INTO posting (lane, order_id, entry_key, line, account, amount_minor, currency, booked_at)"
        " VALUES ($1, $2, 'payment:1', 0, 'channel:1', 1, 'CNY', now())",
        *standing.key,
    )
    planned = await till.hear(paid(trade_no=standing.trade_no()), notice=a_notice())
    assert planned.decision == "failed"
    assert await till.order_state(standing) == "paying"
    assert await till.count("webhook") == 0
    assert await till.rows("SELECT reason FROM evidence_due") == [("failed",)]


async def test_what_a_channel_repeats_about_an_unknown_trade_is_one_row(till: Till) -> None:
    standing = await till.stand()
    await vanish(till, standing)
    for number in range(3):
        await till.hear(paid(trade_no=standing.trade_no()), notice=a_notice(number))
    await till.hear(paid(trade_no=standing.trade_no(), source=Source.QUERY))
    assert await till.count("evidence_due") == 1
    assert await till.count("notice") == 3


@pytest.mark.parametrize("answer", [silence, not_paid_yet])
async def test_what_says_nothing_of_an_unknown_trade_is_not_kept(till: Till, answer: type[Evidence]) -> None:
    standing = await till.stand()
    await vanish(till, standing)
    await till.hear(answer(trade_no=standing.trade_no()))
    assert await till.count("evidence_due") == 0


@pytest.mark.invariant("I13")
@pytest.mark.parametrize("environment", [Environment.TEST, Environment.LIVE])
async def test_evidence_of_another_environment_is_kept_and_never_applied(till: Till, environment: Environment) -> None:
    """Two environments shared one queue once: a test payment must not complete a live order of the same id."""
    standing = await till.stand()
    foreign = standing.trade_no(environment=environment)
    planned = await till.hear(paid(trade_no=foreign), notice=a_notice())
    assert planned.decision == "foreign_environment"
    assert await till.order_state(standing) == "paying"
    assert await retry_all(till) == ["foreign_environment"]
    assert await till.order_state(standing) == "paying"
    assert await till.rows("SELECT trade_no, reason, due_at > now() + interval '23 hours' FROM evidence_due") == [
        (foreign, "foreign_environment", True)
    ]
    assert await till.rows("SELECT trade_no, order_id FROM notice") == [(foreign, 0)]


@pytest.mark.parametrize("number", ["", "20260105ABC", "D" * 30, "x" * 64, "D\u4e00"])
async def test_a_number_that_is_none_of_ours_is_kept_like_an_unknown_trade(till: Till, number: str) -> None:
    planned = await till.hear(paid(trade_no=number), notice=a_notice())
    assert planned.decision == "unknown_trade"
    assert await till.rows("SELECT trade_no FROM evidence_due") == [(number,)]
    assert await till.rows("SELECT trade_no, order_id FROM notice") == [(number, 0)]


async def test_a_number_with_another_merchant_in_it_does_not_find_the_order(till: Till) -> None:
    standing = await till.stand()
    forged = Standing(lane=standing.lane, order_id=standing.order_id, merchant_id=till.merchant_id + 1)
    assert (await till.hear(paid(trade_no=forged.trade_no()))).decision == "unknown_trade"
    assert (await till.hear(paid(trade_no=standing.trade_no(2)))).decision == "unknown_trade"
    assert (await till.hear(paid(trade_no=standing.trade_no(0)))).decision == "unknown_trade"
    assert await till.order_state(standing) == "paying"


@pytest.mark.invariant("I1", "I6")
@pytest.mark.parametrize("heard", [paid, refused, not_paid_yet, silence])
async def test_the_notice_of_a_row_that_failed_is_stored_all_the_same(till: Till, heard: type[Evidence]) -> None:
    """It is acknowledged, so the channel will not send it again: whatever it says must be on our disk."""
    standing = await till.stand()
    await till.outside.execute("ALTER TABLE orders ADD CONSTRAINT planted CHECK (version = 1) NOT VALID")
    planned = await till.hear(heard(trade_no=standing.trade_no()), notice=a_notice())
    assert planned.decision == "failed"
    assert await till.rows("SELECT order_id, decision, body FROM notice") == [
        (standing.order_id, "failed", b"as it came")
    ]
    assert await till.count("evidence_due") == (1 if heard in {paid, refused} else 0)


async def test_a_row_that_fails_takes_no_other_with_it(till: Till) -> None:
    standings = await stand_orders(till.database, merchant_id=till.merchant_id, lane=till.lane, orders=40)
    bad = standings[17]
    await till.outside.execute(
        f"ALTER TABLE orders ADD CONSTRAINT planted CHECK (id <> {bad.order_id} OR version = 1) NOT VALID"
    )
    planned = await asyncio.gather(*(till.hear(paid(trade_no=one.trade_no())) for one in standings))
    assert [one.decision for one in planned] == ["failed" if one is bad else "complete" for one in standings]
    assert await till.rows("SELECT trade_no FROM evidence_due") == [(bad.trade_no(),)]


async def test_a_row_that_goes_on_failing_is_asked_about_on_its_ladder(till: Till) -> None:
    """Otherwise its question stays due, and the channel is asked as fast as we can."""
    standing = await till.stand()
    await till.outside.execute("ALTER TABLE orders ADD CONSTRAINT planted CHECK (version = 1) NOT VALID")
    for attempts in range(2):
        await till.hear(paid(trade_no=standing.trade_no(), source=Source.QUERY), asked_attempts=attempts)
        assert await till.rows("SELECT attempts, due_at > now() FROM query_due") == [(attempts + 1, True)]
    await till.hear(silence(trade_no=standing.trade_no()), asked_attempts=2)
    assert await till.rows("SELECT attempts, due_at > now() FROM query_due") == [(3, True)]


@pytest.mark.invariant("I1")
async def test_what_can_neither_have_its_effect_nor_be_kept_is_not_answered_as_taken(till: Till) -> None:
    standing = await till.stand()
    await till.outside.execute("ALTER TABLE orders ADD CONSTRAINT planted CHECK (version = 1) NOT VALID")
    await till.outside.execute("ALTER TABLE evidence_due ADD CONSTRAINT planted CHECK (false) NOT VALID")
    with pytest.raises(StoreUnavailable):
        await till.hear(paid(trade_no=standing.trade_no()), notice=a_notice())
    assert await till.count("notice") == 0


async def test_an_order_row_that_somebody_holds_for_long_delays_nobody_else(till: Till) -> None:
    held, free = [await till.stand() for _ in range(2)]
    async with till.outside.transaction():
        await lock_orders(till.outside, [held])
        stuck = asyncio.create_task(till.hear(paid(trade_no=held.trade_no())))
        planned = await asyncio.wait_for(till.hear(paid(trade_no=free.trade_no())), timeout=10)
        assert planned.decision == "complete"
        # The lock outlasts all tries: the evidence waits in its table instead.
        assert (await asyncio.wait_for(stuck, timeout=20)).decision == "failed"
    assert await retry_all(till) == ["complete"]
    assert await till.order_state(held) == "paid"


@pytest.mark.parametrize("text", ["a\x00b", "a\ud800b"], ids=["nul", "half a character"])
async def test_text_that_the_database_cannot_hold_does_not_hold_up_the_payment(till: Till, text: str) -> None:
    """A channel's message is for people; money must not wait for it."""
    standing = await till.stand()
    said = PayResult(
        outcome=Outcome.PAID,
        trade_no=standing.trade_no(),
        order_minor=AMOUNT_MINOR,
        currency="CNY",
        channel_reference=text,
        payer_id=text,
        message=text,
    )
    heard = stamp(said, account_id=ACCOUNT, source=Source.NOTICE, learned_at=datetime.now(UTC), asked_at=None)
    assert (await till.hear(heard, notice=a_notice())).decision == "complete"
    assert await till.rows("SELECT message, payer_id, channel_reference FROM trade") == [("a\ufffdb",) * 3]


async def test_what_breaks_our_own_code_takes_no_other_with_it(till: Till) -> None:
    standings = await stand_orders(till.database, merchant_id=till.merchant_id, lane=till.lane, orders=9)
    statements = [paid(trade_no=one.trade_no()) for one in standings]
    statements[4] = paid(trade_no=standings[4].trade_no(), channel_reference="\ud800")
    heard = await asyncio.gather(*(till.hear(statement) for statement in statements), return_exceptions=True)
    assert [type(one) for one in heard] == [Planned] * 4 + [UnicodeEncodeError] + [Planned] * 4
    assert await till.rows("SELECT count(*) FROM orders WHERE state = 'paid'") == [(8,)]


async def test_an_amount_beyond_all_money_is_kept_out_without_harm_to_others(till: Till) -> None:
    standings = [await till.stand() for _ in range(2)]
    statements = [
        paid(trade_no=standings[0].trade_no(), order_minor=10**30),
        paid(trade_no=standings[1].trade_no(), order_minor=AMOUNT_MINOR),
    ]
    planned = await asyncio.gather(*(till.hear(statement) for statement in statements))
    assert [one.decision for one in planned] == ["failed", "complete"]
    assert await till.count("evidence_due") == 1


async def test_a_statement_that_this_version_cannot_read_waits_for_one_that_can(till: Till) -> None:
    standing = await till.stand()
    await vanish(till, standing)
    await till.hear(paid(trade_no=standing.trade_no()))
    await till.outside.execute("""UPDATE evidence_due SET statement = '{"outcome": "of tomorrow"}'""")
    assert await retry_all(till) == ["unreadable"]
    ((attempts, reason, wait),) = await till.rows("SELECT attempts, reason, due_at - now() FROM evidence_due")
    assert (attempts, reason) == (1, "unreadable")
    assert wait > timedelta(seconds=1)
