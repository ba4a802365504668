"""What flows know of a channel's bill: the file of a day, read into a table, and why one is refused."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import time, timedelta
from enum import Enum
from pathlib import Path
from typing import Any, Final, Protocol

# Every fault for which a bill is refused, and the code that an operator meets; docs/channels.md says what each means.
BILL_FAULTS: Final[Mapping[str, str]] = {
    "empty": "bill_empty",
    "packing": "bill_packing",
    "digest": "bill_digest",
    "encoding": "bill_encoding",
    "control_character": "bill_control_character",
    "blank_line": "bill_blank_line",
    "line_too_long": "bill_line_too_long",
    "too_long": "bill_too_long",
    "truncated": "bill_truncated",
    "header": "bill_header",
    "summary": "bill_summary",
    "summary_mismatch": "bill_summary_mismatch",
    "foreign_account": "bill_foreign_account",
    "wrong_day": "bill_wrong_day",
    "row_fields": "bill_row_fields",
    "row_value": "bill_row_value",
    "row_repeated": "bill_row_repeated",
    "no_room": "bill_no_room",
}
# What bills leave of a disk: the database may lie on the same one, and PostgreSQL's log takes 1 GB (max_wal_size).
DISK_RESERVE_BYTES: Final = 2**30


class BillRefused(Exception):  # noqa: N818 - an outcome of reading, named as the reader meets it
    """The bill is not what it should be, and nothing of it was loaded.

    `code` is one of `BILL_FAULTS`. `line_no` is the line of the file, counted from 1; None where the fault is the file's as a whole.
    """

    def __init__(self, code: str, *, line_no: int | None = None, detail: str = "") -> None:
        assert code in BILL_FAULTS, f"{code} is not documented"
        where = "" if line_no is None else f" in line {line_no}"
        super().__init__(f"{code}{where}: {detail}" if detail else f"{code}{where}")
        self.code = code
        self.line_no = line_no
        self.detail = detail


class BillGivenUp(Exception):  # noqa: N818 - an outcome of reading, like the one above
    """Whoever had the bill read wants it no more; nothing of it was loaded."""


def _is_wanted_to_the_end() -> bool:
    return False


def room_on_disk(folder: Path) -> int:
    """How many bytes bills may write beside a folder now; 0 where no more than the reserve is free."""
    return max(0, shutil.disk_usage(folder).free - DISK_RESERVE_BYTES)


class Packing(Enum):
    """How the bytes of a bill lie in its file."""

    PLAIN = "plain"
    GZIP = "gzip"
    ZIP = "zip"


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedBill:
    """A bill on this machine's disk; `sha1` is the channel's word on its unpacked bytes, where the channel gives one.

    Who reads it asks `is_given_up` now and then, in its own thread, and where it is raises `BillGivenUp`.
    """

    path: Path
    packing: Packing
    sha1: str | None = None
    is_given_up: Callable[[], bool] = field(default=_is_wanted_to_the_end, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class BillNotYet:
    """The channel is still making the bill, or asks us to come later."""

    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoBill:
    """The channel says that nothing moved that day; it may say so of a bill that it has not made yet.

    Alipay says the same of a bill that it has not made yet.
    """

    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BillUnfetched:
    """Nothing was learned of the bill; `sent` is False where no byte left this machine."""

    code: str
    message: str = ""
    sent: bool = True


BillAnswer = FetchedBill | BillNotYet | NoBill | BillUnfetched


@dataclass(frozen=True, slots=True, kw_only=True)
class BillTerms:
    """When a day's bill is to be had.

    `ready_at` is on Beijing's clock, the day after. `fetch_timeout` bounds one download.
    """

    ready_at: time
    kept: timedelta
    fetch_timeout: timedelta


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
    """A bill whose every line was read and agrees with its summary. `sha256` is of the unpacked bytes.

    `names_account` is False where nothing in such a file says whose it is: it is told by its rows alone.
    """

    sha256: str
    totals: BillTotals
    remarks: tuple[BillRemark, ...]
    names_account: bool = True


class BillTables(Protocol):
    """A DuckDB connection, as far as the ports know one."""

    def execute(self, query: str, parameters: object = ...) -> Any:
        """Runs one statement."""
        ...


def table_settings(*, folder: Path, memory_mb: int, threads: int) -> Mapping[str, str]:
    """What a DuckDB connection for bills is opened with: bounded memory, and no extension is ever loaded or fetched."""
    return {
        "memory_limit": f"{memory_mb}MB",
        "threads": str(threads),
        # What does not fit in memory is written beside the bill, not where the process was started.
        "temp_directory": str(folder / "spill"),
        # Written once and read a few times: looking for the best compression costs more than the disk it saves.
        "force_compression": "uncompressed",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
    }
