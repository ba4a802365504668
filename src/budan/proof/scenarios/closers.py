"""Workers that die while they end what nobody shall pay any more."""

import asyncio
from functools import partial
from typing import Any, Final

from budan.proof.drawing import Wish
from budan.proof.house import House, happened
from budan.proof.link import Passing
from budan.proof.scenarios.endings import REVERSED_AFTER_S
from budan.proof.scenarios.scenario import Scenario
from budan.proof.scenarios.wishes import CHANNELS, STEP_S_MAX, WORKERS, key_of
from budan.proof.truth import TradeKey

# What closes or reverses, by its words on the wire: WeChat's paths, Alipay's methods.
ENDINGS: Final = (b"/close ", b"/reverse ", b"alipay.trade.close", b"alipay.trade.cancel")
# Longer than the scenario takes: half of them confirm when they are told to, the others never do.
TYPING_S: Final = 600.0


def _wished(house: House) -> list[Wish]:
    """WeChat's codes, which are closed, and Alipay's charges, which are reversed, half of them confirmed meanwhile.

    Alipay knows no code that nobody has scanned, and WeChat reverses nothing in a charge's first 15 s by its own clock.
    """
    return [
        Wish(
            number=number,
            channel=CHANNELS[number % 2],
            amount_minor=1_000 + number,
            is_b2c=number % 2 == 1,
            pays=number % 2 == 1,
            wait_s=1.0,
            faults={"user_paying_s": TYPING_S} if number % 2 else {},
        )
        for number in range(house.options.orders)
    ]


async def _play(house: House) -> None:
    """Killed with every intent saved and no call heard; then with every call heard and no answer saved."""
    wishes = _wished(house)
    shop = house.shop
    orders = await asyncio.gather(*(house.till.sell(wish, shop=shop) for wish in wishes))
    sold = list(zip(orders, wishes, strict=True))
    trade_nos = [order["trades"][-1]["trade_no"] for order in orders]
    with house.links.to_channel.holding(*ENDINGS) as held:
        for order, wish in sold:
            if not wish.is_b2c:
                await house.till.close(order, shop=shop)
        await house.pass_time(seconds=REVERSED_AFTER_S)

        async def all_are_tried() -> bool:
            return all(held.names(trade_no) for trade_no in trade_nos)

        await house.until(all_are_tried, what="a close or a reverse of every trade", timeout_s=STEP_S_MAX)
        ended = sum(trade.is_ended for trade in house.ours())
        happened(f"{ended} were ended at the channel before the first kill", is_so=not ended)
        held.forget()
        await _kill_workers(house)
        await house.until(all_are_tried, what="another try by those who follow", timeout_s=STEP_S_MAX)
        confirmed = await _pay_meanwhile(house, sold)
    house.tell(f"{len(confirmed)} payers paid codes that are being closed, others confirmed their charges")
    with house.links.to_channel.passing(Passing.REQUESTS_ONLY):

        async def all_are_ended() -> bool:
            return all(trade.is_ended or trade.key in confirmed for trade in house.ours())

        await house.until(all_are_ended, what="the end of every other trade at its channel", timeout_s=STEP_S_MAX)
        states = await house.hands.list_states(house.merchant_ids)
        happened(f"an end was written before the second kill: {states}", is_so="closed" not in states)
        await _kill_workers(house)
    await house.until(partial(_have_ended, house), what="the end of every order", timeout_s=STEP_S_MAX)
    returned = sum(trade.is_returned for trade in house.ours())
    happened("no reverse gave money back", is_so=returned > 0)


async def _kill_workers(house: House) -> None:
    for name in WORKERS:
        await house.violence.kill_and_wait(name)


async def _pay_meanwhile(house: House, sold: list[tuple[dict[str, Any], Wish]]) -> set[TradeKey]:
    """Half of the codes are paid, which are to be closed; gives those. Half of the charges are confirmed."""
    paid = [(order, wish) for order, wish in sold if not wish.is_b2c and wish.number // 2 % 2]
    for order, wish in paid:
        await house.till.pay(order, wish)
    # Told, not timed: one who confirms before the reverse is tried completes the order, and on a busy machine some did.
    for order in (order for order, wish in sold if wish.is_b2c and not wish.number // 2 % 2):
        await house.till.confirm(order)
    return {key_of(order) for order, _ in paid}


async def _have_ended(house: House) -> bool:
    return await house.hands.list_states(house.merchant_ids) <= {"paid", "closed"}


SCENARIOS: Final = (
    Scenario(
        name="closer killed",
        stands_for="a worker is killed when it means to close or reverse, or has, and payers pay meanwhile",
        # Three of each channel: lost answers are failures, five of which open an account's breaker, and one that is open
        # lets through one try in two seconds, so that the last trade waited for more than the step's minute.
        orders=6,
        play=_play,
    ),
)
