"""What flows know of a channel's bill: the file of a day, read into a table, and why one is refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Any, Protocol


class BillRefused(Exception):  # noqa: N818 - an outcome of reading, named as the reader meets it
    """The bill is not what it should be, and nothing of it was loaded.

    `code` is stable. `line_no` is the line of the file, counted from 1; None where the fault is the file's as a whole.
    """

    def __init__(self, code: str, *, line_no: int | None = None, detail: str = "") -> None:
        where = "" if line_no is None else f" in line {line_no}"
        super().__init__(f"{code}{where}: {detail}" if detail else f"{code}{where}")
        self.code = code
        self.line_no = line_no
        self.detail = detail


class Packing(Enum):
    """How the bytes of a bill lie in its file."""

    PLAIN = "plain"
    GZIP = "gzip"
    ZIP = "zip"


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedBill:
    """A bill on this machine's disk; `sha1` is the channel's word on its unpacked bytes, where the channel gives one."""

    path: Path
    packing: Packing
    sha1: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BillRemark:
    """Something to tell people about rows that are in the table all the same: how many, and the first one's line."""

    code: str
    line_no: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BillTotals:
    """What the rows of one kind, or of all, come to; amounts in minor units, fees in 100,000ths of the major unit."""

    rows: int
    payments: int
    refunds: int
    reversals: int
    order_minor: int
    settle_minor: int
    refund_minor: int
    fee_e5: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadBill:
    """A bill whose every line was read and agrees with its summary. `sha256` is of the unpacked bytes."""

    sha256: str
    totals: BillTotals
    remarks: tuple[BillRemark, ...]


class BillTables(Protocol):
    """A DuckDB connection, as far as the ports know one."""

    def execute(self, query: str, parameters: object = ...) -> Any:
        """Runs one statement."""
        ...


class BillReader(Protocol):
    """Reads the bills of one channel account."""

    def read_bill(self, tables: BillTables, bill: FetchedBill, *, day: date, folder: Path) -> ReadBill:
        """Reads the bill of `day` into the table `bill_line` of `tables`, checked to the last line, or raises BillRefused.

        Blocks: call it in a thread. `tables` must have no open transaction and no such table. `folder` takes what is
        unpacked, and is empty again afterwards. The columns of `bill_line`:

        line_no BIGINT; kind VARCHAR, `payment`, `refund` or `reversal`; at TIMESTAMPTZ; trade_no, channel_no,
        refund_no (ours), channel_refund_no VARCHAR; status VARCHAR, `succeeded`, `pending` or `failed`; currency
        VARCHAR; order_minor (payments only), settle_minor (what the row adds to what the channel pays us before its
        fee: negative when money goes back), coupon_minor (the part that a coupon of the channel bore; negative when
        given back), refund_minor (all but payments; what was asked for) BIGINT; fee_e5 BIGINT, 100,000ths of the
        major unit, negative when given back; method, account_no VARCHAR.
        """
        ...


def table_settings(*, folder: Path, memory_mb: int, threads: int) -> Mapping[str, str]:
    """What a DuckDB connection for bills is opened with: bounded memory, and no extension is ever loaded or fetched."""
    return {
        "memory_limit": f"{memory_mb}MB",
        "threads": str(threads),
        # What does not fit in memory is written beside the bill, not where the process was started.
        "temp_directory": str(folder / "spill"),
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
    }
