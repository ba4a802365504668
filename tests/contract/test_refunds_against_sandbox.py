"""Refunds at the sandbox by every adapter: two processes, real HTTP, each side with its own keys only."""

from dataclasses import replace

import pytest

from budan.core.evidence import Outcome
from budan.core.refund import RefundOutcome
from budan.ports.channel import (
    NoticeKind,
)
from contract.desk import (
    ALL_KINDS,
    AMOUNT_MINOR,
    SHORT_S,
    TELLING_REFUNDS,
    Desk,
    a_refund_of,
    an_intent,
    expect_refunded,
    heard,
)
from integration.sandbox.running import (
    Receiver,
)


@pytest.mark.parametrize("name", ALL_KINDS)
async def test_a_refund_goes_back_once_however_often_it_is_asked_for(desk: Desk) -> None:
    intent = await desk.paid()
    refund = a_refund_of(intent, 280)
    first = await desk.refund(refund)
    again = await desk.refund(refund)
    # Most accept, and only their query says done; Alipay's answer says that it moved the money; iPaynow refuses a number
    # that it has.
    outcomes = {
        "wechat_v3": (RefundOutcome.PENDING, RefundOutcome.SUCCEEDED),
        "alipay": (RefundOutcome.SUCCEEDED, RefundOutcome.PENDING),
        "ipaynow": (RefundOutcome.PENDING, RefundOutcome.FAILED),
    }
    assert (first.outcome, again.outcome) == outcomes.get(desk.name, (RefundOutcome.PENDING, RefundOutcome.PENDING))
    shown = await desk.query_refund(refund)
    expect_refunded(shown, refund)
    # Neither page says how that moment is written, so it is not read.
    assert (shown.refunded_at is None) is (desk.name in {"ipaynow", "wechat_v2"})
    trade = await desk.caller.trade(intent.trade_no)
    assert (trade["state"], trade["refunded_minor"], len(trade["refunds"])) == ("paid", 280, 1)


@pytest.mark.parametrize("name", ALL_KINDS)
async def test_refunds_of_a_trade_end_where_its_money_ends(desk: Desk) -> None:
    intent = await desk.paid()
    refunds = [a_refund_of(intent, amount_minor) for amount_minor in (280, 1001, 1000)]
    results = [await desk.refund(refund) for refund in refunds]
    assert results[1].outcome is RefundOutcome.FAILED
    assert (await desk.query_refund(refunds[1])).outcome is RefundOutcome.NOT_FOUND
    for refund in (refunds[0], refunds[2]):
        expect_refunded(await desk.query_refund(refund), refund)
    after = await desk.query(intent)
    # iPaynow's query of a payment does not tell of its refunds.
    hint = desk.name != "ipaynow"
    assert (after.outcome, after.refunded_hint, after.order_minor) == (Outcome.PAID, hint, AMOUNT_MINOR)
    assert (await desk.caller.trade(intent.trade_no))["refunded_minor"] == AMOUNT_MINOR


@pytest.mark.parametrize("name", ALL_KINDS)
async def test_one_refund_number_has_one_amount(desk: Desk) -> None:
    """The second request is not taken, and does not hide that the first one was."""
    intent = await desk.paid()
    refund = a_refund_of(intent, 280)
    await desk.refund(refund)
    other = await desk.refund(replace(refund, amount_minor=281))
    assert other.outcome in {RefundOutcome.FAILED, RefundOutcome.UNKNOWN}
    expect_refunded(await desk.query_refund(refund), refund)


async def test_what_was_not_paid_is_not_refunded(desk: Desk) -> None:
    intent = await desk.placed()
    assert (await desk.refund(a_refund_of(intent, 1))).outcome is RefundOutcome.FAILED
    assert (await desk.refund(a_refund_of(an_intent(), 1))).outcome is RefundOutcome.FAILED


@pytest.mark.parametrize("name", ALL_KINDS)
async def test_a_refund_that_nobody_asked_for_is_not_found(desk: Desk) -> None:
    assert (await desk.query_refund(a_refund_of(await desk.paid(), 1))).outcome is RefundOutcome.NOT_FOUND


@pytest.mark.parametrize("name", ALL_KINDS)
@pytest.mark.invariant("I5")
async def test_a_refund_without_an_answer_is_unknown_whether_or_not_money_went_back(desk: Desk) -> None:
    intent = await desk.paid()
    await desk.choose_refund_faults(intent, timeout_after_charge=True)
    done = a_refund_of(intent, 280)
    result = await desk.refund(done, deadline_s=SHORT_S)
    assert (result.outcome, result.sent) == (RefundOutcome.UNKNOWN, True)
    expect_refunded(await desk.query_refund(done), done)
    await desk.choose_refund_faults(intent, timeout_before_charge=True)
    lost = a_refund_of(intent, 280)
    result = await desk.refund(lost, deadline_s=SHORT_S)
    assert (result.outcome, result.sent) == (RefundOutcome.UNKNOWN, True)
    assert (await desk.query_refund(lost)).outcome is RefundOutcome.NOT_FOUND


@pytest.mark.parametrize("name", ALL_KINDS)
@pytest.mark.invariant("I5")
async def test_a_busy_channel_may_have_given_the_money_back(desk: Desk) -> None:
    intent = await desk.paid()
    await desk.choose_refund_faults(intent, busy=True)
    refund = a_refund_of(intent, 280)
    assert (await desk.refund(refund)).outcome is RefundOutcome.UNKNOWN
    expect_refunded(await desk.query_refund(refund), refund)


@pytest.mark.parametrize("name", ALL_KINDS)
async def test_a_shop_without_money_is_refused_until_it_has_some(desk: Desk) -> None:
    intent = await desk.paid()
    await desk.choose_refund_faults(intent, refund_refused=True)
    refund = a_refund_of(intent, 280)
    assert (await desk.refund(refund)).outcome is RefundOutcome.FAILED
    assert (await desk.query_refund(refund)).outcome is RefundOutcome.NOT_FOUND
    await desk.choose_refund_faults(intent)
    await desk.refund(refund)
    expect_refunded(await desk.query_refund(refund), refund)


@pytest.mark.parametrize("name", ALL_KINDS)
async def test_a_refund_can_take_its_time_and_end_badly(desk: Desk) -> None:
    intent = await desk.paid()
    await desk.choose_refund_faults(intent, refund_takes_s=600)
    slow = a_refund_of(intent, 1)
    assert (await desk.refund(slow)).outcome is RefundOutcome.PENDING
    assert (await desk.query_refund(slow)).outcome is RefundOutcome.PENDING
    ends = {
        "abnormal": RefundOutcome.ABNORMAL,
        "closed": RefundOutcome.FAILED,
    }
    for end, outcome in ends.items():
        await desk.choose_refund_faults(intent, refund_ends=end)
        refund = a_refund_of(intent, 1)
        assert (await desk.refund(refund)).outcome is RefundOutcome.PENDING
        # Alipay's query knows only refunds that are done or under way.
        shown = RefundOutcome.NOT_FOUND if desk.name == "alipay" else outcome
        if desk.name == "ipaynow":
            shown = RefundOutcome.FAILED
        assert (await desk.query_refund(refund)).outcome is shown
    assert (await desk.caller.trade(intent.trade_no))["refunded_minor"] == 0


@pytest.mark.parametrize("name", TELLING_REFUNDS)
async def test_a_refunds_notice_names_it_and_may_come_twice(desk: Desk, receiver: Receiver) -> None:
    intent = await desk.paid(notify_url=receiver.url)
    assert (await heard(desk, receiver)).kind is NoticeKind.PAYMENT
    await desk.choose_refund_faults(intent, double_notice=True, tell_refund=True)
    refund = a_refund_of(intent, 280, notify_url=receiver.url)
    await desk.refund(refund)
    for notice in (await heard(desk, receiver), await heard(desk, receiver)):
        assert (notice.kind, notice.result.outcome, notice.result.trade_no) == (
            NoticeKind.REFUND,
            Outcome.PAID,
            intent.trade_no,
        )
        told = notice.refund
        assert told is not None
        assert (told.outcome, told.refund_no) == (RefundOutcome.SUCCEEDED, refund.refund_no)
        # WeChat tells this refund's amount, Alipay all that went back.
        assert 280 in {told.amount_minor, told.refunded_total_minor}
    trade = await desk.caller.trade_when(
        intent.trade_no, lambda trade: trade["refunds"][0]["notice_state"] == "acknowledged"
    )
    assert (trade["refunds"][0]["notices_sent"], trade["notices_sent"]) == (2, 1)


@pytest.mark.parametrize("name", TELLING_REFUNDS)
async def test_a_refunds_notice_can_be_lost(desk: Desk, receiver: Receiver) -> None:
    intent = await desk.paid()
    await desk.choose_refund_faults(intent, drop_notice=True, tell_refund=True)
    await desk.refund(a_refund_of(intent, 280, notify_url=receiver.url))
    refund = (await desk.caller.trade(intent.trade_no))["refunds"][0]
    assert (refund["state"], refund["notice_state"], refund["notices_sent"]) == ("done", "dropped", 0)


@pytest.mark.parametrize("name", TELLING_REFUNDS)
async def test_a_person_at_the_channel_can_give_money_back_past_us(desk: Desk, receiver: Receiver) -> None:
    intent = await desk.paid(notify_url=receiver.url)
    await heard(desk, receiver)
    wish = {"trade_no": intent.trade_no, "amount_minor": AMOUNT_MINOR, "faults": {"tell_refund": True}}
    status, portal = await desk.caller.admin("POST", "/sandbox/portal-refunds", wish)
    assert (status, portal["by_portal"]) == (201, True)
    told = (await heard(desk, receiver)).refund
    assert told is not None
    assert (told.outcome, told.refund_no) == (RefundOutcome.SUCCEEDED, portal["refund_no"])
    assert (await desk.query(intent)).refunded_hint
    status, refused = await desk.caller.admin("POST", "/sandbox/portal-refunds", wish)
    assert (status, refused["code"]) == (409, "exceeds")


@pytest.mark.parametrize("name", ["swiftpass"])
async def test_a_channel_without_refund_notices_shows_a_persons_refund_to_who_asks(desk: Desk) -> None:
    intent = await desk.paid()
    wish = {"trade_no": intent.trade_no, "amount_minor": AMOUNT_MINOR, "faults": {"tell_refund": True}}
    status, portal = await desk.caller.admin("POST", "/sandbox/portal-refunds", wish)
    assert (status, portal["notice_state"]) == (201, "none")
    assert (await desk.query(intent)).refunded_hint
