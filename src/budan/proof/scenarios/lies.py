"""A channel whose answers are about somebody else, or about another sum."""

import asyncio
from dataclasses import replace
from typing import Final

from budan.proof.house import House, happened
from budan.proof.scenarios.scenario import Scenario
from budan.proof.scenarios.wishes import STEP_S_MAX, key_of, scanned

ASKED_AGAIN_MIN: Final = 2
# No order may end meanwhile: what ends it asks too.
LIFE_S: Final = 86_400
# An answer that the sandbox has given is judged here within this time.
BOOKED_S: Final = 2.0


async def _play_lying_queries(house: House) -> None:
    """Every notice is lost, so that the answers to our questions are all that tells of the payments."""
    lies = ({"wrong_merchant": True}, {"amount_off_minor": -1})
    wishes = [
        replace(wish, faults={"drop_notice": True, **lies[wish.number // 2 % 2]}, expires_in_s=LIFE_S)
        for wish in scanned(house)
    ]
    orders = await house.sell_all(wishes, at_once=len(wishes))

    heard = {key_of(order): 0 for order in orders}

    async def all_are_asked_about() -> bool:
        await asyncio.sleep(1.0)
        await house.pass_time(minutes=ASKED_AGAIN_MIN)
        heard.update({trade.key: trade.queries for trade in house.ours()})
        return all(heard.values())

    await house.until(all_are_asked_about, what="a question about every payment", timeout_s=STEP_S_MAX)
    await asyncio.sleep(BOOKED_S)
    states = await house.hands.list_states(house.merchant_ids)
    happened(f"the lies were believed, or the notices heard: {states}", is_so=states == {"paying"})
    for order in orders:
        await house.till.end_lies(order)

    async def all_are_completed() -> bool:
        await asyncio.sleep(1.0)
        await house.pass_time(minutes=ASKED_AGAIN_MIN)
        # What a lie has put into suspense is settled as far as the audit knows; the truth has to complete it as well.
        return len(await house.hands.list_paid_at(list(heard))) == len(heard)

    await house.until(
        all_are_completed, what="every payment completed once the channel tells the truth", timeout_s=STEP_S_MAX
    )


SCENARIOS: Final = (
    Scenario(
        name="lying answers",
        stands_for="a question is answered about another merchant's payment, or about another amount",
        orders=8,
        play=_play_lying_queries,
    ),
)
