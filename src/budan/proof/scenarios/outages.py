"""Workers, databases, channels and accounts that are away while payers pay."""

import asyncio
from dataclasses import replace
from functools import partial
from typing import Final

from budan.proof.drawing import Wish
from budan.proof.house import House, happened
from budan.proof.link import Passing
from budan.proof.records import read_webhooks
from budan.proof.scenarios.scenario import Scenario
from budan.proof.scenarios.wishes import CHANNELS, STEP_S_MAX, WORKERS, all_are_paid_here, scanned

AT_ONCE: Final = 12
DATABASE_DOWN_S: Final = 4.0
CHANNEL_DOWN_S: Final = 4.0
CHANNEL_SLOW_S: Final = 1.5
SLOW_FOR_S: Final = 4.0
LONG_LIFE_S: Final = 7_200
BACK_MIN: Final = 12
_UNAVAILABLE: Final = 503


async def _play_killed_deliverer(house: House) -> None:
    """A third of the orders for each moment: before, during and after the sending."""
    before, during, after = (scanned(house, part=part, parts=3) for part in range(3))
    async with house.violence.paused(WORKERS[0]), house.violence.paused(WORKERS[1]):
        await house.sell_all(before, at_once=AT_ONCE)
        await all_are_paid_here(house)
        for name in WORKERS:
            await house.violence.kill(name)
    async with house.violence.paused("merchant"):
        await house.sell_all(during, at_once=AT_ONCE)
        await all_are_paid_here(house)
        await house.violence.kill_and_wait(WORKERS[0])
        await house.violence.kill_and_wait(WORKERS[1])
    async with house.hands.holding_outcomes():
        await house.sell_all(after, at_once=AT_ONCE)
        wanted = _references(house, after)

        async def all_are_told() -> bool:
            return wanted <= {event.order.reference for event in read_webhooks(house.instance.events_file)}

        await house.until(all_are_told, what="every event taken", timeout_s=STEP_S_MAX)
        happened("an outcome was kept", is_so=await house.hands.count_webhooks_due(house.merchant_ids) >= len(after))
        for name in WORKERS:
            await house.violence.kill_and_wait(name)


async def _play_killed_holder(house: House) -> None:
    """Both workers die in turn, again and again, while questions are due in the lanes that they hold."""
    wishes = house.drawn(house.options.orders, is_b2c=False, pays=True, faults={"drop_notice": True})
    async with asyncio.TaskGroup() as tasks:
        selling = tasks.create_task(house.sell_all(wishes, at_once=AT_ONCE))
        for name in WORKERS:
            await asyncio.sleep(1.0)
            waiting = await house.hands.count_questions(house.merchant_ids)
            happened(f"{name} died while nothing was to be asked", is_so=waiting > 0)
            before = house.violence.kills
            await house.violence.kill(name)
            happened(f"{name} was not there to be killed", is_so=house.violence.kills == before + 1)
        await selling


async def _play_workers_down(house: House) -> None:
    wishes = [replace(wish, faults={"drop_notice": wish.number % 4 > 1}) for wish in scanned(house)]
    async with house.violence.stopped(*WORKERS):
        await house.sell_all(wishes, at_once=AT_ONCE)
        await house.pass_time(days=1)
        lost = [trade.key for trade in house.ours() if trade.is_untold]
        unsettled = await house.hands.list_unsettled(lost)
        happened(f"{len(unsettled)} of {len(lost)} lost notices were missed", is_so=len(unsettled) == len(lost) > 0)
        told = sum(
            event.order.reference in _references(house, wishes) for event in read_webhooks(house.instance.events_file)
        )
        happened(f"{told} events were told by nobody", is_so=not told)


def _references(house: House, wishes: list[Wish]) -> set[str]:
    return {house.till.reference(wish, shop=house.shop_of(wish)) for wish in wishes}


async def _play_database_down(house: House) -> None:
    """Payers pay on: notices are refused, shops hear that budan is away and ask again."""
    early, late = (house.drawn(house.options.orders // 2 * 2)[part::2] for part in range(2))
    async with asyncio.TaskGroup() as tasks:
        # At once, so that no program of ours meets the outage without having seen its accounts.
        creating = [house.till.create(replace(wish, pays=True), shop=house.shop_of(wish)) for wish in early]
        orders = await asyncio.gather(*creating)
        async with house.violence.database_down(crashed=True):
            for order, wish in zip(orders, early, strict=True):
                tasks.create_task(house.till.pay(order, wish))
            tasks.create_task(house.sell_all(late, at_once=AT_ONCE))
            await house.until(partial(_is_away, house), what="a server without database", timeout_s=STEP_S_MAX)
            await asyncio.sleep(DATABASE_DOWN_S)
        await house.pass_time(minutes=1)


async def _is_away(house: House) -> bool:
    """Whether a server says by itself that it can take nothing."""
    return (await house.api.get("/readyz", timeout_s=STEP_S_MAX)).status == _UNAVAILABLE


async def _play_channel_down(house: House) -> None:
    wishes = [replace(wish, faults={"drop_notice": True}, expires_in_s=LONG_LIFE_S) for wish in scanned(house)]
    late = [replace(wish, number=wish.number + len(wishes)) for wish in wishes]
    orders = [await house.till.create(wish, shop=house.shop_of(wish)) for wish in wishes]
    async with asyncio.TaskGroup() as tasks:
        with house.links.to_channel.passing(Passing.BROKEN):
            for order, wish in zip(orders, wishes, strict=True):
                await house.till.pay(order, wish)
            selling = tasks.create_task(house.sell_all(late, at_once=AT_ONCE))
            await asyncio.sleep(CHANNEL_DOWN_S)
            await house.pass_time(hours=1)
            await asyncio.sleep(CHANNEL_DOWN_S)
            unsettled = await house.hands.list_unsettled([trade.key for trade in house.ours()])
            happened("somebody got through", is_so=len(unsettled) == len(wishes))
        with house.links.to_channel.slowed(CHANNEL_SLOW_S):
            await asyncio.sleep(SLOW_FOR_S)
        await selling
    # An order of this age is asked about every few minutes; what is not healed after these, the audit counts as lost.
    for _ in range(BACK_MIN):
        await house.pass_time(minutes=1)
        await asyncio.sleep(0.5)


async def _play_account_disabled(house: House) -> None:
    wishes = [replace(wish, faults={"drop_notice": wish.number % 4 > 1}) for wish in scanned(house)]
    orders = [await house.till.create(wish, shop=house.shop_of(wish)) for wish in wishes]
    async with house.hands.accounts_disabled():
        await house.until(partial(_takes_none, house), what="an order that no account takes", timeout_s=STEP_S_MAX)
        for order, wish in zip(orders, wishes, strict=True):
            await house.till.pay(order, wish)
        # As long as notices come, one that is lost is asked about after 90 s.
        await house.pass_time(minutes=2)
        await all_are_paid_here(house)


async def _takes_none(house: House) -> bool:
    """Whether a new order is refused because no account is in use; one that is taken meanwhile nobody pays."""
    body = {
        "reference": f"{house.shop.merchant_id}-nobody",
        "amount_minor": 1_000,
        "currency": "CNY",
        "subject": "Prove",
        "payment": {"method": "native", "channel": CHANNELS[0]},
    }
    answer = await house.api.post("/v1/orders", body, headers=house.shop.headers, timeout_s=STEP_S_MAX)
    return b"no_account" in answer.body


SCENARIOS: Final = (
    Scenario(
        name="deliverer killed",
        stands_for="the process that tells merchants is killed before, during and after the sending",
        orders=9,
        play=_play_killed_deliverer,
    ),
    Scenario(
        name="worker killed",
        stands_for="a worker dies with the lanes that it holds, and the questions that were due there",
        orders=24,
        shops=4,
        play=_play_killed_holder,
    ),
    Scenario(
        name="workers down for a day",
        stands_for="nobody noticed that no worker runs: a day of lost notices and untold merchants",
        orders=12,
        play=_play_workers_down,
    ),
    Scenario(
        name="database down",
        stands_for="the database crashes and is away for a minute while payers pay",
        orders=24,
        play=_play_database_down,
    ),
    Scenario(
        name="channel down, slow, back",
        stands_for="a channel cannot be reached for an hour, then answers slowly, then well; its notices are lost meanwhile",
        orders=8,
        play=_play_channel_down,
    ),
    Scenario(
        name="account disabled",
        stands_for="somebody switches a channel account off while its codes are being paid",
        orders=8,
        play=_play_account_disabled,
    ),
)
