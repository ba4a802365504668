"""The private PostgreSQL of an instance, which a proof may crash, end at once and start again at the same address."""

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from budan.host import embedded
from budan.host.embedded import RunningPostgres
from budan.host.errors import DatabaseNotStarted


class PrivateServer:
    """An embedded server that flushes like the product; whoever made it calls `close` at the end."""

    def __init__(self, *, folder: Path, running: RunningPostgres, progress: Callable[[str], None]) -> None:
        self._folder = folder
        self._running = running
        self._progress = progress
        self._starting: asyncio.Task[RunningPostgres] | None = None

    @property
    def dsn(self) -> str:
        """The same at every start."""
        return self._running.dsn

    @property
    def pid(self) -> int | None:
        """None while the server is down."""
        return self._running.pid if self._running.exit_code() is None else None

    async def crash(self) -> None:
        """The server is killed; what it had not flushed is gone."""
        await asyncio.to_thread(self._running.kill)

    async def end_at_once(self) -> None:
        """The immediate shutdown: every session is cut off, nothing is finished, the log recovers at the next start."""
        os.kill(self._running.pid, signal.SIGQUIT)
        await self._running.wait_ended()

    async def start(self) -> None:
        """The server takes connections again; raises DatabaseNotStarted."""
        assert self.pid is None
        self._starting = asyncio.create_task(_start(self._folder, progress=self._progress))
        # A thread cannot be cancelled: whoever stops waiting leaves it to `close`.
        self._running = await asyncio.shield(self._starting)

    async def close(self) -> None:
        """The server is gone, however far a start had come."""
        if self._starting is not None:
            with suppress(DatabaseNotStarted):
                self._running = await self._starting
        self._running.stop()


async def start_server(folder: Path, *, progress: Callable[[str], None]) -> PrivateServer:
    """A server on `folder` that takes connections; shield it when you wait for it. Raises DatabaseNotStarted."""
    running = await _start(folder, progress=progress)
    return PrivateServer(folder=folder, running=running, progress=progress)


async def _start(folder: Path, *, progress: Callable[[str], None]) -> RunningPostgres:
    return await asyncio.to_thread(embedded.start, folder=folder, durable=True, progress=progress)
