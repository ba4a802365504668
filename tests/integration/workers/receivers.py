"""Merchants' endpoints on loopback: they verify, remember, and answer as they are told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import msgspec
from standardwebhooks.webhooks import Webhook

WAIT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One delivery as it came."""

    path: str
    headers: dict[str, str]
    body: bytes
    at_s: float

    def verify(self, secret: str) -> Any:
        """The event, once the library that merchants use has found the signature good."""
        return Webhook(secret).verify(self.body, self.headers)

    @property
    def event(self) -> Any:
        """What it says, unverified."""
        return msgspec.json.decode(self.body)

    @property
    def order_no(self) -> str:
        """The order that it is about."""
        return self.event["data"]["order_no"]


Answer = Callable[[Received], Awaitable[int | None]]


async def take(_received: Received) -> int | None:
    """The answer of a healthy endpoint."""
    return 204


async def stay_silent(_received: Received) -> int | None:
    """The answer of a dead one: none, for longer than anybody waits."""
    await asyncio.get_running_loop().create_future()
    return None


def answering(*statuses: int) -> Answer:
    """These answers one after the other, the last for ever."""
    left = list(statuses)

    async def answer(_received: Received) -> int | None:
        return left.pop(0) if len(left) > 1 else left[0]

    return answer


@dataclass
class Receiver:
    """One server for many endpoints: each path is one."""

    answer: Answer
    base: str = ""
    authority: str = ""
    received: list[Received] = field(default_factory=list[Received])
    waiting_now: int = 0
    waiting_most: int = 0
    _came: asyncio.Condition = field(default_factory=asyncio.Condition)

    def url(self, name: str = "hook") -> str:
        """The address of one endpoint."""
        return f"{self.base}/{name}"

    async def wait_for(self, is_enough: Callable[[list[Received]], bool]) -> None:
        """Until what came is enough."""
        async with asyncio.timeout(WAIT_S), self._came:
            await self._came.wait_for(lambda: is_enough(self.received))

    async def wait_for_count(self, received: int) -> None:
        """Until so many came."""
        await self.wait_for(lambda came: len(came) >= received)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
            first, *lines = head.rstrip("\r\n").split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            body = await reader.readexactly(int(headers["content-length"]))
            came = Received(path=first.split(" ")[1], headers=headers, body=body, at_s=monotonic())
            self.received.append(came)
            async with self._came:
                self._came.notify_all()
            self.waiting_now += 1
            self.waiting_most = max(self.waiting_most, self.waiting_now)
            try:
                status = await self.answer(came)
            finally:
                self.waiting_now -= 1
            writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode())


@contextlib.asynccontextmanager
async def receiving(answer: Answer = take, *, port: int = 0) -> AsyncIterator[Receiver]:
    """A receiver on this port, or a free one."""
    receiver = Receiver(answer=answer)
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        # The other side keeps its connections, so the test ends them.
        with contextlib.suppress(asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
            await receiver.serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", port, backlog=1_024)
    port = server.sockets[0].getsockname()[1]
    receiver.authority, receiver.base = f"127.0.0.1:{port}", f"http://127.0.0.1:{port}"
    try:
        yield receiver
    finally:
        server.close()
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections)
