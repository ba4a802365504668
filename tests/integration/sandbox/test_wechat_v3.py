import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from budan.wire.errors import NoAnswer
from budan.wire.http import HttpAnswer
from budan.wire.wechat_v3 import Verdict
from integration.sandbox.running import Caller, Receiver
from integration.sandbox.shops import AMOUNT_FEN, WechatShop, new_trade_no

SHORT_S = 0.5


def _code_of(answer: HttpAnswer) -> str:
    return json.loads(answer.body)["code"]


async def test_a_paid_native_order_is_announced_and_answered_as_paid(
    wechat_shop: WechatShop, caller: Caller, receiver: Receiver
) -> None:
    """The life of a payment: placed, paid, announced, asked for."""
    trade_no = new_trade_no()
    placed = wechat_shop.read(await wechat_shop.place(trade_no, notify_url=receiver.url, attach="store=7"))
    assert await wechat_shop.state(trade_no) == "NOTPAY"
    paid = await caller.pay(code_text=placed["code_url"])
    assert (paid["state"], paid["amount_minor"], paid["trade_no"]) == ("paid", AMOUNT_FEN, trade_no)
    announced = wechat_shop.read_notice(await receiver.next())
    assert announced == wechat_shop.read(await wechat_shop.query(trade_no))
    assert announced["trade_state"] == "SUCCESS"
    assert announced["amount"]["total"] == AMOUNT_FEN
    assert announced["attach"] == "store=7"
    by_id = f"/v3/pay/transactions/id/{announced['transaction_id']}?mchid={wechat_shop.account['mchid']}"
    assert wechat_shop.read(await wechat_shop.call("GET", by_id)) == announced
    trade = await caller.trade_when(trade_no, lambda trade: trade["notice_state"] == "acknowledged")
    kinds = [event["kind"] for event in trade["events"]]
    assert kinds[:4] == ["placed", "queried", "scanned", "paid"]
    assert {"notice_sent", "notice_acknowledged"} < set(kinds)


async def test_a_jsapi_order_is_paid_by_its_prepay_id(wechat_shop: WechatShop, caller: Caller) -> None:
    trade_no = new_trade_no()
    answer = await wechat_shop.place(trade_no, kind="jsapi", payer={"openid": "oPayer"})
    await caller.pay(code_text=wechat_shop.read(answer)["prepay_id"])
    paid = wechat_shop.read(await wechat_shop.query(trade_no))
    assert (paid["trade_type"], paid["payer"]) == ("JSAPI", {"openid": "oPayer"})


async def test_answers_are_signed_by_two_keys_in_turn_or_by_the_one_that_was_asked_for(
    wechat_shop: WechatShop,
) -> None:
    """A merchant that knows one key only would take every second answer for a forgery."""
    trade_no = new_trade_no()
    answers = [await wechat_shop.place(trade_no) for _ in range(6)]
    serials = set(wechat_shop.account["platform_keys"])
    assert {answer.headers["wechatpay-serial"] for answer in answers} == serials
    assert all(wechat_shop.verdict(answer) is Verdict.VALID for answer in answers)
    for serial in serials:
        path = f"/v3/pay/transactions/out-trade-no/{trade_no}?mchid={wechat_shop.account['mchid']}"
        answer = await wechat_shop.call("GET", path, wanted_serial=serial)
        assert answer.headers["wechatpay-serial"] == serial


@pytest.mark.parametrize("signed_as", [{"mchid": "1999999999"}, {"serial_no": "00"}])
async def test_a_request_under_another_name_is_refused(wechat_shop: WechatShop, signed_as: dict[str, str]) -> None:
    answer = await wechat_shop.call("GET", "/v3/pay/transactions/native", signed_as=signed_as)
    assert (answer.status, _code_of(answer)) == (401, "SIGN_ERROR")


async def test_a_forged_signature_is_refused_and_changes_nothing(wechat_shop: WechatShop, caller: Caller) -> None:
    trade_no = new_trade_no()
    stranger = WechatShop(
        caller=caller, account=wechat_shop.account, key=generate_private_key(public_exponent=65537, key_size=2048)
    )
    answer = await stranger.place(trade_no)
    assert (answer.status, _code_of(answer)) == (401, "SIGN_ERROR")
    assert (await wechat_shop.query(trade_no)).status == 404


async def test_a_merchant_whose_clock_is_off_is_refused(wechat_shop: WechatShop) -> None:
    wechat_shop.clock_skew_s = -3_600
    answer = await wechat_shop.place(new_trade_no())
    assert (answer.status, _code_of(answer)) == (401, "SIGN_ERROR")


async def test_a_number_is_good_for_one_order(wechat_shop: WechatShop, caller: Caller) -> None:
    """A repeat must be equal; the same number with another amount would be paid as the first."""
    trade_no = new_trade_no()
    first = wechat_shop.read(await wechat_shop.place(trade_no))
    assert wechat_shop.read(await wechat_shop.place(trade_no)).keys() == first.keys()
    other = await wechat_shop.place(trade_no, amount={"total": 1, "currency": "CNY"})
    assert (other.status, _code_of(other)) == (403, "OUT_TRADE_NO_USED")
    await caller.pay(code_text=first["code_url"])
    paid = await wechat_shop.place(trade_no)
    assert (paid.status, _code_of(paid)) == (400, "ORDER_PAID")


async def test_a_closed_order_cannot_be_paid(wechat_shop: WechatShop, caller: Caller) -> None:
    trade_no = new_trade_no()
    code_text = wechat_shop.read(await wechat_shop.place(trade_no))["code_url"]
    for _ in range(2):
        closed = await wechat_shop.close(trade_no)
        assert (closed.status, closed.body, wechat_shop.verdict(closed)) == (204, b"", Verdict.VALID)
    status, refusal = await caller.admin("POST", "/sandbox/pay", {"code_text": code_text})
    assert (status, refusal["code"]) == (409, "closed")
    assert await wechat_shop.state(trade_no) == "CLOSED"
    again = await wechat_shop.place(trade_no)
    assert (again.status, _code_of(again)) == (400, "ORDER_CLOSED")


async def test_a_paid_order_cannot_be_closed_nor_paid_twice(wechat_shop: WechatShop, caller: Caller) -> None:
    trade_no = new_trade_no()
    await wechat_shop.place(trade_no)
    await caller.pay(trade_no=trade_no)
    closed = await wechat_shop.close(trade_no)
    assert (closed.status, _code_of(closed)) == (400, "ORDER_PAID")
    status, refusal = await caller.admin("POST", "/sandbox/pay", {"trade_no": trade_no})
    assert (status, refusal["code"]) == (409, "already_paid")


async def test_nobody_can_pay_after_the_last_moment_and_the_order_still_reads_unpaid(
    wechat_shop: WechatShop, caller: Caller
) -> None:
    trade_no = new_trade_no()
    last_moment = (datetime.now(UTC) + timedelta(seconds=SHORT_S)).isoformat()
    await wechat_shop.place(trade_no, time_expire=last_moment)
    refusal: Any = {}
    while refusal.get("code") != "expired":
        _, refusal = await caller.admin("POST", "/sandbox/scan", {"trade_no": trade_no})
    status, refusal = await caller.admin("POST", "/sandbox/pay", {"trade_no": trade_no})
    assert (status, refusal["code"]) == (409, "expired")
    assert await wechat_shop.state(trade_no) == "NOTPAY"


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount": {"total": 0}},
        {"amount": {"total": 1, "currency": "USD"}},
        {"notify_url": "http://127.0.0.1/n?a=1"},
        {"out_trade_no": "short"},
        {"time_expire": "2020-01-01T00:00:00+08:00"},
        {"mchid": "1900000999"},
    ],
)
async def test_what_the_documents_forbid_is_a_parameter_error(wechat_shop: WechatShop, wrong: dict[str, Any]) -> None:
    answer = await wechat_shop.place(new_trade_no(), **wrong)
    assert (answer.status, wechat_shop.read(answer)["code"]) == (400, "PARAM_ERROR")


async def test_a_code_payment_is_paid_at_once_and_never_announced(wechat_shop: WechatShop, caller: Caller) -> None:
    trade_no = new_trade_no()
    auth_code = await caller.auth_code("wechat_v3")
    paid = wechat_shop.read(await wechat_shop.charge(trade_no, auth_code))
    assert (paid["trade_state"], paid["trade_type"]) == ("SUCCESS", "MICROPAY")
    used = await wechat_shop.charge(new_trade_no(), auth_code)
    assert (used.status, _code_of(used)) == (400, "AUTH_CODE_INVALID")
    closed = await wechat_shop.close(trade_no)
    assert "268449641" in wechat_shop.read(closed)["message"]
    assert (await caller.trade(trade_no))["notice_state"] == "none"


async def test_a_reverse_returns_the_money_but_not_in_the_first_seconds(
    wechat_shop: WechatShop, caller: Caller, merchant_texts: dict[str, str]
) -> None:
    account = await caller.open_account("wechat_v3", merchant_texts["public_spki_b64"])
    slow_shop = WechatShop(caller=caller, account=account, key=wechat_shop.key)
    for shop, status in ((slow_shop, 400), (wechat_shop, 200)):
        trade_no = new_trade_no()
        await shop.charge(trade_no, await caller.auth_code("wechat_v3"))
        assert (await shop.reverse(trade_no)).status == status
    assert await wechat_shop.state(trade_no) == "REVOKED"
    trade = await caller.trade(trade_no)
    assert trade["state"] == "returned"
    assert trade["paid_at"] < trade["returned_at"]


@pytest.mark.parametrize(("end", "state"), [("paid", "SUCCESS"), ("failed", "PAYERROR")])
async def test_a_payer_who_types_pays_or_fails_in_the_end(
    wechat_shop: WechatShop, caller: Caller, end: str, state: str
) -> None:
    trade_no = new_trade_no()
    auth_code = await caller.auth_code("wechat_v3", user_paying_s=SHORT_S, user_paying_ends=end)
    answer = await wechat_shop.charge(trade_no, auth_code)
    assert (answer.status, wechat_shop.read(answer)["code"]) == (202, "USERPAYING")
    assert await wechat_shop.state(trade_no) == "USERPAYING"
    await caller.trade_when(trade_no, lambda trade: trade["state"] != "typing")
    assert await wechat_shop.state(trade_no) == state


async def test_a_payer_who_types_confirms_when_told(wechat_shop: WechatShop, caller: Caller) -> None:
    """Whoever plays with time must not have to guess how long his machine takes."""
    trade_no = new_trade_no()
    await wechat_shop.charge(trade_no, await caller.auth_code("wechat_v3", user_paying_s=600))
    longer = {"trade_no": trade_no, "faults": {"user_paying_s": 600}}
    assert (await caller.admin("PUT", "/sandbox/trade-faults", longer))[1]["state"] == "typing"
    told = {"trade_no": trade_no, "faults": {}}
    assert (await caller.admin("PUT", "/sandbox/trade-faults", told))[1]["state"] == "paid"
    assert await wechat_shop.state(trade_no) == "SUCCESS"


async def test_a_reverse_while_the_payer_types_ends_it_unpaid(wechat_shop: WechatShop, caller: Caller) -> None:
    trade_no = new_trade_no()
    await wechat_shop.charge(trade_no, await caller.auth_code("wechat_v3", user_paying_s=600))
    assert (await wechat_shop.reverse(trade_no)).status == 200
    assert await wechat_shop.state(trade_no) == "REVOKED"
    assert (await caller.trade(trade_no))["paid_at"] is None


async def test_the_answer_can_be_lost_after_the_money_was_taken(wechat_shop: WechatShop, caller: Caller) -> None:
    trade_no = new_trade_no()
    auth_code = await caller.auth_code("wechat_v3", timeout_after_charge=True)
    with pytest.raises(NoAnswer):
        await wechat_shop.charge(trade_no, auth_code, timeout_s=SHORT_S)
    assert await wechat_shop.state(trade_no) == "SUCCESS"


async def test_the_answer_can_be_lost_before_the_money_was_taken(wechat_shop: WechatShop, caller: Caller) -> None:
    trade_no = new_trade_no()
    auth_code = await caller.auth_code("wechat_v3", timeout_before_charge=True)
    with pytest.raises(NoAnswer):
        await wechat_shop.charge(trade_no, auth_code, timeout_s=SHORT_S)
    answer = await wechat_shop.query(trade_no)
    assert (answer.status, wechat_shop.read(answer)["code"]) == (404, "ORDER_NOT_EXIST")


async def test_a_busy_channel_may_have_taken_the_money(wechat_shop: WechatShop, caller: Caller) -> None:
    trade_no = new_trade_no()
    answer = await wechat_shop.charge(trade_no, await caller.auth_code("wechat_v3", busy=True, slow_ms=1))
    assert (answer.status, _code_of(answer)) == (500, "SYSTEM_ERROR")
    assert wechat_shop.verdict(answer) is Verdict.UNSIGNED
    assert await wechat_shop.state(trade_no) == "SUCCESS"


async def test_faults_that_were_chosen_for_a_subject_are_met_when_it_is_placed(
    wechat_shop: WechatShop, caller: Caller
) -> None:
    """A proof chooses each order's faults beforehand: those of the odds depend on who comes first."""
    faults = {"timeout_before_charge": True, "timeout_after_charge": True}
    status, _ = await caller.admin("POST", "/sandbox/placings", {"subject": "chosen", "faults": faults})
    assert status == 201
    trade_no = new_trade_no()
    path, order = "/v3/pay/transactions/native", wechat_shop.order(trade_no, description="chosen")
    for known_afterwards in (False, True):
        with pytest.raises(NoAnswer):
            await wechat_shop.call("POST", path, order, timeout_s=SHORT_S)
        assert ((await wechat_shop.query(trade_no)).status == 200) is known_afterwards
    assert "code_url" in wechat_shop.read(await wechat_shop.call("POST", path, order))
    other = new_trade_no()
    assert "code_url" in wechat_shop.read(await wechat_shop.place(other, description="chosen"))
