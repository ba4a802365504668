"""An order's whole way over each channel that is not in the demo: the API, the sandbox, its notice, the API again."""

import asyncio
from typing import Any

import pytest

from budan.cli.sandbox_account import open_sandbox_account
from budan.core.numbers import AccountId
from budan.flows.administering import AddedMerchant, MerchantWish
from integration.web.house import WAIT_S, House, Reply, an_order


async def open_at_sandbox(house: House, channel: str) -> AccountId:
    """An account as `budan channel add --sandbox` makes one."""
    opened = await open_sandbox_account(sandbox_url=house.sandbox.url, channel=channel, name=channel)
    return await house.administration.add_account(
        channel=channel, name=channel, settings=opened.settings, account_secrets=opened.secrets, by="Ann"
    )


async def a_merchant(house: House, *account_ids: int) -> AddedMerchant:
    """A merchant whose orders go to these accounts, the first choice first."""
    wish = MerchantWish(
        name="分店",
        webhook_url=None,
        account_ids=account_ids,
        rates_bp={"wechat_v3": 60, "alipay": 55, "swiftpass": 38, "wechat_v2": 60},
        with_key=True,
        with_shop=False,
    )
    (added,) = await house.administration.add_merchants([wish], by="Ann")
    return added


async def paid(house: House, merchant: AddedMerchant, order_no: str) -> dict[str, Any]:
    """The order once it is paid; nothing but the notice tells of it, for no worker asks here."""
    async with asyncio.timeout(WAIT_S):
        while True:
            order = (await house.call("GET", f"/v1/orders/{order_no}", key=merchant.api_key)).json
            if order["state"] == "paid":
                return order


async def charge(house: House, merchant: AddedMerchant, *, channel: str) -> Reply:
    """A charge of a code that a wallet of this channel's shows."""
    code = (await house.sandbox_call("/sandbox/auth-codes", {"channel": channel}))["auth_code"]
    return await house.call("POST", "/v1/charges", an_order(auth_code=code), key=merchant.api_key)


async def test_a_page_gives_alipays_script_its_parameters_in_alipay_only(house: House) -> None:
    """WeChat's sheet takes no number of a trade of Alipay's."""
    merchant = await a_merchant(house, await open_at_sandbox(house, "swiftpass"))
    wish = an_order(payment={"method": "jsapi", "channel": "swiftpass", "payer_openid": "2088000000000001"})
    placed = (await house.call("POST", "/v1/orders", wish, key=merchant.api_key)).json
    assert set(placed["trades"][0]["jsapi_parameters"]) == {"tradeNO"}
    path = placed["cashier_url"].removeprefix(house.url)
    pages = {
        agent: (await house.send("GET", path, headers={"user-agent": agent, "accept-language": "en"})).text
        for agent in ("Mobile AlipayClient/10.5", "Mobile MicroMessenger/8.0")
    }
    assert ['id="pay-in-alipay"' in page for page in pages.values()] == [True, False]
    assert not any('id="pay-in-wechat"' in page for page in pages.values())


@pytest.mark.parametrize("channel", ["swiftpass"])
async def test_a_scanned_order_is_paid_by_its_notice_alone(house: House, channel: str) -> None:
    merchant = await a_merchant(house, await open_at_sandbox(house, channel))
    wish = an_order(payment={"method": "native", "channel": channel})
    placed = (await house.call("POST", "/v1/orders", wish, key=merchant.api_key)).json
    (trade,) = placed["trades"]
    await house.sandbox_call("/sandbox/pay", {"code_text": trade["qr_text"], "faults": {}})
    order = await paid(house, merchant, placed["order_no"])
    assert (order["learned_source"], order["trades"][0]["channel"]) == ("notice", channel)
    seen = await house.client.request(
        method="GET",
        url=f"{house.sandbox.url}/sandbox/trades/{trade['trade_no']}",
        headers={},
        body=b"",
        timeout_s=WAIT_S,
        body_bytes_max=100_000,
    )
    assert b'"state":"paid"' in seen.body


@pytest.mark.parametrize("channel", ["swiftpass", "wechat_v2"])
async def test_a_charged_code_is_paid_by_its_answer(house: House, channel: str) -> None:
    merchant = await a_merchant(house, await open_at_sandbox(house, channel))
    charged = await charge(house, merchant, channel=channel)
    assert charged.status == 200, charged.body
    assert charged.json["payment_status"] == "paid"
    assert charged.json["trades"][0]["channel"] == channel


async def test_the_merchants_order_of_accounts_decides_who_charges_a_code_that_both_take(house: House) -> None:
    """A WeChat code looks the same to each channel that takes WeChat."""
    older = await open_at_sandbox(house, "wechat_v2")
    wechat = house.account_ids["wechat_v3"]
    for account_ids, channel in (((older, wechat), "wechat_v2"), ((wechat, older), "wechat_v3")):
        merchant = await a_merchant(house, *account_ids)
        charged = await charge(house, merchant, channel="wechat_v3")
        assert (charged.json["payment_status"], charged.json["trades"][0]["channel"]) == ("paid", channel)
