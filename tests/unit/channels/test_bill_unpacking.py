"""A bill's file comes from outside: no archive takes more memory than its bound, whatever it says of itself."""

import io
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from budan.channels.bill_texts import RowParts
from budan.channels.bill_unpacking import CHUNK_BYTES, DIRECTORY_BYTES_MAX, Layout, Unpacked, unpack
from budan.ports.bill import BillGivenUp, BillRefused, FetchedBill, Packing

LAYOUT = Layout(
    head_lines=1, foot_lines=1, member=lambda name: name == "bill.csv", side_member=lambda name: name == "side.csv"
)
BILL = b"head\nrow\nfoot\n"
BOMB_BYTES = 16 * 2**20
# A chunk of the bill, what unpacks it, and the rest of the test's own: far below the bomb.
MEMORY_BYTES_MAX = 4 * 2**20


def archive(members: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A ZIP of these members."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as writer:
        for name, content in members.items():
            writer.writestr(name, content)
    return packed.getvalue()


def unpacked(content: bytes, folder: Path) -> Unpacked:
    """What becomes of a file with these bytes."""
    (folder / "bill").write_bytes(content)
    bill = FetchedBill(path=folder / "bill", packing=Packing.ZIP)
    return unpack(bill, LAYOUT, rows_path=folder / "rows", parts_of=lambda _: None)


@pytest.mark.parametrize(
    ("method", "name"),
    [(zipfile.ZIP_BZIP2, "bill.csv"), (zipfile.ZIP_BZIP2, "side.csv"), (zipfile.ZIP_LZMA, "bill.csv")],
)
def test_a_member_that_would_unpack_at_once_is_refused_before_it_is_read(
    method: int, name: str, tmp_path: Path
) -> None:
    """Of BZIP2 and LZMA one read gives all that it makes: a small file would take the whole machine's memory."""
    bomb = archive({"bill.csv": BILL} | {name: b"0" * BOMB_BYTES}, method=method)
    assert len(bomb) < BOMB_BYTES // 100
    tracemalloc.start()
    try:
        with pytest.raises(BillRefused) as refused:
            unpacked(bomb, tmp_path)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert refused.value.code == "packing"
    assert peak_bytes < MEMORY_BYTES_MAX


def test_an_archive_of_very_many_files_is_refused_before_they_are_listed(tmp_path: Path) -> None:
    """Each file of an archive takes memory by its name alone; a bill's archive holds two."""
    many = archive({"bill.csv": BILL} | {f"{number}": b"" for number in range(DIRECTORY_BYTES_MAX // 46)})
    with pytest.raises(BillRefused, match="directory") as refused:
        unpacked(many, tmp_path)
    assert refused.value.code == "packing"
    few = archive({"bill.csv": BILL, "side.csv": b"side"} | {f"{number}": b"" for number in range(100)})
    assert (unpacked(few, tmp_path).rows, unpacked(few, tmp_path).side) == (1, "side")


def test_an_archive_of_either_method_is_read_whole_however_long_it_is(tmp_path: Path) -> None:
    """The bound on the directory is none on the bill."""
    long = b"head\n" + b"row\n" * 200_000 + b"foot\n"
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        assert unpacked(archive({"bill.csv": long}, method=method), tmp_path).rows == 200_000


def test_a_summary_beyond_its_bound_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BillRefused) as refused:
        unpacked(archive({"bill.csv": BILL, "side.csv": b"0" * (9 * 2**20)}), tmp_path)
    assert refused.value.code == "too_long"


def test_a_name_that_is_no_text_refuses_the_archive(tmp_path: Path) -> None:
    """It says of itself that it is UTF-8, and is not."""
    spoilt = archive({"bill.csv": BILL, "é": b""}).replace("é".encode(), b"\xff\xff")
    with pytest.raises(BillRefused) as refused:
        unpacked(spoilt, tmp_path)
    assert refused.value.code == "packing"


def test_a_bill_that_nobody_wants_any_more_is_unpacked_no_further(tmp_path: Path) -> None:
    """Twelve gigabytes would be written for a process that is about to end."""
    (tmp_path / "bill").write_bytes(b"head\n" + b"row\n" * 500_000 + b"foot\n")
    answers = iter([False, True])
    bill = FetchedBill(path=tmp_path / "bill", packing=Packing.PLAIN, is_given_up=lambda: next(answers))
    with pytest.raises(BillGivenUp):
        unpack(bill, LAYOUT, rows_path=tmp_path / "rows", parts_of=lambda _: None)
    assert (tmp_path / "rows").stat().st_size < CHUNK_BYTES


def test_a_bill_stops_where_the_disk_has_nothing_left_but_its_reserve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk stops the database beside it, and with it every payment."""
    monkeypatch.setattr("budan.ports.bill.DISK_RESERVE_BYTES", 2**62)
    with pytest.raises(BillRefused) as refused:
        unpacked(archive({"bill.csv": BILL}), tmp_path)
    assert refused.value.code == "no_room"
    assert (tmp_path / "rows").stat().st_size == 0


@pytest.mark.parametrize("rows_around", [1, CHUNK_BYTES // 4])
def test_a_return_within_a_value_is_refused_though_as_many_lines_lack_theirs(rows_around: int, tmp_path: Path) -> None:
    """Dropped unseen, it would make another value of the one that the channel wrote. Chunks of rows alone go by a shorter way."""
    around = b"a,b\r\n" * rows_around
    (tmp_path / "bill").write_bytes(b"head\r\n" + around + b"a,b\rc\n" + around + b"foot\r\n")
    bill = FetchedBill(path=tmp_path / "bill", packing=Packing.PLAIN)
    parts = RowParts(separator=b",", mark=b"", columns=2, first_text=0, texts=0)
    with pytest.raises(BillRefused) as refused:
        unpack(bill, LAYOUT, rows_path=tmp_path / "rows", parts_of=lambda _: parts)
    assert (refused.value.code, refused.value.line_no) == ("control_character", rows_around + 2)
