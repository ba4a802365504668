"""What the bills of WeChat and Swiftpass have in common: a backtick before each value, and no quotes."""

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Final

from budan.channels.bill_reading import ExpectedBill, Total
from budan.channels.bill_unpacking import Unpacked
from budan.ports.bill import BillRefused

MARK: Final = "`"
SEPARATOR: Final = ",`"
MOMENT: Final = "%Y-%m-%d %H:%M:%S"

# What values look like, in a syntax that RE2 and Python read alike.
# Visible ASCII but for the backtick: orders made past us may have numbers that we would not give.
NUMBER_PATTERN: Final = r"[!-_a-~]{1,64}"
NUMBER_OR_NONE_PATTERN: Final = r"[!-_a-~]{0,64}"
WORD_PATTERN: Final = r"[0-9A-Za-z_.-]{1,64}"
WORD_OR_NONE_PATTERN: Final = r"[0-9A-Za-z_.-]{0,64}"
RATE_PATTERN: Final = r"[0-9.]*%?"
CURRENCY_PATTERN: Final = r"[A-Z]{3}"

_FEN: Final = Decimal("0.01")
_E5: Final = Decimal("0.00001")


def check_no_head(_head: Sequence[str], _expected: ExpectedBill) -> None:
    """These bills have nothing above their header: day and account stand in the rows."""


def read_summary(unpacked: Unpacked, *, summaries: Mapping[str, tuple[Total, ...]]) -> Mapping[Total, int]:
    """What the last two lines say, by the names that `summaries` knows; raises BillRefused."""
    header, row = unpacked.foot
    totals = summaries.get(header)
    if totals is None:
        raise BillRefused("summary", line_no=unpacked.foot_from, detail="is no summary: the bill may have been cut off")
    values = row.removeprefix(MARK).split(SEPARATOR)
    if not row.startswith(MARK) or len(values) != len(totals):
        raise BillRefused("summary", line_no=unpacked.foot_from + 1, detail=f"{len(values)} sums, not {len(totals)}")
    try:
        return {total: read_sum(value, total) for total, value in zip(totals, values, strict=True)}
    except (InvalidOperation, ValueError) as error:
        raise BillRefused("summary", line_no=unpacked.foot_from + 1, detail="a sum is no number") from error


def read_sum(text: str, total: Total) -> int:
    """A sum of yuan in fen, a fee in 100,000ths, a count as it is; ValueError for what has more digits than that."""
    unit = {Total.ROWS: Decimal(1), Total.PAYMENTS: Decimal(1), Total.REFUNDS: Decimal(1), Total.FEE: _E5}.get(
        total, _FEN
    )
    value = Decimal(text) / unit
    if value != value.to_integral_value():
        raise ValueError("finer than its unit")
    return int(value)
