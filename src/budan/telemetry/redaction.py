"""Takes keys, codes and payers out of whatever is about to be written to a log."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

REDACTED: Final = "[redacted]"
_DEPTH_MAX: Final = 6

# By the last words of a field's name, so that `payer_minor` stays readable and `payer_id` does not.
_SECRET_NAME: Final = re.compile(
    r"(?:^|[_.-])(?:secret|password|passwd|passphrase|token|authorization|cookie|credential|dsn|otp|totp"
    r"|private[_-]?key|api[_-]?key|api[_-]?v3[_-]?key|app[_-]?key|sign(?:ing)?[_-]?key|key[_-]?b64|whsec"
    r"|(?:payee|card|account)[_-]?number|auth[_-]?code|open[_-]?id|openid|payer|payer[_-]?id|buyer|buyer[_-]?(?:id|user[_-]?id|logon[_-]?id|open[_-]?id)"
    r"|signature|sign)s?$",
    re.IGNORECASE,
)

_SECRET_LOOKS: Final = (
    r"-----BEGIN [A-Z ]*KEY-----.*?(?:-----END [A-Z ]*KEY-----|\Z)",
    # Bare base64 of a DER key, as the channels' portals hand it out.
    r"\bMII[0-9A-Za-z+/=\s]{100,}",
    r"\bwhsec_[0-9A-Za-z+/=]+",
    r"\b[a-z]{2,8}_(?:test|live)_[0-9A-Za-z_-]{8,}",
    r"(?<=[Bb]earer )\S+",
    r"(?<=[Bb]asic )[0-9A-Za-z+/=]{8,}",
    r'(?<=signature=")[^"]*',
    # The password in a connection string.
    r"(?<=:)[^:/@\s]+(?=@[0-9A-Za-z.\[-])",
    # A wallet's code of the day: WeChat 18 digits from 10 to 15, Alipay 16 to 24 digits from 25 to 30.
    r"(?<![0-9A-Za-z])(?:1[0-5][0-9]{16}|(?:2[5-9]|30)[0-9]{14,22})(?![0-9A-Za-z])",
    # A WeChat openid has 28 characters and begins with o, an Alipay user is 2088 and 12 digits.
    r"(?<![0-9A-Za-z_-])o[0-9A-Za-z_-]{27}(?![0-9A-Za-z_-])",
    r"(?<![0-9])2088[0-9]{12}(?![0-9])",
)
_SECRET_TEXT: Final = re.compile("|".join(_SECRET_LOOKS), re.DOTALL)


def redact_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The same fields, with what is secret by its name or by its looks replaced, however deep it lies."""
    return {name: _redacted(name, value, depth=0) for name, value in fields.items()}


def redact_text(text: str) -> str:
    """The text without anything that looks like a key, a code or a payer."""
    return _SECRET_TEXT.sub(REDACTED, text)


def _redacted(name: str, value: Any, *, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if depth >= _DEPTH_MAX or _SECRET_NAME.search(name):
        return REDACTED
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, Mapping):
        members = cast("Mapping[Any, Any]", value)
        return {str(key): _redacted(str(key), member, depth=depth + 1) for key, member in members.items()}
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, (str, bytes, bytearray, memoryview)):
        members = cast("Sequence[Any]", value)
        return [_redacted(name, member, depth=depth + 1) for member in members]
    # Bytes and our own values are shown as Python shows them, and that text is searched like any other.
    return redact_text(value if isinstance(value, str) else repr(cast("object", value)))
