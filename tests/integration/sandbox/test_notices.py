from datetime import datetime
from typing import Any

from integration.sandbox.running import Caller, Receiver, http_answer
from integration.sandbox.shops import AlipayShop, WechatShop, new_trade_no


def _kinds(trade: dict[str, Any]) -> list[str]:
    return [event["kind"] for event in trade["events"]]


async def test_a_dropped_notice_is_lost_with_all_its_repeats(
    wechat_shop: WechatShop, caller: Caller, receiver: Receiver
) -> None:
    lost_no, next_no = new_trade_no(), new_trade_no()
    for trade_no, faults in ((lost_no, {"drop_notice": True}), (next_no, {})):
        await wechat_shop.place(trade_no, notify_url=receiver.url)
        await caller.pay(trade_no=trade_no, faults=faults)
    assert wechat_shop.read_notice(await receiver.next())["out_trade_no"] == next_no
    lost = await caller.trade(lost_no)
    assert (lost["state"], lost["notice_state"], lost["notices_sent"]) == ("paid", "dropped", 0)
    assert await wechat_shop.state(lost_no) == "SUCCESS"


async def test_a_doubled_notice_comes_twice_with_the_same_id(
    wechat_shop: WechatShop, caller: Caller, receiver: Receiver
) -> None:
    trade_no = new_trade_no()
    await wechat_shop.place(trade_no, notify_url=receiver.url)
    await caller.pay(trade_no=trade_no, faults={"double_notice": True})
    notices = [await receiver.next(), await receiver.next()]
    assert len({wechat_shop.read(notice)["id"] for notice in notices}) == 1
    trade = await caller.trade_when(trade_no, lambda trade: trade["notice_state"] == "acknowledged")
    assert trade["notices_sent"] == 2


async def test_a_delayed_notice_comes_late(wechat_shop: WechatShop, caller: Caller, receiver: Receiver) -> None:
    trade_no = new_trade_no()
    await wechat_shop.place(trade_no, notify_url=receiver.url)
    await caller.pay(trade_no=trade_no, faults={"delay_notice_s": 0.4})
    await receiver.next()
    trade = await caller.trade_when(trade_no, lambda trade: trade["notice_state"] == "acknowledged")
    at = {event["kind"]: datetime.fromisoformat(event["at"]) for event in trade["events"]}
    assert (at["notice_sent"] - at["paid"]).total_seconds() >= 0.4


async def test_wechat_repeats_until_the_shop_answers_204(
    wechat_shop: WechatShop, caller: Caller, receiver: Receiver
) -> None:
    receiver.answers.insert(0, http_answer("500 Internal Server Error"))
    trade_no = new_trade_no()
    await wechat_shop.place(trade_no, notify_url=receiver.url)
    await caller.pay(trade_no=trade_no)
    notices = [await receiver.next(), await receiver.next()]
    assert {wechat_shop.read_notice(notice)["out_trade_no"] for notice in notices} == {trade_no}
    trade = await caller.trade_when(trade_no, lambda trade: trade["notice_state"] == "acknowledged")
    assert _kinds(trade)[-4:] == ["notice_sent", "notice_refused", "notice_sent", "notice_acknowledged"]
    assert trade["events"][-4]["text"].startswith("500 after ")


async def test_alipay_takes_nothing_but_success_for_an_acknowledgement(
    alipay_shop: AlipayShop, caller: Caller, form_receiver: Receiver
) -> None:
    """A page that says 200 with other words has not taken the notice."""
    form_receiver.answers[:0] = [http_answer("200 OK", b"fail"), http_answer("200 OK", b"success\n")]
    trade_no = new_trade_no()
    await alipay_shop.precreate(trade_no, notify_url=form_receiver.url)
    await caller.pay(trade_no=trade_no)
    fields = [alipay_shop.read_notice(await form_receiver.next()) for _ in range(3)]
    assert len({notice["notify_id"] for notice in fields}) == 1
    await caller.trade_when(trade_no, lambda trade: trade["notice_state"] == "acknowledged")


async def test_a_receiver_that_is_not_there_is_asked_again(wechat_shop: WechatShop, caller: Caller) -> None:
    trade_no = new_trade_no()
    await wechat_shop.place(trade_no, notify_url="http://127.0.0.1:9/nobody")
    await caller.pay(trade_no=trade_no)
    trade = await caller.trade_when(trade_no, lambda trade: trade["notices_sent"] >= 2)
    sent = [event["text"] for event in trade["events"] if event["kind"] == "notice_sent"]
    assert all(text.startswith("NotSent after ") for text in sent)
