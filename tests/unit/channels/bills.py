"""Bills as the protocol's documents show them, and the table that one was read into."""

import gzip
import hashlib
import io
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb

from budan.channels.bill_reading import BillForm, ExpectedBill, read_bill
from budan.ports.bill import BillRefused, FetchedBill, Packing, ReadBill, table_settings

PROTOCOLS = Path(__file__).resolve().parents[3] / "docs" / "protocols"
DAY = date(2026, 1, 1)

Mend = Callable[[list[str]], list[str]]


def sample(protocol: str, *, after: str) -> list[str]:
    """The lines of the first code block after this sentence of a protocol's document."""
    text = (PROTOCOLS / f"{protocol}.md").read_text(encoding="utf-8")
    block = re.search(r"```\n(.*?)\n```", text[text.index(after) :], re.DOTALL)
    assert block is not None
    return block[1].replace("<T>", "\t").split("\n")


def zipped(members: dict[str, bytes]) -> bytes:
    """A ZIP whose names are GBK without saying so, as Alipay's are."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.encode("gbk").decode("cp437"), content)
    return packed.getvalue()


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """Reads bills of one account into a table of its own."""

    form: BillForm
    account_no: str
    folder: Path

    def read(
        self, content: bytes, *, packing: Packing = Packing.PLAIN, sha1: str | None = None, day: date = DAY
    ) -> tuple[ReadBill, list[dict[str, Any]]]:
        """What was read of the bill and its rows, in the order of their lines."""
        path = self.folder / "bill"
        path.write_bytes(content)
        settings = dict(table_settings(folder=self.folder, memory_mb=128, threads=1))
        with duckdb.connect(":memory:", config=settings) as tables:
            try:
                read = read_bill(
                    tables,
                    FetchedBill(path=path, packing=packing, sha1=sha1),
                    form=self.form,
                    expected=ExpectedBill(day=day, account_no=self.account_no),
                    folder=self.folder,
                )
            except BillRefused:
                assert tables.execute("SHOW TABLES").fetchall() == [], "something stayed of a refused bill"
                raise
            finally:
                assert {file.name for file in self.folder.iterdir()} <= {"bill", "spill"}
            cursor = tables.execute("SELECT * FROM bill_line ORDER BY line_no")
            names = [column[0] for column in cursor.description]
            return read, [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def refusal(
        self, content: bytes, *, packing: Packing = Packing.PLAIN, sha1: str | None = None
    ) -> tuple[str, int | None]:
        """Code and line of the refusal that this bill meets."""
        try:
            self.read(content, packing=packing, sha1=sha1)
        except BillRefused as refused:
            return refused.code, refused.line_no
        return "read", None


def sha1_of(content: bytes) -> str:
    """The digest as WeChat names it."""
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def gzipped(content: bytes) -> bytes:
    """As WeChat packs."""
    return gzip.compress(content, mtime=0)
