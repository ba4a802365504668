"""From one decision to the rows that its transaction writes."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never

import msgspec

from budan.core.cashback import Cashback, CashbackCause
from budan.core.completion import Consequences, consequences, contradiction_entries
from budan.core.decide import Contradiction, Decision, Effect, Transition, Unchanged, decide, decide_settled
from budan.core.evidence import Evidence, Outcome, Source, evidence_digest
from budan.core.health import NoticeHealth, Sighting, sight
from budan.core.numbers import ORDINAL_MAX, Environment
from budan.core.pace import (
    ENDED_UNHEARD_S_MAX,
    QUERY_LADDER_ENDED_S,
    delay_after,
    ended_unheard_wait,
    is_sampled,
    needs_person,
    question_needs_person,
    question_wait,
)
from budan.core.trade import UNPAID_END_STATES, Trade, TradeState
from budan.flows.cashback_plan import plan_granted, plan_settled, view_written_cashback
from budan.flows.events import OrderEvent, OrderEventOrder, render_event, render_trade_no
from budan.flows.late_money import plan_late_payment, plan_suspense
from budan.flows.views import CashbackView
from budan.store.acts import StatementKey
from budan.store.door import (
    DoorWrites,
    Key,
    LockedOrder,
    LockedTrade,
    NewContradiction,
    NewEvidence,
    NewRefund,
    NewRemedy,
    NewWebhook,
    NextQuestion,
    OrderChange,
    TradeChange,
)

# Who made a correction, in its remedy; persons' names come with operator evidence.
AUTOMATIC = "budan"

# What could not be sent waits at least this long: the account is busy, held back or away.
UNSENT_DELAY = timedelta(seconds=5)


# What a person's word may be about once its channel was asked in vain. An answer that moves none of these must leave its
# moment all the same (I4).
_TESTIFIED_STATES = UNPAID_END_STATES | {TradeState.UNKNOWN, TradeState.REVERSING}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What one evidence is about: a held order, the trade meant, the order's other trades, and its cashback once paid."""

    locked: LockedOrder
    trade: LockedTrade
    siblings: tuple[Trade, ...]
    cashback: Cashback | None = None

    @property
    def key(self) -> Key:
        """Where its rows are."""
        return self.locked.lane, self.locked.order_id

    @property
    def age(self) -> timedelta:
        """How old the trade is."""
        return self.locked.now - self.trade.created_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What was decided, in a word, and what the order and the trade are after it.

    `changed` says that this news changed the order or its trade, `sighting` what a payment says of its account's
    notices, and `age` how old its trade is.
    """

    decision: str
    order_state: str
    trade_state: str
    version: int
    changed: bool = False
    sighting: Sighting | None = None
    age: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """An evidence with what came along.

    The payer's action of a placement, the question's place on its ladder, and the persons whose word it is. `notices` is
    what may be expected of the account's notices: it decides when to ask again. `is_settled`: a release has settled this
    very statement, so that it is no news if it does not fit; `accepted_at` is when two persons took it as it stands.
    """

    evidence: Evidence
    notices: NoticeHealth
    action: str | None = None
    asked_attempts: int | None = None
    actor: str | None = None
    is_settled: bool = False
    accepted_at: datetime | None = None

    @property
    def is_answer(self) -> bool:
        """Whether the channel was asked and anything was learned of the trade."""
        return self.evidence.sent and self.evidence.outcome is not Outcome.UNKNOWN


def plan(subject: Subject, heard: Heard, writes: DoorWrites, *, environment: Environment) -> Planned:
    """Decide on one evidence and add its rows to `writes`; the caller holds the order."""
    evidence = heard.evidence
    decision = decide(subject.locked.order, subject.trade.trade, evidence)
    unfit = decision.mismatch.value if isinstance(decision, Contradiction) else None
    if isinstance(decision, Contradiction) and heard.is_settled:
        decision = decide_settled(
            subject.locked.order, subject.trade.trade, evidence, decision, accepted_at=heard.accepted_at
        )
    match decision:
        case Transition():
            kept = heard if unfit is None else _factless(heard)
            planned = _plan_transition(subject, kept, decision, writes, environment=environment)
        case Unchanged():
            planned = _plan_unchanged(subject, heard, decision, writes)
        case Contradiction():
            planned = _plan_contradiction(subject, heard, decision, writes)
        case _:
            assert_never(decision)
    if unfit is not None:
        # Whatever it ends, it is no payment that fits: a release asks by this word.
        planned = replace(planned, decision=unfit)
    if evidence.outcome in {Outcome.PAID, Outcome.UNPAID_FINAL}:
        writes.evidence.append(
            NewEvidence(
                key=subject.key,
                attempt=subject.trade.trade.attempt,
                evidence=evidence,
                decision=planned.decision,
            ),
        )
    _plan_question(subject, heard, decision, writes)
    if unfit is None:
        planned = replace(planned, sighting=_sighting(subject, evidence, decision))
    return replace(planned, age=subject.age)


def _plan_transition(
    subject: Subject,
    heard: Heard,
    decision: Transition,
    writes: DoorWrites,
    *,
    environment: Environment,
) -> Planned:
    evidence, locked = heard.evidence, subject.locked
    follows = consequences(locked.order, subject.trade.trade, subject.siblings, decision)
    completes = decision.effect is Effect.COMPLETE
    _plan_trade(subject, heard, decision.trade, writes, is_booked=bool(follows.entries))
    writes.orders.append(_order_change(locked, evidence, decision, follows))
    booked = writes.completions if completes else writes.entries
    booked.extend((subject.key, entry) for entry in follows.entries)
    _plan_consequences(subject, heard, follows, writes)
    if completes:
        is_held = (locked.order.hold_reason or decision.hold_reason) is not None
        payer_id = evidence.payer_id or subject.trade.payer_id
        plan_granted(locked, subject.trade, writes, payer_id=payer_id, is_held=is_held)
    if follows.event is not None:
        cashback = view_written_cashback(subject.key, subject.trade, writes, before=None) if completes else None
        writes.webhooks.append(
            _webhook(subject, evidence, decision, follows, cashback=cashback, environment=environment)
        )
    return Planned(
        decision=decision.effect.value,
        order_state=decision.order_state.value,
        trade_state=decision.trade.state.value,
        version=locked.version + 1,
        changed=True,
    )


def _order_change(locked: LockedOrder, evidence: Evidence, decision: Transition, follows: Consequences) -> OrderChange:
    hold_reason = decision.hold_reason or _no_number_left(locked, follows)
    refunds_made = int(follows.refund_minor is not None and locked.refund_count < ORDINAL_MAX)
    if decision.effect is not Effect.COMPLETE:
        return OrderChange(
            locked=locked,
            state=decision.order_state,
            hold_reason=hold_reason,
            refunds_made=refunds_made,
            tells_unpaid=follows.tells_unpaid,
        )
    return OrderChange(
        locked=locked,
        state=decision.order_state,
        hold_reason=hold_reason,
        paid_at=evidence.paid_at,
        paid_attempt=decision.trade.attempt,
        learned_source=evidence.source.value,
        learned_at=evidence.learned_at,
        fee_terms=decision.trade.fee_terms,
        fee_minor=follows.fee_minor,
        refunds_made=refunds_made,
    )


def _no_number_left(locked: LockedOrder, follows: Consequences) -> str | None:
    """The reason to hold an order whose money must go back and has no refund number left: a person sends it."""
    is_used_up = follows.refund_minor is not None and locked.refund_count >= ORDINAL_MAX
    return "refund_numbers_used_up" if is_used_up else None


def _plan_consequences(subject: Subject, heard: Heard, follows: Consequences, writes: DoorWrites) -> None:
    trade, evidence = subject.trade.trade, heard.evidence
    writes.closes.extend((subject.key, attempt) for attempt in follows.close_attempts)
    if follows.remedy is not None:
        writes.remedies.append(
            NewRemedy(
                key=subject.key,
                attempt=trade.attempt,
                cause=follows.remedy.value,
                learned_source=evidence.source.value,
                paid_at=evidence.paid_at,
                learned_at=evidence.learned_at,
                actor=heard.actor or AUTOMATIC,
            ),
        )
    if follows.refund_minor is not None and subject.locked.refund_count < ORDINAL_MAX:
        assert follows.remedy is not None, "money that goes back is always a remedy"
        writes.refunds.append(
            NewRefund(
                key=subject.key,
                ordinal=subject.locked.refund_count + 1,
                attempt=trade.attempt,
                amount_minor=follows.refund_minor,
                currency=trade.currency,
                reason=follows.remedy.value,
            ),
        )


def _webhook(
    subject: Subject,
    evidence: Evidence,
    decision: Transition,
    follows: Consequences,
    *,
    cashback: CashbackView | None,
    environment: Environment,
) -> NewWebhook:
    locked, trade = subject.locked, decision.trade
    assert follows.event is not None
    event = OrderEvent(
        type=follows.event,
        timestamp=locked.now,
        data=OrderEventOrder(
            order_no=render_trade_no(environment, locked, attempt=0),
            reference=locked.reference,
            state=decision.order_state.value,
            version=locked.version + 1,
            amount_minor=locked.order.amount_minor,
            currency=locked.order.currency,
            subject=locked.subject,
            paid_at=evidence.paid_at,
            trade_no=render_trade_no(environment, locked, attempt=trade.attempt),
            channel=subject.trade.channel,
            channel_reference=evidence.channel_reference,
            fee_minor=follows.fee_minor if decision.effect is Effect.COMPLETE else None,
            cashback=cashback,
            hold_reason=locked.order.hold_reason,
        ),
    )
    return NewWebhook(
        key=subject.key,
        version=locked.version + 1,
        merchant_id=locked.order.merchant_id,
        event=event.type,
        body=render_event(event),
    )


def _plan_unchanged(subject: Subject, heard: Heard, decision: Unchanged, writes: DoorWrites) -> Planned:
    """Nothing moves; a question that was asked is counted, a placement's action is kept, and a payer that is news known."""
    trade = subject.trade.trade
    version = subject.locked.version + _plan_payer_known(subject, heard.evidence, writes)
    if heard.action is not None or heard.asked_attempts is not None:
        _plan_trade(subject, heard, trade, writes, is_booked=False)
    elif heard.evidence.is_channels_word and trade.state in _TESTIFIED_STATES:
        writes.trades.append(_answer_alone(subject, heard))
    return Planned(
        decision=decision.reason,
        order_state=subject.locked.order.state.value,
        trade_state=trade.state.value,
        version=version,
    )


def _plan_payer_known(subject: Subject, evidence: Evidence, writes: DoorWrites) -> bool:
    """A payment that was told without its payer, and now with it: its cashback waited for that."""
    locked = subject.locked
    tells = evidence.outcome is Outcome.PAID and evidence.payer_id is not None
    if not tells or subject.cashback is None or locked.order.paid_attempt != subject.trade.trade.attempt:
        return False
    is_news = plan_settled(
        locked,
        subject.trade,
        subject.cashback,
        writes,
        cause=CashbackCause.PAYER_KNOWN,
        payer_id=evidence.payer_id,
        is_held=locked.order.hold_reason is not None,
    )
    if is_news:
        writes.orders.append(OrderChange(locked=locked, state=locked.order.state))
    return is_news


def _plan_contradiction(subject: Subject, heard: Heard, decision: Contradiction, writes: DoorWrites) -> Planned:
    """Recorded, the order held, and money that came booked to suspense; no pay state moves."""
    trade, evidence = subject.trade.trade, heard.evidence
    hold_reason = None if heard.is_settled else decision.mismatch.value
    writes.orders.append(
        OrderChange(locked=subject.locked, state=subject.locked.order.state, hold_reason=hold_reason),
    )
    # What another account says is no word of the trade's channel, which persons may stand for while it is silent.
    if evidence.is_channels_word and evidence.account_id == trade.account_id:
        writes.trades.append(_answer_alone(subject, heard))
    writes.contradictions.append(
        NewContradiction(
            key=subject.key,
            attempt=trade.attempt,
            digest=evidence_digest(evidence),
            mismatch=decision.mismatch.value,
            statement=msgspec.json.encode(evidence).decode(),
        ),
    )
    entries = contradiction_entries(trade, evidence, decision)
    if entries:
        writes.entries.extend((subject.key, entry) for entry in entries)
        plan_suspense(subject.locked, subject.trade, evidence, writes)
    return Planned(
        decision=decision.mismatch.value,
        order_state=subject.locked.order.state.value,
        trade_state=trade.state.value,
        version=subject.locked.version + 1,
        changed=subject.locked.order.hold_reason is None and not heard.is_settled,
    )


def statements_of(contradictions: Sequence[NewContradiction]) -> list[StatementKey]:
    """What names each contradiction's statement in the store."""
    return [(*one.key, one.attempt, one.digest) for one in contradictions]


def spare_settled(writes: DoorWrites, settled: AbstractSet[StatementKey]) -> None:
    """Take back the holds of statements that a release has settled: they were judged, and say nothing new."""
    judged = {statement[:2] for statement in statements_of(writes.contradictions) if statement in settled}
    writes.orders = [
        replace(change, hold_reason=None) if (change.locked.lane, change.locked.order_id) in judged else change
        for change in writes.orders
    ]


def _plan_trade(subject: Subject, heard: Heard, after: Trade, writes: DoorWrites, *, is_booked: bool) -> None:
    """The trade after this evidence with the facts that it names, and what of them its day's comparison might not hear."""
    writes.trades.append(_trade_change(subject, heard, after))
    told_at = heard.evidence.paid_at
    plan_late_payment(subject.locked, subject.trade, after, writes, told_at=told_at, is_booked=is_booked)


def _trade_change(subject: Subject, heard: Heard, after: Trade) -> TradeChange:
    return TradeChange(
        key=subject.key,
        trade=after,
        evidence=heard.evidence,
        asked=heard.evidence.source is Source.QUERY,
        action=heard.action,
    )


def _answer_alone(subject: Subject, heard: Heard) -> TradeChange:
    """That the channel was heard, without the facts that it named."""
    return _trade_change(subject, _factless(heard), subject.trade.trade)


def _factless(heard: Heard) -> Heard:
    """What was heard without the facts that it names: they may not fit the trade."""
    evidence = replace(
        heard.evidence,
        channel_reference=None,
        wallet_reference=None,
        payer_id=None,
        wallet=None,
        payer_minor=None,
        settle_minor=None,
        paid_at=None,
    )
    return replace(heard, evidence=evidence, action=None)


def _plan_question(subject: Subject, heard: Heard, decision: Decision, writes: DoorWrites) -> None:
    """When to ask about the trade again (I6). Only an answer to a question from the ladder climbs it."""
    before = subject.trade.trade
    after = decision.trade if isinstance(decision, Transition) else before
    now, attempts = subject.locked.now, heard.asked_attempts
    is_news = after.state is not TradeState.SUCCEEDED or heard.evidence.reversed_here
    if heard.evidence.source is Source.BILL and is_news:
        # The bill may know of money that we do not, or that what was paid is back; the channel's signed answer decides (I4).
        _ask(subject, now, attempts=0, writes=writes)
        return
    match after.state:
        case TradeState.SUCCEEDED:
            _ask(subject, None, attempts=0, writes=writes)
        case TradeState.FAILED | TradeState.CLOSED | TradeState.REVERSED:
            _plan_ended_question(subject, heard, after, writes)
        case (
            TradeState.CREATED
            | TradeState.SUBMITTED
            | TradeState.USER_PAYING
            | TradeState.UNKNOWN
            | TradeState.REVERSING
        ):
            if attempts is not None:
                writes.questions.append(_next_question(subject, heard, after, attempts))
        case _:
            assert_never(after.state)


def _plan_ended_question(subject: Subject, heard: Heard, after: Trade, writes: DoorWrites) -> None:
    """A trade that ended unpaid is asked about twice more; one whose payment came and went back has told all.

    Only an answer counts as asked: nothing else would look for the second payment of an order that is paid.
    """
    now, attempts = subject.locked.now, heard.asked_attempts
    if after.state is TradeState.REVERSED and after.paid_seen:
        _ask(subject, None, attempts=0, writes=writes)
    elif subject.trade.trade.is_open:
        _ask(subject, now + delay_after(QUERY_LADDER_ENDED_S, attempts=0), attempts=0, writes=writes)
    elif attempts is not None and not heard.is_answer:
        wait = ended_unheard_wait(age=subject.age)
        is_slow = wait >= timedelta(seconds=ENDED_UNHEARD_S_MAX)
        _ask(subject, now + wait, attempts=attempts, writes=writes, needs_person=is_slow)
    elif attempts is not None:
        climbed = attempts + 1
        last = needs_person(QUERY_LADDER_ENDED_S, attempts=climbed)
        due_at = None if last else now + delay_after(QUERY_LADDER_ENDED_S, attempts=climbed)
        _ask(subject, due_at, attempts=climbed, writes=writes)


def _next_question(subject: Subject, heard: Heard, after: Trade, attempts: int) -> NextQuestion:
    """When to ask about an open trade again.

    A question that never left, or that nothing was learned by, says nothing of the trade: it is due again as soon as if
    nobody knew whether notices come, so that a young order is still young when its channel is back. The one that never
    left counts for nothing.
    """
    now, asked = subject.locked.now, attempts + heard.evidence.sent
    wait = question_wait(
        direction=after.direction,
        age=subject.age,
        attempts=asked,
        notices=heard.notices if heard.is_answer else NoticeHealth.UNKNOWN,
        is_sampled=is_sampled(subject.locked.order_id),
    )
    return NextQuestion(
        key=subject.key,
        attempt=after.attempt,
        due_at=now + (wait if heard.evidence.sent else max(wait, UNSENT_DELAY)),
        attempts=asked,
        needs_person=question_needs_person(
            direction=after.direction,
            attempts=asked,
            open_too_long=now - (after.expires_at or subject.trade.created_at),
        ),
    )


def _sighting(subject: Subject, evidence: Evidence, decision: Decision) -> Sighting | None:
    """What a payment that fits says of its account's notices."""
    trade = subject.trade.trade
    is_news = isinstance(decision, Transition) and decision.trade.paid_seen and not trade.paid_seen
    return sight(
        evidence,
        direction=trade.direction,
        created_at=subject.trade.created_at,
        is_news=is_news,
        now=subject.locked.now,
    )


def _ask(
    subject: Subject, due_at: datetime | None, *, attempts: int, writes: DoorWrites, needs_person: bool = False
) -> None:
    writes.questions.append(
        NextQuestion(
            key=subject.key,
            attempt=subject.trade.trade.attempt,
            due_at=due_at,
            attempts=attempts,
            needs_person=needs_person,
        ),
    )
