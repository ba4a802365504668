"""What a shop may read of its charge, and what becomes of money that comes after it has read "not paid"."""

import asyncio

import pytest

from budan.core.evidence import Source
from budan.core.numbers import Environment
from budan.flows.reading import Reading
from budan.flows.views import Caller, OrderView, PaymentStatus
from builders import paid, refused
from integration.flows.standing import Standing, Till


async def look(till: Till, standing: Standing) -> OrderView:
    """What a desk's page and `GET /v1/orders/{order_no}` answer by."""
    reading = Reading(database=till.database, environment=Environment.LOCAL)
    caller = Caller(merchant_id=standing.merchant_id, lane=standing.lane)
    return await reading.get_order(caller, standing.trade_no(0))


@pytest.mark.invariant("I1")
async def test_a_charge_that_a_question_ended_goes_back_when_it_is_paid_late_after_all(till: Till) -> None:
    """Nobody waits for it any more: the desk's page read "not paid" and wrote nothing, and its shop charged anew."""
    standing = await till.stand(method="code")
    await till.hear(refused(trade_no=standing.trade_no()))
    read = await look(till, standing)
    late = await till.hear(paid(trade_no=standing.trade_no(), source=Source.QUERY))
    assert (read.payment_status, late.decision) == (PaymentStatus.UNPAID, "return_late")
    assert await till.rows("SELECT state, told_unpaid FROM orders") == [("paying", True)]


@pytest.mark.invariant("I1")
async def test_a_new_attempt_takes_the_word_back_and_its_end_says_it_again(till: Till) -> None:
    """While a code can be paid everybody reads "pending", so either payment is good; once it is closed neither is."""
    standing = await till.stand(method="code", trades=2)
    await till.outside.execute("UPDATE trade SET method = 'native' WHERE attempt = 2")
    await till.hear(refused(trade_no=standing.trade_no(1)))
    assert (await look(till, standing)).payment_status is PaymentStatus.PENDING
    assert await till.rows("SELECT told_unpaid FROM orders") == [(False,)]
    await till.hear(refused(trade_no=standing.trade_no(2)))
    late = await till.hear(paid(trade_no=standing.trade_no(1)))
    assert late.decision == "return_late"


@pytest.mark.invariant("I1")
async def test_a_look_at_an_order_that_is_being_paid_never_reads_unpaid(patient_till: Till) -> None:
    """An order from before the completion beside a trade from after it once read so, and a desk charged again."""
    till, standing = patient_till, await patient_till.stand(method="code")
    async with till.outside.transaction():
        await till.outside.execute("LOCK TABLE trade")
        looking = asyncio.create_task(look(till, standing))
        await till.waiting_on_lock()
        await till.outside.execute(
            "UPDATE orders SET state = 'paid', paid_attempt = 1, learned_source = 'reply', learned_at = created_at,"
            " completed_at = created_at, fee_rate_bp = 0, fee_minor = 0"
        )
        await till.outside.execute("UPDATE trade SET state = 'succeeded', paid_seen = true")
    assert (await looking).payment_status is PaymentStatus.PENDING
    assert (await look(till, standing)).payment_status is PaymentStatus.PAID
