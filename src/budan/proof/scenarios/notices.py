"""Notices that come too early, too late, twice, never, or from somebody else."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any, Final
from urllib.parse import urlencode

from budan.proof.client import render_request
from budan.proof.drawing import Wish
from budan.proof.house import House, happened
from budan.proof.link import Passing
from budan.proof.scenarios.scenario import Scenario
from budan.proof.scenarios.wishes import SERVES, STEP_S_MAX, all_are_paid_here, all_are_placed, scanned

FORGERIES: Final = 3
_SIGNATURE: Final = "QUJD" * 86
_BEIJING: Final = timezone(timedelta(hours=8))


async def _play_before_our_first_update(house: House) -> None:
    """The payer pays while the answer to our placement is still held back."""
    wishes = [replace(wish, pays=False, faults={"timeout_after_charge": True}) for wish in scanned(house)]
    async with asyncio.TaskGroup() as tasks:
        selling = tasks.create_task(house.sell_all(wishes, at_once=len(wishes)))
        await all_are_placed(house, count=len(wishes))
        for trade in house.ours():
            await house.till.pay_by({"trade_no": trade.trade_no}, wishes[0])
        happened("an answer came before the notice", is_so=not house.till.answers)
        await selling


async def _play_killed_after_the_commit(house: House) -> None:
    """The notice is committed, and the acknowledgement dies with the process."""
    wishes = scanned(house)
    orders = [await house.till.create(wish, shop=house.shop_of(wish)) for wish in wishes]
    with house.links.to_us.passing(Passing.REQUESTS_ONLY):
        for order, wish in zip(orders, wishes, strict=True):
            await house.till.pay(order, wish)
        await all_are_paid_here(house)
        happened("a notice was acknowledged", is_so=not any(one.notices_acknowledged for one in house.ours()))
        for name in SERVES:
            await house.violence.kill_and_wait(name)


async def _play_doubled_late_and_forged(house: House) -> None:
    kinds: tuple[dict[str, Any], ...] = ({"double_notice": True}, {"delay_notice_s": 4.0}, {})
    wishes = [replace(wish, faults=kinds[wish.number % len(kinds)]) for wish in scanned(house)]
    unpaid = [replace(wish, number=wish.number + len(wishes), pays=False, faults={}) for wish in wishes[:FORGERIES]]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(house.sell_all(wishes, at_once=len(wishes)))
        for wish in unpaid:
            order = await house.till.create(wish, shop=house.shop_of(wish))
            await _forge(house, wish, order["trades"][0])


async def _forge(house: House, wish: Wish, trade: dict[str, str]) -> None:
    """A stranger says that it was paid, in the channel's own words: he knows all that an order's payer and shop know.

    Only the channel's key he does not have.
    """
    channel = trade["channel"]
    path = f"/notify/local/{channel}/{house.instance.accounts[channel]}"
    if channel == "alipay":
        body = urlencode(await _forged_fields(house, wish, trade["trade_no"]))
        headers = "Content-Type: application/x-www-form-urlencoded\r\n"
    else:
        body = f'{{"event_type":"TRANSACTION.SUCCESS","resource":{{"out_trade_no":"{trade["trade_no"]}"}}}}'
        headers = f"Content-Type: application/json\r\nWechatpay-Signature: {_SIGNATURE}\r\nWechatpay-Serial: 1\r\n"
    request = render_request(method="POST", path=path, headers=headers, body=body.encode())
    answer = await house.api.send(request, timeout_s=STEP_S_MAX)
    house.tell(f"a forgery of {channel} was answered {answer.status} {answer.body[:60]!r}")


async def _forged_fields(house: House, wish: Wish, trade_no: str) -> dict[str, str]:
    listed = await house.sandbox.get("/sandbox/accounts", timeout_s=STEP_S_MAX)
    account = next(one for one in listed.json()["accounts"] if one["channel"] == "alipay")
    now = datetime.now(_BEIJING).strftime("%Y-%m-%d %H:%M:%S")
    amount = f"{wish.amount_minor / 100:.2f}"
    return {
        "notify_time": now,
        "notify_type": "trade_status_sync",
        "notify_id": "f" * 34,
        "app_id": account["app_id"],
        "seller_id": account["seller_id"],
        "trade_no": "2026" + "0" * 24,
        "out_trade_no": trade_no,
        "trade_status": "TRADE_SUCCESS",
        "total_amount": amount,
        "receipt_amount": amount,
        "buyer_pay_amount": amount,
        "buyer_id": "2088000000000000",
        "gmt_payment": now,
        "sign_type": "RSA2",
        "sign": _SIGNATURE,
    }


async def _play_all_lost(house: House) -> None:
    wishes = house.drawn(house.options.orders, channel="wechat_v3", is_b2c=False, faults={"drop_notice": True})
    await house.sell_all(wishes, at_once=20)
    happened("a notice was sent", is_so=not any(trade.notices_sent_at for trade in house.ours()))


SCENARIOS: Final = (
    Scenario(
        name="notice before our first update",
        stands_for="the payer is faster than the channel's answer to us: the notice is about a trade not yet submitted",
        orders=6,
        play=_play_before_our_first_update,
    ),
    Scenario(
        name="killed after the commit",
        stands_for="a notice is committed and the process killed before it can say so or do anything else",
        orders=6,
        play=_play_killed_after_the_commit,
    ),
    Scenario(
        name="doubled, late and forged notices",
        stands_for="a channel that repeats itself, queues that hold messages back, and somebody who wants goods for nothing",
        orders=12,
        play=_play_doubled_late_and_forged,
    ),
    Scenario(
        name="every notice lost",
        stands_for="a channel's callbacks do not come for an hour: a firewall, a certificate, a wrong address",
        orders=40,
        play=_play_all_lost,
    ),
)
