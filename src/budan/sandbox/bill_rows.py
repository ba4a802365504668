"""One row of any channel's bill, and what rows come to."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from budan.sandbox.numbers import BEIJING
from budan.sandbox.records import RefundState, Trade


class Kind(Enum):
    """What a row tells of."""

    PAYMENT = "payment"
    REFUND = "refund"
    REVERSAL = "reversal"


@dataclass(frozen=True, slots=True, kw_only=True)
class BillRow:
    """A payment, or what went back of one; `fee_e5` is in 100,000ths of a yuan, negative when given back."""

    kind: Kind
    at: datetime
    trade: Trade
    amount_minor: int
    fee_e5: int
    refund_no: str = ""
    channel_refund_no: str = ""
    refund_state: RefundState | None = None

    @property
    def is_payment(self) -> bool:
        """Whether money came."""
        return self.kind is Kind.PAYMENT

    @property
    def moment(self) -> str:
        """Its time as bills write it."""
        return self.at.astimezone(BEIJING).strftime("%Y-%m-%d %H:%M:%S")

    @property
    def fee(self) -> str:
        """Its fee in yuan with five decimals."""
        return yuan_e5(self.fee_e5)


def paid_minor(rows: Iterable[BillRow]) -> int:
    """What came."""
    return sum(row.amount_minor for row in rows if row.is_payment)


def returned_minor(rows: Iterable[BillRow]) -> int:
    """What went back."""
    return sum(row.amount_minor for row in rows if not row.is_payment)


def yuan(amount_minor: int) -> str:
    """Fen as yuan with two decimals."""
    sign = "-" if amount_minor < 0 else ""
    return f"{sign}{abs(amount_minor) // 100}.{abs(amount_minor) % 100:02d}"


def yuan_e5(amount_e5: int) -> str:
    """100,000ths of a yuan with five decimals."""
    sign = "-" if amount_e5 < 0 else ""
    return f"{sign}{abs(amount_e5) // 100_000}.{abs(amount_e5) % 100_000:05d}"


def backtick_row(values: Iterable[str]) -> str:
    """A row as WeChat and Swiftpass write it."""
    return ",".join(f"`{value}" for value in values)
