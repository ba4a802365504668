"""Any channel's bill into the table `bill_line`: DuckDB reads the rows, and nothing stays of a bill that is not right."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime, time, timedelta
from enum import Enum
from functools import cache
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Final

from budan.channels.bill_unpacking import Layout, Unpacked, unpack
from budan.channels.settings import read_optional_text
from budan.core.numbers import BEIJING
from budan.ports.bill import BillRefused, BillRemark, BillTables, BillTotals, FetchedBill, ReadBill

OTHER_DAY: Final = "other_day"
ROWS_FILE: Final = "bill.rows"


class Total(Enum):
    """What a summary may name; the values are the names of `_Found`, which has the same of the rows."""

    ROWS = "rows"
    PAYMENTS = "payments"
    REFUNDS = "refunds"
    ORDER = "order_minor"
    PAID_SETTLE = "paid_settle_minor"
    REFUND_SETTLE = "refund_settle_minor"
    NET_SETTLE = "net_settle_minor"
    REFUND = "refund_minor"
    REFUND_COUPON = "refund_coupon_minor"
    FEE = "fee_e5"


def read_bill_counts(settings: Mapping[str, str]) -> Total:
    """What the number in an account's summaries counts (unconfirmed): the setting `bill_counts`, `rows` or `payments`."""
    return Total(read_optional_text(settings, "bill_counts", pattern="rows|payments") or "rows")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedBill:
    """Whose bill it should be, and of which day on Beijing's clock."""

    day: date
    account_no: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BillFields:
    """Which of the channel's columns each of ours is read from; the first name that the header has counts.

    `order_minor`, `settle_minor` and `coupon_minor` are read from payments, the others from what goes back.
    """

    happened_at: tuple[str, ...]
    kind: tuple[str, ...]
    trade_no: tuple[str, ...]
    channel_no: tuple[str, ...]
    order_minor: tuple[str, ...]
    settle_minor: tuple[str, ...]
    coupon_minor: tuple[str, ...]
    refund_no: tuple[str, ...]
    channel_refund_no: tuple[str, ...]
    refund_minor: tuple[str, ...]
    refund_settle_minor: tuple[str, ...]
    refund_coupon_minor: tuple[str, ...]
    status: tuple[str, ...]
    fee: tuple[str, ...]
    method: tuple[str, ...]
    currency: tuple[str, ...] = ()
    account_no: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BillForm:
    """One channel's kind of bill, with every header that it is known to have.

    `patterns` gives what a column's values look like. `texts` are columns that strangers write into, which may hold the
    separator; they stand side by side. `mark` stands before a row's first value. `kinds` and `statuses` turn the
    channel's words into ours. A fee is `fee_unit_e5` hundred-thousandths of the major unit times the factor.
    """

    layout: Layout
    separator: str
    mark: str
    headers: tuple[tuple[str, ...], ...]
    patterns: Mapping[str, str]
    texts: frozenset[str]
    fields: BillFields
    kinds: Mapping[str, str]
    statuses: Mapping[str, str]
    moment: str
    fee_unit_e5: int
    fee_factor: int
    refund_fee_factor: int
    check_head: Callable[[tuple[str, ...], ExpectedBill], None]
    read_foot: Callable[[Unpacked], Mapping[Total, int]]


def read_bill(
    tables: BillTables, bill: FetchedBill, *, form: BillForm, expected: ExpectedBill, folder: Path
) -> ReadBill:
    """See Channel.read_bill."""
    rows_path = folder / ROWS_FILE
    try:
        unpacked = unpack(bill, form.layout, rows_path=rows_path)
        form.check_head(unpacked.head, expected)
        shape = _shape_of(form, unpacked)
        said = form.read_foot(unpacked)
        tables.execute("BEGIN TRANSACTION")
        try:
            read = _read_rows(tables, unpacked, shape=shape, form=form, expected=expected, said=said)
        except BaseException:
            tables.execute("ROLLBACK")
            raise
        tables.execute("COMMIT")
        return read
    finally:
        rows_path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class _Found:
    """The row of bill_line_totals."""

    rows: int
    payments: int
    refunds: int
    reversals: int
    order_minor: int
    paid_settle_minor: int
    refund_settle_minor: int
    refund_minor: int
    refund_coupon_minor: int
    fee_e5: int
    unread_line_no: int | None
    foreign_line_no: int | None
    far_line_no: int | None
    other_day_line_no: int | None
    other_days: int

    @property
    def net_settle_minor(self) -> int:
        return self.paid_settle_minor - self.refund_settle_minor


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """A form with the header that this bill has."""

    form: BillForm
    columns: tuple[str, ...]

    def position(self, names: tuple[str, ...]) -> int | None:
        return next((self.columns.index(name) + 1 for name in names if name in self.columns), None)

    @property
    def row(self) -> str:
        """What a whole row looks like, with what stands left and right of its texts as groups."""
        separator = re.escape(self.form.separator)
        texts = [place for place, name in enumerate(self.columns) if name in self.form.texts]
        patterns = [f"(?:{self.form.patterns[name]})" for name in self.columns]
        if not texts:
            return f"()({re.escape(self.form.mark)}{separator.join(patterns)})"
        first, last = texts[0], texts[-1]
        assert len(texts) == last - first + 1, "texts stand side by side"
        left = re.escape(self.form.mark) + "".join(f"{pattern}{separator}" for pattern in patterns[:first])
        others = f"{separator}.*" * (last - first)
        right = "".join(f"{separator}{pattern}" for pattern in patterns[last + 1 :])
        return f"({left}).*({others}{right})"


def _shape_of(form: BillForm, unpacked: Unpacked) -> _Shape:
    header = unpacked.head[-1]
    for columns in form.headers:
        if header == ",".join(columns):
            return _Shape(form=form, columns=columns)
    raise BillRefused(
        "header", line_no=len(unpacked.head), detail="is none that this channel's bills are known to have"
    )


def _read_rows(
    tables: BillTables,
    unpacked: Unpacked,
    *,
    shape: _Shape,
    form: BillForm,
    expected: ExpectedBill,
    said: Mapping[Total, int],
) -> ReadBill:
    tables.execute(_sql("bill_line_create"))
    tables.execute(_sql("bill_line_read"), _read_parameters(unpacked, shape=shape, form=form, expected=expected))
    day_from = datetime.combine(expected.day, time(), tzinfo=BEIJING)
    cursor = tables.execute(
        _sql("bill_line_totals"),
        {"account_no": expected.account_no, "day_from": day_from, "day_to": day_from + timedelta(days=1)},
    )
    found = _Found(*cursor.fetchone())
    _refuse_unread(unpacked, found, shape=shape)
    _refuse_foreign(found)
    (repeated,) = tables.execute(_sql("bill_line_repeated")).fetchone()
    if repeated is not None:
        raise BillRefused("row_repeated", line_no=repeated, detail="an earlier line has the same payment or refund")
    _refuse_other_sums(unpacked, found, said)
    return ReadBill(sha256=unpacked.sha256, totals=_totals(found), remarks=_remarks(found))


def _read_parameters(unpacked: Unpacked, *, shape: _Shape, form: BillForm, expected: ExpectedBill) -> dict[str, object]:
    positions = {field.name: shape.position(getattr(form.fields, field.name)) for field in fields(form.fields)}
    return {
        **positions,
        "path": str(unpacked.rows_path),
        "lines_before": len(unpacked.head),
        "separator": form.separator,
        "row": shape.row,
        "columns": len(shape.columns),
        "moment": form.mark + form.moment if positions["happened_at"] == 1 else form.moment,
        "kind_words": list(form.kinds),
        "kinds": list(form.kinds.values()),
        "status_words": list(form.statuses),
        "statuses": list(form.statuses.values()),
        "fee_unit_e5": form.fee_unit_e5,
        "fee_factor": form.fee_factor,
        "refund_fee_factor": form.refund_fee_factor,
        "default_currency": "CNY",
        # Where no row names the account, the head has.
        "default_account_no": expected.account_no,
    }


def _refuse_unread(unpacked: Unpacked, found: _Found, *, shape: _Shape) -> None:
    assert found.rows == unpacked.rows, "every line became a row"
    if (line_no := found.unread_line_no) is not None:
        with unpacked.rows_path.open(encoding="utf-8", newline="\n") as rows:
            (line,) = islice(rows, line_no - len(unpacked.head) - 1, line_no - len(unpacked.head))
        raise _explain(line.rstrip("\n"), line_no, shape=shape)


def _explain(line: str, line_no: int, *, shape: _Shape) -> BillRefused:
    """Which field of a row that was not read is at fault; values are not repeated, for payers stand among them."""
    form, columns = shape.form, shape.columns
    values = line.removeprefix(form.mark).split(form.separator)
    if not line.startswith(form.mark) or len(values) != len(columns):
        return BillRefused("row_fields", line_no=line_no, detail=f"{len(values)} fields, not {len(columns)}")
    for column, value in zip(columns, values, strict=True):
        if re.fullmatch(form.patterns[column], value, re.ASCII) is None:
            return BillRefused("row_value", line_no=line_no, detail=f"{column} is not what it should be")
    return BillRefused("row_value", line_no=line_no, detail=f"{form.fields.happened_at[0]} is no moment")


def _refuse_foreign(found: _Found) -> None:
    if found.foreign_line_no is not None:
        raise BillRefused("foreign_account", line_no=found.foreign_line_no, detail="the row names another account")
    if found.far_line_no is not None:
        raise BillRefused("wrong_day", line_no=found.far_line_no, detail="the row is more than a day off")
    if found.rows and found.other_days == found.rows:
        raise BillRefused("wrong_day", line_no=found.other_day_line_no, detail="no row is of this day")


def _refuse_other_sums(unpacked: Unpacked, found: _Found, said: Mapping[Total, int]) -> None:
    for total, value in said.items():
        sum_of_rows = getattr(found, total.value)
        if sum_of_rows != value:
            detail = f"{total.value}: the summary says {value}, the rows come to {sum_of_rows}"
            raise BillRefused("summary_mismatch", line_no=unpacked.foot_from, detail=detail)


def _totals(found: _Found) -> BillTotals:
    return BillTotals(
        rows=found.rows,
        payments=found.payments,
        refunds=found.refunds,
        reversals=found.reversals,
        order_minor=found.order_minor,
        settle_minor=found.net_settle_minor,
        refund_minor=found.refund_minor,
        fee_e5=found.fee_e5,
    )


def _remarks(found: _Found) -> tuple[BillRemark, ...]:
    if found.other_day_line_no is None:
        return ()
    # Real bills hold a few rows of the next day; whoever reconciles decides about them.
    return (BillRemark(code=OTHER_DAY, line_no=found.other_day_line_no, count=found.other_days),)


@cache
def _sql(name: str) -> str:
    return files("budan.channels").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")
