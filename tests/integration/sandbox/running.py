"""A sandbox in a process of its own, and a shop's side that stands beside it."""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from budan.wire.http import HttpAnswer
from budan.wire.http_fast import FastHttpClient

WAIT_S = 20.0
_PROGRAM = """
from pathlib import Path
from budan.sandbox.serve import run
run(host="127.0.0.1", port=0, folder=Path({folder!r}), time_scale={time_scale}, seed=7)
"""
_READY = "sandbox ready "


@dataclass
class RunningSandbox:
    """A started sandbox."""

    child: subprocess.Popen[str]
    url: str
    folder: Path

    def end(self, *, by: signal.Signals) -> int:
        """Ends it by this signal and returns its code."""
        self.child.send_signal(by)
        code = self.child.wait(WAIT_S)
        assert self.child.stdout is not None
        self.child.stdout.close()
        return code


def start_sandbox(folder: Path, *, time_scale: float = 0.001) -> RunningSandbox:
    """Starts one on this folder's truth and returns when it answers."""
    program = _PROGRAM.format(folder=str(folder), time_scale=time_scale)
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    line = child.stdout.readline().strip()
    assert line.startswith(_READY), line
    return RunningSandbox(child=child, url=line.removeprefix(_READY), folder=folder)


@dataclass
class Caller:
    """Calls the sandbox's own interface and its pages."""

    url: str
    client: FastHttpClient

    async def send(
        self,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout_s: float = WAIT_S,
    ) -> HttpAnswer:
        """One call."""
        return await self.client.request(
            method=method,
            url=self.url + path,
            headers=headers or {},
            body=body,
            timeout_s=timeout_s,
            body_bytes_max=10_000_000,
        )

    async def admin(self, method: str, path: str, wish: object = None) -> tuple[int, Any]:
        """One call of the JSON interface."""
        body = b"" if wish is None else json.dumps(wish).encode()
        answer = await self.send(method, path, body=body, headers={"Content-Type": "application/json"})
        return answer.status, json.loads(answer.body)

    async def open_account(self, channel: str, public_key: str, **more: object) -> dict[str, Any]:
        """A new account, as the shop is given it."""
        wish = {"channel": channel, "name": "一号店", "merchant_public_key": public_key, **more}
        status, account = await self.admin("POST", "/sandbox/accounts", wish)
        assert status == 201, account
        return account

    async def pay(self, **wish: object) -> dict[str, Any]:
        """The payer pays; the trade after it."""
        status, trade = await self.admin("POST", "/sandbox/pay", wish)
        assert status == 200, trade
        return trade

    async def auth_code(self, channel: str, **faults: object) -> str:
        """A fresh code of a payer, with these faults chosen."""
        status, code = await self.admin("POST", "/sandbox/auth-codes", {"channel": channel, "faults": faults})
        assert status == 201, code
        return code["auth_code"]

    async def trade(self, trade_no: str) -> dict[str, Any]:
        """The trade and its events."""
        status, trade = await self.admin("GET", f"/sandbox/trades/{trade_no}")
        assert status == 200, trade
        return trade

    async def trade_when(self, trade_no: str, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The trade as soon as it is so; each look is one round over the wire."""
        async with asyncio.timeout(WAIT_S):
            while True:
                trade = await self.trade(trade_no)
                if is_so(trade):
                    return trade


@contextlib.asynccontextmanager
async def calling(url: str) -> AsyncIterator[Caller]:
    """A caller for this test's event loop."""
    client = FastHttpClient(connections_per_host_max=8)
    try:
        yield Caller(url=url, client=client)
    finally:
        await client.close()


@dataclass
class Received:
    """One notice as it came."""

    headers: Mapping[str, str]
    body: bytes


@dataclass
class Receiver:
    """Where notices go: answers each with the next of `answers`, and with the last for ever."""

    answers: list[bytes]
    url: str = ""
    received: asyncio.Queue[Received] = field(default_factory=asyncio.Queue[Received])

    async def next(self) -> Received:
        """The next notice, within the bound of every wait here."""
        async with asyncio.timeout(WAIT_S):
            return await self.received.get()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
                lines = [line.split(": ", 1) for line in head.split("\r\n")[1:] if line]
                headers = {name.lower(): value for name, value in lines}
                body = await reader.readexactly(int(headers["content-length"]))
                self.received.put_nowait(Received(headers=headers, body=body))
                writer.write(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
                await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def receiving(*answers: bytes) -> AsyncIterator[Receiver]:
    """A receiver on a free port."""
    receiver = Receiver(answers=list(answers))
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        # Ended by the test and not by the sandbox: it keeps its connections for the next notice.
        with contextlib.suppress(asyncio.CancelledError):
            await receiver.serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/notices/a"
    try:
        yield receiver
    finally:
        server.close()
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections)


def http_answer(status: str, body: bytes = b"") -> bytes:
    """An answer as bytes."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
