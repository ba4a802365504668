"""The bench of the books on a small day: it must find nothing wrong, or its speed is that of something else."""

from pathlib import Path

from budan.proof.settlement import SettlePlan, measure_settlement


async def test_a_small_day_is_settled_and_ties(database_dsn: str, tmp_path: Path) -> None:
    plan = SettlePlan(orders=1_994, merchants=30)
    result = await measure_settlement(dsn=database_dsn, folder=tmp_path, plan=plan, progress=lambda _: None)
    assert result.problems == []
    assert result.settle_orders == 1_992
    assert result.settle_orders_per_s > 0
    assert result.settle_longest_snapshot_s < 30
