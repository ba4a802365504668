"""The server's side of HTTP/1.1: what is read of a line, and what is written on it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import uvicorn
from uvicorn.server import ServerState

from budan.wire import http_server
from budan.wire.http_server import ServerLine
from budan.wire.http_server_exchange import Message, Receive, Scope, Send, has_whole_body

WAIT_S = 10.0
HEAD = b"POST /a%20b?c=d HTTP/1.1\r\nHost: h\r\n"


class Echo:
    """Answers with what it was asked; `/wait` waits for `go`."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.arrived = asyncio.Event()
        self.heard_first = asyncio.Event()
        self.begun: list[str] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.wholes: list[bool] = []
        self.heard: list[Message] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun.append(scope["path"])
        self.wholes.append(has_whole_body(scope))
        self.arrived.set()
        if scope["path"] == "/early":
            await _answer(send, b"early")
            return
        if scope["path"] == "/wait":
            await self.go.wait()
        body, more = b"", True
        while more:
            message = await receive()
            self.heard.append(message)
            self.heard_first.set()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        if scope["path"] == "/break":
            raise LookupError
        if scope["path"] == "/parts":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"one", "more_body": True})
            await send({"type": "http.response.body", "body": b"two"})
            return
        await _answer(send, f"{scope['path']} {scope['query_string'].decode()} ".encode() + body, self.headers)


async def _answer(send: Send, body: bytes, more: list[tuple[bytes, bytes]] | None = None) -> None:
    headers = [(b"content-length", b"%d" % len(body)), *(more or ())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextlib.asynccontextmanager
async def _line(
    app: Echo, *, keep_alive_s: int = 75
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    config = uvicorn.Config(app, lifespan="off", log_config=None, proxy_headers=False, timeout_keep_alive=keep_alive_s)
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(lambda: ServerLine(config, state, {}), "127.0.0.1", 0)
    async with server, asyncio.timeout(WAIT_S):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            yield reader, writer
        finally:
            writer.close()
            await asyncio.gather(*state.tasks)


async def _read_answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    _, _, rest = head.lower().partition(b"content-length: ")
    return head, await reader.readexactly(int(rest.split(b"\r\n")[0]))


async def test_one_line_carries_request_after_request_however_their_bytes_are_cut() -> None:
    """A segment ends where the network likes."""
    text = (
        (HEAD + b"Content-Length: 3\r\n\r\nxyz") * 2
        + HEAD
        + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    )
    async with _line(Echo()) as (reader, writer):
        for size in (1, 7, len(text)):
            for at in range(0, len(text), size):
                writer.write(text[at : at + size])
                await asyncio.sleep(0)
            bodies = [(await _read_answer(reader))[1] for _ in range(3)]
            assert bodies == [b"/a b c=d xyz", b"/a b c=d xyz", b"/a b c=d abc"]


async def test_requests_that_do_not_wait_for_answers_are_answered_one_by_one_in_their_order() -> None:
    """The other side tells answers apart by their order alone."""
    app = Echo()
    async with _line(app) as (reader, writer):
        writer.write(b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\nGET /next HTTP/1.1\r\nHost: h\r\n\r\n")
        await app.arrived.wait()
        assert app.begun == ["/wait"]
        app.go.set()
        assert [(await _read_answer(reader))[1] for _ in range(2)] == [b"/wait  ", b"/next  "]


async def test_a_body_is_asked_for_where_the_other_side_waits_for_that() -> None:
    async with _line(Echo()) as (reader, writer):
        writer.write(HEAD + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"xyz")
        assert (await _read_answer(reader))[1] == b"/a b c=d xyz"


async def test_only_a_body_that_is_all_there_needs_no_time_out() -> None:
    """Whoever believed it of another would wait for a silent line for ever."""
    app = Echo()
    async with _line(app) as (reader, writer):
        writer.write(HEAD + b"Content-Length: 3\r\n\r\nxyz")
        await _read_answer(reader)
        app.heard_first.clear()
        writer.write(HEAD + b"Content-Length: 3\r\n\r\nx")
        await app.heard_first.wait()
        writer.write(b"yz")
        assert (await _read_answer(reader))[1] == b"/a b c=d xyz"
    assert app.wholes == [True, False]


async def test_a_large_body_that_nobody_takes_is_passed_over_and_the_line_goes_on() -> None:
    """Else its rest would be read as the next request."""
    size = 4 * http_server.HEAD_BYTES_MAX
    async with _line(Echo()) as (reader, writer):
        writer.write(b"POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % size + b"GET / " * (size // 6))
        assert (await _read_answer(reader))[1] == b"early"
        writer.write(b"x" * (size % 6) + HEAD + b"Content-Length: 0\r\n\r\n")
        assert (await _read_answer(reader))[1] == b"/a b c=d "


@pytest.mark.parametrize(
    ("request_head", "framing", "rest"),
    [
        (
            b"GET /parts HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
            b"transfer-encoding: chunked",
            b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n",
        ),
        (b"GET /parts HTTP/1.0\r\n\r\n", b"connection: close", b"onetwo"),
        (b"HEAD /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", b"content-length: 4", b""),
        (b"GET /break HTTP/1.1\r\nHost: h\r\n\r\n", b"HTTP/1.1 500", b"Internal Server Error"),
        (b"GARBAGE\r\n\r\n", b"HTTP/1.1 400", b"Invalid HTTP request received"),
        (b"GET /x HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", b"HTTP/1.1 200", b"/x  "),
    ],
)
async def test_an_answer_says_where_it_ends(request_head: bytes, framing: bytes, rest: bytes) -> None:
    async with _line(Echo()) as (reader, writer):
        writer.write(request_head)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert framing in head
        assert body == rest


async def test_a_line_break_in_a_header_begins_no_header_and_no_answer_of_its_own() -> None:
    app = Echo()
    app.headers = [(b"x-request-id", b"1\r\nset-cookie: theirs")]
    async with _line(app) as (reader, writer):
        writer.write(HEAD + b"Content-Length: 0\r\n\r\n")
        said = await reader.read()
        assert said.startswith(b"HTTP/1.1 500")
        assert b"set-cookie" not in said


async def test_a_line_that_is_idle_too_long_is_closed_and_one_that_waits_for_its_answer_is_not() -> None:
    app = Echo()
    async with _line(app, keep_alive_s=0) as (reader, writer):
        writer.write(b"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n")
        await app.arrived.wait()
        app.go.set()
        assert (await _read_answer(reader))[1] == b"/wait  "
        assert await reader.read() == b""


async def test_a_header_without_an_end_is_cut_off() -> None:
    """The parser keeps what it has of a header: without a bound one line could fill our memory."""
    async with _line(Echo()) as (reader, writer):
        writer.write(HEAD + b"X: ")
        writer.write(b"x" * http_server.HEAD_BYTES_MAX)
        assert (await reader.read()).startswith(b"HTTP/1.1 400")


async def test_who_goes_away_is_no_longer_waited_for() -> None:
    app = Echo()
    async with _line(app) as (_, writer):
        writer.write(HEAD + b"Content-Length: 3\r\n\r\nx")
        await app.heard_first.wait()
    assert app.heard[-1] == {"type": "http.disconnect"}
