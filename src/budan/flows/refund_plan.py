"""From one decision about a refund to the rows that its transaction writes."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, assert_never

from budan.core.cashback import Cashback, CashbackCause
from budan.core.fees import fee_to_give_back
from budan.core.ledger import Entry, refund_entry, unwanted_refund_entry
from budan.core.money import Money
from budan.core.numbers import ORDINAL_MAX, AccountId, Environment
from budan.core.pace import REFUND_ANEW_ATTEMPTS, REFUND_LADDER_S, delay_after, refund_unsent_wait
from budan.core.refund import (
    OPEN_REFUND_STATES,
    Refund,
    RefundContradiction,
    RefundEffect,
    RefundEvidence,
    RefundMismatch,
    RefundOrigin,
    RefundOutcome,
    RefundState,
    RefundTransition,
    RefundUnchanged,
    decide_refund,
    external_refund_minor,
    refund_evidence_digest,
    refund_mismatch,
    refund_settled_at,
)
from budan.core.trade import TradeState
from budan.flows.cashback_plan import plan_settled, view_written_cashback
from budan.flows.events import RefundEvent, RefundEventRefund, render_event, render_refund_no, render_trade_no
from budan.flows.late_money import plan_late_refund
from budan.store.door import DoorWrites, Key, LockedOrder, LockedTrade, NewContradiction, NewWebhook, OrderChange
from budan.store.refunds import (
    KeptRefundEvidence,
    NextStep,
    RefundChange,
    RefundMade,
    RefundRow,
    RefundWrites,
    SumsChange,
)

# What opens an inquiry: a person finds out who gave the money back, and why.
REFUNDED_ELSEWHERE = "refunded_elsewhere"

# A channel's clock may be so far ahead of ours.
CLOCK_SKEW_MAX: Final = timedelta(minutes=10)

# What was told and cannot be booked yet: it is not kept, so whoever told it must tell it again.
TOLD_TOO_EARLY = frozenset({"total_waits", "payment_not_known"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundSubject:
    """What one evidence is about: a held order, the trade, and all of the order's refunds."""

    locked: LockedOrder
    trade: LockedTrade
    refunds: tuple[RefundRow, ...]
    cashback: Cashback | None = None

    @property
    def key(self) -> Key:
        """Where its rows are."""
        return self.locked.lane, self.locked.order_id

    @property
    def completes_order(self) -> bool:
        """Whether this trade's money completed the order; else it was never the merchant's."""
        return self.locked.order.paid_attempt == self.trade.trade.attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundPlanned:
    """What was decided, in a word, what the refund is after it, and whether this news changed anything."""

    decision: str
    state: str
    changed: bool = False


@dataclass(slots=True, kw_only=True)
class Writes:
    """What a transaction about refunds writes: of orders and books by the door's statements, of refunds by its own."""

    door: DoorWrites
    refunds: RefundWrites


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundFacts:
    """What an event tells of a refund beside its order."""

    ordinal: int
    state: RefundState
    origin: RefundOrigin
    amount_minor: int
    reason: str
    refunded_at: datetime | None
    fee_minor: int


# The code of a refund that ended because its money had gone back by another way.
OVERTAKEN_CODE: Final = "refunded_elsewhere"


def refund_of(row: RefundRow, *, account_id: AccountId, owed_minor: int) -> Refund:
    """The row as `decide_refund` sees it."""
    return Refund(
        ordinal=row.ordinal,
        origin=RefundOrigin(row.origin),
        state=RefundState(row.state),
        account_id=account_id,
        amount_minor=row.amount_minor,
        owed_minor=owed_minor,
        currency=row.currency,
        to_send=row.to_send,
        refused=row.refused,
        untaken=row.untaken,
        send_until=row.send_until,
    )


def plan_refund(
    subject: RefundSubject,
    row: RefundRow,
    evidence: RefundEvidence,
    writes: Writes,
    *,
    attempts: int | None,
    environment: Environment,
) -> RefundPlanned:
    """Decide on one evidence of a refund of ours and add its rows; the caller holds the order.

    `attempts` is the step's place on its ladder, None for evidence that no due step brought.
    """
    before = refund_of(row, account_id=subject.trade.trade.account_id, owed_minor=_owed_minor(subject))
    decision = decide_refund(before, evidence)
    match decision:
        case RefundTransition():
            after = decision.refund
            planned = _plan_transition(subject, row, evidence, decision, writes, environment=environment)
        case RefundUnchanged():
            after = before
            planned = RefundPlanned(decision=decision.reason, state=before.state.value)
        case RefundContradiction():
            after = before
            planned = _plan_contradiction(subject, row.attempt, evidence, decision.mismatch, writes)
            if decision.mismatch is RefundMismatch.WRONG_ACCOUNT and attempts is None:
                # It may be a stranger's: nobody's word about a refund of another account hurries our questions.
                return planned
        case _:
            assert_never(decision)
    if evidence.outcome not in {RefundOutcome.UNKNOWN, RefundOutcome.PENDING, RefundOutcome.NOT_FOUND}:
        writes.refunds.evidence.append(
            KeptRefundEvidence(key=subject.key, ordinal=row.ordinal, evidence=evidence, decision=planned.decision)
        )
    age = subject.locked.now - (row.send_after or row.created_at)
    _plan_step(subject, after, evidence, writes, attempts=attempts, age=age)
    return planned


def plan_external(
    subject: RefundSubject, evidence: RefundEvidence, writes: Writes, *, environment: Environment
) -> RefundPlanned:
    """A refund that none of ours explains: booked as it is, and the order is held for an inquiry.

    What another account or currency tells is not this trade's money: recorded, the order held, nothing booked (I4).
    """
    trade = subject.trade.trade
    mismatch = refund_mismatch(evidence, account_id=trade.account_id, currency=trade.currency)
    if mismatch is not None:
        return _plan_contradiction(subject, trade.attempt, evidence, mismatch, writes)
    known_as = evidence.refund_no or f"total:{evidence.refunded_total_minor}"
    refused = _external_unchanged(subject, evidence, known_as=known_as)
    if refused is not None:
        return RefundPlanned(decision=refused, state="")
    untaken_minor = sum(row.amount_minor for row in subject.refunds if row.untaken and row.attempt == trade.attempt)
    amount_minor = external_refund_minor(subject.trade.refunds, evidence, untaken_minor=untaken_minor)
    if amount_minor is None:
        _ask_open_refunds(subject, writes)
        return RefundPlanned(decision="total_waits", state="")
    is_possible = amount_minor <= subject.trade.refunds.paid_minor - subject.trade.refunds.gone_minor
    if not is_possible or subject.locked.refund_count >= ORDINAL_MAX:
        return _plan_contradiction(subject, trade.attempt, evidence, RefundMismatch.WRONG_AMOUNT, writes)
    if amount_minor == 0:
        return RefundPlanned(decision="already_known", state="")
    return _plan_made_elsewhere(subject, evidence, amount_minor, writes, known_as=known_as, environment=environment)


def _plan_made_elsewhere(
    subject: RefundSubject,
    evidence: RefundEvidence,
    amount_minor: int,
    writes: Writes,
    *,
    known_as: str,
    environment: Environment,
) -> RefundPlanned:
    attempt, ordinal = subject.trade.trade.attempt, subject.locked.refund_count + 1
    fee_minor = _book(subject, ordinal=ordinal, amount_minor=amount_minor, writes=writes)
    writes.refunds.sums.append(
        SumsChange(
            key=subject.key,
            attempt=attempt,
            elsewhere_minor=amount_minor,
            fee_minor=fee_minor,
        )
    )
    writes.refunds.made.append(
        RefundMade(
            key=subject.key,
            ordinal=ordinal,
            attempt=attempt,
            origin=RefundOrigin.EXTERNAL.value,
            state=RefundState.SUCCEEDED.value,
            amount_minor=amount_minor,
            currency=subject.trade.trade.currency,
            reason=REFUNDED_ELSEWHERE,
            channel_reference=known_as,
            refunded_at=evidence.refunded_at,
            learned_source=evidence.source.value,
            fee_minor=fee_minor,
        )
    )
    writes.refunds.evidence.append(
        KeptRefundEvidence(key=subject.key, ordinal=ordinal, evidence=evidence, decision="external")
    )
    facts = RefundFacts(
        ordinal=ordinal,
        state=RefundState.SUCCEEDED,
        origin=RefundOrigin.EXTERNAL,
        amount_minor=amount_minor,
        reason=REFUNDED_ELSEWHERE,
        refunded_at=evidence.refunded_at,
        fee_minor=fee_minor,
    )
    plan_late_refund(subject.locked, subject.trade, ordinal, writes.door, refunded_at=evidence.refunded_at)
    _change_order(subject, writes, hold_reason=REFUNDED_ELSEWHERE)
    _tell(subject, facts, "refund.succeeded", writes, environment=environment)
    return RefundPlanned(decision="external", state=RefundState.SUCCEEDED.value)


def _plan_transition(
    subject: RefundSubject,
    row: RefundRow,
    evidence: RefundEvidence,
    decision: RefundTransition,
    writes: Writes,
    *,
    environment: Environment,
) -> RefundPlanned:
    refund, hold_reason, fee_minor, event = decision.refund, None, 0, None
    match decision.effect:
        case RefundEffect.NOTHING:
            pass
        case RefundEffect.GIVE_BACK | RefundEffect.GIVE_BACK_FREED:
            freed = decision.effect is RefundEffect.GIVE_BACK_FREED
            fee_minor = _give_back(subject, row, freed=freed, writes=writes)
            refunded_at = row.refunded_at or evidence.refunded_at
            plan_late_refund(subject.locked, subject.trade, row.ordinal, writes.door, refunded_at=refunded_at)
            # The merchant was told that the amount is free again, and may have refunded it anew.
            hold_reason = "refunded_after_failed" if freed else None
            event = "refund.succeeded"
        case RefundEffect.FREE:
            _move_sums(subject, row, writes, reserved_minor=-row.amount_minor)
            event = "refund.failed"
        case RefundEffect.ASK_PERSON:
            event = "refund.abnormal"
        case RefundEffect.BEGIN_ANEW:
            hold_reason = _begin_anew(subject, row, writes)
        case RefundEffect.OVERTAKEN:
            # The merchant was told of what was made elsewhere; "failed" would sound as if the payer had nothing.
            _move_sums(subject, row, writes, reserved_minor=-row.amount_minor)
            evidence = replace(evidence, code=OVERTAKEN_CODE, message="the payment is back with its payer already")
        case _:
            assert_never(decision.effect)
    ended = refund.state not in OPEN_REFUND_STATES
    writes.refunds.changes.append(
        RefundChange(
            key=subject.key,
            refund=refund,
            evidence=evidence,
            asked=evidence.asked_at is not None,
            ended=ended,
            fee_minor=fee_minor,
        )
    )
    _change_order(subject, writes, hold_reason=hold_reason)
    if event is not None:
        facts = RefundFacts(
            ordinal=row.ordinal,
            state=refund.state,
            origin=refund.origin,
            amount_minor=row.amount_minor,
            reason=row.reason,
            refunded_at=evidence.refunded_at,
            fee_minor=fee_minor,
        )
        _tell(subject, facts, event, writes, environment=environment)
    word = refund.state.value if decision.effect is RefundEffect.NOTHING else decision.effect.value
    return RefundPlanned(decision=word, state=refund.state.value)


def _give_back(subject: RefundSubject, row: RefundRow, *, freed: bool, writes: Writes) -> int:
    """Books what went back; gives the fee that goes with it. What had been freed already is no longer reserved."""
    fee_minor = _book(subject, ordinal=row.ordinal, amount_minor=row.amount_minor, writes=writes)
    writes.refunds.sums.append(
        SumsChange(
            key=subject.key,
            attempt=row.attempt,
            reserved_minor=0 if freed else -row.amount_minor,
            refunded_minor=0 if freed else row.amount_minor,
            elsewhere_minor=row.amount_minor if freed else 0,
            fee_minor=fee_minor,
        )
    )
    return fee_minor


def _book(subject: RefundSubject, *, ordinal: int, amount_minor: int, writes: Writes) -> int:
    trade, sums = subject.trade.trade, subject.trade.refunds
    refunded = Money(amount_minor=amount_minor, currency=trade.currency)
    if not subject.completes_order:
        entry: Entry = unwanted_refund_entry(ordinal=ordinal, account_id=trade.account_id, refunded=refunded)
        writes.door.entries.append((subject.key, entry))
        return 0
    fee_back = fee_to_give_back(
        Money(amount_minor=trade.amount_minor, currency=trade.currency),
        trade.fee_terms,
        refunded_minor=sums.gone_minor + amount_minor,
        given_minor=sums.fee_given_back_minor,
    )
    entry = refund_entry(
        ordinal=ordinal,
        account_id=trade.account_id,
        merchant_id=subject.locked.order.merchant_id,
        refunded=refunded,
        fee_back=fee_back,
    )
    writes.door.entries.append((subject.key, entry))
    return fee_back.amount_minor


def _begin_anew(subject: RefundSubject, row: RefundRow, writes: Writes) -> str | None:
    """A new number for money that must go back all the same; what is owed still stays reserved for it."""
    amount_minor = min(row.amount_minor, _owed_minor(subject))
    if subject.locked.refund_count >= ORDINAL_MAX:
        return "refund_numbers_used_up"
    if amount_minor < row.amount_minor:
        _move_sums(subject, row, writes, reserved_minor=amount_minor - row.amount_minor)
    ordinal = subject.locked.refund_count + 1
    writes.refunds.made.append(
        RefundMade(
            key=subject.key,
            ordinal=ordinal,
            attempt=row.attempt,
            origin=row.origin,
            state=RefundState.CREATED.value,
            amount_minor=amount_minor,
            currency=row.currency,
            reason=row.reason,
        )
    )
    # Its predecessor was refused for good: a moment later the channel will hardly think otherwise.
    due_at = subject.locked.now + delay_after(REFUND_LADDER_S, attempts=REFUND_ANEW_ATTEMPTS)
    writes.refunds.steps.append(
        NextStep(key=subject.key, ordinal=ordinal, due_at=due_at, attempts=REFUND_ANEW_ATTEMPTS)
    )
    return None


def _owed_minor(subject: RefundSubject) -> int:
    sums = subject.trade.refunds
    return sums.paid_minor - sums.gone_minor


def _plan_contradiction(
    subject: RefundSubject, attempt: int, evidence: RefundEvidence, mismatch: RefundMismatch, writes: Writes
) -> RefundPlanned:
    _change_order(subject, writes, hold_reason=mismatch.value)
    writes.door.contradictions.append(
        NewContradiction(
            key=subject.key,
            attempt=attempt,
            digest=refund_evidence_digest(evidence),
            mismatch=mismatch.value,
            statement=None,
        )
    )
    return RefundPlanned(decision=mismatch.value, state="")


def _plan_step(
    subject: RefundSubject,
    after: Refund,
    evidence: RefundEvidence,
    writes: Writes,
    *,
    attempts: int | None,
    age: timedelta,
) -> None:
    """When to take the next step (I6). Only the answer to a due step climbs the ladder.

    `age` is how long the refund could have been sent.
    """
    now = subject.locked.now

    def due(due_at: datetime | None, climbed: int) -> None:
        step = NextStep(key=subject.key, ordinal=after.ordinal, due_at=due_at, attempts=climbed)
        writes.refunds.steps.append(step)

    if after.state not in OPEN_REFUND_STATES:
        due(None, 0)
    elif attempts is None:
        # News that ends nothing is a reason to ask now.
        if evidence.outcome is not RefundOutcome.UNKNOWN and after.state is not RefundState.ABNORMAL:
            due(now, 0)
    else:
        # What never left keeps its rung; a first send is asked about from the ladder's beginning.
        climbed = attempts + 1 if evidence.sent else attempts
        wait = delay_after(REFUND_LADDER_S, attempts=climbed - 1 if climbed else 0)
        due_at = now + (wait if evidence.sent else refund_unsent_wait(age=age))
        if after.state is RefundState.ABNORMAL:
            due_at = now + delay_after(REFUND_LADDER_S, attempts=len(REFUND_LADDER_S))
        elif after.refused and after.send_until is not None:
            # Before this moment "no such refund" would not confirm the refusal.
            due_at = max(due_at, refund_settled_at(after.send_until))
        due(due_at, climbed)


def _external_unchanged(subject: RefundSubject, evidence: RefundEvidence, *, known_as: str) -> str | None:
    if evidence.outcome is not RefundOutcome.SUCCEEDED:
        return "no_money_moved"
    trade = subject.trade.trade
    if trade.state is TradeState.REVERSED and trade.paid_seen:
        # Alipay tells of what a cancel paid back as of a refund; the reverse has booked it.
        return "already_returned"
    if trade.state is not TradeState.SUCCEEDED:
        return "payment_not_known"
    if any(row.channel_reference == known_as for row in subject.refunds):
        return "already_known"
    if any(_may_hold(row, evidence) for row in subject.refunds if row.attempt == trade.attempt):
        return "may_be_in_total"
    return None


def _may_hold(row: RefundRow, evidence: RefundEvidence) -> bool:
    """Whether a refund that is told by itself may be one of those that a total told, booked under the last one's number.

    Nobody can tell them apart but a person: booked again it would take the merchant's money twice.
    """
    if not row.by_total or evidence.amount_minor is None or evidence.amount_minor > row.amount_minor:
        return False
    assert row.ended_at is not None, "what was made past us was over when we learned of it"
    return evidence.refunded_at is None or evidence.refunded_at <= row.ended_at + CLOCK_SKEW_MAX


def _ask_open_refunds(subject: RefundSubject, writes: Writes) -> None:
    """Our own refunds of the trade are asked about at once: only after their answers can the total be told apart."""
    for row in subject.refunds:
        if RefundState(row.state) in OPEN_REFUND_STATES and row.attempt == subject.trade.trade.attempt:
            step = NextStep(key=subject.key, ordinal=row.ordinal, due_at=subject.locked.now, attempts=0)
            writes.refunds.steps.append(step)


def _move_sums(subject: RefundSubject, row: RefundRow, writes: Writes, *, reserved_minor: int) -> None:
    writes.refunds.sums.append(
        SumsChange(
            key=subject.key,
            attempt=row.attempt,
            reserved_minor=reserved_minor,
        )
    )


def _change_order(subject: RefundSubject, writes: Writes, *, hold_reason: str | None) -> None:
    """Raises the order's version; carries over to it what this transaction made and moved, its cashback with it."""
    own = subject.completes_order
    sums = [one for one in writes.refunds.sums if one.key == subject.key]
    if own and subject.cashback is not None:
        more_promised = sum(one.reserved_minor for one in sums)
        more_gone = sum(one.refunded_minor + one.elsewhere_minor for one in sums)
        plan_settled(
            subject.locked,
            subject.trade,
            subject.cashback,
            writes.door,
            cause=CashbackCause.REFUND if more_promised + more_gone >= 0 else CashbackCause.REFUND_FREED,
            is_held=(subject.locked.order.hold_reason or hold_reason) is not None,
            more_gone_minor=more_gone,
            more_promised_minor=more_promised,
        )
    writes.door.orders.append(
        OrderChange(
            locked=subject.locked,
            state=subject.locked.order.state,
            hold_reason=hold_reason,
            refunds_made=sum(made.key == subject.key for made in writes.refunds.made),
            refund_reserved_minor=sum(one.reserved_minor for one in sums) if own else 0,
            refunded_minor=sum(one.refunded_minor for one in sums) if own else 0,
        )
    )


def _tell(
    subject: RefundSubject, facts: RefundFacts, event_type: str, writes: Writes, *, environment: Environment
) -> None:
    locked, cashback = subject.locked, None
    if subject.completes_order:
        cashback = view_written_cashback(subject.key, subject.trade, writes.door, before=subject.cashback)
    event = RefundEvent(
        type=event_type,
        timestamp=locked.now,
        data=RefundEventRefund(
            refund_no=render_refund_no(environment, locked, ordinal=facts.ordinal),
            order_no=render_trade_no(environment, locked, attempt=0),
            reference=locked.reference,
            version=locked.version + 1,
            state=facts.state.value,
            origin=facts.origin.value,
            amount_minor=facts.amount_minor,
            currency=subject.trade.trade.currency,
            reason=facts.reason,
            trade_no=render_trade_no(environment, locked, attempt=subject.trade.trade.attempt),
            refunded_at=facts.refunded_at,
            fee_given_back_minor=facts.fee_minor,
            cashback=cashback,
        ),
    )
    writes.door.webhooks.append(
        NewWebhook(
            key=subject.key,
            version=locked.version + 1,
            merchant_id=locked.order.merchant_id,
            event=event.type,
            body=render_event(event),
        )
    )
