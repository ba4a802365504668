"""Where a bill is read: a DuckDB database in a folder of its own, opened for one bill."""

from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

import duckdb

from budan.ports.bill import BillTables, table_settings

_FILE: Final = "bill.duckdb"


@contextmanager
def open_tables(folder: Path, *, memory_mb: int, threads: int) -> Generator[BillTables]:
    """Tables in a file of `folder`, which is gone afterwards: in memory ten million rows would be gigabytes."""
    path = folder / _FILE
    settings = dict(table_settings(folder=folder, memory_mb=memory_mb, threads=threads))
    try:
        with duckdb.connect(str(path), config={**settings}) as tables:
            tables.execute(bill_sql("tables_prepare"))
            yield tables
    finally:
        path.unlink(missing_ok=True)


@cache
def bill_sql(name: str) -> str:
    """The statement of this name in sql/."""
    return files("budan.channels").joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")
