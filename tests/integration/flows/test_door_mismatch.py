import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from budan.core.evidence import Outcome, Source
from builders import ACCOUNT, AMOUNT_MINOR, OTHER_ACCOUNT, not_found, not_paid_yet, paid, refused, silence
from integration.flows.standing import Standing, Till

MISFITS: dict[str, dict[str, Any]] = {
    "wrong_amount": {"order_minor": AMOUNT_MINOR - 1},
    "wrong_currency": {"currency": "USD"},
    "wrong_account": {"account_id": OTHER_ACCOUNT},
}


@pytest.mark.invariant("I4")
@pytest.mark.parametrize("mismatch", MISFITS)
@pytest.mark.parametrize("source", list(Source), ids=lambda source: source.value)
async def test_money_that_does_not_fit_completes_nothing_on_any_path(till: Till, source: Source, mismatch: str) -> None:
    """A payment of one cent must not complete an order of ten yuan, whoever says so."""
    standing = await till.stand()
    await till.allow(OTHER_ACCOUNT)
    for _ in range(2):
        await till.hear(paid(trade_no=standing.trade_no(), source=source, **MISFITS[mismatch]))
    assert await till.order_state(standing) == "paying"
    assert await till.trade_state(standing) == "created"
    assert [await till.count(table) for table in ("remedy", "refund")] == [0, 0]
    if source is Source.BILL:
        # A bill proves nothing by itself: its trade is asked about.
        assert [await till.count(table) for table in ("contradiction", "posting", "webhook")] == [0, 0, 0]
        return
    # The merchant is told once, however often the same is said.
    assert await till.rows("SELECT event, version FROM webhook") == [("order.held", 2)]
    assert await till.rows("SELECT attempt, mismatch FROM contradiction") == [(1, mismatch)]
    assert await till.rows("SELECT hold_reason, hold_since IS NOT NULL FROM orders") == [(mismatch, True)]
    account = OTHER_ACCOUNT if mismatch == "wrong_account" else ACCOUNT
    amount = MISFITS[mismatch].get("order_minor", AMOUNT_MINOR)
    booked = [(f"channel:{account}", amount, "CNY"), ("suspense", -amount, "CNY")]
    # A currency that we keep no books in cannot be booked; the contradiction alone tells of it.
    wanted = [] if mismatch == "wrong_currency" else booked
    assert await till.rows("SELECT account, amount_minor, currency FROM posting ORDER BY line") == wanted


@pytest.mark.invariant("I4")
async def test_an_account_that_has_nothing_to_do_with_an_order_does_not_hold_it(till: Till) -> None:
    """Else whoever knows one account's key stops the payouts, refunds and closing of every merchant."""
    standing = await till.stand()
    for said in (paid, refused):
        for _ in range(2):
            planned = await till.hear(said(trade_no=standing.trade_no(), account_id=OTHER_ACCOUNT))
            assert (planned.decision, planned.order_state) == ("unrelated_account", "paying")
    assert await till.rows("SELECT hold_reason FROM orders") == [(None,)]
    assert await till.rows("SELECT state, answered_at FROM trade") == [("created", None)]
    assert await till.count("webhook") == 0
    # It is shown, and the money that came into an account of ours is booked where it can be found.
    assert await till.rows("SELECT mismatch FROM contradiction") == [("wrong_account",)] * 2
    booked = [(f"channel:{OTHER_ACCOUNT}", AMOUNT_MINOR), ("suspense", -AMOUNT_MINOR)]
    assert await till.rows("SELECT account, amount_minor FROM posting ORDER BY line") == booked
    await till.hear(paid(trade_no=standing.trade_no()))
    assert await till.rows("SELECT state, hold_reason FROM orders") == [("paid", None)]


@pytest.mark.invariant("I4")
async def test_a_held_order_is_still_completed_by_evidence_that_fits(till: Till) -> None:
    standing = await till.stand()
    await till.hear(paid(trade_no=standing.trade_no(), order_minor=1))
    await till.hear(paid(trade_no=standing.trade_no()))
    assert await till.rows("SELECT state, hold_reason FROM orders") == [("paid", "wrong_amount")]


@pytest.mark.invariant("I3")
async def test_what_pays_and_holds_an_order_at_once_is_told_by_two_events_in_their_order(till: Till) -> None:
    """Each event has a version of its own, so that neither can take the other's place in the merchant's books."""
    standing = await till.stand()
    heard = paid(trade_no=standing.trade_no(), refunded_hint=True, paid_at=datetime.now(UTC))
    planned = await till.hear(heard)
    assert planned.version == 3
    assert await till.rows("SELECT version, hold_reason FROM orders") == [(3, "refunded_elsewhere")]
    await till.hear(heard)
    told = await till.rows("SELECT version, convert_from(body, 'UTF8')::jsonb FROM webhook ORDER BY version")
    shown = [(version, json.loads(event)) for version, event in told]
    assert [(version, event["type"], event["data"]["version"]) for version, event in shown] == [
        (2, "order.paid", 2),
        (3, "order.held", 3),
    ]
    assert [event["data"]["state"] for _, event in shown] == ["paid", "paid"]
    assert [event["data"]["hold_reason"] for _, event in shown] == [None, "refunded_elsewhere"]
    assert datetime.fromisoformat(shown[1][1]["data"]["paid_at"]) == heard.paid_at


@pytest.mark.invariant("I4")
async def test_a_bill_row_makes_its_trade_due_at_once(till: Till) -> None:
    """The bill knows of money that we do not: the channel's signed answer is wanted now, not at the next rung."""
    standing = await till.stand()
    await till.outside.execute("UPDATE query_due SET due_at = now() + interval '1 day', attempts = 9")
    planned = await till.hear(paid(trade_no=standing.trade_no(), source=Source.BILL))
    assert planned.decision == "channel_is_asked"
    assert await till.rows("SELECT due_at <= clock_timestamp() FROM query_due") == [(True,)]


@pytest.mark.invariant("I4")
async def test_a_payment_that_is_denied_after_it_was_proven_holds_the_order(till: Till) -> None:
    standing = await till.stand()
    await till.hear(paid(trade_no=standing.trade_no()))
    await till.hear(refused(trade_no=standing.trade_no()))
    assert await till.rows("SELECT state, hold_reason FROM orders") == [("paid", "payment_denied")]
    assert await till.count("posting") == 3


@pytest.mark.invariant("I5")
@pytest.mark.parametrize("source", [Source.REPLY, Source.QUERY])
async def test_silence_moves_a_trade_to_unknown_and_ends_nothing(till: Till, source: Source) -> None:
    standing = await till.stand()
    for attempts in range(5):
        await till.hear(silence(trade_no=standing.trade_no(), source=source), asked_attempts=attempts)
    assert await till.trade_state(standing) == "unknown"
    assert await till.order_state(standing) == "paying"
    assert await till.rows("SELECT attempts, due_at > now() FROM query_due") == [(5, True)]


@pytest.mark.invariant("I5")
async def test_silence_does_not_move_a_trade_whose_end_is_known(till: Till) -> None:
    standing = await till.stand(trades=2)
    await till.hear(paid(trade_no=standing.trade_no(1)))
    await till.hear(refused(trade_no=standing.trade_no(2)))
    for attempt in (1, 2):
        await till.hear(silence(trade_no=standing.trade_no(attempt)))
    assert [await till.trade_state(standing, attempt) for attempt in (1, 2)] == ["succeeded", "closed"]


@pytest.mark.invariant("I5")
async def test_no_such_trade_ends_one_only_after_its_expiry_and_one_more_question(till: Till) -> None:
    over = timedelta(minutes=18)
    young = await till.stand(age=over)
    for asked_ago in (timedelta(minutes=10), timedelta(minutes=9), timedelta(minutes=2)):
        await hear_not_found(till, young, asked_ago=asked_ago)
    assert await till.trade_state(young) == "created"
    assert await till.rows("SELECT not_found_count FROM trade") == [(0,)]

    asked_at = await till.outside.fetchval("SELECT clock_timestamp()") - timedelta(seconds=30)
    for _ in range(3):  # the same answer, by whatever way it comes again
        await till.hear(not_found(trade_no=young.trade_no(), asked_at=asked_at), asked_attempts=0)
    assert await till.rows("SELECT not_found_count, not_found_asked_at FROM trade") == [(1, asked_at)]
    assert await till.trade_state(young) == "created"
    await hear_not_found(till, young, asked_ago=timedelta(seconds=20))
    assert await till.trade_state(young) == "closed"


@pytest.mark.invariant("I5")
async def test_a_charge_that_the_channel_does_not_know_stays_open_however_often_it_says_so(till: Till) -> None:
    """Our request may still be on its way: only an answered reverse makes that definite."""
    standing = await till.stand(method="code", age=timedelta(hours=2))
    for _ in range(5):
        await hear_not_found(till, standing, asked_ago=timedelta(seconds=1))
    assert await till.trade_state(standing) == "created"


async def hear_not_found(till: Till, standing: Standing, *, asked_ago: timedelta) -> None:
    now = await till.outside.fetchval("SELECT clock_timestamp()")
    await till.hear(not_found(trade_no=standing.trade_no(), asked_at=now - asked_ago), asked_attempts=0)


@pytest.mark.invariant("I6")
@pytest.mark.parametrize("method", ["native", "code"])
async def test_no_answer_of_a_channel_ends_the_questions_about_an_open_trade(till: Till, method: str) -> None:
    standing = await till.stand(method=method)
    await till.outside.execute("UPDATE trade SET created_at = now() - interval '1 day'")
    for attempts, answer in enumerate([silence, not_paid_yet, not_found, silence, not_paid_yet] * 10):
        await till.hear(answer(trade_no=standing.trade_no()), asked_attempts=attempts)
    ((attempts, wait_s),) = await till.rows(
        "SELECT attempts, extract(epoch FROM due_at - clock_timestamp())::float FROM query_due"
    )
    assert attempts == 50
    assert 1_700 < wait_s < 1_800


@pytest.mark.invariant("I6")
async def test_a_contradiction_does_not_end_the_questions(till: Till) -> None:
    standing = await till.stand()
    await till.hear(paid(trade_no=standing.trade_no(), order_minor=1, source=Source.QUERY), asked_attempts=0)
    assert await till.rows("SELECT attempts, due_at > now() FROM query_due") == [(1, True)]


@pytest.mark.invariant("I6")
async def test_a_trade_that_ended_unpaid_is_asked_once_more_and_next_morning(till: Till) -> None:
    """The channel's no may come from a replica that had not heard of the payment yet."""
    standing = await till.stand()
    waits: list[float | None] = []
    await till.hear(refused(trade_no=standing.trade_no(), source=Source.REPLY))
    for attempts in range(2):
        waits.append(await _wait_s(till))
        await till.hear(refused(trade_no=standing.trade_no()), asked_attempts=attempts)
    assert [round(wait, -2) for wait in waits if wait is not None] == [600, 43_200]
    assert await till.count("query_due") == 0


async def _wait_s(till: Till) -> float | None:
    return await till.outside.fetchval("SELECT extract(epoch FROM due_at - clock_timestamp())::float FROM query_due")


@pytest.mark.invariant("I6")
@pytest.mark.parametrize(
    "unheard",
    [pytest.param({"sent": False}, id="never left"), pytest.param({"outcome": Outcome.UNKNOWN}, id="no answer")],
)
async def test_the_questions_after_an_unpaid_end_are_not_used_up_before_the_channel_answers(
    till: Till, unheard: dict[str, Any]
) -> None:
    """No sweep looks at a paid order's other trades: a second payment whose notice was lost would stay with us for days."""
    standing = await till.stand(age=timedelta(minutes=30))
    await till.hear(refused(trade_no=standing.trade_no(), source=Source.REPLY))
    for age, wait_s in (("30 minutes", 180), ("12 hours", 4_320), ("5 days", 21_600)):
        await till.outside.execute("UPDATE trade SET created_at = clock_timestamp() - $1::text::interval", age)
        for attempts in range(2):
            unasked = not_paid_yet(trade_no=standing.trade_no(), source=Source.QUERY, **unheard)
            await till.hear(unasked, asked_attempts=attempts)
            assert round(await _wait_s(till) or 0, -1) == wait_s
            # What lasts for days is shown to a person.
            assert await till.rows("SELECT attempts, needs_person FROM query_due") == [(attempts, age == "5 days")]
    # The first answer is the one that counts.
    await till.hear(refused(trade_no=standing.trade_no()), asked_attempts=0)
    assert await till.rows("SELECT attempts, needs_person FROM query_due") == [(1, False)]
    await till.hear(refused(trade_no=standing.trade_no()), asked_attempts=1)
    assert await till.count("query_due") == 0


@pytest.mark.invariant("I6")
async def test_a_trade_that_was_revoked_unpaid_is_asked_about_like_any_other_that_ended(till: Till) -> None:
    standing = await till.stand(method="code")
    await till.hear(refused(trade_no=standing.trade_no(), reversed_here=True))
    assert await till.trade_state(standing) == "reversed"
    assert await till.rows("SELECT attempts, due_at > now() FROM query_due") == [(0, True)]
