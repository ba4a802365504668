"""What is wrong with a bill is found in every channel's form, with its line, and its code is one that people can look up."""

import re
from datetime import date, timedelta
from pathlib import Path

import pytest

from budan.ports.bill import BILL_FAULTS, BillRefused
from unit.channels.bill_samples import SAMPLES, Sample
from unit.channels.bills import DAY

ROOT = Path(__file__).resolve().parents[3]

every_channel = pytest.mark.parametrize("bill", SAMPLES, ids=lambda bill: bill.channel)


def refusal_of(bill: Sample, content: bytes, folder: Path, *, day: date = DAY, **settings: str) -> BillRefused:
    """How this file is refused."""
    with pytest.raises(BillRefused) as refused:
        bill.desk(folder, **settings).read(content, packing=bill.packing, day=day)
    return refused.value


@every_channel
def test_a_bill_that_lost_or_gained_lines_is_refused_with_the_line(bill: Sample, tmp_path: Path) -> None:
    """A day of which half was loaded would look like payments that the channel does not have."""
    lines, first = bill.lines, bill.first_row
    assert refusal_of(bill, bill.pack([]), tmp_path).code == "empty"
    cut_off = refusal_of(bill, bill.pack(lines[:-1]), tmp_path)
    assert (cut_off.code, cut_off.line_no is not None) == ("summary", True)
    without_a_row = refusal_of(bill, bill.pack([*lines[: first - 1], *lines[first:]]), tmp_path)
    assert without_a_row.code == "summary_mismatch"
    doubled = refusal_of(bill, bill.pack([*lines[:first], *lines[first - 1 :]]), tmp_path)
    assert (doubled.code, doubled.line_no) == ("row_repeated", first + 1)
    twice = refusal_of(bill, bill.pack([*lines, *lines]), tmp_path)
    assert twice.line_no == first + 3


@every_channel
def test_a_bill_in_another_encoding_is_refused_with_the_line(bill: Sample, tmp_path: Path) -> None:
    """A spreadsheet that opens a bill saves it in its own encoding."""
    other = {"alipay": "utf-8", "ipaynow": "utf-16"}.get(bill.channel, "gb18030")
    refused = refusal_of(bill, bill.pack(bill.lines, encoding=other), tmp_path)
    assert refused.code in {"encoding", "header", "control_character"}
    assert refused.line_no is not None


@every_channel
def test_a_bill_of_another_day_or_account_is_refused_with_the_line(bill: Sample, tmp_path: Path) -> None:
    content = bill.pack(bill.lines)
    other_day = refusal_of(bill, content, tmp_path, day=DAY + timedelta(days=3))
    assert (other_day.code, other_day.line_no) == ("wrong_day", 3 if bill.channel == "alipay" else bill.first_row)
    if bill.names_account:
        (number,) = bill.settings.items()
        foreign = refusal_of(bill, content, tmp_path, **{number[0]: f"{int(number[1]) + 1}"})
        assert foreign.code == "foreign_account"
        assert foreign.line_no is not None


@every_channel
def test_rows_in_another_order_come_to_the_same(bill: Sample, tmp_path: Path) -> None:
    first = bill.first_row - 1
    turned = [*bill.lines[:first], *reversed(bill.lines[first : first + 3]), *bill.lines[first + 3 :]]
    read, rows = bill.desk(tmp_path).read(bill.pack(turned), packing=bill.packing)
    as_sent, _ = bill.desk(tmp_path).read(bill.pack(bill.lines), packing=bill.packing)
    assert read.totals == as_sent.totals
    assert [row["line_no"] for row in rows] == [bill.first_row, bill.first_row + 1, bill.first_row + 2]


def test_every_fault_of_a_bill_is_one_that_is_documented() -> None:
    """Scripts and people look codes up: none comes from an `if` that nobody wrote down."""
    sources = "\n".join(path.read_text("utf-8") for path in (ROOT / "src/budan/channels").rglob("*.py"))
    raised = set(re.findall(r'BillRefused\(\s*"(\w+)"', sources)) | {"control_character", "blank_line"}
    assert raised == set(BILL_FAULTS)
    page = (ROOT / "docs" / "channels.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(bill_\w+)` \| .*: ", page, flags=re.MULTILINE)) == set(BILL_FAULTS.values())
