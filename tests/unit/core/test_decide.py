from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from budan.core.decide import (
    EXPIRY_SKEW,
    Contradiction,
    Decision,
    Effect,
    Mismatch,
    RemedyCause,
    Transition,
    Unchanged,
    decide,
    decide_settled,
)
from budan.core.evidence import Evidence, Source
from budan.core.order import Order, OrderState
from budan.core.trade import Direction, Trade, TradeState
from builders import (
    EXPIRES_AT,
    OTHER_ACCOUNT,
    SEND_UNTIL,
    a_trade,
    an_order,
    evidence,
    not_found,
    not_paid_yet,
    paid,
    refused,
    returned,
    reversed_empty,
    silence,
)

PAYING, PAID, EXPIRED = OrderState.PAYING, OrderState.PAID, OrderState.EXPIRED
CLOSING, CLOSED = OrderState.CLOSING, OrderState.CLOSED
T = TradeState
C2B, B2C = Direction.C2B, Direction.B2C
AFTER_WINDOW = SEND_UNTIL + EXPIRY_SKEW + timedelta(seconds=1)
AFTER_EXPIRY = EXPIRES_AT + EXPIRY_SKEW + timedelta(seconds=1)
ACCEPTED_AT = AFTER_WINDOW
COMPLETE, LATE, SECOND = Effect.COMPLETE, Effect.RETURN_LATE, Effect.RETURN_SECOND
RETURNED, NOTHING = Effect.BOOK_RETURNED, Effect.NOTHING
TOLD = an_order(told_unpaid=True)
REPLY, QUERY, NOTICE, OPERATOR = Source.REPLY, Source.QUERY, Source.NOTICE, Source.OPERATOR

# order, trade before, evidence → order state, trade state, effect, remedy
Row = tuple[Order, Trade, Evidence, OrderState, TradeState, Effect, RemedyCause | None]


def order(state: OrderState, *, told: bool = False) -> Order:
    return an_order(state=state, told_unpaid=told, paid_attempt=2 if state is PAID else None)


def c2b(state: TradeState, *, seen: bool = False, count: int = 0) -> Trade:
    return a_trade(state=state, paid_seen=seen, not_found_count=count)


def b2c(state: TradeState, *, seen: bool = False, count: int = 0) -> Trade:
    return a_trade(direction=B2C, state=state, paid_seen=seen, not_found_count=count)


MISSED, LOST_REPLY = RemedyCause.NOTICE_MISSING, RemedyCause.REPLY_MISSING
ENDED, TOO_LATE, TWICE = RemedyCause.ENDED_TRADE_PAID, RemedyCause.LATE_PAYMENT, RemedyCause.SECOND_PAYMENT

PAYMENTS: list[Row] = [
    # C2B: a notice is the normal way, whatever we last knew of the trade; anything else shows that it is missing.
    (order(PAYING), c2b(T.SUBMITTED), paid(source=NOTICE), PAID, T.SUCCEEDED, COMPLETE, None),
    (order(PAYING), c2b(T.CREATED), paid(source=NOTICE), PAID, T.SUCCEEDED, COMPLETE, None),
    (order(PAYING), c2b(T.UNKNOWN), paid(source=NOTICE), PAID, T.SUCCEEDED, COMPLETE, None),
    (order(PAYING), c2b(T.SUBMITTED), paid(source=QUERY), PAID, T.SUCCEEDED, COMPLETE, MISSED),
    (order(PAYING), c2b(T.SUBMITTED), paid(source=OPERATOR), PAID, T.SUCCEEDED, COMPLETE, MISSED),
    (order(CLOSING), c2b(T.SUBMITTED), paid(source=QUERY), PAID, T.SUCCEEDED, COMPLETE, MISSED),
    # B2C: the reply is the normal way, and a query while the payer types.
    (order(PAYING), b2c(T.CREATED), paid(source=REPLY), PAID, T.SUCCEEDED, COMPLETE, None),
    (order(PAYING), b2c(T.USER_PAYING), paid(source=QUERY), PAID, T.SUCCEEDED, COMPLETE, None),
    (order(PAYING), b2c(T.UNKNOWN), paid(source=QUERY), PAID, T.SUCCEEDED, COMPLETE, LOST_REPLY),
    (order(PAYING), b2c(T.CREATED), paid(source=NOTICE), PAID, T.SUCCEEDED, COMPLETE, LOST_REPLY),
    # A trade that ended unpaid and was paid after all.
    (order(PAYING), c2b(T.CLOSED), paid(source=NOTICE), PAID, T.SUCCEEDED, COMPLETE, ENDED),
    (order(PAYING), b2c(T.FAILED), paid(source=QUERY), PAID, T.SUCCEEDED, COMPLETE, ENDED),
    # Late: complete after our own expiry, give back when somebody was told "not paid".
    (order(EXPIRED), c2b(T.CLOSED), paid(), PAID, T.SUCCEEDED, COMPLETE, TOO_LATE),
    (order(CLOSED), c2b(T.SUBMITTED), paid(), PAID, T.SUCCEEDED, COMPLETE, TOO_LATE),
    (order(CLOSED, told=True), c2b(T.CLOSED), paid(), CLOSED, T.SUCCEEDED, LATE, TOO_LATE),
    (order(PAYING, told=True), c2b(T.SUBMITTED), paid(), PAYING, T.SUCCEEDED, LATE, TOO_LATE),
    # Second: booked and given back.
    (order(PAID), c2b(T.SUBMITTED), paid(), PAID, T.SUCCEEDED, SECOND, TWICE),
    (order(PAID), b2c(T.FAILED), paid(source=QUERY), PAID, T.SUCCEEDED, SECOND, TWICE),
    # While we reverse, the reverse's word decides.
    (TOLD, b2c(T.REVERSING), paid(source=QUERY), PAYING, T.REVERSING, NOTHING, None),
    # Also where a refund is seen: WeChat's sign is that of a part, too, and the rest would go to nobody.
    (TOLD, b2c(T.REVERSING), paid(refunded_hint=True), PAYING, T.REVERSING, NOTHING, None),
    (TOLD, b2c(T.REVERSING), paid(irreversible=True, source=REPLY), PAYING, T.SUCCEEDED, LATE, TOO_LATE),
    (TOLD, b2c(T.REVERSING, seen=True), paid(irreversible=True), PAYING, T.SUCCEEDED, LATE, TOO_LATE),
    # A shop gave back in the portal what nobody can reverse: of what amount is not said, so it is no return of all of it.
    (TOLD, b2c(T.REVERSING), paid(irreversible=True, refunded_hint=True), PAYING, T.SUCCEEDED, LATE, TOO_LATE),
    (order(PAID), c2b(T.REVERSING), paid(irreversible=True), PAID, T.SUCCEEDED, SECOND, TWICE),
    (order(CLOSED, told=True), b2c(T.REVERSED), paid(), CLOSED, T.REVERSED, RETURNED, None),
]

ENDINGS: list[Row] = [
    # The channel's definite no: a charge failed, a code was closed; the order goes on.
    (order(PAYING), c2b(T.SUBMITTED), refused(), PAYING, T.CLOSED, NOTHING, None),
    (order(PAYING), b2c(T.USER_PAYING), refused(), PAYING, T.FAILED, NOTHING, None),
    (order(PAYING), c2b(T.UNKNOWN), refused(), PAYING, T.CLOSED, NOTHING, None),
    # The reverse's word ends the order that waited for it, and no other.
    (TOLD, b2c(T.REVERSING), reversed_empty(), CLOSED, T.REVERSED, NOTHING, None),
    (TOLD, b2c(T.REVERSING, seen=True), reversed_empty(), CLOSED, T.REVERSED, RETURNED, None),
    (TOLD, b2c(T.REVERSING), returned(), CLOSED, T.REVERSED, RETURNED, None),
    # Alipay's way to tell of a cancel that paid back.
    (TOLD, b2c(T.REVERSING), paid(refunded_hint=True, refunded_in_full=True), CLOSED, T.REVERSED, RETURNED, None),
    # … whose answer was lost, so that it was tried again until it was out of time: the money is back all the same.
    (
        TOLD,
        b2c(T.REVERSING),
        paid(refunded_hint=True, refunded_in_full=True, irreversible=True),
        CLOSED,
        T.REVERSED,
        RETURNED,
        None,
    ),
    # A plain no ends it too, but it is no word of a return: a payment after it is a late one.
    (order(CLOSING, told=True), c2b(T.REVERSING), refused(), CLOSED, T.CLOSED, NOTHING, None),
    (TOLD, b2c(T.REVERSING), refused(), CLOSED, T.FAILED, NOTHING, None),
    (order(CLOSED, told=True), b2c(T.FAILED), paid(source=QUERY), CLOSED, T.SUCCEEDED, LATE, TOO_LATE),
    (order(EXPIRED, told=True), c2b(T.REVERSING), returned(), EXPIRED, T.REVERSED, RETURNED, None),
    (order(PAID), c2b(T.REVERSING), returned(), PAID, T.REVERSED, RETURNED, None),
    (order(CLOSED, told=True), b2c(T.REVERSED), returned(), CLOSED, T.REVERSED, RETURNED, None),
    # Somebody else reversed it.
    (order(PAYING), c2b(T.SUBMITTED), returned(), CLOSED, T.REVERSED, RETURNED, None),
    # … after it had ended, when the order may have gone on to another attempt.
    (order(PAYING), c2b(T.CLOSED), returned(), PAYING, T.REVERSED, RETURNED, None),
    (order(PAYING), b2c(T.FAILED), reversed_empty(), PAYING, T.REVERSED, NOTHING, None),
    # "No such trade", when it counts, for the second time.
    (order(PAYING), c2b(T.CREATED, count=1), not_found(asked_at=AFTER_EXPIRY), PAYING, T.CLOSED, NOTHING, None),
    (order(PAYING), c2b(T.UNKNOWN, count=1), not_found(asked_at=AFTER_EXPIRY), PAYING, T.CLOSED, NOTHING, None),
    (TOLD, c2b(T.REVERSING, count=1), not_found(asked_at=AFTER_EXPIRY), CLOSED, T.CLOSED, NOTHING, None),
    (TOLD, b2c(T.REVERSING, count=1), not_found(asked_at=AFTER_WINDOW), CLOSED, T.FAILED, NOTHING, None),
]

MOVES: list[Row] = [
    (order(PAYING), c2b(T.CREATED), not_paid_yet(), PAYING, T.SUBMITTED, NOTHING, None),
    (order(PAYING), c2b(T.UNKNOWN), not_paid_yet(), PAYING, T.SUBMITTED, NOTHING, None),
    (order(PAYING), b2c(T.CREATED), not_paid_yet(user_paying=True), PAYING, T.USER_PAYING, NOTHING, None),
    (order(PAYING), b2c(T.SUBMITTED), not_paid_yet(user_paying=True), PAYING, T.USER_PAYING, NOTHING, None),
    (order(PAYING), c2b(T.CREATED), silence(), PAYING, T.UNKNOWN, NOTHING, None),
    (order(CLOSING), c2b(T.SUBMITTED), silence(), CLOSING, T.UNKNOWN, NOTHING, None),
    (order(PAYING), b2c(T.USER_PAYING), silence(), PAYING, T.UNKNOWN, NOTHING, None),
    (order(PAYING), c2b(T.UNKNOWN), not_found(asked_at=AFTER_EXPIRY), PAYING, T.UNKNOWN, NOTHING, None),
    (TOLD, b2c(T.REVERSING), not_found(asked_at=AFTER_WINDOW, source=REPLY), PAYING, T.REVERSING, NOTHING, None),
]


@pytest.mark.parametrize("row", PAYMENTS + ENDINGS + MOVES)
def test_evidence_moves_order_and_trade_as_the_table_says(row: Row) -> None:
    before, trade, evidence_, order_state, trade_state, effect, remedy = row
    decision = decide(before, trade, evidence_)
    assert isinstance(decision, Transition)
    assert (decision.order_state, decision.trade.state) == (order_state, trade_state)
    assert (decision.effect, decision.remedy) == (effect, remedy)


LOST_AGAIN = not_found(asked_at=AFTER_EXPIRY)
EVEN_LATER = AFTER_EXPIRY + timedelta(seconds=1)

NEWS_TO_NOBODY: list[tuple[Trade, Evidence, str]] = [
    (c2b(T.SUCCEEDED, seen=True), paid(), "already_succeeded"),
    (c2b(T.SUCCEEDED, seen=True), not_paid_yet(), "not_paid_yet"),
    (c2b(T.SUCCEEDED, seen=True), not_found(asked_at=AFTER_EXPIRY), "not_found_yet"),
    (c2b(T.SUBMITTED), not_paid_yet(), "not_paid_yet"),
    # An answer from before the payer began to type does not undo it.
    (b2c(T.USER_PAYING), not_paid_yet(), "not_paid_yet"),
    (b2c(T.REVERSING, seen=True), paid(), "waits_for_reverse"),
    (b2c(T.REVERSED, seen=True), paid(), "already_returned"),
    (b2c(T.REVERSED, seen=True), returned(), "already_ended"),
    (c2b(T.CLOSED), refused(), "already_ended"),
    (c2b(T.CLOSED), not_paid_yet(), "not_paid_yet"),
    (c2b(T.CREATED), evidence(sent=False), "not_sent"),
    (c2b(T.UNKNOWN), silence(), "unclear"),
    (b2c(T.REVERSING), silence(), "unclear"),
    (c2b(T.SUBMITTED), paid(source=Source.BILL), "channel_is_asked"),
    # The payer can still scan, and our own request may still be on its way.
    (c2b(T.UNKNOWN, count=1), not_found(asked_at=EXPIRES_AT + EXPIRY_SKEW), "not_found_yet"),
    # A close or cancel that found nothing is not the channel's word.
    (c2b(T.UNKNOWN, count=1), not_found(asked_at=AFTER_EXPIRY, source=REPLY), "not_found_yet"),
    (c2b(T.REVERSING, count=1), not_found(asked_at=AFTER_EXPIRY, source=REPLY), "not_found_yet"),
    # B2C: only an answered reverse makes it definite, after the window, and then a query.
    (b2c(T.UNKNOWN, count=1), not_found(asked_at=AFTER_EXPIRY), "not_found_yet"),
    (b2c(T.REVERSING), not_found(asked_at=AFTER_WINDOW), "not_found_yet"),
    (b2c(T.REVERSING), not_found(asked_at=SEND_UNTIL, source=REPLY), "not_found_yet"),
    (b2c(T.REVERSING, count=1), not_found(asked_at=AFTER_WINDOW, source=REPLY), "not_found_yet"),
    # One answer that comes twice is one answer, and so is an older one that comes after it.
    (a_trade(state=T.UNKNOWN, not_found_count=1, not_found_asked_at=AFTER_EXPIRY), LOST_AGAIN, "not_found_yet"),
    (a_trade(state=T.UNKNOWN, not_found_count=1, not_found_asked_at=EVEN_LATER), LOST_AGAIN, "not_found_yet"),
    # What was heard to be paid exists, whatever a lagging answer says.
    (b2c(T.REVERSING, seen=True, count=1), not_found(asked_at=AFTER_WINDOW), "not_found_yet"),
]


@pytest.mark.parametrize(("trade", "evidence_", "reason"), NEWS_TO_NOBODY)
def test_what_says_nothing_new_changes_nothing(trade: Trade, evidence_: Evidence, reason: str) -> None:
    assert decide(an_order(), trade, evidence_) == Unchanged(reason=reason)


@pytest.mark.invariant("I5")
def test_one_answer_that_is_heard_twice_ends_nothing() -> None:
    first = decide(an_order(), c2b(T.UNKNOWN), LOST_AGAIN)
    assert isinstance(first, Transition)
    assert decide(an_order(), first.trade, LOST_AGAIN) == Unchanged(reason="not_found_yet")
    second = decide(an_order(), first.trade, replace(LOST_AGAIN, asked_at=EVEN_LATER))
    assert isinstance(second, Transition)
    assert second.trade.state is T.CLOSED


CONTRADICTIONS: list[tuple[Trade, Evidence, Mismatch, bool]] = [
    (c2b(T.SUBMITTED), paid(order_minor=999), Mismatch.WRONG_AMOUNT, True),
    (c2b(T.SUBMITTED), paid(currency="USD"), Mismatch.WRONG_CURRENCY, True),
    (c2b(T.SUBMITTED), paid(account_id=OTHER_ACCOUNT), Mismatch.WRONG_ACCOUNT, True),
    # The first that applies is named.
    (c2b(T.SUBMITTED), paid(account_id=OTHER_ACCOUNT, currency="USD", order_minor=1), Mismatch.WRONG_ACCOUNT, True),
    (c2b(T.SUBMITTED), paid(currency="USD", order_minor=1), Mismatch.WRONG_CURRENCY, True),
    (c2b(T.SUBMITTED), refused(account_id=OTHER_ACCOUNT), Mismatch.WRONG_ACCOUNT, False),
    (c2b(T.SUBMITTED), not_found(account_id=OTHER_ACCOUNT), Mismatch.WRONG_ACCOUNT, False),
    (c2b(T.SUCCEEDED, seen=True), paid(order_minor=999), Mismatch.WRONG_AMOUNT, True),
    (c2b(T.SUCCEEDED, seen=True), refused(), Mismatch.PAYMENT_DENIED, False),
    (c2b(T.SUCCEEDED, seen=True), reversed_empty(), Mismatch.PAYMENT_DENIED, False),
    (b2c(T.REVERSING, seen=True), refused(), Mismatch.PAYMENT_DENIED, False),
    (c2b(T.SUCCEEDED, seen=True), returned(), Mismatch.RETURNED_ELSEWHERE, False),
    (c2b(T.SUCCEEDED, seen=True), paid(refunded_hint=True), Mismatch.RETURNED_ELSEWHERE, False),
]


@pytest.mark.invariant("I4")
@pytest.mark.parametrize(("trade", "evidence_", "mismatch", "to_suspense"), CONTRADICTIONS)
def test_what_does_not_fit_is_a_contradiction(
    trade: Trade, evidence_: Evidence, mismatch: Mismatch, *, to_suspense: bool
) -> None:
    decision: Decision = decide(an_order(state=PAID, paid_attempt=1), trade, evidence_)
    assert decision == Contradiction(mismatch=mismatch, to_suspense=to_suspense)


@pytest.mark.invariant("I4", "I6")
@pytest.mark.parametrize("state", sorted(T, key=str))
@pytest.mark.parametrize("source", sorted(Source, key=str))
def test_what_persons_have_settled_and_the_channel_says_again_ends_an_open_trade(state: T, source: Source) -> None:
    """Else it stays open, and its order with it: the channel will never say anything that fits."""
    found = Contradiction(mismatch=Mismatch.WRONG_AMOUNT, to_suspense=True)
    said = paid(order_minor=999, source=source, asked_at=ACCEPTED_AT + timedelta(seconds=1))
    decision = decide_settled(an_order(), c2b(state), said, found, accepted_at=ACCEPTED_AT)
    if source is QUERY and c2b(state).is_open:
        assert isinstance(decision, Transition)
        assert (decision.trade.state, decision.effect) == (T.CLOSED, NOTHING)
        after = an_order(state=decision.order_state)
        assert decide_settled(after, decision.trade, said, found, accepted_at=ACCEPTED_AT) is found
    else:
        assert decision is found


@pytest.mark.invariant("I4", "I9")
@pytest.mark.parametrize(
    ("trade", "accepted_at", "asked_at"),
    [
        (b2c(T.REVERSING), None, ACCEPTED_AT + timedelta(seconds=1)),
        (b2c(T.REVERSING), ACCEPTED_AT, ACCEPTED_AT),
        (b2c(T.REVERSING), ACCEPTED_AT, None),
        (b2c(T.REVERSING, seen=True), ACCEPTED_AT, ACCEPTED_AT + timedelta(seconds=1)),
    ],
    ids=["only cleared", "asked before", "not asked", "payment seen"],
)
def test_only_what_two_persons_accepted_and_was_asked_since_ends_a_trade_whose_payment_nobody_saw(
    trade: Trade, accepted_at: datetime | None, asked_at: datetime | None
) -> None:
    """A reverse that a lagging "not paid" ended would leave the payer's money here, and nobody would ask about it."""
    found = Contradiction(mismatch=Mismatch.PAYMENT_DENIED, to_suspense=False)
    said = refused(source=QUERY, asked_at=asked_at)
    assert decide_settled(order(CLOSING), trade, said, found, accepted_at=accepted_at) is found


@pytest.mark.invariant("I4")
def test_what_another_account_says_ends_no_trade_though_persons_have_settled_it() -> None:
    """The trade's own channel may take its payer's money still."""
    found = Contradiction(mismatch=Mismatch.WRONG_ACCOUNT, to_suspense=True)
    said = paid(account_id=OTHER_ACCOUNT, source=QUERY, asked_at=ACCEPTED_AT + timedelta(seconds=1))
    assert decide_settled(an_order(), a_trade(), said, found, accepted_at=ACCEPTED_AT) is found


def test_our_own_refund_of_a_second_payment_is_no_contradiction() -> None:
    second = c2b(T.SUCCEEDED, seen=True)
    assert decide(order(PAID), second, paid(refunded_hint=True)) == Unchanged(reason="already_succeeded")


def test_a_refund_seen_before_its_payment_proves_the_payment_and_opens_an_inquiry() -> None:
    decision = decide(an_order(), a_trade(), paid(refunded_hint=True))
    assert isinstance(decision, Transition)
    assert (decision.effect, decision.hold_reason) == (COMPLETE, "refunded_elsewhere")


@pytest.mark.invariant("I5")
def test_a_trade_that_the_channel_knows_again_counts_no_such_trade_afresh() -> None:
    """One stale answer before and one after do not make "one more query"."""
    decision = decide(an_order(), c2b(T.SUBMITTED, count=1), not_paid_yet())
    assert isinstance(decision, Transition)
    assert decision.trade == c2b(T.SUBMITTED)


@pytest.mark.parametrize("hold_reason", ["contradiction", "inquiry"])
def test_a_hold_never_stops_a_completion(hold_reason: str) -> None:
    decision = decide(an_order(hold_reason=hold_reason), a_trade(), paid())
    assert isinstance(decision, Transition)
    assert decision.effect is COMPLETE
