"""A payer's way through the cashier, as the browser shows it."""

import asyncio
import re
import time
from typing import Any

import pytest
from playwright.async_api import Page, expect

from integration.browser.conftest import STEP_MS, OpenPage
from integration.web.house import House

# A quiet machine needs two seconds, and the promise of five is measured by `budan bench`; the rest is for a busy one.
HEALED_WITHIN_S = 15.0
ALIPAY = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0) AppleWebKit/605.1 Mobile AlipayClient/10.5"
PHONE = "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/120 Mobile Safari/537.36"
WECHAT = "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/120 Mobile MicroMessenger/8.0.50"


async def _pay_in_wallet(page: Page, *, lose_notice: bool = False) -> float:
    """Tap through the sandbox's wallet in a second tab; when the payer tapped."""
    async with page.expect_popup() as popup:
        await page.get_by_role("link", name="Open the sandbox wallet").click()
    wallet = await popup.value
    if lose_notice:
        await wallet.get_by_label("Lose this notice").check()
    tapped_s = time.monotonic()
    await wallet.get_by_role("button", name="Pay").click()
    await wallet.close()
    return tapped_s


async def _lose_notices_of(faults: Page, *, amount: str) -> None:
    """Choose it on the sandbox's page of faults, as a person does on a phone."""
    assert await _fits(faults)
    await faults.get_by_label("Amount in yuan").fill(amount)
    await faults.get_by_label("Lose the notice", exact=True).check()
    await faults.get_by_role("button", name="For this amount").click()
    await expect(faults.get_by_text("It counts from now on.")).to_be_visible()
    assert await _fits(faults)


async def _fits(page: Page) -> bool:
    return await page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@pytest.mark.parametrize("wallet", ["WeChat Pay", "Alipay"])
async def test_a_payer_scans_pays_and_sees_it_in_place(house: House, open_page: OpenPage, wallet: str) -> None:
    order = await house.create_order(subject="Two teas")
    page = await open_page(order["cashier_url"], viewport={"width": 1280, "height": 800})
    await expect(page.get_by_text("Two teas")).to_be_visible()
    await expect(page.get_by_text("¥19.99")).to_be_visible()
    await page.get_by_role("button", name=f"Pay with {wallet}").click()
    await expect(page.get_by_role("img", name="Payment code")).to_be_visible()
    await _pay_in_wallet(page)
    await expect(page.get_by_role("heading", name="Paid")).to_be_visible()
    await expect(page.get_by_role("img", name="Payment code")).to_be_hidden()
    assert (await house.call("GET", f"/v1/orders/{order['order_no']}")).json["state"] == "paid"


async def test_a_lost_notice_is_made_up_for_while_the_payer_looks_at_the_page(
    house: House, open_page: OpenPage
) -> None:
    """The open page asks us, we ask the channel: nobody has to notice first."""
    order = await house.create_order(payment={"method": "native", "channel": "wechat_v3"})
    page = await open_page(order["cashier_url"])
    await page.evaluate("window.isTheSamePage = true")
    faults = await open_page(f"{house.sandbox.url}/faults")
    await _lose_notices_of(faults, amount="19.99")
    tapped_s = await _pay_in_wallet(page)
    await expect(page.get_by_role("heading", name="Paid")).to_be_visible()
    assert time.monotonic() - tapped_s < HEALED_WITHIN_S
    assert await page.evaluate("window.isTheSamePage")
    assert (await house.call("GET", f"/v1/orders/{order['order_no']}")).json["learned_source"] == "query"
    await faults.get_by_role("button", name="Forget ¥19.99").click()
    await expect(faults.get_by_text("Lose the notice", exact=True)).to_have_count(1)


async def test_alipays_browser_goes_to_alipay_and_comes_back_paid(house: House, open_page: OpenPage) -> None:
    order = await house.create_order()
    page = await open_page(order["cashier_url"], user_agent=ALIPAY)
    await expect(page.get_by_role("button", name="Pay with WeChat Pay")).to_have_count(0)
    await page.get_by_role("button", name="Pay with Alipay").click()
    await page.wait_for_url(f"{house.sandbox.url}/wallet/**")
    await page.get_by_role("button", name="Pay").click()
    await page.wait_for_url(f"{order['cashier_url']}*")
    await expect(page.get_by_role("heading", name="Paid")).to_be_visible()


async def test_a_phones_browser_goes_to_wechat_and_says_from_where(house: House, open_page: OpenPage) -> None:
    """WeChat refuses a browser that does not; the order's secret address is not told."""
    order = await house.create_order()
    page = await open_page(order["cashier_url"], user_agent=PHONE)
    async with page.expect_request(f"{house.sandbox.url}/cgi-bin/**") as asked:
        await page.get_by_role("button", name="Pay with WeChat Pay").click()
    assert (await (await asked.value).all_headers())["referer"] == f"{house.url}/"
    await page.wait_for_url(f"{house.sandbox.url}/wallet/**")
    await page.get_by_role("button", name="Pay").click()
    await page.wait_for_url(f"{order['cashier_url']}*")
    await expect(page.get_by_role("heading", name="Paid")).to_be_visible()


async def test_coming_back_unpaid_does_not_lead_away_again(house: House, open_page: OpenPage) -> None:
    order = await house.create_order()
    page = await open_page(order["cashier_url"], user_agent=ALIPAY)
    await page.get_by_role("button", name="Pay with Alipay").click()
    await page.wait_for_url(f"{house.sandbox.url}/wallet/**")
    await page.go_back()
    await expect(page.get_by_role("link", name="Open Alipay to pay")).to_be_visible()
    assert page.url == order["cashier_url"]


async def test_wechats_browser_is_told_honestly_what_it_cannot_do(house: House, open_page: OpenPage) -> None:
    order = await house.create_order()
    page = await open_page(order["cashier_url"], user_agent=WECHAT)
    await page.get_by_role("button", name="Pay with WeChat Pay").click()
    await expect(page.get_by_text("scan it with WeChat on another device")).to_be_visible()


async def test_wechats_sheet_is_opened_with_the_parameters_of_the_channel(house: House, open_page: OpenPage) -> None:
    payment = {"method": "jsapi", "channel": "wechat_v3", "payer_openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"}
    order = await house.create_order(payment=payment)
    page = await open_page(order["cashier_url"], user_agent=WECHAT)
    await page.evaluate("window.WeixinJSBridge = { invoke: (...told) => { window.told = told; } }")
    await page.get_by_role("button", name="Pay in WeChat").click()
    name, parameters = (await page.evaluate("window.told.slice(0, 2)"))[:2]
    assert name == "getBrandWCPayRequest"
    assert parameters == order["trades"][0]["jsapi_parameters"]


async def test_without_scripts_the_page_still_turns_to_paid(house: House, open_page: OpenPage) -> None:
    order = await house.create_order()
    page = await open_page(order["cashier_url"], java_script_enabled=False)
    await page.get_by_role("button", name="Pay with WeChat Pay").click()
    await _pay_in_wallet(page, lose_notice=True)
    await expect(page.get_by_role("heading", name="Paid")).to_be_visible(timeout=STEP_MS)


async def test_a_broken_network_is_told_and_forgotten_when_it_is_back(house: House, open_page: OpenPage) -> None:
    order = await house.create_order(payment={"method": "native", "channel": "alipay"})
    page = await open_page(order["cashier_url"])
    await page.context.set_offline(True)
    await expect(page.get_by_text("Please do not pay twice")).to_be_visible()
    await page.context.set_offline(False)
    await expect(page.get_by_text("Please do not pay twice")).to_be_hidden()


async def test_an_order_that_ends_unpaid_is_told_in_place(house: House, open_page: OpenPage) -> None:
    order = await house.create_order()
    page = await open_page(order["cashier_url"])
    await expect(page.get_by_role("heading", name="How do you want to pay?")).to_be_visible()
    await _set_state(house, order, "closing")
    await expect(page.get_by_role("heading", name="The order is being closed")).to_be_visible()
    await _set_state(house, order, "expired")
    await expect(page.get_by_role("heading", name="The order has ended")).to_be_visible()
    await expect(page.get_by_role("button")).to_have_count(0)


async def _set_state(house: House, order: dict[str, Any], state: str) -> None:
    """As the worker does when an order's time is over; the worker itself has its own tests."""
    await house.execute(
        "UPDATE orders SET state = $2, version = version + 1 WHERE reference = $1", order["reference"], state
    )


async def test_pages_fit_a_small_phone_in_both_languages(house: House, open_page: OpenPage) -> None:
    long = "M" * 40
    order = await house.create_order(subject=long, amount_minor=10_000_000_000)
    coded = await house.create_order(payment={"method": "native", "channel": "wechat_v3"})
    addresses = [
        order["cashier_url"],
        coded["cashier_url"],
        f"{house.url}/s/{house.merchant.shop_code}",
        f"{house.url}/terminal/{house.merchant.terminal_token}",
        f"{house.url}/terminal/{house.merchant.terminal_token}/orders/{coded['order_no']}",
        f"{house.url}/docs",
        f"{house.url}/pay/nothing",
    ]
    for address in addresses:
        for language in ("zh-CN", "en-US"):
            page = await open_page(address, locale=language)
            assert await _fits(page), (address, language)
            assert await page.evaluate("document.documentElement.lang") == ("zh-CN" if language == "zh-CN" else "en")


async def test_a_keyboard_alone_is_enough_and_sees_where_it_is(house: House, open_page: OpenPage) -> None:
    page = await open_page((await house.create_order())["cashier_url"])
    await page.keyboard.press("Tab")
    button = page.get_by_role("button", name="Pay with WeChat Pay")
    await expect(button).to_be_focused()
    assert re.match(r"3px", await button.evaluate("element => getComputedStyle(element).outlineWidth"))
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("img", name="Payment code")).to_be_visible()


async def test_two_phones_on_one_order_both_see_it_paid(house: House, open_page: OpenPage) -> None:
    order = await house.create_order(payment={"method": "native", "channel": "alipay"})
    pages = [await open_page(order["cashier_url"]) for _ in range(2)]
    await house.sandbox_call("/sandbox/pay", {"code_text": order["trades"][0]["qr_text"], "faults": {}})
    await asyncio.gather(*(expect(page.get_by_role("heading", name="Paid")).to_be_visible() for page in pages))
