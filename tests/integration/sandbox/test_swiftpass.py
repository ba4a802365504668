from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from budan.wire.errors import NoAnswer
from budan.wire.field_signatures import sign_md5, sign_string, verify_md5, verify_rsa_sha256
from budan.wire.http import HttpAnswer
from budan.wire.rsa import load_private_key, load_public_key, sign_sha256
from budan.wire.xml_fields import parse_fields, render_fields
from integration.sandbox.running import WAIT_S, Caller, Receiver
from integration.sandbox.shops import AMOUNT_FEN, new_trade_no

SHORT_S = 0.5
BEIJING = timezone(timedelta(hours=8))


@dataclass
class SwiftpassShop:
    """A merchant at Swiftpass."""

    caller: Caller
    account: dict[str, Any]
    private_key: str

    async def send(self, fields: dict[str, str], *, timeout_s: float = WAIT_S) -> HttpAnswer:
        headers = {"Content-Type": "text/xml"}
        body = render_fields(fields)
        return await self.caller.send("POST", "/pay/gateway", body=body, headers=headers, timeout_s=timeout_s)

    def signed(self, fields: dict[str, str]) -> dict[str, str]:
        sent = {
            "version": "2.0",
            "charset": "UTF-8",
            "sign_type": self.account["sign_type"],
            "mch_id": self.account["mch_id"],
            "nonce_str": "5K8264ILTKCH16CQ2502SI8ZNMTM67VS",
            **fields,
        }
        if sent["sign_type"] == "MD5":
            return sent | {"sign": sign_md5(sent, key=self.account["api_key"])}
        return sent | {"sign": sign_sha256(load_private_key(self.private_key), sign_string(sent))}

    def read(self, body: bytes) -> dict[str, str]:
        """The fields, once their signature holds."""
        fields = parse_fields(body)
        if self.account["sign_type"] == "MD5":
            assert verify_md5(fields, key=self.account["api_key"])
        else:
            public_key = load_public_key(self.account["platform_public_key"])
            assert verify_rsa_sha256(fields, public_key=public_key)
        assert fields["mch_id"] == self.account["mch_id"]
        return fields

    async def call(self, service: str, *, timeout_s: float = WAIT_S, **fields: str) -> dict[str, str]:
        answer = await self.send(self.signed({"service": service, **fields}), timeout_s=timeout_s)
        assert answer.status == 200
        return self.read(answer.body)

    def order(self, trade_no: str, **changes: str) -> dict[str, str]:
        order = {
            "out_trade_no": trade_no,
            "body": "门店点单-拿铁",
            "total_fee": str(AMOUNT_FEN),
            "mch_create_ip": "127.0.0.1",
            "notify_url": "http://127.0.0.1:9/nobody",
        }
        return {name: value for name, value in (order | changes).items() if value}

    async def place(self, trade_no: str, **changes: str) -> dict[str, str]:
        return await self.call("unified.trade.native", **self.order(trade_no, **changes))

    async def charge(self, trade_no: str, auth_code: str, *, timeout_s: float = WAIT_S) -> dict[str, str]:
        order = self.order(trade_no, notify_url="", auth_code=auth_code)
        return await self.call("unified.trade.micropay", timeout_s=timeout_s, **order)

    async def query(self, trade_no: str) -> dict[str, str]:
        return await self.call("unified.trade.query", out_trade_no=trade_no)

    async def state(self, trade_no: str) -> str:
        return (await self.query(trade_no))["trade_state"]


@pytest.fixture(params=["MD5", "RSA_1_256"])
async def shop(request: pytest.FixtureRequest, caller: Caller, merchant_texts: dict[str, str]) -> SwiftpassShop:
    text = merchant_texts["public_spki_b64"]
    account = await caller.open_account("swiftpass", text, reverse_after_s=0, sign_type=request.param)
    return SwiftpassShop(caller=caller, account=account, private_key=merchant_texts["private_pkcs8_b64"])


async def not_understood(shop: SwiftpassShop, fields: dict[str, str]) -> tuple[str, str]:
    answer = await shop.send(fields)
    assert answer.status == 200
    told = parse_fields(answer.body)
    assert "sign" not in told
    return told["status"], told["message"]


async def test_a_scanned_code_is_paid_and_announced_until_somebody_says_success(
    shop: SwiftpassShop, caller: Caller, form_receiver: Receiver
) -> None:
    form_receiver.answers.insert(0, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfail")
    trade_no = new_trade_no()
    placed = await shop.place(trade_no, notify_url=form_receiver.url)
    assert placed["result_code"] == "0"
    assert await shop.state(trade_no) == "NOTPAY"
    await caller.pay(code_text=placed["code_url"])
    first, second = [shop.read((await form_receiver.next()).body) for _ in range(2)]
    assert first["nonce_str"] != second["nonce_str"]
    asked = await shop.query(trade_no)
    for told in (first, second, asked):
        assert (told["out_trade_no"], told["total_fee"], told["fee_type"]) == (trade_no, str(AMOUNT_FEN), "CNY")
        assert told["transaction_id"].startswith(shop.account["mch_id"])
        assert told["trade_type"] == "pay.weixin.native"
        assert len(told["time_end"]) == 14
    assert (first["pay_result"], first["status"], first["result_code"]) == ("0", "0", "0")
    assert asked["trade_state"] == "SUCCESS"
    await caller.trade_when(trade_no, lambda trade: trade["notice_state"] == "acknowledged")


async def test_swiftpass_own_number_finds_the_trade_too(shop: SwiftpassShop, caller: Caller) -> None:
    trade_no = new_trade_no()
    placed = await shop.place(trade_no)
    await caller.pay(code_text=placed["code_url"], faults={"drop_notice": True})
    number = (await shop.query(trade_no))["transaction_id"]
    assert (await shop.call("unified.trade.query", transaction_id=number))["out_trade_no"] == trade_no
    wrong = number[:-1] + ("0" if number[-1] != "0" else "1")
    assert (await shop.call("unified.trade.query", transaction_id=wrong))["err_code"] == "ORDERNOTEXIST"


async def test_a_number_is_taken_once(shop: SwiftpassShop) -> None:
    trade_no = new_trade_no()
    assert (await shop.place(trade_no))["result_code"] == "0"
    again = await shop.place(trade_no)
    assert (again["result_code"], again["err_msg"], "err_code" in again) == ("1", "商户订单号重复", False)


async def test_a_forged_request_and_a_strange_merchant_are_told_the_same(shop: SwiftpassShop) -> None:
    good = shop.signed({"service": "unified.trade.query", "out_trade_no": "T0001"})
    wrong = ("400", "Auth valid fail")
    assert await not_understood(shop, good | {"out_trade_no": "T0002"}) == wrong
    assert await not_understood(shop, good | {"mch_id": "755099999999"}) == wrong
    assert await not_understood(shop, good | {"sign": ""}) == wrong
    other = {"MD5": "RSA_1_256", "RSA_1_256": "MD5"}[shop.account["sign_type"]]
    assert await not_understood(shop, shop.signed({"service": "unified.trade.query", "sign_type": other})) == wrong


async def test_what_is_no_message_of_a_known_service_is_not_understood(shop: SwiftpassShop) -> None:
    assert (await not_understood(shop, shop.signed({"service": "unified.trade.elsewhere"})))[0] == "400"
    answer = await shop.caller.send("POST", "/pay/gateway", body=b"<!DOCTYPE xml><xml/>", headers={})
    assert parse_fields(answer.body)["status"] == "400"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"total_fee": "12.80"}, "total_fee"),
        ({"total_fee": "0"}, "total_fee"),
        ({"out_trade_no": "a-b"}, "out_trade_no"),
        ({"body": "店" * 43}, "body"),
        ({"mch_create_ip": ""}, "mch_create_ip"),
        ({"notify_url": ""}, "notify_url"),
        ({"time_start": "20260101080000", "time_expire": "20260101080500"}, "time_expire"),
        ({"time_start": "20260101080000", "time_expire": "tomorrow"}, "time_expire"),
    ],
)
async def test_a_wrong_field_is_named(shop: SwiftpassShop, changes: dict[str, str], named: str) -> None:
    refused = await shop.place(new_trade_no(), **changes)
    assert refused["result_code"] == "1"
    assert named in refused["err_msg"]


async def test_an_expiry_counts_only_beside_a_beginning(shop: SwiftpassShop, caller: Caller) -> None:
    soon = (datetime.now(UTC) + timedelta(minutes=10)).astimezone(BEIJING).strftime("%Y%m%d%H%M%S")
    without, with_ = new_trade_no(), new_trade_no()
    await shop.place(without, time_expire=soon)
    await shop.place(with_, time_start="20260101080000", time_expire=soon)
    assert (await caller.trade(without))["expires_at"] is None
    assert (await caller.trade(with_))["expires_at"] is not None


@pytest.mark.parametrize(("wallet", "code"), [("wechat_v3", "USERPAYING"), ("alipay", "10003")])
async def test_a_payer_who_types_is_told_in_the_words_of_his_wallet(
    shop: SwiftpassShop, caller: Caller, wallet: str, code: str
) -> None:
    auth_code = await caller.auth_code(wallet, user_paying_s=60)
    trade_no = new_trade_no()
    told = await shop.charge(trade_no, auth_code)
    assert (told["result_code"], told["err_code"], told["need_query"]) == ("1", code, "Y")
    assert await shop.state(trade_no) == "USERPAYING"


async def test_who_fails_to_type_leaves_the_order_open_until_it_is_reversed(
    shop: SwiftpassShop, caller: Caller
) -> None:
    auth_code = await caller.auth_code("swiftpass", user_paying_s=0.05, user_paying_ends="failed")
    trade_no = new_trade_no()
    await shop.charge(trade_no, auth_code)
    await caller.trade_when(trade_no, lambda trade: trade["state"] == "failed")
    assert await shop.state(trade_no) == "NOTPAY"
    for _ in range(2):
        assert (await shop.call("unified.micropay.reverse", out_trade_no=trade_no))["result_code"] == "0"
    assert await shop.state(trade_no) == "REVERSE"


async def test_a_reversed_payment_goes_back(shop: SwiftpassShop, caller: Caller) -> None:
    trade_no = new_trade_no()
    paid = await shop.charge(trade_no, await caller.auth_code("alipay"))
    assert (paid["pay_result"], paid["trade_type"]) == ("0", "pay.alipay.micropay")
    assert (await shop.call("unified.micropay.reverse", out_trade_no=trade_no))["result_code"] == "0"
    assert await shop.state(trade_no) == "REVERSE"
    assert (await caller.trade(trade_no))["state"] == "returned"


async def test_each_end_is_for_its_own_kind_of_trade(shop: SwiftpassShop, caller: Caller) -> None:
    scanned, charged = new_trade_no(), new_trade_no()
    placed = await shop.place(scanned)
    await shop.charge(charged, await caller.auth_code("swiftpass"))
    wrong = "INVALID_REQUEST"
    assert (await shop.call("unified.micropay.reverse", out_trade_no=scanned))["err_code"] == wrong
    assert (await shop.call("unified.trade.close", out_trade_no=charged))["err_code"] == wrong
    await caller.pay(code_text=placed["code_url"], faults={"drop_notice": True})
    assert (await shop.call("unified.trade.close", out_trade_no=scanned))["err_code"] == "ORDERPAID"
    assert (await shop.call("unified.trade.close", out_trade_no=new_trade_no()))["err_code"] == "ORDERNOTEXIST"


async def test_a_reverse_that_comes_too_early_is_put_off(caller: Caller, merchant_texts: dict[str, str]) -> None:
    account = await caller.open_account("swiftpass", merchant_texts["public_spki_b64"], reverse_after_s=60)
    shop = SwiftpassShop(caller=caller, account=account, private_key="")
    trade_no = new_trade_no()
    await shop.charge(trade_no, await caller.auth_code("swiftpass"))
    assert (await shop.call("unified.micropay.reverse", out_trade_no=trade_no))["err_code"] == "SYSTEMERROR"
    assert await shop.state(trade_no) == "SUCCESS"


async def test_a_gateway_that_fails_after_the_charge_has_the_money(shop: SwiftpassShop, caller: Caller) -> None:
    trade_no = new_trade_no()
    auth_code = await caller.auth_code("swiftpass", busy=True)
    order = shop.order(trade_no, notify_url="", auth_code=auth_code)
    failed = await not_understood(shop, shop.signed({"service": "unified.trade.micropay", **order}))
    assert failed == ("500", "System error")
    assert await shop.state(trade_no) == "SUCCESS"


async def test_an_answer_that_never_comes_may_hide_a_payment_or_none(shop: SwiftpassShop, caller: Caller) -> None:
    taken, lost = new_trade_no(), new_trade_no()
    for trade_no, fault in ((taken, "timeout_after_charge"), (lost, "timeout_before_charge")):
        auth_code = await caller.auth_code("swiftpass", **{fault: True})
        with pytest.raises(NoAnswer):
            await shop.charge(trade_no, auth_code, timeout_s=SHORT_S)
    assert await shop.state(taken) == "SUCCESS"
    assert (await shop.query(lost))["err_code"] == "ORDERNOTEXIST"


async def test_a_code_is_charged_once_on_whatever_channel_takes_its_wallet(shop: SwiftpassShop, caller: Caller) -> None:
    auth_code = await caller.auth_code("wechat_v3")
    assert (await shop.charge(new_trade_no(), auth_code))["pay_result"] == "0"
    again = await shop.charge(new_trade_no(), auth_code)
    # WeChat's refusals come without need_query, Alipay's with it: both forms are met.
    assert (again["err_code"], "need_query" in again) == ("AUTH_CODE_INVALID", False)
    strange = await shop.charge(new_trade_no(), "250000000000000000")
    assert (strange["err_code"], strange["need_query"]) == ("ACQ.PAYMENT_AUTH_CODE_INVALID", "N")
