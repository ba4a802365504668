"""The bench of the channels measures what it says: its own bills are read, and a broken figure is told."""

from dataclasses import replace
from pathlib import Path

from budan.channels.bill_reading import ExpectedBill, read_bill
from budan.channels.bill_tables import open_tables
from budan.cli.bill_files import ACCOUNT_NO, DAY, all_samples, write_bill
from budan.cli.channel_bench import LINES_PER_S_MIN, RSS_MB_MAX, BillSpeed, _is_broken


def test_every_channels_made_up_bill_is_right_and_nothing_stays_of_it(tmp_path: Path) -> None:
    for name, sample in all_samples().items():
        bill = write_bill(sample, tmp_path / "bill", rows=20)
        with open_tables(tmp_path, memory_mb=128, threads=1) as tables:
            expected = ExpectedBill(day=DAY, account_no=ACCOUNT_NO)
            read = read_bill(tables, bill, form=sample.form, expected=expected, folder=tmp_path)
        assert (name, read.totals.payments, read.totals.order_minor, read.totals.fee_e5) == (name, 20, 25_600, 160_000)
        assert {path.name for path in tmp_path.iterdir()} <= {"bill", "spill"}


def test_a_slow_or_a_large_reading_breaks_a_figure() -> None:
    good = BillSpeed(rows=1, lines_per_s=LINES_PER_S_MIN, lines_per_cpu_s=1, rss_mb=RSS_MB_MAX)
    assert not _is_broken(good)
    assert not _is_broken(replace(good, lines_per_s=1, lines_per_cpu_s=LINES_PER_S_MIN))
    assert _is_broken(replace(good, lines_per_s=LINES_PER_S_MIN - 1))
    assert _is_broken(replace(good, rss_mb=RSS_MB_MAX + 1))
