"""Standard Webhooks: the signature by which a merchant knows that an event is ours."""

# Our own lines, held against the `standardwebhooks` library by a test: the library judges by the machine's clock, shifts a
# zoned time when it signs, and raises foreign errors for a malformed header.

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Final

CLOCK_SKEW_S_MAX: Final = 300

_PREFIX: Final = "whsec_"
_SECRET_BYTES: Final = 32
_SECRET_BYTES_MIN: Final = 24
_SECRET_BYTES_MAX: Final = 64
_SIGNATURES_MAX: Final = 10
_DIGITS_MAX: Final = 12


def new_secret() -> str:
    """A fresh secret, `whsec_…`."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode("ascii")


def parse_secret(secret: str) -> bytes:
    """The key of a `whsec_…` text; ValueError, which does not quote it, when it is none."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("webhook secret is not base64") from error
    if not _SECRET_BYTES_MIN <= len(key) <= _SECRET_BYTES_MAX:
        raise ValueError(f"webhook secret has {len(key)} bytes, not {_SECRET_BYTES_MIN} to {_SECRET_BYTES_MAX}")
    return key


def sign(body: bytes, *, event_id: str, timestamp: int, keys: tuple[bytes, ...]) -> dict[str, str]:
    """The three headers; with two keys, both sign, so that a merchant can change its secret without a gap."""
    assert keys
    # A dot would move the border between the id and the time inside the signed text.
    assert "." not in event_id
    signatures = " ".join(_signature(body, event_id=event_id, timestamp=str(timestamp), key=key) for key in keys)
    return {"webhook-id": event_id, "webhook-timestamp": str(timestamp), "webhook-signature": signatures}


def verify(body: bytes, *, headers: Mapping[str, str], key: bytes, now_s: int) -> bool:
    """The merchant's judgement; `headers` has lower-case names. Never raises for what a stranger sent."""
    event_id = headers.get("webhook-id", "")
    timestamp = headers.get("webhook-timestamp", "")
    is_number = timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= _DIGITS_MAX
    if not event_id or not is_number or abs(now_s - int(timestamp)) > CLOCK_SKEW_S_MAX:
        return False
    try:
        expected = _signature(body, event_id=event_id, timestamp=timestamp, key=key).encode()
        given = [text.encode() for text in headers.get("webhook-signature", "").split(" ", _SIGNATURES_MAX)]
    except UnicodeEncodeError:
        return False
    return any(hmac.compare_digest(expected, signature) for signature in given)


def _signature(body: bytes, *, event_id: str, timestamp: str, key: bytes) -> str:
    digest = hmac.digest(key, f"{event_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(digest).decode("ascii")
