"""Machines whose clocks are wrong, and the moment in which a channel's day ends."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta, timezone
from typing import Final

from budan.proof.drawing import Wish
from budan.proof.house import House, happened
from budan.proof.scenarios.scenario import Scenario
from budan.proof.scenarios.wishes import SERVES, STEP_S_MAX, WORKERS, all_are_paid_here, both_ways, key_of, scanned
from budan.proof.truth import TradeKey

# Channels take signatures that are up to five minutes old, and so do we of theirs.
APART_S: Final = 240
BEHIND: Final = ("serve-1", "worker-1")
AHEAD: Final = ("serve-2", "worker-2")
_ID_EPOCH: Final = datetime(2025, 1, 1, tzinfo=UTC)
# Every machine but the database's, whose clock nobody can move from outside.
ALL_CLOCKS: Final = ("sandbox", *SERVES, *WORKERS)
# Channels sign with their clock, and nobody believes what is older than five minutes.
STALE_S: Final = 360.0
STALE_FOR_S: Final = 1.0
EARLY: Final = timedelta(minutes=10)
LAST_MOMENTS: Final = timedelta(seconds=3)
DELAYED_S: Final = 5.0
TYPING_S: Final = 12.0
# A charge without a word is reversed after 45 s, and asked about until then.
CHARGE_GIVEN_UP_S: Final = 60
_BEIJING: Final = timezone(timedelta(hours=8))


async def _play_clocks_apart(house: House) -> None:
    """One machine is behind, the other ahead, and the database's clock between them.

    Each takes half of the orders while the other's server rests, so that both surely take some; both repair what lost
    its notice.
    """
    wishes = [replace(wish, faults={"drop_notice": wish.number % 3 == 0}) for wish in both_ways(house)]
    halves = {BEHIND[0]: wishes[0::2], AHEAD[0]: wishes[1::2]}
    shifts = {**dict.fromkeys(BEHIND, -APART_S / 2), **dict.fromkeys(AHEAD, APART_S / 2)}
    async with house.violence.skewed(shifts) as clocks:
        for taking, half in halves.items():
            (resting,) = set(halves) - {taking}
            async with clocks.resting(resting):
                await house.sell_all(half, at_once=len(half))
        made_at = sorted(_ID_EPOCH + timedelta(milliseconds=trade.key.order_id >> 22) for trade in house.ours())
        apart_s = (made_at[-1] - made_at[0]).total_seconds()
        happened(f"the orders' ids are only {apart_s:.0f} s apart", is_so=apart_s > APART_S / 2)
        await house.pass_time(minutes=2)
        await all_are_paid_here(house)


async def _play_channel_clock_stops(house: House) -> None:
    """First every signature, payment and notice has the same moment; then an older one than anybody may believe.

    Alipay's notices carry no time that their proof depends on. WeChat's are true, and six minutes old.
    """
    wishes = scanned(house)
    half = len(wishes) // 2
    async with house.violence.skewed({"sandbox": 0.0}) as clocks:
        clocks.stop_clock("sandbox", behind_s=0)
        await house.sell_all(wishes[:half], at_once=half)
        await all_are_paid_here(house)
        moments = {trade.paid_at for trade in house.ours()}
        happened(f"{len(moments)} moments on a clock that stands still", is_so=len(moments) == 1)
        orders = [await house.till.create(wish, shop=house.shop_of(wish)) for wish in wishes[half:]]
        clocks.stop_clock("sandbox", behind_s=STALE_S)
        for order, wish in zip(orders, wishes[half:], strict=True):
            await house.till.pay(order, wish)
        stale = {key_of(order) for order in orders if order["trades"][-1]["channel"] == "wechat_v3"}

        async def all_are_told() -> bool:
            return all(trade.notices_sent_at for trade in house.ours() if trade.key in stale)

        await house.until(all_are_told, what="a stale notice of every payment by WeChat", timeout_s=STEP_S_MAX)
        await asyncio.sleep(STALE_FOR_S)
        taken = sum(trade.notices_acknowledged for trade in house.ours() if trade.key in stale)
        happened(f"{taken} stale notices were acknowledged", is_so=not taken)
        unsettled = await house.hands.list_unsettled(sorted(stale))
        happened(f"{len(stale - unsettled)} of them were believed", is_so=unsettled == stale and bool(stale))
        clocks.shift("sandbox", by_s=0.0)
        await house.pass_time(minutes=2)
        await all_are_paid_here(house)


async def _play_day_ends(house: House) -> None:
    """Paid in the last seconds of the channel's day; notices, questions and a reverse come on the next one."""
    charge = await _charge_of_yesterday(house)
    kinds = ({"delay_notice_s": DELAYED_S}, {"drop_notice": True})
    wishes = [replace(wish, faults=kinds[wish.number // 2 % 2]) for wish in scanned(house)]
    now = datetime.now(_BEIJING)
    midnight = datetime.combine(now.date(), time(), tzinfo=_BEIJING)
    to_midnight_s = (midnight - now).total_seconds()
    async with house.violence.skewed(dict.fromkeys(ALL_CLOCKS, to_midnight_s - EARLY.total_seconds())) as clocks:
        orders = [await house.till.create(wish, shop=house.shop_of(wish)) for wish in wishes]
        to_midnight_s = (midnight - datetime.now(_BEIJING) - LAST_MOMENTS).total_seconds()
        for name in ALL_CLOCKS:
            clocks.shift(name, by_s=to_midnight_s)
        for order, wish in zip(orders, wishes, strict=True):
            await house.till.pay(order, wish)
        keys = {key_of(order) for order in orders}
        paid_at = {trade.key: trade.paid_at for trade in house.ours() if trade.key in keys and trade.paid_at}
        late = [key for key, at in paid_at.items() if at >= midnight]
        happened(f"{len(late)} of {len(keys)} payers paid after midnight", is_so=not late and len(paid_at) == len(keys))
        early = keys - await house.hands.list_unsettled(sorted(keys))
        happened(f"{len(early)} payments were known before midnight", is_so=not early)
        await asyncio.sleep(LAST_MOMENTS.total_seconds())
        await house.pass_time(minutes=2)
        await all_are_paid_here(house)
    booked_at = await house.hands.list_paid_at(sorted(keys))
    wrong = [key for key, at in booked_at.items() if at.astimezone(_BEIJING).date() >= midnight.date()]
    happened(f"{len(wrong)} of {len(booked_at)} payments have the wrong day here", is_so=not wrong and bool(booked_at))
    await _has_its_end(house, charge)


async def _charge_of_yesterday(house: House) -> TradeKey:
    """IPaynow takes a reverse on the day of its charge only; this one's payer is still typing on the next."""
    wish = Wish(
        number=house.options.orders,
        channel="ipaynow",
        is_b2c=True,
        wait_s=1.0,
        faults={"user_paying_s": TYPING_S, "delay_notice_s": DELAYED_S},
    )
    order = await house.till.charge(wish, shop=house.shop_of(wish))
    happened(f"the charge is {order['payment_status']}", is_so=order["payment_status"] == "pending")
    await house.pass_time(days=1)
    return key_of(order)


async def _has_its_end(house: House, charge: TradeKey) -> None:
    """Nobody could reverse it, so its payment is a late one."""

    async def look() -> bool:
        await asyncio.sleep(1.0)
        await house.pass_time(seconds=CHARGE_GIVEN_UP_S)
        is_paid = any(trade.key == charge and trade.paid_at for trade in house.ours())
        return is_paid and not await house.hands.list_unsettled([charge])

    await house.until(look, what="the end of yesterday's charge", timeout_s=STEP_S_MAX)
    await house.bring_refunds_home()


SCENARIOS: Final = (
    Scenario(
        name="clocks apart",
        stands_for="two machines whose clocks are minutes apart take and repair the same orders",
        orders=16,
        play=_play_clocks_apart,
    ),
    Scenario(
        name="channel's clock stops",
        stands_for="a channel's clock stands still, and then minutes behind: what it signs is true and too old to believe",
        orders=8,
        play=_play_channel_clock_stops,
    ),
    Scenario(
        name="the day ends",
        stands_for="payers pay in the last seconds of the channel's day, and everything that tells of it comes on the next",
        orders=8,
        with_alone=True,
        play=_play_day_ends,
    ),
)
