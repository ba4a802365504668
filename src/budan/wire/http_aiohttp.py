"""The HTTP client on aiohttp: the reference that the thin client is held against."""

import asyncio
import ssl
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any, Final

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from budan.wire.errors import BadAnswer, NoAnswer, NotSent, WireError
from budan.wire.http import ANSWER_HEAD_BYTES_MAX, BodySink, HttpAnswer, Target, is_plain, parse_target, request_headers

_IDLE_S_MAX: Final = 15.0
# What aiohttp would add by itself; each side of a signature must know every byte.
_NO_AUTO_HEADERS: Final = ("User-Agent", "Accept", "Content-Type")


class AiohttpClient:
    """One session with its own connections, bounded per host: one of these per channel account.

    aiohttp repeats a GET once on a fresh connection when a kept one closed without an answer; a GET moves no money.
    """

    def __init__(self, *, connections_per_host_max: int, ssl_context: ssl.SSLContext | None = None) -> None:
        self._per_host_max = connections_per_host_max
        self._ssl_context = ssl_context
        self._session: aiohttp.ClientSession | None = None
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
        sent = request_headers(method=method, target=target, headers=headers, body=body)
        progress = SimpleNamespace(may_be_sent=False)
        window_s = timeout_s if send_within_s is None else min(timeout_s, send_within_s)
        try:
            async with self._open_session().request(
                method,
                _connect_url(target, connect_to),
                headers=sent,
                data=body or None,
                allow_redirects=False,
                # aiohttp's time for a connection covers the wait for a free one, the name and the handshake.
                timeout=aiohttp.ClientTimeout(total=timeout_s, connect=window_s),
                server_hostname=target.host if target.scheme == "https" else None,
                trace_request_ctx=progress,
                skip_auto_headers=_NO_AUTO_HEADERS,
            ) as response:
                return await _read_answer(response, body_bytes_max, body_to)
        except (aiohttp.ClientError, HttpProcessingError, TimeoutError, OSError, ValueError) as error:
            raise _mapped(error, may_be_sent=progress.may_be_sent) from error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            # aiohttp cancels what waits for a connection when it is closed; nobody cancelled our caller.
            if self._is_closed and task is not None and not task.cancelling():
                raise NotSent("client is closed") from error
            raise

    async def close(self) -> None:
        """See HttpClient.close."""
        self._is_closed = True
        if self._session is not None:
            await self._session.close()

    def _open_session(self) -> aiohttp.ClientSession:
        # Made at the first call, because a session belongs to the loop that runs then.
        if self._session is None:
            trace = aiohttp.TraceConfig()
            trace.on_request_headers_sent.append(_note_sent)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0,
                    limit_per_host=self._per_host_max,
                    ssl=self._ssl_context or ssl.create_default_context(),
                    keepalive_timeout=_IDLE_S_MAX,
                ),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=[trace],
                max_line_size=ANSWER_HEAD_BYTES_MAX,
                max_field_size=ANSWER_HEAD_BYTES_MAX,
            )
        return self._session


async def _note_sent(_session: aiohttp.ClientSession, context: SimpleNamespace, _parameters: Any) -> None:
    context.trace_request_ctx.may_be_sent = True


async def _read_answer(response: aiohttp.ClientResponse, body_bytes_max: int, body_to: BodySink | None) -> HttpAnswer:
    headers = _lower(response.headers.items())
    if response.status < 200 or not is_plain(headers):  # noqa: PLR2004 - 200 is HTTP's own boundary
        raise BadAnswer("answer switches protocol or is encoded")
    body, length = bytearray(), 0
    take = body.extend if body_to is None else body_to
    async for part in response.content.iter_any():
        length += len(part)
        if length > body_bytes_max:
            raise BadAnswer(f"answer is longer than {body_bytes_max} bytes")
        try:
            take(part)
        except OSError as error:
            raise BadAnswer("answer's body could not be kept") from error
    return HttpAnswer(status=response.status, headers=headers, body=bytes(body))


def _lower(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in pairs:
        lowered = name.lower()
        headers[lowered] = f"{headers[lowered]}, {value}" if lowered in headers else value
    return headers


def _connect_url(target: Target, connect_to: tuple[str, int] | None) -> URL:
    address, port = connect_to or (target.host, target.port)
    bracketed = f"[{address}]" if ":" in address else address
    # encoded=True: yarl would else rewrite the path, and the signature covers it byte for byte.
    return URL(f"{target.scheme}://{bracketed}:{port}{target.path_and_query}", encoded=True)


def _mapped(error: Exception, *, may_be_sent: bool) -> WireError:
    name = type(error).__name__
    if not may_be_sent:
        return NotSent(f"{name} before the first byte")
    # The time-outs and the reset come first: they are kinds of ClientError too.
    if isinstance(error, (asyncio.TimeoutError, aiohttp.ClientOSError, aiohttp.ServerDisconnectedError)):
        return NoAnswer(f"{name} after sending")
    if isinstance(error, aiohttp.ClientPayloadError) and not isinstance(error.__cause__, ValueError):
        return NoAnswer(f"{name}: the answer broke off")
    if isinstance(error, (aiohttp.ClientError, HttpProcessingError, ValueError)):
        return BadAnswer(f"{name}: the answer is not readable")
    return NoAnswer(f"{name} after sending")
