"""The thin HTTP client: kept-alive connections, bounded per host, one round of work per call."""

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping
from typing import Final

from budan.wire.elapsed import elapsed_s
from budan.wire.errors import NotSent
from budan.wire.http import BodySink, HttpAnswer, Target, parse_target, request_headers
from budan.wire.http_connection import Connection

# Shorter than the keep-alive of common servers (nginx 75 s, uvicorn 5 s is caught by its closing first).
_IDLE_S_MAX: Final = 15.0
_CLOSE_TIMEOUT_S: Final = 1.0


class FastHttpClient:
    """Costs a quarter of aiohttp's CPU per call (25 µs to 110); belongs to one event loop.

    Beyond `connections_per_host_max` calls wait for a connection, beyond `waiting_per_host_max` they are refused.
    """

    def __init__(
        self,
        *,
        connections_per_host_max: int,
        waiting_per_host_max: int = 10_000,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        assert connections_per_host_max > 0
        self._connections_max = connections_per_host_max
        self._waiting_max = waiting_per_host_max
        self._ssl_context = ssl_context
        self._pools: dict[tuple[str, str, int, tuple[str, int] | None], _Pool] = {}
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def request(
        self,
        *,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        timeout_s: float,
        body_bytes_max: int,
        send_within_s: float | None = None,
        connect_to: tuple[str, int] | None = None,
        body_to: BodySink | None = None,
    ) -> HttpAnswer:
        """See HttpClient.request."""
        if self._is_closed:
            raise NotSent("client is closed")
        target = parse_target(url)
        request = _render(method=method, target=target, headers=headers, body=body)
        loop = asyncio.get_running_loop()
        began_s, now = elapsed_s(), loop.time()
        deadline = now + timeout_s
        send_until = deadline if send_within_s is None else min(deadline, now + send_within_s)
        pool = self._pool(target, connect_to, loop=loop)
        connection = pool.take_idle() or await pool.open_or_wait(send_until=send_until)
        try:
            if self._is_closed:
                connection.abort()
            # The loop's clock stands still while the machine is suspended, and a window does not.
            if loop.time() >= send_until or elapsed_s() - began_s >= send_until - now:
                raise NotSent("the time to send is over")
            return await connection.exchange(request, deadline=deadline, body_bytes_max=body_bytes_max, body_to=body_to)
        finally:
            pool.give_back(connection)

    async def close(self) -> None:
        """See HttpClient.close."""
        self._is_closed = True
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        lost = [gone for pool in self._pools.values() for gone in pool.close()]
        if lost:
            await asyncio.wait(lost, timeout=_CLOSE_TIMEOUT_S)

    def _pool(self, target: Target, connect_to: tuple[str, int] | None, *, loop: asyncio.AbstractEventLoop) -> "_Pool":
        key = (target.scheme, target.host, target.port, connect_to)
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = _Pool(
                loop=loop,
                address=connect_to or (target.host, target.port),
                server_hostname=target.host if target.scheme == "https" else None,
                ssl_context=self._context() if target.scheme == "https" else None,
                connections_max=self._connections_max,
                waiting_max=self._waiting_max,
            )
            if self._sweep_timer is None:
                self._sweep_timer = loop.call_later(_IDLE_S_MAX, self._sweep, loop)
        return pool

    def _context(self) -> ssl.SSLContext:
        # Made at the first need: reading the machine's certificates takes 20 ms.
        if self._ssl_context is None:
            self._ssl_context = ssl.create_default_context()
        return self._ssl_context

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Closes what was idle too long; without it a host called once would hold its connection for ever."""
        for key, pool in list(self._pools.items()):
            pool.close_idle(before=loop.time() - _IDLE_S_MAX)
            if pool.is_empty:
                del self._pools[key]
        self._sweep_timer = loop.call_later(_IDLE_S_MAX, self._sweep, loop) if self._pools else None


class _Pool:
    """The connections to one address: a slot is taken by each connection that is open, idle or being opened."""

    __slots__ = (
        "_address",
        "_connections",
        "_connections_max",
        "_idle",
        "_loop",
        "_server_hostname",
        "_slots_taken",
        "_ssl_context",
        "_waiting",
        "_waiting_max",
    )

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        address: tuple[str, int],
        server_hostname: str | None,
        ssl_context: ssl.SSLContext | None,
        connections_max: int,
        waiting_max: int,
    ) -> None:
        self._loop = loop
        self._address = address
        self._server_hostname = server_hostname
        self._ssl_context = ssl_context
        self._connections_max = connections_max
        self._waiting_max = waiting_max
        self._slots_taken = 0
        self._idle: list[Connection] = []
        self._connections: set[Connection] = set()
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is open, being opened or waited for."""
        return self._slots_taken == 0 and not self._waiting

    def take_idle(self) -> Connection | None:
        """A usable connection that nobody uses, the latest used first."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
            self._drop(connection)
        return None

    async def open_or_wait(self, *, send_until: float) -> Connection:
        """A usable connection where none is idle: a fresh one or the next that is given back; NotSent after then."""
        try:
            async with asyncio.timeout_at(send_until):
                return await self._open_or_wait()
        except TimeoutError as error:
            raise NotSent("no connection in time") from error

    def give_back(self, connection: Connection) -> None:
        """Passes a usable connection on; the slot of a spent one is passed on without it."""
        if not connection.is_usable:
            connection.abort()
            self._drop(connection)
            return
        waiting = self._next_waiting()
        if waiting is not None:
            waiting.set_result(connection)
        else:
            connection.idle_since = self._loop.time()
            self._idle.append(connection)

    def close_idle(self, *, before: float) -> None:
        """Closes the connections that have been idle since before then, and those that the other side closed."""
        kept = [connection for connection in self._idle if connection.is_usable and connection.idle_since >= before]
        spent = set(self._idle).difference(kept)
        self._idle = kept
        for connection in spent:
            connection.abort()
            self._drop(connection)

    def close(self) -> list[asyncio.Future[None]]:
        """Closes every connection; the futures are done when they are gone."""
        lost = [connection.lost for connection in self._connections]
        for connection in self._connections:
            connection.abort()
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_exception(NotSent("client is closed"))
        self._waiting.clear()
        self._idle.clear()
        return lost

    async def _open_or_wait(self) -> Connection:
        if self._slots_taken < self._connections_max:
            self._slots_taken += 1
            return await self._open()
        if len(self._waiting) >= self._waiting_max:
            raise NotSent("too many calls wait for a connection")
        waiting: asyncio.Future[Connection | None] = self._loop.create_future()
        self._waiting.append(waiting)
        try:
            connection = await waiting
        except asyncio.CancelledError:
            self._forget(waiting)
            raise
        if connection is None:
            return await self._open()
        if connection.is_usable:
            return connection
        # It was closed between its last use and now, before a byte of ours: its slot is good for a fresh one.
        self._connections.discard(connection)
        return await self._open()

    async def _open(self) -> Connection:
        """A fresh connection in a slot that is already taken, and freed if this fails."""
        connection = Connection(loop=self._loop)
        try:
            await self._loop.create_connection(
                lambda: connection,
                *self._address,
                ssl=self._ssl_context,
                server_hostname=self._server_hostname,
            )
        except (OSError, ValueError) as error:
            self._free_slot()
            raise NotSent(f"{type(error).__name__} while connecting") from error
        except BaseException:
            self._free_slot()
            raise
        self._connections.add(connection)
        return connection

    def _forget(self, waiting: asyncio.Future[Connection | None]) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)
        # What it was given in the same turn of the loop goes to the next.
        if waiting.done() and not waiting.cancelled() and waiting.exception() is None:
            connection = waiting.result()
            if connection is None:
                self._free_slot()
            else:
                self.give_back(connection)

    def _drop(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._free_slot()

    def _free_slot(self) -> None:
        waiting = self._next_waiting()
        if waiting is not None:
            waiting.set_result(None)
        else:
            self._slots_taken -= 1

    def _next_waiting(self) -> asyncio.Future[Connection | None] | None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                return waiting
        return None


def _render(*, method: str, target: Target, headers: Mapping[str, str], body: bytes) -> bytes:
    sent = request_headers(method=method, target=target, headers=headers, body=body)
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    return f"{method} {target.path_and_query} HTTP/1.1\r\n{lines}\r\n".encode("ascii") + body
