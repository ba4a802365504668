"""A figure of speed says nothing where what was settled is wrong, so each wrong is told."""

import pytest

from budan.proof.settlement import SettlePlan, find_problems

PLAN = SettlePlan(orders=1_994, merchants=10)
SUMS = {"orders": 1_992, "held_lines": 0, "lines_minor": 500, "owed_minor": 500, "payout_minor": 500}


def problems(*, batches: int = 10, again: int = 0, longest_s: float = 1.0, **sums: int) -> list[str]:
    return find_problems(
        PLAN, first={"batches": batches}, again={"batches": again}, sums=SUMS | sums, longest_s=longest_s
    )


def test_a_run_in_which_all_ties_has_no_problems() -> None:
    assert problems() == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"batches": 9},
        {"again": 1},
        {"longest_s": 30.1},
        {"orders": 1_993},
        {"held_lines": 1},
        {"payout_minor": 499},
    ],
)
def test_each_wrong_is_told_by_itself(wrong: dict[str, int]) -> None:
    assert len(problems(**wrong)) == 1
