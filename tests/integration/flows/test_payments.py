"""An order's life through the real flows, the real adapters and the sandbox over HTTP."""

import asyncio
from secrets import token_hex

import asyncpg
import pytest
from structlog.testing import capture_logs

from budan.core.errors import Refused
from budan.core.evidence import Evidence, Outcome, Source
from budan.core.numbers import AccountId
from budan.flows import paying
from budan.flows.calling import CALL_TIMEOUT_S
from budan.flows.door import DoorItem
from budan.flows.views import ChargeOrder, CreateOrder, OrderView, PaymentStatus, PaymentWish
from budan.ports.channel import Method
from budan.store.work import DueQuestion
from integration.flows.conftest import House
from integration.sandbox.running import calling


def a_wish(house: House, **changes: object) -> CreateOrder:
    fields = {
        "caller": house.caller,
        "reference": f"ref-{token_hex(6)}",
        "amount_minor": 1280,
        "currency": "CNY",
        "subject": "Latte",
        "request_digest": bytes(32),
        "payment": PaymentWish(method=Method.NATIVE, channel="wechat_v3"),
    }
    return CreateOrder(**(fields | changes))


async def pay(house: House, code_text: str, **faults: object) -> None:
    async with calling(house.sandbox.url) as caller:
        await caller.pay(code_text=code_text, faults=faults)


@pytest.mark.parametrize("channel", ["wechat_v3", "alipay"])
async def test_a_paid_order_whose_notice_is_lost_is_healed_by_a_question(house: House, channel: str) -> None:
    wish = a_wish(house, payment=PaymentWish(method=Method.NATIVE, channel=channel))
    order = await house.flows.payments.create_order(wish)
    assert order.state == "paying"
    qr_text = order.trades[0].qr_text
    assert qr_text

    await pay(house, qr_text, drop_notice=True)
    (due,) = await _due(house)
    await house.flows.questions.ask_due(due)

    healed = await house.flows.reading.get_order(house.caller, order.order_no)
    assert (healed.state, healed.payment_status, healed.learned_source) == ("paid", PaymentStatus.PAID, "query")
    connection = await asyncpg.connect(house.dsn)
    remedies = await connection.fetch("SELECT cause, learned_source FROM remedy")
    postings = await connection.fetch("SELECT account, amount_minor FROM posting ORDER BY line")
    webhooks = await connection.fetch("SELECT event FROM webhook")
    left = await connection.fetchval("SELECT count(*) FROM query_due")
    await connection.close()
    assert [tuple(row) for row in remedies] == [("notice_missing", "query")]
    assert sum(row["amount_minor"] for row in postings) == 0
    assert len(postings) == 3
    assert [row["event"] for row in webhooks] == ["order.paid"]
    assert left == 0


async def test_a_charge_is_paid_by_its_reply(house: House) -> None:
    async with calling(house.sandbox.url) as caller:
        code = await caller.auth_code("wechat_v3")
    order = await house.flows.payments.charge(a_charge(house, code))
    assert (order.payment_status, order.learned_source) == (PaymentStatus.PAID, "reply")


async def test_a_charge_that_times_out_after_the_money_moved_is_found_by_asking(house: House) -> None:
    async with calling(house.sandbox.url) as caller:
        code = await caller.auth_code("wechat_v3", timeout_after_charge=True)
    order = await house.flows.payments.charge(a_charge(house, code, wait_s=12.0))
    assert (order.payment_status, order.learned_source) == (PaymentStatus.PAID, "query")


async def test_a_charge_that_fails_as_nobody_foresaw_harms_no_other_and_is_found_by_asking(house: House) -> None:
    """One once ended the whole process with every request in it."""
    connection = await asyncpg.connect(house.dsn)
    async with calling(house.sandbox.url) as caller:
        code = await caller.auth_code("wechat_v3")
    await connection.execute("ALTER TABLE evidence RENAME TO evidence_away")
    with capture_logs() as lines:
        order = await house.flows.payments.charge(a_charge(house, code, wait_s=1.0))
    await connection.execute("ALTER TABLE evidence_away RENAME TO evidence")
    await connection.close()
    assert order.payment_status is PaymentStatus.PENDING
    assert [(line["work"], line["error"].split(":")[0]) for line in lines] == [("charge", "UndefinedTableError")]
    (due,) = await _due(house)
    await house.flows.questions.ask_due(due)
    healed = await house.flows.reading.get_order(house.caller, order.order_no)
    assert healed.payment_status is PaymentStatus.PAID


async def test_one_merchants_waiting_charges_leave_room_for_the_others(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each may wait 15 s for its payer, and one key could fill every place for a request."""
    monkeypatch.setattr(paying, "CHARGES_WAITING_MAX", 1)
    async with calling(house.sandbox.url) as caller:
        codes = [await caller.auth_code("wechat_v3") for _ in range(2)]
    charges = [house.flows.payments.charge(a_charge(house, code)) for code in codes]
    taken, refused = await asyncio.gather(*charges, return_exceptions=True)
    assert isinstance(taken, OrderView)
    assert isinstance(refused, Refused)
    assert (taken.payment_status, refused.code) == (PaymentStatus.PAID, "too_many_charges_waiting")
    again = await house.flows.payments.charge(a_charge(house, codes[1]))
    assert again.payment_status is PaymentStatus.PAID


async def test_a_replay_answers_with_the_present_state_and_another_body_is_refused(house: House) -> None:
    wish = a_wish(house, idempotency_key="key-1")
    first = await house.flows.payments.create_order(wish)
    again = await house.flows.payments.create_order(wish)
    assert again.order_no == first.order_no
    assert len(again.trades) == 1
    with pytest.raises(Refused, match="idempotency_key_reused"):
        await house.flows.payments.create_order(
            a_wish(house, idempotency_key="key-1", reference=wish.reference, request_digest=b"x" * 32),
        )
    with pytest.raises(Refused, match="reference_used"):
        await house.flows.payments.create_order(a_wish(house, reference=wish.reference))


def a_charge(house: House, auth_code: str, *, wait_s: float = 5.0) -> ChargeOrder:
    return ChargeOrder(
        order=a_wish(house, payment=None),
        auth_code=auth_code,
        device_id="POS1",
        device_ip="127.0.0.1",
        wait_s=wait_s,
    )


async def _due(house: House) -> list[DueQuestion]:
    connection = await asyncpg.connect(house.dsn)
    await connection.execute("UPDATE query_due SET due_at = now()")
    await connection.close()
    return await house.flows.questions.list_due(lanes=list(range(64)), accounts_left_out=[], rows_max=10)


async def test_a_shop_that_was_told_unpaid_gets_a_late_payment_back_not_completed(house: House) -> None:
    """The goods stayed on the counter, so completing the order would take money for nothing."""
    async with calling(house.sandbox.url) as caller:
        code = await caller.auth_code("wechat_v3", user_paying_s=0.1, user_paying_ends="failed")
    order = await house.flows.payments.charge(a_charge(house, code, wait_s=12.0))
    assert order.payment_status is PaymentStatus.UNPAID
    late = Evidence(
        trade_no=order.trades[0].trade_no,
        account_id=AccountId(house.account_ids["wechat_v3"]),
        outcome=Outcome.PAID,
        source=Source.QUERY,
        learned_at=house.opened.clock.now(),
        order_minor=1280,
        currency="CNY",
        channel_reference="4200-late",
    )
    planned = await house.flows.door.record(DoorItem(evidence=late))
    assert planned.decision == "return_late"
    again = await house.flows.reading.get_order(house.caller, order.order_no)
    assert again.payment_status is PaymentStatus.UNPAID


async def test_a_silent_channel_does_not_hold_the_shop_longer_than_it_wants_to_wait(house: House) -> None:
    """A queue is behind the customer; the charge goes on, and its money is found all the same."""
    async with calling(house.sandbox.url) as caller:
        code = await caller.auth_code("wechat_v3", timeout_after_charge=True)
    began_s = house.opened.clock.monotonic_s()
    order = await house.flows.payments.charge(a_charge(house, code, wait_s=0.5))
    assert order.payment_status is PaymentStatus.PENDING
    assert house.opened.clock.monotonic_s() - began_s < CALL_TIMEOUT_S / 2
