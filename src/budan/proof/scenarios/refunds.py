"""Money that goes back: later than anybody waits for, or before anybody here knows that it came."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Final

from budan.proof.drawing import Wish
from budan.proof.house import House, happened
from budan.proof.scenarios.scenario import Scenario
from budan.proof.scenarios.wishes import STEP_S_MAX, WORKERS, all_are_paid_here, key_of, scanned

# The channel takes so long; meanwhile all the days pass in which a refund is asked about sooner than once a day.
TAKES_S: Final = 6.0
LADDER_DAYS: Final = 2
LADDER_STEPS: Final = 10
DELAYED_S: Final = 4.0


async def _play_after_we_gave_up(house: House) -> None:
    """The answer is lost, the notice too, and the channel is not done before our ladder of questions is at its end."""
    faults = {"timeout_after_charge": True, "drop_notice": True, "refund_takes_s": TAKES_S}
    wishes = [replace(wish, refunds_minor=(wish.amount_minor,), refund_faults=faults) for wish in scanned(house)]
    await house.sell_all(wishes, at_once=len(wishes))

    async def all_are_asked_for() -> bool:
        return sum(bool(trade.refunds_minor) for trade in house.ours()) == len(wishes)

    await house.until(all_are_asked_for, what="every refund at its channel", timeout_s=STEP_S_MAX)
    for _ in range(LADDER_STEPS):
        await house.hasten_refunds(days=LADDER_DAYS)
        await asyncio.sleep(TAKES_S / 3 / LADDER_STEPS)
    early = sum(bool(trade.refunded_minor) for trade in house.ours())
    happened(f"the channel had ended {early} refunds before we gave up", is_so=not early)
    open_count = await house.hands.count_refunds_open(house.merchant_ids)
    happened(f"{open_count} of {len(wishes)} refunds had no end here", is_so=open_count == len(wishes))
    await asyncio.sleep(TAKES_S)
    await house.bring_refunds_home()


async def _play_first_news_is_refunded(house: House) -> None:
    """A person gives the money back at the channel before anything here has heard that it came.

    Of half of the payments the notice comes after the refund's, of the others never.
    """
    kinds = ({"delay_notice_s": DELAYED_S}, {"drop_notice": True})
    wishes = [replace(wish, faults=kinds[wish.number // 2 % 2]) for wish in scanned(house)]
    orders = [await house.till.create(wish, shop=house.shop_of(wish)) for wish in wishes]
    async with AsyncExitStack() as asleep:
        for name in WORKERS:
            await asleep.enter_async_context(house.violence.paused(name))
        for order, wish in zip(orders, wishes, strict=True):
            await house.till.pay(order, wish)
            await house.till.refund_by_portal(order, amount_minor=_given_back(wish))
        sold = zip(orders, wishes, strict=True)
        by_wechat = [key_of(order) for order, wish in sold if wish.channel == "wechat_v3"]

        async def refunds_are_told() -> bool:
            return not await house.hands.list_unsettled(by_wechat)

        # WeChat tells of a refund by a notice of its own, which proves the payment; Alipay repeats the payment's.
        await house.until(refunds_are_told, what="every payment that its refund proves", timeout_s=STEP_S_MAX)
        told = sum(bool(trade.notices_sent_at) for trade in house.ours() if trade.key in by_wechat)
        happened(f"{told} payments were told before their refunds", is_so=not told)
    # As long as notices come, one that is lost is asked about after 90 s.
    await house.pass_time(minutes=2)
    await all_are_paid_here(house)


def _given_back(wish: Wish) -> int:
    """All of it, or a part."""
    return wish.amount_minor if wish.number % 3 else wish.amount_minor // 2


SCENARIOS: Final = (
    Scenario(
        name="refund after we gave up",
        stands_for="a refund without an answer is given up here after days, and the channel carries it out after that",
        orders=6,
        play=_play_after_we_gave_up,
    ),
    Scenario(
        name="first news is refunded",
        stands_for="somebody gives a payment back in the channel's portal before its notice has come",
        orders=8,
        play=_play_first_news_is_refunded,
    ),
)
