"""Every order of events in small worlds, over the real decisions."""

from collections.abc import Callable, Iterator

import pytest

from budan.core.order import OrderState
from budan.core.trade import Direction, TradeState
from model import laws
from model.explore import explore, settle
from model.world import ABSENT, MONEY_STANDS, PAID, RETURNED, State, View, World

C2B, B2C = Direction.C2B, Direction.B2C

# The bounds keep the largest world near five seconds.
WORLDS = [
    World(name="a code", directions=(C2B,), in_flight_max=2, lies=True),
    World(name="a code that may be cancelled", directions=(C2B,), in_flight_max=2, cancels=True, refunds=True),
    World(
        name="a code whose cancel does not tell of money",
        directions=(C2B,),
        in_flight_max=2,
        cancels=True,
        return_told_as="reversed",
    ),
    World(
        name="a code whose cancel is told as a refund",
        directions=(C2B,),
        in_flight_max=2,
        cancels=True,
        return_told_as="refunded",
    ),
    World(
        name="a charge whose cancel is told as a refund",
        directions=(B2C,),
        in_flight_max=2,
        notifies_charges=True,
        return_told_as="refunded",
    ),
    World(name="a charge", directions=(B2C,), in_flight_max=2, refunds=True, lies=True),
    World(name="a charge that cannot be reversed", directions=(B2C,), in_flight_max=2, reversible=False, refunds=True),
    World(
        name="a charge with notices, whose reverse does not tell of money",
        directions=(B2C,),
        in_flight_max=2,
        notifies_charges=True,
        return_told_as="reversed",
    ),
    World(
        name="a code of a merchant that returns what comes late",
        directions=(C2B,),
        in_flight_max=2,
        breaks_word=True,
        returns_late=True,
        refunds=True,
    ),
    World(name="a code that is paid after its end", directions=(C2B,), in_flight_max=2, breaks_word=True, refunds=True),
    # Where a channel breaks its word and a reverse returns what should not have come, no rule can tell them apart.
    World(
        name="a charge that is paid after its end",
        directions=(B2C,),
        in_flight_max=2,
        breaks_word=True,
        reversible=False,
        refunds=True,
    ),
    World(
        name="a charge that is paid after its end, then a code",
        directions=(B2C, C2B),
        in_flight_max=1,
        notices=0,
        begins_placed=True,
        breaks_word=True,
        reversible=False,
    ),
    World(name="two codes", directions=(C2B, C2B), in_flight_max=1, notices=1, refunds=True),
    World(
        name="two codes that wait for payers", directions=(C2B, C2B), in_flight_max=2, begins_placed=True, refunds=True
    ),
    World(
        name="two codes that may be cancelled",
        directions=(C2B, C2B),
        in_flight_max=2,
        notices=1,
        begins_placed=True,
        cancels=True,
    ),
    World(
        name="two codes whose cancel comes too late",
        directions=(C2B, C2B),
        in_flight_max=2,
        notices=1,
        begins_placed=True,
        cancels=True,
        reversible=False,
    ),
    World(name="a code, then a charge", directions=(C2B, B2C), in_flight_max=2),
    World(
        name="a charge, then a code",
        directions=(B2C, C2B),
        in_flight_max=1,
        notices=1,
        begins_placed=True,
        refunds=True,
    ),
    World(name="a charge, then another", directions=(B2C, B2C), in_flight_max=2),
]


@pytest.mark.invariant("I3", "I4", "I5", "I6", "I7", "I8", "I9", "I10")
@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_every_interleaving_keeps_the_invariants(world: World, record_property: Callable[[str, object], None]) -> None:
    """Laws of single states hold in each; from each, truthful answers bring every payment home; one truth, one end."""
    came_from = explore(world)
    answered, ended = settle(world, came_from)
    alike = laws.check_ends_alike(answered | ended)
    assert alike > 1
    _expect_reached(world, set(came_from))
    record_property("explored", f"model, {world.name}: {len(came_from)} states, {len(answered | ended)} ways to rest")


def _expect_reached(world: World, states: set[State]) -> None:
    """A world in which nothing bad can happen proves nothing."""
    assert {state.row.state for state in states} == set(OrderState) - {OrderState.CREATED}
    if world.breaks_word:
        for late in (OrderState.EXPIRED, OrderState.CLOSED):
            assert any(state.row.state is late and state.views[0].truth in MONEY_STANDS for state in states)
    if world.lies:
        assert any(state.row.hold_reason for state in states)
    if world.cancels or world.directions == (B2C,):
        assert any(view.truth in {RETURNED, PAID} and view.row.paid_seen for view in _reversing(states))
    # A charge follows only where no other trade is open, so there no second payment can come.
    if world.directions[1:] == (C2B,):
        assert any(state.row.paid_attempt == 1 and state.views[1].refund for state in states)


def _reversing(states: set[State]) -> Iterator[View]:
    for state in states:
        for view in state.views:
            if view.trade != ABSENT and view.row.state is TradeState.REVERSING:
                yield view
