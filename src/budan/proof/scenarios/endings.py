"""Orders that end here while their money is on its way."""

import asyncio
from dataclasses import replace
from typing import Final

from budan.proof.drawing import Wish
from budan.proof.house import House, happened
from budan.proof.scenarios.scenario import Scenario
from budan.proof.scenarios.wishes import STEP_S_MAX, key_of, scanned

# An order's life by default, and the time after the channel's expiry in which a clock may still be behind.
LIFE_MIN: Final = 15
SKEW_MIN: Final = 2
# How long a charge without a word waits before it is reversed.
REVERSED_AFTER_S: Final = 45
# Some of them end between the question and the cancel; on a very busy machine all have ended before, and others try.
TYPING_TURNS_MAX: Final = 3
TYPING_S_FIRST: Final = 1.6
TYPING_S_STEP: Final = 0.4
ANSWER_SLOW_S: Final = 1.2


async def _play_same_instant(house: House) -> None:
    """Payers pay one after another while the life of their orders ends for all at once."""
    wishes = [replace(wish, faults={"drop_notice": wish.number % 3 == 0}) for wish in scanned(house)]
    orders = [await house.till.create(wish, shop=house.shop_of(wish)) for wish in wishes]
    # Those whose code the wallet has open can still pay; one that was closed at the channel first is refused there.
    async with asyncio.TaskGroup() as tasks:
        ending = tasks.create_task(_end_in_the_middle(house))
        for order, wish in zip(orders, wishes, strict=True):
            code = order["trades"][0]["qr_text"]
            tasks.create_task(house.till.pay_by({"code_text": code}, wish))
            await asyncio.sleep(0.01)
        await ending
    paid = sum(trade.paid_at is not None for trade in house.ours())
    happened(f"{paid} of {len(wishes)} payers were in time", is_so=paid > 0)


async def _end_in_the_middle(house: House) -> None:
    await asyncio.sleep(0.01 * house.options.orders / 2)
    await house.pass_time(minutes=LIFE_MIN + 1)


async def _play_success_after_the_end(house: House) -> None:
    """Alipay knows nothing of a code that nobody has scanned; its clock is behind ours, and the payer scans it now."""
    wishes = [replace(wish, channel="alipay") for wish in scanned(house)]
    orders = [await house.till.create(wish, shop=house.shop_of(wish)) for wish in wishes]
    await _all_have_ended(house, state="expired")
    for order, wish in zip(orders, wishes, strict=True):
        await house.till.pay(order, wish)


async def _play_success_after_close(house: House) -> None:
    """The same, but the shop had closed the orders: it was told that nobody will pay, so the money goes back."""
    wishes = [replace(wish, channel="alipay") for wish in scanned(house)]
    orders = [await house.till.create(wish, shop=house.shop_of(wish)) for wish in wishes]
    for order, wish in zip(orders, wishes, strict=True):
        await house.till.close(order, shop=house.shop_of(wish))
    await _all_have_ended(house, state="closed")
    for order, wish in zip(orders, wishes, strict=True):
        await house.till.pay(order, wish)

    async def all_are_on_their_way_back() -> bool:
        return not await house.hands.list_unsettled([key_of(order) for order in orders])

    await house.until(all_are_on_their_way_back, what="every late payment's refund", timeout_s=STEP_S_MAX)
    await house.bring_refunds_home()
    kept = sum(bool(trade.kept_minor) for trade in house.ours())
    happened(f"{kept} closed orders kept their money", is_so=not kept)


async def _all_have_ended(house: House, *, state: str) -> None:
    """The lives of all orders are over, and so is the time in which the channel may be asked about them once more."""
    await house.pass_time(minutes=LIFE_MIN + SKEW_MIN + 1)

    async def look() -> bool:
        # The second question, which ends a code that is not known, comes some minutes after the first.
        await asyncio.sleep(1.0)
        await house.pass_time(minutes=LIFE_MIN)
        return await house.hands.list_states(house.merchant_ids) == {state}

    await house.until(look, what="the end of every order", timeout_s=STEP_S_MAX)


async def _play_returned_then_success(house: House) -> None:
    """Charges whose payers finish typing between our last question and our cancel; their notices come afterwards."""
    returned = 0
    for turn in range(TYPING_TURNS_MAX):
        await _cancel_while_payers_type(house, first_number=turn * house.options.orders)
        returned = sum(trade.is_returned for trade in house.ours())
        house.tell(f"{returned} payments were given back by a cancel")
        if returned:
            break
    happened("no cancel gave money back", is_so=returned > 0)


async def _cancel_while_payers_type(house: House, *, first_number: int) -> None:
    wishes = [
        Wish(
            number=first_number + number,
            channel="alipay",
            amount_minor=1_000 + number,
            is_b2c=True,
            wait_s=1.0,
            faults={"user_paying_s": TYPING_S_FIRST + number * TYPING_S_STEP, "delay_notice_s": 5.0},
        )
        for number in range(house.options.orders)
    ]
    await house.sell_all(wishes, at_once=len(wishes))
    with house.links.to_channel.slowed(ANSWER_SLOW_S):
        await house.pass_time(seconds=REVERSED_AFTER_S)

        async def all_have_ended() -> bool:
            return await house.hands.list_states(house.merchant_ids) <= {"paid", "closed"}

        await house.until(all_have_ended, what="the end of every charge", timeout_s=STEP_S_MAX)


async def _play_charge_not_heard_of(house: House) -> None:
    """The charge never reached the channel, or its answer never us; nobody knows which until the reverse is answered."""
    kinds = ("timeout_before_charge", "timeout_after_charge")
    wishes = [
        replace(wish, is_b2c=True, wait_s=1.0, faults={kinds[wish.number // 2 % 2]: True}) for wish in scanned(house)
    ]
    await house.sell_all(wishes, at_once=len(wishes))
    taken = sum(trade.paid_at is not None for trade in house.ours())
    happened(f"the channel took {taken} of {len(wishes)} charges", is_so=0 < taken < len(wishes))
    # Of what the channel took its notice may have come in time; of the others nobody here can know anything.
    unheard = sum(answer.payment_status == "pending" for answer in house.till.answers)
    happened(f"only {unheard} shops heard nothing", is_so=unheard >= len(wishes) - taken)
    await house.pass_time(seconds=REVERSED_AFTER_S)
    await asyncio.sleep(1.0)


SCENARIOS: Final = (
    Scenario(
        name="expiry and success at once",
        stands_for="the payer confirms in the very moment in which the order's time is over",
        orders=24,
        play=_play_same_instant,
    ),
    Scenario(
        name="success after the end",
        stands_for="the order has expired here, and the channel's clock lets its payer pay after that",
        orders=6,
        play=_play_success_after_the_end,
    ),
    Scenario(
        name="success after close",
        stands_for="the shop has closed the order and sent its customer away, and the payer pays the code, which is still at hand",
        orders=4,
        play=_play_success_after_close,
    ),
    Scenario(
        name="returned, then success",
        stands_for="a cancel gave the money back, and the notice of the payment comes after that",
        orders=18,
        play=_play_returned_then_success,
    ),
    Scenario(
        name="charge not heard of",
        stands_for="a charge of the payer's code got no answer: taken or not, the shop cannot wait",
        orders=8,
        play=_play_charge_not_heard_of,
    ),
)
