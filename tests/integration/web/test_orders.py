import asyncio

from budan.flows.reading import LOOKED_AT_MAX
from integration.web.house import House, an_order


async def test_an_order_is_created_and_can_be_asked_for(house: House) -> None:
    created = await house.call("POST", "/v1/orders", an_order(reference="A-1"))
    assert created.status == 201
    order = created.json
    assert order["reference"] == "A-1"
    assert order["state"] == "created"
    assert order["cashier_url"] == f"{house.url}/pay/{house.flows.cashier_links.render(order['order_no'])}"
    asked = await house.call("GET", f"/v1/orders/{order['order_no']}")
    assert asked.status == 200
    assert asked.json == order
    assert asked.headers["x-request-id"] != created.headers["x-request-id"]


async def test_an_order_with_a_payment_brings_the_code_to_draw(house: House) -> None:
    order = await house.create_order(payment={"method": "native", "channel": "wechat_v3"})
    assert order["state"] == "paying"
    assert order["payment_status"] == "pending"
    assert order["trades"][0]["qr_text"].startswith("weixin://")


async def test_a_replay_under_one_key_answers_with_the_same_order(house: House) -> None:
    wish = an_order()
    first = await house.call("POST", "/v1/orders", wish, idempotency_key="k-1")
    # Equal in meaning is enough: a client that orders its keys otherwise repeats itself too.
    second = await house.call("POST", "/v1/orders", dict(reversed(wish.items())), idempotency_key="k-1")
    assert (first.status, second.status) == (201, 201)
    assert first.json["order_no"] == second.json["order_no"]


async def test_a_hundred_copies_at_once_make_one_order(house: House) -> None:
    wish = an_order()
    replies = await asyncio.gather(
        *(house.call("POST", "/v1/orders", wish, idempotency_key="k-2") for _ in range(100)),
    )
    assert {reply.status for reply in replies} == {201}
    assert len({reply.json["order_no"] for reply in replies}) == 1


async def test_the_list_is_walked_by_its_cursor_newest_first(house: House) -> None:
    made = [(await house.create_order())["order_no"] for _ in range(5)]
    seen: list[str] = []
    path = "/v1/orders?limit=2"
    for _ in range(3):
        page = (await house.call("GET", path)).json
        seen += [order["order_no"] for order in page["orders"]]
        path = f"/v1/orders?limit=2&cursor={page['next_cursor']}"
    assert seen == made[::-1]
    assert page["next_cursor"] is None


async def test_a_page_of_a_rare_state_looks_at_so_many_orders_and_goes_on_at_its_cursor(house: House) -> None:
    """Else one caller who asks for a state that nothing is in reads all of a merchant's orders with each request."""
    oldest = await house.create_order()
    await house.execute(
        "INSERT INTO orders (lane, id, merchant_id, reference, state, amount_minor, currency, subject, created_at,"
        " expires_at) SELECT lane, id + g, merchant_id, 'r' || g, 'expired', amount_minor, currency, subject, created_at,"
        " expires_at FROM orders, generate_series(1, $1::int) AS g",
        LOOKED_AT_MAX,
    )
    page = (await house.call("GET", "/v1/orders?state=created&limit=10")).json
    assert page["orders"] == []
    page = (await house.call("GET", f"/v1/orders?state=created&limit=10&cursor={page['next_cursor']}")).json
    assert ([order["order_no"] for order in page["orders"]], page["next_cursor"]) == ([oldest["order_no"]], None)


async def test_the_list_finds_an_order_by_state_and_by_reference(house: House) -> None:
    order = await house.create_order(reference="table-7")
    by_reference = (await house.call("GET", "/v1/orders?reference=table-7")).json
    assert [found["order_no"] for found in by_reference["orders"]] == [order["order_no"]]
    assert (await house.call("GET", "/v1/orders?state=paid")).json["orders"] == []


async def test_a_charge_is_paid_and_its_replay_does_not_charge_again(house: House) -> None:
    code = (await house.sandbox_call("/sandbox/auth-codes", {"channel": "alipay"}))["auth_code"]
    wish = an_order(auth_code=code, device_id="desk-1")
    first = await house.call("POST", "/v1/charges", wish, idempotency_key="c-1")
    assert first.status == 200, first.body
    assert first.json["payment_status"] == "paid"
    second = await house.call("POST", "/v1/charges", wish, idempotency_key="c-1")
    assert second.json["order_no"] == first.json["order_no"]
    assert len(second.json["trades"]) == 1


async def test_an_order_that_ended_unpaid_can_be_charged_with_another_code(house: House) -> None:
    refused = {"channel": "wechat_v3", "faults": {"pay_fails": True}}
    order = await house.create_order()
    code = (await house.sandbox_call("/sandbox/auth-codes", {"channel": "wechat_v3"}))["auth_code"]
    charged = await house.call(
        "POST", f"/v1/orders/{order['order_no']}/charges", {"auth_code": code, "device_ip": "192.0.2.7"}
    )
    assert charged.status == 200, (charged.body, refused)
    assert charged.json["payment_status"] == "paid"
