"""Most rows of a bill are known to be right by a short look: what it lets pass must be what the patterns let pass."""

import re
from datetime import date
from functools import partial
from pathlib import Path

import duckdb
import pytest

from budan.channels.bill_reading import ANYTHING, ExpectedBill, _parts_of, _read_parameters, _shape_of
from budan.channels.bill_tables import bill_sql
from budan.channels.bill_texts import RowParts
from budan.channels.bill_unpacking import unpack
from budan.channels.bill_usual import usual_values
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
)


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
    rows = [like_most] * LIKE_MOST + changed
    unpacked.rows_path.write_text("".join(f"{form.mark}{form.separator.join(row)}\n" for row in rows), "utf-8")
    shape = _shape_of(form, unpacked)
    assert shape.usual, "the short look is not taken at all"
    expected = ExpectedBill(day=date(2026, 1, 1), account_no="1")
    with duckdb.connect(":memory:") as tables:
        tables.execute(bill_sql("bill_text_create"))
        parameters = _read_parameters(unpacked, shape=shape, form=form, expected=expected)
        tables.execute(bill_sql("bill_text_read"), parameters)
        read = [kind is not None for (kind,) in tables.execute("SELECT kind FROM bill_text ORDER BY rowid").fetchall()]
    assert len(read) == len(rows)
    patterns = [re.compile(form.patterns.get(column, ANYTHING), re.ASCII) for column in shape.columns]
    for row, is_read in zip(rows, read, strict=True):
        fits = all(pattern.fullmatch(value) for pattern, value in zip(patterns, row, strict=True))
        assert is_read is fits, row


def test_what_most_rows_have_is_found_and_a_row_of_another_length_tells_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_text("".join(f"CNY,{nth},{'a' if nth % 5 else 'b'}\n" for nth in range(100)) + "USD,1\n" * 50)
    assert usual_values(path, separator=",", columns=3) == {0: "CNY"}
    path.write_text("")
    assert usual_values(path, separator=",", columns=3) == {}


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
