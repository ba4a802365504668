"""A channel's keys change while orders are in flight, and an account is taken out of use: nothing in flight is lost."""

import asyncio
import json
from typing import Any

import asyncpg
import pytest

from budan.channels.accounts import AccountCache
from budan.channels.guard import GuardLimits
from budan.cli.sandbox_account import add_sandbox_account
from budan.cli.wiring import build_account_desk
from budan.core.numbers import AccountId, Lane
from budan.flows.account_desk import AccountDesk, Taker
from budan.flows.administering import AddedMerchant, MerchantWish
from integration.web.house import WAIT_S, House, an_order

# Both keys sign in turn, so of as many notices each signs one at least.
IN_FLIGHT = 4
LANES = [Lane(lane) for lane in range(64)]


async def a_merchant_at(house: House, channel: str) -> tuple[AddedMerchant, int, str]:
    """A merchant with an account of its own at the sandbox, whose keys no other test uses."""
    account_id, sandbox_id = await add_sandbox_account(
        build_account_desk(house.opened), house.sandbox.url, channel=channel, name=f"{channel} that changes", by="Ann"
    )
    wish = MerchantWish(
        name="面馆",
        webhook_url=None,
        account_ids=(account_id,),
        rates_bp={channel: 60},
        with_key=True,
        with_shop=False,
    )
    (added,) = await house.administration.add_merchants([wish], by="Ann")
    return added, account_id, sandbox_id


async def placed(house: House, merchant: AddedMerchant, channel: str) -> dict[str, Any]:
    wish = an_order(payment={"method": "native", "channel": channel})
    reply = await house.call("POST", "/v1/orders", wish, key=merchant.api_key)
    assert reply.status == 201, reply.body
    return reply.json


async def pay(house: House, order: dict[str, Any]) -> None:
    await house.sandbox_call("/sandbox/pay", {"code_text": order["trades"][0]["qr_text"], "faults": {}})


async def paid(house: House, merchant: AddedMerchant, order_no: str) -> dict[str, Any]:
    """The order once it is paid; nothing but notices tells of it, for no worker asks here."""
    async with asyncio.timeout(WAIT_S):
        while True:
            order = (await house.call("GET", f"/v1/orders/{order_no}", key=merchant.api_key)).json
            if order["state"] == "paid":
                return order


async def rejected(house: House, account_id: int, *, at_least: int) -> None:
    """Waits until so many notices of the account were refused for their signature."""
    connection = await asyncpg.connect(house.dsn, timeout=WAIT_S)
    try:
        async with asyncio.timeout(WAIT_S):
            while await connection.fetchval(_REJECTED, account_id) < at_least:
                pass
    finally:
        await connection.close()


_REJECTED = "SELECT count(*) FROM notice_rejected WHERE account_id = $1"


async def change_at_the_channel(house: House, sandbox_id: str, *, keeps_old: bool) -> dict[str, Any]:
    wish = {"account_id": sandbox_id, "keeps_old": keeps_old}
    answer = await house.client.request(
        method="PUT",
        url=f"{house.sandbox.url}/sandbox/account-keys",
        headers={"content-type": "application/json"},
        body=json.dumps(wish).encode(),
        timeout_s=WAIT_S,
        body_bytes_max=1_000_000,
    )
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def new_secret(channel: str, told: dict[str, Any], known: set[str]) -> dict[str, str]:
    """What an operator downloads: the channel's new key alone."""
    if channel == "alipay":
        return {"alipay_public_key": told["alipay_public_key"]}
    return {
        "platform_keys": json.dumps({name: key for name, key in told["platform_keys"].items() if name not in known})
    }


async def refreshed(house: House, account_id: int) -> None:
    """`serve` looks at the account anew: it does so by itself within seconds, here at once."""
    accounts = house.flows.notices._accounts
    assert isinstance(accounts, AccountCache)
    await accounts._refresh(AccountId(account_id))


@pytest.mark.invariant("I4")
@pytest.mark.parametrize("channel", ["wechat_v3", "alipay"])
async def test_keys_change_while_orders_are_in_flight(house: House, channel: str) -> None:
    """In the overlap what either key signed completes orders; after it only the new one's word does."""
    merchant, account_id, sandbox_id = await a_merchant_at(house, channel)
    desk: AccountDesk = build_account_desk(house.opened)
    known = set(json.loads((await desk.open_account(account_id)).secrets.get("platform_keys", "{}")))
    orders = [await placed(house, merchant, channel) for _ in range(IN_FLIGHT)]
    told = await change_at_the_channel(house, sandbox_id, keeps_old=True)
    until = await desk.rotate(
        account_id, settings={}, account_secrets=new_secret(channel, told, known), overlap_s=3_600, by="Ann"
    )
    assert until is not None
    await refreshed(house, account_id)
    for order in orders:
        await pay(house, order)
    assert {(await paid(house, merchant, order["order_no"]))["learned_source"] for order in orders} == {"notice"}

    late = [await placed(house, merchant, channel) for _ in range(2)]
    assert await desk.end_overlap(account_id, by="Ann")
    await refreshed(house, account_id)
    for order in late:
        await pay(house, order)
    # The keys sign in turn: of two notices one is refused, and told again until the new key signs it.
    await rejected(house, account_id, at_least=1)
    assert {(await paid(house, merchant, order["order_no"]))["learned_source"] for order in late} == {"notice"}


async def test_an_account_out_of_use_takes_no_new_trade_and_ends_what_it_has(house: House) -> None:
    """Disabling it must not lose what is on its way: notices, queries, closes and refunds go on."""
    merchant, account_id, _ = await a_merchant_at(house, "wechat_v3")
    told, asked = [await placed(house, merchant, "wechat_v3") for _ in range(2)]
    desk = build_account_desk(house.opened)
    await desk.set_enabled(account_id, enabled=False, by="Ann")
    await refreshed(house, account_id)
    wish = an_order(payment={"method": "native", "channel": "wechat_v3"})
    refused = await house.call("POST", "/v1/orders", wish, key=merchant.api_key)
    # The merchant's list of accounts may be two seconds old; the account itself is known to be out of use.
    assert (refused.status, refused.code in {"method_unsupported", "no_account"}) == (422, True)

    await pay(house, told)
    assert (await paid(house, merchant, told["order_no"]))["learned_source"] == "notice"
    silent = {"code_text": asked["trades"][0]["qr_text"], "faults": {"drop_notice": True}}
    await house.sandbox_call("/sandbox/pay", silent)
    await house.execute("UPDATE query_due SET due_at = now() - interval '1 second'")
    questions = house.flows.questions
    for due in await questions.list_due(lanes=LANES, accounts_left_out=(), rows_max=100):
        await questions.ask_due(due)
    assert (await paid(house, merchant, asked["order_no"]))["learned_source"] == "query"
    wish = {"amount_minor": 999, "reason": "冷了"}
    refund = await house.call(
        "POST",
        f"/v1/orders/{told['order_no']}/refunds",
        wish,
        key=merchant.api_key,
        idempotency_key="r1",
    )
    assert refund.status == 201, refund.body
    refunding = house.flows.refunding
    (step,) = await refunding.list_due(lanes=LANES, accounts_left_out=(), rows_max=100)
    await refunding.advance(step)
    path = f"/v1/orders/{told['order_no']}/refunds/{refund.json['refund_no']}"
    # Its notice may have been here already.
    assert (await house.call("GET", path, key=merchant.api_key)).json["state"] in {"submitted", "succeeded"}


async def test_new_orders_go_to_the_next_account_while_the_first_does_not_answer(house: House) -> None:
    """The channel of the first is away: payers are turned away until that is known, and no longer."""
    desk = build_account_desk(house.opened)
    merchant, answering, _ = await a_merchant_at(house, "wechat_v3")
    config = await desk.open_account(answering)
    away = await desk.add_account(
        channel="wechat_v3",
        name="away",
        settings={**config.settings, "gateway": "http://127.0.0.1:9"},
        account_secrets=config.secrets,
        by="Ann",
    )
    taker = Taker(merchant_id=merchant.merchant_id)
    await desk.allow(answering, taker, priority=1, methods=(), by="Ann")
    await desk.allow(away, taker, priority=0, methods=(), by="Ann")
    wish = {"payment": {"method": "native", "channel": "wechat_v3"}}
    turned_away = 0
    while (reply := await house.call("POST", "/v1/orders", an_order(**wish), key=merchant.api_key)).status == 503:
        assert reply.code == "channel_unavailable"
        turned_away += 1
        assert turned_away <= GuardLimits().failures_to_open
    assert (reply.status, turned_away) == (201, GuardLimits().failures_to_open)
    await pay(house, reply.json)
    assert (await paid(house, merchant, reply.json["order_no"]))["learned_source"] == "notice"
