"""A person's word on a trade: two persons, a reason, and only where the channel has stopped to answer (I4)."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from budan.core.errors import Refused
from budan.core.evidence import Evidence, Outcome, Source
from budan.core.numbers import Environment, Number, trade_number
from budan.core.trade import OPEN_STATES, TradeState
from budan.flows.acts import ACTS_MAX, actors, check_name, check_reason, get_proposal
from budan.flows.asking import asking_of
from budan.flows.calling import ChannelCalls, is_answer
from budan.flows.door import Door, DoorItem
from budan.flows.locking import lock_named
from budan.flows.timelines import CHILD_ROWS_MAX, parse_order_no
from budan.ports.clock import Clock
from budan.store import acts as stored
from budan.store import reading, timeline
from budan.store.acts import ActRow
from budan.store.database import Database, Transaction
from budan.store.door import Key
from budan.store.rows import TradeRow

# The channel is asked when the word is proposed and when it is confirmed, and in between by the ladder. Silence that
# lasts this long is more than a bad minute.
SILENCE_MIN = timedelta(minutes=30)
_NO_ANSWERS = frozenset({Source.OPERATOR.value, Source.BILL.value})
_SAID = {"paid": Outcome.PAID, "unpaid": Outcome.UNPAID_FINAL}


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """What a person says of a trade. `silence` is how the channel did not answer when it was asked for the proposal.

    `run` is set where the word stands for a row of a bill that was loaded by hand (flows/file_words.py).
    """

    attempt: int
    outcome: str
    channel_reference: str | None
    paid_at: datetime | None
    silence: str
    asked_at: datetime | None = None
    run: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """A person's word that waits for a second one, and for the channel's silence to have lasted."""

    trade_no: str
    act: int
    outcome: str
    silence: str
    confirm_from: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Testified:
    """What two persons' word did."""

    trade_no: str
    decision: str
    order_state: str
    trade_state: str
    version: int
    actor: str


class Testimony:
    """Takes persons' words to the door."""

    def __init__(
        self, *, database: Database, environment: Environment, calls: ChannelCalls, door: Door, clock: Clock
    ) -> None:
        self._database = database
        self._environment = environment
        self._calls = calls
        self._door = door
        self._clock = clock

    async def propose(
        self,
        trade_no: str,
        *,
        by: str,
        reason: str,
        outcome: str,
        channel_reference: str | None,
        paid_at: datetime | None,
    ) -> Proposed:
        """Write down one person's word on a trade, after asking the channel in vain.

        Raises `Refused` with `name_malformed`, `reason_malformed`, `outcome_unknown`, `paid_at_missing`, as
        `parse_order_no` does, then with `trade_not_found`, `trade_already_paid`, `trade_already_ended` (where it
        shall end unpaid), `channel_not_asked` or `channel_answers`: then the channel's own word has gone through the
        door.
        """
        by, reason = check_name(by), check_reason(reason)
        if outcome not in _SAID:
            raise Refused("outcome_unknown", param="outcome", detail=f"one of {', '.join(_SAID)}")
        if (outcome == "paid") != (paid_at is not None):
            raise Refused("paid_at_missing", param="paid_at", detail="with paid, and with nothing else")
        number, trade = await self._get_trade(trade_no)
        _refuse_known(trade, outcome)
        silence = await self._ask_in_vain(number, trade)
        word = Word(
            attempt=trade.attempt,
            outcome=outcome,
            channel_reference=channel_reference,
            paid_at=paid_at,
            silence=silence,
            asked_at=trade.now,
        )
        async with self._database.transaction() as transaction:
            locked = await lock_named(transaction, number)
            act = await stored.add_act(
                transaction,
                _key(number),
                kind="evidence",
                acted_by=by,
                reason=reason,
                acted_at=locked.now,
                wish=msgspec.json.encode(word).decode(),
            )
        confirm_from = locked.now + SILENCE_MIN
        return Proposed(trade_no=trade_no, act=act, outcome=outcome, silence=silence, confirm_from=confirm_from)

    async def confirm(self, trade_no: str, *, by: str, act: int) -> Testified:
        """A second person agrees, and the channel is still silent: the word goes through the door. Safe to repeat.

        Raises `Refused` with `name_malformed`, as `parse_order_no` does, then with `trade_not_found`, as
        `get_proposal` does, then with `too_early`, `channel_not_asked` or `channel_answers`.
        """
        by = check_name(by)
        number, trade = await self._get_trade(trade_no)
        async with self._database.reading() as transaction:
            await self._get_proposal(transaction, number, act=act, by=by)
        await self._ask_in_vain(number, trade)
        async with self._database.transaction() as transaction:
            locked = await lock_named(transaction, number)
            proposal = await self._get_proposal(transaction, number, act=act, by=by)
            await refuse_heard(transaction, _key(number), attempt=number.ordinal, proposal=proposal)
            await stored.confirm_act(transaction, _key(number), ordinal=act, confirmed_by=by, confirmed_at=locked.now)
            acts = await stored.list_acts(transaction, [_key(number)], rows_max=ACTS_MAX)
        confirmed = next(one for one in acts if one.ordinal == act)
        word = msgspec.json.decode(confirmed.wish, type=Word)
        planned = await self._door.record(
            DoorItem(evidence=self._evidence(number, trade, word), actor=actors(confirmed))
        )
        return Testified(
            trade_no=trade_no,
            decision=planned.decision,
            order_state=planned.order_state,
            trade_state=planned.trade_state,
            version=planned.version,
            actor=actors(confirmed),
        )

    async def _get_trade(self, trade_no: str) -> tuple[Number, TradeRow]:
        number = parse_order_no(trade_no, environment=self._environment)
        async with self._database.reading() as transaction:
            trades = (await reading.list_trades(transaction, [_key(number)])).get(_key(number), [])
            order = (await timeline.find_orders(transaction, [_key(number)])).get(_key(number))
        trade = next((one for one in trades if one.attempt == number.ordinal), None)
        if trade is None or order is None or order.merchant_id != number.merchant_id:
            raise Refused(
                "trade_not_found", param="trade_no", detail="a word is about one trade: orders show names them"
            )
        return number, trade

    async def _get_proposal(self, transaction: Transaction, number: Number, *, act: int, by: str) -> ActRow:
        now = await transaction.clock()
        acts = await stored.list_acts(transaction, [_key(number)], rows_max=ACTS_MAX)
        proposal = get_proposal(acts, ordinal=act, kind="evidence", by=by, now=now)
        word = msgspec.json.decode(proposal.wish, type=Word)
        if word.attempt != number.ordinal:
            raise Refused("proposal_not_found", param="confirm", detail=f"it is about trade {word.attempt}")
        if word.run is not None:
            raise Refused("proposal_not_found", param="confirm", detail=f"it is about the bill of run {word.run}")
        refuse_too_early(proposal, now=now)
        return proposal

    async def _ask_in_vain(self, number: Number, trade: TradeRow) -> str:
        """How the channel did not answer; its answer, whatever it says, is worth more than a person's word.

        A question that never left proves no silence: this machine may have no way out, or no key of the account.
        """
        planned, result = await self._calls.ask(asking_of(number, trade, environment=self._environment))
        if not result.sent:
            raise Refused("channel_not_asked", param="trade_no", detail=f"the question did not leave: {result.code}")
        if is_answer(result):
            said = f"{result.outcome.value} {result.code}".strip()
            raise Refused("channel_answers", param="trade_no", detail=f"it says {said}: {planned.decision}")
        return result.code

    def _evidence(self, number: Number, trade: TradeRow, word: Word) -> Evidence:
        paid = word.outcome == "paid"
        return Evidence(
            trade_no=trade_number(
                environment=self._environment,
                lane=trade.lane,
                merchant_id=number.merchant_id,
                order_id=trade.order_id,
                attempt=trade.attempt,
            ),
            account_id=trade.account_id,
            outcome=_SAID[word.outcome],
            source=Source.OPERATOR,
            learned_at=self._clock.now(),
            order_minor=trade.amount_minor if paid else None,
            currency=trade.currency if paid else None,
            channel_reference=word.channel_reference,
            paid_at=word.paid_at,
        )


def _key(number: Number) -> Key:
    return number.lane, number.order_id


def _refuse_known(trade: TradeRow, outcome: str) -> None:
    state = TradeState(trade.state)
    if state is TradeState.SUCCEEDED:
        raise Refused("trade_already_paid", param="trade_no")
    if outcome == "unpaid" and state not in OPEN_STATES:
        raise Refused("trade_already_ended", param="trade_no")


def refuse_too_early(proposal: ActRow, *, now: datetime) -> None:
    """Raises `Refused` with `too_early` where the silence has not lasted."""
    if now < proposal.acted_at + SILENCE_MIN:
        detail = f"the channel must be silent until {proposal.acted_at + SILENCE_MIN:%Y-%m-%dT%H:%M:%SZ}"
        raise Refused("too_early", param="confirm", detail=detail)


async def refuse_heard(transaction: Transaction, key: Key, *, attempt: int, proposal: ActRow) -> None:
    """Any word of the channel that came meanwhile, by whatever way and be it "not yet", ends the need for a person's.

    Raises `Refused` with `channel_answers`. A row of the channel's bill is no answer.
    """
    since = msgspec.json.decode(proposal.wish, type=Word).asked_at or proposal.acted_at
    answered_at = await stored.find_answered_at(transaction, key, attempt=attempt)
    if answered_at is not None and answered_at >= since:
        raise Refused("channel_answers", param="trade_no", detail=f"it did at {answered_at:%Y-%m-%dT%H:%M:%SZ}")
    rows = await timeline.list_evidence(transaction, [key], rows_max=CHILD_ROWS_MAX)
    for row in rows:
        if row.attempt == attempt and row.source not in _NO_ANSWERS and row.learned_at >= since:
            raise Refused("channel_answers", param="trade_no", detail=f"it said {row.outcome} by {row.source}")
