"""A customer at a printed code and a cashier at the desk, as the browser shows it."""

from playwright.async_api import Page, expect

from integration.browser.conftest import OpenPage
from integration.web.house import House

TABLET = {"width": 1024, "height": 768}


async def _desk(house: House, open_page: OpenPage) -> Page:
    return await open_page(f"{house.url}/terminal/{house.merchant.terminal_token}", viewport=TABLET)


async def _code(house: House, **faults: object) -> str:
    return (await house.sandbox_call("/sandbox/auth-codes", {"channel": "wechat_v3", "faults": faults}))["auth_code"]


async def _count(house: House) -> int:
    return len((await house.call("GET", "/v1/orders")).json["orders"])


async def test_a_printed_code_leads_from_the_amount_to_the_payment(house: House, open_page: OpenPage) -> None:
    page = await open_page(f"{house.url}/s/{house.merchant.shop_code}")
    await expect(page.get_by_text("一号店").first).to_be_visible()
    await expect(page.get_by_label("Amount (CNY)")).to_be_focused()
    await page.keyboard.type("25.5")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("¥25.50")).to_be_visible()
    await page.get_by_role("button", name="Pay with Alipay").click()
    await expect(page.get_by_role("img", name="Payment code")).to_be_visible()


async def test_a_wrong_amount_stays_to_be_mended(house: House, open_page: OpenPage) -> None:
    page = await open_page(f"{house.url}/s/{house.merchant.shop_code}")
    await page.get_by_label("Amount (CNY)").fill("12.345")
    await page.get_by_role("button", name="Continue to payment").click()
    await expect(page.get_by_role("alert")).to_have_text("Enter an amount with at most two decimals.")
    await expect(page.get_by_label("Amount (CNY)")).to_have_value("12.345")


async def test_tapping_an_amount_and_scanning_is_all_a_sale_takes(house: House, open_page: OpenPage) -> None:
    page = await _desk(house, open_page)
    for key in ("8", ".", "8", "0", "0", "Delete one digit"):
        await page.get_by_role("button", name=key, exact=True).click()
    await expect(page.get_by_label("Amount (CNY)")).to_have_value("8.80")
    # A scanner types wherever the focus is, and ends with Enter.
    await page.keyboard.type(await _code(house))
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Paid", exact=True)).to_be_visible()
    await expect(page.get_by_text("¥8.80")).to_be_visible()
    await page.get_by_role("link", name="Next sale").click()
    await expect(page.get_by_label("Amount (CNY)")).to_have_value("")


async def test_a_typed_amount_is_ended_with_enter_and_the_code_follows(house: House, open_page: OpenPage) -> None:
    page = await _desk(house, open_page)
    await page.keyboard.type("3")
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("Customer's payment code")).to_be_focused()
    await page.keyboard.type(await _code(house))
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Paid", exact=True)).to_be_visible()


async def test_a_code_of_no_known_wallet_is_told_and_the_amount_is_kept(house: House, open_page: OpenPage) -> None:
    page = await _desk(house, open_page)
    await page.get_by_label("Amount (CNY)").fill("8.80")
    await page.get_by_label("Customer's payment code").fill("999999999999999999")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_have_text(
        "This is no payment code of WeChat or Alipay. Please scan again."
    )
    await expect(page.get_by_label("Amount (CNY)")).to_have_value("8.80")
    await expect(page.get_by_label("Customer's payment code")).to_be_focused()
    assert await _count(house) == 0


async def test_a_customer_who_types_a_password_is_waited_for_in_place(house: House, open_page: OpenPage) -> None:
    page = await _desk(house, open_page)
    await page.get_by_label("Amount (CNY)").fill("1")
    await page.get_by_label("Customer's payment code").fill(await _code(house, user_paying_s=4))
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Waiting for the customer")).to_be_visible()
    await expect(page.get_by_role("heading", name="Paid", exact=True)).to_be_visible()


async def test_an_impatient_cashier_charges_once(house: House, open_page: OpenPage) -> None:
    page = await _desk(house, open_page)
    await page.get_by_label("Amount (CNY)").fill("1")
    await page.get_by_label("Customer's payment code").fill(await _code(house))
    await page.get_by_role("button", name="Charge").dblclick()
    await expect(page.get_by_role("heading", name="Paid", exact=True)).to_be_visible()
    assert await _count(house) == 1


async def test_going_back_to_a_sent_form_gives_a_fresh_one(house: House, open_page: OpenPage) -> None:
    """A form that stays in the browser must not charge the next customer for the last one's sale."""
    page = await _desk(house, open_page)
    await page.get_by_label("Amount (CNY)").fill("1")
    await page.get_by_label("Customer's payment code").fill(await _code(house))
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Paid", exact=True)).to_be_visible()
    await page.go_back()
    await page.get_by_label("Amount (CNY)").fill("2")
    await page.get_by_label("Customer's payment code").fill(await _code(house))
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("¥2.00")).to_be_visible()
    assert await _count(house) == 2
