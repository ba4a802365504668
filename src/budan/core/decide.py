"""The one decision: what a piece of evidence does to an order and its trade."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import assert_never

from budan.core.evidence import Evidence, Outcome, Source
from budan.core.order import Order, OrderState
from budan.core.trade import UNCLEAR_FROM_STATES, UNPAID_END_STATES, Direction, Trade, TradeState

# Clocks of channels and of this machine differ; a channel's expiry is over for us only this much later (I5).
EXPIRY_SKEW = timedelta(minutes=2)

# I5 asks for one more query after the first answer that counts.
NOT_FOUND_ANSWERS_NEEDED = 2


class Effect(Enum):
    """What must be written in the transaction of a transition (I3)."""

    NOTHING = "nothing"
    COMPLETE = "complete"  # the order becomes paid: postings, webhook, close intents, remedy if not the normal way
    RETURN_SECOND = "return_second"  # the order was paid already: book the money, intend its refund (I9)
    RETURN_LATE = "return_late"  # somebody was told "not paid": book the money, intend its refund, tell the merchant
    BOOK_RETURNED = "book_returned"  # a reverse gave a payment back: book both, no fee


class RemedyCause(Enum):
    """Why a completion did not come the normal way."""

    NOTICE_MISSING = "notice_missing"
    REPLY_MISSING = "reply_missing"
    ENDED_TRADE_PAID = "ended_trade_paid"
    LATE_PAYMENT = "late_payment"
    SECOND_PAYMENT = "second_payment"


class Mismatch(Enum):
    """Why verified evidence does not fit."""

    WRONG_ACCOUNT = "wrong_account"
    WRONG_AMOUNT = "wrong_amount"
    WRONG_CURRENCY = "wrong_currency"
    PAYMENT_DENIED = "payment_denied"  # the channel says "not paid" of a trade that it said was paid
    RETURNED_ELSEWHERE = "returned_elsewhere"  # paid and given back without an act of ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """The states after, and what else the same transaction writes."""

    order_state: OrderState
    trade: Trade
    effect: Effect = Effect.NOTHING
    remedy: RemedyCause | None = None
    hold_reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchanged:
    """The evidence says nothing new; it was heard."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Contradiction:
    """Verified evidence that does not fit: recorded, order held; `to_suspense` when money came (I4)."""

    mismatch: Mismatch
    to_suspense: bool


Decision = Transition | Unchanged | Contradiction


def decide(order: Order, trade: Trade, evidence: Evidence) -> Decision:
    """What `evidence` does to `order` and `trade`; pure, total, and safe to repeat (I8).

    Precedence: what proves nothing alone, evidence that does not fit (I4), then the outcome, then the trade's state,
    then the order's.
    """
    if evidence.source is Source.BILL:
        # I4: a bill row makes its trade due at once, and the channel's signed answer decides.
        return Unchanged(reason="channel_is_asked")
    mismatch = _mismatch(trade, evidence)
    if mismatch is not None:
        return Contradiction(mismatch=mismatch, to_suspense=evidence.outcome is Outcome.PAID)
    match evidence.outcome:
        case Outcome.PAID:
            return _decide_paid(order, trade, evidence)
        case Outcome.UNPAID_FINAL:
            return _decide_unpaid_final(order, trade, evidence)
        case Outcome.UNPAID_OPEN:
            return _decide_unpaid_open(order, trade, evidence)
        case Outcome.UNKNOWN:
            return _decide_unknown(order, trade)
        case _:
            assert_never(evidence.outcome)


def decide_settled(
    order: Order, trade: Trade, evidence: Evidence, found: Contradiction, *, accepted_at: datetime | None
) -> Transition | Contradiction:
    """What `evidence` does that `found` did not fit and that a release has settled; pure, total, safe to repeat.

    It holds nothing again. Where two persons accepted it (`accepted_at`; None: the channel's fresh word cleared it) and
    the trade's own channel, asked since, still says so, that is its last word: persons have said what becomes of the
    money, and nobody can pay this trade any more. It ends as unpaid, or its order would be asked about and kept open for
    ever; a payment that fits and comes all the same is a late one. A repeated notice ends nothing: it may be from before
    the release, of a code that a payer has before him. Nor does anything end a trade whose payment was seen: that money
    goes back by the reverse that the trade waits for (I9).
    """
    if found.mismatch is Mismatch.WRONG_ACCOUNT or trade.paid_seen or not trade.is_open:
        return found
    is_asked_since = accepted_at is not None and evidence.asked_at is not None and evidence.asked_at > accepted_at
    return _end_unpaid(order, trade) if evidence.source is Source.QUERY and is_asked_since else found


def _mismatch(trade: Trade, evidence: Evidence) -> Mismatch | None:
    """Only a statement that could end or complete a trade must fit it; silence and "not yet" change no money."""
    if evidence.outcome not in {Outcome.PAID, Outcome.UNPAID_FINAL} and not evidence.not_found:
        return None
    if evidence.account_id != trade.account_id:
        return Mismatch.WRONG_ACCOUNT
    if evidence.outcome is not Outcome.PAID:
        return None
    if evidence.currency != trade.currency:
        return Mismatch.WRONG_CURRENCY
    if evidence.order_minor != trade.amount_minor:
        return Mismatch.WRONG_AMOUNT
    return None


def _decide_paid(order: Order, trade: Trade, evidence: Evidence) -> Decision:
    match trade.state:
        case TradeState.SUCCEEDED:
            # A success that did not complete the order goes back by our own refund (I9): that one may be seen.
            if evidence.refunded_hint and order.paid_attempt == trade.attempt and not trade.refund_known:
                return Contradiction(mismatch=Mismatch.RETURNED_ELSEWHERE, to_suspense=False)
            return Unchanged(reason="already_succeeded")
        case TradeState.REVERSING:
            return _paid_while_reversing(order, trade, evidence)
        case TradeState.REVERSED:
            return _paid_after_reversed(order, trade)
        case (
            TradeState.CREATED
            | TradeState.SUBMITTED
            | TradeState.USER_PAYING
            | TradeState.UNKNOWN
            | TradeState.FAILED
            | TradeState.CLOSED
        ):
            return _succeed(order, trade, evidence)
        case _:
            assert_never(trade.state)


def _paid_while_reversing(order: Order, trade: Trade, evidence: Evidence) -> Decision:
    """From the reverse's intent on a success completes nothing by itself; the order waits for the reverse's word."""
    if evidence.refunded_in_full:
        # Alipay tells of a trade that a cancel paid back as paid and refunded, and a second cancel finds nothing to do, or
        # comes too late for any. Judged before "irreversible": the first one's answer may have been lost.
        return _end_reversed(order, trade, money_returned=True)
    if evidence.irreversible:
        # A hint of a refund tells no amount, and what a shop gave back in the portal may be a part. The order is held for
        # it, and our own refund asks for no more than its channel lets go. Until the reverse is refused it is waited for.
        return _succeed(order, trade, evidence)
    if trade.paid_seen:
        return Unchanged(reason="waits_for_reverse")
    return _moved(order, replace(trade, paid_seen=True))


def _paid_after_reversed(order: Order, trade: Trade) -> Decision:
    """The reverse gave the money back before the success was heard: payment and return are both booked, once."""
    if trade.paid_seen:
        return Unchanged(reason="already_returned")
    return Transition(
        order_state=order.state,
        trade=replace(trade, paid_seen=True),
        effect=Effect.BOOK_RETURNED,
    )


def _succeed(order: Order, trade: Trade, evidence: Evidence) -> Transition:
    """The money stands. It completes the order, or goes back when the order is paid or was called unpaid."""
    succeeded = replace(trade, state=TradeState.SUCCEEDED, paid_seen=True)
    hold_reason = "refunded_elsewhere" if evidence.refunded_hint else None
    if order.state is OrderState.PAID:
        return Transition(
            order_state=OrderState.PAID,
            trade=succeeded,
            effect=Effect.RETURN_SECOND,
            remedy=RemedyCause.SECOND_PAYMENT,
            hold_reason=hold_reason,
        )
    if order.told_unpaid:
        return Transition(
            order_state=order.state,
            trade=succeeded,
            effect=Effect.RETURN_LATE,
            remedy=RemedyCause.LATE_PAYMENT,
            hold_reason=hold_reason,
        )
    return Transition(
        order_state=OrderState.PAID,
        trade=succeeded,
        effect=Effect.COMPLETE,
        remedy=_remedy_cause(order, trade, evidence),
        hold_reason=hold_reason,
    )


def _remedy_cause(order: Order, trade: Trade, evidence: Evidence) -> RemedyCause | None:
    """None when the payment was learned the normal way (I12)."""
    if order.state in {OrderState.EXPIRED, OrderState.CLOSED}:
        return RemedyCause.LATE_PAYMENT
    if trade.state in UNPAID_END_STATES or trade.state is TradeState.REVERSING:
        return RemedyCause.ENDED_TRADE_PAID
    match trade.direction:
        case Direction.C2B:
            return None if evidence.source is Source.NOTICE else RemedyCause.NOTICE_MISSING
        case Direction.B2C:
            # While the payer types a password the channel wants to be asked: there a query is the normal way.
            asked_as_told = trade.state is TradeState.USER_PAYING and evidence.source is Source.QUERY
            normal = evidence.source is Source.REPLY or asked_as_told
            return None if normal else RemedyCause.REPLY_MISSING
        case _:
            assert_never(trade.direction)


def _decide_unpaid_final(order: Order, trade: Trade, evidence: Evidence) -> Decision:
    match trade.state:
        case TradeState.SUCCEEDED:
            mismatch = Mismatch.RETURNED_ELSEWHERE if evidence.money_returned else Mismatch.PAYMENT_DENIED
            return Contradiction(mismatch=mismatch, to_suspense=False)
        case TradeState.FAILED | TradeState.CLOSED | TradeState.REVERSED:
            # An end that a reverse overtook: a payment that is heard later was before it, and went back with it.
            first_word = evidence.reversed_here and trade.state is not TradeState.REVERSED
            if first_word or (evidence.money_returned and not trade.paid_seen):
                return _end_reversed(order, trade, money_returned=evidence.money_returned)
            return Unchanged(reason="already_ended")
        case (
            TradeState.CREATED
            | TradeState.SUBMITTED
            | TradeState.USER_PAYING
            | TradeState.UNKNOWN
            | TradeState.REVERSING
        ):
            if evidence.reversed_here:
                return _end_reversed(order, trade, money_returned=evidence.money_returned)
            if trade.paid_seen:
                # Heard to be paid while we reverse: a plain no, perhaps from before, is not the reverse's word.
                return Contradiction(mismatch=Mismatch.PAYMENT_DENIED, to_suspense=False)
            return _end_unpaid(order, trade)
        case _:
            assert_never(trade.state)


def _end_unpaid(order: Order, trade: Trade) -> Transition:
    """A charge that was refused failed; a code that nobody paid was closed.

    That is no word of a reverse: what is paid later all the same did not go back, and is a late payment.
    """
    assert not trade.paid_seen, "money that was seen goes back or completes the order; it never ends as unpaid (I9)"
    state = TradeState.FAILED if trade.direction is Direction.B2C else TradeState.CLOSED
    order_state = _after_reverse(order, trade) if trade.state is TradeState.REVERSING else order.state
    return Transition(order_state=order_state, trade=replace(trade, state=state))


def _end_reversed(order: Order, trade: Trade, *, money_returned: bool) -> Transition:
    """The reverse's word: whatever was paid is back with the payer, and an unpaid order ends here."""
    returned = trade.paid_seen or money_returned
    return Transition(
        order_state=_after_reverse(order, trade),
        trade=replace(trade, state=TradeState.REVERSED, paid_seen=returned),
        effect=Effect.BOOK_RETURNED if returned else Effect.NOTHING,
    )


def _after_reverse(order: Order, trade: Trade) -> OrderState:
    """An order that waited for this trade ends with it; one that went on to another attempt does not."""
    waits = trade.is_open and order.state in {OrderState.CREATED, OrderState.PAYING, OrderState.CLOSING}
    return OrderState.CLOSED if waits else order.state


def _decide_unpaid_open(order: Order, trade: Trade, evidence: Evidence) -> Decision:
    if not evidence.sent:
        return Unchanged(reason="not_sent")
    if evidence.not_found:
        return _decide_not_found(order, trade, evidence)
    match trade.state:
        case TradeState.CREATED | TradeState.UNKNOWN | TradeState.SUBMITTED | TradeState.USER_PAYING:
            heard = TradeState.USER_PAYING if evidence.user_paying else TradeState.SUBMITTED
            # An answer that left the channel before the payer began to type does not undo what came since.
            if trade.state is TradeState.USER_PAYING:
                heard = trade.state
            # The channel knows the number, so an earlier "no such trade" was not its last word.
            after = replace(trade, state=heard, not_found_count=0)
            return Unchanged(reason="not_paid_yet") if after == trade else _moved(order, after)
        case TradeState.REVERSING | TradeState.SUCCEEDED | TradeState.FAILED | TradeState.CLOSED | TradeState.REVERSED:
            return Unchanged(reason="not_paid_yet")
        case _:
            assert_never(trade.state)


def _decide_not_found(order: Order, trade: Trade, evidence: Evidence) -> Decision:
    """An unknown number ends a trade only when nothing can arrive any more, and after one more query (I5)."""
    if not trade.is_open or trade.paid_seen or not _not_found_counts(trade, evidence):
        return Unchanged(reason="not_found_yet")
    counted = replace(trade, not_found_count=trade.not_found_count + 1, not_found_asked_at=evidence.asked_at)
    if counted.not_found_count < NOT_FOUND_ANSWERS_NEEDED:
        return _moved(order, counted)
    return _end_unpaid(order, counted)


def _not_found_counts(trade: Trade, evidence: Evidence) -> bool:
    """Whether the question left when nothing could arrive at the channel any more, and after the last that counted.

    C2B: a query after `unpayable_after`; a close or cancel that found nothing is not the channel's word. B2C: first
    the reverse's own reply, then a query, both from after the send window.
    """
    if evidence.asked_at is None:
        return False
    if trade.not_found_asked_at is not None and evidence.asked_at <= trade.not_found_asked_at:
        return False
    match trade.direction:
        case Direction.C2B:
            over_at = unpayable_after(trade)
            return evidence.source is Source.QUERY and over_at is not None and evidence.asked_at > over_at
        case Direction.B2C:
            awaited = Source.REPLY if trade.not_found_count == 0 else Source.QUERY
            reversing = trade.state is TradeState.REVERSING
            return reversing and evidence.source is awaited and evidence.asked_at > trade.send_until + EXPIRY_SKEW
        case _:
            assert_never(trade.direction)


def unpayable_after(trade: Trade) -> datetime | None:
    """The moment after which no payer can pay and no request of ours can arrive, by the database's clock.

    None where there is no such moment: a B2C trade ends by the channel's word or an answered reverse only.
    """
    return last_moment(trade.direction, send_until=trade.send_until, expires_at=trade.expires_at)


def last_moment(direction: Direction, *, send_until: datetime, expires_at: datetime | None) -> datetime | None:
    """`unpayable_after`, of a trade's own columns."""
    if direction is Direction.B2C or expires_at is None:
        return None
    return max(send_until, expires_at) + EXPIRY_SKEW


def _decide_unknown(order: Order, trade: Trade) -> Decision:
    """Unknown is not failed (I5)."""
    if trade.state not in UNCLEAR_FROM_STATES:
        return Unchanged(reason="unclear")
    return _moved(order, replace(trade, state=TradeState.UNKNOWN))


def _moved(order: Order, trade: Trade) -> Transition:
    """The trade alone changed; no money moved."""
    return Transition(order_state=order.state, trade=trade)
