"""A channel that does what a test tells it: a third implementation of the port, with no network."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

from budan.channels.alipay.adapter import CAPABILITIES
from budan.core.evidence import Outcome
from budan.core.refund import RefundOutcome
from budan.ports.channel import (
    Ack,
    Call,
    Capabilities,
    CreateResult,
    EndResult,
    EndState,
    Notice,
    NoticeKind,
    PayResult,
    RawNotice,
    RefundIntent,
    RefundRef,
    RefundResult,
    TradeIntent,
    TradeRef,
)

UNPAID = PayResult(outcome=Outcome.UNPAID_OPEN, trade_no="T1")
UNKNOWN = PayResult(outcome=Outcome.UNKNOWN, trade_no="T1", code="no_answer")


ENDED = EndResult(state=EndState.ENDED, money_returned=False)
REFUND_PENDING = RefundResult(outcome=RefundOutcome.PENDING, refund_no="R1", trade_no="T1")
PATIENCE_S = 5.0


async def at_once() -> None:
    return


@dataclass(slots=True)
class ScriptedChannel:
    """Waits for `turn`, then answers `pay`, `end` or `refunded`."""

    pay: PayResult = UNPAID
    end: EndResult = ENDED
    refunded: RefundResult = REFUND_PENDING
    turn: Callable[[], Awaitable[None]] = at_once
    calls: list[Call] = field(default_factory=list[Call])
    takes_new: bool = True
    asked: list[object] = field(default_factory=list[object])
    arrivals: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    sessions_ended: int = 0
    session_ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    async def create(self, intent: TradeIntent, *, call: Call) -> CreateResult:
        return CreateResult(result=await self._answer(intent, call=call))

    async def charge(self, intent: TradeIntent, *, auth_code: str, call: Call) -> PayResult:
        return await self._answer(intent, auth_code, call=call)

    async def query(self, ref: TradeRef, *, call: Call) -> PayResult:
        return await self._answer(ref, call=call)

    async def close(self, ref: TradeRef, *, call: Call) -> EndResult:
        await self._answer(ref, call=call)
        return self.end

    async def reverse(self, ref: TradeRef, *, call: Call) -> EndResult:
        await self._answer(ref, call=call)
        return self.end

    async def refund(self, intent: RefundIntent, *, call: Call) -> RefundResult:
        await self._answer(intent, call=call)
        return self.refunded

    async def query_refund(self, ref: RefundRef, *, call: Call) -> RefundResult:
        await self._answer(ref, call=call)
        return self.refunded

    def parse_notice(self, notice: RawNotice, *, now: datetime) -> Notice:
        self.asked += [notice, now]
        return Notice(kind=NoticeKind.PAYMENT, result=self.pay)

    def acknowledge(self, *, accepted: bool) -> Ack:
        return Ack(status=200, content_type="text/plain", body=b"success" if accepted else b"fail")

    async def arrived(self, *, calls: int) -> None:
        """Waits until this many more calls are here."""
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(calls):
                await self.arrivals.acquire()

    async def end_session(self) -> None:
        self.sessions_ended += 1
        self.session_ended.set()

    async def _answer(self, *asked: object, call: Call) -> PayResult:
        self.asked += asked
        self.calls.append(call)
        self.arrivals.release()
        await self.turn()
        return self.pay
