"""Waiting for a child's end without a thread and without asking again and again."""

import asyncio
import os


async def wait_ended(pid: int) -> None:
    """Returns when our child `pid` has ended; the caller sets the time limit.

    It must not have been reaped before: its number could be another's by now.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    watched = os.pidfd_open(pid)
    loop.add_reader(watched, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(watched)
        os.close(watched)
