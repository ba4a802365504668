"""A difference that a person mends by a posting: it must end with that posting, once, and as it stood."""

from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from budan.core.errors import Refused
from budan.core.ledger import channel_account, merchant_account
from budan.flows.adjusting import Adjustments, AdjustmentWish
from integration.reconcile.clerk import Clerk
from stage import AMOUNT_MINOR, Stage

Rows = asyncpg.Connection


@pytest.fixture
def adjustments(stage: Stage) -> Adjustments:
    return Adjustments(database=stage.database, environment=stage.settings.environment, ids=stage.flows.ids)


def of(difference: int, **changes: Any) -> AdjustmentWish:
    """Ann leaves accounts and amount to what the difference says."""
    wish = AdjustmentWish(
        by="Ann",
        reason="coupons of the merchant's own",
        debit=None,
        credit=None,
        amount_minor=None,
        currency="CNY",
        order_no=None,
        difference=difference,
    )
    return replace(wish, **changes)


@pytest.mark.invariant("I10")
async def test_a_coupon_of_the_merchants_is_taken_from_it_and_its_difference_ends_with_that(
    clerk: Clerk, rows: Rows, adjustments: Adjustments
) -> None:
    """Finance works through a list of these: one that was booked and still stood open would be booked again."""
    order = await clerk.paid()
    lines = [clerk.line(order, settle_minor=AMOUNT_MINOR - 100)]
    await clerk.compare(lines, origin="channel")
    (found,) = await clerk.list_differences(state="open")
    proposed = await adjustments.propose(of(found.id))
    number = proposed.row.number
    assert proposed.order_no == order.order_no
    with pytest.raises(Refused, match="difference_proposed"):
        await adjustments.propose(of(found.id))
    assert [row.state for row in await clerk.list_differences()] == ["open"]
    await adjustments.approve(number, amount_minor=100, by="Bob")
    (ended,) = await clerk.list_differences()
    assert (ended.state, ended.resolution) == ("resolved", "corrected")
    assert ended.notes == f"Bob: adjustment {number}, proposed by Ann: coupons of the merchant's own"
    booked = await rows.fetch(
        "SELECT account, amount_minor FROM posting WHERE order_id = $1 AND entry_key = 'adjustment:1'", order.order_id
    )
    owner = merchant_account(clerk.merchant.merchant_id)
    assert dict(map(tuple, booked)) == {owner: 100, channel_account(clerk.account_id): -100}
    with pytest.raises(Refused, match="discrepancy_resolved"):
        await adjustments.propose(of(found.id))
    # The channel's next bill of the day says it anew: what is booked is booked, and only the rest is proposed.
    other = await clerk.paid()
    await clerk.compare([*lines, clerk.line(other)], origin="channel")
    with pytest.raises(Refused, match="difference_adjusted"):
        await adjustments.propose(of(found.id))
    await clerk.compare([clerk.line(order, settle_minor=AMOUNT_MINOR - 130), clerk.line(other)], origin="channel")
    assert (await adjustments.propose(of(found.id))).row.amount_minor == 30


async def test_a_difference_that_changed_since_it_was_proposed_is_not_mended_by_that(
    clerk: Clerk, adjustments: Adjustments
) -> None:
    """The second person agrees to what the first one saw; of a bill that came between neither has decided."""
    order = await clerk.paid()
    await clerk.compare([clerk.line(order, settle_minor=AMOUNT_MINOR - 100)], origin="channel")
    (found,) = await clerk.list_differences(state="open")
    number = (await adjustments.propose(of(found.id))).row.number
    await clerk.compare([clerk.line(order, settle_minor=AMOUNT_MINOR - 90)], origin="channel")
    with pytest.raises(Refused, match="difference_changed"):
        await adjustments.approve(number, amount_minor=100, by="Bob")
    await adjustments.reject(number, by="Bob", reason="the bill was replaced")
    assert (await adjustments.propose(of(found.id))).row.amount_minor == 90


async def test_only_the_money_that_a_merchant_has_is_taken_from_it(
    clerk: Clerk, rows: Rows, adjustments: Adjustments
) -> None:
    """A second payment goes back to its payer and a refund has been taken already: filled in, it would pay for both."""
    once, half, twice = [await clerk.paid() for _ in range(3)]
    again = await clerk.attempt_again(twice)
    await clerk.hear(again, paid_at=clerk.noon, channel_reference="42018")
    await rows.execute("UPDATE trade SET refunded_minor = $1 WHERE order_id = $2", AMOUNT_MINOR, once.order_id)
    await rows.execute("UPDATE trade SET refund_reserved_minor = 1 WHERE order_id = $1", half.order_id)
    settled = {"settle_minor": AMOUNT_MINOR - 100}
    lines = [clerk.line(once, **settled), clerk.line(half, **settled), clerk.line(twice)]
    await clerk.compare([*lines, clerk.line(again, channel_no="42018", **settled)], origin="channel")
    found = await clerk.list_differences(state="open")
    assert sorted(row.subject for row in found) == sorted([once.trade_no, half.trade_no, again.trade_no])
    for row in found:
        with pytest.raises(Refused, match="difference_ambiguous"):
            await adjustments.propose(of(row.id))


async def test_a_refund_that_begins_after_it_was_proposed_is_not_approved_with_it(
    clerk: Clerk, rows: Rows, adjustments: Adjustments
) -> None:
    """What the proposal takes from the merchant the refund takes as well."""
    order = await clerk.paid()
    await clerk.compare([clerk.line(order, settle_minor=AMOUNT_MINOR - 100)], origin="channel")
    (found,) = await clerk.list_differences(state="open")
    number = (await adjustments.propose(of(found.id))).row.number
    await rows.execute("UPDATE trade SET refund_reserved_minor = 1")
    with pytest.raises(Refused, match="difference_changed"):
        await adjustments.approve(number, amount_minor=100, by="Bob")


async def test_an_adjustment_ends_only_the_difference_that_it_mends(clerk: Clerk, adjustments: Adjustments) -> None:
    """One fen somewhere else ended a difference of 100 for ever, and nobody looked again."""
    order = await clerk.paid()
    await clerk.compare([clerk.line(order, settle_minor=AMOUNT_MINOR - 100)], origin="channel")
    (found,) = await clerk.list_differences(state="open")
    channel = channel_account(clerk.account_id)
    elsewhere = of(found.id, debit="fee_income", credit="bank", amount_minor=100)
    with pytest.raises(Refused, match="difference_of_another_account"):
        await adjustments.propose(elsewhere)
    part = await adjustments.propose(replace(elsewhere, credit=channel, amount_minor=40))
    approved = await adjustments.approve(part.row.number, amount_minor=40, by="Bob")
    assert approved.left_minor == -60
    (still,) = await clerk.list_differences()
    assert still.state == "open"
    assert (
        still.notes == f"Bob: adjustment {part.row.number} leaves -60, proposed by Ann: coupons of the merchant's own"
    )
    rest = await adjustments.propose(of(found.id))
    assert rest.row.amount_minor == 60
    assert (await adjustments.approve(rest.row.number, amount_minor=60, by="Bob")).left_minor == 0
    assert [row.state for row in await clerk.list_differences()] == ["resolved"]


async def test_a_difference_of_which_one_side_may_be_wrong_is_not_filled_in(
    clerk: Clerk, adjustments: Adjustments
) -> None:
    """Which account has it is a person's judgement there: a guess would look like one."""
    await clerk.paid()
    await clerk.compare([], origin="channel")
    (found,) = await clerk.list_differences()
    with pytest.raises(Refused, match="difference_ambiguous"):
        await adjustments.propose(of(found.id))
