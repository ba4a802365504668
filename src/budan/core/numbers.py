"""Numbers that people and channels see, and the ids inside them."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from enum import Enum
from functools import lru_cache
from typing import NewType

OrderId = NewType("OrderId", int)
MerchantId = NewType("MerchantId", int)
AccountId = NewType("AccountId", int)
Lane = NewType("Lane", int)

# A number is 30 characters of upper-case Crockford base32 (no I, L, O, U): kind with environment (1), Beijing day as
# YYMMDD (6), lane (2), merchant (6), order id (13), ordinal (1), check (1). Its parts find the row without a search.
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
NUMBER_LENGTH = 30

# Ids count milliseconds from here: 41 bits last until 2094.
ID_EPOCH = datetime(2025, 1, 1, tzinfo=UTC)
PROCESS_NUMBERS = 1 << 10
_COUNTS = 1 << 12
LANES_MAX = 64
MERCHANT_ID_MAX = (1 << 30) - 1
# Five bits, the one character of the place in its order: of a trade or a refund (docs/design.md section 6).
ORDINAL_MAX = 31

# A number is read and written several times while its order is young, so that many are remembered.
YOUNG_NUMBERS_MAX = 4_096

# Bills and shops count days in Beijing, so the day in a number is theirs (protocols/README.md rule 6).
BEIJING = timezone(timedelta(hours=8), "Asia/Shanghai")


class Environment(Enum):
    """Where an installation stands; part of every number that leaves it (I13)."""

    LOCAL = "local"
    TEST = "test"
    LIVE = "live"


class NumberKind(Enum):
    """What a number counts: an order (ordinal 0) or its trades (1 to 31), or its refunds, or a settlement batch."""

    ORDER = "order"
    REFUND = "refund"
    SETTLEMENT = "settlement"


_LEADS: dict[tuple[Environment, NumberKind], str] = {
    (Environment.LOCAL, NumberKind.ORDER): "D",
    (Environment.LOCAL, NumberKind.REFUND): "E",
    (Environment.TEST, NumberKind.ORDER): "T",
    (Environment.TEST, NumberKind.REFUND): "V",
    (Environment.LIVE, NumberKind.ORDER): "P",
    (Environment.LIVE, NumberKind.REFUND): "R",
    (Environment.LOCAL, NumberKind.SETTLEMENT): "F",
    (Environment.TEST, NumberKind.SETTLEMENT): "W",
    (Environment.LIVE, NumberKind.SETTLEMENT): "S",
}
_KINDS = {lead: key for key, lead in _LEADS.items()}
_ORDER_LEADS = {environment: _LEADS[environment, NumberKind.ORDER] for environment in Environment}


def number_lead(environment: Environment, kind: NumberKind) -> str:
    """The first character of every number of this kind."""
    return _LEADS[environment, kind]


class BadNumber(ValueError):  # noqa: N818 - an outcome of parsing, named as the reader meets it
    """The text is no number of ours: wrong length, character, check or day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """The parts of an order, trade or refund number."""

    environment: Environment
    kind: NumberKind
    lane: Lane
    merchant_id: MerchantId
    order_id: OrderId
    ordinal: int

    def __post_init__(self) -> None:
        _assert_parts(self.lane, self.merchant_id, self.order_id, self.ordinal)


def render_number(number: Number) -> str:
    """The 30 characters of `number`."""
    lead = _LEADS[number.environment, number.kind]
    return _render(lead, number.lane, number.merchant_id, number.order_id, number.ordinal)


def trade_number(
    *,
    environment: Environment,
    lane: Lane,
    merchant_id: MerchantId,
    order_id: OrderId,
    attempt: int,
) -> str:
    """The number of an order's trade; attempt 0 is the order itself."""
    return _render(_ORDER_LEADS[environment], lane, merchant_id, order_id, attempt)


@lru_cache(maxsize=YOUNG_NUMBERS_MAX)
def parse_number(text: str) -> Number:
    """The parts of a number; raises `BadNumber` unless every part agrees with the others."""
    if len(text) != NUMBER_LENGTH or not _IS_NUMBER(text):
        raise BadNumber(text)
    if _check_character(text[:-1]) != text[-1] or text[0] not in _KINDS:
        raise BadNumber(text)
    environment, kind = _KINDS[text[0]]
    lane, merchant_id, order_id = _decode(text[7:9]), _decode(text[9:15]), _decode(text[15:28])
    if lane >= LANES_MAX or not 0 < merchant_id <= MERCHANT_ID_MAX or not 0 < order_id < 1 << 63:
        raise BadNumber(text)
    if _day_text(_day_index(OrderId(order_id))) != text[1:7]:
        raise BadNumber(text)
    return Number(
        environment=environment,
        kind=kind,
        lane=Lane(lane),
        merchant_id=MerchantId(merchant_id),
        order_id=OrderId(order_id),
        ordinal=ALPHABET.index(text[28]),
    )


def lane_of(merchant_id: MerchantId, *, lanes: int) -> Lane:
    """The lane of a merchant: a stable multiplicative hash, so that neighbours in age spread over all lanes."""
    assert 0 < lanes <= LANES_MAX
    return Lane(((merchant_id * 0x9E37_79B1) & 0xFFFF_FFFF) * lanes >> 32)


def next_id(*, previous: int, now_ms: int, process_number: int) -> int:
    """The id after `previous` of this process, above it even where the clock stands behind it or its number was changed.

    `now_ms` is milliseconds since the Unix epoch. 41 bits of milliseconds, 10 of process number, 12 of count. A clock
    that went back, or a millisecond that is used up, is run ahead of.
    """
    assert 0 <= process_number < PROCESS_NUMBERS
    milliseconds = now_ms - _EPOCH_MS
    last_milliseconds, last_count = previous >> 22, previous & (_COUNTS - 1)
    assert milliseconds >= 0 or previous > 0
    if milliseconds > last_milliseconds:
        return milliseconds << 22 | process_number << 12
    following = last_milliseconds << 22 | process_number << 12 | (last_count + 1)
    if last_count + 1 < _COUNTS and following > previous:
        return following
    return (last_milliseconds + 1) << 22 | process_number << 12


def id_floor(moment: datetime) -> int:
    """The smallest id that could have been made at `moment`: bounds ranges and partitions."""
    return max(0, int((moment - ID_EPOCH) / timedelta(milliseconds=1))) << 22


def beijing_day(moment: datetime) -> date:
    """The day on which a bill of our channels has a moment."""
    return moment.astimezone(BEIJING).date()


def day_begin(day: date) -> datetime:
    """The first moment of a Beijing day."""
    return datetime.combine(day, time(), tzinfo=BEIJING).astimezone(UTC)


def day_span(day: date) -> tuple[datetime, datetime]:
    """A Beijing day, from when until before when."""
    return day_begin(day), day_begin(day + timedelta(days=1))


_EPOCH_MS = int(ID_EPOCH.timestamp() * 1000)
_DAY_MS = 86_400_000
_BEIJING_AHEAD_MS = 8 * 3_600_000


# Numbers are rendered and parsed several times for each order, so both go through tables: ten bits at a time to write,
# Python's own base 32 to read.
_PAIRS = tuple(high + low for high in ALPHABET for low in ALPHABET)
_TO_PYTHON = str.maketrans(ALPHABET, "0123456789abcdefghijklmnopqrstuv")
_IS_NUMBER = re.compile(f"[{ALPHABET}]{{{NUMBER_LENGTH}}}").fullmatch


def _assert_parts(lane: int, merchant_id: int, order_id: int, ordinal: int) -> None:
    assert 0 <= lane < LANES_MAX
    assert 0 < merchant_id <= MERCHANT_ID_MAX
    assert 0 < order_id < 1 << 63
    assert 0 <= ordinal <= ORDINAL_MAX


@lru_cache(maxsize=YOUNG_NUMBERS_MAX)
def _render(lead: str, lane: int, merchant_id: int, order_id: int, ordinal: int) -> str:
    _assert_parts(lane, merchant_id, order_id, ordinal)
    head, remainder = _head(lead, _day_index(order_id), lane, merchant_id)
    first, second, third = order_id >> 50 & 1023, order_id >> 40 & 1023, order_id >> 30 & 1023
    fourth, fifth, sixth = order_id >> 20 & 1023, order_id >> 10 & 1023, order_id & 1023
    # The check of `_check_character`, ten bits at a time: half of what rendering cost.
    remainder = _TIMES_ALPHA[remainder] ^ order_id >> 60
    remainder = _TIMES_ALPHA_2[remainder] ^ _PAIR_CHECKS[first]
    remainder = _TIMES_ALPHA_2[remainder] ^ _PAIR_CHECKS[second]
    remainder = _TIMES_ALPHA_2[remainder] ^ _PAIR_CHECKS[third]
    remainder = _TIMES_ALPHA_2[remainder] ^ _PAIR_CHECKS[fourth]
    remainder = _TIMES_ALPHA_2[remainder] ^ _PAIR_CHECKS[fifth]
    remainder = _TIMES_ALPHA_2[remainder] ^ _PAIR_CHECKS[sixth]
    check = ALPHABET[_TIMES_ALPHA[_TIMES_ALPHA[remainder] ^ ordinal]]
    return (
        f"{head}{ALPHABET[order_id >> 60]}{_PAIRS[first]}{_PAIRS[second]}{_PAIRS[third]}"
        f"{_PAIRS[fourth]}{_PAIRS[fifth]}{_PAIRS[sixth]}{ALPHABET[ordinal]}{check}"
    )


@lru_cache(maxsize=4_096)
def _head(lead: str, day_index: int, lane: int, merchant_id: int) -> tuple[str, int]:
    """What all numbers of a merchant's day begin with, and the check's remainder after it."""
    text = (
        f"{lead}{_day_text(day_index)}{_PAIRS[lane]}"
        f"{_PAIRS[merchant_id >> 20]}{_PAIRS[merchant_id >> 10 & 1023]}{_PAIRS[merchant_id & 1023]}"
    )
    return text, _remainder(text)


def _decode(text: str) -> int:
    return int(text.translate(_TO_PYTHON), 32)


def _day_index(identity: int) -> int:
    """Days of Beijing since the first one that has ids."""
    return ((identity >> 22) + _BEIJING_AHEAD_MS) // _DAY_MS


@lru_cache(maxsize=4_096)
def _day_text(index: int) -> str:
    return f"{(ID_EPOCH + timedelta(days=index)):%y%m%d}"


def _times_alpha(remainder: int) -> int:
    """Multiplied by the generator of GF(32)."""
    doubled = remainder << 1
    return doubled ^ 0b100101 if doubled & 32 else doubled


_TIMES_ALPHA = bytes(_times_alpha(remainder) for remainder in range(32))
_TO_VALUES = bytes.maketrans(ALPHABET.encode("ascii"), bytes(range(32)))


# Of two characters at once: what the first leaves is multiplied once more than the second.
_TIMES_ALPHA_2 = bytes(_TIMES_ALPHA[product] for product in _TIMES_ALPHA)
_PAIR_CHECKS = bytes(_TIMES_ALPHA[high] ^ low for high in range(32) for low in range(32))


def _remainder(text: str) -> int:
    remainder, times_alpha = 0, _TIMES_ALPHA
    for value in text.encode("ascii").translate(_TO_VALUES):
        remainder = times_alpha[remainder] ^ value
    return remainder


def _check_character(body: str) -> str:
    """A checksum over GF(32): finds every single wrong character and every swap of two neighbours."""
    # Multiplied once more so that the check character has a weight of its own.
    return ALPHABET[_TIMES_ALPHA[_remainder(body)]]
