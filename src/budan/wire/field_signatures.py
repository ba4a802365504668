"""What WeChat v2 and Swiftpass sign: the sorted fields of a message, with a shared key or an RSA key, for both sides."""

import hashlib
import hmac
from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from budan.wire.rsa import verify_sha256


def sign_string(fields: Mapping[str, str]) -> bytes:
    """The bytes that RSA_1_256 signs: every field but `sign` and empty ones, by name; `sign_type` takes part."""
    return _joined(fields).encode()


def keyed_sign_string(fields: Mapping[str, str], *, key: str) -> bytes:
    """The bytes that MD5 and HMAC-SHA256 cover: the same with the key at its end."""
    return f"{_joined(fields)}&key={key}".encode()


def sign_md5(fields: Mapping[str, str], *, key: str) -> str:
    """The upper-case hex signature of these fields."""
    digest = hashlib.md5(keyed_sign_string(fields, key=key), usedforsecurity=False)
    return digest.hexdigest().upper()


def sign_hmac_sha256(fields: Mapping[str, str], *, key: str) -> str:
    """The upper-case hex signature of these fields."""
    return hmac.new(key.encode(), keyed_sign_string(fields, key=key), hashlib.sha256).hexdigest().upper()


def verify_md5(fields: Mapping[str, str], *, key: str) -> bool:
    """Whether `sign` is that of all other fields; the time it takes tells nothing of how much of it is right."""
    return _equals(sign_md5(fields, key=key), fields.get("sign", ""))


def verify_hmac_sha256(fields: Mapping[str, str], *, key: str) -> bool:
    """As `verify_md5`."""
    return _equals(sign_hmac_sha256(fields, key=key), fields.get("sign", ""))


def verify_rsa_sha256(fields: Mapping[str, str], *, public_key: RSAPublicKey) -> bool:
    """Whether `sign` is the base64 RSA_1_256 signature of all other fields."""
    return verify_sha256(public_key, sign_string(fields), fields.get("sign", ""))


def _joined(fields: Mapping[str, str]) -> str:
    return "&".join([f"{name}={value}" for name, value in sorted(fields.items()) if value and name != "sign"])


def _equals(ours: str, theirs: str) -> bool:
    # As bytes: comparing texts refuses what is not ASCII with an error.
    return hmac.compare_digest(ours.encode(), theirs.encode())
