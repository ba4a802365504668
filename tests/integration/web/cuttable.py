"""A line to PostgreSQL that a test can cut and mend."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit


class CuttableLine:
    """Passes bytes on between our pool and the server until it is cut."""

    def __init__(self, socket_path: str) -> None:
        self._socket_path = socket_path
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
        far_reader, far_writer = await asyncio.open_unix_connection(self._socket_path)
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
    """The line and the DSN that leads through it; `dsn` names a Unix socket's folder."""
    parts = urlsplit(dsn)
    folder, port = (parse_qs(parts.query)[name][0] for name in ("host", "port"))
    line = CuttableLine(f"{folder}/.s.PGSQL.{port}")
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        await line.serve(reader, writer)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    own_port = server.sockets[0].getsockname()[1]
    try:
        yield line, f"postgresql://{parts.username}@127.0.0.1:{own_port}{parts.path}"
    finally:
        server.close()
        line.cut()
        await asyncio.gather(*connections)
