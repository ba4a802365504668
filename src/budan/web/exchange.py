"""One request and its answer, without a framework between."""

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import msgspec

from budan.core.errors import Refused
from budan.flows.views import Caller
from budan.web.problems import CONTENT_TYPE, KINDS, problem_of

# ASGI's own types; https://asgi.readthedocs.io/en/latest/specs/www.html
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

_JSON_HEADERS: tuple[Header, ...] = (
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)
_ENCODER = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What goes back; content-length and x-request-id are added when it is sent."""

    status: int
    body: bytes
    headers: tuple[Header, ...]


@dataclass(slots=True, kw_only=True)
class Exchange:
    """A request on its way: `headers` by lower-case name, `parameters` from the path, `caller` where a key is asked."""

    scope: Scope
    request_id: str
    parameters: tuple[str, ...]
    headers: dict[bytes, bytes]
    client_ip: str
    body: bytes = b""
    caller: Caller | None = None
    idempotency_key: str | None = None

    def known_caller(self) -> Caller:
        """The caller of a route that asks for an API key."""
        assert self.caller is not None, "the route's table says that it asks for a key"
        return self.caller


def json_answer(status: int, value: object) -> Answer:
    """`value` as JSON."""
    return Answer(status=status, body=_ENCODER.encode(value), headers=_JSON_HEADERS)


def problem_answer(refusal: Refused, *, request_id: str, more: tuple[Header, ...] = ()) -> Answer:
    """A refusal as application/problem+json, with Retry-After where repeating can help."""
    kind = KINDS[refusal.code]
    headers = [(b"content-type", CONTENT_TYPE), *_JSON_HEADERS[1:], *more]
    if kind.retry_after_s is not None:
        headers.append((b"retry-after", str(kind.retry_after_s).encode()))
    return Answer(
        status=kind.status.value,
        body=_ENCODER.encode(problem_of(refusal, request_id=request_id)),
        headers=tuple(headers),
    )


async def send_answer(send: Send, answer: Answer, *, request_id: str) -> None:
    """Put the whole answer on the wire."""
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [
                *answer.headers,
                (b"content-length", str(len(answer.body)).encode()),
                (b"x-request-id", request_id.encode()),
            ],
        }
    )
    await send({"type": "http.response.body", "body": answer.body})
