from hypothesis import given
from hypothesis import strategies as st

from budan.channels.breaker import Admission, Breaker, BreakerState


def a_breaker(*, failures: int = 3) -> Breaker:
    return Breaker(failures_to_open=failures, probe_every_s=1.0)


def fail(breaker: Breaker, *, now_s: float, times: int = 1) -> None:
    for _ in range(times):
        breaker.settle(breaker.admit(now_s=now_s), answered=False, now_s=now_s)


def test_it_opens_after_failures_in_a_row() -> None:
    breaker = a_breaker()
    fail(breaker, now_s=0, times=2)
    breaker.settle(breaker.admit(now_s=0), answered=True, now_s=0)
    fail(breaker, now_s=0, times=2)
    assert breaker.state is BreakerState.CLOSED
    fail(breaker, now_s=0)
    assert breaker.state is BreakerState.OPEN
    assert breaker.admit(now_s=0.9) is Admission.REFUSED


def test_one_probe_passes_in_each_interval_also_while_the_last_still_waits() -> None:
    """A probe may hang for its whole deadline; meanwhile the channel may have come back."""
    breaker = a_breaker(failures=1)
    fail(breaker, now_s=0)
    assert [breaker.admit(now_s=now_s) for now_s in (0.5, 1.0, 1.5, 2.0, 2.5)] == [
        Admission.REFUSED,
        Admission.PROBE,
        Admission.REFUSED,
        Admission.PROBE,
        Admission.REFUSED,
    ]
    assert breaker.state is BreakerState.HALF_OPEN


def test_an_answered_probe_closes_and_a_failed_one_does_not() -> None:
    breaker = a_breaker(failures=1)
    fail(breaker, now_s=0)
    breaker.settle(breaker.admit(now_s=1), answered=False, now_s=1.5)
    assert breaker.state is BreakerState.OPEN
    breaker.settle(breaker.admit(now_s=2), answered=True, now_s=2.5)
    assert breaker.state is BreakerState.CLOSED
    assert breaker.failures_in_row == 0


def test_a_probe_without_a_verdict_leaves_it_open_for_the_next() -> None:
    breaker = a_breaker(failures=1)
    fail(breaker, now_s=0)
    breaker.settle(breaker.admit(now_s=1), answered=None, now_s=1)
    assert breaker.state is BreakerState.OPEN
    assert breaker.admit(now_s=2) is Admission.PROBE


def test_a_late_success_of_an_old_call_closes_it_too() -> None:
    breaker = a_breaker(failures=1)
    old = breaker.admit(now_s=0)
    fail(breaker, now_s=0)
    breaker.settle(old, answered=True, now_s=0.5)
    assert breaker.state is BreakerState.CLOSED


@given(st.lists(st.tuples(st.floats(0, 3), st.sampled_from([True, False, None])), max_size=60))
def test_whatever_happens_somebody_may_ask_again_after_an_interval(steps: list[tuple[float, bool | None]]) -> None:
    breaker, now_s = a_breaker(failures=2), 0.0
    for wait_s, answered in steps:
        now_s += wait_s
        admission = breaker.admit(now_s=now_s)
        if admission is not Admission.REFUSED:
            breaker.settle(admission, answered=answered, now_s=now_s)
    assert breaker.probes_out == 0
    assert breaker.admit(now_s=now_s + 1.0) is not Admission.REFUSED
