"""Readers for the settings and secrets of a channel account, whose errors name the field."""

import re
from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from budan.wire.rsa import BadKey, load_private_key, load_public_key

# Scheme, host and path: a query or a fragment of its own would break the requests built on it.
_GATEWAY: Final = re.compile(r"(https?://[0-9A-Za-z.:\[\]_-]+)(/[0-9A-Za-z._/-]*)?")


class BadSettings(ValueError):  # noqa: N818 - named like the refusals of wire
    """A channel account cannot be used as it is set; names the field and never quotes a value."""

    def __init__(self, field_name: str, reason: str) -> None:
        super().__init__(f"{field_name}: {reason}")
        self.field_name = field_name
        self.reason = reason


def read_text(values: Mapping[str, str], field_name: str, *, pattern: str) -> str:
    """The field, which must match `pattern` from end to end; raises `BadSettings`."""
    text = values.get(field_name, "")
    if not text:
        raise BadSettings(field_name, "is missing")
    if re.fullmatch(pattern, text) is None:
        raise BadSettings(field_name, f"does not look like {pattern}")
    return text


def read_optional_text(values: Mapping[str, str], field_name: str, *, pattern: str) -> str | None:
    """The field or None; raises `BadSettings`."""
    return read_text(values, field_name, pattern=pattern) if values.get(field_name) else None


def read_gateway(values: Mapping[str, str], *, has_path: bool) -> str:
    """The field `gateway` without a slash at its end; raises `BadSettings`."""
    text = values.get("gateway", "")
    if not text:
        raise BadSettings("gateway", "is missing")
    match = _GATEWAY.fullmatch(text)
    if match is None:
        raise BadSettings("gateway", "is not an http or https address without query")
    if not has_path and match[2] not in {None, "/"}:
        raise BadSettings("gateway", "has a path, but the channel signs paths that start at its host")
    return text.rstrip("/")


def read_private_key(values: Mapping[str, str], field_name: str) -> RSAPrivateKey:
    """The key, which costs some 35 ms; raises `BadSettings`."""
    if not values.get(field_name):
        raise BadSettings(field_name, "is missing")
    try:
        return load_private_key(values[field_name])
    except BadKey as error:
        raise BadSettings(field_name, str(error)) from error


def read_public_key(values: Mapping[str, str], field_name: str) -> RSAPublicKey:
    """The key; raises `BadSettings`."""
    if not values.get(field_name):
        raise BadSettings(field_name, "is missing")
    try:
        return load_public_key(values[field_name])
    except BadKey as error:
        raise BadSettings(field_name, str(error)) from error
