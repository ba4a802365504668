"""The one interface of calls over HTTP, and what may be sent by it."""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, Protocol

import msgspec

from budan.wire.errors import NotSent

ANSWER_HEAD_BYTES_MAX: Final = 32_768

_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
# Visible ASCII only: a blank, CR, LF or NUL would end the request line, a fragment is never sent.
_URL: Final = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(?::([0-9]{1,5}))?((?:[/?][!-\"$-~]*)?)")
_HEADER_NAME: Final = re.compile(r"[0-9A-Za-z!#$%&'*+.^_`|~-]+")
# The framing and the destination are the client's; a caller that set them could smuggle a second request.
_RESERVED_HEADERS: Final = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding"})
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_PORT_MAX: Final = 65_535


# Takes one part of a body; an OSError of its, as of a full disk, ends the call as a bad answer.
BodySink = Callable[[bytes], object]


class HttpAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A complete answer; header names are lower case, a repeated header's values are joined by a comma.

    A struct, because a sweep makes ten thousand a second: a dataclass costs four times as much.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpClient(Protocol):
    """Sends one request and never follows a redirect, never repeats what may have been sent."""

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
        """The answer, whatever its status.

        The path and query of `url` and `body` are sent byte for byte. `timeout_s` covers everything from this call
        on; a first byte that cannot leave within `send_within_s` never leaves. `connect_to` is the address and port
        to connect to while the host of `url` stays the one asked for and certified. With `body_to` the body is given
        to it part by part, whatever the status, and the answer's own body is empty; after an error it has a part only.
        Raises NotSent, NoAnswer or BadAnswer and nothing else.
        """
        ...

    async def close(self) -> None:
        """Ends every connection; a request still waiting gets its error."""
        ...


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request goes: `host` without brackets, `authority` as the Host header says it."""

    scheme: str
    host: str
    port: int
    authority: str
    path_and_query: str


# Most channels have one address for all calls.
@lru_cache(maxsize=1_024)
def parse_target(url: str) -> Target:
    """The parts of an absolute http(s) URL; NotSent for one that must not be sent."""
    match = _URL.fullmatch(url)
    if match is None:
        raise NotSent("url is not a plain http or https address")
    scheme, host, port_text, rest = match.groups()
    port = int(port_text) if port_text else _DEFAULT_PORTS[scheme]
    if not 0 < port <= _PORT_MAX:
        raise NotSent("url names an impossible port")
    return Target(
        scheme=scheme,
        host=host.strip("[]"),
        port=port,
        authority=host if port == _DEFAULT_PORTS[scheme] else f"{host}:{port}",
        path_and_query=rest if rest.startswith("/") else f"/{rest}",
    )


def request_headers(*, method: str, target: Target, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
    """Every header of the request, ours first; NotSent when one could change the message's framing."""
    if method not in _METHODS:
        raise NotSent("method is not one that we send")
    # Compressed answers are not asked for: the signature covers the plain bytes, and a bomb needs no defence.
    sent = {"Host": target.authority, "Accept-Encoding": "identity"}
    if body or method not in {"GET", "DELETE"}:
        sent["Content-Length"] = str(len(body))
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise NotSent("header holds what may not be sent")
        _refuse_header(name)
        sent[name] = value
    return sent


# A few dozen names are all that is ever sent.
@lru_cache(maxsize=256)
def _refuse_header(name: str) -> None:
    """Raises `NotSent`, which is not remembered, for a name that a caller may not send."""
    if _HEADER_NAME.fullmatch(name) is None:
        raise NotSent("header holds what may not be sent")
    if name.lower() in _RESERVED_HEADERS:
        raise NotSent(f"header {name} is set by the client itself")


def is_plain(headers: Mapping[str, str]) -> bool:
    """Whether an answer's body is the bytes themselves and not an encoding that nobody asked for."""
    encoding = headers.get("content-encoding")
    return encoding is None or encoding.strip().lower() in {"", "identity"}
