"""The cashier's pages as a browser without scripts sees them."""

import asyncio
import re
from typing import Any

import pytest

from integration.web.house import WAIT_S, House, Reply

WECHAT = "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/120 Mobile MicroMessenger/8.0.50"
ALIPAY = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0) AppleWebKit/605.1 Mobile AlipayClient/10.5"
PHONE = "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/120 Mobile Safari/537.36"
DESKTOP = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/120 Safari/537.36"
EN = {"accept-language": "en"}


def path_of(house: House, order: dict[str, Any]) -> str:
    """The path of an order's page."""
    return order["cashier_url"].removeprefix(house.url)


async def _open(house: House, order: dict[str, Any], *, agent: str = DESKTOP, query: str = "") -> Reply:
    return await house.send("GET", path_of(house, order) + query, headers={"user-agent": agent, **EN})


def _shown(page: Reply) -> str:
    """Which part of the page is not hidden."""
    (state,) = re.findall(r'data-when="(\w+)" *(?! *hidden)(?:>| aria)', page.text)
    return state


async def test_the_page_shows_what_is_paid_and_offers_each_wallet_of_the_merchant(house: House) -> None:
    page = await _open(house, await house.create_order(subject="Two <b>teas"))
    assert page.status == 200
    assert "¥19.99" in page.text
    assert "Two &lt;b&gt;teas" in page.text
    assert "Pay with WeChat Pay" in page.text
    assert "Pay with Alipay" in page.text
    assert _shown(page) == "open"


@pytest.mark.parametrize(
    ("agent", "offered"),
    [
        (DESKTOP, [("wechat_v3", "native"), ("alipay", "native")]),
        (PHONE, [("wechat_v3", "wap"), ("alipay", "wap")]),
        (WECHAT, [("wechat_v3", "native")]),
        (ALIPAY, [("alipay", "wap")]),
    ],
)
async def test_a_wallet_is_offered_only_what_it_can_pay(
    house: House, agent: str, offered: list[tuple[str, str]]
) -> None:
    page = await _open(house, await house.create_order(), agent=agent)
    fields = re.findall(r'name="channel" value="(\w+)">\s*<input type="hidden" name="method" value="(\w+)"', page.text)
    assert fields == offered


@pytest.mark.parametrize("channel", ["wechat_v3", "alipay"])
async def test_starting_a_payment_shows_its_code_once_however_often_it_is_started(house: House, channel: str) -> None:
    order = await house.create_order()
    path = path_of(house, order)
    for _ in range(2):
        started = await house.submit(f"{path}/start", {"channel": channel, "method": "native"}, headers=EN)
        assert (started.status, started.headers["location"]) == (303, path)
    page = await _open(house, order)
    assert '<svg viewBox="0 0' in page.text
    assert len((await house.call("GET", f"/v1/orders/{order['order_no']}")).json["trades"]) == 1


async def test_alipays_own_browser_is_led_to_alipay(house: House) -> None:
    order = await house.create_order()
    path = path_of(house, order)
    started = await house.submit(
        f"{path}/start", {"channel": "alipay", "method": "wap"}, headers={"user-agent": ALIPAY}
    )
    assert started.headers["location"] == f"{path}?go=1"
    page = await _open(house, order, agent=ALIPAY, query="?go=1")
    link = re.search(r'id="open-wallet" href="([^"]+)" data-follow', page.text)
    assert link is not None
    assert link[1].startswith(house.sandbox.url)


async def test_a_phone_is_led_to_wechat_again_once_its_link_is_old(house: House) -> None:
    """WeChat's link lives five minutes, the order longer; inside WeChat it opens nothing."""
    order = await house.create_order()
    path = path_of(house, order)
    wish = {"channel": "wechat_v3", "method": "wap"}
    started = await house.submit(f"{path}/start", wish, headers={"user-agent": PHONE})
    assert started.headers["location"] == f"{path}?go=1"
    # WeChat's page refuses a browser that does not say from whose page it comes; the path stays with us.
    link = 'id="open-wallet" href="[^"]+" +referrerpolicy="origin"'
    assert re.search(link, (await _open(house, order, agent=PHONE)).text)
    inside = await _open(house, order, agent=WECHAT)
    assert not re.search(link, inside.text)
    assert 'name="method" value="native"' in inside.text
    await house.execute("UPDATE trade SET action = jsonb_set(action, '{good_until}', '\"2026-01-01T00:00:00Z\"')")
    assert not re.search(link, (await _open(house, order, agent=PHONE)).text)
    await house.submit(f"{path}/start", wish, headers={"user-agent": PHONE})
    trades = (await house.call("GET", f"/v1/orders/{order['order_no']}")).json["trades"]
    assert [bool(trade["redirect_url"]) for trade in trades] == [False, True]


async def test_wechats_own_browser_gets_its_sheet_only_for_an_order_that_names_the_payer(house: House) -> None:
    payment = {"method": "jsapi", "channel": "wechat_v3", "payer_openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"}
    order = await house.create_order(payment=payment)
    assert 'id="pay-in-wechat"' in (await _open(house, order, agent=WECHAT)).text
    assert "Open this page in WeChat" in (await _open(house, order)).text


async def test_a_lost_notice_is_healed_because_the_page_is_open(house: House) -> None:
    order = await house.create_order(payment={"method": "native", "channel": "wechat_v3"})
    await house.sandbox_call(
        "/sandbox/pay", {"code_text": order["trades"][0]["qr_text"], "faults": {"drop_notice": True}}
    )
    async with asyncio.timeout(WAIT_S):
        while (state := (await house.send("GET", f"{path_of(house, order)}/state")).json)["state"] != "paid":
            pass
    assert state == {"state": "paid", "is_final": True}
    assert (await house.call("GET", f"/v1/orders/{order['order_no']}")).json["learned_source"] == "query"
    assert _shown(await _open(house, order)) == "paid"


async def test_without_scripts_the_page_loads_itself_again_and_asks(house: House) -> None:
    order = await house.create_order(payment={"method": "native", "channel": "alipay"})
    page = await _open(house, order)
    reload_address = re.search(r'<noscript><meta http-equiv="refresh" content="3; url=([^"]+)">', page.text)
    assert reload_address is not None
    await house.sandbox_call(
        "/sandbox/pay", {"code_text": order["trades"][0]["qr_text"], "faults": {"drop_notice": True}}
    )
    async with asyncio.timeout(WAIT_S):
        while _shown(await house.send("GET", reload_address[1], headers=EN)) != "paid":
            pass


async def test_a_page_with_money_is_not_kept_framed_or_scripted_from_elsewhere(house: House) -> None:
    page = await _open(house, await house.create_order())
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["x-content-type-options"] == "nosniff"
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;")
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'self'" in policy
    assert not re.search(r"<script(?![^>]* src=)|style=|<style|\son\w+=", page.text)
    assert not re.search(r'(?:src|href)="(?:https?:)?//(?!127\.0\.0\.1)', page.text)


async def test_assets_are_kept_for_ever_because_their_address_is_their_content(house: House) -> None:
    page = await _open(house, await house.create_order())
    for address in re.findall(r'(?:src|href)="(/assets/[^"]+)"', page.text):
        asset = await house.send("GET", address)
        assert asset.status == 200
        assert "immutable" in asset.headers["cache-control"]
    assert (await house.send("GET", "/assets/other.js")).status == 404


@pytest.mark.parametrize(
    "token", ["x", "%00", "-", "D260101000000000000000000000000-AAAAAAAAAAAAAAAA", "%C3%A9-%C3%A9"]
)
async def test_a_link_that_we_did_not_make_leads_to_nothing(house: House, token: str) -> None:
    for path in (f"/pay/{token}", f"/pay/{token}/state"):
        page = await house.send("GET", path, headers=EN)
        assert page.status == 404
        assert "This link leads to nothing" in page.text
    assert (await house.submit(f"/pay/{token}/start", {"channel": "alipay", "method": "native"})).status == 404


async def test_another_orders_mac_opens_nothing(house: House) -> None:
    one, other = path_of(house, await house.create_order()), path_of(house, await house.create_order())
    mixed = f"{one.rpartition('-')[0]}-{other.rpartition('-')[2]}"
    assert (await house.send("GET", mixed)).status == 404


@pytest.mark.parametrize(
    ("fields", "status", "text"),
    [
        ({"channel": "cowrie", "method": "native"}, 422, "There is no such way of paying."),
        ({"channel": "wechat_v3", "method": "code"}, 422, "This way of paying is not possible now."),
        ({}, 422, "This way of paying is not possible now."),
    ],
)
async def test_a_wrong_start_is_told_on_the_page(house: House, fields: dict[str, str], status: int, text: str) -> None:
    order = await house.create_order()
    page = await house.submit(f"{path_of(house, order)}/start", fields, headers=EN)
    assert page.status == status
    assert text in page.text
    assert "Pay with Alipay" in page.text


async def test_a_paid_order_takes_no_second_start(house: House) -> None:
    order = await house.create_order(payment={"method": "native", "channel": "alipay"})
    await house.sandbox_call("/sandbox/pay", {"code_text": order["trades"][0]["qr_text"], "faults": {}})
    async with asyncio.timeout(WAIT_S):
        while _shown(await _open(house, order)) != "paid":
            pass
    page = await house.submit(
        f"{path_of(house, order)}/start", {"channel": "wechat_v3", "method": "native"}, headers=EN
    )
    assert (page.status, _shown(page)) == (409, "paid")


@pytest.mark.parametrize(
    ("query", "accepted", "text"),
    [
        ("", "", "请选择付款方式"),
        ("", "en-GB,en;q=0.9,zh;q=0.8", "How do you want to pay?"),
        ("", "fr, zh-TW;q=0.5, en;q=0.4", "请选择付款方式"),
        ("", "fr;q=nonsense, de;q=0", "请选择付款方式"),
        ("?lang=zh", "en", "请选择付款方式"),
        ("?lang=en", "zh", "How do you want to pay?"),
        ("?lang=xx", "en", "How do you want to pay?"),
    ],
)
async def test_the_language_is_the_asked_one_then_the_browsers(
    house: House, query: str, accepted: str, text: str
) -> None:
    order = await house.create_order()
    page = await house.send("GET", path_of(house, order) + query, headers={"accept-language": accepted})
    assert text in page.text


async def test_the_asked_language_stays_over_a_form(house: House) -> None:
    path = path_of(house, await house.create_order())
    started = await house.submit(f"{path}/start?lang=en", {"channel": "alipay", "method": "native"})
    assert started.headers["location"] == f"{path}?lang=en"
