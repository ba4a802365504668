"""Everything that a merchant can send wrong, each with its stable code, and nothing changed."""

import asyncio
from typing import Any

import pytest

from budan.core.numbers import Environment, parse_number, trade_number
from integration.web.house import House, an_order

HUGE = 10**30


NO_JSON = [
    b"{",
    b"",
    b"not json",
    b"{} {}",
    b'{"reference": "a"',
    b'{"reference": "\xff"}',
    b'{"amount_minor": NaN}',
    b'{"reference": "\\ud800"}',
    b'{"reference": "\x00"}',
    # The field is wrong too, but what is no JSON has no fields.
    b'{"amount_minor": "1", "reference":',
    b'{"reference": ' + b"[" * 30_000,
]


async def test_what_is_no_json_is_told_so(house: House) -> None:
    headers = {"authorization": f"Bearer {house.merchant.api_key}", "content-type": "application/json"}
    for body in NO_JSON:
        reply = await house.send("POST", "/v1/orders", body=body, headers=headers)
        assert (reply.status, reply.code) == (400, "body_malformed"), body[:40]


WRONG_FORMS: list[tuple[dict[str, Any], str, str]] = [
    ({"amount_minor": "1999"}, "field_malformed", "amount_minor"),
    ({"amount_minor": 19.99}, "field_malformed", "amount_minor"),
    ({"amount_minor": 1999.0}, "field_malformed", "amount_minor"),
    ({"amount_minor": True}, "field_malformed", "amount_minor"),
    ({"amount_minor": None}, "field_malformed", "amount_minor"),
    ({"reference": 7}, "field_malformed", "reference"),
    ({"expires_in_s": "900"}, "field_malformed", "expires_in_s"),
    ({"payment": "native"}, "field_malformed", "payment"),
    ({"payment": {"method": "barter"}}, "field_malformed", "payment.method"),
    ({"payment": {"method": "code"}}, "field_malformed", "payment.method"),
    ({"payment": {}}, "field_missing", "payment.method"),
    ({"payment": {"method": "wap", "return_url": "javascript:alert(1)"}}, "field_malformed", "payment.return_url"),
    ({"payment": {"method": "jsapi", "payer_openid": "o\n"}}, "field_malformed", "payment.payer_openid"),
    ({"payment": {"method": "wap", "payer_ip": "203.0.113"}}, "field_malformed", "payment.payer_ip"),
    ({"payment": {"method": "wap", "payer_ip": "::1%eth0"}}, "field_malformed", "payment.payer_ip"),
    ({"payment": {"method": "wap", "payer_ip": "::1%\0"}}, "field_malformed", "payment.payer_ip"),
    ({"payment": {"method": "native", "via": "x"}}, "field_unknown", "payment.via"),
    ({"amount": 1999}, "field_unknown", "amount"),
    ({"shop": "a b"}, "field_malformed", "shop"),
]


async def test_a_field_of_the_wrong_type_is_named_by_its_path(house: House) -> None:
    for fields, code, param in WRONG_FORMS:
        reply = await house.call("POST", "/v1/orders", an_order(**fields))
        assert (reply.status, reply.code, reply.json["param"]) == (400, code, param), fields


async def test_a_body_that_is_no_object_is_refused(house: House) -> None:
    reply = await house.call("POST", "/v1/orders", [1])
    assert (reply.status, reply.code) == (400, "field_malformed")


WRONG_VALUES: list[tuple[dict[str, Any], str, str]] = [
    ({"amount_minor": -1}, "amount_not_positive", "amount_minor"),
    ({"amount_minor": 0}, "amount_not_positive", "amount_minor"),
    ({"amount_minor": HUGE}, "amount_too_large", "amount_minor"),
    ({"amount_minor": 10_000_000_001}, "amount_too_large", "amount_minor"),
    ({"currency": "XYZ"}, "currency_unknown", "currency"),
    ({"currency": "cny"}, "currency_unknown", "currency"),
    ({"reference": ""}, "reference_malformed", "reference"),
    ({"reference": "x" * 65}, "reference_malformed", "reference"),
    ({"reference": "a\u0000b"}, "reference_malformed", "reference"),
    ({"subject": ""}, "subject_malformed", "subject"),
    ({"subject": "tea\u0000"}, "subject_malformed", "subject"),
    ({"expires_in_s": 1}, "expires_in_out_of_range", "expires_in_s"),
    ({"expires_in_s": HUGE}, "expires_in_out_of_range", "expires_in_s"),
    ({"shop": "nowhere"}, "shop_unknown", "shop"),
    ({"payment": {"method": "native", "channel": "cowrie"}}, "channel_unknown", "payment.channel"),
    ({"payment": {"method": "jsapi", "channel": "wechat_v3"}}, "payer_openid_missing", "payment.payer_openid"),
    ({"payment": {"method": "wap", "channel": "wechat_v3"}}, "payer_ip_missing", "payment.payer_ip"),
    (
        {"payment": {"method": "jsapi", "channel": "alipay", "payer_openid": "2088"}},
        "method_unsupported",
        "payment.method",
    ),
]


async def test_a_value_that_is_not_allowed_is_refused_with_its_code(house: House) -> None:
    for fields, code, param in WRONG_VALUES:
        reply = await house.call("POST", "/v1/orders", an_order(**fields))
        assert (reply.status, reply.code, reply.json["param"]) == (422, code, param), fields
    assert (await house.call("GET", "/v1/orders")).json["orders"] == []


@pytest.mark.parametrize("code", ["999999999999999999", "12", "abc", "", "\uff11\uff13\uff14"])
async def test_a_code_of_no_known_wallet_is_refused_before_an_order_is_made(house: House, code: str) -> None:
    reply = await house.call("POST", "/v1/charges", an_order(auth_code=code))
    assert (reply.status, reply.code, reply.json["param"]) == (422, "auth_code_unknown", "auth_code")
    assert (await house.call("GET", "/v1/orders")).json["orders"] == []


async def test_a_second_charge_while_one_is_open_is_refused(house: House) -> None:
    wish = {"channel": "wechat_v3", "faults": {"user_paying_s": 600}}
    code = (await house.sandbox_call("/sandbox/auth-codes", wish))["auth_code"]
    first = await house.call("POST", "/v1/charges", an_order(auth_code=code, wait_s=0))
    assert (first.status, first.json["payment_status"]) == (200, "pending")
    another = (await house.sandbox_call("/sandbox/auth-codes", {"channel": "alipay"}))["auth_code"]
    order_no = first.json["order_no"]
    second = await house.call("POST", f"/v1/orders/{order_no}/charges", {"auth_code": another})
    assert (second.status, second.code) == (409, "charge_open")
    assert len((await house.call("GET", f"/v1/orders/{order_no}")).json["trades"]) == 1


async def test_a_replayed_key_with_another_body_is_refused(house: House) -> None:
    wish = an_order()
    first = await house.call("POST", "/v1/orders", wish, idempotency_key="k")
    changed = await house.call("POST", "/v1/orders", {**wish, "amount_minor": 2000}, idempotency_key="k")
    assert (changed.status, changed.code) == (409, "idempotency_key_reused")
    code = (await house.sandbox_call("/sandbox/auth-codes", {"channel": "alipay"}))["auth_code"]
    charge = await house.call("POST", "/v1/charges", {**wish, "auth_code": code}, idempotency_key="k")
    assert (charge.status, charge.code) == (409, "idempotency_key_reused")
    assert (await house.call("GET", f"/v1/orders/{first.json['order_no']}")).json["amount_minor"] == 1999


async def test_a_reference_is_used_once(house: House) -> None:
    await house.create_order(reference="R")
    reply = await house.call("POST", "/v1/orders", an_order(reference="R"))
    assert (reply.status, reply.code, reply.json["param"]) == (409, "reference_used", "reference")


@pytest.mark.parametrize("key", ["", "a b", "x" * 256])
async def test_an_idempotency_key_is_short_visible_ascii(house: House, key: str) -> None:
    reply = await house.send(
        "POST",
        "/v1/orders",
        body=b"{}",
        headers={
            "authorization": f"Bearer {house.merchant.api_key}",
            "content-type": "application/json",
            "idempotency-key": key,
        },
    )
    assert (reply.status, reply.code, reply.json["param"]) == (400, "idempotency_key_malformed", "Idempotency-Key")


async def test_another_merchants_order_is_not_found(house: House) -> None:
    order = await house.create_order()
    other = await house.add_merchant("二号店")
    for method, path, wish in (
        ("GET", f"/v1/orders/{order['order_no']}", None),
        ("POST", f"/v1/orders/{order['order_no']}/charges", {"auth_code": "134567890123456789"}),
    ):
        reply = await house.call(method, path, wish, key=other.api_key)
        assert (reply.status, reply.code) == (404, "order_not_found")
    assert (await house.call("GET", "/v1/orders", key=other.api_key)).json["orders"] == []
    shop = await house.call("POST", "/v1/orders", an_order(shop=house.merchant.shop_code), key=other.api_key)
    assert (shop.status, shop.code) == (422, "shop_unknown")


async def test_another_environments_number_is_told_apart(house: House) -> None:
    number = parse_number((await house.create_order())["order_no"])
    live = trade_number(
        environment=Environment.LIVE,
        lane=number.lane,
        merchant_id=number.merchant_id,
        order_id=number.order_id,
        attempt=0,
    )
    reply = await house.call("GET", f"/v1/orders/{live}")
    assert (reply.status, reply.code, reply.json["param"]) == (422, "wrong_environment", "order_no")


@pytest.mark.parametrize("order_no", ["x", "D" * 30, "%00", "%C3%A9", "%F0%28"])
async def test_what_is_no_order_number_is_told_so(house: House, order_no: str) -> None:
    reply = await house.call("GET", f"/v1/orders/{order_no}")
    assert (reply.status, reply.code) == (400, "order_no_malformed")


WRONG_QUERIES = [
    ("limit=0", 422, "limit_out_of_range", "limit"),
    ("limit=101", 422, "limit_out_of_range", "limit"),
    (f"limit={HUGE}", 422, "limit_out_of_range", "limit"),
    ("limit=ten", 400, "field_malformed", "limit"),
    ("limit=1&limit=2", 400, "field_malformed", "limit"),
    ("state=lost", 422, "state_unknown", "state"),
    ("cursor=x", 400, "cursor_malformed", "cursor"),
    ("cursor=%00", 400, "field_malformed", "cursor"),
    ("reference=%00", 400, "field_malformed", "reference"),
    ("page=2", 400, "field_unknown", "page"),
]


async def test_a_wrong_query_is_told_by_its_field(house: House) -> None:
    for query, status, code, param in WRONG_QUERIES:
        reply = await house.call("GET", f"/v1/orders?{query}")
        assert (reply.status, reply.code, reply.json["param"]) == (status, code, param), query


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (None, "api_key_missing"),
        ("Basic YTpi", "api_key_missing"),
        ("Bearer", "api_key_missing"),
        ("Bearer x", "api_key_unknown"),
        ("Bearer bdk_live_aaaaaaaaaaaa_bb", "api_key_unknown"),
        ("Bearer bdk_local_aaaaaaaaaaaa_bb", "api_key_unknown"),
        ("Bearer " + "x" * 300, "api_key_unknown"),
    ],
)
async def test_without_a_valid_key_nothing_is_answered(house: House, authorization: str | None, code: str) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    for method, path in (("GET", "/v1/orders"), ("POST", "/v1/orders"), ("POST", "/v1/charges")):
        reply = await house.send(method, path, headers=headers)
        assert (reply.status, reply.code) == (401, code)
        assert reply.headers["www-authenticate"].startswith("Bearer")


async def test_a_charge_names_its_fields_too(house: House) -> None:
    for fields, param in (
        ({"wait_s": 16}, "wait_s"),
        ({"wait_s": -1}, "wait_s"),
        ({"device_ip": "1.2.3"}, "device_ip"),
        ({"device_ip": "fe80::1%eth0"}, "device_ip"),
        ({"device_ip": "::1%\0"}, "device_ip"),
    ):
        reply = await house.call("POST", "/v1/charges", an_order(auth_code="134567890123456789", **fields))
        assert (reply.status, reply.code, reply.json["param"]) == (400, "field_malformed", param)


async def test_a_storm_of_bad_requests_leaves_the_good_one_alone(house: House) -> None:
    bad = [house.call("POST", "/v1/orders", an_order(amount_minor=index - 50)) for index in range(50)]
    good = house.call("POST", "/v1/orders", an_order())
    *refused, taken = await asyncio.gather(*bad, good)
    assert {reply.status for reply in refused} == {422}
    assert taken.status == 201
