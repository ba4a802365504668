"""A payout file is opened by programs that run what begins like a formula, and its sums are paid."""

import csv
import re
import zipfile
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from budan.cli import sheets
from budan.cli.sheets import Amount, Cell, open_sheet
from budan.core.errors import Refused

DANGEROUS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1+1", "\uff0b1", "\uff0d1", "\uff20a"]
ROW: tuple[Cell, ...] = (
    "茶馆",
    7,
    Amount(amount_minor=-1_205, currency="CNY"),
    date(2026, 11, 24),
    datetime(2026, 11, 24, 1, 2, 3, tzinfo=UTC),
    None,
)
HEADER = tuple("abcdef")


def write(path: Path, *rows: tuple[Cell, ...]) -> Path:
    with open_sheet(path, title="rows", header=HEADER) as sheet:
        for row in rows:
            sheet.add(row)
    return path


def read_xlsx(path: Path) -> str:
    with zipfile.ZipFile(path) as book:
        return book.read("xl/worksheets/sheet1.xml").decode()


def test_a_csv_file_has_amounts_with_all_places_and_names_that_excel_reads(tmp_path: Path) -> None:
    path = write(tmp_path / "payouts.csv", ROW)
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    with path.open(encoding="utf-8-sig", newline="") as file:
        assert list(csv.reader(file)) == [
            list(HEADER),
            ["茶馆", "7", "-12.05", "2026-11-24", "2026-11-24T01:02:03+00:00", ""],
        ]


def test_an_xlsx_file_has_amounts_as_numbers(tmp_path: Path) -> None:
    text = read_xlsx(write(tmp_path / "payouts.xlsx", ROW))
    assert '<c r="C2" s="1"><v>-12.05</v></c>' in text
    assert '<c r="B2"><v>7</v></c>' in text
    assert "茶馆" in text


@pytest.mark.parametrize("text", DANGEROUS)
def test_no_text_is_a_formula_in_either_file(tmp_path: Path, text: str) -> None:
    with write(tmp_path / "payouts.csv", (text,)).open(encoding="utf-8-sig", newline="") as file:
        assert list(csv.reader(file))[1] == [f"'{text}"]
    cell = read_xlsx(write(tmp_path / "payouts.xlsx", (text,)))
    assert "<f>" not in cell
    assert re.search(r'<c r="A2" t="inlineStr"><is><t[^>]*>\'', cell), cell


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    unknown = Amount(amount_minor=1, currency="EUR")
    with pytest.raises(KeyError):
        write(tmp_path / "payouts.csv", ROW, (unknown,))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "code"),
    [("payouts.txt", "file_kind_unknown"), ("there.csv", "file_exists"), ("nowhere/payouts.xlsx", "folder_missing")],
)
def test_a_file_that_was_handed_on_is_not_written_over(tmp_path: Path, name: str, code: str) -> None:
    (tmp_path / "there.csv").write_text("paid")
    with pytest.raises(Refused) as refused:
        write(tmp_path / name)
    assert refused.value.code == code


@pytest.mark.parametrize("name", ["payouts.csv", "payouts.xlsx"])
def test_of_two_who_write_the_same_file_at_once_the_second_is_refused(tmp_path: Path, name: str) -> None:
    """One's file would have the other's batches, and his own be marked as sent and stand in none."""
    path = tmp_path / name
    with open_sheet(path, title="rows", header=HEADER) as sheet:
        with pytest.raises(Refused, match="file_exists"):
            write(path, ("another's",))
        sheet.add(("mine",))
    content = path.read_text(encoding="utf-8-sig") if path.suffix == ".csv" else read_xlsx(path)
    assert "mine" in content
    assert "another" not in content
    assert list(tmp_path.iterdir()) == [path]


def test_a_sheet_that_would_be_too_long_is_refused_and_not_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheets, "XLSX_ROWS_MAX", 3)
    write(tmp_path / "fits.xlsx", ROW, ROW)
    with pytest.raises(Refused, match="file_too_long"):
        write(tmp_path / "long.xlsx", ROW, ROW, ROW)
    assert {path.name for path in tmp_path.iterdir()} == {"fits.xlsx"}
