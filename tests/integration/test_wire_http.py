"""Both HTTP clients against real sockets: every way in which a server can be broken has its one name."""

import asyncio
import contextlib
import datetime as dt
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from budan.wire.errors import BadAnswer, NoAnswer, NotSent, WireError
from budan.wire.http import HttpClient
from budan.wire.http_aiohttp import AiohttpClient
from budan.wire.http_fast import FastHttpClient
from integration.scripted_server import Server

ClientKind = type[AiohttpClient] | type[FastHttpClient]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PATIENCE_S = 5.0


@pytest.fixture(params=[AiohttpClient, FastHttpClient])
def kind(request: pytest.FixtureRequest) -> ClientKind:
    return request.param


@pytest.fixture
async def clients() -> AsyncIterator[list[HttpClient]]:
    opened: list[HttpClient] = []
    yield opened
    for client in opened:
        await client.close()


@pytest.fixture
def client(kind: ClientKind, clients: list[HttpClient]) -> HttpClient:
    made = kind(connections_per_host_max=4)
    clients.append(made)
    return made


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[tuple[Server, str]]]]:
    servers: list[Server] = []

    async def serve(script: Callable[..., Awaitable[None]], *, tls: ssl.SSLContext | None = None) -> tuple[Server, str]:
        server = Server(lambda reader, writer: script(server, reader, writer), tls=tls)
        servers.append(server)
        return server, await server.start()

    yield serve
    for server in servers:
        await server.stop()


async def ask(client: HttpClient, url: str, **changes: Any) -> Any:
    call: dict[str, Any] = {
        "method": "POST",
        "headers": {"Accept": "application/json"},
        "body": b'{"a":1}',
        "timeout_s": PATIENCE_S,
        "body_bytes_max": 1000,
    }
    return await client.request(url=url, **(call | changes))


@contextlib.asynccontextmanager
async def one_call_busy(client: HttpClient, serve: Any) -> AsyncIterator[tuple[Server, str]]:
    """While one call has been sent and is not answered."""
    asked = asyncio.Event()

    async def script(server: Server, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await server.read(reader)
        asked.set()
        await reader.read()

    server, url = await serve(script)
    busy = asyncio.create_task(ask(client, url))
    await asyncio.wait_for(asked.wait(), PATIENCE_S)
    try:
        yield server, url
    finally:
        busy.cancel()
        await asyncio.gather(busy, return_exceptions=True)


def answering(answer: bytes, *, closes: bool = False) -> Callable[..., Awaitable[None]]:
    async def script(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await server.read(reader)
            writer.write(answer)
            await writer.drain()
            if closes:
                writer.close()
                await writer.wait_closed()
                return

    return script


async def silent(server: Server, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await server.read(reader)
    await reader.read()


async def test_the_request_leaves_byte_for_byte(client: HttpClient, serve: Any) -> None:
    """The channel's signature covers path, query and body; a client that tidies them breaks it."""
    server, url = await serve(answering(OK))
    path = "/v3/%E6%97%A5%7e/a%2Fb//..//x?b=2&a=1+1&c=%20&d='(*)"
    body = '{"a": "门店\\/"}\r\n '.encode()
    answer = await ask(client, url + path, headers={"X-One": "1", "Content-Type": "application/json"}, body=body)
    assert (answer.status, answer.body) == (200, b"ok")
    head, _, sent_body = server.requests[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == f"POST {path} HTTP/1.1"
    assert sorted(line.lower() for line in lines[1:]) == sorted(
        [
            f"host: 127.0.0.1:{server.port}",
            "accept-encoding: identity",
            f"content-length: {len(body)}",
            "x-one: 1",
            "content-type: application/json",
        ]
    )
    assert sent_body == body


@pytest.mark.parametrize(("method", "length"), [("GET", False), ("POST", True)])
async def test_an_empty_body_is_framed_as_http_asks(client: HttpClient, serve: Any, method: str, length: bool) -> None:  # noqa: FBT001 - a parameter of the table
    server, url = await serve(answering(OK))
    await ask(client, url, method=method, body=b"")
    assert server.requests[0].startswith(f"{method} / HTTP/1.1\r\n".encode())
    assert (b"content-length: 0" in server.requests[0].lower()) is length


@pytest.mark.parametrize(
    ("raw", "status", "body"),
    [
        (OK, 200, b"ok"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1;x=y\r\nk\r\n0\r\nLink: x\r\n\r\n",
            200,
            b"ok",
        ),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 3\r\n\r\nbad", 500, b"bad"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", 302, b""),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, 200, b"ok"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, 200, b"ok"),
        (OK.replace(b"\r\n", b"\r\nUpgrade: h2,h2c\r\nConnection: Upgrade, Keep-Alive\r\n", 1), 200, b"ok"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000, 200, b"x" * 1000),
    ],
)
async def test_every_well_formed_answer_is_read(
    client: HttpClient, serve: Any, raw: bytes, status: int, body: bytes
) -> None:
    _, url = await serve(answering(raw))
    for _ in range(2):
        answer = await ask(client, url)
        assert (answer.status, answer.body) == (status, body)
        assert "link" not in answer.headers


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.0 200 OK\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    ],
)
async def test_an_answer_that_ends_with_the_connection_is_read(client: HttpClient, serve: Any, raw: bytes) -> None:
    server, url = await serve(answering(raw, closes=True))
    for _ in range(2):
        assert (await ask(client, url)).body == b"ok"
    assert server.connections == 2


async def test_header_names_are_lower_case_and_repeats_are_joined(client: HttpClient, serve: Any) -> None:
    _, url = await serve(
        answering(b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nRequest-ID: R\r\nContent-Length: 0\r\n\r\n")
    )
    answer = await ask(client, url)
    assert answer.headers["x-a"] == "1, 2"
    assert answer.headers["request-id"] == "R"


async def test_an_answer_in_small_pieces_is_read(client: HttpClient, serve: Any) -> None:
    async def script(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(reader)
        for byte in OK:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        await reader.read()

    _, url = await serve(script)
    assert (await ask(client, url)).body == b"ok"


async def test_a_body_is_given_away_part_by_part_or_the_answer_is_bad(client: HttpClient, serve: Any) -> None:
    """A file of gigabytes must never be in memory; the next call gets its own body again."""
    _, url = await serve(answering(b"HTTP/1.1 404 No\r\nContent-Length: 600\r\n\r\n" + b"x" * 600))
    parts: list[bytes] = []
    answer = await ask(client, url, body_to=parts.append)
    assert (answer.status, answer.body, b"".join(parts)) == (404, b"", b"x" * 600)
    assert (await ask(client, url)).body == b"x" * 600
    for sink, most in ((parts.append, 599), (lambda part: Path("/dev/full").write_bytes(part), 600)):
        with pytest.raises(BadAnswer):
            await ask(client, url, body_to=sink, body_bytes_max=most)


async def test_one_connection_serves_many_requests(client: HttpClient, serve: Any) -> None:
    server, url = await serve(answering(OK))
    for _ in range(20):
        await ask(client, url)
    assert server.connections == 1


async def test_connections_per_host_are_bounded_and_calls_wait_their_turn(client: HttpClient, serve: Any) -> None:
    server, url = await serve(answering(OK))
    answers = await asyncio.gather(*(ask(client, url) for _ in range(50)))
    assert {answer.body for answer in answers} == {b"ok"}
    assert server.connections <= 4


BAD_ANSWERS = {
    "no http": b"SSH-2.0-OpenSSH_9.2\r\n",
    "garbage": b"\x00\x01\x02\x03\r\n\r\n",
    "bad status": b"HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n",
    "bad chunk": CHUNKED + b"zz\r\nok\r\n0\r\n\r\n",
    "bad length": b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "too long": b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n" + b"x" * 1001,
    "too long in chunks": CHUNKED + b"1f4\r\n" + b"x" * 500 + b"\r\n" + b"1f5\r\n" + b"x" * 501 + b"\r\n",
    "long head": b"HTTP/1.1 200 OK\r\nX-A: " + b"x" * 100_000,
    "long trailers": CHUNKED + b"0\r\n" + b"X: y\r\n" * 32_768,
    "compressed": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok",
    "switching": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
async def test_an_unreadable_answer_is_a_bad_answer(client: HttpClient, serve: Any, name: str) -> None:
    _, url = await serve(answering(BAD_ANSWERS[name]))
    with pytest.raises(BadAnswer):
        await ask(client, url)


NO_ANSWERS = {
    "nothing": b"",
    "half a line": b"HTTP/1.1 20",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "half a body": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok",
    "half a chunk": CHUNKED + b"5\r\nok",
    "no last chunk": CHUNKED + b"2\r\nok\r\n",
    "only interim": b"HTTP/1.1 100 Continue\r\n\r\n",
}


@pytest.mark.parametrize("name", NO_ANSWERS)
async def test_an_answer_cut_off_by_a_close_is_no_answer(client: HttpClient, serve: Any, name: str) -> None:
    _, url = await serve(answering(NO_ANSWERS[name], closes=True))
    with pytest.raises(NoAnswer):
        await ask(client, url)


@pytest.mark.parametrize("name", NO_ANSWERS)
async def test_an_answer_that_stops_is_no_answer_in_time(client: HttpClient, serve: Any, name: str) -> None:
    _, url = await serve(answering(NO_ANSWERS[name]))
    with pytest.raises(NoAnswer):
        await ask(client, url, timeout_s=0.25)


@pytest.mark.parametrize("sent_first", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok"])
async def test_a_reset_after_sending_is_no_answer(client: HttpClient, serve: Any, sent_first: bytes) -> None:
    async def script(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(reader)
        writer.write(sent_first)
        writer.transport.abort()

    _, url = await serve(script)
    with pytest.raises(NoAnswer):
        await ask(client, url)


async def test_a_refused_connection_was_not_sent(client: HttpClient, serve: Any) -> None:
    server, url = await serve(silent)
    await server.stop()
    with pytest.raises(NotSent):
        await ask(client, url)


async def test_a_name_without_an_address_was_not_sent(client: HttpClient) -> None:
    for host in ("nowhere.invalid", "a" * 64 + ".invalid"):
        with pytest.raises(NotSent):
            await ask(client, f"http://{host}/")


async def test_a_time_out_while_waiting_for_a_connection_was_not_sent(
    kind: ClientKind, clients: list[HttpClient], serve: Any
) -> None:
    """Whoever waited is not in doubt: it may be repeated."""
    client = kind(connections_per_host_max=1)
    clients.append(client)
    async with one_call_busy(client, serve) as (server, url):
        with pytest.raises(NotSent):
            await ask(client, url, timeout_s=0.1)
    assert len(server.requests) == 1


async def test_nothing_is_sent_after_the_send_window(kind: ClientKind, clients: list[HttpClient], serve: Any) -> None:
    client = kind(connections_per_host_max=1)
    clients.append(client)
    async with one_call_busy(client, serve) as (server, url):
        with pytest.raises(NotSent):
            await ask(client, url, send_within_s=0.1)
    assert len(server.requests) == 1


async def test_a_handshake_that_never_ends_was_not_sent(client: HttpClient, serve: Any) -> None:
    async def mute(_server: Server, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    _, url = await serve(mute)
    with pytest.raises(NotSent):
        await ask(client, url.replace("http:", "https:"), timeout_s=0.2)


async def test_a_server_that_does_not_speak_tls_was_not_sent(client: HttpClient, serve: Any) -> None:
    async def plain(_server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(OK)
        await writer.drain()

    _, url = await serve(plain)
    with pytest.raises(NotSent):
        await ask(client, url.replace("http:", "https:"))


@pytest.fixture
def certified(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context for pay.example.test, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pay.example.test")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("pay.example.test")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "server.pem"
    pem.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_context.load_cert_chain(pem)
    return server_context, ssl.create_default_context(cafile=str(pem))


async def test_https_checks_the_name_of_the_url_on_the_address_given(
    kind: ClientKind, clients: list[HttpClient], serve: Any, certified: Any
) -> None:
    """A webhook goes to the address that was checked, and still to the host that the certificate names."""
    server_context, client_context = certified
    server, _ = await serve(answering(OK), tls=server_context)
    client = kind(connections_per_host_max=1, ssl_context=client_context)
    clients.append(client)
    address = ("127.0.0.1", server.port)
    for _ in range(2):
        assert (await ask(client, "https://pay.example.test/hook", connect_to=address)).body == b"ok"
    assert server.connections == 1
    assert b"host: pay.example.test\r\n" in server.requests[0].lower()
    with pytest.raises(NotSent):
        await ask(client, "https://other.example.test/hook", connect_to=address)


async def test_an_unknown_certificate_was_not_sent(client: HttpClient, serve: Any, certified: Any) -> None:
    server, _ = await serve(answering(OK), tls=certified[0])
    with pytest.raises(NotSent):
        await ask(client, "https://pay.example.test/", connect_to=("127.0.0.1", server.port))
    assert server.requests == []


async def test_connect_to_goes_to_the_address_and_names_the_host(client: HttpClient, serve: Any) -> None:
    server, _ = await serve(answering(OK))
    answer = await ask(client, "http://shop.example.test:8080/x", connect_to=("127.0.0.1", server.port))
    assert answer.body == b"ok"
    assert b"host: shop.example.test:8080\r\n" in server.requests[0].lower()


async def test_a_kept_connection_that_the_server_closed_is_replaced_before_sending(
    client: HttpClient, serve: Any
) -> None:
    """Nothing was written, so nothing is in doubt."""
    gone = asyncio.Event()

    async def once(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(reader)
        writer.write(OK)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        gone.set()

    server, url = await serve(once)
    for number in range(1, 4):
        assert (await ask(client, url)).body == b"ok"
        await asyncio.wait_for(gone.wait(), PATIENCE_S)
        gone.clear()
        # Our side learns of the close by its own socket, in one of the next turns of the loop.
        for _ in range(10):
            await asyncio.sleep(0)
        assert server.connections == number


async def test_a_kept_connection_that_dies_with_the_second_request_is_in_doubt(client: HttpClient, serve: Any) -> None:
    """The server may have read it and acted; sending it again could pay twice."""

    async def dies(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(reader)
        writer.write(OK)
        await writer.drain()
        await server.read(reader)

    server, url = await serve(dies)
    assert (await ask(client, url)).body == b"ok"
    with pytest.raises(NoAnswer):
        await ask(client, url)
    assert len(server.requests) == 2


async def test_an_answer_that_nobody_asked_for_is_never_given_to_the_next_call(client: HttpClient, serve: Any) -> None:
    forged = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"
    _, url = await serve(answering(OK + forged))
    for _ in range(5):
        assert (await ask(client, url)).body == b"ok"


async def test_a_late_answer_is_never_given_to_the_next_call(client: HttpClient, serve: Any) -> None:
    release = asyncio.Event()

    async def late(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await server.read(reader)
        if b"/slow" in request:
            await release.wait()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow")
        else:
            writer.write(OK)
        await writer.drain()
        await reader.read()

    _, url = await serve(late)
    with pytest.raises(NoAnswer):
        await ask(client, url + "/slow", timeout_s=0.25)
    release.set()
    assert (await ask(client, url)).body == b"ok"


async def test_a_cancelled_call_frees_its_connection_and_harms_no_other(
    kind: ClientKind, clients: list[HttpClient], serve: Any
) -> None:
    asked = asyncio.Event()

    async def script(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"/slow" in await server.read(reader):
            asked.set()
            await reader.read()
            return
        writer.write(OK)
        await writer.drain()
        await reader.read()

    _, url = await serve(script)
    client = kind(connections_per_host_max=1)
    clients.append(client)
    slow = asyncio.create_task(ask(client, url + "/slow"))
    await asyncio.wait_for(asked.wait(), PATIENCE_S)
    waiting = [asyncio.create_task(ask(client, url)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    slow.cancel()
    outcomes = await asyncio.gather(slow, waiting[0], return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 2
    assert (await waiting[1]).body == b"ok"
    waiting[2].cancel()
    await asyncio.gather(waiting[2], return_exceptions=True)


@pytest.mark.parametrize(
    "change",
    [
        {"url": "http://127.0.0.1:1/a b"},
        {"url": "http://127.0.0.1:1/a\r\nX: 1"},
        {"url": "http://127.0.0.1:1/a\n"},
        {"url": "http://127.0.0.1:1/#x"},
        {"url": "http://127.0.0.1:1/日"},
        {"url": "http://user@127.0.0.1:1/"},
        {"url": "http://127.0.0.1:1\\@evil/"},
        {"url": "http://127.0.0.1:0/"},
        {"url": "http://127.0.0.1:99999/"},
        {"url": "ftp://127.0.0.1/"},
        {"url": "127.0.0.1:1/"},
        {"url": ""},
        {"headers": {"X-A": "1\r\nX-B: 2"}},
        {"headers": {"X-A": "1\n"}},
        {"headers": {"X-A\r\n": "1"}},
        {"headers": {"X A": "1"}},
        {"headers": {"": "1"}},
        {"headers": {"X-A": "门"}},
        {"headers": {"host": "other"}},
        {"headers": {"Content-Length": "0"}},
        {"headers": {"Transfer-Encoding": "chunked"}},
        {"method": "GET /\r\n"},
        {"method": "CONNECT"},
        {"method": "post"},
    ],
)
async def test_what_could_become_another_request_is_not_sent(
    client: HttpClient, serve: Any, change: dict[str, Any]
) -> None:
    server, url = await serve(answering(OK))
    call = {"url": url} | change
    call["url"] = call["url"].replace("127.0.0.1:1", f"127.0.0.1:{server.port}")
    with pytest.raises(NotSent):
        await ask(client, call.pop("url"), **call)
    assert server.connections == 0


async def test_a_closed_client_sends_nothing_and_ends_what_waits(kind: ClientKind, serve: Any) -> None:
    asked = asyncio.Event()

    async def script(server: Server, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await server.read(reader)
        asked.set()
        await reader.read()

    _, url = await serve(script)
    client = kind(connections_per_host_max=1)
    busy = asyncio.create_task(ask(client, url))
    await asyncio.wait_for(asked.wait(), PATIENCE_S)
    waiting = asyncio.create_task(ask(client, url, timeout_s=1.0))
    await asyncio.sleep(0)
    await client.close()
    outcomes = await asyncio.gather(busy, waiting, return_exceptions=True)
    assert type(outcomes[0]) is NoAnswer
    assert isinstance(outcomes[1], WireError)
    with pytest.raises(NotSent):
        await ask(client, url)


async def test_too_many_calls_that_wait_are_refused(clients: list[HttpClient], serve: Any) -> None:
    client = FastHttpClient(connections_per_host_max=1, waiting_per_host_max=1)
    clients.append(client)
    async with one_call_busy(client, serve) as (_, url):
        outcomes = await asyncio.gather(*(ask(client, url, timeout_s=0.1) for _ in range(2)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [NotSent, NotSent]
    assert "too many" in str(outcomes[1])


async def outcome_of(kind: ClientKind, raw: bytes) -> str:
    server = Server(lambda reader, writer: answering(raw, closes=True)(server, reader, writer), tls=None)
    client = kind(connections_per_host_max=1)
    try:
        return (await ask(client, await server.start())).body.decode()
    except WireError as error:
        return type(error).__name__
    finally:
        await client.close()
        await server.stop()


@pytest.mark.parametrize("name", ["well formed", *BAD_ANSWERS, *NO_ANSWERS])
def test_uvloop_tells_failures_apart_like_asyncio(kind: ClientKind, name: str) -> None:
    """A process runs on uvloop, whose sockets end in their own order."""
    raw = ({"well formed": OK} | BAD_ANSWERS | NO_ANSWERS)[name]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcome = runner.run(outcome_of(kind, raw))
    assert outcome == ("ok" if name == "well formed" else "BadAnswer" if name in BAD_ANSWERS else "NoAnswer")
