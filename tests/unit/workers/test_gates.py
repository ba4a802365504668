from dataclasses import replace

import pytest

from budan.workers.deliver import DELIVERIES_MAX, DELIVERY_LIMITS
from budan.workers.gates import GateLimits, Gates, Pauses, Verdict

LIMITS = GateLimits(
    rows_max=4,
    slow_rows_max=2,
    slow_after_s=1.0,
    pauses=Pauses(failures_to_open=3, pause_s_first=1.0, pause_s_max=5.0),
)
GROUP = 7
FENCE = 3


def opened(*, at_s: float = 0.0) -> Gates:
    """Gates whose one group has just failed often enough."""
    gates = Gates(LIMITS)
    for key in range(3):
        assert gates.admit(GROUP, key, now_s=at_s)
        gates.settle(GROUP, key, succeeded=False, fence=FENCE, now_s=at_s)
    return gates


def test_a_group_has_no_more_than_its_bound() -> None:
    gates = Gates(LIMITS)
    assert [gates.admit(GROUP, key, now_s=0) for key in range(5)] == [True] * 4 + [False]
    assert gates.left_out(now_s=0) == [GROUP]
    gates.settle(GROUP, 0, succeeded=True, fence=FENCE, now_s=0)
    assert gates.left_out(now_s=0) == []
    assert gates.admit(GROUP, 5, now_s=0)


def test_one_group_at_its_bound_holds_back_no_other() -> None:
    gates = Gates(LIMITS)
    assert all(gates.admit(GROUP, key, now_s=0) for key in range(4))
    assert gates.admit(8, "other", now_s=0)


def test_a_slow_group_has_a_smaller_bound_while_its_oldest_row_waits() -> None:
    gates = Gates(LIMITS)
    assert gates.admit(GROUP, "old", now_s=0)
    assert gates.admit(GROUP, "older than a second by then", now_s=0.5)
    assert not gates.admit(GROUP, "third", now_s=1.5)
    gates.settle(GROUP, "old", succeeded=True, fence=FENCE, now_s=1.6)
    assert not gates.left_out(now_s=1.5)
    gates.settle(GROUP, "older than a second by then", succeeded=True, fence=FENCE, now_s=1.6)
    assert all(gates.admit(GROUP, key, now_s=1.6) for key in range(4))


def test_a_dead_group_gets_nothing_for_a_pause_and_then_one_probe() -> None:
    gates = opened()
    assert gates.pause_s(GROUP) == 1.0
    assert not gates.admit(GROUP, "early", now_s=0.9)
    assert gates.left_out(now_s=0.9) == [GROUP]
    assert gates.admit(GROUP, "probe", now_s=1.0)
    assert not gates.admit(GROUP, "second", now_s=1.0)
    assert gates.left_out(now_s=100.0) == [GROUP]


def test_each_failed_probe_doubles_the_pause_up_to_its_bound() -> None:
    gates, now_s = opened(), 0.0
    for pause_s in (1, 2, 4, 5, 5):
        assert not gates.admit(GROUP, "probe", now_s=now_s + pause_s - 0.1)
        now_s += pause_s
        assert gates.admit(GROUP, "probe", now_s=now_s)
        assert gates.settle(GROUP, "probe", succeeded=False, fence=FENCE, now_s=now_s) is Verdict.HELD_BACK


def test_a_taken_probe_opens_the_way_for_all() -> None:
    gates = opened()
    assert gates.admit(GROUP, "probe", now_s=1.0)
    assert gates.settle(GROUP, "probe", succeeded=True, fence=FENCE, now_s=1.0) is Verdict.LET_THROUGH
    assert gates.pause_s(GROUP) == 0.0
    assert all(gates.admit(GROUP, key, now_s=1.0) for key in range(4))


def test_a_probe_without_a_verdict_may_be_followed_by_another_at_once() -> None:
    gates = opened()
    assert gates.admit(GROUP, "probe", now_s=1.0)
    assert gates.settle(GROUP, "probe", succeeded=None, fence=FENCE, now_s=1.0) is Verdict.NOTHING_NEW
    assert gates.admit(GROUP, "another", now_s=1.0)


def test_rows_that_left_before_the_pause_do_not_make_it_longer() -> None:
    gates = Gates(LIMITS)
    assert all(gates.admit(GROUP, key, now_s=0) for key in range(4))
    verdicts = [gates.settle(GROUP, key, succeeded=False, fence=FENCE, now_s=0.0) for key in range(4)]
    assert verdicts == [Verdict.NOTHING_NEW, Verdict.NOTHING_NEW, Verdict.HELD_BACK, Verdict.NOTHING_NEW]
    assert gates.admit(GROUP, "probe", now_s=1.0)


def test_a_success_between_failures_starts_the_count_anew() -> None:
    gates = Gates(LIMITS)
    for key, succeeded in enumerate([False, False, True, False, False]):
        assert gates.admit(GROUP, key, now_s=0)
        verdict = gates.settle(GROUP, key, succeeded=succeeded, fence=FENCE, now_s=0)
        assert verdict is (Verdict.FIRST_TAKEN if succeeded else Verdict.NOTHING_NEW)


def taken(gates: Gates, *, group: int = GROUP, fence: int = FENCE) -> Verdict:
    """What is said of the group when one more of its rows was taken."""
    assert gates.admit(group, "row", now_s=0)
    return gates.settle(group, "row", succeeded=True, fence=fence, now_s=0)


def test_the_first_row_that_is_taken_under_a_fence_is_told_and_no_other() -> None:
    """Whether the group was held back before is known to the lane's last holder, who may be dead."""
    gates = Gates(LIMITS)
    assert [taken(gates) for _ in range(3)] == [Verdict.FIRST_TAKEN, Verdict.NOTHING_NEW, Verdict.NOTHING_NEW]
    # The lane was another's and came back.
    assert [taken(gates, fence=FENCE + 2) for _ in range(2)] == [Verdict.FIRST_TAKEN, Verdict.NOTHING_NEW]
    assert taken(Gates(replace(LIMITS, pauses=None))) is Verdict.NOTHING_NEW


def test_who_took_rows_is_remembered_up_to_a_bound_and_forgotten_with_its_failures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("budan.workers.gates.TAKERS_REMEMBERED_MAX", 2)
    gates = Gates(LIMITS)
    assert [taken(gates, group=group) for group in (1, 2, 3)] == [Verdict.FIRST_TAKEN] * 3
    assert taken(gates, group=3) is Verdict.NOTHING_NEW
    assert taken(gates, group=1) is Verdict.FIRST_TAKEN
    monkeypatch.setattr("budan.workers.gates.GROUPS_REMEMBERED_MAX", 0)
    assert gates.admit(3, "row", now_s=0)
    gates.settle(3, "row", succeeded=False, fence=FENCE, now_s=0)
    assert taken(gates, group=3) is Verdict.FIRST_TAKEN


def test_without_pauses_a_group_may_fail_as_often_as_it_likes() -> None:
    gates = Gates(replace(LIMITS, pauses=None))
    for key in range(100):
        assert gates.admit(GROUP, key, now_s=0)
        assert gates.settle(GROUP, key, succeeded=False, fence=FENCE, now_s=0) is Verdict.NOTHING_NEW
    assert gates.groups == 0


def test_only_groups_with_work_or_failures_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    gates = Gates(LIMITS)
    for group in range(100):
        assert gates.admit(group, 0, now_s=0)
        gates.settle(group, 0, succeeded=True, fence=FENCE, now_s=0)
    assert gates.groups == 0
    monkeypatch.setattr("budan.workers.gates.GROUPS_REMEMBERED_MAX", 10)
    for group in range(100):
        assert gates.admit(group, 0, now_s=0)
        gates.settle(group, 0, succeeded=False, fence=FENCE, now_s=0)
    assert gates.groups == 10


def test_seven_busy_endpoints_that_fall_silent_at_once_leave_room_for_others() -> None:
    assert DELIVERY_LIMITS.rows_max * 7 < DELIVERIES_MAX
