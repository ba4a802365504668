"""Tables as files for finance: CSV and XLSX whose text is never a formula and whose amounts are numbers."""

import csv
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Protocol, TextIO

import xlsxwriter  # pyright: ignore[reportMissingTypeStubs] - typed inside, without the marker that says so

from budan.cli.table_text import safe_cell
from budan.core.errors import Refused
from budan.core.journal import render_amount
from budan.core.money import CURRENCY_EXPONENTS

# A sheet ends at 1,048,576 rows (Excel specifications and limits).
XLSX_ROWS_MAX: Final = 1_000_000
_READ_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """A cell that is money."""

    amount_minor: int
    currency: str


Cell = str | int | Amount | date | datetime | None


class Sheet(Protocol):
    """Takes the rows of one table, one after the other."""

    def add(self, cells: Sequence[Cell]) -> None:
        """Write a row. Raises `Refused` with `file_too_long`."""
        ...


@contextmanager
def open_sheet(
    path: Path, *, title: str, header: Sequence[str], before_it_is_there: Callable[[Path], None] | None = None
) -> Generator[Sheet]:
    """A file of one table, by its ending `.csv` or `.xlsx`; whole when the block has ended well, until then empty.

    `before_it_is_there` is given the whole file under another name; where it raises, there will be none.

    Raises `Refused` with `file_kind_unknown`, `file_exists` or `folder_missing`, in this order.
    """
    kinds = {".csv": _csv_sheet, ".xlsx": _xlsx_sheet}
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        raise Refused("file_kind_unknown", param="path", detail=f"{path.name}: one of {', '.join(kinds)}")
    if not path.parent.is_dir() and not path.exists():
        raise Refused("folder_missing", param="path", detail=str(path.parent))
    try:
        # The name is ours from now on: of two who write to it at once, the second hears that it is taken.
        path.open("x").close()
    except FileExistsError as error:
        detail = f"{path}: a file that was handed on is not written over"
        if path.exists() and not path.stat().st_size:
            detail = f"{path}: it is empty, so somebody writes it now, or was ended while writing: then delete it"
        raise Refused("file_exists", param="path", detail=detail) from error
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        with kind(unfinished, title=title, header=header) as sheet:
            yield sheet
        if before_it_is_there is not None:
            before_it_is_there(unfinished)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        path.unlink(missing_ok=True)
        raise
    # Where this fails the whole file stays under its other name: it is written down as handed on already.
    unfinished.replace(path)


def digest(path: Path) -> str:
    """SHA-256 of a file, in hex: who takes it can tell that it is the one."""
    summing = sha256()
    with path.open("rb") as file:
        while part := file.read(_READ_BYTES):
            summing.update(part)
    return summing.hexdigest()


class CsvSheet:
    """Rows of CSV on a stream."""

    def __init__(self, out: TextIO, *, header: Sequence[str]) -> None:
        # As RFC 4180 has it; and only what is part of the line's end is quoted where it stands in a cell.
        self._writer = csv.writer(out, lineterminator="\r\n")
        self._writer.writerow(header)

    def add(self, cells: Sequence[Cell]) -> None:
        """See Sheet.add."""
        self._writer.writerow([_text(cell) for cell in cells])


class _XlsxSheet:
    def __init__(self, sheet: Any, *, formats: dict[str, Any], header: Sequence[str]) -> None:
        self._sheet = sheet
        self._formats = formats
        self._row = 0
        self._sheet.freeze_panes(1, 0)
        self.add(header)

    def add(self, cells: Sequence[Cell]) -> None:
        if self._row >= XLSX_ROWS_MAX:
            raise Refused("file_too_long", param="path", detail=f"a sheet has {XLSX_ROWS_MAX} rows: write .csv")
        for column, cell in enumerate(cells):
            match cell:
                case None:
                    continue
                case Amount():
                    self._sheet.write_number(self._row, column, _major(cell), self._formats[cell.currency])
                case int():
                    self._sheet.write_number(self._row, column, cell)
                case _:
                    self._sheet.write_string(self._row, column, _text(cell))
        self._row += 1


@contextmanager
def _csv_sheet(path: Path, *, title: str, header: Sequence[str]) -> Generator[Sheet]:
    assert title, "the name of a sheet, which CSV has none of"
    # With a byte order mark Excel reads UTF-8, and with it the names of Chinese merchants.
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        yield CsvSheet(file, header=header)


@contextmanager
def _xlsx_sheet(path: Path, *, title: str, header: Sequence[str]) -> Generator[Sheet]:
    # One row at a time in memory; text stays text, whatever it begins with.
    options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    book: Any
    with xlsxwriter.Workbook(str(path), options) as book:
        formats = {
            currency: book.add_format({"num_format": "0" if not places else "0." + "0" * places})
            for currency, places in CURRENCY_EXPONENTS.items()
        }
        yield _XlsxSheet(book.add_worksheet(title), formats=formats, header=header)


def _major(amount: Amount) -> float:
    """The nearest double, which shows all places of a sum below 90 trillion; XLSX has no other numbers."""
    assert abs(amount.amount_minor) < 1 << 53
    return float(Decimal(amount.amount_minor).scaleb(-CURRENCY_EXPONENTS[amount.currency]))


def _text(cell: Cell) -> str:
    if isinstance(cell, Amount):
        return render_amount(cell.amount_minor, currency=cell.currency)
    if isinstance(cell, date) and not isinstance(cell, datetime):
        return cell.isoformat()
    return safe_cell(cell)
