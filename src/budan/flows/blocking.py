"""Work that blocks, in a thread: whoever gives it up waits all the same until it has ended."""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

# An interruption hits nothing that has not begun yet.
INTERRUPT_AGAIN_S: Final = 0.1

_T = TypeVar("_T")


def _cannot_be_interrupted() -> None:
    """Short work is waited for."""


async def run_to_end(work: Callable[[], _T], *, interrupt: Callable[[], None] = _cannot_be_interrupted) -> _T:
    """The work's result, by a thread. Cancelled, it calls `interrupt` until the work has ended, however it does."""
    # asyncio.to_thread comes back at once when it is cancelled, and its thread goes on: on files and tables that its
    # caller removes and closes meanwhile. And no task, for a loop that ends cancels each task by itself, and so would lose sight of the thread.
    working = asyncio.get_running_loop().run_in_executor(None, work)
    await until_done(working, interrupt=interrupt)
    return working.result()


async def until_done(working: asyncio.Future[_T], *, interrupt: Callable[[], None] = _cannot_be_interrupted) -> None:
    """Wait for the end of a thing, its failure included; a cancellation, or several, is passed on after it."""
    given_up: asyncio.CancelledError | None = None
    while not working.done():
        try:
            await asyncio.wait([working], timeout=None if given_up is None else INTERRUPT_AGAIN_S)
        except asyncio.CancelledError as error:
            given_up = error
        if given_up is not None and not working.done():
            interrupt()
    if not working.cancelled():
        # Looked at, so that nobody complains of it: beside a cancellation it is only its echo.
        working.exception()
    if given_up is not None:
        raise given_up
