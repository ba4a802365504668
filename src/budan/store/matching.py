"""A bill and our side of its day, compared set against set by DuckDB; only what differs becomes rows of Python."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any, Final, cast

import duckdb
import msgspec

from budan.core.reconcile import FeeBase, FeesBack
from budan.ports.bill import room_on_disk
from budan.store.queries import Query, Rows, queries_of

# A whole bill's keys and amounts fit below it on disk; what does not fit in memory is written beside the bill.
MEMORY_MB: Final = 500
ROWS_AT_ONCE: Final = 2_000

_NO_FEES: Final = FeeBase()
_QUERIES = queries_of("bill_sql")
_MACROS: Final = (
    "match_make_ascii_bits",
    "match_make_digit_values",
    "match_make_pairs",
    "match_make_fours",
    "match_make_eights",
    "match_make_decoded",
    "match_make_fee_right",
)
_KEEP_BILL = _QUERIES["match_keep_bill"]
_KEEP_OURS = _QUERIES["match_keep_ours"]
_KEEP_UNLIKE = _QUERIES["match_keep_unlike"]
_KEEP_TWICE = _QUERIES["match_keep_twice"]
_KEEP_UNEQUAL = _QUERIES["match_keep_unequal"]
_KEEP_BESIDE = _QUERIES["match_keep_beside"]
_SUM_THEIRS = _QUERIES["match_sum_theirs"]
_SUM_OURS = _QUERIES["match_sum_ours"]
_SUM_OTHER_RATES = _QUERIES["match_sum_other_rates"]
_COUNT_UNEQUAL = _QUERIES["match_count_unequal"]
_LIST_UNEQUAL = _QUERIES["match_list_unequal"]
_MAKE_NO_BILL = _QUERIES["match_make_no_bill"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SideSum:
    """What one side's rows of one kind in one currency come to: 0 payments, 1 refunds, 2 reversals.

    `fee_base` is of the bill's rows that tell a fee and are not undone.
    """

    kind: int
    currency: str
    rows: int
    amount_minor: int
    fee_e5: int = 0
    fee_base: FeeBase = _NO_FEES
    last_at: datetime | None = None


# A struct, like whatever else there are a hundred thousand of here: a frozen dataclass takes seven times as long to make.
class UnequalRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A row that is not on both sides once and alike: without `line_no` ours alone, without `order_id` the bill's alone.

    `number` is the row's own in the bill, which may be one of ours, `trade_no` that of its payment.
    """

    line_no: int | None
    kind: int
    happened_at: datetime | None
    status: str | None
    currency: str | None
    amount_minor: int | None
    fee_e5: int | None
    settle_minor: int | None
    number: str | None
    trade_no: str | None
    channel_no: str | None
    lane: int | None
    order_id: int | None
    ordinal: int | None
    our_minor: int | None
    our_currency: str | None
    is_returned: bool | None
    our_settle_minor: int | None
    our_rate_e6: int | None
    is_twice: bool


class Matching:
    """The tables of one comparison, in a folder of its own. Everything here blocks: call it in a thread.

    The order is: a reader makes `bill_line` in `tables`, `keep_bill`, `keep_ours`, `compare`.
    """

    def __init__(self, *, folder: Path, threads: int) -> None:
        self.tables = duckdb.connect(
            folder / "matching.duckdb",
            config={
                "memory_limit": f"{MEMORY_MB}MB",
                "threads": str(threads),
                "temp_directory": str(folder / "spill"),
                "max_temp_directory_size": f"{room_on_disk(folder) // 2**20}MiB",
                "preserve_insertion_order": "true",
                # What is written here is read a few times: looking for the best compression would cost more.
                "force_compression": "uncompressed",
                # Nothing is ever loaded from elsewhere, and no bill can name a file that is read.
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "allow_community_extensions": "false",
            },
        )
        for name in _MACROS:
            self.tables.execute(_QUERIES[name].sql)
        self._given_up = Event()

    def interrupt(self) -> None:
        """Break off what another thread does here: its statement fails. Between two it hits none: repeat it until the end."""
        self._given_up.set()
        self.tables.interrupt()

    def is_given_up(self) -> bool:
        """Whether somebody has interrupted."""
        return self._given_up.is_set()

    def close(self) -> None:
        """Let go of the tables. Safe to repeat."""
        self.tables.close()

    def make_no_bill(self) -> None:
        """The bill of a day on which nothing moved."""
        self._none(_MAKE_NO_BILL)

    def keep_bill(self, *, order_lead: str, refund_lead: str) -> None:
        """The bill's numbers and amounts as `bill_row`; numbers of ours begin with one of these letters (I13)."""
        self._none(_KEEP_BILL, {"order_lead": order_lead, "refund_lead": refund_lead})

    def keep_ours(self, paths: Sequence[Path]) -> None:
        """Our side as `our_row`, out of the files that PostgreSQL's COPY wrote."""
        self._none(_KEEP_OURS, {"paths": [str(path) for path in paths]})

    def sum_theirs(self) -> list[SideSum]:
        """What the bill comes to, by kind and currency."""
        return [
            SideSum(
                kind=row["kind"],
                currency=row["currency"],
                rows=row["rows_found"],
                amount_minor=row["amount_minor"],
                fee_e5=row["fee_e5"],
                fee_base=FeeBase(
                    rows=row["fee_rows"], least_minor=row["fee_least_minor"], most_minor=row["fee_most_minor"]
                ),
                last_at=_utc(row["last_at"]),
            )
            for row in self._many(_SUM_THEIRS)
        ]

    def sum_ours(self) -> list[SideSum]:
        """What our side comes to, by kind and currency."""
        return [
            SideSum(
                kind=row["kind"], currency=row["currency"], rows=row["rows_found"], amount_minor=row["amount_minor"]
            )
            for row in self._many(_SUM_OURS)
        ]

    def sum_other_rates(self, *, rate_e6: int, currency: str) -> FeesBack:
        """What refunds in a currency, of payments under another rate, give back beyond this one."""
        (row,) = self._many(_SUM_OTHER_RATES, {"rate_e6": rate_e6, "currency": currency})
        return FeesBack(least_e5=cast("int", row["least_e8"]) // 1_000, most_e5=cast("int", row["most_e8"]) // 1_000)

    def compare(self, *, rate_e6: int | None, beside: Sequence[tuple[int, int, int]]) -> int:
        """Find what needs a judgement; gives how many rows that is.

        `beside` are kinds, orders and ordinals that a bill of a day beside has had: they need one though both sides have
        them alike.
        """
        terms = {"rate_e6": rate_e6}
        self._none(_KEEP_UNLIKE, terms)
        self._none(_KEEP_TWICE)
        self._none(_KEEP_UNEQUAL, terms)
        if beside:
            kinds, orders, ordinals = (list(column) for column in zip(*beside, strict=True))
            self._none(_KEEP_BESIDE, {"kinds": kinds, "orders": orders, "ordinals": ordinals})
        (row,) = self._many(_COUNT_UNEQUAL)
        return cast("int", row["rows_found"])

    def list_unequal(self) -> Iterator[UnequalRow]:
        """What `compare` found, the bill's rows in its order, then what is ours alone."""
        for row in self._many(_LIST_UNEQUAL):
            row["happened_at"] = _utc(row["happened_at"])
            yield UnequalRow(**row)

    def _none(self, statement: Query, parameters: Mapping[str, object] | None = None) -> None:
        assert statement.rows is Rows.NONE, statement.name
        self.tables.execute(statement.sql, parameters)

    def _many(self, statement: Query, parameters: Mapping[str, object] | None = None) -> Iterator[dict[str, Any]]:
        assert statement.rows in {Rows.MANY, Rows.ONE}, statement.name
        found = self.tables.execute(statement.sql, parameters)
        names = [str(column[0]) for column in found.description or ()]
        while rows := found.fetchmany(ROWS_AT_ONCE):
            for row in rows:
                yield dict(zip(names, row, strict=True))


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.astimezone(UTC)
