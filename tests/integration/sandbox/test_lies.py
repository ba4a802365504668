from integration.sandbox.running import Caller, Receiver
from integration.sandbox.shops import AlipayShop, WechatShop, new_trade_no


async def test_a_wrong_amount_is_told_by_notice_and_query_and_the_truth_keeps_the_right_one(
    wechat_shop: WechatShop, caller: Caller, receiver: Receiver
) -> None:
    trade_no = new_trade_no()
    await wechat_shop.place(trade_no, notify_url=receiver.url)
    paid = await caller.pay(trade_no=trade_no, faults={"amount_off_minor": -1})
    told = wechat_shop.read_notice(await receiver.next())["amount"]["total"]
    asked = wechat_shop.read(await wechat_shop.query(trade_no))["amount"]["total"]
    assert told == asked == paid["amount_minor"] - 1


async def test_alipay_tells_wrong_amounts_and_merchants_too(
    alipay_shop: AlipayShop, caller: Caller, form_receiver: Receiver
) -> None:
    trade_no = new_trade_no()
    await alipay_shop.precreate(trade_no, notify_url=form_receiver.url)
    await caller.pay(trade_no=trade_no, faults={"amount_off_minor": 50, "wrong_merchant": True})
    notice = alipay_shop.read_notice(await form_receiver.next())
    asked = await alipay_shop.query(trade_no)
    assert notice["seller_id"] != alipay_shop.account["seller_id"]
    assert notice["total_amount"] == asked["total_amount"]
    assert asked["out_trade_no"] != trade_no


async def test_a_wrong_merchant_is_named_under_a_signature_that_holds(
    wechat_shop: WechatShop, caller: Caller, receiver: Receiver
) -> None:
    """One platform key signs for many merchants, so only the number in the message tells whose it is."""
    trade_no = new_trade_no()
    await wechat_shop.place(trade_no, notify_url=receiver.url)
    assert wechat_shop.read(await wechat_shop.query(trade_no))["mchid"] == wechat_shop.account["mchid"]
    await caller.pay(trade_no=trade_no, faults={"wrong_merchant": True})
    assert wechat_shop.read_notice(await receiver.next())["mchid"] != wechat_shop.account["mchid"]
    assert wechat_shop.read(await wechat_shop.query(trade_no))["mchid"] != wechat_shop.account["mchid"]


async def test_a_stale_query_says_not_paid_for_a_while_after_the_payment(
    wechat_shop: WechatShop, caller: Caller
) -> None:
    stale_no, fresh_no = new_trade_no(), new_trade_no()
    for trade_no, stale_s in ((stale_no, 3_600), (fresh_no, 0)):
        await wechat_shop.place(trade_no)
        await caller.pay(trade_no=trade_no, faults={"stale_query_s": stale_s})
    assert (await wechat_shop.state(stale_no), await wechat_shop.state(fresh_no)) == ("NOTPAY", "SUCCESS")
    assert (await caller.trade(stale_no))["state"] == "paid"


async def test_a_forged_copy_comes_before_the_notice_and_does_not_verify(
    wechat_shop: WechatShop, caller: Caller, receiver: Receiver
) -> None:
    trade_no = new_trade_no()
    await wechat_shop.place(trade_no, notify_url=receiver.url)
    await caller.pay(trade_no=trade_no, faults={"forge_notice": True})
    forged, true = await receiver.next(), await receiver.next()
    assert wechat_shop.verdict(forged).value != "valid"
    assert wechat_shop.read_notice(true)["out_trade_no"] == trade_no
    trade = await caller.trade_when(trade_no, lambda trade: trade["notice_state"] == "acknowledged")
    assert [event["kind"] for event in trade["events"]][-3:] == [
        "notice_forged",
        "notice_sent",
        "notice_acknowledged",
    ]
    assert trade["notices_sent"] == 1


async def test_the_channels_go_down_and_come_back_while_the_wallet_stays_open(
    wechat_shop: WechatShop, alipay_shop: AlipayShop, caller: Caller
) -> None:
    trade_no = new_trade_no()
    await wechat_shop.place(trade_no)
    assert await caller.admin("PUT", "/sandbox/weather", {"down": True}) == (
        200,
        {"down": True, "slow_ms": 0, "clock_off_s": 0},
    )
    try:
        assert (await wechat_shop.query(trade_no)).status == 503
        sent = alipay_shop.parameters("alipay.trade.query", {"out_trade_no": trade_no})
        assert (await alipay_shop.send(sent)).status == 503
        assert (await caller.pay(trade_no=trade_no))["state"] == "paid"
    finally:
        await caller.admin("PUT", "/sandbox/weather", {})
    assert await wechat_shop.state(trade_no) == "SUCCESS"
    assert (await caller.admin("PUT", "/sandbox/weather", {"down": "perhaps"}))[0] == 400


async def test_a_channel_that_lied_comes_to_its_senses(wechat_shop: WechatShop, caller: Caller) -> None:
    trade_no = new_trade_no()
    await wechat_shop.place(trade_no)
    paid = await caller.pay(trade_no=trade_no, faults={"amount_off_minor": -1})
    status, _ = await caller.admin("PUT", "/sandbox/trade-faults", {"trade_no": trade_no, "faults": {}})
    assert status == 200
    assert wechat_shop.read(await wechat_shop.query(trade_no))["amount"]["total"] == paid["amount_minor"]
    status, refusal = await caller.admin("PUT", "/sandbox/trade-faults", {"trade_no": trade_no})
    assert (status, refusal["code"]) == (400, "body_unreadable")
