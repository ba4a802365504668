"""Laws that `decide` keeps for every order state, trade state, direction, statement and source there is."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import cache
from itertools import product

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
)
from budan.core.evidence import Evidence, Outcome, Source
from budan.core.order import Order, OrderState
from budan.core.trade import Direction, Trade, TradeState
from builders import (
    CREATED_AT,
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

SECOND = timedelta(seconds=1)
WINDOW_OVER_AT = SEND_UNTIL + EXPIRY_SKEW
EXPIRY_OVER_AT = EXPIRES_AT + EXPIRY_SKEW

STATEMENTS: dict[str, Evidence] = {
    "paid": paid(),
    "paid, reverse refused": paid(irreversible=True),
    "paid, refund seen": paid(refunded_hint=True),
    "paid, all refunded": paid(refunded_hint=True, refunded_in_full=True),
    "paid, all refunded, reverse refused": paid(refunded_hint=True, refunded_in_full=True, irreversible=True),
    "paid, other amount": paid(order_minor=999),
    "paid, other currency": paid(currency="USD"),
    "paid, other account": paid(account_id=OTHER_ACCOUNT),
    "refused": refused(),
    "refused, other account": refused(account_id=OTHER_ACCOUNT),
    "reversed": reversed_empty(),
    "reversed, money back": returned(),
    "not paid yet": not_paid_yet(),
    "payer types": not_paid_yet(user_paying=True),
    "not sent": evidence(sent=False),
    "not found, unknown when asked": not_found(asked_at=None),
    "not found, asked early": not_found(asked_at=CREATED_AT),
    "not found, asked as the window's skew ends": not_found(asked_at=WINDOW_OVER_AT),
    "not found, asked after the window": not_found(asked_at=WINDOW_OVER_AT + SECOND),
    "not found, asked as the expiry's skew ends": not_found(asked_at=EXPIRY_OVER_AT),
    "not found, asked after the expiry": not_found(asked_at=EXPIRY_OVER_AT + SECOND),
    "not found, other account": not_found(asked_at=EXPIRY_OVER_AT + SECOND, account_id=OTHER_ACCOUNT),
    "silence": silence(),
}
UNFIT = {name for name in STATEMENTS if "other" in name}

Case = tuple[Order, Trade, str, Evidence, Decision]


def orders() -> Iterator[Order]:
    for state, told_unpaid in product(OrderState, (False, True)):
        for paid_attempt in (1, 2) if state is OrderState.PAID else (None,):
            yield an_order(state=state, told_unpaid=told_unpaid, paid_attempt=paid_attempt)


def trades() -> Iterator[Trade]:
    for state, direction, paid_seen, count in product(TradeState, Direction, (False, True), (0, 1)):
        yield a_trade(state=state, direction=direction, paid_seen=paid_seen, not_found_count=count)


@cache
def every_decision() -> list[Case]:
    statements = [
        (name, replace(statement, source=source)) for name, statement in STATEMENTS.items() for source in Source
    ]
    return [
        (order, trade, name, statement, decide(order, trade, statement))
        for order, trade, (name, statement) in product(orders(), trades(), statements)
    ]


def transitions() -> Iterator[tuple[Order, Trade, str, Evidence, Transition]]:
    for order, trade, name, statement, decision in every_decision():
        if isinstance(decision, Transition):
            yield order, trade, name, statement, decision


def test_every_case_is_decided(record_property: Callable[[str, object], None]) -> None:
    counts = dict.fromkeys((Transition, Unchanged, Contradiction), 0)
    for *_, decision in every_decision():
        counts[type(decision)] += 1
    assert sum(counts.values()) == 14 * 72 * len(STATEMENTS) * len(Source)
    assert all(counts.values())
    told = ", ".join(f"{count} {kind.__name__.lower()}" for kind, count in counts.items())
    record_property("explored", f"decide: {len(every_decision())} cases: {told}")


@pytest.mark.invariant("I8")
def test_the_same_news_again_moves_no_money_and_corrects_nothing() -> None:
    for order, _, _, statement, first in transitions():
        completed = first.effect is Effect.COMPLETE
        after = replace(order, state=first.order_state, paid_attempt=1 if completed else order.paid_attempt)
        again = decide(after, first.trade, statement)
        assert not (isinstance(again, Contradiction) and again.to_suspense)
        if isinstance(again, Transition):
            assert again.effect is Effect.NOTHING
            assert again.remedy is None
            assert statement.not_found


@pytest.mark.invariant("I4")
def test_a_statement_that_does_not_fit_moves_nothing_and_is_a_contradiction() -> None:
    expected = {
        "other amount": Mismatch.WRONG_AMOUNT,
        "other currency": Mismatch.WRONG_CURRENCY,
        "other account": Mismatch.WRONG_ACCOUNT,
    }
    for _, _, name, statement, decision in every_decision():
        if name in UNFIT and statement.source is not Source.BILL:
            mismatch = expected[name.split(", ")[1]]
            assert decision == Contradiction(mismatch=mismatch, to_suspense=statement.outcome is Outcome.PAID)


@pytest.mark.invariant("I4")
def test_only_a_payment_of_our_trade_account_amount_and_currency_completes_an_order() -> None:
    for order, trade, _, statement, decision in transitions():
        if decision.order_state is OrderState.PAID and order.state is not OrderState.PAID:
            assert decision.effect is Effect.COMPLETE
        if decision.effect in {Effect.COMPLETE, Effect.RETURN_SECOND, Effect.RETURN_LATE}:
            assert statement.outcome is Outcome.PAID
            assert statement.account_id == trade.account_id
            assert (statement.order_minor, statement.currency) == (trade.amount_minor, trade.currency)


@pytest.mark.invariant("I4")
def test_a_bill_row_decides_nothing_itself() -> None:
    for _, _, _, statement, decision in every_decision():
        if statement.source is Source.BILL:
            assert decision == Unchanged(reason="channel_is_asked")


@pytest.mark.invariant("I5")
def test_an_unclear_answer_moves_a_young_trade_to_unknown_and_nothing_else() -> None:
    young = {TradeState.CREATED, TradeState.SUBMITTED, TradeState.USER_PAYING}
    for order, trade, name, statement, decision in every_decision():
        if name == "silence" and statement.source is not Source.BILL:
            if trade.state in young:
                moved = replace(trade, state=TradeState.UNKNOWN)
                assert decision == Transition(order_state=order.state, trade=moved)
            else:
                assert isinstance(decision, Unchanged)


def not_found_counts(trade: Trade, statement: Evidence) -> bool:
    """The rule of I5 in other words than the code's."""
    if not statement.not_found or trade.paid_seen or statement.asked_at is None:
        return False
    if trade.direction is Direction.C2B:
        return statement.source is Source.QUERY and statement.asked_at > EXPIRY_OVER_AT
    answered = statement.source is Source.REPLY and trade.not_found_count == 0
    asked_again = statement.source is Source.QUERY and trade.not_found_count == 1
    return trade.state is TradeState.REVERSING and (answered or asked_again) and statement.asked_at > WINDOW_OVER_AT


@pytest.mark.invariant("I5")
def test_only_the_channels_definite_word_ends_an_open_trade() -> None:
    for _, trade, _, statement, decision in transitions():
        if trade.is_open and not decision.trade.is_open:
            definite = statement.outcome in {Outcome.PAID, Outcome.UNPAID_FINAL}
            assert definite or (not_found_counts(trade, statement) and trade.not_found_count == 1)


@pytest.mark.invariant("I5")
def test_no_such_trade_counts_only_under_its_rule() -> None:
    for _, trade, name, statement, decision in every_decision():
        if statement.not_found and name not in UNFIT and statement.source is not Source.BILL:
            counts = trade.is_open and not_found_counts(trade, statement)
            assert isinstance(decision, Transition) == counts
            if isinstance(decision, Transition):
                assert decision.trade.not_found_count == trade.not_found_count + 1


@pytest.mark.invariant("I5")
def test_a_b2c_trade_that_was_never_reversed_is_never_ended_by_no_such_trade() -> None:
    for _, trade, _, statement, decision in transitions():
        if statement.not_found and trade.direction is Direction.B2C:
            assert trade.state is TradeState.REVERSING
            assert decision.trade.state in {TradeState.REVERSING, TradeState.FAILED}


@pytest.mark.invariant("I7")
def test_an_order_that_is_closing_expired_or_closed_still_takes_a_success() -> None:
    ended = {OrderState.CLOSING, OrderState.EXPIRED, OrderState.CLOSED}
    held_back = {TradeState.REVERSING, TradeState.REVERSED, TradeState.SUCCEEDED}
    for order, trade, name, statement, decision in every_decision():
        if order.state in ended and trade.state not in held_back and name == "paid":
            if statement.source is Source.BILL:
                continue
            assert isinstance(decision, Transition)
            assert decision.trade.state is TradeState.SUCCEEDED
            expected = Effect.RETURN_LATE if order.told_unpaid else Effect.COMPLETE
            assert decision.effect is expected


@pytest.mark.invariant("I7")
def test_a_success_during_a_reverse_waits_for_the_reverses_word() -> None:
    for order, trade, name, statement, decision in every_decision():
        if trade.state is TradeState.REVERSING and name == "paid" and statement.source is not Source.BILL:
            if trade.paid_seen:
                assert isinstance(decision, Unchanged)
            else:
                assert decision == Transition(order_state=order.state, trade=replace(trade, paid_seen=True))


@pytest.mark.invariant("I4")
def test_a_return_is_booked_only_where_a_payment_was_heard_or_told_of() -> None:
    for _, trade, _, statement, decision in transitions():
        if decision.effect is Effect.BOOK_RETURNED:
            paid_and_gone = statement.outcome is Outcome.PAID and (
                trade.state is TradeState.REVERSED or statement.refunded_in_full
            )
            gone = statement.reversed_here and (trade.paid_seen or statement.money_returned)
            assert paid_and_gone or gone
        if decision.trade.state is TradeState.REVERSED and not decision.trade.paid_seen:
            assert statement.reversed_here, "else a later payment would be booked as returned, and it was not"


@pytest.mark.invariant("I9")
def test_an_order_is_paid_once_and_every_other_success_goes_back() -> None:
    for order, trade, _, _, decision in transitions():
        if decision.trade.state is TradeState.SUCCEEDED and trade.state is not TradeState.SUCCEEDED:
            if order.state is OrderState.PAID:
                assert (decision.effect, decision.remedy) == (Effect.RETURN_SECOND, RemedyCause.SECOND_PAYMENT)
            else:
                assert decision.effect in {Effect.COMPLETE, Effect.RETURN_LATE}
        if order.state is OrderState.PAID:
            assert decision.order_state is OrderState.PAID
            assert decision.effect is not Effect.COMPLETE


def normal_way(order: Order, trade: Trade, statement: Evidence) -> bool:
    if order.state in {OrderState.EXPIRED, OrderState.CLOSED}:
        return False
    if trade.direction is Direction.C2B:
        return statement.source is Source.NOTICE and trade.is_open and trade.state is not TradeState.REVERSING
    if trade.state is TradeState.USER_PAYING and statement.source is Source.QUERY:
        return True
    return statement.source is Source.REPLY and trade.is_open and trade.state is not TradeState.REVERSING


@pytest.mark.invariant("I12")
def test_whatever_was_not_learned_the_normal_way_leaves_a_remedy() -> None:
    for order, trade, _, statement, decision in transitions():
        match decision.effect:
            case Effect.COMPLETE:
                assert (decision.remedy is None) == normal_way(order, trade, statement)
            case Effect.RETURN_SECOND | Effect.RETURN_LATE:
                assert decision.remedy is not None
            case _:
                assert decision.remedy is None


@pytest.mark.invariant("I3")
def test_states_and_effect_always_agree() -> None:
    returns = {Effect.RETURN_SECOND, Effect.RETURN_LATE}
    for order, trade, _, _, decision in transitions():
        after = decision.trade.state
        assert (decision.effect in returns | {Effect.COMPLETE}) == (after is TradeState.SUCCEEDED)
        if decision.effect is Effect.BOOK_RETURNED:
            assert after is TradeState.REVERSED
            assert decision.trade.paid_seen
        if after is TradeState.SUCCEEDED:
            assert decision.trade.paid_seen
        if decision.order_state is not order.state:
            ended_here = trade.is_open and not decision.trade.is_open and decision.order_state is OrderState.CLOSED
            assert ended_here or decision.effect is Effect.COMPLETE


def test_nothing_leads_out_of_succeeded_and_an_ended_trade_never_opens_again() -> None:
    young = {TradeState.CREATED, TradeState.SUBMITTED, TradeState.USER_PAYING}
    onward = {
        TradeState.FAILED: {TradeState.SUCCEEDED, TradeState.REVERSED},
        TradeState.CLOSED: {TradeState.SUCCEEDED, TradeState.REVERSED},
        TradeState.REVERSED: {TradeState.REVERSED},
        TradeState.SUCCEEDED: set(),
        TradeState.REVERSING: set(TradeState) - young - {TradeState.UNKNOWN},
    }
    for _, trade, _, _, decision in transitions():
        if trade.state in onward:
            assert decision.trade.state in onward[trade.state]
        else:
            assert decision.trade.state is not TradeState.REVERSING
            assert decision.trade.state is not TradeState.CREATED or trade.state is TradeState.CREATED


def test_a_decision_changes_state_marks_and_counts_alone() -> None:
    for _, trade, _, _, decision in transitions():
        marked = replace(decision.trade, state=trade.state, paid_seen=trade.paid_seen)
        counts = {"not_found_count": trade.not_found_count, "not_found_asked_at": trade.not_found_asked_at}
        assert replace(marked, **counts) == trade
        assert decision.trade.paid_seen >= trade.paid_seen
