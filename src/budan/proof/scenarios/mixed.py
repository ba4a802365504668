"""Everything at once: whole orders with faults by their odds, while programs are killed and the database goes away."""

import asyncio
from typing import Final

from budan.proof.drawing import longest_sooner
from budan.proof.house import House, happened
from budan.proof.scenarios.scenario import Scenario

# So many payers and shops act at the same time; every program has work when it dies.
AT_ONCE: Final = 24
# A long run keeps more of them busy, so that it ends.
AT_ONCE_MAX: Final = 96
ORDERS_FOR_EACH: Final = 100
TELL_EVERY_S: Final = 2.0
# So few payers may all have gone elsewhere, or have been refused.
FEW: Final = 3


async def _play(house: House) -> None:
    stop = asyncio.Event()
    options = house.options
    async with asyncio.TaskGroup() as tasks:
        if options.kill_every_s:
            tasks.create_task(house.violence.go_on(every_s=options.kill_every_s, seed=options.seed, stop=stop))
        telling = tasks.create_task(_tell(house))
        try:
            at_once = max(AT_ONCE, min(AT_ONCE_MAX, options.orders // ORDERS_FOR_EACH))
            await house.sell_all(longest_sooner(house.drawn(options.orders)), at_once=at_once)
        finally:
            stop.set()
            telling.cancel()
    _check(house)


def _check(house: House) -> None:
    """What was drawn must have been met: a fault that no payment had, and a kill that came to nobody, prove nothing."""
    options, met = house.options, house.ours()
    happened("nobody was killed", is_so=not options.kill_every_s or house.violence.kills > 0)
    for fault, count in (
        ("drop_notice", sum(trade.is_untold for trade in met)),
        ("double_notice", sum(len(trade.notices_sent_at) > 1 for trade in met)),
    ):
        drawn = sum(fault in wish.faults and wish.pays for wish in house.drawn(options.orders))
        house.tell(f"{fault}: drawn for {drawn} payers, met by {count} payments")
        happened(f"{drawn} orders drew {fault}, and none met it", is_so=count > 0 or drawn <= FEW)


async def _tell(house: House) -> None:
    while True:
        await asyncio.sleep(TELL_EVERY_S)
        paid = sum(trade.paid_at is not None for trade in house.truth.read())
        house.tell(f"{len(house.till.answers)} answers, {paid} payments at the channels, {house.violence.kills} kills")


SCENARIOS: Final = (
    Scenario(
        name="mixed",
        stands_for="a bad day: notices lost, doubled and late, answers lost, programs and database killed every few seconds",
        orders=200,
        shops=4,
        with_alone=True,
        play=_play,
    ),
)
