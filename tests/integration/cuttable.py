"""A line to PostgreSQL that a test can cut and mend."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from urllib.parse import parse_qs, urlsplit

Dial = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


class CuttableLine:
    """Passes bytes on between our pool and the server until it is cut."""

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._writers: set[asyncio.StreamWriter] = set()
        self.is_cut = False

    def cut(self) -> None:
        """From here on every connection breaks."""
        self.is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        """New connections get through again."""
        self.is_cut = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of ours."""
        if self.is_cut:
            writer.transport.abort()
            return
        far_reader, far_writer = await self._dial()
        ends = {writer, far_writer}
        self._writers |= ends
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_pass_on(reader, far_writer))
                tasks.create_task(_pass_on(far_reader, writer))
        finally:
            self._writers -= ends


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
    writer.transport.abort()


@contextlib.asynccontextmanager
async def cuttable(dsn: str) -> AsyncIterator[tuple[CuttableLine, str]]:
    """The line and the DSN that leads through it; `dsn` names a Unix socket's folder or a host."""
    parts = urlsplit(dsn)
    query = parse_qs(parts.query)
    if "host" in query:
        dial = partial(asyncio.open_unix_connection, f"{query['host'][0]}/.s.PGSQL.{query['port'][0]}")
    else:
        dial = partial(asyncio.open_connection, parts.hostname, parts.port)
    line = CuttableLine(dial)
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        await line.serve(reader, writer)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    own_port = server.sockets[0].getsockname()[1]
    try:
        yield line, f"postgresql://{parts.netloc.rpartition('@')[0]}@127.0.0.1:{own_port}{parts.path}"
    finally:
        server.close()
        line.cut()
        await asyncio.gather(*connections)
