"""The sandbox's own file, read without the sandbox's code."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

_ALPHABET: Final = {character: value for value, character in enumerate("0123456789ABCDEFGHJKMNPQRSTVWXYZ")}
_NUMBER_LENGTH: Final = 30
_LANE: Final = slice(7, 9)
_ORDER_ID: Final = slice(15, 28)
_ATTEMPT: Final = 28


class TradeKey(NamedTuple):
    """Which attempt of which order a trade number names."""

    lane: int
    order_id: int
    attempt: int


class _PlacedTrade(msgspec.Struct):
    nth: int
    trade_no: str
    amount_minor: int


class _Line(msgspec.Struct, kw_only=True):
    record: str
    trade: _PlacedTrade | None = None
    nth: int | None = None
    kind: str | None = None
    at: datetime | None = None


@dataclass(slots=True, kw_only=True)
class TrueTrade:
    """What happened to one trade at the channel."""

    key: TradeKey
    amount_minor: int
    paid_at: datetime | None = None
    is_returned: bool = False
    notices_sent_at: list[datetime] = field(default_factory=list[datetime])


def parse_trade_no(text: str) -> TradeKey:
    """The parts of a trade number that find its row, by docs/design.md §6."""
    assert len(text) == _NUMBER_LENGTH, text
    return TradeKey(lane=_decode(text[_LANE]), order_id=_decode(text[_ORDER_ID]), attempt=_ALPHABET[text[_ATTEMPT]])


def read_truth(path: Path) -> list[TrueTrade]:
    """Every trade that was ever placed; a last line that is not whole yet is left out."""
    decoder = msgspec.json.Decoder(_Line)
    trades: list[TrueTrade] = []
    with path.open("rb") as lines:
        for text in lines:
            if not text.endswith(b"\n"):
                break
            line = decoder.decode(text)
            if line.trade is not None:
                assert line.trade.nth == len(trades), "the file counts its trades"
                trades.append(TrueTrade(key=parse_trade_no(line.trade.trade_no), amount_minor=line.trade.amount_minor))
            elif line.record == "event" and line.nth is not None and line.at is not None:
                _apply(trades[line.nth], kind=line.kind, at=line.at)
    return trades


def _apply(trade: TrueTrade, *, kind: str | None, at: datetime) -> None:
    match kind:
        case "paid":
            trade.paid_at = at
        case "returned":
            trade.is_returned = True
        case "notice_sent":
            trade.notices_sent_at.append(at)
        case _:
            pass


def _decode(text: str) -> int:
    value = 0
    for character in text:
        value = value * len(_ALPHABET) + _ALPHABET[character]
    return value
