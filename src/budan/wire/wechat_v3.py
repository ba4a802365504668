"""What WeChat Pay APIv3 signs and encrypts, for the merchant's side and for the platform's (docs/protocols/wechat_v3.md §2, §4)."""

import base64
import binascii
import re
from collections.abc import Mapping
from enum import Enum
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from budan.wire.errors import BadAnswer
from budan.wire.rsa import sign_sha256, verify_sha256

SCHEME: Final = "WECHATPAY2-SHA256-RSA2048"
CLOCK_SKEW_S_MAX: Final = 300
# WeChat sends answers and notices with this in place of a signature, to see that we refuse them.
PROBE_PREFIX: Final = "WECHATPAY/SIGNTEST/"

_FIELDS: Final = ("mchid", "nonce_str", "timestamp", "serial_no", "signature")
_FIELD: Final = re.compile(r'([a-z_]+)="([^"]*)"')
_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32
_DIGITS_MAX: Final = 12


class Authorization(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a request's Authorization header."""

    mchid: str
    nonce: str
    timestamp: int
    serial_no: str
    signature: str


class Verdict(Enum):
    """Whether a signed message counts; every member but VALID is a refusal."""

    VALID = "valid"
    UNSIGNED = "unsigned"
    PROBE = "probe"
    CLOCK = "clock"
    UNKNOWN_KEY = "unknown_key"
    WRONG_SIGNATURE = "wrong_signature"


def request_sign_string(*, method: str, path_and_query: str, timestamp: int, nonce: str, body: bytes) -> bytes:
    """The bytes a merchant signs; path and query percent-encoded as they are sent, body the very bytes sent."""
    return f"{method}\n{path_and_query}\n{timestamp}\n{nonce}\n".encode() + body + b"\n"


def answer_sign_string(*, timestamp: int | str, nonce: str, body: bytes) -> bytes:
    """The bytes the platform signs in an answer or a notice."""
    return f"{timestamp}\n{nonce}\n".encode() + body + b"\n"


def jsapi_sign_string(*, appid: str, timestamp: int, nonce: str, package: str) -> bytes:
    """The bytes signed for the page that opens the wallet; `package` is `prepay_id=…`."""
    return f"{appid}\n{timestamp}\n{nonce}\n{package}\n".encode()


def render_authorization(authorization: Authorization) -> str:
    """The header's value."""
    return (
        f'{SCHEME} mchid="{authorization.mchid}",nonce_str="{authorization.nonce}",'
        f'timestamp="{authorization.timestamp}",serial_no="{authorization.serial_no}",'
        f'signature="{authorization.signature}"'
    )


def parse_authorization(header: str) -> Authorization | None:
    """The fields of a header's value in any order, or None when it is not of this scheme or lacks one."""
    scheme, _, rest = header.partition(" ")
    if scheme != SCHEME:
        return None
    fields: dict[str, str] = dict(_FIELD.findall(rest))
    timestamp = _timestamp(fields.get("timestamp", ""))
    if timestamp is None or any(not fields.get(name) for name in _FIELDS):
        return None
    return Authorization(
        mchid=fields["mchid"],
        nonce=fields["nonce_str"],
        timestamp=timestamp,
        serial_no=fields["serial_no"],
        signature=fields["signature"],
    )


def verify_request(
    authorization: Authorization,
    *,
    public_key: RSAPublicKey,
    method: str,
    path_and_query: str,
    body: bytes,
    now_s: int,
) -> Verdict:
    """The platform's judgement of a merchant's request; `public_key` belongs to its `mchid` and `serial_no`."""
    if abs(now_s - authorization.timestamp) > CLOCK_SKEW_S_MAX:
        return Verdict.CLOCK
    signed = request_sign_string(
        method=method,
        path_and_query=path_and_query,
        timestamp=authorization.timestamp,
        nonce=authorization.nonce,
        body=body,
    )
    return _verdict(verify_sha256(public_key, signed, authorization.signature))


def verify_answer(
    headers: Mapping[str, str], body: bytes, *, public_keys: Mapping[str, RSAPublicKey], now_s: int
) -> Verdict:
    """The merchant's judgement of an answer or a notice.

    `headers` has lower-case names. `public_keys` maps what Wechatpay-Serial may say to the key: during a migration
    the platform uses either of two at random.
    """
    signature = headers.get("wechatpay-signature", "")
    nonce = headers.get("wechatpay-nonce", "")
    serial = headers.get("wechatpay-serial", "")
    timestamp_text = headers.get("wechatpay-timestamp", "")
    if not (signature and nonce and serial and timestamp_text):
        return Verdict.UNSIGNED
    if signature.startswith(PROBE_PREFIX):
        return Verdict.PROBE
    timestamp = _timestamp(timestamp_text)
    if timestamp is None or abs(now_s - timestamp) > CLOCK_SKEW_S_MAX:
        return Verdict.CLOCK
    public_key = public_keys.get(serial)
    if public_key is None:
        return Verdict.UNKNOWN_KEY
    signed = answer_sign_string(timestamp=timestamp_text, nonce=nonce, body=body)
    return _verdict(verify_sha256(public_key, signed, signature))


def sign_answer(body: bytes, *, private_key: RSAPrivateKey, serial: str, timestamp: int, nonce: str) -> dict[str, str]:
    """The headers by which the platform signs an answer or a notice."""
    signed = answer_sign_string(timestamp=timestamp, nonce=nonce, body=body)
    return {
        "Wechatpay-Timestamp": str(timestamp),
        "Wechatpay-Nonce": nonce,
        "Wechatpay-Serial": serial,
        "Wechatpay-Signature-Type": SCHEME,
        "Wechatpay-Signature": sign_sha256(private_key, signed),
    }


def encrypt_resource(plaintext: bytes, *, api_v3_key: str, nonce: str, associated_data: str) -> str:
    """The base64 `ciphertext` of a notice's resource; `nonce` is 12 ASCII characters, never used twice with a key."""
    assert len(nonce) == _NONCE_BYTES
    sealed = AESGCM(_resource_key(api_v3_key)).encrypt(nonce.encode("ascii"), plaintext, associated_data.encode())
    return base64.b64encode(sealed).decode("ascii")


def decrypt_resource(ciphertext_b64: str, *, api_v3_key: str, nonce: str, associated_data: str) -> bytes:
    """The plaintext of a notice's resource; BadAnswer when it is not sealed with this key, nonce and data."""
    key = _resource_key(api_v3_key)
    try:
        sealed = base64.b64decode(ciphertext_b64, validate=True)
        return AESGCM(key).decrypt(nonce.encode(), sealed, associated_data.encode())
    except (InvalidTag, binascii.Error, ValueError) as error:
        raise BadAnswer("resource cannot be decrypted") from error


def _resource_key(api_v3_key: str) -> bytes:
    key = api_v3_key.encode()
    if len(key) != _KEY_BYTES:
        raise ValueError(f"an APIv3 key has {_KEY_BYTES} bytes, not {len(key)}")
    return key


def _timestamp(text: str) -> int | None:
    # int() alone would take signs, blanks and underscores, and the signed text would not be the number judged.
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX else None


def _verdict(is_valid: bool) -> Verdict:  # noqa: FBT001 - the one argument of a private mapping
    return Verdict.VALID if is_valid else Verdict.WRONG_SIGNATURE
