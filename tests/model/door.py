"""The store in small: one transaction applies a decision as docs/design.md section 3 says, or fails whole."""

from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import NamedTuple, assert_never

from budan.core.closing import begin_close, begin_reverse, end_close, expire
from budan.core.completion import Consequences, consequences, contradiction_entries
from budan.core.decide import Contradiction, Effect, Transition, Unchanged, decide
from budan.core.errors import Refused
from budan.core.evidence import Evidence, Source
from budan.core.ledger import Entry
from budan.core.order import Order, OrderState
from budan.core.trade import Direction, Trade
from model.world import ABSENT, ASKED_AT, BOOKS, ORDERS, PHASE_OVER, TRADES, statement


class Written(NamedTuple):
    """What a committed transaction left: rows, books, and the intents it made."""

    order: int
    trade: int
    books: int
    told_paid: bool = False
    refund: bool = False
    close_attempts: tuple[int, ...] = ()


@cache
def record_evidence(
    order: int, trades: tuple[int, ...], books: int, *, at: int, said: str, phase: int, source: Source
) -> Written:
    """The door, for one evidence; a duplicate is decided again like a first copy."""
    order_row, trade_row = ORDERS.values[order], TRADES.values[trades[at]]
    siblings = [TRADES.values[trade] for n, trade in enumerate(trades) if n != at and trade != ABSENT]
    evidence = _asked_anew(statement(at, said, phase, source), trade_row)
    decision = decide(order_row, trade_row, evidence)
    match decision:
        case Unchanged():
            return Written(order, trades[at], books)
        case Contradiction():
            held = replace(order_row, hold_reason=order_row.hold_reason or decision.mismatch.value)
            # The same contradiction again hits the unique key of its entry, and that is all.
            kept = BOOKS.values[books] | set(contradiction_entries(trade_row, evidence, decision))
            return Written(ORDERS.number(held), trades[at], BOOKS.number(_checked(kept)))
        case Transition():
            follows = consequences(order_row, trade_row, siblings, decision)
            _check_transaction(order_row, siblings, decision, follows)
            if evidence.not_found:
                again = decide(order_row, decision.trade, evidence)
                assert isinstance(again, Unchanged), "I5: one answer that came twice counted twice"
            if decision.effect is Effect.COMPLETE and trade_row.direction is Direction.C2B:
                normal = source is Source.NOTICE and trade_row.is_open
                assert normal or follows.remedy is not None, "I3: completed otherwise, and no remedy"
            return Written(
                order=ORDERS.number(_moved(order_row, at, decision, tells_unpaid=follows.tells_unpaid)),
                trade=TRADES.number(_forgetful(decision.trade)),
                books=BOOKS.number(_booked(BOOKS.values[books], follows.entries)),
                told_paid=follows.event == "order.paid",
                refund=follows.refund_minor is not None,
                close_attempts=follows.close_attempts,
            )
        case _:
            assert_never(decision)


def _asked_anew(evidence: Evidence, trade: Trade) -> Evidence:
    """A phase has one moment, but each question of it leaves later than those that were answered."""
    if not evidence.not_found or evidence.asked_at is None:
        return evidence
    return replace(evidence, asked_at=evidence.asked_at + trade.not_found_count * timedelta(seconds=1))


def _forgetful(trade: Trade) -> Trade:
    """Where nothing is counted any more, when it was counted makes no difference to questions that leave later."""
    return trade if trade.not_found_count else replace(trade, not_found_asked_at=None)


def _moved(order: Order, at: int, decision: Transition, *, tells_unpaid: bool) -> Order:
    completes = decision.effect is Effect.COMPLETE
    return replace(
        order,
        state=decision.order_state,
        paid_attempt=at + 1 if completes else order.paid_attempt,
        hold_reason=order.hold_reason or decision.hold_reason,
        told_unpaid=order.told_unpaid or tells_unpaid,
    )


def _booked(books: frozenset[Entry], entries: tuple[Entry, ...]) -> frozenset[Entry]:
    keys = {entry.key for entry in books}
    assert not any(entry.key in keys for entry in entries), f"I10: booked twice: {entries}"
    return _checked(books | set(entries))


def _checked(books: frozenset[Entry]) -> frozenset[Entry]:
    assert len({entry.key for entry in books}) == len(books), "I10: one key, two entries"
    for entry in books:
        assert entry.postings, "I10: an entry without lines"
        assert not sum(line.amount_minor for line in entry.postings), f"I10: {entry} does not sum to zero"
    return books


def _check_transaction(order: Order, siblings: list[Trade], decision: Transition, follows: Consequences) -> None:
    """What must be in one transaction (I3, I9)."""
    if decision.order_state is OrderState.PAID and order.state is not OrderState.PAID:
        assert follows.event == "order.paid", "I3: paid without its webhook"
        assert any(line.account.startswith("merchant:") for entry in follows.entries for line in entry.postings), (
            "I3: paid without its postings"
        )
        assert follows.close_attempts == tuple(trade.attempt for trade in siblings if trade.is_open), (
            "I3: paid without close intents"
        )
        assert follows.remedy is decision.remedy, "I3: the remedy was lost"
    if decision.effect in {Effect.RETURN_SECOND, Effect.RETURN_LATE}:
        assert follows.refund_minor == decision.trade.amount_minor, "I9: no intent to refund"
        assert follows.entries, "I9: not booked"
        assert follows.remedy is not None, "I12: a correction without its mark"


@cache
def opening(order: int) -> int:
    """The order after one more trade of it was begun: whoever asks hears "pending" again."""
    return ORDERS.number(replace(ORDERS.values[order], told_unpaid=False))


@cache
def closing(order: int) -> int | None:
    """The order after `begin_close`; None where it is refused."""
    try:
        return ORDERS.number(begin_close(ORDERS.values[order]))
    except Refused:
        return None


@cache
def ended(
    order: int, trades: tuple[int, ...], asked_over: tuple[bool, ...], *, by_merchant: bool, returns_late: bool
) -> int | None:
    """The order after `end_close` or `expire`; None where it is refused."""
    rows = [TRADES.values[trade] for trade in trades if trade != ABSENT]
    asked_at = {at + 1: ASKED_AT[PHASE_OVER] for at, over in enumerate(asked_over) if over}
    closing_row = ORDERS.values[order]
    try:
        if by_merchant:
            return ORDERS.number(end_close(closing_row, rows, unpaid_asked_at=asked_at))
        return ORDERS.number(expire(closing_row, rows, unpaid_asked_at=asked_at, returns_late=returns_late))
    except Refused:
        return None


@cache
def reversing(order: int, trade: int) -> tuple[int, int] | None:
    """Order and trade after `begin_reverse`; None where it is refused."""
    try:
        order_row, trade_row = begin_reverse(ORDERS.values[order], TRADES.values[trade])
    except Refused:
        return None
    return ORDERS.number(order_row), TRADES.number(_forgetful(trade_row))
