"""Payments that go back by themselves: each next step is taken by the test, at the sandbox over HTTP."""

from dataclasses import replace

import pytest

from budan.core.evidence import Evidence, Outcome, Source
from budan.core.numbers import AccountId
from budan.flows.door import DoorItem
from budan.flows.refund_door import RefundItem
from budan.flows.views import OrderView, PaymentWish
from budan.ports.channel import Method
from integration.flows.test_refunds import PAID_MINOR, Desk, desk, told_elsewhere

__all__ = ["desk"]


@pytest.mark.invariant("I9")
async def test_a_second_payment_goes_back_by_itself_and_is_never_given_up(desk: Desk) -> None:
    order = await desk.paid("wechat_v3")
    account_id = AccountId(desk.house.account_ids["wechat_v3"])
    second = await _second_payment(desk, order, account_id=account_id)
    assert await desk.balance("refund_payable") == -PAID_MINOR
    wish = {"trade_no": second, "faults": {"refund_refused": True}}
    await desk.payer.admin("PUT", "/sandbox/refund-faults", wish)
    for _ in range(4):
        await desk.rows.execute("UPDATE refund SET send_until = send_until - interval '1 minute'")
        await desk.step()
    assert await desk.rows.fetchval("SELECT state FROM refund") == "unknown"
    await desk.payer.admin("PUT", "/sandbox/refund-faults", {"trade_no": second, "faults": {}})
    await desk.settle()
    assert await desk.rows.fetchval("SELECT state FROM refund") == "succeeded"
    assert await desk.balance("refund_payable") == 0
    assert (await desk.payer.trade(second))["refunded_minor"] == PAID_MINOR
    # The merchant's own money was not touched, and all of it can still be refunded.
    await desk.ask(await desk.order(order), PAID_MINOR)
    await desk.settle()
    assert await desk.balance("channel:%") == 0


@pytest.mark.invariant("I9")
async def test_a_number_that_the_channel_closed_is_followed_by_another(desk: Desk) -> None:
    order = await desk.paid("wechat_v3")
    second = await _second_payment(desk, order, account_id=AccountId(desk.house.account_ids["wechat_v3"]))
    await desk.payer.admin("PUT", "/sandbox/refund-faults", {"trade_no": second, "faults": {"refund_ends": "closed"}})
    await desk.step()
    await desk.step()
    await desk.payer.admin("PUT", "/sandbox/refund-faults", {"trade_no": second, "faults": {}})
    await desk.settle()
    states = [row[0] for row in await desk.rows.fetch("SELECT state FROM refund ORDER BY ordinal")]
    assert states == ["failed", "succeeded"]
    assert await desk.balance("refund_payable") == 0


@pytest.mark.invariant("I6", "I9")
@pytest.mark.parametrize(("by_portal_minor", "by_total"), [(PAID_MINOR, False), (280, True)])
async def test_a_refund_that_was_made_in_the_portal_meanwhile_is_not_sent_for_ever(
    desk: Desk, by_portal_minor: int, *, by_total: bool
) -> None:
    """A person gave a second payment back by hand: ours ends and says why, or begins anew with what is left.

    Alipay's notice tells only the trade's total, which waits until ours is refused and not known there.
    """
    order = await desk.paid("wechat_v3")
    account_id = AccountId(desk.house.account_ids["wechat_v3"])
    second = await _second_payment(desk, order, account_id=account_id)
    wish = {"trade_no": second, "amount_minor": by_portal_minor, "faults": {}}
    assert (await desk.payer.admin("POST", "/sandbox/portal-refunds", wish))[0] == 201
    told = replace(told_elsewhere(desk, order), trade_no=second, amount_minor=by_portal_minor)
    if by_total:
        told = replace(told, amount_minor=None, refunded_total_minor=by_portal_minor)
        for _ in range(2):
            assert (await desk.house.flows.refund_door.record(RefundItem(evidence=told))).decision == "total_waits"
            await desk.rows.execute("UPDATE refund SET send_until = send_until - interval '1 minute'")
            await desk.step()
    assert (await desk.house.flows.refund_door.record(RefundItem(evidence=told))).decision == "external"
    await desk.settle()
    left_minor = PAID_MINOR - by_portal_minor
    made = [
        tuple(row)
        for row in await desk.rows.fetch(
            "SELECT state, amount_minor, code FROM refund WHERE origin = 'unwanted' ORDER BY ordinal"
        )
    ]
    assert made[0][:2] == ("failed", PAID_MINOR)
    assert made[1:] == ([("succeeded", left_minor, made[1][2])] if left_minor else [])
    assert (made[0][2] == "refunded_elsewhere") == (not left_minor)
    assert await desk.balance("refund_payable") == 0
    assert await desk.rows.fetchval("SELECT refund_reserved_minor FROM trade WHERE attempt = 2") == 0
    assert (await desk.payer.trade(second))["refunded_minor"] == PAID_MINOR


async def _second_payment(desk: Desk, order: OrderView, *, account_id: AccountId) -> str:
    """A second trade of the order that the channel was paid for; gives its number."""
    flows = desk.house.flows
    await desk.rows.execute("UPDATE orders SET state = 'paying', paid_attempt = NULL, completed_at = NULL")
    opened = await flows.payments.start_payment(
        desk.house.caller, order.order_no, PaymentWish(method=Method.NATIVE, channel="wechat_v3")
    )
    await desk.rows.execute("UPDATE orders SET state = 'paid', paid_attempt = 1, completed_at = now()")
    trade = opened.trades[1]
    await desk.payer.pay(code_text=trade.qr_text, faults={"drop_notice": True})
    evidence = Evidence(
        trade_no=trade.trade_no,
        account_id=account_id,
        outcome=Outcome.PAID,
        source=Source.QUERY,
        learned_at=order.created_at,
        order_minor=PAID_MINOR,
        currency="CNY",
    )
    planned = await flows.door.record(DoorItem(evidence=evidence))
    assert planned.decision == "return_second"
    return trade.trade_no
