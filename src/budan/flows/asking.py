"""Active queries: for due questions, and for a payer's page that is open."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime

from budan.core.numbers import AccountId, Environment, Lane, Number, trade_number
from budan.core.pace import COMING_AGES_S, MISSING_AGES_S, WAIT_S, WAIT_SHARE
from budan.core.trade import OPEN_STATES, TradeState
from budan.flows.calling import Asking, ChannelCalls
from budan.flows.door_plan import Planned
from budan.flows.healths import AccountHealths
from budan.flows.reading import Reading, own_number
from budan.flows.views import Caller, OrderView
from budan.ports.channel import Method
from budan.ports.clock import Clock
from budan.store import work as stored
from budan.store.database import Database
from budan.store.rows import TradeRow
from budan.store.work import BroughtForward, DueQuestion, TightPace

# A page asks us each second; the channel is asked about one order at most this often by one process.
PAGE_ASKS_EVERY_S = 1.5
PAGES_REMEMBERED_MAX = 10_000
# A fresh code is not asked about before its payer can have paid it.
PAGE_FIRST_ASK_S = 1.0

# What waits longer than the last of an order's usual questions is a night's work, and not what an outage hides.
_TIGHT = TightPace(
    first_s=MISSING_AGES_S[0],
    wait_s=WAIT_S,
    wait_share=WAIT_SHARE,
    horizon_s=COMING_AGES_S[-1],
)


def asking_of(number: Number, trade: TradeRow, *, environment: Environment) -> Asking:
    """The question about one of an order's trades, asked outside its ladder."""
    return Asking(
        account_id=trade.account_id,
        trade_no=trade_number(
            environment=environment,
            lane=trade.lane,
            merchant_id=number.merchant_id,
            order_id=trade.order_id,
            attempt=trade.attempt,
        ),
        method=Method(trade.method),
        created_at=trade.created_at,
        channel_reference=trade.channel_reference,
        asked_at=trade.now,
        attempts=None,
    )


class Questions:
    """Asks channels about trades; what they answer goes through the door."""

    def __init__(
        self,
        *,
        database: Database,
        environment: Environment,
        clock: Clock,
        calls: ChannelCalls,
        reading: Reading,
        healths: AccountHealths,
    ) -> None:
        self._database = database
        self._environment = environment
        self._clock = clock
        self._calls = calls
        self._reading = reading
        self._healths = healths
        self._asked_at_s: OrderedDict[str, float] = OrderedDict()

    async def watch_order(self, caller: Caller, order_no: str) -> OrderView:
        """The order as it is, after asking its channels where a page's turn has come (docs/design.md section 11).

        Safe to repeat: a question too many costs a call, the door makes its answer harmless. Raises `Refused` as
        `own_number` does.
        """
        number = own_number(caller, order_no, environment=self._environment)
        _, trades = await self._reading.get_rows(number)
        asked = [
            trade
            for trade in trades
            if TradeState(trade.state) in OPEN_STATES
            and (trade.now - trade.created_at).total_seconds() >= PAGE_FIRST_ASK_S
            # A channel that has too much to do is asked on the ladder alone, whose pace all workers share.
            and self._healths.rate_per_s(trade.account_id) is None
        ]
        if asked and self._may_ask(order_no):
            await asyncio.gather(
                *(self._calls.ask(asking_of(number, trade, environment=self._environment)) for trade in asked),
            )
        return await self._reading.get_order(caller, order_no)

    async def list_due(
        self,
        *,
        lanes: Sequence[Lane],
        accounts_left_out: Sequence[AccountId],
        rows_max: int,
    ) -> list[DueQuestion]:
        """Questions due in held lanes, oldest first."""
        async with self._database.reading_statement() as transaction:
            return await stored.list_due_questions(
                transaction,
                lanes=lanes,
                accounts_left_out=accounts_left_out,
                rows_max=rows_max,
            )

    async def bring_forward(
        self, *, lanes: Sequence[Lane], accounts: Sequence[AccountId], after: datetime | None, rows_max: int
    ) -> BroughtForward:
        """One page of the questions that wait in held lanes: those of `accounts` wait no longer than is tight.

        They were put off while notices came. Safe to repeat; goes on at `after`, from the beginning where it is None.
        """
        async with self._database.transaction() as transaction:
            return await stored.bring_questions_forward(
                transaction,
                lanes=lanes,
                accounts=accounts,
                after=after,
                pace=_TIGHT,
                rows_max=rows_max,
            )

    async def ask_due(self, due: DueQuestion) -> Planned:
        """Ask a due question and let the answer climb or end its ladder. Safe to repeat."""
        planned, _ = await self._calls.ask(
            Asking(
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
                asked_at=due.now,
                attempts=due.attempts,
            ),
        )
        return planned

    def _may_ask(self, order_no: str) -> bool:
        now_s = self._clock.monotonic_s()
        asked_at_s = self._asked_at_s.get(order_no)
        if asked_at_s is not None and now_s - asked_at_s < PAGE_ASKS_EVERY_S:
            return False
        self._asked_at_s[order_no] = now_s
        self._asked_at_s.move_to_end(order_no)
        if len(self._asked_at_s) > PAGES_REMEMBERED_MAX:
            self._asked_at_s.popitem(last=False)
        return True
