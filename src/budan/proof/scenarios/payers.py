"""Payers who do what nobody expects."""

import asyncio
from dataclasses import replace
from typing import Final

from budan.proof.drawing import Wish
from budan.proof.house import House, happened
from budan.proof.scenarios.scenario import Scenario
from budan.proof.scenarios.wishes import CHANNELS, scanned
from budan.proof.till import code_of


async def _play_two_wallets(house: House) -> None:
    """Every order is paid by WeChat and by Alipay in the same instant."""
    for wish in scanned(house):
        await _pay_twice(house, wish)
    paid = sum(trade.paid_at is not None for trade in house.ours())
    happened(f"{paid} payments of {house.options.orders} orders", is_so=paid == 2 * house.options.orders)


async def _pay_twice(house: House, wish: Wish) -> None:
    shop = house.shop_of(wish)
    order = await house.till.create_open(wish, shop=shop)
    codes: list[str] = []
    for channel in CHANNELS:
        await house.till.start_again(order, channel=channel)
        seen = await house.till.look(order, shop=shop)
        code = code_of(seen)
        happened(f"{channel} gave no code: {seen['trades']}", is_so=code is not None)
        codes.append(str(code))
    async with asyncio.TaskGroup() as tasks:
        for code in codes:
            tasks.create_task(house.till.pay_by({"code_text": code}, replace(wish, faults={})))


SCENARIOS: Final = (
    Scenario(
        name="two wallets",
        stands_for="husband and wife pay the same bill, he by WeChat and she by Alipay, in the same instant",
        orders=4,
        play=_play_two_wallets,
    ),
)
