"""Readers for the settings and secrets of a channel account, whose errors name the field."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final, TypeVar

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from budan.ports.channel import AccountConfig
from budan.wire import certificate
from budan.wire.certificate import Certificate
from budan.wire.client_certificate import BadCertificate
from budan.wire.rsa import BadKey, load_private_key, load_public_key

# Scheme, host and path: a query or a fragment of its own would break the requests built on it.
_GATEWAY: Final = re.compile(r"(https?://[0-9A-Za-z.:\[\]_-]+)(/[0-9A-Za-z._/-]*)?")
# A console shows serials with colons, blanks or small letters; they are compared as upper hex without leading zeros.
_NOT_HEX: Final = re.compile("[^0-9A-F]")

Kept = TypeVar("Kept")


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


def is_certificate(text: str) -> bool:
    """Whether a text is a certificate, so that it is not a bare key."""
    return certificate.MARK in text


def read_certificate(values: Mapping[str, str], field_name: str) -> Certificate | None:
    """The certificate, None where the field is absent; raises `BadSettings`."""
    found = read_certificates(values, field_name)
    return found[0] if found else None


def read_certificates(values: Mapping[str, str], field_name: str) -> list[Certificate]:
    """All certificates of the field, none where it is absent; raises `BadSettings`."""
    if not values.get(field_name):
        return []
    try:
        return certificate.read_certificates(values[field_name])
    except BadCertificate as error:
        raise BadSettings(field_name, str(error)) from error


def read_certified_key(held: Certificate, field_name: str) -> RSAPublicKey:
    """The RSA key of a certificate; raises `BadSettings`."""
    if held.public_key is None:
        raise BadSettings(field_name, "certifies a key that is not RSA")
    return held.public_key


def refuse_no_pair(private_key: RSAPrivateKey, held: Certificate, field_name: str) -> None:
    """Raises `BadSettings` where the certificate is not that of the private key."""
    certified = read_certified_key(held, field_name)
    if private_key.public_key().public_numbers() != certified.public_numbers():
        raise BadSettings(field_name, "is not the certificate of the private key")


def refuse_own_key(private_key: RSAPrivateKey, public_key: RSAPublicKey, field_name: str, *, owner: str) -> None:
    """Raises `BadSettings` where the channel's key is our own: then every answer would be "wrongly signed".

    Consoles show both side by side.
    """
    if private_key.public_key().public_numbers() == public_key.public_numbers():
        raise BadSettings(field_name, f"is the account's own key, not {owner}'s")


def is_same_serial(one: str, other: str) -> bool:
    """Whether two serials in hex name the same certificate."""
    return _plain_serial(one) == _plain_serial(other)


def with_old_keys(config: AccountConfig) -> AccountConfig | None:
    """The account as it was before its last rotation; None where it was never rotated.

    Its other settings are today's: they say whose the account is, and those do not change with its keys.
    """
    if config.old_keys is None:
        return None
    return AccountConfig(
        account_id=config.account_id,
        channel=config.channel,
        name=config.name,
        enabled=config.enabled,
        settings=config.settings,
        secrets=config.old_keys.secrets,
    )


def still_good(now: datetime, *, today: Kept, old: Iterable[Kept], until: datetime | None) -> tuple[Kept, ...]:
    """What counts at `now`: today's, and until the end of the overlap what was before it."""
    return (today,) if until is None or now >= until else (today, *old)


def _plain_serial(text: str) -> str:
    return _NOT_HEX.sub("", text.upper()).lstrip("0")
