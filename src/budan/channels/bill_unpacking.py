"""A bill's bytes, unpacked as a stream: proven, decoded, and parted into head, rows and foot."""

import codecs
import gzip
import hashlib
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from budan.channels.bill_texts import RowParts
from budan.ports.bill import BillGivenUp, BillRefused, FetchedBill, Packing, room_on_disk

# Small enough for all that is done to a chunk to find it in the processor's cache.
CHUNK_BYTES: Final = 1 << 18
# Forty million lines of WeChat's: what one day of the largest merchant has. Beyond it a packed file is a bomb.
UNPACKED_BYTES_MAX: Final = 12 * 2**30
# An unended line is kept in memory; DuckDB takes lines of up to 2 MB.
LINE_BYTES_MAX: Final = 2**20
# A summary by shops; the largest chain's stays far below it.
SIDE_BYTES_MAX: Final = 8 * 2**20
# An archive's list of what it holds: a bill's names two files.
DIRECTORY_BYTES_MAX: Final = 2**16
# Of other methods zipfile unpacks whatever one read of the file gives, gigabytes out of kilobytes, before anybody counts.
COUNTED_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
# What the standard library says of bytes that are no GZIP or no ZIP; RuntimeError where a password locks a member.
_NOT_PACKED: Final = (
    gzip.BadGzipFile,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    UnicodeDecodeError,
)

_BOM: Final = codecs.BOM_UTF8
# Lines are made of TAB and LF, and of CR before LF; any other control character would end or split a row unseen.
_CONTROLS: Final = bytes(code for code in [*range(32), 127] if code not in b"\t\n")


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a format lays out its file: so many lines before the rows, so many after them, in which encoding.

    `member` and `side_member` choose the files of a ZIP by name: the bill, and its summary.
    """

    head_lines: int
    foot_lines: int
    encoding: str = "utf-8"
    tab_ended: bool = False  # values may end in a TAB, which is no part of them
    member: Callable[[str], bool] | None = None
    side_member: Callable[[str], bool] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """The rows are lines of UTF-8 in `rows_path`, each ended by LF; `foot_from` is the number of the foot's first line.

    Within them, a separator that a text holds is hidden (bill_texts.py), but for lines beside one that is refused.
    """

    head: tuple[str, ...]
    foot: tuple[str, ...]
    rows_path: Path
    rows: int
    foot_from: int
    sha256: str
    side: str | None


def unpack(
    bill: FetchedBill, layout: Layout, *, rows_path: Path, parts_of: Callable[[str], RowParts | None]
) -> Unpacked:
    """Unpacks in constant memory; raises BillRefused for bytes that are not the channel's or no lines of text.

    Between two chunks of a bill that nobody wants any more it raises BillGivenUp. `parts_of` gives a row's
    parts by the header; None where it is unknown, and then nobody reads the rows.
    """
    try:
        with _opened(bill, layout) as (stream, side):
            parting = _Parting(layout, parts_of)
            digests = _Digests(bill.sha1)
            with rows_path.open("wb") as rows:
                for lines in _lines(digests.through(_chunks(stream, bytes_max=UNPACKED_BYTES_MAX)), layout, parting):
                    if bill.is_given_up():
                        raise BillGivenUp
                    if room_on_disk(rows_path.parent) < len(lines):
                        raise BillRefused("no_room", detail="the disk has nothing left but its reserve")
                    rows.write(lines)
            digests.prove()
            return parting.result(rows_path, sha256=digests.sha256, side=side)
    except _NOT_PACKED as error:
        raise BillRefused("packing", detail=type(error).__name__) from error


class _Digests:
    def __init__(self, sha1: str | None) -> None:
        self._wanted = sha1
        # WeChat's digest; it guards against a broken transfer, the connection's TLS against a stranger.
        self._sha1 = hashlib.sha1(usedforsecurity=False)
        self._sha256 = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    def through(self, chunks: Iterator[bytes]) -> Generator[bytes]:
        for chunk in chunks:
            self._sha256.update(chunk)
            if self._wanted is not None:
                self._sha1.update(chunk)
            yield chunk

    def prove(self) -> None:
        if self._wanted is not None and self._sha1.hexdigest() != self._wanted.lower():
            raise BillRefused("digest", detail="the file's bytes are not those that the channel named")


class _Parting:
    """Tells head, rows and foot apart while whole lines pass; keeps back what may be the foot."""

    def __init__(self, layout: Layout, parts_of: Callable[[str], RowParts | None]) -> None:
        self._layout = layout
        self._parts_of = parts_of
        self._parts: RowParts | None = None
        self._head = b""
        self._head_lines = 0
        self._kept = b""
        self._is_kept_plain = False
        self._lines = 0
        self._rows_past = 0

    def count_plain(self, lines: bytes) -> int | None:
        """How many lines these are, if they are plain (bill_texts.py) and may be taken as they stand but for CR."""
        if self._parts is None or self._layout.tab_ended or self._layout.encoding != "utf-8":
            return None
        if not lines.endswith(b"\r\n"):
            return self._parts.count_plain(lines, b"\n")
        count = self._parts.count_plain(lines, b"\r\n")
        # A CR within a line's last value has its place before LF as well, once all that can be seen is taken away.
        return count if count == lines.count(b"\r\n") else None

    def rows_of(self, lines: bytes, plain: int | None) -> bytes:
        """The lines of these that are certainly rows, each with as many separators as it should have.

        `plain` says how many they are, if they are plain.
        """
        self._lines += lines.count(b"\n") if plain is None else plain
        if self._head_lines < self._layout.head_lines:
            lines = self._head_of(lines)
        self._kept += lines
        end = len(self._kept)
        for _ in range(self._layout.foot_lines + 1):
            end = self._kept.rfind(b"\n", 0, end)
        rows, self._kept = self._kept[: end + 1], self._kept[end + 1 :]
        rows_past = self._lines - self._head_lines - self._kept.count(b"\n")
        count, self._rows_past = rows_past - self._rows_past, rows_past
        are_plain = plain is not None and self._is_kept_plain
        self._is_kept_plain = plain is not None
        if self._parts is None or are_plain or self._parts.are_regular(rows, count):
            return rows
        return self._made_regular(rows, self._head_lines + rows_past - count + 1, self._parts)

    @staticmethod
    def _made_regular(lines: bytes, first_line_no: int, parts: RowParts) -> bytes:
        single = lines.removesuffix(b"\n").split(b"\n")
        for line_no, line in enumerate(single, start=first_line_no):
            if not line:
                raise BillRefused("blank_line", line_no=line_no)
        return b"\n".join([*map(parts.hide, single), b""])

    def _head_of(self, lines: bytes) -> bytes:
        while self._head_lines < self._layout.head_lines and lines:
            line, _, lines = lines.partition(b"\n")
            self._head += line + b"\n"
            self._head_lines += 1
            if self._head_lines == self._layout.head_lines:
                self._parts = self._parts_of(line.decode())
        return lines

    @property
    def lines(self) -> int:
        """How many lines have passed."""
        return self._lines

    def result(self, rows_path: Path, *, sha256: str, side: str | None) -> Unpacked:
        rows = self._lines - self._layout.head_lines - self._layout.foot_lines
        if self._lines == 0:
            raise BillRefused("empty", detail="the file has no line")
        if rows < 0:
            raise BillRefused("truncated", line_no=self._lines, detail="the file ends before its summary")
        return Unpacked(
            head=tuple(self._head.decode().splitlines()),
            foot=tuple(self._kept.decode().splitlines()),
            rows_path=rows_path,
            rows=rows,
            foot_from=self._lines - self._layout.foot_lines + 1,
            sha256=sha256,
            side=side,
        )


def _lines(chunks: Iterator[bytes], layout: Layout, parting: _Parting) -> Generator[bytes]:
    """Whole lines as UTF-8, ended by LF alone, past `parting`."""
    rest, is_first = b"", True
    for chunk in chunks:
        lines = rest + (chunk.removeprefix(_BOM) if is_first else chunk)
        is_first = False
        end = lines.rfind(b"\n") + 1
        rest = lines[end:]
        if len(rest) > LINE_BYTES_MAX:
            line_no = parting.lines + lines.count(b"\n") + 1
            raise BillRefused("line_too_long", line_no=line_no, detail=f"more than {LINE_BYTES_MAX} bytes")
        if end:
            yield _rows(lines[:end], layout, parting)
    if rest:
        yield _rows(rest + b"\n", layout, parting)


def _rows(lines: bytes, layout: Layout, parting: _Parting) -> bytes:
    plain = parting.count_plain(lines)
    if plain is None:
        return parting.rows_of(_clean(lines, layout, parting.lines), None)
    without_returns = lines.translate(None, b"\r") if lines.endswith(b"\r\n") else lines
    return parting.rows_of(_as_utf8(without_returns, layout.encoding, parting.lines), plain)


def _clean(lines: bytes, layout: Layout, lines_before: int) -> bytes:
    """Whole lines, judged at once: a look at each line would cost more than reading them."""
    clean = lines.translate(None, _CONTROLS + b"\t" if layout.tab_ended else _CONTROLS)
    dropped = len(lines) - len(clean)
    if dropped and dropped != _count_ends(lines, layout):
        clean = _clean_closely(lines, layout, lines_before)
    return _as_utf8(clean, layout.encoding, lines_before)


def _count_ends(lines: bytes, layout: Layout) -> int:
    """How many characters end lines beside LF, and values beside the separator; -1 where CR is not before each LF.

    Counting CR and LF is much cheaper than looking for the pair, which only a file that has CR is looked through for.
    """
    returns = lines.count(b"\r")
    if returns and not returns == lines.count(b"\n") == lines.count(b"\r\n"):
        return -1
    if not layout.tab_ended:
        return returns
    return returns + lines.count(b"\t,") + lines.count(b"\t\r\n" if returns else b"\t\n")


def _clean_closely(lines: bytes, layout: Layout, lines_before: int) -> bytes:
    clean = lines.replace(b"\r\n", b"\n")
    if len(clean.translate(None, _CONTROLS)) != len(clean):
        numbered = enumerate(clean.split(b"\n"), start=lines_before + 1)
        line_no = next(number for number, line in numbered if line.translate(None, _CONTROLS) != line)
        raise BillRefused("control_character", line_no=line_no)
    return clean.replace(b"\t,", b",").replace(b"\t\n", b"\n") if layout.tab_ended else clean


def _as_utf8(lines: bytes, encoding: str, lines_before: int) -> bytes:
    try:
        text = lines.decode(encoding)
    except UnicodeDecodeError as error:
        line_no = lines_before + lines.count(b"\n", 0, error.start) + 1
        raise BillRefused("encoding", line_no=line_no, detail=f"no {encoding}") from error
    return lines if encoding == "utf-8" else text.encode()


def _chunks(stream: _Stream, *, bytes_max: int) -> Generator[bytes]:
    unpacked = 0
    while chunk := stream.read(CHUNK_BYTES):
        unpacked += len(chunk)
        if unpacked > bytes_max:
            raise BillRefused("too_long", detail=f"more than {bytes_max} bytes")
        yield chunk


class _ArchiveFile(io.FileIO):
    """What zipfile reads an archive from: it takes the directory in one read, as long as the file says that it is.

    So the bound is here, where no second reading of the archive's end can differ from zipfile's own.
    """

    read_bytes_max = DIRECTORY_BYTES_MAX

    def read(self, size: int | None = -1, /) -> bytes:
        # Without a size zipfile reads the end of the file, which it has gone to: a comment of 64 KiB at most.
        if size is not None and size > self.read_bytes_max:
            raise BillRefused("packing", detail=f"the archive's directory has more than {self.read_bytes_max} bytes")
        return super().read(size)


@contextmanager
def _archive(path: Path) -> Generator[zipfile.ZipFile]:
    with _ArchiveFile(path) as file, zipfile.ZipFile(file) as archive:
        file.read_bytes_max = CHUNK_BYTES
        yield archive


@contextmanager
def _opened(bill: FetchedBill, layout: Layout) -> Generator[tuple[_Stream, str | None]]:
    if bill.packing is Packing.PLAIN:
        with bill.path.open("rb") as stream:
            yield stream, None
    elif bill.packing is Packing.GZIP:
        with gzip.open(bill.path) as stream:
            yield stream, None
    else:
        with _archive(bill.path) as archive:
            side = _member(archive, layout.side_member)
            with archive.open(_member(archive, layout.member) or _missing()) as stream:
                yield stream, None if side is None else _side(archive, side, layout)


def _member(archive: zipfile.ZipFile, is_wanted: Callable[[str], bool] | None) -> zipfile.ZipInfo | None:
    found = [member for member in archive.infolist() if is_wanted is not None and is_wanted(_name(member))]
    if len(found) > 1:
        raise BillRefused("packing", detail="two files of one name")
    if found and found[0].compress_type not in COUNTED_METHODS:
        raise BillRefused("packing", detail="is packed by a method other than stored and deflated")
    return found[0] if found else None


def _missing() -> zipfile.ZipInfo:
    raise BillRefused("packing", detail="the archive holds no bill")


def _name(member: zipfile.ZipInfo) -> str:
    """The name as it was meant: zipfile takes for cp437 what a Chinese system wrote as GBK without saying so."""
    try:
        return member.filename.encode("cp437").decode("gbk")
    except UnicodeError:
        return member.filename


def _side(archive: zipfile.ZipFile, member: zipfile.ZipInfo, layout: Layout) -> str:
    with archive.open(member) as stream:
        content = b"".join(_chunks(stream, bytes_max=SIDE_BYTES_MAX))
    try:
        return content.decode(layout.encoding)
    except UnicodeDecodeError as error:
        raise BillRefused("encoding", detail="the summary's file") from error
