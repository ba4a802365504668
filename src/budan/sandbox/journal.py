"""The sandbox's truth on disk: a file of JSON lines that is only ever appended to."""

import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from budan.sandbox.records import Record

JOURNAL_NAME: Final = "truth.jsonl"
_LINE_BYTES_MAX: Final = 65_536
_READ_BYTES: Final = 1_048_576


class FolderInUse(Exception):  # noqa: N818 - names what was found
    """Another sandbox writes into this folder."""


class Journal:
    """Keeps records across SIGKILL, because each batch is in the kernel when `append` returns; not across a power cut.

    Private keys of the accounts are in it, so only its owner may read it.
    """

    def __init__(self, *, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = os.open(folder / JOURNAL_NAME, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise FolderInUse(str(folder)) from error
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(Record)
        self._size = os.fstat(self._file).st_size

    def replay(self) -> Iterator[tuple[int, Record]]:
        """Every record with its place; a line torn by a kill is cut off, for nobody was answered after it."""
        rest = b""
        place = 0
        reached = 0
        while chunk := os.pread(self._file, _READ_BYTES, reached):
            reached += len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield place, self._decoder.decode(line)
                place += len(line) + 1
        os.ftruncate(self._file, place)
        self._size = place

    def append(self, records: Sequence[Record]) -> list[int]:
        """Writes all records or none, and returns the place of each."""
        lines = [self._encoder.encode(record) + b"\n" for record in records]
        places: list[int] = []
        size = self._size
        for line in lines:
            assert len(line) <= _LINE_BYTES_MAX
            places.append(size)
            size += len(line)
        self._write(b"".join(lines))
        self._size = size
        return places

    def read(self, place: int) -> Record:
        """The record at this place."""
        line, _, _ = os.pread(self._file, _LINE_BYTES_MAX, place).partition(b"\n")
        return self._decoder.decode(line)

    def close(self) -> None:
        """Lets another sandbox have the folder."""
        os.close(self._file)

    def _write(self, text: bytes) -> None:
        try:
            written = os.write(self._file, text)
            while written < len(text):
                # A full disk writes a part first and fails at the next call.
                written += os.write(self._file, text[written:])
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
