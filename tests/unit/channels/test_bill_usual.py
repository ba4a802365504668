"""Most rows of a bill are known to be right by a short look: what it lets pass must be what the patterns let pass."""

import re
from datetime import date
from functools import partial
from pathlib import Path

import duckdb
import pytest

from budan.channels.bill_reading import ANYTHING, MACROS, BillForm, ExpectedBill, _parts_of, _read_parameters, _shape_of
from budan.channels.bill_tables import bill_sql
from budan.channels.bill_texts import RowParts
from budan.channels.bill_unpacking import unpack
from budan.channels.bill_usual import first_rows, usual_values
from budan.channels.bill_values import FEE_PATTERN, YUAN_OR_NONE_PATTERN, YUAN_PATTERN
from budan.ports.bill import FetchedBill
from unit.channels.bill_samples import SAMPLES, Sample

# Rows enough for what all others have in common to be found, and for one that differs to be rare.
LIKE_MOST = 1_000
# Signs at the edges of what a pattern takes, too much and too little, and what a number would be in another script.
VALUES = (
    *(chr(code) for code in range(32, 127)),
    *(
        "",
        "0",
        "-1.00",
        "1.0",
        "12.345",
        "A001",
        "CNY",
        "USD",
        "cny",
        "x y",
        "x\ty",
        "x" * 64,
        "x" * 65,
        "é",
        "\uff11\uff12",
    ),
    *("2026-01-01 23:59:59", "2026-01-01 24:00:00", "2026-01-01T10:00:00", "20260101100000", "2026-01-01 10:00:0 "),
    *("2026-01-01  1:00:00", "10000-01-01 10:00:00", "0044-03-15 (BC) 10:00:00", "-infinity", "2026-01-01 10:00:00.5"),
    *("0.48114", "-123456789.12345", "1234567890.12345", "0.123456", "999999999999.99", "1000000000000.00", "-0.00"),
    *("00.10", "+1.00", " 1.00", "1_0.00", "1e2", ".10", "12.8"),
)


def _other_amounts(form: BillForm, row: list[str], nth: int) -> list[str]:
    """A row whose amounts are its own, so that they are no usual values."""
    amounts = {YUAN_PATTERN: f"{nth}.{nth % 100:02}", YUAN_OR_NONE_PATTERN: f"-{nth}.00", FEE_PATTERN: f"0.{nth:05}"}
    columns = next(columns for columns in form.headers if len(columns) == len(row))
    return [amounts.get(form.patterns.get(column, ""), value) for column, value in zip(columns, row, strict=True)]


@pytest.mark.parametrize(
    "bill", [bill for bill in SAMPLES if bill.channel != "wechat_v2"], ids=lambda bill: bill.channel
)
def test_a_row_is_read_if_and_only_if_every_field_is_what_its_pattern_says(bill: Sample, tmp_path: Path) -> None:
    """A short look that let pass what a pattern refuses would book what nobody wrote."""
    form = bill.desk(tmp_path).form
    (tmp_path / "bill").write_bytes(bill.pack(bill.lines))
    unpacked = unpack(
        FetchedBill(path=tmp_path / "bill", packing=bill.packing),
        form.layout,
        rows_path=tmp_path / "rows",
        parts_of=partial(_parts_of, form),
    )
    like_most = unpacked.rows_path.read_text("utf-8").split("\n")[0].removeprefix(form.mark).split(form.separator)
    changed = [
        [*like_most[:place], value, *like_most[place + 1 :]]
        for place in range(len(like_most))
        for value in VALUES
        if form.separator not in value
    ]
    rows = [_other_amounts(form, like_most, nth) for nth in range(LIKE_MOST)] + changed
    lines = [f"{form.mark}{form.separator.join(row)}\n" for row in rows]
    # Without its mark a row is none; what stands in the mark's place is no part of a value.
    lines += [lines[0].replace(form.mark, "x", 1)] if form.mark else []
    unpacked.rows_path.write_text("".join(lines), "utf-8")
    shape = _shape_of(form, unpacked)
    assert shape.usual, "the short look is not taken at all"
    assert shape.printed or form.in_minor, "no value is held against what it prints"
    expected = ExpectedBill(day=date(2026, 1, 1), account_no="1")
    with duckdb.connect(":memory:") as tables:
        for statement in ("bill_text_create", *MACROS):
            tables.execute(bill_sql(statement))
        parameters = _read_parameters(unpacked, shape=shape, form=form, expected=expected)
        tables.execute(bill_sql("bill_text_read"), parameters)
        read = [kind is not None for (kind,) in tables.execute("SELECT kind FROM bill_text ORDER BY rowid").fetchall()]
    assert len(read) == len(lines)
    assert not form.mark or not read.pop()
    patterns = [re.compile(form.patterns.get(column, ANYTHING), re.ASCII) for column in shape.columns]
    for row, is_read in zip(rows, read, strict=True):
        fits = all(pattern.fullmatch(value) for pattern, value in zip(patterns, row, strict=True))
        assert is_read is fits, row


def test_what_most_rows_have_is_found_and_a_row_of_another_length_tells_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_text("".join(f"CNY,{nth},{'a' if nth % 5 else 'b'}\n" for nth in range(100)) + "USD,1\n" * 50)
    assert usual_values(first_rows(path, separator=",", columns=3)) == {0: "CNY"}
    path.write_text("")
    assert usual_values(first_rows(path, separator=",", columns=3)) == {}


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_lines_are_plain_that_have_their_separators_and_nothing_else_to_look_at(end: bytes) -> None:
    """What is plain is taken as it stands."""
    parts = RowParts(separator=b",`", mark=b"`", columns=3, first_text=1, texts=1)
    line = "`1,`门店,大杯,`3".encode() + end
    assert parts.count_plain(line * 4, end) == 4
    for spoilt in (
        b"`1,`2" + end,
        b"`1,`2,`3,`4" + end,
        b"`1,`\x002,`3" + end,
        b"`1,`2\t,`3" + end,
        b"`1,`\x7f,`3" + end,
    ):
        assert parts.count_plain(line + spoilt + line, end) is None
    other_end = b"\n" if end == b"\r\n" else b"\r\n"
    assert parts.count_plain(line + b"`1,`2,`3" + other_end, end) is None
