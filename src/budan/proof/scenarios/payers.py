"""Payers who do what nobody expects."""

import asyncio
from dataclasses import replace
from typing import Final

from budan.proof.drawing import Wish
from budan.proof.house import House, happened
from budan.proof.scenarios.scenario import Scenario
from budan.proof.scenarios.wishes import CHANNELS, STEP_S_MAX, scanned
from budan.proof.till import code_of

DELAYED_S: Final = 4.0


async def _play_two_wallets(house: House) -> None:
    """Every order is paid by WeChat and by Alipay in the same instant."""
    for wish in scanned(house):
        async with asyncio.TaskGroup() as tasks:
            for code in await _choose_both(house, wish):
                tasks.create_task(house.till.pay_by({"code_text": code}, replace(wish, faults={})))
    paid = sum(trade.paid_at is not None for trade in house.ours())
    happened(f"{paid} payments of {house.options.orders} orders", is_so=paid == 2 * house.options.orders)


async def _choose_both(house: House, wish: Wish) -> list[str]:
    """An order with a code for each wallet."""
    shop = house.shop_of(wish)
    order = await house.till.create_open(wish, shop=shop)
    codes: list[str] = []
    for channel in CHANNELS:
        await house.till.start_again(order, channel=channel)
        seen = await house.till.look(order, shop=shop)
        code = code_of(seen)
        happened(f"{channel} gave no code: {seen['trades']}", is_so=code is not None)
        codes.append(str(code))
    return codes


async def _play_reordered(house: House) -> None:
    """Every order is paid by two wallets, one after the other, and the payment that came second is told first."""
    for wish in scanned(house):
        first, second = await _choose_both(house, wish)
        await house.till.pay_by({"code_text": first}, replace(wish, faults={"delay_notice_s": DELAYED_S}))
        await house.till.pay_by({"code_text": second}, replace(wish, faults={}))

    async def all_are_told() -> bool:
        return all(trade.notices_sent_at for trade in house.ours())

    await house.until(all_are_told, what="every notice", timeout_s=STEP_S_MAX)
    told = {trade.key: (trade.paid_at, trade.notices_sent_at[0]) for trade in house.ours()}
    pairs = [[told[key] for key in told if key.order == order] for order in {key.order for key in told}]
    wrong = sum(sorted(pair) != sorted(pair, key=lambda one: one[1], reverse=True) for pair in pairs)
    happened(
        f"{wrong} of {len(pairs)} orders were told in order", is_so=not wrong and len(pairs) == house.options.orders
    )


SCENARIOS: Final = (
    Scenario(
        name="two wallets",
        stands_for="husband and wife pay the same bill, he by WeChat and she by Alipay, in the same instant",
        orders=4,
        play=_play_two_wallets,
    ),
    Scenario(
        name="reordered notices",
        stands_for="the news of two payments of one order comes in the other order",
        orders=4,
        play=_play_reordered,
    ),
)
