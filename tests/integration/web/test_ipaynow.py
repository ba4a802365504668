"""An order's whole way over iPaynow: the API, the sandbox, its notice or its answer, the API again."""

import asyncio
from typing import Any

import pytest

from budan.cli.sandbox_account import open_sandbox_account
from budan.flows.administering import AddedMerchant, MerchantWish
from integration.web.house import WAIT_S, House, an_order


@pytest.fixture
async def merchant(house: House) -> AddedMerchant:
    """A merchant whose only account is one that `budan channel add ipaynow --sandbox` would make."""
    opened = await open_sandbox_account(sandbox_url=house.sandbox.url, channel="ipaynow", name="聚合")
    account_id = await house.administration.add_account(
        channel="ipaynow", name="聚合", settings=opened.settings, account_secrets=opened.secrets, by="Ann"
    )
    wish = MerchantWish(
        name="面馆",
        webhook_url=None,
        account_ids=(account_id,),
        rates_bp={"ipaynow": 60},
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


async def test_a_scanned_order_is_completed_by_its_notice(house: House, merchant: AddedMerchant) -> None:
    wish = an_order(payment={"method": "native", "channel": "ipaynow"})
    placed = (await house.call("POST", "/v1/orders", wish, key=merchant.api_key)).json
    await house.sandbox_call("/sandbox/pay", {"code_text": placed["trades"][0]["qr_text"], "faults": {}})
    order = await paid(house, merchant, placed["order_no"])
    assert (order["learned_source"], order["fee_minor"]) == ("notice", 12)


@pytest.mark.parametrize("wallet", ["wechat_v3", "alipay"])
async def test_a_code_of_either_wallet_is_charged(house: House, merchant: AddedMerchant, wallet: str) -> None:
    code = (await house.sandbox_call("/sandbox/auth-codes", {"channel": wallet, "faults": {}}))["auth_code"]
    charged = await house.call("POST", "/v1/charges", an_order(auth_code=code), key=merchant.api_key)
    assert (charged.status, charged.json["payment_status"], charged.json["learned_source"]) == (200, "paid", "reply")


async def test_a_refused_charge_is_asked_about_before_it_is_called_unpaid(
    house: House, merchant: AddedMerchant
) -> None:
    """A number that is used twice is refused in the same words as a code that is none."""
    wish = an_order(auth_code="1" * 18)
    charged = await house.call("POST", "/v1/charges", wish, key=merchant.api_key)
    assert (charged.status, charged.json["payment_status"]) == (200, "unpaid")
    assert charged.json["trades"][0]["state"] == "failed"
