"""Senders that die, sleep or hear nothing between the intent, the call and its answer."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Final

from budan.proof.drawing import Wish
from budan.proof.house import House, happened
from budan.proof.link import Passing
from budan.proof.scenarios.scenario import Scenario
from budan.proof.scenarios.wishes import SERVES, STEP_S_MAX, all_are_placed, both_ways

# Longer than the send window of every channel that is played here, and than any doubt about it.
PAUSE_S: Final = 15.0
# A trade of which no answer was heard.
UNHEARD: Final = frozenset({"created", "unknown"})


async def _intents_are_there(house: House, wishes: list[Wish]) -> None:
    for wish in wishes:
        shop = house.shop_of(wish)
        await house.hands.wait_trade(shop=shop, reference=house.till.reference(wish, shop=shop), timeout_s=STEP_S_MAX)


async def _play_died_before_the_call(house: House) -> None:
    wishes = both_ways(house)
    async with asyncio.TaskGroup() as tasks:
        with house.links.to_channel.passing(Passing.NOTHING):
            selling = tasks.create_task(house.sell_all(wishes, at_once=len(wishes)))
            await _intents_are_there(house, wishes)
            happened("a request reached the channel", is_so=not house.ours())
            for name in SERVES:
                await house.violence.kill_and_wait(name)
        await selling


async def _play_paused_sender(house: House) -> None:
    """The programs sleep with intents that no channel has heard of; they wake, and shops repeat, after the windows."""
    wishes = [replace(wish, is_b2c=False) for wish in both_ways(house)]
    async with asyncio.TaskGroup() as tasks, AsyncExitStack() as asleep:
        with house.links.to_channel.passing(Passing.NOTHING):
            selling = tasks.create_task(house.sell_all(wishes, at_once=len(wishes)))
            await _intents_are_there(house, wishes)
            for name in SERVES:
                await asleep.enter_async_context(house.violence.paused(name))
        await asyncio.sleep(PAUSE_S)
        await asleep.aclose()
        await selling
    unsent = await house.hands.count_trades(house.merchant_ids) - len(house.ours())
    happened(f"{unsent} of {len(wishes)} first attempts were never sent", is_so=unsent == len(wishes))


async def _play_died_after_the_charge(house: House) -> None:
    wishes = [replace(wish, faults={"timeout_after_charge": True}) for wish in both_ways(house)]
    async with asyncio.TaskGroup() as tasks:
        selling = tasks.create_task(house.sell_all(wishes, at_once=len(wishes)))
        await all_are_placed(house, count=len(wishes))
        unheard = await _count_unheard(house, wishes)
        for name in SERVES:
            await house.violence.kill_and_wait(name)
        happened("no answer was held back when the servers died", is_so=unheard > 0)
        await selling


async def _count_unheard(house: House, wishes: list[Wish]) -> int:
    """How many of the orders are at their channel, while nothing here knows more than that they may be."""
    rows = [
        await house.hands.list_trades(
            shop=house.shop_of(wish), reference=house.till.reference(wish, shop=house.shop_of(wish))
        )
        for wish in wishes
    ]
    return sum(bool(trades) and trades[-1].state in UNHEARD for trades in rows)


async def _play_timeout_after_charge(house: House) -> None:
    kinds = ("timeout_after_charge", "busy")
    wishes = [replace(wish, faults={kinds[wish.number // 4 % 2]: True}) for wish in both_ways(house)]
    await house.sell_all(wishes, at_once=len(wishes))
    # After some of these the breaker lets nothing through for a while; what was not sent is no answer that was lost.
    happened("hardly an order reached its channel", is_so=len(house.ours()) >= len(wishes) // 2)


SCENARIOS: Final = (
    Scenario(
        name="died before the call",
        stands_for="the gateway is killed after it saved what it wants to send, and before it sent it",
        orders=8,
        play=_play_died_before_the_call,
    ),
    Scenario(
        name="paused sender",
        stands_for="a virtual machine is suspended between saving and sending, and sends when everybody has given up",
        orders=6,
        play=_play_paused_sender,
    ),
    Scenario(
        name="died after the charge",
        stands_for="the gateway is killed when the channel has the money and nobody has its answer",
        orders=8,
        play=_play_died_after_the_charge,
    ),
    Scenario(
        name="time-out after the charge",
        stands_for="the channel takes the order or the money, and its answer never comes or says `system error`",
        orders=8,
        play=_play_timeout_after_charge,
    ),
)
