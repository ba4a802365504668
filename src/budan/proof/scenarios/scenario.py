"""What a scenario is: a way in which other systems lose orders, and how it is played here."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from budan.proof.house import House


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A named failure. `stands_for` is the real one; `orders` how many it has unless somebody says otherwise.

    `play` returns when the failure is over, and raises StepFailed when it did not take place; then everybody waits for
    rest, and the records are compared.
    """

    name: str
    stands_for: str
    orders: int
    play: Callable[[House], Awaitable[None]]
    shops: int = 1
    # Whether the merchants of one channel alone take part; only one scenario at a time may have them.
    with_alone: bool = False
