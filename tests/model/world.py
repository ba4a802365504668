"""A small world as hashable tuples: our rows, the channel's own truth, and what is on its way between them."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial
from typing import Generic, NamedTuple, TypeVar

from budan.core.decide import EXPIRY_SKEW
from budan.core.evidence import Evidence, Source
from budan.core.ledger import Entry
from budan.core.numbers import AccountId, render_number
from budan.core.order import Order
from budan.core.trade import Direction, Trade, TradeState
from builders import (
    ACCOUNT,
    CREATED_AT,
    EXPIRES_AT,
    OTHER_ACCOUNT,
    SEND_UNTIL,
    a_number,
    a_trade,
    an_order,
    not_found,
    not_paid_yet,
    paid,
    refused,
    returned,
    reversed_empty,
    silence,
)

Interned_ = TypeVar("Interned_", bound=Hashable)


class Interned(Generic[Interned_]):
    """Each value once, named by a small number: a state of the world is hashed and compared a million times."""

    def __init__(self) -> None:
        self._numbers: dict[Interned_, int] = {}
        self.values: list[Interned_] = []

    def number(self, value: Interned_) -> int:
        if value not in self._numbers:
            self._numbers[value] = len(self.values)
            self.values.append(value)
        return self._numbers[value]


ORDERS: Interned[Order] = Interned()
TRADES: Interned[Trade] = Interned()
BOOKS: Interned[frozenset[Entry]] = Interned()

ABSENT = -1  # a trade that was not begun

# Before the send window ends; while only a payer can act; when nothing can arrive at a C2B channel any more. Each
# lasts until its bound plus skew, so what is slow belongs to the earlier one.
PHASE_SEND, PHASE_PAY, PHASE_OVER = 0, 1, 2
ASKED_AT = (
    CREATED_AT + timedelta(seconds=1),
    SEND_UNTIL + EXPIRY_SKEW + timedelta(seconds=1),
    EXPIRES_AT + EXPIRY_SKEW + timedelta(seconds=1),
)

# The channel's truth of a trade. `blocked` is a number that a reverse burnt before any charge came.
UNSENT, PLACED, PAID, REFUNDED = "unsent", "placed", "paid", "refunded"
CLOSED, FAILED, REVERSED, RETURNED, BLOCKED = "closed", "failed", "reversed", "returned", "blocked"
MONEY_STANDS = frozenset({PAID, REFUNDED})  # a refund is an act of its own: the payment itself stands

# The first call of a trade: about to leave, on its way, on its way with nobody waiting, over.
CALL_DUE, CALL_FLYING, CALL_ORPHANED, CALL_DONE = "due", "flying", "orphaned", "done"

Answer = tuple[str, int]  # what is said, and the phase in which it was asked


class View(NamedTuple):
    """One trade: our row, the truth, and what is under way."""

    trade: int
    truth: str = UNSENT
    call: str | Answer = CALL_DUE
    notices: int = 0  # copies of the notice that may still come
    query: Answer | None = None
    end: Answer | None = None  # the answer to a close or reverse
    close_due: bool = False
    refund: bool = False  # a refund intent exists
    asked_over: bool = False  # "not paid" was heard of a question from after the end

    @property
    def row(self) -> Trade:
        return TRADES.values[self.trade]


class State(NamedTuple):
    """The whole world at one moment."""

    order: int
    phase: int
    books: int
    told_paid: bool  # the webhook "order.paid" exists
    views: tuple[View, ...]

    @property
    def row(self) -> Order:
        return ORDERS.values[self.order]

    @property
    def entries(self) -> frozenset[Entry]:
        return BOOKS.values[self.books]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What may happen in one exploration.

    `in_flight_max` bounds the answers that are under way at once; `notices` is how often the news of a payment comes,
    for a charge only if `notifies_charges`; `cancels`: a C2B trade may be reversed too; `return_told_as`
    is what a query hears of a payment that a reverse gave back; `returns_late`: the merchant wants payments after an
    expiry back with their payers; `lies`: notices with another amount come; `breaks_word`: what the channel
    ended, or its expiry did, is paid all the same.
    """

    name: str
    directions: tuple[Direction, ...]
    in_flight_max: int
    notices: int = 2
    notifies_charges: bool = False
    begins_placed: bool = False
    cancels: bool = False
    reversible: bool = True
    return_told_as: str = "returned"
    refunds: bool = False
    returns_late: bool = False
    lies: bool = False
    breaks_word: bool = False


def first_state(world: World) -> State:
    """One order with its first trade committed and nothing sent."""
    return State(
        order=ORDERS.number(an_order()),
        phase=PHASE_SEND,
        books=BOOKS.number(frozenset()),
        told_paid=False,
        views=tuple(begun(world, at) if at == 0 else View(trade=ABSENT) for at in range(len(world.directions))),
    )


def begun(world: World, at: int) -> View:
    """The view of a trade whose intent was just committed."""
    placed = world.begins_placed and world.directions[at] is Direction.C2B
    row = a_trade(
        attempt=at + 1,
        direction=world.directions[at],
        state=TradeState.SUBMITTED if placed else TradeState.CREATED,
        account_id=account(at),
    )
    number = TRADES.number(row)
    return View(trade=number, truth=PLACED, call=CALL_DONE) if placed else View(trade=number)


def account(at: int) -> AccountId:
    """Each trade has an account of its own, so that its money can be told from the other's."""
    return (ACCOUNT, OTHER_ACCOUNT)[at]


@cache
def statement(at: int, said: str, phase: int, source: Source) -> Evidence:
    """The evidence that an answer becomes."""
    return SAID[said](
        source=source,
        asked_at=ASKED_AT[phase],
        trade_no=render_number(a_number(ordinal=at + 1)),
        account_id=account(at),
    )


SAID: dict[str, Callable[..., Evidence]] = {
    "paid": paid,
    "irreversible": partial(paid, irreversible=True),
    "refunded": partial(paid, refunded_hint=True, refunded_in_full=True),
    "refunded_irreversible": partial(paid, refunded_hint=True, refunded_in_full=True, irreversible=True),
    "other_amount": partial(paid, order_minor=999),
    "not_paid_yet": not_paid_yet,
    "user_paying": partial(not_paid_yet, user_paying=True),
    "not_found": not_found,
    "refused": refused,
    "reversed": reversed_empty,
    "returned": returned,
    "silence": silence,
}
