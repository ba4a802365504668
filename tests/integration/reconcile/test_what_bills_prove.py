"""What a bill is good for: it asks, it is believed as far as its origin goes, and no row of it is counted twice."""

import asyncpg
import pytest

from budan.core.evidence import Outcome, Source
from budan.core.refund import RefundEvidence, RefundOutcome
from budan.flows.door import DoorItem
from budan.flows.refund_door import RefundItem
from integration.reconcile.clerk import Clerk, add_refund
from stage import StagedOrder

Rows = asyncpg.Connection
AN_HOUR_LATER = "UPDATE discrepancy SET found_at = found_at - interval '1 hour'"


@pytest.mark.invariant("I4")
async def test_a_paid_order_that_the_bill_calls_reversed_is_asked_about_and_decided_by_the_channels_answer(
    clerk: Clerk, rows: Rows
) -> None:
    """A payment that we have seen was never asked about again: its money could be back with the payer for ever."""
    order = await clerk.paid()
    await clerk.compare([clerk.line(order), clerk.line(order, kind="REVOKED", channel_no="77")])
    due = "SELECT due_at <= now() FROM query_due WHERE order_id = $1"
    assert await rows.fetchval(due, order.order_id), "its bill makes it due"
    answer = clerk.stage.payment(
        order,
        outcome=Outcome.UNPAID_FINAL,
        source=Source.QUERY,
        reversed_here=True,
        money_returned=True,
        order_minor=None,
        payer_minor=None,
        currency=None,
        paid_at=None,
    )
    await clerk.stage.flows.door.record(DoorItem(evidence=answer, asked_attempts=0))
    held = "SELECT state, hold_reason FROM orders WHERE id = $1"
    assert tuple(await rows.fetchrow(held, order.order_id)) == ("paid", "returned_elsewhere")
    assert await rows.fetchval(due, order.order_id) is None
    await clerk.discrepancies.follow_up(clerk.account_id)
    (found,) = (await clerk.differences()).values()
    assert (found.kind, found.state) == ("reversal", "asked")
    await rows.execute(AN_HOUR_LATER)
    await clerk.discrepancies.follow_up(clerk.account_id)
    (found,) = (await clerk.differences()).values()
    assert found.state == "open", "what an hour of asking did not mend is a person's"


async def answer_refund(clerk: Clerk, order: StagedOrder, outcome: RefundOutcome) -> None:
    """The channel's signed answer to a question about an order's refund."""
    now = clerk.stage.opened.clock.now()
    said = RefundEvidence(
        refund_no=clerk.refund_no(order),
        trade_no=order.trade_no,
        account_id=clerk.account_id,
        outcome=outcome,
        source=Source.QUERY,
        learned_at=now,
        asked_at=now,
        amount_minor=300,
        currency="CNY",
        refunded_at=clerk.noon,
    )
    await clerk.stage.flows.refund_door.record(RefundItem(evidence=said, attempts=0))


@pytest.mark.invariant("I4")
async def test_a_refund_of_the_bill_that_our_books_call_failed_is_asked_about_until_it_is_a_persons(
    clerk: Clerk, rows: Rows
) -> None:
    """Its amount was freed and may have been refunded anew: the channel's answer books it and holds the order."""
    done, denied = await clerk.paid(), await clerk.paid()
    for order in (done, denied):
        await add_refund(rows, order, at=clerk.noon, state="failed")
    lines = [clerk.line(order) for order in (done, denied)]
    lines += [
        clerk.line(order, refund_no=clerk.refund_no(order), amount_minor=300, channel_no=f"{place}")
        for place, order in enumerate((done, denied), start=5)
    ]
    await clerk.compare(lines)
    due = await clerk.stage.flows.refunding.list_due(lanes=[clerk.merchant.lane], accounts_left_out=(), rows_max=10)
    assert {row.order_id for row in due} == {done.order_id, denied.order_id}
    await answer_refund(clerk, done, RefundOutcome.SUCCEEDED)
    await answer_refund(clerk, denied, RefundOutcome.FAILED)
    assert await rows.fetchval("SELECT count(*) FROM refund_due") == 0
    held = await rows.fetchval("SELECT hold_reason FROM orders WHERE id = $1", done.order_id)
    assert held == "refunded_after_failed"
    await rows.execute(AN_HOUR_LATER)
    await clerk.discrepancies.follow_up(clerk.account_id)
    found = await clerk.differences()
    states = [
        (found[clerk.refund_no(order)].state, found[clerk.refund_no(order)].resolution) for order in (done, denied)
    ]
    assert states == [("resolved", "repaired"), ("open", None)]
