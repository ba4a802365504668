"""Bounded reading of a request: its body, its type, its JSON, its idempotency key."""

import asyncio
import re
from typing import TypeVar

import msgspec

from budan.core.errors import Refused
from budan.web.exchange import Receive

API_BODY_BYTES_MAX = 64 * 1024
NOTICE_BODY_BYTES_MAX = 256 * 1024
BODY_TIMEOUT_S = 10.0
# A body that is too large but not absurd is read to its end: else the connection is reset under the answer.
DISCARDED_BYTES_MAX = 1024 * 1024

_IDEMPOTENCY_KEY = re.compile(rb"[\x21-\x7e]{1,255}")
_FAULT = re.compile(r"^(?P<text>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_MEMBER = re.compile(r"^Object (?P<fault>missing required|contains unknown) field `(?P<name>.*)`$", re.DOTALL)

Body = TypeVar("Body")


class ClientGone(Exception):  # noqa: N818 - an outcome of reading, not an error of ours
    """The other side closed the connection before its request was complete."""


async def read_body(receive: Receive, *, declared: bytes | None, bytes_max: int) -> bytes:
    """The whole body, which holds at most `bytes_max`.

    Raises `Refused` with `body_too_large` or `body_timeout`, and `ClientGone`.
    """
    if declared is not None and (len(declared) > len(str(DISCARDED_BYTES_MAX)) or int(declared) > DISCARDED_BYTES_MAX):
        raise _too_large(bytes_max)
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await _collect(receive, bytes_max=bytes_max)
    except TimeoutError:
        raise Refused("body_timeout", detail=f"not complete after {BODY_TIMEOUT_S:.0f} s") from None


async def _collect(receive: Receive, *, bytes_max: int) -> bytes:
    body = b""
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > DISCARDED_BYTES_MAX:
            raise _too_large(bytes_max)
        if size <= bytes_max:
            body = body + chunk if body else chunk
        if not message.get("more_body", False):
            break
    if size > bytes_max:
        raise _too_large(bytes_max)
    return body


def _too_large(bytes_max: int) -> Refused:
    return Refused("body_too_large", detail=f"at most {bytes_max} bytes")


def check_content_type(headers: dict[bytes, bytes], *, wanted: bytes) -> None:
    """Refuse a body of another type, of another charset than UTF-8, or compressed: `content_type_unsupported`."""
    kind, _, parameters = headers.get(b"content-type", b"").partition(b";")
    charset = parameters.replace(b" ", b"").replace(b'"', b"").lower()
    is_utf8 = b"charset=" not in charset or b"charset=utf-8" in charset
    is_plain = headers.get(b"content-encoding", b"identity").lower() == b"identity"
    if kind.strip().lower() != wanted or not is_utf8 or not is_plain:
        raise Refused(
            "content_type_unsupported",
            param="Content-Type",
            detail=f"send {wanted.decode()} in UTF-8, not compressed",
        )


def read_idempotency_key(headers: dict[bytes, bytes], *, is_needed: bool) -> str | None:
    """The key, or None where there is none.

    Raises `Refused` with `idempotency_key_missing` where it must be there, with `idempotency_key_malformed`.
    """
    key = headers.get(b"idempotency-key")
    if key is None:
        if is_needed:
            raise Refused("idempotency_key_missing", param="Idempotency-Key")
        return None
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise Refused("idempotency_key_malformed", param="Idempotency-Key")
    return key.decode("ascii")


def read_json(decoder: "msgspec.json.Decoder[Body]", body: bytes) -> Body:
    """The body as its struct; a body that is no JSON at all is told so before any field is.

    Raises `Refused` with `body_malformed`, then `field_missing`, `field_unknown` or `field_malformed`.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        # The decoder stops at the first fault in reading order; what follows it may still be no JSON.
        _check_json(body)
        raise field_refusal(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(error) from None


def _check_json(body: bytes) -> None:
    try:
        body.decode("utf-8")
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(error) from None


def _malformed(error: Exception) -> Refused:
    if isinstance(error, UnicodeDecodeError):
        return Refused("body_malformed", detail="the body is not UTF-8")
    if isinstance(error, RecursionError):
        return Refused("body_malformed", detail="the body is nested too deeply")
    return Refused("body_malformed", detail=str(error))


def field_refusal(text: str) -> Refused:
    """A decoder's complaint as a refusal that names the field by its path."""
    fault = _FAULT.match(text)
    assert fault is not None, "the pattern takes any text"
    path = fault["path"] or ""
    member = _MEMBER.match(fault["text"])
    if member is None:
        return Refused("field_malformed", param=path or None, detail=fault["text"])
    param = f"{path}.{member['name']}" if path else member["name"]
    if member["fault"] == "missing required":
        return Refused("field_missing", param=param, detail=f"`{param}` is required")
    return Refused("field_unknown", param=param, detail=f"`{param}` is not known here")
