"""Calls that are ended together by one timer."""

import asyncio
from time import monotonic

import pytest

from budan.channels.deadlines import LOOK_EVERY_S, Deadlines, Overdue


async def _for_ever() -> str:
    await asyncio.Event().wait()
    return "never"


async def _ended_after_s(deadlines: Deadlines, within_s: float) -> float:
    began_s = monotonic()
    with pytest.raises(Overdue):
        await deadlines.run(_for_ever(), within_s=within_s)
    return monotonic() - began_s


def _cancellations() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


async def test_each_call_is_ended_at_its_own_deadline_and_never_before() -> None:
    """One timer looks at all of them: an early deadline must neither wait for a late one nor take it along."""
    deadlines = Deadlines()
    early, late = await asyncio.gather(_ended_after_s(deadlines, 0.05), _ended_after_s(deadlines, 3 * LOOK_EVERY_S))
    assert 0.05 <= early < 3 * LOOK_EVERY_S <= late


async def test_a_call_that_was_ended_leaves_no_cancellation_behind() -> None:
    """Its task goes on; a count that stayed would make a later time-out pass for somebody's cancellation."""
    await _ended_after_s(Deadlines(), 0.0)
    assert _cancellations() == 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await _for_ever()


async def test_a_call_that_somebody_cancels_is_cancelled_and_not_overdue() -> None:
    """Whoever gives a call up must see it end as such, or a stopping process would wait for its channels."""
    deadlines = Deadlines()
    calling = asyncio.create_task(deadlines.run(_for_ever(), within_s=60.0))
    await asyncio.sleep(0)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert calling.cancelled()


async def test_a_cancellation_while_an_overdue_call_ends_is_not_lost() -> None:
    """Both come at once where a process stops because its channels hang."""
    deadlines, is_ending = Deadlines(), asyncio.Event()

    async def slow_to_end() -> None:
        try:
            await _for_ever()
        finally:
            is_ending.set()
            await asyncio.sleep(0)

    calling = asyncio.create_task(deadlines.run(slow_to_end(), within_s=0.0))
    await is_ending.wait()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert calling.cancelled()


async def test_an_answer_or_an_error_in_place_of_ending_is_given_as_it_is() -> None:
    """An adapter that knows what was sent says so at its end, and nothing of ours is left on its task."""
    deadlines = Deadlines()

    async def answers_at_its_end() -> str:
        try:
            return await _for_ever()
        except asyncio.CancelledError:
            return "sent"

    async def fails_at_its_end() -> str:
        try:
            return await _for_ever()
        except asyncio.CancelledError as error:
            raise ConnectionError from error

    assert await deadlines.run(answers_at_its_end(), within_s=0.0) == "sent"
    with pytest.raises(ConnectionError):
        await deadlines.run(fails_at_its_end(), within_s=0.0)
    assert _cancellations() == 0


async def test_a_call_that_ended_in_time_is_let_alone() -> None:
    """Its task goes on to other work, which a deadline that nobody took back would end."""
    deadlines = Deadlines()
    await deadlines.run(asyncio.sleep(0), within_s=LOOK_EVERY_S / 2)
    await asyncio.sleep(2 * LOOK_EVERY_S)
    assert await _ended_after_s(deadlines, 0.0) < 3 * LOOK_EVERY_S
