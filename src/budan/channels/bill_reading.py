"""Any channel's bill into the table `bill_line`: DuckDB reads the rows, and nothing stays of a bill that is not right."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, datetime, time, timedelta
from enum import Enum
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

from budan.channels.bill_tables import bill_sql
from budan.channels.bill_texts import RowParts
from budan.channels.bill_unpacking import Layout, Unpacked, unpack
from budan.channels.bill_usual import first_rows, look_usually_like, usual_values
from budan.channels.bill_values import PRINTED
from budan.channels.settings import read_optional_text
from budan.core.numbers import BEIJING
from budan.ports.bill import BillRefused, BillRemark, BillTables, BillTotals, FetchedBill, ReadBill

OTHER_DAY: Final = "other_day"
ROWS_FILE: Final = "bill.rows"
# Where a row with too many values has the next; NULL in every row that is right.
BEYOND: Final = "beyond"
ANYTHING: Final = ".*"
# Of a bill that names none.
DEFAULT_CURRENCY: Final = "CNY"
MACROS: Final = ("bill_make_yuan", "bill_make_minor")
# Between the values that one pattern looks at; no bill has it, for it is a control character.
JOINER: Final = "\x01"


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

    `patterns` gives what the values of a column look like; one without a pattern, which nobody reads, may hold anything
    but the separator. `texts` are columns that strangers write into, which may hold that too; they stand side by side.
    Of the visible ASCII of which the numbers of payments consist, `number_bar` alone is in none. `mark` stands before a row's first value. `kinds` and `statuses` turn the channel's words into ours.
    Amounts are written in minor units where they are `in_minor`, else in the major one with two places. A fee is
    `fee_unit_e5` hundred-thousandths of the major unit times the factor. `names_account` is False of a form that has no
    place for it.
    """

    layout: Layout
    separator: str
    mark: str
    number_bar: str
    headers: tuple[tuple[str, ...], ...]
    patterns: Mapping[str, str]
    texts: frozenset[str]
    fields: BillFields
    kinds: Mapping[str, str]
    statuses: Mapping[str, str]
    moment: str
    in_minor: bool
    fee_unit_e5: int
    fee_factor: int
    refund_fee_factor: int
    check_head: Callable[[tuple[str, ...], ExpectedBill], None]
    read_foot: Callable[[Unpacked], Mapping[Total, int]]
    names_account: bool = True


def read_bill(
    tables: BillTables, bill: FetchedBill, *, form: BillForm, expected: ExpectedBill, folder: Path
) -> ReadBill:
    """See Channel.read_bill."""
    rows_path = folder / ROWS_FILE
    try:
        unpacked = unpack(bill, form.layout, rows_path=rows_path, parts_of=partial(_parts_of, form))
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
    ids: int | None

    @property
    def net_settle_minor(self) -> int:
        return self.paid_settle_minor - self.refund_settle_minor


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """A form with the header that this bill has, and what nearly all of its rows are like.

    `usual` are right values that they have alike, by their places; `printed` the places of what SQL prints as it was read.
    """

    form: BillForm
    columns: tuple[str, ...]
    parts: RowParts
    usual: Mapping[int, str]
    printed: frozenset[int]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns under names that SQL knows: place, how their values are looked at, and what they are read as."""
        return tuple(
            " ".join([str(place + 1), self._class_of(place), *self._words_of(place)])
            for place in range(len(self.columns))
        )

    @property
    def beyond(self) -> str:
        """The name of what is NULL in every row that is right: it has the words that no column of the header has."""
        return " ".join([BEYOND, *self._words_of(None)])

    def _words_of(self, place: int | None) -> list[str]:
        return [field.name for field in fields(self.form.fields) if self.place_of(field.name) == place]

    def place_of(self, word: str) -> int | None:
        """From which column one of our words is read: the first of its own that the header has."""
        names = getattr(self.form.fields, word)
        return next((self.columns.index(name) for name in names if name in self.columns), None)

    def _class_of(self, place: int) -> str:
        """How a value is looked at: with the usual ones, as a number, by what it prints or by its pattern, or not at all."""
        if self.columns[place] not in self.form.patterns and place < len(self.columns) - 1:
            return "other"
        if place in {self.place_of("trade_no"), self.place_of("channel_no")}:
            return "field number"
        # One has its own pattern in every bill.
        if place in self.usual and place != self.place_of("happened_at"):
            return "field usual"
        return "field printed" if place in self.printed else "field own"

    def prints(self, word: str) -> bool:
        """Whether what this is read from is known to be right by what its value prints."""
        place = self.place_of(word)
        return place is not None and self._class_of(place) == "field printed"

    @property
    def usual_method(self) -> str | None:
        """The method that nearly all rows have."""
        place = self.place_of("method")
        return None if place is None else self.usual.get(place)

    @property
    def row(self) -> str:
        """What the fields of a row look like, each after the other. Its last value is one of them: a short row has none."""
        return self._pattern_of("field")

    @property
    def own_row(self) -> str:
        """Likewise of those fields alone that nothing else tells of."""
        return self._pattern_of("field own")

    @property
    def usual_row(self) -> Mapping[str, str | None]:
        """What a row has where it is like nearly all others, by its column's name; nothing beyond them."""
        names = {name: self.usual[place] for place, name in enumerate(self.names) if "field usual" in name}
        return {**names, BEYOND: None}

    def _pattern_of(self, look: str) -> str:
        return JOINER.join(self.pattern_at(place) for place, name in enumerate(self.names) if look in name)

    def pattern_at(self, place: int) -> str:
        """What the value of a column looks like; the mark stands before the first."""
        mark = re.escape(self.form.mark) if place == 0 else ""
        return f"{mark}(?:{self.form.patterns.get(self.columns[place], ANYTHING)})"

    @property
    def moment_mark(self) -> str:
        """What stands before the time in its column: a row's first column begins with the form's mark."""
        return self.form.mark if self.place_of("happened_at") == 0 else ""


def _columns_of(form: BillForm, header: str) -> tuple[str, ...] | None:
    return next((columns for columns in form.headers if header == ",".join(columns)), None)


def _parts_of(form: BillForm, header: str) -> RowParts | None:
    columns = _columns_of(form, header)
    if columns is None:
        return None
    texts = [place for place, column in enumerate(columns) if column in form.texts]
    assert not texts or len(texts) == texts[-1] - texts[0] + 1, "texts stand side by side"
    return RowParts(
        separator=form.separator.encode(),
        mark=form.mark.encode(),
        columns=len(columns),
        first_text=texts[0] if texts else 0,
        texts=len(texts),
    )


def _shape_of(form: BillForm, unpacked: Unpacked) -> _Shape:
    columns, parts = _columns_of(form, unpacked.head[-1]), _parts_of(form, unpacked.head[-1])
    if columns is None or parts is None:
        raise BillRefused(
            "header", line_no=len(unpacked.head), detail="is none that this channel's bills are known to have"
        )
    shape = _Shape(form=form, columns=columns, parts=parts, usual={}, printed=frozenset())
    rows = first_rows(unpacked.rows_path, separator=form.separator, columns=len(columns))
    found = usual_values(rows).items()
    usual = {place: value for place, value in found if re.fullmatch(shape.pattern_at(place), value, re.ASCII)}
    return replace(shape, usual=usual, printed=_printed(shape, rows))


def _printed(shape: _Shape, rows: Sequence[Sequence[str]]) -> frozenset[int]:
    """The places of values that SQL prints as they were read, in nearly all of these rows."""
    places = set[int]()
    for word, printed in PRINTED.items():
        place = shape.place_of(word)
        if place is None or shape.form.patterns.get(shape.columns[place]) not in printed.patterns:
            continue
        if look_usually_like([row[place].removeprefix(shape.form.mark) for row in rows], printed.looks):
            places.add(place)
    return frozenset(places)


def _read_rows(
    tables: BillTables,
    unpacked: Unpacked,
    *,
    shape: _Shape,
    form: BillForm,
    expected: ExpectedBill,
    said: Mapping[Total, int],
) -> ReadBill:
    lines_before = len(unpacked.head)
    tables.execute(bill_sql("bill_text_create"))
    kept_without = {"default_currency": DEFAULT_CURRENCY, "usual_method": shape.usual_method}
    begin = {"lines_before": lines_before, "account_no": expected.account_no, **kept_without}
    tables.execute(bill_sql("bill_text_begin"), begin)
    tables.execute(bill_sql("bill_line_show"))
    for macro in MACROS:
        tables.execute(bill_sql(macro))
    tables.execute(bill_sql("bill_text_read"), _read_parameters(unpacked, shape=shape, form=form, expected=expected))
    day_from = datetime.combine(expected.day, time(), tzinfo=BEIJING)
    cursor = tables.execute(
        bill_sql("bill_text_totals"),
        {
            "day_from": day_from,
            "day_to": day_from + timedelta(days=1),
            "lines_before": lines_before,
        },
    )
    found = _Found(*cursor.fetchone())
    _refuse_unread(unpacked, found, shape=shape)
    _refuse_foreign(found)
    (repeated,) = tables.execute(bill_sql("bill_text_repeated"), {"lines_before": lines_before}).fetchone()
    if repeated is not None:
        raise BillRefused("row_repeated", line_no=repeated, detail="an earlier line has the same payment or refund")
    _refuse_other_sums(unpacked, found, said)
    return ReadBill(
        sha256=unpacked.sha256,
        totals=_totals(found),
        remarks=_remarks(found),
        names_account=form.names_account,
    )


def _read_parameters(unpacked: Unpacked, *, shape: _Shape, form: BillForm, expected: ExpectedBill) -> dict[str, object]:
    return {
        "path": str(unpacked.rows_path),
        "separator": form.separator,
        "columns": dict.fromkeys([*shape.names, shape.beyond], "VARCHAR"),
        "row": shape.row,
        "own_row": shape.own_row,
        "usual_row": shape.usual_row,
        "usual_method": shape.usual_method,
        "number_bar": form.number_bar,
        "moment": form.moment,
        "moment_mark": shape.moment_mark,
        "prints_moment": shape.prints("happened_at"),
        "prints_order": shape.prints("order_minor"),
        "prints_settle": shape.prints("settle_minor"),
        "prints_fee": shape.prints("fee"),
        "in_minor": form.in_minor,
        "kind_words": list(form.kinds),
        "kinds": list(form.kinds.values()),
        "status_words": list(form.statuses),
        "statuses": list(form.statuses.values()),
        "fee_unit_e5": form.fee_unit_e5,
        "fee_factor": form.fee_factor,
        "refund_fee_factor": form.refund_fee_factor,
        "default_currency": DEFAULT_CURRENCY,
        # Where no row names the account, the head has.
        "expected_account_no": expected.account_no,
    }


def _refuse_unread(unpacked: Unpacked, found: _Found, *, shape: _Shape) -> None:
    """Look at the lines one by one from the first that was not read: beside a bad one it may be right (bill_texts.py)."""
    if found.rows == unpacked.rows and found.unread_line_no is None:
        assert found.ids in {None, found.rows}, "the rows lie side by side"
        return
    first_row_line_no = len(unpacked.head) + 1
    # DuckDB passes over a blank line.
    from_line_no = found.unread_line_no if found.rows == unpacked.rows else first_row_line_no
    assert from_line_no is not None
    with unpacked.rows_path.open("rb") as rows:
        lines = islice(rows, from_line_no - first_row_line_no, None)
        for line_no, line in enumerate(lines, start=from_line_no):
            _refuse_bad(line.removesuffix(b"\n"), line_no, shape=shape)
    detail = f"{shape.form.fields.happened_at[0]} is no moment"
    raise BillRefused("row_value", line_no=from_line_no, detail=detail)


def _refuse_bad(line: bytes, line_no: int, *, shape: _Shape) -> None:
    """Say which field of a row is at fault; values are not repeated, for payers stand among them."""
    form, columns = shape.form, shape.columns
    if not line:
        raise BillRefused("blank_line", line_no=line_no)
    as_it_stands = shape.parts.show(line)
    count = as_it_stands.count(shape.parts.separator) + 1
    values = shape.parts.hide(as_it_stands).decode().removeprefix(form.mark).split(form.separator)
    of_other_length = BillRefused("row_fields", line_no=line_no, detail=f"{count} fields, not {len(columns)}")
    if not line.startswith(form.mark.encode()) or len(values) != len(columns):
        raise of_other_length
    for column, value in zip(columns, values, strict=True):
        if re.fullmatch(form.patterns.get(column, ANYTHING), value, re.ASCII) is None:
            if count != len(columns):
                raise of_other_length
            raise BillRefused("row_value", line_no=line_no, detail=f"{column} is not what it should be")
    moment_column = next(column for column in form.fields.happened_at if column in columns)
    if not _is_moment(values[columns.index(moment_column)], form):
        raise BillRefused("row_value", line_no=line_no, detail=f"{moment_column} is no moment")


def _is_moment(text: str, form: BillForm) -> bool:
    try:
        datetime.strptime(text, form.moment).replace(tzinfo=BEIJING)
    except ValueError:
        return False
    return True


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
