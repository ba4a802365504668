"""The printed code's page and the cash desk, as a browser without scripts sees them."""

import asyncio
import re
from datetime import datetime
from secrets import token_hex
from typing import Any

import pytest

from budan.cli.wiring import SystemClock
from budan.flows.shop_orders import FORM_LIFE, OPEN_ORDERS_MAX, ShopOrders
from integration.web.house import House, Reply, an_order

EN = {"accept-language": "en"}


def nonce_of(page: Reply) -> str:
    """The mark of the page's form."""
    found = re.search(r'name="nonce" value="(\w+)"', page.text)
    assert found is not None
    return found[1]


class LateClock(SystemClock):
    """Half an hour behind: what it stamps is over now."""

    def now(self) -> datetime:
        """The moment at which a form that is over was made."""
        return super().now() - FORM_LIFE


async def _orders(house: House) -> list[dict[str, Any]]:
    return (await house.call("GET", "/v1/orders")).json["orders"]


async def _code(house: House, channel: str = "wechat_v3", **faults: object) -> str:
    return (await house.sandbox_call("/sandbox/auth-codes", {"channel": channel, "faults": faults}))["auth_code"]


async def test_a_printed_code_makes_an_order_of_the_typed_amount(house: House) -> None:
    path = f"/s/{house.merchant.shop_code}"
    page = await house.send("GET", path, headers=EN)
    assert "一号店" in page.text
    made = await house.submit(path, {"amount": "12.3", "nonce": nonce_of(page)})
    (order,) = await _orders(house)
    assert (made.status, made.headers["location"]) == (303, order["cashier_url"].removeprefix(house.url))
    assert (order["amount_minor"], order["subject"]) == (1230, "一号店")


async def test_two_taps_make_one_order_and_another_amount_another(house: House) -> None:
    path = f"/s/{house.merchant.shop_code}"
    nonce = nonce_of(await house.send("GET", path))
    taps = [house.submit(path, {"amount": "5", "nonce": nonce}) for _ in range(5)]
    assert len({made.headers["location"] for made in await asyncio.gather(*taps)}) == 1
    await house.submit(path, {"amount": "6", "nonce": nonce})
    assert sorted(order["amount_minor"] for order in await _orders(house)) == [500, 600]


@pytest.mark.parametrize(
    ("amount", "status", "text"),
    [
        ("", 400, "Enter an amount"),
        ("1.234", 400, "Enter an amount"),
        ("1,234", 400, "Enter an amount"),
        ("-5", 400, "Enter an amount"),
        ("1e5", 400, "Enter an amount"),
        ("0", 422, "more than zero"),
        ("999999999999", 422, "too large"),
    ],
)
async def test_a_wrong_amount_is_told_and_kept_in_the_field(house: House, amount: str, status: int, text: str) -> None:
    path = f"/s/{house.merchant.shop_code}"
    nonce = nonce_of(await house.send("GET", path))
    page = await house.submit(path, {"amount": amount, "nonce": nonce}, headers=EN)
    assert page.status == status
    assert text in page.text
    assert f'value="{amount}"' in page.text
    assert await _orders(house) == []


@pytest.mark.parametrize("nonce", ["", "x", "A" * 24, "0" * 25])
async def test_a_form_that_we_did_not_render_is_refused(house: House, nonce: str) -> None:
    page = await house.submit(f"/s/{house.merchant.shop_code}", {"amount": "5", "nonce": nonce}, headers=EN)
    assert (page.status, "out of date" in page.text) == (400, True)
    assert await _orders(house) == []


async def test_a_form_of_the_shop_is_good_for_half_an_hour_and_at_that_shop_only(house: House) -> None:
    """Else a loop over a printed code's address, with marks of its own, writes rows that nobody ever deletes."""
    path = f"/s/{house.merchant.shop_code}"
    nonce = nonce_of(await house.send("GET", path))
    random, until, mac = nonce.split("_")
    other = await house.add_merchant("二号店")
    shop = await house.flows.directory.find_shop(house.merchant.shop_code or "")
    assert shop is not None
    old = ShopOrders(
        database=house.opened.database,
        payments=house.flows.payments,
        secret=house.opened.keys.cashier_key,
        clock=LateClock(),
    ).make_form(shop)
    for where, mark, text in [
        (path, token_hex(12), "out of date"),
        (path, f"{'0' * 24}_{until}_{mac}", "out of date"),
        (path, f"{random}_{int(until) + 3_600}_{mac}", "out of date"),
        (f"/s/{other.shop_code}", nonce, "out of date"),
        (path, old, "open too long"),
    ]:
        page = await house.submit(where, {"amount": "5", "nonce": mark}, headers=EN)
        assert (page.status, text in page.text) == (400, True), mark
    assert await _orders(house) == []


async def test_a_shop_where_too_many_orders_wait_takes_no_more_and_says_so(house: House) -> None:
    """Each open order is rows, a look and an event: whoever has a photograph of the sign could make any number."""
    path = f"/s/{house.merchant.shop_code}"
    nonce = nonce_of(await house.send("GET", path))
    made = await house.submit(path, {"amount": "5", "nonce": nonce})
    await house.execute(
        "INSERT INTO orders (lane, id, merchant_id, reference, state, amount_minor, currency, subject, shop_id,"
        " created_at, expires_at) SELECT lane, id + g, merchant_id, 's-' || lpad(g::text, 24, '0') || '-500', 'created',"
        " amount_minor, currency, subject, shop_id, created_at, expires_at FROM orders, generate_series(1, $1::int) AS g",
        OPEN_ORDERS_MAX - 1,
    )
    full = await house.submit(path, {"amount": "6", "nonce": nonce}, headers=EN)
    assert (full.status, "Too many orders wait here" in full.text) == (429, True)
    again = await house.submit(path, {"amount": "5", "nonce": nonce})
    assert (again.status, again.headers["location"]) == (303, made.headers["location"])
    assert (await house.call("POST", "/v1/orders", an_order())).status == 201
    await house.execute("UPDATE orders SET state = 'expired' WHERE id = (SELECT min(id) FROM orders)")
    assert (await house.submit(path, {"amount": "6", "nonce": nonce})).status == 303


@pytest.mark.parametrize("path", ["/s/nowhere", "/s/%00", "/s/a%20b", "/terminal/nowhere", "/terminal/%00"])
async def test_a_code_or_link_of_nobody_leads_to_nothing(house: House, path: str) -> None:
    page = await house.send("GET", path, headers=EN)
    assert (page.status, "leads to nothing" in page.text) == (404, True)


async def test_a_desk_charges_a_code_and_shows_that_it_is_paid(house: House) -> None:
    path = f"/terminal/{house.merchant.terminal_token}"
    page = await house.send("GET", path, headers=EN)
    fields = {"amount": "8.80", "auth_code": await _code(house), "nonce": nonce_of(page)}
    charged = await house.submit(f"{path}/charge", fields, headers=EN)
    assert charged.status == 303
    result = await house.send("GET", charged.headers["location"], headers=EN)
    assert 'data-state="paid"' in result.text
    assert "¥8.80" in result.text
    state = await house.send("GET", f"{charged.headers['location']}/state")
    assert state.json == {"state": "paid", "is_final": True}


async def test_a_desk_never_charges_twice_however_often_its_form_is_sent(house: House) -> None:
    path = f"/terminal/{house.merchant.terminal_token}"
    fields = {"amount": "8.80", "auth_code": await _code(house), "nonce": nonce_of(await house.send("GET", path))}
    sent = await asyncio.gather(*(house.submit(f"{path}/charge", fields) for _ in range(5)))
    assert len({charged.headers["location"] for charged in sent}) == 1
    (order,) = await _orders(house)
    assert len(order["trades"]) == 1


async def test_a_used_form_with_another_code_charges_nobody_and_comes_back_fresh(house: House) -> None:
    path = f"/terminal/{house.merchant.terminal_token}"
    nonce = nonce_of(await house.send("GET", path))
    await house.submit(f"{path}/charge", {"amount": "8.80", "auth_code": await _code(house), "nonce": nonce})
    again = await house.submit(
        f"{path}/charge", {"amount": "8.80", "auth_code": await _code(house), "nonce": nonce}, headers=EN
    )
    assert (again.status, "used already" in again.text) == (409, True)
    assert nonce_of(again) != nonce
    assert len(await _orders(house)) == 1


@pytest.mark.parametrize("code", ["999999999999999999", "hello", "", "13 45"])
async def test_a_code_of_no_known_wallet_is_told_clearly_and_the_amount_is_kept(house: House, code: str) -> None:
    path = f"/terminal/{house.merchant.terminal_token}"
    fields = {"amount": "8.80", "auth_code": code, "nonce": nonce_of(await house.send("GET", path))}
    page = await house.submit(f"{path}/charge", fields, headers=EN)
    assert (page.status, "no payment code of WeChat or Alipay" in page.text) == (422, True)
    assert 'value="8.80"' in page.text
    assert await _orders(house) == []


async def test_a_code_with_a_scanners_spaces_is_read(house: House) -> None:
    path = f"/terminal/{house.merchant.terminal_token}"
    code = await _code(house, "alipay")
    spaced = f" {code[:4]} {code[4:]}\r\n"
    fields = {"amount": "1", "auth_code": spaced, "nonce": nonce_of(await house.send("GET", path))}
    assert (await house.submit(f"{path}/charge", fields)).status == 303


async def test_a_customer_who_still_types_is_waited_for(house: House) -> None:
    path = f"/terminal/{house.merchant.terminal_token}"
    code = await _code(house, user_paying_s=600)
    fields = {"amount": "1", "auth_code": code, "nonce": nonce_of(await house.send("GET", path))}
    charged = await house.submit(f"{path}/charge", fields)
    result = await house.send("GET", charged.headers["location"], headers=EN)
    assert 'data-state="pending"' in result.text
    assert '<meta http-equiv="refresh"' in result.text
    assert code not in result.text


async def test_a_desk_sees_what_its_own_shop_took_and_no_other_order_of_its_merchant(house: House) -> None:
    """A desk's link lies open on a counter."""
    order = await house.create_order()
    path = f"/terminal/{house.merchant.terminal_token}/orders/{order['order_no']}"
    for address in (path, f"{path}/state", f"{path}?asked=1"):
        page = await house.send("GET", address, headers=EN)
        assert (page.status, "There is no such order." in page.text) == (404, True)
    own = await house.create_order(shop=house.merchant.shop_code)
    path = f"/terminal/{house.merchant.terminal_token}/orders/{own['order_no']}"
    assert (await house.send("GET", f"{path}/state")).status == 200


async def test_another_merchants_desk_does_not_see_the_order(house: House) -> None:
    order = await house.create_order()
    other = await house.add_merchant("二号店")
    path = f"/terminal/{other.terminal_token}/orders/{order['order_no']}"
    for address in (path, f"{path}/state"):
        page = await house.send("GET", address, headers=EN)
        assert (page.status, "There is no such order." in page.text) == (404, True)


async def test_a_form_that_is_no_form_is_refused(house: House) -> None:
    path = f"/s/{house.merchant.shop_code}"
    headers = {"content-type": "application/x-www-form-urlencoded", **EN}
    many = b"&".join(b"f%d=1" % index for index in range(100))
    for body in (b"\xff", many, b"a=%ff"):
        assert (await house.send("POST", path, body=body, headers=headers)).status == 400
    assert (await house.send("POST", path, body=b"{}", headers={"content-type": "application/json"})).status == 415
