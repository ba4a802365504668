"""Runs the application in this process: uvicorn with our own lines on the running loop."""

import asyncio
import signal
import socket
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, cast

import uvicorn

from budan.web.exchange import Receive, Scope, Send
from budan.wire.http_server import ServerLine

# What is under way when the end comes has this long; the supervisor waits a little longer before it kills.
DRAIN_S_MAX = 3
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


async def serve(
    app: Drainable,
    *,
    host: str,
    port: int,
    on_ready: Callable[[], None],
    is_shared: bool = True,
    trusted_proxies: Sequence[str] = (),
) -> None:
    """Serve until SIGTERM, SIGINT or cancellation; several processes share the port unless `is_shared` is False."""
    listener = listen_at(host=host, port=port, is_shared=is_shared)
    await serve_on(app, listener=listener, on_ready=on_ready, trusted_proxies=trusted_proxies)


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
        http=cast("Any", ServerLine),
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
