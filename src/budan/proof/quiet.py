"""Waits until a run has come to rest: everything paid or given back has its end, and everybody was told."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from budan.proof.hands import Hands
from budan.proof.truth import TradeKey, TrueTrade, TruthReader

LOOK_AGAIN_S: Final = 0.25
TELL_EVERY_S: Final = 2.0
# A copy that comes late must have its time to do harm; a channel that was refused often repeats itself for hours, so
# that after the failure is over it has this much time.
SETTLE_S: Final = 0.5
NOTICES_S_MAX: Final = 6.0


class Quiet:
    """Looks at the sandbox's file and at the database; what was seen settled is not asked for again."""

    def __init__(self, *, truth: TruthReader, hands: Hands, merchant_ids: Sequence[int]) -> None:
        self._truth = truth
        self._hands = hands
        self._merchant_ids = set(merchant_ids)
        self._settled: set[TradeKey] = set()

    async def wait(self, *, patience_s: float, tell: Callable[[str], None]) -> bool:
        """Whether rest came within `patience_s`; what is missing then, the audit names."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        tell_at_s = began_s + TELL_EVERY_S
        while True:
            left = await self._left()
            now_s = loop.time()
            notices = sum(trade.notice_is_due for trade in self._ours())
            if left is None and (not notices or now_s - began_s > NOTICES_S_MAX):
                await asyncio.sleep(SETTLE_S)
                return True
            if left is not None and now_s - began_s > patience_s:
                tell(f"no rest within {patience_s:g} s: {left}")
                return False
            if now_s > tell_at_s:
                tell(f"waiting: {left or 'at rest'}, {notices} notices of the channels to come")
                tell_at_s += TELL_EVERY_S
            await asyncio.sleep(LOOK_AGAIN_S)

    def _ours(self) -> list[TrueTrade]:
        return [trade for trade in self._truth.read() if trade.merchant_id in self._merchant_ids]

    async def _left(self) -> str | None:
        """What budan has not brought to its end, in words; None when it has all."""
        paid = [trade.key for trade in self._ours() if trade.paid_at is not None and not trade.is_returned]
        asked = [key for key in paid if key not in self._settled]
        unsettled = await self._hands.list_unsettled(asked) if asked else set[TradeKey]()
        self._settled.update(key for key in asked if key not in unsettled)
        merchant_ids = sorted(self._merchant_ids)
        webhooks = await self._hands.count_webhooks_due(merchant_ids)
        refunds = await self._hands.count_refunds_open(merchant_ids)
        if not (unsettled or webhooks or refunds):
            return None
        return f"{len(unsettled)} payments, {webhooks} webhooks and {refunds} refunds under way"
