"""What a scenario plays with: an instance, shops of its own, a till, violence and time."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from budan.proof.client import Client
from budan.proof.drawing import Mix, Wish, draw
from budan.proof.hands import Hands
from budan.proof.instance import Instance, Links, Shop
from budan.proof.steps import StepFailed
from budan.proof.till import NoCode, Till
from budan.proof.truth import TradeKey, TrueTrade, TruthReader
from budan.proof.violence import Violence

CONNECTIONS_MAX: Final = 64
SANDBOX_S_MAX: Final = 20.0
# What nobody knows of is sent again half a minute after its first sending at the earliest.
HASTENED_EACH_S: Final = 1.0
HASTENED_MAX: Final = 40
# Above a refund's last rung: each question that is hastened climbs its ladder.
HASTENED_DAYS: Final = 2
_OK: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a scenario is played: the seed, and how much of it where it has a choice."""

    seed: int
    orders: int
    mix: Mix
    kill_every_s: float
    patience_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """One scenario's view of an instance. `shops` are its own: nobody else's orders are judged with it."""

    instance: Instance
    options: Options
    shops: tuple[Shop, ...]
    # Merchants of one channel alone, by that channel, where the scenario plays them too.
    alone: Mapping[str, Shop]
    till: Till
    violence: Violence
    hands: Hands
    truth: TruthReader
    sandbox: Client
    api: Client
    tell: Callable[[str], None]
    # Orders that could not be sold; each is a broken promise of the scenario.
    failures: list[str]
    # Orders whose payers went elsewhere, because no code came while everything was down.
    unsold: list[str]
    # Until when intents might be sent, before time passed for them.
    windows: dict[TradeKey, datetime]

    @property
    def links(self) -> Links:
        """The lines that can be cut."""
        assert self.instance.links is not None, "a proof's instance is linked"
        return self.instance.links

    @property
    def shop(self) -> Shop:
        """The shop of a scenario that needs one."""
        return self.shops[0]

    @property
    def merchant_ids(self) -> list[int]:
        """Whose orders are judged."""
        return [shop.merchant_id for shop in (*self.shops, *self.alone.values())]

    def ours(self) -> list[TrueTrade]:
        """What the channels know of this scenario's orders by now."""
        wanted = set(self.merchant_ids)
        return [trade for trade in self.truth.read() if trade.merchant_id in wanted]

    def shop_of(self, wish: Wish) -> Shop:
        """Which of the shops sells it."""
        return self.alone.get(wish.channel) or self.shops[wish.number % len(self.shops)]

    def drawn(self, count: int, **changes: Any) -> list[Wish]:
        """Orders of the seed, with what this scenario wants of each."""
        wishes = [draw(self.options.mix, seed=self.options.seed, number=number) for number in range(count)]
        return [replace(wish, **changes) for wish in wishes]

    async def sell_all(self, wishes: Sequence[Wish], *, at_once: int) -> list[dict[str, Any]]:
        """All of these, so many at the same time; what could not be sold is kept in `failures`."""
        left = iter(wishes)
        sold: list[dict[str, Any]] = []

        async def sell() -> None:
            for wish in left:
                try:
                    order = await self.till.sell(wish, shop=self.shop_of(wish))
                except NoCode as gone:
                    self.unsold.append(f"order {wish.number}: {gone}")
                except StepFailed as failed:
                    self.failures.append(f"order {wish.number}: {failed}")
                else:
                    sold.append(order)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(at_once, len(wishes))):
                tasks.create_task(sell())
        return sold

    async def pass_time(self, **span: float) -> None:
        """Time passes for what the orders of this scenario wait for."""
        by = timedelta(**span)
        before = await self.hands.pass_time(self.merchant_ids, by=by)
        # The first that was seen is the one that was promised.
        self.windows.update({key: until for key, until in before.items() if key not in self.windows})
        self.tell(f"{by} have passed for what waits in the database")

    async def hasten_refunds(self, **span: float) -> None:
        """Time passes for the next steps of this scenario's refunds, and for nothing else."""
        await self.hands.hasten_refunds(self.merchant_ids, by=timedelta(**span))

    async def bring_refunds_home(self) -> None:
        """Returns when no refund is open, or none has come home for too long."""
        for _ in range(HASTENED_MAX):
            if not await self.hands.count_refunds_open(self.merchant_ids):
                return
            await asyncio.sleep(HASTENED_EACH_S)
            await self.hasten_refunds(days=HASTENED_DAYS)

    async def hurry_refunds(self) -> None:
        """Until it is cancelled: one that was interrupted is asked about after minutes, for it hurries nobody else."""
        while True:
            await asyncio.sleep(HASTENED_EACH_S)
            await self.hasten_refunds(days=HASTENED_DAYS)

    @asynccontextmanager
    async def odds(self, **odds: float) -> AsyncGenerator[None]:
        """Inside, the sandbox draws faults by these odds for whom nobody chose any."""
        await self._set_odds(odds)
        try:
            yield
        finally:
            await self._set_odds({})

    async def until(self, look: Callable[[], Awaitable[bool]], *, what: str, timeout_s: float) -> None:
        """Returns as soon as it is so; raises StepFailed: then the scenario did not happen."""
        until_s = asyncio.get_running_loop().time() + timeout_s
        while not await look():
            if asyncio.get_running_loop().time() > until_s:
                raise StepFailed(f"waited {timeout_s:g} s in vain for {what}")
            await asyncio.sleep(0.05)

    async def _set_odds(self, odds: dict[str, float]) -> None:
        answer = await self.sandbox.put("/sandbox/faults", odds, timeout_s=SANDBOX_S_MAX)
        if answer.status != _OK:
            raise StepFailed(f"the sandbox refused odds: {answer.body[:200]!r}")


def happened(what: str, *, is_so: bool) -> None:
    """The scenario's own check that it took place: a proof of something that did not happen proves nothing."""
    if not is_so:
        raise StepFailed(f"the scenario did not take place: {what}")
