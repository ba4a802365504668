"""Runs the application in this process: uvicorn with httptools on the running loop."""

import asyncio
import signal
import socket
from asyncio import TimerHandle
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from budan.web.exchange import Receive, Scope, Send

# What is under way when the end comes has this long; the supervisor waits a little longer before it kills.
DRAIN_S_MAX = 3
# A request's head has to be here this long after its connection, or it is somebody who only holds the line.
HEAD_TIMEOUT_S = 10.0
HEAD_BYTES_MAX = 32 * 1024
# Whoever takes nothing of an answer for this long holds its memory and its place among the open requests for nothing.
WRITE_STALL_S_MAX = 30.0
# Requests that wait on one line for the answer to an earlier one. Proxies send none, and each costs a kilobyte.
PIPELINED_MAX = 16
# Load balancers keep their lines for a minute; we close after them, never before.
KEEP_ALIVE_S = 75
BACKLOG = 2_048
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Above this a new line is answered 503 by uvicorn itself.
CONNECTIONS_MAX = 10_000


class Drainable(Protocol):
    """An ASGI application that can say that it is about to go."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        ...

    def begin_drain(self) -> None:
        """From here on /readyz says no."""
        ...


def listen_at(*, host: str, port: int, is_shared: bool) -> socket.socket:
    """A listening socket; port 0 takes a free one. `is_shared` lets several serve processes listen at one port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
        listener.settimeout(0)
    except OSError:
        listener.close()
        raise
    return listener


async def serve_on(
    app: Drainable,
    *,
    listener: socket.socket,
    on_ready: Callable[[], None],
    trusted_proxies: Sequence[str] = (),
) -> None:
    """Serve until SIGTERM, SIGINT or cancellation; then take no new line and end what is under way in `DRAIN_S_MAX`.

    `on_ready` is called once requests are taken. The listener is closed at the end. Whose address a request has is
    believed of `trusted_proxies`, addresses or networks; of nobody else.
    """
    server = _Server(_configure(app, trusted_proxies), on_ready=on_ready)

    def stop() -> None:
        app.begin_drain()
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in _STOP_SIGNALS:
        loop.add_signal_handler(number, stop)
    running = asyncio.ensure_future(server.serve(sockets=[listener]))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        stop()
        await running
        raise
    finally:
        for number in _STOP_SIGNALS:
            loop.remove_signal_handler(number)


def _configure(app: Drainable, trusted_proxies: Sequence[str]) -> uvicorn.Config:
    return uvicorn.Config(
        cast("Any", app),
        http=BoundedHttp,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        # Unless the operator names who stands before us, nobody's word on the client's address is taken.
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
        server_header=False,
        backlog=BACKLOG,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S_MAX,
    )


class _Server(uvicorn.Server):
    """Leaves signals to `serve_on`, and says when it is ready."""

    def __init__(self, config: uvicorn.Config, *, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Uvicorn would raise the signal again at the end, and the exit code would say that we were killed."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn; then requests are taken."""
        await super().startup(sockets)
        self._on_ready()


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's protocol with bounds that it leaves open: for a request's head and trailers, what waits, and slow readers.

    A request that cannot be read is answered in its turn or not at all: 400 in the place of an earlier one's answer would
    say that something was not done which may be.

    Trailers are counted and dropped: as uvicorn has them they would take the place of headers, past a proxy that judged
    only those.
    """

    _head_timer: TimerHandle | None = None
    _write_timer: TimerHandle | None = None
    _head_bytes = 0
    _is_in_head = False
    _is_in_body = False
    # Something could not be read behind requests without an answer: they have theirs, then the line ends.
    _is_over = False
    # What came since the parser last told of anything: a header without an end is known to it alone.
    _untold_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - as uvicorn declares it
        """A line is open; its first request has to come."""
        super().connection_made(transport)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """A line is gone."""
        self._unwatch_head()
        self._unwatch_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:  # their name
        """Bytes of one request, or of several."""
        if self._is_over:
            return
        self._untold_bytes += len(data)
        super().data_received(data)
        if self._untold_bytes > HEAD_BYTES_MAX and not self._is_over:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """What came could not be read; no byte after it can be."""
        if self._is_in_body and self.pipeline:
            # Its other half waits behind the earlier ones, and is given to nobody.
            self.pipeline.popleft()
            self._is_over = True
        elif self._is_in_body and self.cycle.response_started:
            self.transport.close()
        elif self._is_in_body or not self.cycle or self.cycle.response_complete:
            super().send_400_response(msg)
        else:
            self._is_over = True
        self._unwatch_head()

    def on_response_complete(self) -> None:
        """An answer is written."""
        if self._is_over and not self.pipeline:
            self.transport.close()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The other side takes less than we write."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(WRITE_STALL_S_MAX, self.transport.abort)

    def resume_writing(self) -> None:
        """It has caught up."""
        self._unwatch_writing()
        super().resume_writing()

    def on_message_begin(self) -> None:
        """The first byte of a request; between two of them the line's idle time counts instead."""
        super().on_message_begin()
        self._head_bytes = self._untold_bytes = 0
        self._is_in_head = True
        if self._head_timer is None:
            self._watch_head()

    def on_url(self, url: bytes) -> None:
        """A part of the address."""
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or a trailer."""
        self._count_head(len(name) + len(value))
        if self._is_in_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._untold_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._untold_bytes = 0
        self._is_in_body = False
        super().on_message_complete()

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._unwatch_head()
        self._is_in_head = False
        if len(self.pipeline) >= PIPELINED_MAX:
            # No answer: it would be read as that to an earlier request, which may have been done.
            self.transport.abort()
            raise ValueError("too many requests wait on one line")
        super().on_headers_complete()
        self._is_in_body = True

    def _count_head(self, size: int) -> None:
        self._untold_bytes = 0
        self._head_bytes += size
        if self._head_bytes > HEAD_BYTES_MAX:
            # What the parser sees as an error it answers with 400 and ends the line.
            raise ValueError("the head of the request is too long")

    def _watch_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._give_up_head)

    def _unwatch_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _unwatch_writing(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _give_up_head(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()
