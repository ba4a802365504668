"""The sandbox's own file, read without the sandbox's code."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

_ALPHABET: Final = {character: value for value, character in enumerate("0123456789ABCDEFGHJKMNPQRSTVWXYZ")}
_NUMBER_LENGTH: Final = 30
_LANE: Final = slice(7, 9)
_MERCHANT: Final = slice(9, 15)
_ORDER_ID: Final = slice(15, 28)
_ATTEMPT: Final = 28


class TradeKey(NamedTuple):
    """Which attempt of which order a trade number names."""

    lane: int
    order_id: int
    attempt: int

    @property
    def order(self) -> tuple[int, int]:
        """The order's own key."""
        return self.lane, self.order_id


class _PlacedTrade(msgspec.Struct):
    nth: int
    trade_no: str
    amount_minor: int
    placed_at: datetime


class _AskedRefund(msgspec.Struct):
    refund_no: str
    amount_minor: int


class _Line(msgspec.Struct, kw_only=True):
    record: str
    refund_no: str = ""
    refund: _AskedRefund | None = None
    trade: _PlacedTrade | None = None
    nth: int | None = None
    kind: str | None = None
    text: str = ""
    at: datetime | None = None
    until: datetime | None = None


@dataclass(slots=True, kw_only=True)
class TrueTrade:
    """What happened to one trade at the channel; `notice_is_due` while the channel still wants to tell of it."""

    key: TradeKey
    trade_no: str
    merchant_id: int
    amount_minor: int
    placed_at: datetime
    paid_at: datetime | None = None
    is_returned: bool = False
    # Closed or reversed at the channel: nobody can pay it there any more.
    is_ended: bool = False
    notice_is_due: bool = False
    # The channel lost a notice of it.
    is_untold: bool = False
    notices_sent_at: list[datetime] = field(default_factory=list[datetime])
    notices_acknowledged: int = 0
    queries: int = 0
    # What each refund that was ever asked for is about, and how much of it is with the payer.
    refunds_minor: dict[str, int] = field(default_factory=dict[str, int])
    refunded_minor: int = 0

    @property
    def kept_minor(self) -> int:
        """What the shop still has of this trade."""
        return 0 if self.paid_at is None or self.is_returned else self.amount_minor - self.refunded_minor


def parse_trade_no(text: str) -> TradeKey:
    """The parts of a trade number that find its row, by docs/design.md §6."""
    assert len(text) == _NUMBER_LENGTH, text
    return TradeKey(lane=_decode(text[_LANE]), order_id=_decode(text[_ORDER_ID]), attempt=_ALPHABET[text[_ATTEMPT]])


def parse_merchant_id(text: str) -> int:
    """Whose trade a number names."""
    return _decode(text[_MERCHANT])


class TruthReader:
    """Follows the sandbox's file while it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._decoder = msgspec.json.Decoder(_Line)
        self._offset = 0
        # By their count at the sandbox, which every line names.
        self.trades: list[TrueTrade] = []

    def read(self) -> list[TrueTrade]:
        """Every trade that was ever placed; a last line that is not whole yet is read the next time."""
        with self._path.open("rb") as lines:
            lines.seek(self._offset)
            for text in lines:
                if not text.endswith(b"\n"):
                    break
                self._offset += len(text)
                self._take(self._decoder.decode(text))
        return self.trades

    def _take(self, line: _Line) -> None:
        if line.trade is not None:
            assert line.trade.nth == len(self.trades), "the file counts its trades"
            self.trades.append(_placed(line.trade))
        elif line.record == "event" and line.nth is not None and line.at is not None:
            _apply(self.trades[line.nth], line, at=line.at)


def read_truth(path: Path) -> list[TrueTrade]:
    """Every trade that was ever placed; a last line that is not whole yet is left out."""
    return TruthReader(path).read()


def tell_trades(path: Path, *, lane: int, order_id: int) -> list[str]:
    """What the file says of every trade of an order, a line each; for a person who looks for a lost one."""
    decoder = msgspec.json.Decoder(_Line)
    told: list[str] = []
    nths: set[int] = set()
    with path.open("rb") as lines:
        for text in lines:
            line = decoder.decode(text) if text.endswith(b"\n") else _Line(record="")
            if line.trade is not None and parse_trade_no(line.trade.trade_no)[:2] == (lane, order_id):
                nths.add(line.trade.nth)
                told.append(f"{line.trade.placed_at:%H:%M:%S.%f} {line.trade.trade_no} placed")
            elif line.nth in nths:
                told.append(f"{line.at:%H:%M:%S.%f} {line.kind} {line.text}".rstrip())
    return told


def _placed(trade: _PlacedTrade) -> TrueTrade:
    return TrueTrade(
        key=parse_trade_no(trade.trade_no),
        trade_no=trade.trade_no,
        merchant_id=parse_merchant_id(trade.trade_no),
        amount_minor=trade.amount_minor,
        placed_at=trade.placed_at,
    )


def _apply(trade: TrueTrade, line: _Line, *, at: datetime) -> None:
    match line.kind:
        case "paid":
            trade.paid_at = at
            trade.notice_is_due = line.until is not None
        case "returned":
            trade.is_returned = trade.is_ended = True
        case "closed" | "reversed":
            trade.is_ended = True
        case "refund_asked" if line.refund is not None:
            trade.refunds_minor[line.refund.refund_no] = line.refund.amount_minor
        case "refund_done":
            trade.refunded_minor += trade.refunds_minor[line.refund_no]
        case "queried":
            trade.queries += 1
        case "notice_sent":
            trade.notices_sent_at.append(at)
        case "notice_acknowledged":
            trade.notices_acknowledged += 1
            trade.notice_is_due = False
        case "notice_dropped":
            trade.notice_is_due, trade.is_untold = False, True
        case "notice_given_up":
            trade.notice_is_due = False
        case _:
            pass


def _decode(text: str) -> int:
    value = 0
    for character in text:
        value = value * len(_ALPHABET) + _ALPHABET[character]
    return value
