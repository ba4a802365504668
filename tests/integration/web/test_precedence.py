"""The promised order of refusals, walked with one request that is mended step by step."""

from typing import Any

from budan.web.reading import API_BODY_BYTES_MAX
from integration.web.house import House, an_order


async def test_the_first_fault_in_the_promised_order_is_told(house: House) -> None:
    too_large = b"[" * (API_BODY_BYTES_MAX + 1)
    wrong: dict[str, str] = {"idempotency-key": "a b", "content-type": "text/plain"}
    key = {"authorization": f"Bearer {house.merchant.api_key}"}
    json_type = {"content-type": "application/json"}
    steps: list[tuple[str, str, dict[str, str], bytes, str]] = [
        ("PUT", "/v1/nothing", wrong, too_large, "path_unknown"),
        ("PUT", "/v1/orders", wrong, too_large, "method_not_allowed"),
        ("POST", "/v1/orders", wrong, too_large, "api_key_missing"),
        ("POST", "/v1/orders", wrong | key, too_large, "body_too_large"),
        ("POST", "/v1/orders", wrong | key, b"[", "content_type_unsupported"),
        ("POST", "/v1/orders", wrong | key | json_type, b"[", "idempotency_key_malformed"),
        ("POST", "/v1/orders", key | json_type, b"[", "body_malformed"),
        ("POST", "/v1/orders", key | json_type, b"[]", "field_malformed"),
        ("POST", "/v1/orders", key | json_type, b'{"x": 1}', "field_unknown"),
        ("POST", "/v1/orders", key | json_type, b"{}", "field_missing"),
    ]
    for method, path, headers, body, code in steps:
        reply = await house.send(method, path, body=body, headers=headers)
        assert reply.code == code


async def test_a_flows_own_order_follows(house: House) -> None:
    good = an_order(expires_in_s=600)
    wrong: dict[str, Any] = {"reference": "", "currency": "?", "amount_minor": 0, "subject": "", "expires_in_s": 1}
    told: list[str] = []
    for _ in good:
        param = (await house.call("POST", "/v1/orders", wrong)).json["param"]
        told.append(param)
        wrong[param] = good[param]
    assert told == ["reference", "currency", "amount_minor", "subject", "expires_in_s"]
    assert (await house.call("POST", "/v1/orders", wrong)).status == 201


async def test_every_problem_has_all_its_members_and_the_number_of_its_request(house: House) -> None:
    reply = await house.send("GET", "/v1/nothing")
    assert reply.status == 404
    assert reply.json == {
        "type": "/docs#path_unknown",
        "title": "There is nothing at this address.",
        "status": 404,
        "code": "path_unknown",
        "param": None,
        "detail": "There is nothing at this address.",
        "request_id": reply.headers["x-request-id"],
    }
    assert reply.headers["cache-control"] == "no-store"


async def test_a_method_that_is_not_taken_is_answered_with_those_that_are(house: House) -> None:
    reply = await house.send("DELETE", "/v1/orders")
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD, POST")
    page = await house.send("POST", f"/pay/{'x' * 20}")
    assert (page.status, page.headers["allow"]) == (405, "GET, HEAD")
