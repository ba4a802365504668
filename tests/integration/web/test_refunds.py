"""Refunds over HTTP: each refusal with its stable code and nothing changed, and the paths of a refund."""

from typing import Any

import pytest

from integration.web.house import House

REFUSALS: list[tuple[dict[str, Any], int, str, str]] = [
    ({"amount_minor": 0}, 422, "amount_not_positive", "amount_minor"),
    ({"amount_minor": -1}, 422, "amount_not_positive", "amount_minor"),
    ({"amount_minor": 10**18}, 422, "amount_too_large", "amount_minor"),
    ({"amount_minor": "280"}, 400, "field_malformed", "amount_minor"),
    ({"amount_minor": 2.8}, 400, "field_malformed", "amount_minor"),
    ({}, 400, "field_missing", "amount_minor"),
    ({"amount_minor": 280, "reason": "退" * 27}, 422, "reason_malformed", "reason"),
    ({"amount_minor": 280, "reason": "a\u0000b"}, 422, "reason_malformed", "reason"),
    ({"amount_minor": 280, "refund_no": "R1"}, 400, "field_unknown", "refund_no"),
    ({"amount_minor": 280}, 409, "order_not_paid", "order_no"),
]


async def test_a_refund_that_cannot_be_is_refused_with_its_code(house: House) -> None:
    order = await house.create_order()
    path = f"/v1/orders/{order['order_no']}/refunds"
    for wish, status, code, param in REFUSALS:
        reply = await house.call("POST", path, wish, idempotency_key="k-1")
        assert (reply.status, reply.code, reply.json["param"]) == (status, code, param), wish
    assert (await house.call("GET", path)).json == {"refunds": []}
    assert (await house.call("GET", f"/v1/orders/{order['order_no']}")).json == order


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_refund_of_an_order_that_is_not_there_is_not_found(house: House, method: str) -> None:
    wish = {"amount_minor": 1} if method == "POST" else None
    reply = await house.call(method, "/v1/orders/T1/refunds", wish, idempotency_key="k-1")
    assert (reply.status, reply.code) == (400, "order_no_malformed")


async def test_a_refund_that_nobody_made_is_not_found(house: House) -> None:
    order = await house.create_order()
    reply = await house.call("GET", f"/v1/orders/{order['order_no']}/refunds/E1")
    assert (reply.status, reply.code) == (404, "refund_not_found")


async def test_a_refund_without_an_idempotency_key_is_refused_before_anything_is_read(house: House) -> None:
    order = await house.create_order()
    reply = await house.call("POST", f"/v1/orders/{order['order_no']}/refunds", {"amount_minor": 280})
    assert (reply.status, reply.code) == (400, "idempotency_key_missing")
    assert reply.json["param"] == "Idempotency-Key"


async def test_a_refund_needs_a_key(house: House) -> None:
    order = await house.create_order()
    body, headers = b'{"amount_minor":1}', {"content-type": "application/json"}
    reply = await house.send("POST", f"/v1/orders/{order['order_no']}/refunds", body=body, headers=headers)
    assert (reply.status, reply.code) == (401, "api_key_missing")
