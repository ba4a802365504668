"""Payers over HTTP: each refusal with its stable code, and a payer who has nothing."""

from integration.web.house import House


async def test_whose_payment_it_was_is_told_of_paid_orders_only(house: House) -> None:
    order = await house.create_order()
    path = f"/v1/orders/{order['order_no']}/payer"
    for wish, status, code, param in [
        ({"payer_id": ""}, 422, "payer_malformed", "payer_id"),
        ({"payer_id": "a b"}, 422, "payer_malformed", "payer_id"),
        ({}, 400, "field_missing", "payer_id"),
        ({"payer_id": "o1"}, 409, "order_not_paid", "order_no"),
    ]:
        reply = await house.call("POST", path, wish)
        assert (reply.status, reply.code, reply.json["param"]) == (status, code, param), wish
    assert (await house.call("GET", f"/v1/orders/{order['order_no']}")).json == order


async def test_a_payer_of_whom_nothing_is_known_has_nothing_and_a_page_that_cannot_be_is_refused(house: House) -> None:
    path = "/v1/payers/oUpF8/cashback"
    reply = await house.call("GET", f"{path}?limit=5")
    assert reply.json == {"payer_id": "oUpF8", "balances": [], "movements": [], "next_cursor": None}
    for query, status, code in [
        ("limit=0", 422, "limit_out_of_range"),
        ("cursor=x", 400, "cursor_malformed"),
        ("page=1", 400, "field_unknown"),
    ]:
        reply = await house.call("GET", f"{path}?{query}")
        assert (reply.status, reply.code) == (status, code), query
