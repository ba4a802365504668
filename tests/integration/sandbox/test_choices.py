"""What goes wrong by account, by amount and by page, changed while the sandbox runs."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import pytest

from budan.sandbox.choices import AmountFaults, AmountsSet, BillFaultsSet, Choices, OddsSet
from budan.sandbox.faults import DOCUMENTED_AMOUNTS, NO_BILL_FAULTS, BillFaults, Dice, FaultOdds, Faults
from budan.wire.wechat_v3 import Verdict
from integration.sandbox.running import Caller, Receiver
from integration.sandbox.shops import AMOUNT_FEN, AlipayShop, WechatShop, new_trade_no
from integration.sandbox.test_truth_keeps import MADE_AT

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
NOBODY = "http://127.0.0.1:9/nobody"
BUSY = FaultOdds(busy=1)


@pytest.fixture(autouse=True)
async def quiet(caller: Caller) -> AsyncIterator[None]:
    """The sandbox is everybody's in this process: nothing that was chosen for an amount may stay."""
    yield
    await caller.admin("PUT", "/sandbox/amount-faults", {"amounts": []})


async def _place(shop: WechatShop, amount_minor: int, *, notify_url: str = NOBODY) -> str:
    trade_no = new_trade_no()
    answer = await shop.place(trade_no, amount={"total": amount_minor, "currency": "CNY"}, notify_url=notify_url)
    assert answer.status == 200
    return trade_no


async def _submit(caller: Caller, page: str, headers: dict[str, str] | None = None, **form: str) -> tuple[int, str]:
    answer = await caller.send("POST", page, body=urlencode(form).encode(), headers=FORM | (headers or {}))
    return answer.status, answer.body.decode()


def test_an_amount_comes_before_odds_and_an_accounts_own_before_everybodys() -> None:
    """So that a programmer who chose one thing gets it whatever else is in force."""
    choices, dice = Choices(), Dice(seed=1)
    lost, twice = Faults(drop_notice=True), Faults(double_notice=True)
    choices.apply(OddsSet(at=MADE_AT, odds=FaultOdds(slow=1)))
    choices.apply(OddsSet(at=MADE_AT, odds=BUSY, account_id="1"))
    rows = (AmountFaults(amount_minor=5, faults=lost), AmountFaults(amount_minor=5, faults=twice, account_id="1"))
    choices.apply(AmountsSet(at=MADE_AT, amounts=rows))
    met = {
        (whose, amount): choices.faults_of(account_id=whose, amount_minor=amount, dice=dice)
        for whose in ("1", "2")
        for amount in (5, 6)
    }
    assert (met["1", 5], met["2", 5]) == (twice, lost)
    assert (met["1", 6].busy, met["1", 6].slow_ms, met["2", 6].busy, met["2", 6].slow_ms) == (True, 0, False, 1_000)
    choices.apply(OddsSet(at=MADE_AT, odds=None, account_id="1"))
    assert choices.odds_of("1") == FaultOdds(slow=1)


def test_bill_faults_of_an_account_take_the_place_of_everybodys() -> None:
    choices, spoilt = Choices(), BillFaults(cut_off=True)
    choices.apply(BillFaultsSet(at=MADE_AT, faults=spoilt))
    choices.apply(BillFaultsSet(at=MADE_AT, faults=BillFaults(extra_row=True), account_id="1"))
    assert (choices.bill_faults_of("1").extra_row, choices.bill_faults_of("2")) == (True, spoilt)
    for whose in ("1", ""):
        choices.apply(BillFaultsSet(at=MADE_AT, faults=NO_BILL_FAULTS, account_id=whose))
    assert choices.bill_faults_of("1") == choices.bill_faults_of("2") == NO_BILL_FAULTS


async def test_documented_amounts_do_what_they_say_once_they_are_in_force(
    wechat_shop: WechatShop, caller: Caller
) -> None:
    """A shop's programmer tests a lost notice or a refused refund by the amount alone."""
    _, table = await caller.admin("GET", "/sandbox/documented-amounts")
    assert {row["amount_minor"] for row in table["amounts"]} == DOCUMENTED_AMOUNTS.keys()
    assert await caller.admin("PUT", "/sandbox/amount-faults", table) == (200, table)
    trade_no = await _place(wechat_shop, 101)
    assert (await caller.pay(trade_no=trade_no))["notice_state"] == "dropped"
    assert (await caller.pay(trade_no=await _place(wechat_shop, 101), faults={}))["notice_state"] == "due"
    whole = await _place(wechat_shop, 1_000)
    await caller.pay(trade_no=whole)
    wish = {"trade_no": whole, "amount_minor": 121}
    assert (await caller.admin("POST", "/sandbox/portal-refunds", wish))[1]["code"] == "poor"
    status, refund = await caller.admin("POST", "/sandbox/portal-refunds", wish | {"amount_minor": 124})
    assert (status, refund["state"]) == (201, "closed")


async def test_the_odds_of_one_account_touch_no_other(
    wechat_shop: WechatShop, alipay_shop: AlipayShop, caller: Caller
) -> None:
    account_id = wechat_shop.account["mchid"]
    wish: dict[str, Any] = {"account_id": account_id, "odds": {"busy": 1}}
    assert (await caller.admin("PUT", "/sandbox/account-faults", wish))[0] == 200
    try:
        assert (await wechat_shop.place(new_trade_no())).status == 500
        assert (await alipay_shop.precreate(new_trade_no()))["code"] == "10000"
    finally:
        assert (await caller.admin("PUT", "/sandbox/account-faults", {"account_id": account_id}))[0] == 200
    assert (await wechat_shop.place(new_trade_no())).status == 200


async def test_one_account_is_down_while_the_others_are_up(
    wechat_shop: WechatShop, alipay_shop: AlipayShop, caller: Caller
) -> None:
    wish = {"account_id": alipay_shop.account["app_id"]}
    await caller.admin("PUT", "/sandbox/weather", wish | {"down": True})
    try:
        sent = alipay_shop.parameters("alipay.trade.query", {"out_trade_no": "T"})
        assert (await alipay_shop.send(sent)).status == 503
        assert (await wechat_shop.place(new_trade_no())).status == 200
    finally:
        await caller.admin("PUT", "/sandbox/weather", wish)
    assert (await alipay_shop.send(sent)).status == 200


async def test_a_channels_wrong_clock_is_under_its_signature_and_judges_the_shops(
    wechat_shop: WechatShop, alipay_shop: AlipayShop, caller: Caller
) -> None:
    """Our side must take such a message for stale, however right it is otherwise."""
    trade_no = await _place(wechat_shop, AMOUNT_FEN)
    shops = (wechat_shop.account["mchid"], alipay_shop.account["app_id"])
    for account_id in shops:
        await caller.admin("PUT", "/sandbox/weather", {"account_id": account_id, "clock_off_s": 601})
    try:
        assert (await wechat_shop.query(trade_no)).status == 401
        wechat_shop.clock_skew_s = 601
        assert wechat_shop.verdict(await wechat_shop.query(trade_no)) is Verdict.CLOCK
        sent = alipay_shop.parameters("alipay.trade.query", {"out_trade_no": trade_no})
        assert b"isv.invalid-timestamp" in (await alipay_shop.send(sent)).body
    finally:
        for account_id in shops:
            await caller.admin("PUT", "/sandbox/weather", {"account_id": account_id})
    wechat_shop.clock_skew_s = 0
    assert await wechat_shop.state(trade_no) == "NOTPAY"


async def test_a_notice_that_waits_is_overtaken_by_the_next_of_its_account(
    wechat_shop: WechatShop, caller: Caller, receiver: Receiver
) -> None:
    """A refund's notice may come before the payment's, and a later payment's before an earlier one's."""
    first, later = [await _place(wechat_shop, AMOUNT_FEN, notify_url=receiver.url) for _ in range(2)]
    await caller.pay(trade_no=first, faults={"reorder_notice": True})
    await caller.pay(trade_no=later, faults={})
    told = [wechat_shop.read_notice(await receiver.next())["out_trade_no"] for _ in range(2)]
    assert told == [later, first]
    trade = await caller.trade_when(first, lambda trade: trade["notice_state"] == "acknowledged")
    assert "notice_overtaken" in [event["kind"] for event in trade["events"]]


async def test_everything_is_changed_on_the_page(wechat_shop: WechatShop, caller: Caller) -> None:
    account_id = wechat_shop.account["mchid"]
    page = f"/faults?account_id={account_id}&lang=en"
    trade_no = await _place(wechat_shop, AMOUNT_FEN)
    for form in (
        {"act": "weather", "slow_ms": "1", "clock_off_s": "0"},
        {"act": "odds", "double_notice": "12.5", "slow_ms": "20"},
        {"act": "documented"},
        {"act": "amount", "which": "2.02", "busy": "1", "stale_query_s": "3"},
        {"act": "forget_amount", "which": "1.01"},
        {"act": "bills", "wrong_fee": "1"},
        {"act": "order", "whose": "subject", "which": "a tea", "slow_ms": "1"},
        {"act": "order", "whose": "trade", "which": trade_no, "wrong_merchant": "1"},
        {"act": "order", "whose": "refunds", "which": trade_no, "refund_ends": "abnormal"},
    ):
        assert (await _submit(caller, page, **form))[0] == 303, form
    _, odds = await caller.admin("GET", "/sandbox/account-faults")
    assert (odds["accounts"][account_id]["double_notice"], odds["accounts"][account_id]["slow_ms"]) == (0.125, 20)
    _, table = await caller.admin("GET", "/sandbox/amount-faults")
    chosen = {row["amount_minor"]: row["faults"] for row in table["amounts"] if row["account_id"] == account_id}
    assert chosen[202] == {"busy": True, "stale_query_s": 3.0}
    assert chosen.keys() == DOCUMENTED_AMOUNTS.keys() - {101} | {202}
    assert (await caller.admin("GET", "/sandbox/bill-faults"))[1]["accounts"][account_id]["wrong_fee"]
    assert (await caller.trade(trade_no))["faults"] == {"wrong_merchant": True}
    shown = (await caller.send("GET", page)).body.decode()
    assert 'name="double_notice" value="12.5"' in shown
    assert "Take the money and answer busy, &#34;Not paid&#34; for, s: 3" in shown
    for form in ({"act": "odds_back"}, {"act": "bills"}, {"act": "weather"}):
        assert (await _submit(caller, page, **form))[0] == 303
    assert account_id not in (await caller.admin("GET", "/sandbox/account-faults"))[1]["accounts"]
    assert account_id not in (await caller.admin("GET", "/sandbox/bill-faults"))[1]["accounts"]


@pytest.mark.parametrize(
    ("form", "status", "said"),
    [
        ({"act": "odds", "busy": "101"}, 400, "This value cannot be"),
        ({"act": "odds", "busy": "often"}, 400, "This value cannot be"),
        ({"act": "amount", "which": "a tea"}, 400, "This value cannot be"),
        ({"act": "order", "whose": "trade", "which": "NOSUCHTRADE"}, 404, "There is no such order"),
        ({"act": "order", "whose": "subject", "which": "x" * 128}, 400, "This value cannot be"),
        ({"act": "repair"}, 404, "There is no such act"),
    ],
)
async def test_the_page_says_why_it_refuses(caller: Caller, form: dict[str, str], status: int, said: str) -> None:
    shown = await _submit(caller, "/faults?lang=en", **form)
    assert shown[0] == status
    assert said in shown[1]


async def test_a_page_of_another_site_changes_no_faults(caller: Caller) -> None:
    """Its form would reach this port, and a demo would fail for a reason that nobody finds."""
    form = {"act": "documented"}
    assert (await _submit(caller, "/faults", {"Origin": "http://example.org"}, **form))[0] == 403
    assert (await _submit(caller, "/faults", {"Origin": caller.url}, **form))[0] == 303
    assert (await caller.send("GET", "/faults?account_id=nobody&lang=en")).status == 404
