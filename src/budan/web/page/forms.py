"""What people type into our pages: forms, amounts, codes."""

import re
import unicodedata
from collections.abc import Mapping
from secrets import token_hex
from urllib.parse import parse_qsl

from budan.core.errors import Refused
from budan.core.money import CURRENCY_EXPONENTS

FIELDS_MAX = 16
NONCE_BYTES = 12

# The largest number of digits keeps a typed amount within what core accepts as an integer; core judges its size.
_AMOUNT = re.compile(r"(?P<major>[0-9]{1,12})(?:\.(?P<minor>[0-9]{1,2}))?")
_NONCE = re.compile(r"[0-9a-f]{24}")


def read_form(body: bytes) -> Mapping[str, str]:
    """The fields of a urlencoded form; the last of two equals wins. Raises `Refused` with `form_malformed`."""
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX))
    except ValueError:
        raise Refused("form_malformed") from None


def make_nonce() -> str:
    """A mark for one form: whatever is sent with it twice is done once."""
    return token_hex(NONCE_BYTES)


def read_nonce(form: Mapping[str, str]) -> str:
    """The mark of a form that we rendered; raises `Refused` with `form_malformed`."""
    nonce = form.get("nonce", "")
    if not _NONCE.fullmatch(nonce):
        raise Refused("form_malformed", param="nonce")
    return nonce


def parse_amount(text: str, *, currency: str) -> int:
    """Minor units of an amount as people type it, full-width digits included; never by way of a float.

    Raises `Refused` with `amount_malformed`.
    """
    plain = unicodedata.normalize("NFKC", text).replace("。", ".").strip().lstrip("¥").strip()
    typed = _AMOUNT.fullmatch(plain)
    exponent = CURRENCY_EXPONENTS[currency]
    if typed is None or len(typed["minor"] or "") > exponent:
        raise Refused("amount_malformed", param="amount")
    return int(typed["major"]) * 10**exponent + int((typed["minor"] or "").ljust(exponent, "0"))


def parse_code(text: str) -> str:
    """The digits of a payer's code; scanners and fingers add spaces. Raises `Refused` with `auth_code_unknown`."""
    digits = re.sub(r"\s", "", unicodedata.normalize("NFKC", text))
    if not digits.isascii() or not digits.isdigit():
        raise Refused("auth_code_unknown", param="auth_code")
    return digits
