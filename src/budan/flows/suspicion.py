"""Trades that may have been paid, asked about many at a time; what an answer changes goes through the door."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from budan.core.decide import Contradiction, Effect, Unchanged, decide
from budan.core.evidence import Evidence, Outcome, Source
from budan.core.fees import FeeTerms
from budan.core.numbers import AccountId, Environment, trade_number
from budan.core.order import Order, OrderState
from budan.core.trade import Trade, TradeState
from budan.flows.calling import Asking, ChannelCalls
from budan.flows.door import Door, DoorItem
from budan.flows.door_plan import Planned
from budan.flows.healths import AccountHealths
from budan.flows.job import RunningJob
from budan.flows.stamp import stamp
from budan.ports.channel import Method, PayResult, direction_of
from budan.ports.clock import Clock
from budan.store.suspects import SuspectRow

# What one account is asked at a time. Its guard has the last word and refuses more than the account may have.
ASKED_AT_ONCE_MAX: Final = 200
# Rows read ahead of the answers: enough that no account waits for a page, and few to ask again after a crash.
ROWS_AHEAD_MAX: Final = 2_000
# A question that could not leave is tried again after a rest.
UNSENT_REST_S: Final = 0.25
SILENT_S_MAX: Final = 60.0
# Of what a busy channel takes: younger orders need the rest.
RATE_SHARE: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class SuspicionSteps:
    """What asking stands on.

    An account that gave no word for `silent_s_max` is left alone for the rest of the run: its trades stay suspects, and
    the others do not wait for it.
    """

    environment: Environment
    clock: Clock
    calls: ChannelCalls
    door: Door
    healths: AccountHealths
    silent_s_max: float = SILENT_S_MAX


@dataclass(slots=True, eq=False)
class _Page:
    """Rows that were read together; the cursor behind them counts when all of them are settled."""

    cursor: str
    left: int


@dataclass(slots=True, eq=False)
class _Account:
    rows: deque[tuple[SuspectRow, _Page]] = field(default_factory=deque[tuple[SuspectRow, _Page]])
    askers: int = 0
    next_at_s: float = 0.0
    silent_since_s: float | None = None
    is_left_alone: bool = False


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
        while self._rows_ahead >= ROWS_AHEAD_MAX:
            self._room.clear()
            await self._room.wait()
        page = _Page(cursor, len(rows))
        self._pages.append(page)
        self._rows_ahead += len(rows)
        for row in rows:
            account = self._accounts.get(row.account_id)
            if account is None:
                account = self._accounts[row.account_id] = _Account()
            account.rows.append((row, page))
            if account.askers < ASKED_AT_ONCE_MAX:
                account.askers += 1
                self._tasks.create_task(self._ask_while_any(account))
        self._follow()

    async def _ask_while_any(self, account: _Account) -> None:
        try:
            while account.rows:
                row, page = account.rows.popleft()
                word = await self._settle(account, row)
                self._progress[word] += 1
                page.left -= 1
                self._rows_ahead -= 1
                if page.left == 0:
                    self._follow()
        finally:
            account.askers -= 1

    def _follow(self) -> None:
        """Moves the run's cursor behind the pages that are settled, in their order."""
        pages, cursor = self._pages, self._running.cursor
        while pages and pages[0].left == 0:
            cursor = pages.popleft().cursor
        self._running.stand(cursor=cursor, progress=self._progress)
        self._room.set()

    async def _settle(self, account: _Account, row: SuspectRow) -> str:
        """One row to its end; the word under which it is counted."""
        asking = self._asking(row)
        while not account.is_left_alone:
            await self._keep_pace(account, row.account_id)
            result = await self._steps.calls.query(asking)
            self._progress["asked"] += result.sent
            # A channel that has too much to do has said nothing of the trade, and is asked again.
            if result.sent and not result.busy:
                self._hear(account, answered=result.outcome is not Outcome.UNKNOWN)
                return await self._tell(row, result)
            self._hear(account, answered=False)
            await asyncio.sleep(UNSENT_REST_S)
        return "unasked"

    async def _keep_pace(self, account: _Account, account_id: AccountId) -> None:
        """Waits for the account's turn where its channel wants fewer questions."""
        rate_per_s = self._steps.healths.rate_per_s(account_id)
        if rate_per_s is None:
            return
        now_s = self._steps.clock.monotonic_s()
        turn_at_s = max(account.next_at_s, now_s)
        account.next_at_s = turn_at_s + 1 / (rate_per_s * RATE_SHARE)
        await asyncio.sleep(turn_at_s - now_s)

    def _hear(self, account: _Account, *, answered: bool) -> None:
        if answered:
            account.silent_since_s = None
            return
        now_s = self._steps.clock.monotonic_s()
        if account.silent_since_s is None:
            account.silent_since_s = now_s
        account.is_left_alone = account.is_left_alone or now_s - account.silent_since_s >= self._steps.silent_s_max

    async def _tell(self, row: SuspectRow, result: PayResult) -> str:
        """Takes the answer to the door unless it says what is known.

        "Not paid yet" of a trade that is open anyhow, or ended, would cost a locked row and change none: the decision is
        tried on what was read first. If the trade has moved since, such an answer is a question not asked, and no more.
        """
        steps = self._steps
        evidence = stamp(
            result,
            account_id=row.account_id,
            source=Source.QUERY,
            learned_at=steps.clock.now(),
            asked_at=row.now,
        )
        if not _may_tell(row, evidence):
            return "unchanged"
        planned = await steps.door.record(DoorItem(evidence=evidence))
        return _word(planned, evidence)

    def _asking(self, row: SuspectRow) -> Asking:
        return Asking(
            account_id=row.account_id,
            trade_no=trade_number(
                environment=self._steps.environment,
                lane=row.lane,
                merchant_id=row.merchant_id,
                order_id=row.order_id,
                attempt=row.attempt,
            ),
            method=Method(row.method),
            created_at=row.created_at,
            channel_reference=row.channel_reference,
            asked_at=row.now,
            attempts=None,
        )


def _word(planned: Planned, evidence: Evidence) -> str:
    if planned.decision == Effect.COMPLETE.value:
        return "completed"
    return "unclear" if evidence.outcome is Outcome.UNKNOWN else "changed"


def _may_tell(row: SuspectRow, evidence: Evidence) -> bool:
    """Whether the door might do anything with it: all that could end or complete a trade is its to judge."""
    if evidence.outcome in {Outcome.PAID, Outcome.UNPAID_FINAL}:
        return True
    match decide(_order_of(row), _trade_of(row), evidence):
        case Unchanged():
            return False
        case Contradiction():
            return True
        case moved:
            return moved.order_state is not OrderState(row.order_state) or moved.trade != _trade_of(row)


def _order_of(row: SuspectRow) -> Order:
    return Order(
        merchant_id=row.merchant_id,
        state=OrderState(row.order_state),
        amount_minor=row.order_amount_minor,
        currency=row.order_currency,
        told_unpaid=row.told_unpaid,
        hold_reason=row.hold_reason,
    )


def _trade_of(row: SuspectRow) -> Trade:
    return Trade(
        attempt=row.attempt,
        direction=direction_of(Method(row.method)),
        state=TradeState(row.state),
        account_id=row.account_id,
        amount_minor=row.amount_minor,
        currency=row.currency,
        fee_terms=FeeTerms(
            rate_bp=row.fee_rate_bp, minimum_minor=row.fee_minimum_minor, maximum_minor=row.fee_maximum_minor
        ),
        send_until=row.send_until,
        expires_at=row.expires_at,
        paid_seen=row.paid_seen,
        not_found_count=row.not_found_count,
    )
