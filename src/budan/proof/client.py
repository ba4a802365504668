"""A bare HTTP client for one address: cheap enough to load a server from the cores that it runs on."""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import urlsplit

import httptools
import msgspec

ANSWER_BYTES_MAX: Final = 8 * 1024 * 1024


class Unreachable(Exception):  # noqa: N818 - says what happened, like wire.errors
    """No whole answer came: refused, closed half way, too slow or too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """What the server said."""

    status: int
    body: bytes

    def json(self) -> Any:
        """The body, which the caller knows to be JSON."""
        return msgspec.json.decode(self.body)


def render_request(*, method: str, path: str, headers: str = "", body: bytes = b"") -> bytes:
    """The bytes of a request; `headers` are whole lines, each with its line break."""
    length = f"Content-Length: {len(body)}\r\n" if body or method != "GET" else ""
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}{length}\r\n".encode() + body


class _Connection(asyncio.Protocol):
    """One kept-alive connection, one request at a time."""

    def __init__(self) -> None:
        self.is_open = False
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: asyncio.Future[HttpAnswer] | None = None
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's own class is a transport by its methods only.
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:  # their name
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.close(f"unreadable: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        self.close(f"closed: {exc}")

    def on_body(self, body: bytes) -> None:
        self._body = self._body + body if self._body else body
        if len(self._body) > ANSWER_BYTES_MAX:
            self.close("too long")

    def on_message_complete(self) -> None:
        if not self._parser.should_keep_alive():
            self.is_open = False
        answer, self._answer = self._answer, None
        body, self._body = self._body, b""
        if answer is not None and not answer.done():
            answer.set_result(HttpAnswer(status=self._parser.get_status_code(), body=body))

    async def exchange(self, request: bytes, *, timeout_s: float) -> HttpAnswer:
        assert self._transport is not None
        assert self._answer is None
        loop = asyncio.get_running_loop()
        answer = self._answer = loop.create_future()
        timer = loop.call_later(timeout_s, self.close, f"no answer in {timeout_s:g} s")
        try:
            self._transport.write(request)
            return await answer
        except asyncio.CancelledError:
            self.close("cancelled")
            raise
        finally:
            timer.cancel()

    def close(self, reason: str) -> None:
        self.is_open = False
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(Unreachable(reason))
        if self._transport is not None:
            self._transport.abort()


class Client:
    """Up to `connections_max` connections to one address; whoever comes then waits for one."""

    def __init__(self, url: str, *, connections_max: int) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._address = (parts.hostname, parts.port)
        self._free: deque[_Connection] = deque()
        self._places = asyncio.Semaphore(connections_max)

    async def send(self, request: bytes, *, timeout_s: float) -> HttpAnswer:
        """The answer to a rendered request; raises Unreachable. Never sent twice."""
        async with self._places:
            connection = await self._connection()
            try:
                return await connection.exchange(request, timeout_s=timeout_s)
            finally:
                if connection.is_open:
                    self._free.append(connection)

    async def get(self, path: str, *, headers: str = "", timeout_s: float) -> HttpAnswer:
        """The answer to a GET."""
        return await self.send(render_request(method="GET", path=path, headers=headers), timeout_s=timeout_s)

    async def post(self, path: str, body: object, *, headers: str = "", timeout_s: float) -> HttpAnswer:
        """The answer to a POST of `body` as JSON."""
        lines = f"Content-Type: application/json\r\n{headers}"
        request = render_request(method="POST", path=path, headers=lines, body=msgspec.json.encode(body))
        return await self.send(request, timeout_s=timeout_s)

    async def put(self, path: str, body: object, *, timeout_s: float) -> HttpAnswer:
        """The answer to a PUT of `body` as JSON."""
        headers = "Content-Type: application/json\r\n"
        request = render_request(method="PUT", path=path, headers=headers, body=msgspec.json.encode(body))
        return await self.send(request, timeout_s=timeout_s)

    def close(self) -> None:
        """No connection is left open."""
        while self._free:
            self._free.pop().close("no longer needed")

    async def _connection(self) -> _Connection:
        while self._free:
            # The last one used is the least likely to have been closed for idleness.
            connection = self._free.pop()
            if connection.is_open:
                return connection
        try:
            _, connection = await asyncio.get_running_loop().create_connection(_Connection, *self._address)
        except OSError as error:
            raise Unreachable(str(error)) from error
        return connection
