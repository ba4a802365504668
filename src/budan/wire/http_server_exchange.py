"""One request to a server of ours and its answer, as the application sees them: ASGI over a line."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http import HTTPStatus
from typing import Any, Final, Protocol

# ASGI's own types; https://asgi.readthedocs.io/en/latest/specs/www.html
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

# What came of a body and nobody has asked for yet; above it the line is not read.
BODY_BYTES_HELD_MAX: Final = 65_536
# The extension of ASGI by which an application learns that nothing of the body has to be waited for.
_WHOLE_BODY: Final = "budan.whole_body"
_EXTENSIONS: Final[dict[str, dict[str, Any]]] = {_WHOLE_BODY: {}}
_WITHOUT_BODY: Final = frozenset({204, 304})
_STATUS_LINES: Final = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode("ascii") for status in HTTPStatus
}
_FAILED: Final = b"Internal Server Error"
_LOG: Final = logging.getLogger(__name__)


def has_whole_body(scope: Scope) -> bool:
    """Whether `receive` gives the whole body at once, so that it needs no time-out; of nearly all requests it does."""
    return _WHOLE_BODY in scope.get("extensions", ())


class Line(Protocol):
    """What an exchange needs of its connection."""

    async def write(self, part: bytes) -> None:
        """Write, once the other side takes more."""
        ...

    def read_on(self) -> None:
        """What came of the body was taken: more may come."""
        ...

    def end(self, exchange: "ServerExchange") -> None:
        """The answer is whole."""
        ...

    def close(self) -> None:
        """The line is of no more use."""
        ...

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """What every answer has."""
        ...


class ServerExchange:
    """The head of an answer leaves with the first part of its body: two writes would be two packets and two wake-ups."""

    __slots__ = (
        "_body",
        "_bytes_left",
        "_has_news",
        "_head",
        "_is_chunked",
        "_is_started",
        "_line",
        "_waiter",
        "expects_continue",
        "is_answered",
        "is_gone",
        "is_whole",
        "keeps_line",
        "scope",
    )

    def __init__(self, line: Line, scope: Scope, *, expects_continue: bool, keeps_line: bool) -> None:
        self._line = line
        self.scope = scope
        self.expects_continue = expects_continue
        self.keeps_line = keeps_line
        # Of the request: its body until it is taken, whether it is whole, and whether the other side has gone.
        self._body = b""
        self._has_news = False
        self._waiter: asyncio.Future[None] | None = None
        self.is_whole = False
        self.is_gone = False
        # Of the answer.
        self._head = b""
        self._is_started = False
        self._is_chunked = False
        # None where only the end of the line ends the body.
        self._bytes_left: int | None = None
        self.is_answered = False

    async def run(self, app: App) -> None:
        """Let the application answer; whatever it leaves unfinished ends the line."""
        if self.is_whole and not self.expects_continue:
            self.scope["extensions"] = _EXTENSIONS
        try:
            await app(self.scope, self.receive, self.send)
        except Exception:  # noqa: BLE001 - top of a request: the application answers its failures itself, but for this one
            _LOG.exception("the application failed")
            await self._fail()
        except asyncio.CancelledError:
            if not self.is_answered:
                self._line.close()
            raise
        else:
            if not self.is_answered and not self.is_gone:
                _LOG.error("the application did not answer")
                await self._fail()

    async def receive(self) -> Message:
        """The next part of the body, or that the other side has gone or has its answer."""
        if self.expects_continue:
            self.expects_continue = False
            await self._line.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not (self._has_news or self.is_gone or self.is_answered):
            self._line.read_on()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self.is_gone or self.is_answered:
            return {"type": "http.disconnect"}
        self._has_news = False
        body, self._body = self._body, b""
        return {"type": "http.request", "body": body, "more_body": not self.is_whole}

    async def send(self, message: Message) -> None:
        """The head of the answer, then its body in one or more parts."""
        if self.is_gone:
            return
        match message["type"]:
            case "http.response.start" if not self._is_started:
                self._start(message["status"], message.get("headers", ()))
            case "http.response.body" if self._is_started and not self.is_answered:
                await self._continue(message.get("body", b""), is_last=not message.get("more_body", False))
            case other:
                raise RuntimeError(f"{other} does not come next")

    @property
    def has_left(self) -> bool:
        """Whether a part of the answer has left."""
        return self._is_started and not self._head

    # ── what the connection tells

    def take(self, body: bytes) -> bool:
        """One more part of the body; whether so much is held that no more should be read."""
        if not self.is_answered:
            self._body = self._body + body if self._body else body
            self._tell()
        return len(self._body) > BODY_BYTES_HELD_MAX

    def complete(self) -> None:
        """The body is whole."""
        self.is_whole = True
        self._tell()

    def lose(self) -> None:
        """The other side has gone."""
        self.is_gone = True
        self._tell()

    # ── inside

    def _tell(self) -> None:
        self._has_news = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _start(self, status: int, given: Iterable[tuple[bytes, bytes]]) -> None:
        headers = [*self._line.default_headers, *given]
        length: bytes | None = None
        for name, value in headers:
            if name == b"content-length":
                length = value
            elif name == b"connection":
                self.keeps_line = self.keeps_line and b"close" not in value.lower()
        lines = [b"%b: %b\r\n" % header for header in headers if header[0] != b"connection"]
        has_body = self.scope["method"] != "HEAD" and status not in _WITHOUT_BODY
        self._bytes_left = 0 if length is None or not has_body else int(length)
        if length is None and has_body:
            self._bytes_left = None
            self._is_chunked = self.scope["http_version"] == "1.1"
            self.keeps_line = self.keeps_line and self._is_chunked
        if self._is_chunked:
            lines.append(b"transfer-encoding: chunked\r\n")
        if not self.keeps_line:
            lines.append(b"connection: close\r\n")
        head = b"".join(lines)
        # A line break inside of a value would begin a header, or an answer, of somebody else's making.
        if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines):
            raise RuntimeError("a header has a line break")
        self._head = _STATUS_LINES[status] + head + b"\r\n"
        self._is_started = True
        self.expects_continue = False

    async def _continue(self, body: bytes, *, is_last: bool) -> None:
        if self._is_chunked:
            part = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if is_last:
                part += b"0\r\n\r\n"
        elif self.scope["method"] == "HEAD":
            part = b""
        else:
            part = body
            self._count(len(body), is_last=is_last)
        head, self._head = self._head, b""
        await self._line.write(head + part if head else part)
        if is_last:
            self.is_answered = True
            self._tell()
            self._line.end(self)

    def _count(self, size: int, *, is_last: bool) -> None:
        if self._bytes_left is not None:
            self._bytes_left -= size
            if self._bytes_left < 0 or (is_last and self._bytes_left):
                raise RuntimeError("the body is not as long as its head says")

    async def _fail(self) -> None:
        if self.is_gone or self.is_answered:
            return
        if self.has_left:
            # Half an answer is on its way: only the end of the line says that it is none.
            self._line.close()
            return
        self._head, self._is_started, self._is_chunked, self.keeps_line = b"", False, False, False
        self._start(500, [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(_FAILED))])
        await self._continue(_FAILED, is_last=True)
