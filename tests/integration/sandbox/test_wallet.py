import re
from html.parser import HTMLParser
from urllib.parse import urlencode

import pytest

from integration.sandbox.running import Caller, Receiver
from integration.sandbox.shops import AlipayShop, WechatShop, new_trade_no

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class _Addresses(HTMLParser):
    """Every address that a page loads or leads to, and every inline script or style."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # their name
        if tag in {"script", "style"}:
            self.inline.append(tag)
        for name, value in attrs:
            if name in {"src", "href", "action"} and value:
                self.addresses.append(value)
            if name == "style" or name.startswith("on"):
                self.inline.append(name)


def _read(page: bytes) -> _Addresses:
    read = _Addresses()
    read.feed(page.decode())
    return read


async def _placed(shop: WechatShop, *, notify_url: str) -> tuple[str, str]:
    trade_no = new_trade_no()
    placed = shop.read(await shop.place(trade_no, notify_url=notify_url))
    return trade_no, placed["code_url"]


async def test_an_h5_link_opens_in_a_browser_that_comes_from_a_page_and_not_in_wechats(
    wechat_shop: WechatShop, caller: Caller
) -> None:
    """What WeChat refuses there is what a page of ours could get wrong."""
    trade_no = new_trade_no()
    scene = {"payer_client_ip": "203.0.113.7", "h5_info": {"type": "Wap"}}
    placed = wechat_shop.read(await wechat_shop.place(trade_no, kind="h5", scene_info=scene))
    link = placed["h5_url"].removeprefix(caller.url)
    referer = {"referer": "https://pay.example.com/"}
    for headers, status in (({}, 403), (referer | {"user-agent": "MicroMessenger/8.0"}, 403), (referer, 303)):
        assert (await caller.send("GET", link, headers=headers)).status == status
    await caller.pay(trade_no=trade_no)
    assert wechat_shop.read(await wechat_shop.query(trade_no))["trade_type"] == "MWEB"


async def test_a_person_pastes_a_code_and_pays(wechat_shop: WechatShop, caller: Caller, receiver: Receiver) -> None:
    trade_no, code_text = await _placed(wechat_shop, notify_url=receiver.url)
    opened = await caller.send("GET", "/wallet?" + urlencode({"code": code_text, "lang": "en"}))
    assert opened.status == 303
    page = await caller.send("GET", opened.headers["location"])
    for text in ("门店点单-拿铁", "¥12.80", "Pay ¥12.80", trade_no):
        assert text in page.body.decode()
    paid = await caller.send("POST", opened.headers["location"], body=b"double_notice=1", headers=FORM)
    assert paid.status == 303
    after = (await caller.send("GET", paid.headers["location"])).body.decode()
    assert '<p class="state paid" role="status">Paid</p>' in after
    assert "<button>" not in after
    for _ in range(2):
        assert wechat_shop.read_notice(await receiver.next())["out_trade_no"] == trade_no
    await caller.trade_when(trade_no, lambda trade: trade["notice_state"] == "acknowledged")
    assert "Notice taken by the shop" in (await caller.send("GET", paid.headers["location"])).body.decode()


async def test_a_tick_loses_the_notice(wechat_shop: WechatShop, caller: Caller, receiver: Receiver) -> None:
    trade_no, _ = await _placed(wechat_shop, notify_url=receiver.url)
    await caller.send("POST", f"/wallet/{trade_no}", body=b"drop_notice=1", headers=FORM)
    assert (await caller.trade(trade_no))["notice_state"] == "dropped"


async def test_a_second_payment_is_refused_on_the_page(wechat_shop: WechatShop, caller: Caller) -> None:
    trade_no, _ = await _placed(wechat_shop, notify_url="http://127.0.0.1:9/nobody")
    await caller.pay(trade_no=trade_no, faults={"drop_notice": True})
    again = await caller.send("POST", f"/wallet/{trade_no}?lang=en")
    assert again.status == 409
    assert "This order was paid already." in again.body.decode()


async def test_the_newest_unpaid_orders_are_listed(wechat_shop: WechatShop, caller: Caller) -> None:
    trade_no, _ = await _placed(wechat_shop, notify_url="http://127.0.0.1:9/nobody")
    home = (await caller.send("GET", "/wallet")).body.decode()
    assert trade_no in home
    await caller.pay(trade_no=trade_no, faults={"drop_notice": True})
    assert trade_no not in (await caller.send("GET", "/wallet")).body.decode()


async def test_looking_at_an_alipay_order_scans_it(alipay_shop: AlipayShop, caller: Caller) -> None:
    trade_no = new_trade_no()
    await alipay_shop.precreate(trade_no)
    await caller.send("GET", f"/wallet/{trade_no}")
    assert (await alipay_shop.query(trade_no))["trade_status"] == "WAIT_BUYER_PAY"


async def test_a_payers_code_is_shown_and_can_be_charged_with_its_faults(
    wechat_shop: WechatShop, caller: Caller
) -> None:
    page = (await caller.send("GET", "/wallet/code?channel=wechat_v3&lang=en&busy=1")).body.decode()
    digits = re.search(r'<p class="digits">([0-9 ]+)</p>', page)
    assert digits is not None
    assert "<svg" in page
    answer = await wechat_shop.charge(new_trade_no(), digits[1].replace(" ", ""))
    assert answer.status == 500


async def test_a_jsapi_payer_goes_back_to_the_shops_own_host_and_nowhere_else(
    wechat_shop: WechatShop, caller: Caller
) -> None:
    for back, goes_back in (("http://127.0.0.1:9/order/1", True), ("http://example.org/", False)):
        trade_no = new_trade_no()
        placed = await wechat_shop.place(trade_no, kind="jsapi", payer={"openid": "oPayer"})
        query = {"code": wechat_shop.read(placed)["prepay_id"], "return_url": back}
        opened = await caller.send("GET", "/wallet?" + urlencode(query))
        paid = await caller.send("POST", opened.headers["location"], body=b"drop_notice=1", headers=FORM)
        assert (paid.headers["location"] == back) is goes_back


@pytest.mark.parametrize("path", ["/wallet", "/wallet/code", "/wallet/NOSUCHTRADE", "/faults"])
async def test_pages_load_nothing_from_elsewhere_and_hold_nothing_inline(caller: Caller, path: str) -> None:
    page = await caller.send("GET", path)
    read = _read(page.body)
    assert read.inline == []
    assert all(address.startswith(("/wallet", "/faults", "?")) for address in read.addresses)
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'; ")
    style = await caller.send("GET", "/wallet/wallet.css")
    assert (style.status, style.headers["content-type"]) == (200, "text/css; charset=utf-8")


async def test_pages_speak_the_readers_language(caller: Caller) -> None:
    for accepted, asked, heading in (("zh-CN,zh", "", "待付款"), ("", "", "Waiting"), ("zh-CN", "?lang=en", "Waiting")):
        page = await caller.send("GET", f"/wallet{asked}", headers={"Accept-Language": accepted})
        assert heading in page.body.decode()


async def test_an_unknown_code_is_refused_on_a_page(caller: Caller) -> None:
    answer = await caller.send("GET", "/wallet?lang=en&code=hello")
    assert answer.status == 409
    assert "This is no code of this sandbox." in answer.body.decode()


async def test_a_subject_is_shown_as_text(wechat_shop: WechatShop, caller: Caller) -> None:
    trade_no = new_trade_no()
    await wechat_shop.place(trade_no, description="<script>alert(1)</script>")
    page = await caller.send("GET", f"/wallet/{trade_no}")
    assert b"<script>" not in page.body
