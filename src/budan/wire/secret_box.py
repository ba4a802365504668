"""Secrets encrypted at rest with AES-256-GCM, under keys that can be rotated."""

import base64
import binascii
import re
import secrets
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

# sealed = version (1 byte) | length of key id (1) | key id | nonce (12) | ciphertext and tag
_VERSION: Final = 1
_HEAD_BYTES: Final = 2
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_KEY_BYTES: Final = 32
_KEY_ID: Final = re.compile(r"[0-9A-Za-z_.-]{1,32}")


class CannotOpen(Exception):  # noqa: N818 - named like the errors of wire.errors
    """What was sealed cannot be opened: another key, another context, or changed bytes."""


class SecretBox:
    """Seals under one key and opens under any that it was given, so that a key can be replaced while in use."""

    __slots__ = ("_ciphers", "_sealing_key_id")

    def __init__(self, keys: Mapping[str, str], *, sealing_key_id: str) -> None:
        """`keys` maps a key's id to its 32 bytes in base64; ValueError when one is not that."""
        if sealing_key_id not in keys:
            raise ValueError(f"there is no key {sealing_key_id!r} to seal with")
        self._ciphers = {key_id: _cipher(key_id, key) for key_id, key in keys.items()}
        self._sealing_key_id = sealing_key_id

    def seal(self, plaintext: bytes, *, context: str) -> bytes:
        """The sealed bytes; they open only for the same `context`, so a row's secret is no use in another row.

        The nonce is random: a key may seal 2**32 times, which no list of accounts comes near.
        """
        head = _head(self._sealing_key_id)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return head + nonce + self._ciphers[self._sealing_key_id].encrypt(nonce, plaintext, head + context.encode())

    def open(self, sealed: bytes, *, context: str) -> bytes:
        """The plaintext; CannotOpen when a key is missing or a byte or the context is not the one sealed."""
        key_id = key_id_of(sealed)
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise CannotOpen(f"there is no key {key_id!r}")
        head = _head(key_id)
        nonce_end = len(head) + _NONCE_BYTES
        try:
            return cipher.decrypt(sealed[len(head) : nonce_end], sealed[nonce_end:], head + context.encode())
        except InvalidTag as error:
            raise CannotOpen("key, context or bytes are not the ones sealed") from error

    def is_current(self, sealed: bytes) -> bool:
        """False when it should be sealed again, because the sealing key has changed since."""
        return key_id_of(sealed) == self._sealing_key_id


def new_key() -> str:
    """A fresh random key in the form that SecretBox takes."""
    return base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode("ascii")


def key_id_of(sealed: bytes) -> str:
    """The id of the key that sealed this; CannotOpen when it was not sealed here."""
    if len(sealed) < _HEAD_BYTES or sealed[0] != _VERSION:
        raise CannotOpen("not sealed by this version")
    key_id = sealed[_HEAD_BYTES : _HEAD_BYTES + sealed[1]].decode("latin-1")
    if _KEY_ID.fullmatch(key_id) is None or len(sealed) < _HEAD_BYTES + sealed[1] + _NONCE_BYTES + _TAG_BYTES:
        raise CannotOpen("not sealed by this version")
    return key_id


def _head(key_id: str) -> bytes:
    return bytes((_VERSION, len(key_id))) + key_id.encode("ascii")


def _cipher(key_id: str, key_b64: str) -> AESGCM:
    if _KEY_ID.fullmatch(key_id) is None:
        raise ValueError("a key id is 1 to 32 letters, digits, dots, dashes or underscores")
    try:
        key = base64.b64decode(key_b64, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"key {key_id!r} is not base64") from error
    if len(key) != _KEY_BYTES:
        raise ValueError(f"key {key_id!r} has {len(key)} bytes, not {_KEY_BYTES}")
    return AESGCM(key)
