"""One kept-alive HTTP/1.1 connection for one exchange after another, on httptools."""

import asyncio
from typing import Final, cast

import httptools

from budan.wire.errors import BadAnswer, NoAnswer, NotSent, WireError
from budan.wire.http import ANSWER_HEAD_BYTES_MAX, BodySink, HttpAnswer, is_plain

_STATUS_MIN: Final = 200
_SWITCHING: Final = 101


class Connection(asyncio.Protocol):
    """Takes the next exchange only while `is_usable`; anything unforeseen ends the connection."""

    # Thousands of these may be open.
    __slots__ = (
        "_answer",
        "_body",
        "_body_bytes_max",
        "_body_length",
        "_body_to",
        "_expires",
        "_head_bytes",
        "_headers",
        "_is_spoilt",
        "_loop",
        "_parser",
        "_transport",
        "idle_since",
        "lost",
    )

    def __init__(self, *, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[HttpAnswer] | None = None
        self._is_spoilt = False
        # One for all answers: whatever would leave it in the middle of a message ends the connection.
        self._parser = httptools.HttpResponseParser(self)
        self._start_answer()
        self._body_bytes_max = 0
        self._body_to: BodySink | None = None
        self.idle_since = 0.0
        self.lost: asyncio.Future[None] = loop.create_future()

    @property
    def is_usable(self) -> bool:
        """Whether a request may be written: the other side has not closed, and nothing unasked came from it."""
        return not self._is_spoilt and self._transport is not None and not self._transport.is_closing()

    async def exchange(
        self, request: bytes, *, deadline: float, body_bytes_max: int, body_to: BodySink | None = None
    ) -> HttpAnswer:
        """The answer to `request`; `deadline` is the loop's time. NotSent only before the first byte."""
        assert self._answer is None
        # A write into a closed connection would look like a request without an answer.
        if self._transport is None or not self.is_usable:
            raise NotSent("connection closed before the first byte")
        self._body_bytes_max = body_bytes_max
        self._body_to = body_to
        self._start_answer()
        answer = self._answer = self._loop.create_future()
        timer = self._loop.call_at(deadline, self._give_up)
        self._transport.write(request)
        try:
            return await answer
        finally:
            timer.cancel()
            self._answer = None
            self._body_to = None
            # A cancelled caller leaves an answer under way, which the next caller must not read.
            if answer.cancelled():
                self.abort()

    def abort(self) -> None:
        """Closes at once."""
        self._is_spoilt = True
        if self._transport is not None:
            self._transport.abort()

    # ── what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone: the answer too, unless the end of the connection is its end."""
        self._is_spoilt = True
        if not self.lost.done():
            self.lost.set_result(None)
        if exc is None and self._ends_at_close():
            self._finish()
        else:
            self._fail(NoAnswer("connection ended without a complete answer"))

    def data_received(self, data: bytes) -> None:  # their name: asyncio.Protocol
        """Bytes came; outside of an exchange nobody asked for them."""
        if self._answer is None or self._answer.done():
            self.abort()
            return
        if self._body_length < 0:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(BadAnswer("answer is not HTTP"))
            return
        if self._head_bytes > ANSWER_HEAD_BYTES_MAX and self._body_length < 0:
            self._fail(BadAnswer("answer's head is too long"))

    # ── what the parser calls

    def on_message_begin(self) -> None:
        """A second message in one exchange answers nothing that we asked."""
        if self._answer is None or self._answer.done():
            self._is_spoilt = True
            self._headers = {}
            self._body = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header of the answer, or a trailer: that is counted and dropped, for nobody has judged it as a header."""
        if self._body_length >= 0:
            self._head_bytes += len(name) + len(value)
            if self._head_bytes > ANSWER_HEAD_BYTES_MAX:
                self._fail(BadAnswer("answer's trailers are too long"))
            return
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        """The head is complete; one that says that what follows is not plain is refused."""
        status = self._parser.get_status_code()
        if status == _SWITCHING or not is_plain(self._headers):
            self._fail(BadAnswer("answer switches protocol or is encoded"))
        elif status >= _STATUS_MIN:
            self._body_length = 0
            # From here on of trailers.
            self._head_bytes = 0

    def on_body(self, body: bytes) -> None:
        """One part of the body."""
        self._body_length += len(body)
        if self._body_length > self._body_bytes_max:
            self._fail(BadAnswer(f"answer is longer than {self._body_bytes_max} bytes"))
        elif self._body_to is None:
            self._body.append(body)
        else:
            self._give_away(body, self._body_to)

    def on_message_complete(self) -> None:
        """The answer is complete, unless it was one of the interim kind."""
        if self._body_length < 0:
            self._headers = {}
            return
        if not self._parser.should_keep_alive():
            self._is_spoilt = True
        self._finish()

    # ── inside

    def _give_away(self, body: bytes, body_to: BodySink) -> None:
        # A call that has its error, its time-out too, gives nothing any more: the file may be another's by now.
        if self._answer is None or self._answer.done():
            return
        try:
            body_to(body)
        except OSError:
            self._fail(BadAnswer("answer's body could not be kept"))

    def _start_answer(self) -> None:
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._body_length = -1
        self._head_bytes = 0

    def _ends_at_close(self) -> bool:
        return self._body_length >= 0 and not self._headers.keys() & {"content-length", "transfer-encoding"}

    def _give_up(self) -> None:
        self._fail(NoAnswer("no complete answer in time"))

    def _finish(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(
                HttpAnswer(status=self._parser.get_status_code(), headers=self._headers, body=b"".join(self._body))
            )

    def _fail(self, error: WireError) -> None:
        self.abort()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
