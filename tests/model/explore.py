"""Every reachable state of a world, breadth first, and the way that led to the first one that breaks a law."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from model import laws
from model.moves import moves
from model.settle import Settling, ask_all, close_all, crash, end_all
from model.world import State, World, first_state

CameFrom = dict[State, tuple[State, str] | None]


class BrokenLawError(AssertionError):
    """A law that does not hold, with the way that led there."""


def explore(world: World) -> CameFrom:
    """Every reachable state with the step that first led to it; each keeps the laws of a single state."""
    start = first_state(world)
    came_from: CameFrom = {start: None}
    queue = deque([start])
    while queue:
        state = queue.popleft()
        with _telling_the_way(came_from, state):
            laws.check(world, state)
            for label, after in moves(world, state):
                if after not in came_from:
                    came_from[after] = (state, label)
                    queue.append(after)
    return came_from


def settle(world: World, came_from: CameFrom) -> tuple[set[State], set[State]]:
    """Where the states come to rest: once all is answered, and once the order's time is over as well."""
    answering = Settling(world, crash, ask_all, end_all)
    ending = Settling(world, crash, ask_all, end_all, close_all)
    all_answered, all_ended = set[State](), set[State]()
    for state in came_from:
        with _telling_the_way(came_from, state):
            answered, ended = answering.end_of(state), ending.end_of(state)
            laws.check_money_is_known(answered)
            laws.check_money_is_known(ended)
            laws.check_everything_ends(ended)
        all_answered.add(answered)
        all_ended.add(ended)
    return all_answered, all_ended


@contextmanager
def _telling_the_way(came_from: CameFrom, state: State) -> Iterator[None]:
    try:
        yield
    except AssertionError as failure:
        labels: list[str] = []
        at = state
        while (step := came_from[at]) is not None:
            at, label = step
            labels.append(label)
        raise BrokenLawError(f"{failure}\nafter: {' → '.join(reversed(labels))}\nin: {state}") from failure
