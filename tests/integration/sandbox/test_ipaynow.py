from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from budan.wire import ipaynow
from budan.wire.errors import NoAnswer
from budan.wire.forms import parse_form, render_form
from budan.wire.http import HttpAnswer
from budan.wire.ipaynow import Signed
from integration.sandbox.running import WAIT_S, Caller, Receiver, http_answer, receiving
from integration.sandbox.shops import BEIJING, new_trade_no

SHORT_S = 0.5
REFUND_PATH = "/ipaynow/refund/refundOrder"
REFUND_QUERY_PATH = "/ipaynow/refund/refundQuery"


@dataclass
class IpaynowShop:
    """An application at iPaynow, signed and verified by wire's functions."""

    caller: Caller
    account: dict[str, Any]

    async def send(self, fields: dict[str, str], *, path: str = "/ipaynow", timeout_s: float = WAIT_S) -> HttpAnswer:
        return await self.caller.send("POST", path, body=render_form(fields), timeout_s=timeout_s)

    async def call(self, fields: dict[str, str], *, timeout_s: float = WAIT_S) -> dict[str, str]:
        """The answer's fields, once its signature holds."""
        sent = ipaynow.signed(fields, app_key=self.account["app_key"], kind=Signed.PAY_REQUEST)
        answer = await self.send(sent, timeout_s=timeout_s)
        return self.read(answer.body, Signed.PAY_ANSWER)

    async def call_refund(self, fields: dict[str, str], *, path: str) -> dict[str, str]:
        known = {"appId": self.account["app_id"], "mhtCharset": "UTF-8", "signType": "MD5"}
        sent = ipaynow.signed(known | fields, app_key=self.account["app_key"], kind=Signed.REFUND_REQUEST)
        return self.read((await self.send(sent, path=path)).body, Signed.REFUND_ANSWER)

    def read(self, body: bytes, kind: Signed) -> dict[str, str]:
        fields = parse_form(body)
        assert ipaynow.verify(fields, app_key=self.account["app_key"], kind=kind)
        return fields

    def order(self, trade_no: str, **changes: str) -> dict[str, str]:
        return {
            "funcode": "WP001",
            "version": "1.0.0",
            "appId": self.account["app_id"],
            "mhtOrderNo": trade_no,
            "mhtOrderName": "门店点单-拿铁",
            "mhtOrderType": "01",
            "mhtCurrencyType": "156",
            "mhtOrderAmt": "1280",
            "mhtOrderDetail": "拿铁 x1 & 面包",
            "mhtOrderTimeOut": "600",
            "mhtOrderStartTime": datetime.now(UTC).astimezone(BEIJING).strftime("%Y%m%d%H%M%S"),
            "notifyUrl": "http://127.0.0.1:9/nobody",
            "mhtCharset": "UTF-8",
            "deviceType": "08",
            "payChannelType": "13",
            "mhtSignType": "MD5",
        } | changes

    async def place(self, trade_no: str, **changes: str) -> dict[str, str]:
        return await self.call(self.order(trade_no, **changes))

    async def charge(self, trade_no: str, auth_code: str, **changes: str) -> dict[str, str]:
        return await self.place(trade_no, deviceType="05", channelAuthCode=auth_code, **changes)

    async def query(self, trade_no: str) -> dict[str, str]:
        return await self.call(
            {
                "funcode": "MQ002",
                "version": "1.0.0",
                "appId": self.account["app_id"],
                "deviceType": "08",
                "mhtOrderNo": trade_no,
                "mhtCharset": "UTF-8",
                "mhtSignType": "MD5",
            }
        )

    async def status(self, trade_no: str) -> str:
        return (await self.query(trade_no))["transStatus"]

    async def reverse(self, trade_no: str, refund_no: str) -> tuple[str, str]:
        fields = {"funcode": "R002", "mhtOrderNo": trade_no, "mhtRefundNo": refund_no, "reason": "撤销"}
        answer = await self.call_refund(fields, path=REFUND_PATH)
        return answer["responseCode"], answer.get("tradeStatus", "")

    async def query_reverse(self, refund_no: str) -> tuple[str, str]:
        answer = await self.call_refund({"funcode": "Q002", "mhtRefundNo": refund_no}, path=REFUND_QUERY_PATH)
        return answer["responseCode"], answer.get("tradeStatus", "")


@pytest.fixture
async def shop(caller: Caller) -> IpaynowShop:
    return IpaynowShop(caller=caller, account=await caller.open_account("ipaynow", ""))


@pytest.fixture
async def form_receiver() -> AsyncIterator[Receiver]:
    async with receiving(http_answer("200 OK", b"success=Y")) as receiver:
        yield receiver


async def test_a_code_is_placed_scanned_paid_and_announced(
    shop: IpaynowShop, caller: Caller, form_receiver: Receiver
) -> None:
    trade_no = new_trade_no()
    placed = await shop.place(trade_no, notifyUrl=form_receiver.url, mhtReserved="收银台 1")
    assert (placed["responseCode"], placed["mhtOrderNo"]) == ("A001", trade_no)
    assert placed["tn"].startswith("weixin%3A%2F%2Fwxpay")
    waiting = await shop.query(trade_no)
    assert (waiting["transStatus"], "payTime" in waiting) == ("A00I", False)
    await caller.pay(trade_no=trade_no)
    notice = await form_receiver.next()
    assert notice.headers["content-type"] == "text/plain"
    announced, asked = shop.read(notice.body, Signed.PAY_ANSWER), await shop.query(trade_no)
    assert (announced["funcode"], announced["transStatus"], announced["mhtReserved"]) == ("N001", "A001", "收银台 1")
    for name in ("mhtOrderAmt", "nowPayOrderNo", "channelOrderNo", "payTime", "payConsumerId", "payChannelType"):
        assert announced[name] == asked[name]
    assert announced["nowPayOrderNo"] == placed["nowPayOrderNo"]
    await caller.trade_when(trade_no, lambda trade: trade["notice_state"] == "acknowledged")


@pytest.mark.parametrize("answer", [http_answer("200 OK", b"success"), http_answer("204 No Content")])
async def test_only_success_y_takes_a_notice(
    shop: IpaynowShop, caller: Caller, form_receiver: Receiver, answer: bytes
) -> None:
    form_receiver.answers.insert(0, answer)
    trade_no = new_trade_no()
    await shop.place(trade_no, notifyUrl=form_receiver.url)
    await caller.pay(trade_no=trade_no)
    first, second = await form_receiver.next(), await form_receiver.next()
    assert first.body == second.body
    await caller.trade_when(trade_no, lambda trade: trade["notice_state"] == "acknowledged")


@pytest.mark.parametrize(("wallet", "pay_channel"), [("wechat_v3", "13"), ("alipay", "12"), ("alipay", "")])
async def test_the_codes_of_both_wallets_are_charged(
    shop: IpaynowShop, caller: Caller, form_receiver: Receiver, wallet: str, pay_channel: str
) -> None:
    trade_no = new_trade_no()
    auth_code = await caller.auth_code(wallet)
    paid = await shop.charge(trade_no, auth_code, payChannelType=pay_channel, notifyUrl=form_receiver.url)
    assert (paid["responseCode"], paid["transStatus"], paid["mhtOrderAmt"]) == ("A001", "A001", "1280")
    assert paid["payChannelType"] == ("13" if wallet == "wechat_v3" else "12")
    assert shop.read((await form_receiver.next()).body, Signed.PAY_ANSWER)["deviceType"] == "05"
    again = await shop.charge(new_trade_no(), auth_code, payChannelType=pay_channel)
    assert again["responseCode"] == "A002"


async def test_a_code_of_another_wallet_than_was_named_is_refused_and_the_trade_has_failed(
    shop: IpaynowShop, caller: Caller
) -> None:
    trade_no = new_trade_no()
    refused = await shop.charge(trade_no, await caller.auth_code("alipay"), payChannelType="13")
    assert (refused["responseCode"], "transStatus" in refused) == ("A002", False)
    assert await shop.status(trade_no) == "A002"


async def test_ipaynow_has_no_codes_of_its_own(caller: Caller) -> None:
    status, code = await caller.admin("POST", "/sandbox/auth-codes", {"channel": "ipaynow"})
    assert status == 201
    assert code["channel"] in {"wechat_v3", "alipay"}


@pytest.mark.parametrize(("ends", "status"), [("paid", "A001"), ("failed", "A002")])
async def test_a_payer_who_types_is_in_progress_first(
    shop: IpaynowShop, caller: Caller, ends: str, status: str
) -> None:
    trade_no = new_trade_no()
    auth_code = await caller.auth_code("wechat_v3", user_paying_s=0.3, user_paying_ends=ends)
    answer = await shop.charge(trade_no, auth_code)
    assert (answer["responseCode"], answer["transStatus"], "payTime" in answer) == ("A001", "A004", False)
    await caller.trade_when(trade_no, lambda trade: trade["state"] != "typing")
    assert await shop.status(trade_no) == status


async def test_a_number_is_taken_once_whatever_is_sent_again(shop: IpaynowShop) -> None:
    trade_no = new_trade_no()
    order = shop.order(trade_no)
    assert (await shop.call(order))["responseCode"] == "A001"
    for repeat in (order, order | {"mhtOrderAmt": "1"}):
        answer = await shop.call(repeat)
        assert (answer["responseCode"], "tn" in answer) == ("A002", False)


async def test_a_number_that_was_never_accepted_is_refused(shop: IpaynowShop) -> None:
    trade_no = new_trade_no()
    answer = await shop.query(trade_no)
    assert (answer["responseCode"], answer["mhtOrderNo"], "transStatus" in answer) == ("A002", trade_no, False)


async def test_the_time_out_closes_what_nobody_paid(shop: IpaynowShop, caller: Caller) -> None:
    trade_no = new_trade_no()
    start = datetime.now(UTC).astimezone(BEIJING) - timedelta(seconds=59)
    await shop.place(trade_no, mhtOrderTimeOut="60", mhtOrderStartTime=start.strftime("%Y%m%d%H%M%S"))
    assert await shop.status(trade_no) == "A00I"
    await caller.trade_when(trade_no, lambda trade: trade["state"] == "closed")
    assert await shop.status(trade_no) == "A006"
    status, refused = await caller.admin("POST", "/sandbox/pay", {"trade_no": trade_no})
    assert (status, refused["code"]) == (409, "closed")


@pytest.mark.parametrize(
    "changes",
    [
        {"mhtOrderAmt": "12.80"},
        {"mhtOrderAmt": "0"},
        {"mhtOrderTimeOut": "59"},
        {"mhtOrderTimeOut": "3601"},
        {"mhtOrderStartTime": "20200101000000"},
        {"mhtOrderStartTime": "now"},
        {"mhtOrderName": "拿" * 41},
        {"mhtOrderDetail": ""},
        {"mhtCurrencyType": "840"},
        {"deviceType": "99"},
        {"deviceType": "0600"},
        {"payChannelType": ""},
        {"payChannelType": "99"},
        {"notifyUrl": "ftp://x"},
        {"mhtCharset": "GBK"},
    ],
)
async def test_a_wrong_field_is_refused_signed_and_places_nothing(shop: IpaynowShop, changes: dict[str, str]) -> None:
    trade_no = new_trade_no()
    assert (await shop.place(trade_no, **changes))["responseCode"] == "A002"
    assert "transStatus" not in await shop.query(trade_no)


async def test_what_is_not_provably_ours_is_refused_unsigned(shop: IpaynowShop) -> None:
    order = shop.order(new_trade_no())
    good = ipaynow.signed(order, app_key=shop.account["app_key"], kind=Signed.PAY_REQUEST)
    bad = [
        order,
        good | {"mhtOrderAmt": "1"},
        ipaynow.signed(order, app_key="f" * 32, kind=Signed.PAY_REQUEST),
        ipaynow.signed(order | {"appId": "1400999999999999"}, app_key="f" * 32, kind=Signed.PAY_REQUEST),
        good | {"funcode": "R002"},
    ]
    for fields in bad:
        answer = parse_form((await shop.send(fields)).body)
        assert (answer["responseCode"], "signature" in answer) == ("A002", False)
    assert (await shop.send(good, path="/ipaynow/elsewhere")).body.startswith(b"responseCode=A002")


async def test_money_may_be_taken_without_an_answer_or_under_an_unclear_one(shop: IpaynowShop, caller: Caller) -> None:
    for fault, status in (("timeout_after_charge", "A001"), ("timeout_before_charge", None), ("busy", "A001")):
        trade_no = new_trade_no()
        auth_code = await caller.auth_code("wechat_v3", **{fault: True})
        order = shop.order(trade_no, deviceType="05", channelAuthCode=auth_code)
        if fault == "busy":
            assert (await shop.call(order))["responseCode"] == "A003"
        else:
            with pytest.raises(NoAnswer):
                await shop.call(order, timeout_s=SHORT_S)
        assert (await shop.query(trade_no)).get("transStatus") == status


async def test_a_reverse_gives_money_back_once_and_its_query_says_so(shop: IpaynowShop, caller: Caller) -> None:
    trade_no = new_trade_no()
    await shop.charge(trade_no, await caller.auth_code("wechat_v3"))
    assert await shop.query_reverse("V1") == ("A002", "")
    assert await shop.reverse(trade_no, "V1") == ("R000", "A001")
    assert await shop.reverse(trade_no, "V1") == ("A002", "")
    assert await shop.query_reverse("V1") == ("R000", "A001")
    assert (await caller.trade(trade_no))["state"] == "returned"
    # Only the reverse's own query tells: the payment itself stays what it was.
    assert await shop.status(trade_no) == "A001"


async def test_a_reverse_of_what_nobody_paid_closes_it(shop: IpaynowShop, caller: Caller) -> None:
    trade_no = new_trade_no()
    await shop.place(trade_no)
    assert await shop.reverse(trade_no, "V2") == ("R000", "A001")
    assert (await caller.trade(trade_no))["state"] == "closed"
    assert await shop.status(trade_no) == "A006"
    assert await shop.reverse(new_trade_no(), "V3") == ("A002", "")


async def test_a_reverse_that_is_put_off_is_in_progress_until_it_is_asked_about_again(
    shop: IpaynowShop, caller: Caller
) -> None:
    trade_no = new_trade_no()
    await shop.charge(trade_no, await caller.auth_code("wechat_v3", retry_cancel=True))
    assert await shop.reverse(trade_no, "V4") == ("R000", "A004")
    assert await shop.query_reverse("V4") == ("R000", "A004")
    assert (await caller.trade(trade_no))["state"] == "paid"
    assert await shop.query_reverse("V4") == ("R000", "A001")
    assert (await caller.trade(trade_no))["state"] == "returned"


async def test_a_page_and_a_script_lead_to_the_same_wallet(shop: IpaynowShop, caller: Caller) -> None:
    page_no, script_no = new_trade_no(), new_trade_no()
    page = await shop.place(page_no, deviceType="0601", frontNotifyUrl="http://127.0.0.1:9/back")
    assert page["tn"].startswith("http%3A%2F%2F127.0.0.1")
    shown = await caller.send("GET", f"/wallet/{page_no}?account_id={shop.account['app_id']}")
    assert shown.status == 200
    paid = await caller.send("POST", f"/wallet/{page_no}?account_id={shop.account['app_id']}")
    assert (paid.status, paid.headers["location"]) == (303, "http://127.0.0.1:9/back")
    script = await shop.place(script_no, deviceType="0600", consumerId="oTest")
    assert "package%3Dprepay_id%253Dwx" in script["tn"]
    await caller.pay(trade_no=script_no)
    assert [await shop.status(page_no), await shop.status(script_no)] == ["A001", "A001"]
