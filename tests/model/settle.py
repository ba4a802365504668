"""What is left when every process restarts, queries go on being answered truthfully, and due work is done."""

from collections.abc import Callable

from budan.core.evidence import Source
from budan.core.order import OrderState
from budan.core.trade import Direction, TradeState
from model import door
from model.moves import (
    begin_closing,
    closed_at_channel,
    heard,
    intend_reverse,
    order_moves,
    reversed_at_channel,
    seen,
    truth_told,
)
from model.world import ABSENT, CALL_DONE, PHASE_OVER, State, World

Step = Callable[[World, State], State]

# Far above what any world needs; reaching it means that two steps undo each other.
STEPS_MAX = 100


class Settling:
    """Follows the same steps from any state, and remembers where they lead."""

    def __init__(self, world: World, *steps: Step) -> None:
        self._world = world
        self._steps = steps
        self._ends: dict[State, State] = {}

    def end_of(self, state: State) -> State:
        """The state in which no step changes anything any more."""
        trail: list[State] = []
        while state not in self._ends:
            trail.append(state)
            assert len(trail) <= STEPS_MAX, "the steps never come to rest"
            after = self._step(state)
            if after == state:
                self._ends[state] = state
            state = after
        end = self._ends[state]
        self._ends.update(dict.fromkeys(trail, end))
        return end

    def _step(self, state: State) -> State:
        for step in self._steps:
            after = step(self._world, state)
            if after != state:
                return after
        return state


def crash(_: World, state: State) -> State:
    """Every process dies with what it had in hand; requests that were on their way are lost."""
    views = tuple(view._replace(call=CALL_DONE, query=None, end=None) for view in state.views)
    return state._replace(views=views)


def ask_all(world: World, state: State) -> State:
    """Each trade is asked for, and the answer arrives."""
    for at, view in enumerate(state.views):
        if view.trade != ABSENT:
            state = heard(state, at, truth_told(world, view, state.phase), Source.QUERY)
    return state


def end_all(world: World, state: State) -> State:
    """Due closes and reverses are called, and answered."""
    for at, view in enumerate(state.views):
        if view.trade == ABSENT or not view.row.is_open:
            continue
        if view.row.state is TradeState.REVERSING:
            state = next(reversed_at_channel(world, state, at))
        elif view.close_due and view.row.direction is Direction.C2B:
            state = closed_at_channel(state, at)
        else:
            continue
        answer = state.views[at].end
        assert answer is not None
        state = seen(state, at, state.views[at]._replace(end=None))
        if answer[0] != "already_paid":
            state = heard(state, at, answer, Source.REPLY)
    return state


def close_all(world: World, state: State) -> State:
    """The order's time is over: it closes, a charge that nobody answered for is reversed, time passes, it expires."""
    begins = door.closing(state.order)
    if begins is not None and begins != state.order:
        return begin_closing(state, begins)
    for at, view in enumerate(state.views):
        if view.trade != ABSENT and view.row.is_open and view.row.direction is Direction.B2C:
            state = intend_reverse(state, at) or state
    if state.phase != PHASE_OVER:
        return dict(order_moves(world, state))["time passes"]
    if state.row.state is OrderState.CLOSING:
        return dict(order_moves(world, state)).get("expire", state)
    return state
