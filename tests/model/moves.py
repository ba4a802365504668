"""Everything that may happen next in a world: at the channel, on the wire, here, and when a process dies."""

from collections.abc import Iterator

from budan.core.evidence import Source
from budan.core.order import OrderState
from budan.core.trade import Direction, TradeState
from model import door
from model.world import (
    ABSENT,
    BLOCKED,
    CALL_DONE,
    CALL_DUE,
    CALL_FLYING,
    CALL_ORPHANED,
    CLOSED,
    FAILED,
    PAID,
    PHASE_OVER,
    PHASE_SEND,
    PLACED,
    REFUNDED,
    RETURNED,
    REVERSED,
    UNSENT,
    Answer,
    State,
    View,
    World,
    begun,
)

Move = tuple[str, State]
OPEN_ANSWERS = frozenset({"not_found", "not_paid_yet", "user_paying"})
WAITING_STATES = frozenset({OrderState.CREATED, OrderState.PAYING})


def moves(world: World, state: State) -> Iterator[Move]:
    """Every next state, with what leads there."""
    for at, view in enumerate(state.views):
        if view.trade == ABSENT:
            yield from _second_trades(world, state, at)
            continue
        yield from _first_calls(world, state, at)
        yield from _payers(world, state, at)
        yield from _notices(world, state, at)
        yield from _queries(world, state, at)
        yield from _closes(world, state, at)
        yield from _reverses(world, state, at)
    yield from order_moves(world, state)


def seen(state: State, at: int, view: View) -> State:
    """The state with one view changed."""
    views = list(state.views)
    views[at] = view
    return state._replace(views=tuple(views))


def heard(state: State, at: int, answer: Answer, source: Source) -> State:
    """The answer goes through the door."""
    said, phase = answer
    trades = tuple(view.trade for view in state.views)
    written = door.record_evidence(state.order, trades, state.books, at=at, said=said, phase=phase, source=source)
    over = said in OPEN_ANSWERS and phase == PHASE_OVER and source is Source.QUERY
    views = [
        _tidied(
            view._replace(
                trade=written.trade if n == at else view.trade,
                refund=view.refund or (n == at and written.refund),
                asked_over=view.asked_over or (n == at and over),
                close_due=view.close_due or n + 1 in written.close_attempts,
            )
        )
        if view.trade != ABSENT
        else view
        for n, view in enumerate(state.views)
    ]
    return state._replace(
        order=written.order,
        books=written.books,
        told_paid=state.told_paid or written.told_paid,
        views=tuple(views),
    )


def _tidied(view: View) -> View:
    """An ended trade has no work; a reverse takes the place of a close."""
    if not view.row.is_open:
        return view._replace(close_due=False, asked_over=False)
    return view._replace(close_due=False) if view.row.state is TradeState.REVERSING else view


def _in_flight(state: State) -> int:
    return sum((view.query is not None) + (view.end is not None) for view in state.views)


def _second_trades(world: World, state: State, at: int) -> Iterator[Move]:
    order = state.row
    if order.state not in WAITING_STATES or order.hold_reason:
        return
    is_one_open = any(v.trade != ABSENT and v.row.is_open for v in state.views)
    if is_one_open and (order.told_unpaid or world.directions[at] is Direction.B2C):
        return
    # What went back while the order was told unpaid stands at its channel still, and pays nothing: the law that paid is
    # what the truth says would have to remember it.
    if any(v.refund for v in state.views):
        return
    yield f"{at}: begin", seen(state._replace(order=door.opening(state.order)), at, begun(world, at))


def _first_calls(world: World, state: State, at: int) -> Iterator[Move]:
    """The sender looks at its clock right before the first byte, and at nothing else."""
    view = state.views[at]
    if view.call == CALL_DONE:
        return
    if view.call == CALL_DUE:
        if state.phase == PHASE_SEND:
            yield f"{at}: send", seen(state, at, view._replace(call=CALL_FLYING))
        yield f"{at}: crash before sending", seen(state, at, view._replace(call=CALL_DONE))
        return
    if view.call in (CALL_FLYING, CALL_ORPHANED):
        if state.phase == PHASE_SEND:
            yield from _landings(world, state, at)
        if view.call == CALL_FLYING:
            late = seen(state, at, view._replace(call=CALL_ORPHANED if state.phase == PHASE_SEND else CALL_DONE))
            yield f"{at}: no reply in time", heard(late, at, ("silence", 0), Source.REPLY)
            yield f"{at}: crash while waiting", late
        return
    over = seen(state, at, view._replace(call=CALL_DONE))
    yield f"{at}: reply {view.call[0]}", heard(over, at, view.call, Source.REPLY)
    yield f"{at}: reply unreadable", heard(over, at, ("silence", 0), Source.REPLY)
    yield f"{at}: crash with the reply", over


def _landings(world: World, state: State, at: int) -> Iterator[Move]:
    """The request reaches the channel."""
    view = state.views[at]

    def landed(truth: str, said: str) -> State:
        call = (said, 0) if view.call == CALL_FLYING else CALL_DONE
        notices = _notices_of(world, view) if said == "paid" else view.notices
        return seen(state, at, view._replace(truth=truth, call=call, notices=notices))

    if view.truth != UNSENT:
        yield f"{at}: arrives for a burnt number", landed(view.truth, "refused")
    elif view.row.direction is Direction.C2B:
        yield f"{at}: placed", landed(PLACED, "not_paid_yet")
    else:
        yield f"{at}: payer types", landed(PLACED, "user_paying")
        yield f"{at}: charged", landed(PAID, "paid")
        yield f"{at}: charge refused", landed(FAILED, "refused")


def _payers(world: World, state: State, at: int) -> Iterator[Move]:
    view = state.views[at]
    b2c = view.row.direction is Direction.B2C
    in_time = view.truth == PLACED and (b2c or state.phase != PHASE_OVER)
    if in_time or (world.breaks_word and view.truth in (PLACED, CLOSED, FAILED)):
        yield f"{at}: pays", seen(state, at, view._replace(truth=PAID, notices=_notices_of(world, view)))
    if view.truth == PLACED:
        if b2c:
            yield f"{at}: gives up", seen(state, at, view._replace(truth=FAILED))
        elif state.phase == PHASE_OVER:
            yield f"{at}: code expires", seen(state, at, view._replace(truth=CLOSED))
    if world.refunds and view.refund and view.truth == PAID:
        yield f"{at}: refunded", seen(state, at, view._replace(truth=REFUNDED))


def _notices_of(world: World, view: View) -> int:
    return world.notices if view.row.direction is Direction.C2B or world.notifies_charges else 0


def _notices(world: World, state: State, at: int) -> Iterator[Move]:
    view = state.views[at]
    if view.notices:
        less = seen(state, at, view._replace(notices=view.notices - 1))
        yield f"{at}: notice", heard(less, at, ("paid", 0), Source.NOTICE)
    if world.lies and state.row.hold_reason is None:
        yield f"{at}: notice of another amount", heard(state, at, ("other_amount", 0), Source.NOTICE)


def _queries(world: World, state: State, at: int) -> Iterator[Move]:
    view = state.views[at]
    if view.query is None:
        if _in_flight(state) < world.in_flight_max:
            yield f"{at}: ask", seen(state, at, view._replace(query=truth_told(world, view, state.phase)))
        return
    clear = seen(state, at, view._replace(query=None))
    yield f"{at}: answer {view.query[0]}", heard(clear, at, view.query, Source.QUERY)
    yield f"{at}: answer unreadable", heard(clear, at, ("silence", 0), Source.QUERY)
    yield f"{at}: crash with the answer", clear


def truth_told(world: World, view: View, phase: int) -> Answer:
    """What an honest channel answers a query asked now."""
    b2c = view.row.direction is Direction.B2C
    said = {
        UNSENT: "not_found",
        PLACED: "user_paying" if b2c else "not_paid_yet",
        PAID: "paid",
        REFUNDED: "refunded",
        CLOSED: "refused",
        FAILED: "refused",
        # Where a return is told as a refund, a cancel without one looks like any other end.
        REVERSED: "refused" if world.return_told_as == "refunded" else "reversed",
        BLOCKED: "reversed",
        RETURNED: world.return_told_as,
    }[view.truth]
    return said, phase if said in OPEN_ANSWERS else 0


def _closes(world: World, state: State, at: int) -> Iterator[Move]:
    """A close that found nothing or a payment says so; only "ended" is the channel's word."""
    view = state.views[at]
    if view.end is not None and view.end[0] == "already_paid":
        yield f"{at}: close came too late", seen(state, at, view._replace(end=None))
    if not view.close_due or view.end is not None or _in_flight(state) >= world.in_flight_max:
        return
    if view.row.direction is Direction.C2B:
        yield f"{at}: close", closed_at_channel(state, at)


def closed_at_channel(state: State, at: int) -> State:
    """The close call arrives; its answer is on the way."""
    view = state.views[at]
    if view.truth in (PLACED, CLOSED):
        return seen(state, at, view._replace(truth=CLOSED, end=("refused", 0)))
    if view.truth == UNSENT:
        return seen(state, at, view._replace(end=("not_found", state.phase)))
    return seen(state, at, view._replace(end=("already_paid", 0)))


def _reverses(world: World, state: State, at: int) -> Iterator[Move]:
    view = state.views[at]
    if view.end is not None:
        clear = seen(state, at, view._replace(end=None))
        if view.end[0] != "already_paid":
            yield f"{at}: end answered {view.end[0]}", heard(clear, at, view.end, Source.REPLY)
        yield f"{at}: crash with the end's answer", clear
        return
    if view.row.state is TradeState.REVERSING:
        if _in_flight(state) < world.in_flight_max:
            for after in reversed_at_channel(world, state, at):
                yield f"{at}: reverse", after
    elif world.cancels or view.row.direction is Direction.B2C:
        after = intend_reverse(state, at)
        if after is not None:
            yield f"{at}: intend reverse", after


def intend_reverse(state: State, at: int) -> State | None:
    """The committed intent to reverse; None where it is refused."""
    begun_ = door.reversing(state.order, state.views[at].trade)
    if begun_ is None:
        return None
    order, trade = begun_
    return seen(state._replace(order=order), at, _tidied(state.views[at]._replace(trade=trade)))


def reversed_at_channel(world: World, state: State, at: int) -> Iterator[State]:
    """The reverse arrives. A number that it does not know it burns, or it does not: channels differ."""
    view = state.views[at]
    if view.truth == UNSENT:
        yield seen(state, at, view._replace(end=("not_found", state.phase)))
        if view.row.direction is Direction.B2C:
            yield seen(state, at, view._replace(truth=BLOCKED, end=("reversed", 0)))
    elif view.truth == PAID and not world.reversible:
        yield seen(state, at, view._replace(end=("irreversible", 0)))
    elif view.truth == RETURNED and world.return_told_as == "refunded":
        # A second cancel finds nothing to do, and that is all that it says; or it comes too late for any, and a query says
        # what became of the money.
        yield seen(state, at, view._replace(end=("not_found", state.phase)))
        yield seen(state, at, view._replace(end=("refunded_irreversible", 0)))
    else:
        after = {PAID: RETURNED, PLACED: REVERSED}.get(view.truth, view.truth)
        gone = view._replace(truth=after)
        yield seen(state, at, gone._replace(end=_reverse_told(world, gone, state.phase)))


def _reverse_told(world: World, view: View, phase: int) -> Answer:
    """The reverse's own answer tells of money wherever a refund is what a query hears."""
    told = truth_told(world, view, phase)
    return ("returned", 0) if told[0] == "refunded" and view.truth == RETURNED else told


def order_moves(world: World, state: State) -> Iterator[Move]:
    """Commands on the order, and time."""
    begins = door.closing(state.order)
    if begins is not None and begins != state.order:
        yield "begin close", begin_closing(state, begins)
    trades = tuple(view.trade for view in state.views)
    asked_over = tuple(view.asked_over for view in state.views)
    for by_merchant in (True, False):
        order = door.ended(state.order, trades, asked_over, by_merchant=by_merchant, returns_late=world.returns_late)
        if order is not None:
            yield "close" if by_merchant else "expire", state._replace(order=order)
    if state.phase != PHASE_OVER:
        views = tuple(view._replace(call=CALL_DONE) if view.call == CALL_ORPHANED else view for view in state.views)
        yield "time passes", state._replace(phase=state.phase + 1, views=views)


def begin_closing(state: State, order: int) -> State:
    """The order in `closing` and its open trades due to be closed."""
    views = tuple(_tidied(view._replace(close_due=True)) if view.trade != ABSENT else view for view in state.views)
    return state._replace(order=order, views=views)
