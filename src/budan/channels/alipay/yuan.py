"""Alipay's yuan texts and our integer fen, exactly."""

import re
from typing import Final

from budan.wire.errors import BadAnswer

# Alipay writes two decimals; fewer mean the same amount. Nothing else that a number parser would take is an amount.
_YUAN: Final = re.compile(r"([0-9]{1,13})(?:\.([0-9]{1,2}))?")
_FEN_PER_YUAN: Final = 100


def parse_yuan(text: str) -> int:
    """The fen of a yuan text; raises `BadAnswer`."""
    match = _YUAN.fullmatch(text)
    if match is None:
        raise BadAnswer("an amount is no yuan text")
    yuan, fen = match[1], match[2] or ""
    return int(yuan) * _FEN_PER_YUAN + int(fen.ljust(2, "0"))


def parse_optional_yuan(text: str | None) -> int | None:
    """The fen of a yuan text that may be absent or empty; raises `BadAnswer`."""
    return parse_yuan(text) if text else None


def render_yuan(amount_minor: int) -> str:
    """The yuan text with two decimals."""
    assert amount_minor >= 0
    return f"{amount_minor // _FEN_PER_YUAN}.{amount_minor % _FEN_PER_YUAN:02d}"
