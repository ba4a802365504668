"""What callers meet when we are in trouble ourselves."""

import asyncio

import pytest

from budan.web import asgi
from integration.web.house import House, an_order
from integration.web.test_desks import nonce_of


async def test_above_the_bound_a_request_is_refused_at_once_and_probes_are_not(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asgi, "REQUESTS_OPEN_MAX", 0)
    refused = await house.call("POST", "/v1/orders", an_order())
    assert (refused.status, refused.code, refused.headers["retry-after"]) == (503, "overloaded", "1")
    for path in ("/livez", "/readyz", "/metrics"):
        assert (await house.send("GET", path)).status == 200
    monkeypatch.undo()
    assert (await house.call("GET", "/v1/orders")).json["orders"] == []


async def test_half_sent_forms_take_the_place_of_no_whole_request(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever opens connections and sends half a body, without a key, must not close the house for all others."""
    monkeypatch.setattr(asgi, "REQUESTS_OPEN_MAX", 1)
    monkeypatch.setattr(asgi, "BODIES_OF_ADDRESS_MAX", 2)
    half = (
        f"POST /s/{house.merchant.shop_code} HTTP/1.1\r\nHost: {house.url.removeprefix('http://')}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 9\r\n\r\namount"
    ).encode()
    async with house.line() as (_, one), house.line() as (_, two), house.line() as (reader, three):
        for line in (one, two, three):
            line.write(half)
            await line.drain()
        # Only so many of one address are waited for; the third is told at once, and an API call is answered.
        assert b" 503 " in await reader.readline()
        assert (await house.call("POST", "/v1/orders", an_order())).status == 201
    assert (await house.submit(f"/s/{house.merchant.shop_code}", {"amount": "1"})).status == 400


async def test_our_own_failure_is_told_as_such_and_keeps_its_details_to_itself(house: House) -> None:
    shop = f"/s/{house.merchant.shop_code}"
    nonce = nonce_of(await house.send("GET", shop))
    await house.execute("ALTER TABLE orders RENAME TO mislaid")
    for reply in (await house.call("GET", "/v1/orders"), await house.call("POST", "/v1/orders", an_order())):
        assert (reply.status, reply.code) == (500, "internal_error")
        assert b"mislaid" not in reply.body
        assert b"relation" not in reply.body
    page = await house.submit(shop, {"amount": "1", "nonce": nonce}, headers={"accept-language": "en"})
    assert (page.status, "do not pay again" in page.text) == (500, True)
    await house.execute("ALTER TABLE mislaid RENAME TO orders")
    assert (await house.create_order())["state"] == "created"


async def test_a_channel_that_is_away_is_told_as_such_and_the_repeat_goes_on(house: House) -> None:
    """Nothing was sent, so the same request under the same key may be repeated."""
    gateway = "http://127.0.0.1:9"
    await house.execute(
        "UPDATE channel_account SET settings = jsonb_set(settings, '{gateway}', to_jsonb($1::text))", gateway
    )
    wish = an_order(payment={"method": "native", "channel": "wechat_v3"})
    replies = await asyncio.gather(
        *(house.call("POST", "/v1/orders", wish, idempotency_key="away") for _ in range(2)),
    )
    assert {(reply.status, reply.code) for reply in replies if reply.status != 201} <= {(503, "channel_unavailable")}
    assert any(reply.status == 503 for reply in replies)
    order = (await house.call("GET", "/v1/orders")).json["orders"]
    assert len(order) == 1
    path = f"/pay/{house.flows.cashier_links.render(order[0]['order_no'])}"
    page = await house.submit(
        f"{path}/start", {"channel": "alipay", "method": "native"}, headers={"accept-language": "en"}
    )
    assert (page.status, "nothing was charged" in page.text) == (503, True)
