"""Programs that others wrote for the real channels talk to our sandbox, so that it and our adapters cannot be wrong together."""

import asyncio
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from secrets import token_hex
from typing import Any
from urllib.parse import parse_qsl

import pytest
from alipay import AliPay
from wechatpayv3 import WeChatPay, WeChatPayType

from budan.core.numbers import BEIJING
from integration.sandbox.running import Caller, Receiver
from unit.channels.builders import vectors

KEYS = vectors()["keys"]["merchant"]
FEN, YUAN = 1280, "12.80"


def pem(kind: str, text: str) -> str:
    return f"-----BEGIN {kind}-----\n{text}\n-----END {kind}-----"


async def in_a_thread(call: Callable[..., Any], **values: object) -> Any:
    """Both libraries wait for answers without asyncio."""
    return await asyncio.to_thread(call, **values)


class AtWechat:
    """The library `wechatpayv3` as a shop of its own."""

    def __init__(self, account: Mapping[str, Any]) -> None:
        (serial,) = account["platform_keys"]
        self.pay = WeChatPay(
            wechatpay_type=WeChatPayType.NATIVE,
            mchid=account["mchid"],
            private_key=KEYS["private_pkcs8_b64"],
            cert_serial_no=account["merchant_serial"],
            apiv3_key=account["apiv3_key"],
            appid=account["appid"],
            public_key=pem("PUBLIC KEY", account["platform_keys"][serial]),
            public_key_id=serial,
            timeout=(5, 15),
        )
        # It has no option for another host, and signs paths only.
        self.pay._core._gate_way = account["gateway"]

    async def say(self, call: Callable[..., Any], **values: object) -> tuple[int, dict[str, Any]]:
        """A call's status and body; the library itself refuses what is not signed as WeChat signs."""
        status, body = await in_a_thread(call, **values)
        return status, json.loads(body) if body else {}


@pytest.fixture(params=["wechat_v3"])
def name(request: pytest.FixtureRequest) -> str:
    """How the receiver answers."""
    return request.param


async def at_wechat(caller: Caller) -> AtWechat:
    account = await caller.open_account("wechat_v3", KEYS["public_spki_b64"], reverse_after_s=0)
    # The library knows one key; the sandbox signs with two in turn until they are changed.
    wish = {"account_id": account["account_id"], "keeps_old": False}
    status, account = await caller.admin("PUT", "/sandbox/account-keys", wish)
    assert status == 200, account
    return AtWechat(account)


async def test_wechatpayv3_is_paid_asks_and_refunds(caller: Caller, receiver: Receiver) -> None:
    shop, number = await at_wechat(caller), f"X{token_hex(10)}"
    placed = {"description": "门店点单-拿铁", "out_trade_no": number, "notify_url": receiver.url}
    status, answer = await shop.say(shop.pay.pay, amount={"total": FEN}, **placed)
    assert (status, set(answer)) == (200, {"code_url"})
    status, answer = await shop.say(shop.pay.query, out_trade_no=number)
    assert (status, answer["trade_state"], "transaction_id" in answer) == (200, "NOTPAY", False)
    await caller.pay(trade_no=number, faults={})

    told = await receiver.next()
    notice = shop.pay.callback(told.headers, told.body)
    assert notice["event_type"] == "TRANSACTION.SUCCESS"
    status, answer = await shop.say(shop.pay.query, out_trade_no=number)
    assert (status, answer) == (200, notice["resource"])
    assert (answer["trade_state"], answer["amount"]["total"], answer["out_trade_no"]) == ("SUCCESS", FEN, number)

    refund = {"out_refund_no": f"R{number}", "out_trade_no": number, "notify_url": receiver.url}
    amount = {"refund": 280, "total": FEN, "currency": "CNY"}
    status, answer = await shop.say(shop.pay.refund, amount=amount, **refund)
    assert (status, answer["out_refund_no"]) == (200, refund["out_refund_no"])
    told = await receiver.next()
    returned = shop.pay.callback(told.headers, told.body)
    assert (returned["event_type"], returned["resource"]["amount"]["refund"]) == ("REFUND.SUCCESS", 280)
    status, answer = await shop.say(shop.pay.query_refund, out_refund_no=refund["out_refund_no"])
    assert (status, answer["status"], answer["amount"]["refund"]) == (200, "SUCCESS", 280)


async def test_wechatpayv3_refuses_a_notice_that_was_changed_on_its_way(caller: Caller, receiver: Receiver) -> None:
    shop, number = await at_wechat(caller), f"X{token_hex(10)}"
    await shop.say(shop.pay.pay, amount={"total": FEN}, description="茶", out_trade_no=number, notify_url=receiver.url)
    await caller.pay(trade_no=number, faults={"forge_notice": True})
    read = [shop.pay.callback(told.headers, told.body) for told in (await receiver.next(), await receiver.next())]
    assert [notice is None for notice in read].count(True) == 1


async def test_wechatpayv3_charges_a_code_and_takes_it_back(caller: Caller) -> None:
    shop = await at_wechat(caller)
    number, reversed_no = f"X{token_hex(10)}", f"X{token_hex(10)}"
    scene = {"store_info": {"out_id": "7"}, "device_id": "POS7"}
    charge = {"pay_type": WeChatPayType.CODEPAY, "description": "茶", "amount": {"total": FEN}, "scene_info": scene}
    for one in (number, reversed_no):
        code = await caller.auth_code("wechat_v3")
        status, answer = await shop.say(shop.pay.pay, out_trade_no=one, payer={"auth_code": code}, **charge)
        assert (status, answer["trade_state"], answer["trade_type"]) == (200, "SUCCESS", "MICROPAY")
    status, answer = await shop.say(shop.pay.codepay_reverse, out_trade_no=reversed_no)
    assert (status, answer["out_trade_no"]) == (200, reversed_no)
    assert (await caller.trade(reversed_no))["state"] == "returned"


async def test_wechatpayv3_closes_a_code_that_nobody_paid(caller: Caller, receiver: Receiver) -> None:
    shop, number = await at_wechat(caller), f"X{token_hex(10)}"
    await shop.say(shop.pay.pay, amount={"total": FEN}, description="茶", out_trade_no=number, notify_url=receiver.url)
    status, _ = await shop.say(shop.pay.close, out_trade_no=number)
    assert status == 204
    status, answer = await shop.say(shop.pay.query, out_trade_no=number)
    assert (status, answer["trade_state"]) == (200, "CLOSED")


class AtAlipay:
    """The library `python-alipay-sdk` as a shop of its own."""

    def __init__(self, account: Mapping[str, Any]) -> None:
        self.pay = AliPay(
            appid=account["app_id"],
            app_private_key_string=pem("PRIVATE KEY", KEYS["private_pkcs8_b64"]),
            alipay_public_key_string=pem("PUBLIC KEY", account["alipay_public_key"]),
        )
        # It has no option for another host.
        self.pay._gateway = account["gateway"]

    async def say(self, method: str, content: Mapping[str, object], **parameters: str) -> dict[str, Any]:
        """A call's answer; the library itself refuses what is not signed as Alipay signs."""
        # It writes the time of this machine, and Alipay reads it as Beijing's.
        now = datetime.now(BEIJING).strftime("%Y-%m-%d %H:%M:%S")
        values = {"api_name": method, "biz_content": dict(content), "timestamp": now, **parameters}
        return await in_a_thread(self.pay.server_api, **values)


async def at_alipay(caller: Caller) -> AtAlipay:
    return AtAlipay(await caller.open_account("alipay", KEYS["public_spki_b64"]))


@pytest.mark.parametrize("name", ["alipay"])
async def test_python_alipay_sdk_is_paid_asks_and_refunds(caller: Caller, receiver: Receiver) -> None:
    shop, number = await at_alipay(caller), f"X{token_hex(10)}"
    content = {"out_trade_no": number, "total_amount": YUAN, "subject": "门店点单-拿铁"}
    placed = await shop.say("alipay.trade.precreate", content, notify_url=receiver.url)
    assert (placed["code"], placed["out_trade_no"]) == ("10000", number)
    await caller.pay(code_text=placed["qr_code"], faults={})

    told = dict(parse_qsl((await receiver.next()).body.decode(), strict_parsing=True))
    signature = told.pop("sign")
    assert shop.pay.verify(dict(told), signature)
    assert not shop.pay.verify(told | {"total_amount": "0.01"}, signature)
    asked = await shop.say("alipay.trade.query", {"out_trade_no": number})
    assert (asked["code"], asked["trade_status"], asked["total_amount"]) == ("10000", "TRADE_SUCCESS", YUAN)
    assert (told["trade_status"], told["total_amount"], told["trade_no"]) == (
        "TRADE_SUCCESS",
        YUAN,
        asked["trade_no"],
    )

    refund = {"out_trade_no": number, "out_request_no": f"R{number}"}
    returned = await shop.say("alipay.trade.refund", refund | {"refund_amount": "2.80"})
    assert (returned["code"], returned["fund_change"], returned["refund_fee"]) == ("10000", "Y", "2.80")
    shown = await shop.say("alipay.trade.fastpay.refund.query", refund)
    assert (shown["refund_status"], shown["refund_amount"]) == ("REFUND_SUCCESS", "2.80")


async def test_python_alipay_sdk_charges_a_code_and_cancels(caller: Caller) -> None:
    shop, number = await at_alipay(caller), f"X{token_hex(10)}"
    code = await caller.auth_code("alipay")
    content = {
        "out_trade_no": number,
        "total_amount": YUAN,
        "subject": "茶",
        "scene": "bar_code",
        "auth_code": code,
    }
    paid = await shop.say("alipay.trade.pay", content)
    assert (paid["code"], paid["total_amount"]) == ("10000", YUAN)
    cancelled = await shop.say("alipay.trade.cancel", {"out_trade_no": number})
    assert (cancelled["code"], cancelled["action"], cancelled["retry_flag"]) == ("10000", "refund", "N")
    assert (await caller.trade(number))["state"] == "returned"
