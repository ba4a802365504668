"""Orders that several scenarios wish for, and what they wait for."""

from typing import Any, Final

from budan.proof.drawing import Wish
from budan.proof.house import House
from budan.proof.truth import TradeKey, parse_trade_no

STEP_S_MAX: Final = 60.0
SERVES: Final = ("serve-1", "serve-2")
WORKERS: Final = ("worker-1", "worker-2")
CHANNELS: Final = ("wechat_v3", "alipay")


def scanned(house: House, *, part: int = 0, parts: int = 1) -> list[Wish]:
    """One of so many parts of the scenario's orders; payers of both channels scan the shop's code."""
    numbers = range(part, house.options.orders, parts)
    return [Wish(number=number, channel=CHANNELS[number % 2], amount_minor=1_000 + number) for number in numbers]


def key_of(order: dict[str, Any]) -> TradeKey:
    """The newest attempt of an order as budan told it."""
    return parse_trade_no(order["trades"][-1]["trade_no"])


def both_ways(house: House) -> list[Wish]:
    """Orders of both channels; of half of them the shop scans the payer's code."""
    return [
        Wish(number=number, channel=CHANNELS[number % 2], is_b2c=number % 4 > 1, amount_minor=1_000 + number)
        for number in range(house.options.orders)
    ]


async def all_are_placed(house: House, *, count: int) -> None:
    """So many orders are at their channels."""

    async def look() -> bool:
        return len(house.ours()) >= count

    await house.until(look, what="every order at its channel", timeout_s=STEP_S_MAX)


async def all_are_paid_here(house: House) -> None:
    """Whatever the channels took is completed, or booked as what it is."""

    async def look() -> bool:
        paid = [trade.key for trade in house.ours() if trade.paid_at is not None]
        return not await house.hands.list_unsettled(paid)

    await house.until(look, what="every payment completed", timeout_s=STEP_S_MAX)
