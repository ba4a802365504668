"""A short run of `budan bench --recover`: what it counts comes from the three records, and must agree."""

from pathlib import Path

import pytest

from budan.cli.proving import _question_wait_s
from budan.proof.demo import Stage
from budan.proof.instance import Shape, private_instance
from budan.proof.recover import Plan, _compute, _conclude, _play

# Long enough for the first questions of fresh accounts, which are asked at 3 s.
PLAN = Plan(rate_per_s=4.0, health_s=1.0, outage_s=12.0, expires_in_s=360)


@pytest.mark.timeout(180)
@pytest.mark.invariant("I6")
async def test_every_payment_whose_notice_was_lost_is_found_by_a_question_that_the_channel_counted(
    database_dsn: str, tmp_path: Path
) -> None:
    stage = Stage(as_json=True)
    async with private_instance(
        folder=tmp_path, dsn=database_dsn, shape=Shape(workers=2, merchants=4), progress=lambda _line: None
    ) as instance:
        run = await _play(stage, instance, plan=PLAN)
        result = await _conclude(instance, run, _question_wait_s, [_compute(_question_wait_s, expires_in_s=360)])
    assert result.paid_in_outage > 0
    assert result.audit.completed == result.audit.paid == sum(order.paid for order in run.orders)
    assert result.audit.holds
    assert 0 < result.recover_s.p50 <= result.recover_s.p99 <= result.recover_s.max
    assert result.first_completed_by_query_s > 0
    assert result.queries_in_outage >= result.paid_in_outage
    (life,) = result.computed
    assert life.health < life.health_with_ended < life.outage
    assert result.whole_lives == {"outage": 0, "health": 0}
