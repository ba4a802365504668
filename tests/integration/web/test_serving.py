"""The server itself: its end, its lines, its port."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Sequence

import pytest

from budan.web import serve as serving
from budan.web.exchange import Receive, Scope, Send
from budan.web.serve import HEAD_BYTES_MAX, listen_at, serve_on
from integration.web.house import WAIT_S


class SlowApp:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.go = asyncio.Event()
        self.drains = 0
        self.client: tuple[str, int] | None = None

    def begin_drain(self) -> None:
        self.drains += 1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        assert (await receive())["type"] == "http.request"
        self.arrived.set()
        await self.go.wait()
        self.client = scope["client"]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


class BigApp(SlowApp):
    """Answers more than a line holds, and says when it could go on."""

    def __init__(self) -> None:
        super().__init__()
        self.left = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(64):
            await send({"type": "http.response.body", "body": bytes(1 << 18), "more_body": True})
        self.left.set()


@contextlib.asynccontextmanager
async def _served(app: SlowApp, trusted_proxies: Sequence[str] = ()) -> AsyncIterator[tuple[int, "asyncio.Task[None]"]]:
    listener = listen_at(host="127.0.0.1", port=0, is_shared=False)
    port: int = listener.getsockname()[1]
    ready = asyncio.Event()
    running = asyncio.create_task(serve_on(app, listener=listener, on_ready=ready.set, trusted_proxies=trusted_proxies))
    async with asyncio.timeout(WAIT_S):
        await ready.wait()
        try:
            yield port, running
        finally:
            app.go.set()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@contextlib.asynccontextmanager
async def _asked(port: int, head: bytes = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n") -> AsyncIterator[asyncio.StreamReader]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head)
        await writer.drain()
        yield reader
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def _is_taken(port: int) -> bool:
    try:
        async with _asked(port):
            return True
    except ConnectionError:
        return False


async def test_what_is_under_way_is_answered_before_the_end_and_nobody_new_is_taken() -> None:
    app = SlowApp()
    async with _served(app) as (port, running), _asked(port) as reader:
        await app.arrived.wait()
        running.cancel()
        while await _is_taken(port):
            pass
        assert app.drains == 1
        app.go.set()
        assert (await reader.read()).endswith(b"ok")
        await asyncio.wait([running], timeout=WAIT_S)
        assert running.done()


async def test_the_end_comes_in_time_even_if_an_answer_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "DRAIN_S_MAX", 0)
    app = SlowApp()
    async with _served(app) as (port, running), _asked(port):
        await app.arrived.wait()
        running.cancel()
        await asyncio.wait([running], timeout=WAIT_S)
        assert running.done()


async def test_a_line_that_sends_no_request_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "HEAD_TIMEOUT_S", 0.1)
    app = SlowApp()
    app.go.set()
    async with _served(app) as (port, _):
        for begun in (b"", b"GET / HTTP/1.1\r\nHost:"):
            async with _asked(port, begun) as reader:
                assert await reader.read() == b""


async def test_an_answer_that_takes_longer_than_a_head_may_is_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "HEAD_TIMEOUT_S", 0.05)
    app = SlowApp()
    async with _served(app) as (port, _), _asked(port) as reader:
        await app.arrived.wait()
        # A silent line is closed by the same timer, started later than that of the line that waits for its answer.
        async with _asked(port, b"") as silent:
            assert await silent.read() == b""
        app.go.set()
        assert (await reader.readexactly(15)).startswith(b"HTTP/1.1 200 OK")


async def test_an_endless_head_is_cut_off() -> None:
    app = SlowApp()
    async with _served(app) as (port, _):
        long = b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * (HEAD_BYTES_MAX + 1) + b"\r\n\r\n"
        async with _asked(port, long) as reader:
            assert (await reader.read()).startswith(b"HTTP/1.1 400")
        assert not app.arrived.is_set()


async def test_a_header_or_trailer_without_an_end_is_cut_off() -> None:
    """The parser keeps what has no end to itself, so nothing but the bytes that came tells of it."""
    app = SlowApp()
    chunked = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    many = b"".join(b"a%d: b\r\n" % number for number in range(HEAD_BYTES_MAX // 4))
    async with _served(app) as (port, _):
        for begun in (
            b"GET / HTTP/1.1\r\nX: " + b"x" * HEAD_BYTES_MAX,
            chunked + many,
            chunked + b"X: " + b"x" * HEAD_BYTES_MAX,
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(begun)
            with contextlib.suppress(ConnectionError):
                for _ in range(4):
                    await writer.drain()
                    writer.write(b"x" * HEAD_BYTES_MAX)
                assert b"200" not in await asyncio.wait_for(reader.read(), WAIT_S)
            writer.close()


async def test_a_trailer_is_no_header() -> None:
    """A proxy judges headers: what comes after the body must not take their place, least of all the payer's address."""
    app = SlowApp()
    app.go.set()
    request = (
        b"POST / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.7\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n"
    )
    async with _served(app, ("127.0.0.0/8",)) as (port, _), _asked(port, request) as reader:
        assert (await reader.readexactly(15)).startswith(b"HTTP/1.1 200 OK")
    assert app.client is not None
    assert app.client[0] == "203.0.113.7"


async def test_a_line_on_which_too_many_requests_wait_is_ended_without_a_false_answer() -> None:
    """What was begun may be done, and a 400 in the place of its answer would say that it is not."""
    app = SlowApp()
    many = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" * (serving.PIPELINED_MAX + 2)
    async with _served(app) as (port, _), _asked(port, many) as reader:
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), WAIT_S) == b""


@pytest.mark.parametrize(
    "unreadable",
    [
        b"\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * HEAD_BYTES_MAX + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nno length\r\n",
    ],
)
async def test_what_cannot_be_read_takes_no_earlier_answers_place(unreadable: bytes) -> None:
    """A shop that reads 400 believes that its charge was refused, and its customer pays twice."""
    app = SlowApp()
    good = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
    async with _served(app) as (port, _):
        async with _asked(port, good * 2 + unreadable) as reader:
            await app.arrived.wait()
            app.go.set()
            answers = await asyncio.wait_for(reader.read(), WAIT_S)
            assert (answers.count(b"HTTP/1.1 200"), answers.count(b"HTTP/1.1 ")) == (2, 2)
        async with _asked(port, unreadable) as reader:
            assert (await asyncio.wait_for(reader.read(), WAIT_S)).startswith(b"HTTP/1.1 400")


async def test_whoever_does_not_take_an_answer_loses_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two thousand who never read would hold every open request there may be."""
    monkeypatch.setattr(serving, "WRITE_STALL_S_MAX", 0.1)
    app = BigApp()
    app.go.set()
    async with _served(app) as (port, _):
        held = socket.socket()
        held.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        held.settimeout(0)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(held, ("127.0.0.1", port))
        await loop.sock_sendall(held, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        await asyncio.wait_for(app.left.wait(), WAIT_S)
        held.close()


@pytest.mark.parametrize(
    ("trusted", "believed"),
    [((), "127.0.0.1"), (("10.0.0.0/8",), "127.0.0.1"), (("127.0.0.0/8",), "203.0.113.7")],
)
async def test_only_a_proxy_that_was_named_says_whence_a_payer_comes(trusted: tuple[str, ...], believed: str) -> None:
    """WeChat compares the payer's address, and anybody can write this header."""
    app = SlowApp()
    app.go.set()
    head = b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 198.51.100.1, 203.0.113.7\r\n\r\n"
    async with _served(app, trusted) as (port, _), _asked(port, head) as reader:
        await reader.readexactly(15)
    assert app.client is not None
    assert app.client[0] == believed


async def test_several_may_share_a_port_and_the_loner_may_not() -> None:
    first = listen_at(host="127.0.0.1", port=0, is_shared=True)
    with first:
        port: int = first.getsockname()[1]
        listen_at(host="127.0.0.1", port=port, is_shared=True).close()
        with pytest.raises(OSError, match="in use"):
            listen_at(host="127.0.0.1", port=port, is_shared=False)


async def test_the_signal_to_end_ends_it_as_wished_and_not_as_killed() -> None:
    app = SlowApp()
    app.go.set()
    async with _served(app) as (_, running):
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait([running], timeout=WAIT_S)
        assert running.done()
        assert running.exception() is None
