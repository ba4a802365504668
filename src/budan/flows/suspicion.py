"""Trades that may have been paid, asked about many at a time; what an answer changes goes through the door."""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from types import TracebackType
from typing import Final, NamedTuple, Self

from budan.core.decide import Contradiction, Effect, Unchanged, decide
from budan.core.evidence import Evidence, Outcome, Source
from budan.core.fees import FeeTerms
from budan.core.numbers import ID_EPOCH, AccountId, Environment, MerchantId, trade_number
from budan.core.order import Order, OrderState
from budan.core.trade import Trade, TradeState
from budan.flows.calling import ChannelCalls
from budan.flows.door import Door, DoorItem
from budan.flows.door_plan import Planned
from budan.flows.healths import AccountHealths
from budan.flows.job import RunningJob
from budan.flows.stamp import stamp
from budan.ports.channel import Method, PayResult, TradeRef, direction_of
from budan.ports.clock import Clock
from budan.store.suspects import SuspectRow

# What one account is asked at a time. Its guard has the last word and refuses more than the account may have.
ASKED_AT_ONCE_MAX: Final = 200
# Rows read ahead of the answers: enough that no account waits for a page, and few to ask again after a crash.
ROWS_AHEAD_MAX: Final = 2_000
# With the rows of accounts whose channels are busy: these wait for minutes, and must not keep others from being read. Some
# 600 bytes each, so 30 MB.
ROWS_HELD_MAX: Final = 50_000
# A question that could not leave is tried again after a rest.
UNSENT_REST_S: Final = 0.25
SILENT_S_MAX: Final = 60.0
# Of what a busy channel takes: younger orders need the rest.
RATE_SHARE: Final = 0.5
# What changes something waits this long for more: the door's batch and the webhooks cost nearly the same for one as for
# ten, and a sweep that meets one payment in two hundred answers would pay for each of them. Enough are not kept waiting.
TOLD_TOGETHER_S: Final = 1.0
TOLD_TOGETHER_ENOUGH: Final = 50
# Whose order it is, by which account and of how much, matters where money came, and only there.
_ANY_ACCOUNT: Final = AccountId(1)
_ANY_MERCHANT: Final = MerchantId(1)
_ANY_AMOUNT_MINOR: Final = 1
_ANY_CURRENCY: Final = "CNY"
_ANY_TERMS: Final = FeeTerms(rate_bp=0)
# A look here costs a quarter of making the enum's member from its text anew.
_METHODS: Final = {method.value: method for method in Method}


@dataclass(frozen=True, slots=True, kw_only=True)
class SuspicionSteps:
    """What asking stands on.

    An account that gave no word for `silent_s_max` is left alone for the rest of the run: its trades stay suspects, and
    the others do not wait for it. `rows_ahead_max` bounds the rows read and not asked about yet, those of busy channels
    left out.
    """

    environment: Environment
    clock: Clock
    calls: ChannelCalls
    door: Door
    healths: AccountHealths
    silent_s_max: float = SILENT_S_MAX
    rows_ahead_max: int = ROWS_AHEAD_MAX


@dataclass(slots=True, eq=False)
class _Page:
    """Rows that were read together; the cursor behind them counts when all of them are settled."""

    cursor: str
    left: int


@dataclass(slots=True, eq=False)
class _Account:
    rows: deque[tuple[SuspectRow, TradeRef, _Page]] = field(default_factory=deque[tuple[SuspectRow, TradeRef, _Page]])
    askers: int = 0
    next_at_s: float = 0.0
    silent_since_s: float | None = None
    is_left_alone: bool = False


class _News(NamedTuple):
    """An answer that the door must judge, and the page that is not settled before it has."""

    evidence: Evidence
    page: _Page


class Suspicion:
    """Asks about rows as they are added. Use as an async context manager: leaving waits for the last answer.

    The run's cursor follows the pages that are settled whole. An error of one row ends all of it: the run is taken up
    again at the cursor, and what is asked twice does no harm.
    """

    def __init__(self, *, steps: SuspicionSteps, running: RunningJob) -> None:
        self._steps = steps
        self._running = running
        names = ("asked", "completed", "changed", "unchanged", "unclear", "unasked")
        self._progress = {name: running.progress.get(name, 0) for name in names}
        self._accounts: dict[AccountId, _Account] = {}
        self._pages: deque[_Page] = deque()
        self._rows_ahead = 0
        self._room = asyncio.Event()
        self._askers = 0
        self._news: list[_News] = []
        self._tell_now = asyncio.Event()
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._tasks.__aexit__(kind, error, traceback)

    async def add(self, rows: Sequence[SuspectRow], *, cursor: str) -> None:
        """Take a page's rows; waits while enough are ahead. `cursor` is where a later holder goes on after them."""
        while not self._has_room():
            self._room.clear()
            await self._room.wait()
        page = _Page(cursor, len(rows))
        self._pages.append(page)
        self._rows_ahead += len(rows)
        # Named all at once, which costs half of naming each where it is asked about.
        for row, ref in zip(rows, [self._ref(row) for row in rows], strict=True):
            account = self._accounts.get(row.account_id)
            if account is None:
                account = self._accounts[row.account_id] = _Account()
            account.rows.append((row, ref, page))
            if account.askers < ASKED_AT_ONCE_MAX:
                account.askers += 1
                self._askers += 1
                self._tasks.create_task(self._ask_while_any(account))
        self._follow()

    def _has_room(self) -> bool:
        """Whether another page may be read: busy channels' rows fill no place of those that answer."""
        rate_per_s = self._steps.healths.rate_per_s
        slow = sum(
            len(account.rows) + account.askers for id_, account in self._accounts.items() if rate_per_s(id_) is not None
        )
        return self._rows_ahead < ROWS_HELD_MAX and self._rows_ahead - slow < self._steps.rows_ahead_max

    async def _ask_while_any(self, account: _Account) -> None:
        try:
            while account.rows:
                row, ref, page = account.rows.popleft()
                result = await self._ask(account, row, ref)
                if result is None:
                    self._settle("unasked", page)
                elif says_nothing_new(row, result):
                    self._settle("unchanged", page)
                else:
                    self._add_news(row, result, page)
        finally:
            account.askers -= 1
            self._askers -= 1
            self._room.set()
            if self._askers == 0:
                # Nothing more comes until there are more rows.
                self._tell_now.set()

    def _settle(self, word: str, page: _Page) -> None:
        self._progress[word] += 1
        page.left -= 1
        self._rows_ahead -= 1
        if page.left == 0:
            self._follow()

    def _follow(self) -> None:
        """Moves the run's cursor behind the pages that are settled, in their order."""
        pages, cursor = self._pages, self._running.cursor
        while pages and pages[0].left == 0:
            cursor = pages.popleft().cursor
        self._running.stand(cursor=cursor, progress=self._progress)
        self._room.set()

    async def _ask(self, account: _Account, row: SuspectRow, ref: TradeRef) -> PayResult | None:
        """What the channel says of one row; None where its account is left alone."""
        while not account.is_left_alone:
            rate_per_s = self._steps.healths.rate_per_s(row.account_id)
            if rate_per_s is not None:
                await self._keep_pace(account, rate_per_s * RATE_SHARE)
            result = await self._steps.calls.query(row.account_id, ref)
            self._progress["asked"] += result.sent
            # A channel that has too much to do has said nothing of the trade, and is asked again.
            if result.sent and not result.busy:
                self._hear(account, answered=result.outcome is not Outcome.UNKNOWN)
                if rate_per_s is not None:
                    # A page of a busy channel takes a quarter of an hour, and a run that stands still is given up.
                    self._running.stand(cursor=self._running.cursor, progress=self._progress)
                return result
            self._hear(account, answered=False)
            await asyncio.sleep(UNSENT_REST_S)
        return None

    async def _keep_pace(self, account: _Account, rate_per_s: float) -> None:
        """Waits for the account's turn where its channel wants fewer questions."""
        now_s = self._steps.clock.monotonic_s()
        turn_at_s = max(account.next_at_s, now_s)
        account.next_at_s = turn_at_s + 1 / rate_per_s
        await asyncio.sleep(turn_at_s - now_s)

    def _hear(self, account: _Account, *, answered: bool) -> None:
        if answered:
            account.silent_since_s = None
            return
        now_s = self._steps.clock.monotonic_s()
        if account.silent_since_s is None:
            account.silent_since_s = now_s
        account.is_left_alone = account.is_left_alone or now_s - account.silent_since_s >= self._steps.silent_s_max

    def _add_news(self, row: SuspectRow, result: PayResult, page: _Page) -> None:
        """Takes an answer for the door; whoever asked goes on, and the page waits."""
        evidence = stamp(
            result,
            account_id=row.account_id,
            source=Source.QUERY,
            learned_at=self._steps.clock.now(),
            asked_at=row.now,
        )
        if not self._news:
            self._tell_now.clear()
            self._tasks.create_task(self._tell())
        self._news.append(_News(evidence, page))
        if len(self._news) >= TOLD_TOGETHER_ENOUGH:
            self._tell_now.set()

    async def _tell(self) -> None:
        """Takes to the door what has come since the first of it."""
        # Nobody asks a second time what is waited for here.
        with suppress(TimeoutError):
            async with asyncio.timeout(TOLD_TOGETHER_S):
                await self._tell_now.wait()
        news, self._news = self._news, []
        told = await asyncio.gather(*(self._steps.door.record(DoorItem(evidence=one.evidence)) for one in news))
        for planned, (evidence, page) in zip(told, news, strict=True):
            self._settle(_word(planned, evidence), page)

    def _ref(self, row: SuspectRow) -> TradeRef:
        method = _METHODS[row.method]
        return TradeRef(
            trade_no=trade_number(
                environment=self._steps.environment,
                lane=row.lane,
                merchant_id=row.merchant_id,
                order_id=row.order_id,
                attempt=row.attempt,
            ),
            direction=direction_of(method),
            created_at=row.created_at,
            channel_reference=row.channel_reference,
            method=method,
        )


def _word(planned: Planned, evidence: Evidence) -> str:
    if planned.decision == Effect.COMPLETE.value:
        return "completed"
    return "unclear" if evidence.outcome is Outcome.UNKNOWN else "changed"


def says_nothing_new(row: SuspectRow, result: PayResult) -> bool:
    """Whether the door, had it the trade as it was read, would do nothing with the answer. A payment is its to judge.

    "Not paid yet" of a trade that is open anyhow, or "ended" of one that has, would cost a locked row and change none:
    the decision is tried on what was read first. If the trade has moved since, such an answer is a question not asked,
    and no more.
    """
    if result.outcome is Outcome.PAID:
        return False
    if result.not_found:
        # The one answer without a payment whose meaning hangs on moments (I5).
        facts = _Facts(row.order_state, row.state, row.method, row.paid_seen, row.not_found_count)
        told = _Told(result.outcome, result.user_paying, result.reversed_here, result.money_returned, not_found=True)
        return _is_unchanged(facts, told, send_until=row.send_until, expires_at=row.expires_at, asked_at=row.now)
    return _is_known(
        (
            row.order_state,
            row.state,
            row.method,
            row.paid_seen,
            row.not_found_count,
            result.outcome.value,
            result.user_paying,
            result.reversed_here,
            result.money_returned,
        )
    )


class _Facts(NamedTuple):
    """What a decision on an answer without a payment depends on, moments left out."""

    order_state: str
    state: str
    method: str
    paid_seen: bool
    not_found_count: int


class _Told(NamedTuple):
    outcome: Outcome
    user_paying: bool
    reversed_here: bool
    money_returned: bool
    not_found: bool


# All of `_Facts` and of `_Told` but "not found": a bare tuple of texts and flags is found in half the time that it takes to
# make two that have names, and to hash an enum's member.
_Key = tuple[str, str, str, bool, int, str, bool, bool, bool]


# There are a few hundred keys, and a sweep meets some of them ten thousand times.
@lru_cache(maxsize=4_096)
def _is_known(key: _Key) -> bool:
    order_state, state, method, paid_seen, not_found_count, outcome, user_paying, reversed_here, money_returned = key
    facts = _Facts(order_state, state, method, paid_seen, not_found_count)
    told = _Told(Outcome(outcome), user_paying, reversed_here, money_returned, not_found=False)
    return _is_unchanged(facts, told, send_until=ID_EPOCH, expires_at=None, asked_at=ID_EPOCH)


def _is_unchanged(
    facts: _Facts, told: _Told, *, send_until: datetime, expires_at: datetime | None, asked_at: datetime
) -> bool:
    trade = Trade(
        attempt=1,
        direction=direction_of(_METHODS[facts.method]),
        state=TradeState(facts.state),
        account_id=_ANY_ACCOUNT,
        amount_minor=_ANY_AMOUNT_MINOR,
        currency=_ANY_CURRENCY,
        fee_terms=_ANY_TERMS,
        send_until=send_until,
        expires_at=expires_at,
        paid_seen=facts.paid_seen,
        not_found_count=facts.not_found_count,
    )
    order = Order(
        merchant_id=_ANY_MERCHANT,
        state=OrderState(facts.order_state),
        amount_minor=_ANY_AMOUNT_MINOR,
        currency=_ANY_CURRENCY,
    )
    evidence = Evidence(
        trade_no="",
        account_id=_ANY_ACCOUNT,
        outcome=told.outcome,
        source=Source.QUERY,
        learned_at=asked_at,
        asked_at=asked_at,
        user_paying=told.user_paying,
        not_found=told.not_found,
        reversed_here=told.reversed_here,
        money_returned=told.money_returned,
    )
    match decide(order, trade, evidence):
        case Unchanged():
            return True
        case Contradiction():
            return False
        case moved:
            return moved.order_state is order.state and moved.trade == trade and moved.effect is Effect.NOTHING
