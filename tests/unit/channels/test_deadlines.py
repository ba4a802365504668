"""Calls that are ended together by one timer."""

import asyncio
from time import monotonic

import pytest

from budan.channels.deadlines import LOOK_EVERY_S, Deadlines


async def _hang(deadlines: Deadlines, within_s: float) -> float:
    """How long it took until it was ended."""
    began_s = monotonic()
    context = deadlines.begin(within_s)
    with pytest.raises(TimeoutError):
        async with context:
            await asyncio.Event().wait()
    deadlines.end(context)
    assert context.expired()
    return monotonic() - began_s


async def test_each_call_is_ended_at_its_own_deadline_and_never_before() -> None:
    """One timer looks at all of them: an early deadline must neither wait for a late one nor take it along."""
    deadlines = Deadlines()
    early, late = await asyncio.gather(_hang(deadlines, 0.05), _hang(deadlines, 3 * LOOK_EVERY_S))
    assert 0.05 <= early < 3 * LOOK_EVERY_S <= late


async def test_a_cancelled_call_is_cancelled_and_not_overdue() -> None:
    """Whoever gives a call up must see it end as such, or a stopping process would wait for its channels."""
    deadlines = Deadlines()
    hanging = asyncio.create_task(_hang(deadlines, 60.0))
    await asyncio.sleep(0)
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging


async def test_a_call_that_ended_in_time_is_let_alone() -> None:
    """Its task goes on to other work, which a deadline that nobody took back would end."""
    deadlines = Deadlines()
    context = deadlines.begin(LOOK_EVERY_S / 2)
    async with context:
        pass
    deadlines.end(context)
    await asyncio.sleep(2 * LOOK_EVERY_S)
    assert await _hang(deadlines, 0.0) < 3 * LOOK_EVERY_S
