"""HTTP/1.1 from the server's side, for uvicorn: its listening and its end, our lines, with bounds for a request's head."""

import asyncio
from collections import deque
from typing import Any, Final, cast
from urllib.parse import unquote

import httptools
import uvicorn
from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from budan.wire.http_server_exchange import App, ServerExchange

# A request's head has to be here this long after its first byte, or it is somebody who only holds the line.
HEAD_TIMEOUT_S: Final = 10.0
HEAD_BYTES_MAX: Final = 32 * 1024
_BAD_REQUEST: Final = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 29\r\n"
    b"connection: close\r\n\r\nInvalid HTTP request received"
)


class ServerLine(asyncio.Protocol):
    """One connection to a server of ours; give it to `uvicorn.Config` as `http`.

    uvicorn's own protocol costs twice as much: a timer, an event and three patterns for each request, and two writes for
    each answer. What it does besides is for web sockets and access logs, which nobody here has.
    """

    __slots__ = (
        "_app",
        "_base",
        "_ends_another",
        "_expects_continue",
        "_fed_bytes",
        "_head_bytes",
        "_head_timer",
        "_headers",
        "_idle_since",
        "_idle_timer",
        "_is_in_head",
        "_is_reading",
        "_keep_alive_s",
        "_lines_max",
        "_loop",
        "_parser",
        "_state",
        "_transport",
        "_under_way",
        "_url",
        "_writable",
    )

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """As uvicorn makes its protocols."""
        assert not app_state, "nobody here has a lifespan"
        if not config.loaded:
            config.load()
        self._app = cast("App", config.loaded_app)
        self._loop = _loop or asyncio.get_running_loop()
        self._state = server_state
        self._keep_alive_s = config.timeout_keep_alive
        self._lines_max = config.limit_concurrency
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        # What all requests of this line share.
        self._base: dict[str, Any] = {}
        # The oldest is being answered, the others came before its answer and wait.
        self._under_way: deque[ServerExchange] = deque()
        self._writable: asyncio.Future[None] | None = None
        self._is_reading = True
        self._is_in_head = False
        # Whether the bytes at hand hold the end of a request, and not only of a head that is under way.
        self._ends_another = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._idle_timer: asyncio.TimerHandle | None = None
        self._idle_since = 0.0
        self._begin_head()

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """See Line.default_headers; uvicorn keeps the date in them."""
        return self._state.default_headers

    # ── what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A line is open; its first request has to come."""
        self._transport = cast("asyncio.Transport", transport)
        self._state.connections.add(cast("Any", self))
        self._base = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "server": get_local_addr(self._transport),
            "client": get_remote_addr(self._transport),
            "scheme": "https" if is_ssl(self._transport) else "http",
            "root_path": "",
        }
        self._head_timer = self._loop.call_later(HEAD_TIMEOUT_S, self._give_up_head)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - their signature
        """A line is gone, and with it everybody who waited for an answer."""
        self._state.connections.discard(cast("Any", self))
        for timer in (self._head_timer, self._idle_timer):
            if timer is not None:
                timer.cancel()
        for exchange in self._under_way:
            exchange.lose()
        self.resume_writing()

    def data_received(self, data: bytes) -> None:  # their name: asyncio.Protocol
        """Bytes of one request, or of several."""
        self._ends_another = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Nobody here speaks another protocol: the request is answered, and what follows it is not read.
            for exchange in self._under_way:
                exchange.keeps_line = False
            return
        except httptools.HttpParserError:
            self._refuse()
            return
        if self._is_in_head:
            # A header without an end is known to the parser alone.
            self._fed_bytes += 0 if self._ends_another else len(data)
            if max(self._fed_bytes, self._head_bytes) > HEAD_BYTES_MAX:
                self._refuse()
            elif self._head_timer is None:
                self._head_timer = self._loop.call_later(HEAD_TIMEOUT_S, self._give_up_head)

    def pause_writing(self) -> None:
        """The other side takes less than we write."""
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """It has caught up, or has gone."""
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def shutdown(self) -> None:
        """What uvicorn calls at the end: the line closes after the answer that is under way."""
        if self._under_way:
            self._under_way[0].keeps_line = False
        else:
            self.close()

    # ── what the parser calls

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._begin_head()
        self._is_in_head = True

    def on_url(self, url: bytes) -> None:
        """A part of the address."""
        self._url += url
        self._head_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self._expects_continue = True
        self._headers.append((name, value))
        self._head_bytes += len(name) + len(value)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._is_in_head = False
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        if self._head_bytes > HEAD_BYTES_MAX:
            # What the parser sees as an error it answers with 400 and ends the line.
            raise ValueError("the head of the request is too long")
        self._begin(
            ServerExchange(
                self,
                self._scope(),
                expects_continue=self._expects_continue,
                keeps_line=self._parser.should_keep_alive() and self._parser.get_http_version() == "1.1",
            )
        )

    def on_body(self, body: bytes) -> None:
        """One part of the newest request's body."""
        if self._under_way and self._under_way[-1].take(body):
            self._pause_reading()

    def on_message_complete(self) -> None:
        """The newest request is whole."""
        self._ends_another = True
        if self._under_way:
            self._under_way[-1].complete()

    # ── what an exchange calls

    async def write(self, part: bytes) -> None:
        """See Line.write."""
        if self._writable is not None:
            await asyncio.shield(self._writable)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(part)

    def read_on(self) -> None:
        """See Line.read_on."""
        if not self._is_reading and self._transport is not None and not self._transport.is_closing():
            self._is_reading = True
            self._transport.resume_reading()

    def end(self, exchange: ServerExchange) -> None:
        """See Line.end."""
        assert exchange is self._under_way[0], "answers leave in the order of their requests"
        self._under_way.popleft()
        self._state.total_requests += 1
        if not exchange.keeps_line:
            self.close()
        elif self._under_way:
            self._run(self._under_way[0])
        else:
            self.read_on()
            self._idle_since = self._loop.time()
            if self._idle_timer is None:
                self._idle_timer = self._loop.call_later(self._keep_alive_s, self._look_idle)

    def close(self) -> None:
        """See Line.close; what was written still leaves."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()

    # ── inside

    def _begin_head(self) -> None:
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._expects_continue = False
        # Of what is whole, and of all that came.
        self._head_bytes = 0
        self._fed_bytes = 0

    def _scope(self) -> dict[str, Any]:
        url = httptools.parse_url(self._url)
        raw_path = url.path
        path = raw_path.decode("ascii")
        scope: dict[str, Any] = {
            **self._base,
            "method": self._parser.get_method().decode("ascii"),
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": url.query or b"",
            "headers": self._headers,
            "state": {},
        }
        if (version := self._parser.get_http_version()) != "1.1":
            scope["http_version"] = version
        return scope

    def _begin(self, exchange: ServerExchange) -> None:
        self._under_way.append(exchange)
        if len(self._under_way) == 1:
            self._run(exchange)
        else:
            # Whoever does not wait for answers is not read until it has them.
            self._pause_reading()

    def _run(self, exchange: ServerExchange) -> None:
        tasks = self._state.tasks
        is_full = self._lines_max is not None and max(len(self._state.connections), len(tasks)) >= self._lines_max
        task = self._loop.create_task(exchange.run(cast("App", service_unavailable) if is_full else self._app))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def _pause_reading(self) -> None:
        if self._is_reading and self._transport is not None and not self._transport.is_closing():
            self._is_reading = False
            self._transport.pause_reading()

    def _refuse(self) -> None:
        # After a part of an answer it would be read as the rest of it.
        if self._transport is not None and not any(exchange.has_left for exchange in self._under_way):
            self._transport.write(_BAD_REQUEST)
        self.close()

    def _give_up_head(self) -> None:
        self._head_timer = None
        self.close()

    def _look_idle(self) -> None:
        """Whether the line was idle for so long that it is closed; one timer looks, however many requests come."""
        self._idle_timer = None
        idle_s = 0.0 if self._under_way else self._loop.time() - self._idle_since
        if idle_s >= self._keep_alive_s:
            self.close()
        else:
            self._idle_timer = self._loop.call_later(self._keep_alive_s - idle_s, self._look_idle)
