"""The shop's own server: takes webhooks, verifies them with a published library, and keeps its own file of them."""

import argparse
import asyncio
import os
import signal
import socket
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import parse_qs, urlsplit

import httptools
import msgspec
import uvloop
from standardwebhooks import Webhook, WebhookVerificationError

from budan.host.readiness import tell_ready

BODY_BYTES_MAX: Final = 64 * 1024
WEBHOOK_PATH: Final = "/webhook"
# How often a failing event is remembered, for `fail_first`.
_EVENTS_REMEMBERED_MAX: Final = 100_000
_TAKEN: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_REFUSED: Final = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
_FAILED: Final = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
_ABSENT: Final = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
_BACKLOG: Final = 2_048


class _Named(msgspec.Struct):
    """The part of an event that says whose it claims to be."""

    reference: str


class _Claim(msgspec.Struct):
    # The payload's own member (Standard Webhooks).
    data: _Named  # their name


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the merchant's file: an event that was verified and kept before it was answered."""

    at: datetime
    webhook_id: str
    event: msgspec.Raw


class Books:
    """The merchant's file, and the secrets by which it knows what is true.

    Secrets are read from `secrets_file` (JSON: a name to a secret) when a signature fits none that is known, so the
    file may be written after the start.
    """

    def __init__(self, *, events_file: Path, secrets_file: Path) -> None:
        self._events = os.open(events_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._secrets_file = secrets_file
        self._read_at_ns = 0
        self._webhooks: dict[str, Webhook] = {}
        self._claim = msgspec.json.Decoder(_Claim)
        self._encoder = msgspec.json.Encoder()

    def take(self, body: bytes, headers: dict[str, str]) -> bool:
        """Whether the event is ours; then it is in the file, where a kill of this program leaves it."""
        if not self._is_ours(body, headers) and not (self._has_read_secrets() and self._is_ours(body, headers)):
            return False
        taken = Taken(at=datetime.now(UTC), webhook_id=headers["webhook-id"], event=msgspec.Raw(body))
        line = self._encoder.encode(taken) + b"\n"
        return os.write(self._events, line) == len(line)

    def _is_ours(self, body: bytes, headers: dict[str, str]) -> bool:
        try:
            name = self._claim.decode(body).data.reference.partition("-")[0]
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False
        # Our references begin with the merchant's number; those that a page made name nobody, and each secret is tried.
        known = self._webhooks.get(name)
        return any(_is_signed(webhook, body, headers) for webhook in ([known] if known else self._webhooks.values()))

    def _has_read_secrets(self) -> bool:
        try:
            changed_at_ns = self._secrets_file.stat().st_mtime_ns
        except FileNotFoundError:
            return False
        if changed_at_ns == self._read_at_ns:
            return False
        secrets = msgspec.json.decode(self._secrets_file.read_bytes(), type=dict[str, str])
        self._webhooks = {name: Webhook(secret) for name, secret in secrets.items()}
        self._read_at_ns = changed_at_ns
        return True


def _is_signed(webhook: Webhook, body: bytes, headers: dict[str, str]) -> bool:
    try:
        webhook.verify(body, headers, json_parse=False)
    except (WebhookVerificationError, ValueError):
        return False
    return True


class _Exchange(asyncio.Protocol):
    """One connection of somebody who delivers.

    The address may ask for misbehaviour: `fail_first=2` answers 500 to an event's first two tries, `delay_ms=300`
    answers later, `dead=1` never answers. A try that fails so is not kept.
    """

    def __init__(self, *, books: Books, failed: "Counter[str]") -> None:
        self._books = books
        self._failed = failed
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's own class is a transport by its methods only.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:  # their name
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._close()

    def on_message_begin(self) -> None:
        self._url, self._headers, self._body = b"", {}, b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > BODY_BYTES_MAX:
            self._close()

    def on_message_complete(self) -> None:
        path, _, query = self._url.partition(b"?")
        if path.decode("latin-1") != WEBHOOK_PATH or self._parser.get_method() != b"POST":
            self._send(_ABSENT)
        elif query:
            self._misbehave({name: int(values[0]) for name, values in parse_qs(query.decode("latin-1")).items()})
        else:
            self._answer()

    def _misbehave(self, wish: dict[str, int]) -> None:
        event = self._headers.get("webhook-id", "")
        if wish.get("dead"):
            return
        if self._failed[event] < wish.get("fail_first", 0):
            if len(self._failed) < _EVENTS_REMEMBERED_MAX:
                self._failed[event] += 1
            self._send(_FAILED)
            return
        asyncio.get_running_loop().call_later(wish.get("delay_ms", 0) / 1_000, self._answer)

    def _answer(self) -> None:
        self._send(_TAKEN if self._books.take(self._body, self._headers) else _REFUSED)

    def _send(self, answer: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answer)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


async def _serve(*, listener: socket.socket, books: Books) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    failed: Counter[str] = Counter()
    server = await loop.create_server(lambda: _Exchange(books=books, failed=failed), sock=listener, backlog=_BACKLOG)
    tell_ready()
    try:
        await stop.wait()
    finally:
        server.close()


def main(arguments: list[str]) -> None:
    """Takes webhooks at `--listen` until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", required=True, help="host:port")
    parser.add_argument("--events-file", required=True, type=Path)
    parser.add_argument("--secrets-file", required=True, type=Path)
    wish: Any = parser.parse_args(arguments)
    address = urlsplit(f"//{wish.listen}")
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # Whoever started us holds the port until we listen.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((address.hostname or "127.0.0.1", address.port or 0))
    books = Books(events_file=wish.events_file, secrets_file=wish.secrets_file)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(listener=listener, books=books))


if __name__ == "__main__":
    main(sys.argv[1:])
