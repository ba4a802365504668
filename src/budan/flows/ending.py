"""Ends trades at their channels: closes what nobody shall pay any more, reverses charges that nobody answered for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never

from budan.core.decide import last_moment
from budan.core.errors import Refused
from budan.core.evidence import Outcome
from budan.core.numbers import AccountId, Environment, Lane, trade_number
from budan.core.order import OrderState
from budan.core.pace import CLOSE_LADDER_S, delay_after
from budan.core.trade import OPEN_STATES, TradeState
from budan.flows.calling import Asking, ChannelCalls
from budan.flows.closing import OrderClosing, Turn
from budan.ports.channel import Capabilities, EndState, Method, direction_of
from budan.store import closing as stored
from budan.store.closing import DueClose
from budan.store.database import Database

# A question that shall count for the time after a moment must leave after it.
RIGHT_AFTER = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heard:
    """What a question of this turn brought: the trade's state after it, and whether "not paid" was said."""

    state: TradeState
    unpaid: bool
    not_found: bool
    sent: bool

    @property
    def is_over(self) -> bool:
        return self.state not in OPEN_STATES


class TradeEndings:
    """Takes trades to their ends, one turn at a time; a turn that is broken off anywhere is simply due again."""

    def __init__(
        self, *, database: Database, environment: Environment, calls: ChannelCalls, closing: OrderClosing
    ) -> None:
        self._database = database
        self._environment = environment
        self._calls = calls
        self._closing = closing

    async def list_due(
        self,
        *,
        lanes: Sequence[Lane],
        accounts_left_out: Sequence[AccountId],
        rows_max: int,
    ) -> list[DueClose]:
        """Trades to end in held lanes, oldest first."""
        async with self._database.reading_statement() as transaction:
            return await stored.list_due_closes(
                transaction,
                lanes=lanes,
                accounts_left_out=accounts_left_out,
                rows_max=rows_max,
            )

    async def end(self, due: DueClose) -> OrderState:
        """Try to end a trade at its channel, and write when to try again; gives its order's state. Safe to repeat."""
        return await self._closing.settle(due.key, await self._turn(due))

    async def _turn(self, due: DueClose) -> Turn:
        state = TradeState(due.state)
        if state not in OPEN_STATES:
            return Turn(attempt=due.attempt)
        capabilities = await self._calls.find_capabilities(due.account_id)
        if capabilities is None:
            return Turn(attempt=due.attempt, sent=False)
        if state is TradeState.REVERSING:
            return await self._reverse(due, capabilities)
        if due.method == Method.CODE.value:
            return await self._end_charge(due, capabilities)
        return await self._close(due, capabilities)

    async def _close(self, due: DueClose, capabilities: Capabilities) -> Turn:
        """Close, then query: only that is the channel's word (docs/design.md section 5).

        No query before the close: a payment makes the close fail, whatever becomes of the order then, and one question
        for each order that nobody paid is what we may ask at all while notices come. Where there is no such call, or
        nobody can pay any more, the query comes first.
        """
        over_at = last_moment(direction_of(Method(due.method)), send_until=due.send_until, expires_at=due.expires_at)
        can_be_paid = over_at is None or due.now <= over_at
        heard = None
        if not can_be_paid or not capabilities.close:
            heard = await self._ask(due)
            # A second "no such trade" is definite once nothing can arrive any more (I5).
            is_told = not capabilities.close and (can_be_paid or not heard.not_found)
            if heard.is_over or not heard.sent or is_told:
                return _turn(due, heard, over_at)
        if capabilities.close:
            end = await self._calls.close(self._asking(due))
            if end.state is EndState.RETRY:
                return Turn(attempt=due.attempt, sent=end.sent, unpaid_asked_at=_unpaid_asked_at(due, heard))
        return _turn(due, await self._ask(due), over_at)

    async def _end_charge(self, due: DueClose, capabilities: Capabilities) -> Turn:
        """Ask once more, then commit the intent to reverse and reverse: money that is there completes the order instead."""
        heard = await self._ask(due)
        if heard.is_over or not heard.sent or not capabilities.reverse:
            return _turn(due, heard, None)
        reverse_at = max(due.now, due.created_at + capabilities.reverse_after)
        try:
            await self._closing.begin_reverse(due.key, due.attempt, reverse_at=reverse_at)
        except Refused:
            # Paid or ended meanwhile, or held: then a person decides first.
            return _turn(due, heard, None)
        return await self._reverse(due, capabilities)

    async def _reverse(self, due: DueClose, capabilities: Capabilities) -> Turn:
        """Reverse; where the answer is none, or is that the payment stands, a query tells (docs/design.md section 5)."""
        reverse_at = due.created_at + capabilities.reverse_after
        if due.now < reverse_at:
            return Turn(attempt=due.attempt, sent=False, again_at=reverse_at)
        end = await self._calls.reverse(self._asking(due))
        # Past its time a reverse is answered with "not now" for ever.
        in_time = not end.sent or due.now <= due.created_at + capabilities.reverse_within
        match end.state:
            case EndState.ENDED:
                return Turn(attempt=due.attempt)
            case EndState.RETRY if in_time:
                return Turn(attempt=due.attempt, sent=end.sent)
            case EndState.RETRY | EndState.ALREADY_PAID | EndState.NOT_SUPPORTED:
                heard = await self._ask(due, irreversible=True)
            case EndState.NOT_FOUND | EndState.UNKNOWN:
                heard = await self._ask(due)
            case _:
                assert_never(end.state)
        return _turn(due, heard, None)

    async def _ask(self, due: DueClose, *, irreversible: bool = False) -> _Heard:
        planned, result = await self._calls.ask(replace(self._asking(due), irreversible=irreversible))
        return _Heard(
            state=TradeState(planned.trade_state or due.state),
            unpaid=result.outcome is Outcome.UNPAID_OPEN and result.sent,
            not_found=result.not_found,
            sent=result.sent,
        )

    def _asking(self, due: DueClose) -> Asking:
        return Asking(
            account_id=due.account_id,
            trade_no=trade_number(
                environment=self._environment,
                lane=due.lane,
                merchant_id=due.merchant_id,
                order_id=due.order_id,
                attempt=due.attempt,
            ),
            method=Method(due.method),
            created_at=due.created_at,
            channel_reference=due.channel_reference,
            # Before anything of this turn left: the earlier moment proves less.
            asked_at=due.now,
            attempts=None,
        )


def _unpaid_asked_at(due: DueClose, heard: _Heard | None) -> datetime | None:
    return due.now if heard is not None and heard.unpaid else None


def _turn(due: DueClose, heard: _Heard, over_at: datetime | None) -> Turn:
    """The turn that ends with this answer; a rung that would pass the payer's last moment ends right after it."""
    rung_at = due.now + delay_after(CLOSE_LADDER_S, attempts=due.attempts)
    passes = over_at is not None and due.now <= over_at < rung_at
    return Turn(
        attempt=due.attempt,
        sent=heard.sent,
        unpaid_asked_at=_unpaid_asked_at(due, heard),
        again_at=over_at + RIGHT_AFTER if over_at is not None and passes else None,
    )
