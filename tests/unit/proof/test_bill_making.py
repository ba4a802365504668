"""What the bench plants must be what it says: its numbers are written by SQL of its own, from another description."""

from datetime import datetime
from pathlib import Path

import duckdb
import msgspec

from budan.core.numbers import BEIJING, Environment, Lane, NumberKind, lane_of, parse_number
from budan.core.numbers import MerchantId as Merchant
from budan.proof.reconciliation import (
    HEADER,
    MERCHANTS,
    ReconcilePlan,
    ReconcileResult,
    find_problems,
    write_bill,
)

BEGIN = datetime(2026, 11, 24, tzinfo=BEIJING)
ORDERS = 1_000


def test_a_bill_of_a_thousand_orders_has_one_of_each_difference_and_numbers_of_ours(tmp_path: Path) -> None:
    lanes = {merchant: int(lane_of(Merchant(merchant), lanes=64)) for merchant in range(1, MERCHANTS + 1)}
    with duckdb.connect(":memory:") as maker:
        bill = tmp_path / "bill.csv"
        lines = write_bill(maker, bill, plan=ReconcilePlan(orders=ORDERS), begin=BEGIN, lanes=lanes)
        rows = maker.execute("SELECT g, place, trade_no, refund_no FROM sold").fetchall()
        planted = maker.execute("SELECT kind, verdict FROM expected ORDER BY kind, verdict").fetchall()
    for g, place, trade_no, refund_no in rows:
        number = parse_number(trade_no)
        assert number.environment is (Environment.TEST if place == 9 else Environment.LOCAL)
        assert (number.merchant_id, number.ordinal) == (1 + g % MERCHANTS, 1)
        assert number.lane == Lane(lanes[number.merchant_id])
        assert parse_number(refund_no).kind is NumberKind.REFUND
    text = bill.read_text(encoding="utf-8").splitlines()
    assert (len(rows), text[0], len(text)) == (ORDERS, HEADER, lines + 3)
    assert len(planted) == len(set(planted)) == 12


def test_a_difference_that_was_missed_or_invented_is_a_problem() -> None:
    fine = ReconcileResult(
        lines=1,
        seconds=1.0,
        bare_seconds=1.0,
        ratio=1.0,
        compared_seconds=0.5,
        compared_ratio=0.5,
        planted=3,
        found=3,
        invented=0,
        rss_mb=1.0,
        problems=[],
    )
    assert find_problems(fine) == []
    assert len(find_problems(msgspec.structs.replace(fine, found=2, invented=1, rss_mb=2e3))) == 3
