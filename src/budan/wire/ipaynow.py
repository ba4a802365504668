"""What iPaynow signs with its shared key, for the merchant's side and for iPaynow's (docs/protocols/ipaynow.md §2)."""

import hashlib
from collections.abc import Mapping
from enum import Enum
from hmac import compare_digest
from typing import Final

_MERCHANT: Final = "mhtSignature"
_CHANNEL: Final = "signature"


class Signed(Enum):
    """The kinds of messages: each has its own field for the signature, and leaves its own fields out of it."""

    PAY_REQUEST = (_MERCHANT, frozenset({_MERCHANT}))  # WP001, MQ002
    PAY_ANSWER = (_CHANNEL, frozenset({_CHANNEL}))  # of WP001 and MQ002, and the notice N001
    REFUND_REQUEST = (_MERCHANT, frozenset({_MERCHANT, "signType"}))  # R001, Q001, R002, Q002
    REFUND_ANSWER = (_CHANNEL, frozenset({_CHANNEL, "signType"}))

    @property
    def field_name(self) -> str:
        """The field that carries the signature."""
        return self.value[0]

    @property
    def left_out(self) -> frozenset[str]:
        """The fields that the signature does not cover."""
        return self.value[1]


def sign_string(fields: Mapping[str, str], *, app_key: str, kind: Signed) -> bytes:
    """The bytes whose MD5 is the signature: fields with a value, sorted by name, decoded, then the key's own MD5."""
    covered = sorted(name for name, value in fields.items() if value and name not in kind.left_out)
    return "&".join((*(f"{name}={fields[name]}" for name in covered), _md5(app_key.encode()))).encode()


def sign(fields: Mapping[str, str], *, app_key: str, kind: Signed) -> str:
    """The signature of these fields."""
    return _md5(sign_string(fields, app_key=app_key, kind=kind))


def signed(fields: Mapping[str, str], *, app_key: str, kind: Signed) -> dict[str, str]:
    """The fields with their signature at the end."""
    return {**fields, kind.field_name: sign(fields, app_key=app_key, kind=kind)}


def verify(fields: Mapping[str, str], *, app_key: str, kind: Signed) -> bool:
    """Whether the message was signed by somebody who has the key; False for an unsigned one. In constant time."""
    given = fields.get(kind.field_name, "").encode()
    return compare_digest(sign(fields, app_key=app_key, kind=kind).encode(), given)


def _md5(content: bytes) -> str:
    # The protocol has no other digest; what it is worth is said in docs/channels.md.
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
