"""One HTTP exchange on raw ASGI: what came, what is answered, and the answer that never comes."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

# The longest request of either channel is a few kilobytes.
BODY_BYTES_MAX: Final = 65_536
BODY_TIMEOUT_S: Final = 10.0
# A client that never gives up gets a gateway's time-out after this long.
WITHHOLD_S_MAX: Final = 60.0

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A whole request; `path_and_query` is what was sent byte for byte, header names are lower case.

    `is_certified` says that it came by TLS, where only those get in who show a certificate of ours.
    """

    method: str
    path: str
    query: str
    path_and_query: str
    headers: Mapping[str, str]
    body: bytes
    is_certified: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer."""

    status: int
    body: bytes = b""
    content_type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Withheld:
    """No answer: the connection is held until the client gives up."""


@dataclass(frozen=True, slots=True)
class TooLong:
    """The body is longer than any honest one, or came too slowly."""


def json_answer(value: object, *, status: int = 200) -> Answer:
    """The value as JSON."""
    return Answer(status=status, body=msgspec.json.encode(value), content_type="application/json")


async def read_request(scope: Scope, receive: Receive) -> Request | TooLong:
    """The request with its body, within its bounds of size and time."""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            body = await _read_body(receive)
    except TimeoutError:
        return TooLong()
    if body is None:
        return TooLong()
    path: str = scope["raw_path"].decode("latin-1")
    query: str = scope["query_string"].decode("latin-1")
    return Request(
        method=scope["method"],
        path=path,
        query=query,
        path_and_query=f"{path}?{query}" if query else path,
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
        body=body,
        is_certified=scope["scheme"] == "https",
    )


async def send_answer(answer: Answer, send: Send) -> None:
    """Sends it with its length."""
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers.items()]
    if answer.content_type:
        headers.append((b"content-type", answer.content_type.encode("latin-1")))
    if answer.status != 204:  # noqa: PLR2004 - HTTP's "no content" has no length either
        headers.append((b"content-length", str(len(answer.body)).encode("ascii")))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


async def withhold(receive: Receive, send: Send, *, stopping: asyncio.Event) -> None:
    """Holds the connection until the client leaves, the bound is reached or the sandbox stops."""
    gone = asyncio.ensure_future(_wait_until_gone(receive))
    stopped = asyncio.ensure_future(stopping.wait())
    try:
        done, _ = await asyncio.wait({gone, stopped}, timeout=WITHHOLD_S_MAX, return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        stopped.cancel()
    if gone not in done:
        await send_answer(Answer(status=504, body=b"gateway time-out\n", content_type="text/plain"), send)


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _read_body(receive: Receive) -> bytes | None:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > BODY_BYTES_MAX:
            return None
        if not message.get("more_body", False):
            return body
