from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from budan.wire import alipay
from budan.wire.errors import NoAnswer
from budan.wire.forms import parse_form
from integration.sandbox.running import Caller, Receiver
from integration.sandbox.shops import AlipayShop, new_trade_no

SHORT_S = 0.5


def _outcome(payload: Any) -> tuple[str, str]:
    return payload["code"], payload.get("sub_code", "")


async def _unsigned(shop: AlipayShop, parameters: dict[str, str]) -> tuple[str, str]:
    answer = await shop.send(parameters)
    parsed = alipay.parse_answer(answer.body, method=parameters["method"])
    assert answer.status == 200
    assert not parsed.is_signed
    return _outcome(parsed.payload)


async def test_a_scanned_code_makes_the_trade_and_paying_announces_it(
    alipay_shop: AlipayShop, caller: Caller, form_receiver: Receiver
) -> None:
    """Before the scan Alipay knows no trade, and saying so must not be taken for "not paid"."""
    trade_no = new_trade_no()
    placed = await alipay_shop.precreate(trade_no, notify_url=form_receiver.url)
    assert _outcome(await alipay_shop.query(trade_no)) == ("40004", "ACQ.TRADE_NOT_EXIST")
    assert _outcome(await alipay_shop.close(trade_no)) == ("40004", "ACQ.TRADE_NOT_EXIST")
    await caller.admin("POST", "/sandbox/scan", {"code_text": placed["qr_code"]})
    assert (await alipay_shop.query(trade_no))["trade_status"] == "WAIT_BUYER_PAY"
    await caller.pay(code_text=placed["qr_code"])
    notice = await form_receiver.next()
    assert notice.headers["content-type"].startswith("application/x-www-form-urlencoded")
    announced = alipay_shop.read_notice(notice)
    asked = await alipay_shop.query(trade_no)
    assert announced["trade_status"] == asked["trade_status"] == "TRADE_SUCCESS"
    assert announced["total_amount"] == asked["total_amount"] == "12.80"
    assert announced["gmt_payment"] == asked["send_pay_date"]
    assert announced["trade_no"] == asked["trade_no"]
    assert announced["seller_id"] == alipay_shop.account["seller_id"]
    await caller.trade_when(trade_no, lambda trade: trade["notice_state"] == "acknowledged")


async def test_answers_escape_the_slash_and_are_text(alipay_shop: AlipayShop) -> None:
    parameters = alipay_shop.parameters("alipay.trade.precreate", alipay_shop.order(new_trade_no()))
    answer = await alipay_shop.send(parameters)
    assert b'"qr_code":"https:\\/\\/qr.alipay.com\\/bax' in answer.body
    assert answer.headers["content-type"].startswith("text/html")


async def test_a_forged_request_is_refused_unsigned(alipay_shop: AlipayShop) -> None:
    forger = AlipayShop(
        caller=alipay_shop.caller,
        account=alipay_shop.account,
        key=generate_private_key(public_exponent=65537, key_size=2048),
    )
    forged = forger.parameters("alipay.trade.precreate", forger.order(new_trade_no()))
    assert await _unsigned(forger, forged) == ("40002", "isv.invalid-signature")


@pytest.mark.parametrize(
    ("changes", "sub_code"),
    [
        ({"timestamp": "2020-01-01 00:00:00"}, "isv.invalid-timestamp"),
        ({"app_id": "2021999999999999"}, "isv.invalid-app-id"),
        ({"sign_type": "RSA"}, "isv.invalid-signature-type"),
    ],
)
async def test_a_request_that_is_not_ours_or_not_of_now_is_refused(
    alipay_shop: AlipayShop, changes: dict[str, str], sub_code: str
) -> None:
    parameters = alipay_shop.parameters("alipay.trade.query", {"out_trade_no": "T1"}, **changes)
    assert await _unsigned(alipay_shop, parameters) == ("40002", sub_code)


async def test_a_number_is_good_for_one_order(alipay_shop: AlipayShop, caller: Caller) -> None:
    trade_no = new_trade_no()
    await alipay_shop.precreate(trade_no)
    assert (await alipay_shop.precreate(trade_no))["code"] == "10000"
    other = await alipay_shop.precreate(trade_no, total_amount="0.01")
    assert _outcome(other) == ("40004", "ACQ.CONTEXT_INCONSISTENT")
    await caller.pay(trade_no=trade_no)
    assert _outcome(await alipay_shop.precreate(trade_no)) == ("40004", "ACQ.TRADE_HAS_SUCCESS")


@pytest.mark.parametrize("wrong", [{"total_amount": "0.001"}, {"subject": "a=b"}, {"timeout_express": "10x"}])
async def test_what_the_documents_forbid_is_a_business_failure(alipay_shop: AlipayShop, wrong: dict[str, str]) -> None:
    payload = await alipay_shop.precreate(new_trade_no(), **wrong)
    assert _outcome(payload) == ("40004", "ACQ.INVALID_PARAMETER")


async def test_a_trade_that_was_scanned_and_not_paid_in_time_closes_by_itself(
    alipay_shop: AlipayShop, caller: Caller
) -> None:
    trade_no = new_trade_no()
    last_moment = datetime.now(UTC) + timedelta(seconds=2, hours=8)
    placed = await alipay_shop.precreate(trade_no, time_expire=last_moment.strftime("%Y-%m-%d %H:%M:%S"))
    await caller.admin("POST", "/sandbox/scan", {"code_text": placed["qr_code"]})
    await caller.trade_when(trade_no, lambda trade: trade["state"] == "closed")
    assert (await alipay_shop.query(trade_no))["trade_status"] == "TRADE_CLOSED"
    status, refusal = await caller.admin("POST", "/sandbox/pay", {"trade_no": trade_no})
    assert (status, refusal["code"]) == (409, "closed")


async def test_a_closed_trade_cannot_be_paid_and_a_paid_one_not_closed(alipay_shop: AlipayShop, caller: Caller) -> None:
    closed_no, paid_no = new_trade_no(), new_trade_no()
    for trade_no in (closed_no, paid_no):
        await alipay_shop.precreate(trade_no)
        await caller.admin("POST", "/sandbox/scan", {"trade_no": trade_no})
    assert (await alipay_shop.close(closed_no))["code"] == "10000"
    status, refusal = await caller.admin("POST", "/sandbox/pay", {"trade_no": closed_no})
    assert (status, refusal["code"]) == (409, "closed")
    await caller.pay(trade_no=paid_no)
    assert _outcome(await alipay_shop.close(paid_no)) == ("40004", "ACQ.REASON_TRADE_STATUS_INVALID")


async def test_cancel_kills_a_code_closes_a_trade_or_returns_money(alipay_shop: AlipayShop, caller: Caller) -> None:
    fresh_no, scanned_no, paid_no = new_trade_no(), new_trade_no(), new_trade_no()
    for trade_no in (fresh_no, scanned_no, paid_no):
        await alipay_shop.precreate(trade_no)
    await caller.admin("POST", "/sandbox/scan", {"trade_no": scanned_no})
    await caller.pay(trade_no=paid_no)
    assert "action" not in await alipay_shop.cancel(fresh_no)
    assert (await alipay_shop.cancel(scanned_no))["action"] == "close"
    assert (await alipay_shop.cancel(paid_no))["action"] == "refund"
    unknown = await alipay_shop.cancel(new_trade_no())
    assert (unknown["code"], unknown["retry_flag"], "action" in unknown) == ("10000", "N", False)
    assert (await alipay_shop.query(paid_no))["trade_status"] == "TRADE_CLOSED"
    assert (await caller.trade(paid_no))["state"] == "returned"
    status, refusal = await caller.admin("POST", "/sandbox/pay", {"trade_no": fresh_no})
    assert (status, refusal["code"]) == (409, "closed")


async def test_a_code_payment_is_paid_at_once_and_announced_if_an_address_was_given(
    alipay_shop: AlipayShop, caller: Caller, form_receiver: Receiver
) -> None:
    trade_no = new_trade_no()
    auth_code = await caller.auth_code("alipay")
    paid = await alipay_shop.charge(trade_no, auth_code, notify_url=form_receiver.url)
    assert (paid["code"], paid["total_amount"]) == ("10000", "12.80")
    assert alipay_shop.read_notice(await form_receiver.next())["out_trade_no"] == trade_no
    used = await alipay_shop.charge(new_trade_no(), auth_code)
    assert _outcome(used) == ("40004", "ACQ.PAYMENT_AUTH_CODE_INVALID")


@pytest.mark.parametrize(("end", "status"), [("paid", "TRADE_SUCCESS"), ("failed", "TRADE_CLOSED")])
async def test_a_payer_who_types_pays_or_fails_in_the_end(
    alipay_shop: AlipayShop, caller: Caller, end: str, status: str
) -> None:
    trade_no = new_trade_no()
    auth_code = await caller.auth_code("alipay", user_paying_s=SHORT_S, user_paying_ends=end)
    assert (await alipay_shop.charge(trade_no, auth_code))["code"] == "10003"
    assert (await alipay_shop.query(trade_no))["trade_status"] == "WAIT_BUYER_PAY"
    await caller.trade_when(trade_no, lambda trade: trade["state"] != "typing")
    asked = await alipay_shop.query(trade_no)
    assert (asked["trade_status"], "send_pay_date" in asked) == (status, end == "paid")


async def test_a_cancel_can_ask_to_be_repeated(alipay_shop: AlipayShop, caller: Caller) -> None:
    trade_no = new_trade_no()
    auth_code = await caller.auth_code("alipay", user_paying_s=600, retry_cancel=True)
    await alipay_shop.charge(trade_no, auth_code)
    assert (await alipay_shop.cancel(trade_no))["retry_flag"] == "Y"
    assert (await alipay_shop.query(trade_no))["trade_status"] == "WAIT_BUYER_PAY"
    ended = await alipay_shop.cancel(trade_no)
    assert (ended["retry_flag"], ended["action"]) == ("N", "close")


async def test_answers_can_be_lost_or_busy_after_the_money_was_taken(alipay_shop: AlipayShop, caller: Caller) -> None:
    lost_no, busy_no = new_trade_no(), new_trade_no()
    lost = await caller.auth_code("alipay", timeout_after_charge=True)
    with pytest.raises(NoAnswer):
        await alipay_shop.charge(lost_no, lost, timeout_s=SHORT_S)
    content = alipay_shop.order(busy_no, auth_code=await caller.auth_code("alipay", busy=True), scene="bar_code")
    parameters = alipay_shop.parameters("alipay.trade.pay", content)
    assert await _unsigned(alipay_shop, parameters) == ("20000", "isp.unknow-error")
    for trade_no in (lost_no, busy_no):
        assert (await alipay_shop.query(trade_no))["trade_status"] == "TRADE_SUCCESS"


async def test_the_answer_can_be_lost_before_the_money_was_taken(alipay_shop: AlipayShop, caller: Caller) -> None:
    trade_no = new_trade_no()
    auth_code = await caller.auth_code("alipay", timeout_before_charge=True)
    with pytest.raises(NoAnswer):
        await alipay_shop.charge(trade_no, auth_code, timeout_s=SHORT_S)
    assert _outcome(await alipay_shop.query(trade_no)) == ("40004", "ACQ.TRADE_NOT_EXIST")


async def test_a_wap_order_leads_to_the_wallet_and_back_to_the_shop(alipay_shop: AlipayShop, caller: Caller) -> None:
    """The way back is signed, and no proof of payment."""
    trade_no = new_trade_no()
    content = alipay_shop.order(trade_no, product_code="QUICK_WAP_PAY", quit_url="http://127.0.0.1:9/quit")
    parameters = alipay_shop.parameters("alipay.trade.wap.pay", content, return_url="http://127.0.0.1:9/back?a=1")
    opened = await caller.send("GET", f"/gateway.do?{urlencode(parameters)}")
    assert opened.status == 303
    wallet = opened.headers["location"]
    page = await caller.send("GET", wallet)
    assert "form-action 'self' http://127.0.0.1:9" in page.headers["content-security-policy"]
    assert (await alipay_shop.query(trade_no))["trade_status"] == "WAIT_BUYER_PAY"
    paid = await caller.send("POST", wallet)
    where = urlsplit(paid.headers["location"])
    assert (paid.status, where.netloc, where.path) == (303, "127.0.0.1:9", "/back")
    fields = parse_form(where.query.encode())
    assert fields.pop("a") == "1"
    assert alipay.verify_notify(fields, public_key=alipay_shop.public_key)
    assert fields["out_trade_no"] == trade_no
