"""What a merchant takes back by the API: an order, and a charge under way."""

from typing import Any

import asyncpg
import pytest

from budan.core.evidence import Evidence, Outcome, Source
from budan.core.numbers import AccountId
from budan.flows.door import DoorItem
from integration.web.house import House, an_order

NATIVE = {"method": "native", "channel": "wechat_v3"}


async def pay(house: House, order: dict[str, Any], *, amount_minor: int) -> str:
    """The channel tells of a payment of the order's first attempt."""
    (trade,) = order["trades"]
    evidence = Evidence(
        trade_no=trade["trade_no"],
        account_id=AccountId(house.account_ids[trade["channel"]]),
        outcome=Outcome.PAID,
        source=Source.NOTICE,
        learned_at=house.opened.clock.now(),
        order_minor=amount_minor,
        currency="CNY",
    )
    return (await house.flows.door.record(DoorItem(evidence=evidence))).decision


async def charge(house: House, **faults: object) -> dict[str, Any]:
    code = await house.sandbox_call("/sandbox/auth-codes", {"channel": "wechat_v3", "faults": faults})
    reply = await house.call("POST", "/v1/charges", an_order(auth_code=code["auth_code"], wait_s=0.5))
    assert reply.status == 200, reply.body
    return reply.json


async def test_an_order_that_nobody_can_pay_is_closed_at_once_and_a_repeat_changes_nothing(house: House) -> None:
    order = await house.create_order()
    first = await house.call("POST", f"/v1/orders/{order['order_no']}/close")
    again = await house.call("POST", f"/v1/orders/{order['order_no']}/close")
    assert (first.status, again.status) == (200, 200)
    assert (first.json["state"], first.json["version"], first.json["payment_status"]) == ("closed", 2, "unpaid")
    assert again.json == first.json


@pytest.mark.invariant("I7")
async def test_an_order_with_an_open_code_closes_and_a_payment_meanwhile_completes_it(house: House) -> None:
    """Whoever pays before the channel has closed the code has paid."""
    order = await house.create_order(payment=NATIVE)
    closing = await house.call("POST", f"/v1/orders/{order['order_no']}/close")
    assert (closing.status, closing.json["state"], closing.json["payment_status"]) == (200, "closing", "pending")
    again = await house.call("POST", f"/v1/orders/{order['order_no']}/close")
    assert (again.status, again.json["state"]) == (200, "closing")
    refused = await house.call("POST", f"/v1/orders/{order['order_no']}/charges", {"auth_code": "130000000000000000"})
    assert (refused.status, refused.code) == (409, "order_not_payable")
    assert await pay(house, order, amount_minor=order["amount_minor"]) == "complete"
    paid = await house.call("POST", f"/v1/orders/{order['order_no']}/close")
    assert (paid.status, paid.code) == (409, "order_already_paid")


@pytest.mark.invariant("I7", "I9")
async def test_what_is_paid_after_the_merchants_close_goes_back(house: House) -> None:
    order = await house.create_order(payment=NATIVE)
    connection = await asyncpg.connect(house.dsn)
    try:
        # The channel's own word ended the code, so nothing is left open.
        await connection.execute("UPDATE trade SET state = 'closed'")
        closed = await house.call("POST", f"/v1/orders/{order['order_no']}/close")
        assert closed.json["state"] == "closed"
        assert await pay(house, order, amount_minor=order["amount_minor"]) == "return_late"
        refund = await connection.fetchrow("SELECT reason, amount_minor FROM refund")
        assert refund is not None
        assert tuple(refund) == ("late_payment", order["amount_minor"])
    finally:
        await connection.close()
    seen = await house.call("GET", f"/v1/orders/{order['order_no']}")
    assert (seen.json["state"], seen.json["payment_status"]) == ("closed", "unpaid")


async def test_a_held_or_expired_order_is_not_closed(house: House) -> None:
    held, expired = await house.create_order(payment=NATIVE), await house.create_order()
    assert await pay(house, held, amount_minor=1) == "wrong_amount"
    reply = await house.call("POST", f"/v1/orders/{held['order_no']}/close")
    assert (reply.status, reply.code) == (409, "order_on_hold")
    await house.execute("UPDATE orders SET state = 'expired' WHERE reference = $1", expired["reference"])
    reply = await house.call("POST", f"/v1/orders/{expired['order_no']}/close")
    assert (reply.status, reply.code) == (409, "order_already_ended")


@pytest.mark.parametrize("act", ["close", "cancel"])
async def test_numbers_that_are_none_of_the_merchants_are_refused(house: House, act: str) -> None:
    order = await house.create_order()
    other = await house.add_merchant("other")
    reply = await house.call("POST", f"/v1/orders/{order['order_no']}/{act}", key=other.api_key)
    assert (reply.status, reply.code) == (404, "order_not_found")
    reply = await house.call("POST", f"/v1/orders/nonsense/{act}")
    assert (reply.status, reply.code) == (400, "order_no_malformed")
    reply = await house.send("POST", f"/v1/orders/{order['order_no']}/{act}")
    assert (reply.status, reply.code) == (401, "api_key_missing")


@pytest.mark.invariant("I7", "I11")
async def test_a_cancelled_charge_is_committed_to_be_reversed_before_anybody_is_told(house: House) -> None:
    order = await charge(house, user_paying_s=600)
    assert order["payment_status"] == "pending"
    first = await house.call("POST", f"/v1/orders/{order['order_no']}/cancel")
    again = await house.call("POST", f"/v1/orders/{order['order_no']}/cancel")
    assert (first.status, again.status) == (200, 200)
    assert first.json["trades"][0]["state"] == "reversing"
    assert first.json["payment_status"] == "pending"
    assert again.json == first.json
    connection = await asyncpg.connect(house.dsn)
    kept = await connection.fetchrow(
        """
        SELECT o.told_unpaid, c.due_at - t.created_at = interval '15 s' AS in_time
        FROM orders AS o JOIN trade AS t ON t.order_id = o.id JOIN close_due AS c ON c.order_id = o.id
        """
    )
    await connection.close()
    assert kept is not None
    # WeChat takes no reverse sooner.
    assert tuple(kept) == (True, True)


async def test_a_cancel_without_an_open_charge_is_refused(house: House) -> None:
    unpaid = await house.create_order(payment=NATIVE)
    reply = await house.call("POST", f"/v1/orders/{unpaid['order_no']}/cancel")
    assert (reply.status, reply.code) == (409, "no_open_charge")
    paid = await charge(house)
    reply = await house.call("POST", f"/v1/orders/{paid['order_no']}/cancel")
    assert (reply.status, reply.code) == (409, "order_already_paid")
