"""A small run of `budan bench --sweep`: its figures count only if the sweep lost nothing, and break the run if they are bad."""

from pathlib import Path

import msgspec
import pytest

from budan.proof.demo import Stage
from budan.proof.instance import Shape, private_instance
from budan.proof.sweep import Plan, SweepFigures, _broken, _measure, _quick_channel

PLAN = Plan(suspects=600, rounds=1)


@pytest.mark.timeout(180)
@pytest.mark.invariant("I6", "I9", "I10")
async def test_a_sweep_and_the_bare_loop_ask_the_same_and_all_that_was_paid_is_found(
    database_dsn: str, tmp_path: Path
) -> None:
    """Suspects that expired and were closed stand beside those that wait; a few of either were paid."""
    async with (
        private_instance(
            folder=tmp_path, dsn=database_dsn, shape=Shape(merchants=4), progress=lambda _line: None
        ) as instance,
        _quick_channel() as url,
    ):
        found = await _measure(Stage(as_json=True), instance, "swiftpass", url=url, plan=PLAN)
    assert found.suspects == PLAN.suspects
    assert found.paid_there > 0
    assert (found.paid_here, found.entries, found.unbalanced_minor) == (found.paid_there, found.paid_there, 0)
    assert found.unasked == 0
    assert found.ratio == found.ratios[0] > 0
    assert found.limit_s == pytest.approx(PLAN.suspects * 0.02 / 200)


def figures(**changes: object) -> SweepFigures:
    """A run in which nothing is wrong."""
    good: dict[str, object] = {
        "suspects": 100,
        "sweep_s": 1.2,
        "bare_s": 1.0,
        "ratio": 1.2,
        "limit_s": 0.9,
        "limit_ratio": 1.4,
        "ratios": [1.2],
        "paid_there": 5,
        "paid_here": 5,
        "entries": 5,
        "unbalanced_minor": 0,
        "unasked": 0,
        "cpu_us_per_question": {},
        "foreign_cores": 0.0,
    }
    return msgspec.convert(good | changes, SweepFigures)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"ratio": 1.26}, "of the bare loop's time"),
        ({"limit_ratio": 1.51}, "of the channel's own time"),
        ({"paid_here": 4, "entries": 4}, "5 were paid at the channel, 4 are paid here"),
        ({"entries": 6}, "6 entries for 5 payments"),
        ({"unbalanced_minor": 1}, "off by 1"),
        ({"unasked": 2}, "2 questions had no answer"),
    ],
)
def test_each_figure_that_is_broken_breaks_the_run(changes: dict[str, object], problem: str) -> None:
    (told,) = _broken("swiftpass", figures(**changes))
    assert problem in told


def test_the_channels_own_limit_is_judged_where_the_signature_does_not_outweigh_it() -> None:
    assert _broken("swiftpass", figures()) == []
    assert _broken("wechat_v3", figures(limit_ratio=9.0)) == []
