"""What stands between the flows and any channel: a deadline, a bound and a breaker for each account."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from pathlib import Path
from typing import Final, TypeVar

from msgspec.structs import replace

from budan.channels.breaker import Admission, Breaker
from budan.channels.deadlines import Deadlines, Overdue
from budan.channels.session import SessionChannel
from budan.channels.silence import (
    BAD_ANSWER_CODE,
    NO_ANSWER_CODE,
    NOT_SENT_CODE,
    unsent_pay_result,
    unsent_refund_result,
)
from budan.core.evidence import Outcome
from budan.core.numbers import AccountId
from budan.core.refund import RefundOutcome
from budan.ports.bill import BillAnswer, BillNotYet, BillTables, BillUnfetched, FetchedBill, NoBill, ReadBill
from budan.ports.channel import (
    Ack,
    Call,
    Capabilities,
    CreateResult,
    EndResult,
    EndState,
    Notice,
    PayResult,
    RawNotice,
    RefundIntent,
    RefundRef,
    RefundResult,
    TradeIntent,
    TradeRef,
)
from budan.ports.clock import Clock
from budan.telemetry import metrics

BUSY_CODE: Final = "account_busy"
BREAKER_CODE: Final = "breaker_open"
DEADLINE_CODE: Final = "deadline"

# The adapter gives up at the deadline itself and knows better whether a byte had left; this is for one that does not.
OWN_WORD_S: Final = 0.2


class Kind(Enum):
    """Calls that share a fate: a channel may take no charges and still answer queries and reverses."""

    PLACE = "place"  # create, charge
    QUERY = "query"
    END = "end"  # close, reverse
    REFUND = "refund"  # its query is a QUERY
    BILL = "bill"


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardLimits:
    """The numbers of one account."""

    place_calls_max: int = 200
    # autobudan asks 200 at a time; the ladder and payers' pages have the rest.
    query_calls_max: int = 256
    end_calls_max: int = 50
    refund_calls_max: int = 20
    # One download for each account is enough; a second is a person who does not wait.
    bill_calls_max: int = 2
    failures_to_open: int = 5
    # A charge that probes risks a payer's patience, a query risks nothing.
    place_probe_every_s: float = 5.0
    query_probe_every_s: float = 1.0
    end_probe_every_s: float = 2.0
    refund_probe_every_s: float = 2.0
    bill_probe_every_s: float = 30.0

    @property
    def calls_max(self) -> int:
        """What all kinds of calls together may have out."""
        kinds = (self.place_calls_max, self.query_calls_max, self.end_calls_max, self.refund_calls_max)
        return sum(kinds) + self.bill_calls_max


@dataclass(slots=True, kw_only=True)
class _Gate:
    calls_max: int
    breaker: Breaker
    calls_out: int = 0


# As a tuple: a union is made anew for each look, and two looks follow each call.
_ANSWERS_OF_BILLS: Final = (FetchedBill, BillNotYet, NoBill)

Result = TypeVar("Result", PayResult, CreateResult, EndResult, RefundResult, BillAnswer)
AnyResult = PayResult | CreateResult | EndResult | RefundResult | BillAnswer


class GuardedChannel:
    """Any channel, for one account: no call waits for another, none runs for ever, none goes to a dead channel.

    Over the bound or while the breaker is open a call is refused at once, and nothing is sent. Past its deadline a call
    is UNKNOWN: it may have been sent. Cancellation passes through.
    """

    def __init__(
        self, inner: SessionChannel, *, account_id: AccountId, clock: Clock, limits: GuardLimits | None = None
    ) -> None:
        self._inner = inner
        self._clock = clock
        self._gates = _gates(limits or GuardLimits())
        self._deadlines = Deadlines()
        self._call_timeout_s = inner.capabilities.call_timeout.total_seconds()
        self._calls = metrics.CallMetrics(str(account_id))

    @property
    def capabilities(self) -> Capabilities:
        """See Channel.capabilities."""
        return self._inner.capabilities

    @property
    def takes_new(self) -> bool:
        """See GuardedSession.takes_new."""
        gate = self._gates[Kind.PLACE]
        return gate.calls_out < gate.calls_max and not gate.breaker.refuses(now_s=self._clock.monotonic_s())

    async def create(self, intent: TradeIntent, *, call: Call) -> CreateResult:
        """See Channel.create."""

        def silent(result: PayResult) -> CreateResult:
            return CreateResult(result=result)

        return await self._run(
            Kind.PLACE,
            "create",
            call,
            lambda bounded: self._inner.create(intent, call=bounded),
            refused=lambda code: silent(unsent_pay_result(code, trade_no=intent.trade_no)),
            overdue=lambda: silent(_overdue(intent.trade_no)),
        )

    async def charge(self, intent: TradeIntent, *, auth_code: str, call: Call) -> PayResult:
        """See Channel.charge."""
        return await self._run(
            Kind.PLACE,
            "charge",
            call,
            lambda bounded: self._inner.charge(intent, auth_code=auth_code, call=bounded),
            refused=lambda code: unsent_pay_result(code, trade_no=intent.trade_no),
            overdue=lambda: _overdue(intent.trade_no),
        )

    async def query(self, ref: TradeRef, *, call: Call) -> PayResult:
        """See Channel.query."""
        return await self._run(
            Kind.QUERY,
            "query",
            call,
            lambda bounded: self._inner.query(ref, call=bounded),
            refused=lambda code: unsent_pay_result(code, trade_no=ref.trade_no),
            overdue=lambda: _overdue(ref.trade_no),
        )

    async def close(self, ref: TradeRef, *, call: Call) -> EndResult:
        """See Channel.close."""
        return await self._end("close", call, lambda bounded: self._inner.close(ref, call=bounded))

    async def reverse(self, ref: TradeRef, *, call: Call) -> EndResult:
        """See Channel.reverse."""
        return await self._end("reverse", call, lambda bounded: self._inner.reverse(ref, call=bounded))

    async def refund(self, intent: RefundIntent, *, call: Call) -> RefundResult:
        """See Channel.refund."""
        return await self._run(
            Kind.REFUND,
            "refund",
            call,
            lambda bounded: self._inner.refund(intent, call=bounded),
            refused=lambda code: unsent_refund_result(code, refund_no=intent.refund_no, trade_no=intent.trade_no),
            overdue=lambda: _overdue_refund(intent.refund_no, trade_no=intent.trade_no),
        )

    async def query_refund(self, ref: RefundRef, *, call: Call) -> RefundResult:
        """See Channel.query_refund."""
        return await self._run(
            Kind.QUERY,
            "query_refund",
            call,
            lambda bounded: self._inner.query_refund(ref, call=bounded),
            refused=lambda code: unsent_refund_result(code, refund_no=ref.refund_no, trade_no=ref.trade_no),
            overdue=lambda: _overdue_refund(ref.refund_no, trade_no=ref.trade_no),
        )

    async def fetch_bill(self, day: date, *, into: Path, call: Call) -> BillAnswer:
        """See Channel.fetch_bill."""

        def nothing(code: str, *, sent: bool) -> BillAnswer:
            return BillUnfetched(code=code, sent=sent)

        terms = self.capabilities.bills
        if terms is None:
            return nothing("not_supported", sent=False)
        return await self._run(
            Kind.BILL,
            "fetch_bill",
            call,
            lambda bounded: self._inner.fetch_bill(day, into=into, call=bounded),
            refused=lambda code: nothing(code, sent=False),
            overdue=lambda: nothing(DEADLINE_CODE, sent=True),
            timeout_s=terms.fetch_timeout.total_seconds(),
        )

    def read_bill(self, tables: BillTables, bill: FetchedBill, *, day: date, folder: Path) -> ReadBill:
        """See Channel.read_bill; nothing is called."""
        return self._inner.read_bill(tables, bill, day=day, folder=folder)

    def parse_notice(self, notice: RawNotice, *, now: datetime) -> Notice:
        """See Channel.parse_notice; never refused, whatever the calls do."""
        return self._inner.parse_notice(notice, now=now)

    def acknowledge(self, *, accepted: bool) -> Ack:
        """See Channel.acknowledge."""
        return self._inner.acknowledge(accepted=accepted)

    async def end_session(self) -> None:
        """See SessionChannel.end_session."""
        await self._inner.end_session()

    async def _end(self, operation: str, call: Call, attempt: Callable[[Call], Awaitable[EndResult]]) -> EndResult:
        return await self._run(
            Kind.END,
            operation,
            call,
            attempt,
            refused=lambda code: EndResult(state=EndState.RETRY, sent=False, code=code),
            overdue=lambda: EndResult(state=EndState.UNKNOWN, code=DEADLINE_CODE),
        )

    async def _run(
        self,
        kind: Kind,
        operation: str,
        call: Call,
        attempt: Callable[[Call], Awaitable[Result]],
        *,
        refused: Callable[[str], Result],
        overdue: Callable[[], Result],
        timeout_s: float | None = None,
    ) -> Result:
        started_s, gate, answered = self._clock.monotonic_s(), self._gates[kind], None
        admission = self._admit(gate, now_s=started_s)
        if isinstance(admission, str):
            result = refused(admission)
        else:
            gate.calls_out += 1
            bound_s = self._call_timeout_s if timeout_s is None else timeout_s
            bounded = replace(call, deadline_s=bound_s) if call.deadline_s > bound_s else call
            try:
                try:
                    result = await self._deadlines.run(attempt(bounded), within_s=bounded.deadline_s + OWN_WORD_S)
                except Overdue:
                    result = overdue()
                answered = _is_answered(result)
            finally:
                # A call that ends by an exception or is cancelled says nothing of the channel.
                ended_s = self._clock.monotonic_s()
                gate.calls_out -= 1
                self._settle(gate.breaker, admission, answered=answered, now_s=ended_s)
            self._calls.took(operation, ended_s - started_s)
        self._calls.count(operation, _outcome_label(result))
        return result

    def _settle(self, breaker: Breaker, admission: Admission, *, answered: bool | None, now_s: float) -> None:
        was_closed = breaker.is_closed
        breaker.settle(admission, answered=answered, now_s=now_s)
        # Of ten thousand calls a second in health none looks at the other gates.
        if not (was_closed and breaker.is_closed):
            self._calls.show(held_back=not all(gate.breaker.is_closed for gate in self._gates.values()))

    def _admit(self, gate: _Gate, *, now_s: float) -> Admission | str:
        """How a call passes, or the code with which it is refused."""
        if gate.calls_out >= gate.calls_max:
            return BUSY_CODE
        admission = gate.breaker.admit(now_s=now_s)
        return BREAKER_CODE if admission is Admission.REFUSED else admission


def _gates(limits: GuardLimits) -> dict[Kind, _Gate]:
    def gate(calls_max: int, probe_every_s: float) -> _Gate:
        breaker = Breaker(failures_to_open=limits.failures_to_open, probe_every_s=probe_every_s)
        return _Gate(calls_max=calls_max, breaker=breaker)

    return {
        Kind.PLACE: gate(limits.place_calls_max, limits.place_probe_every_s),
        Kind.QUERY: gate(limits.query_calls_max, limits.query_probe_every_s),
        Kind.END: gate(limits.end_calls_max, limits.end_probe_every_s),
        Kind.REFUND: gate(limits.refund_calls_max, limits.refund_probe_every_s),
        Kind.BILL: gate(limits.bill_calls_max, limits.bill_probe_every_s),
    }


def _overdue(trade_no: str) -> PayResult:
    return PayResult(outcome=Outcome.UNKNOWN, trade_no=trade_no, code=DEADLINE_CODE)


def _overdue_refund(refund_no: str, *, trade_no: str) -> RefundResult:
    return RefundResult(outcome=RefundOutcome.UNKNOWN, refund_no=refund_no, trade_no=trade_no, code=DEADLINE_CODE)


def _is_answered(result: AnyResult) -> bool | None:
    """Whether the channel gave a word; None when the adapter itself refused, which says nothing of the channel."""
    if isinstance(result, _ANSWERS_OF_BILLS):
        return True
    if isinstance(result, CreateResult):
        result = result.result
    if not result.sent:
        return False if result.code == NOT_SENT_CODE else None
    if isinstance(result, BillUnfetched):
        return result.code not in {NO_ANSWER_CODE, BAD_ANSWER_CODE, DEADLINE_CODE}
    if isinstance(result, EndResult):
        return result.answered or result.state is not EndState.UNKNOWN
    if isinstance(result, RefundResult):
        return result.to_repeat or result.outcome is not RefundOutcome.UNKNOWN
    return result.answered or result.outcome is not Outcome.UNKNOWN


def _outcome_label(result: AnyResult) -> str:
    if isinstance(result, _ANSWERS_OF_BILLS):
        return "answered"
    if isinstance(result, CreateResult):
        result = result.result
    if not result.sent:
        # Our own refusals are few and named; a channel's code never becomes a label.
        return result.code if result.code in {BUSY_CODE, BREAKER_CODE} else NOT_SENT_CODE
    if isinstance(result, BillUnfetched):
        return Outcome.UNKNOWN.value
    return result.state.value if isinstance(result, EndResult) else result.outcome.value
