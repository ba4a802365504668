import time

from budan.wire.elapsed import elapsed_s


def test_the_time_that_a_machine_sleeps_has_gone_by_as_well() -> None:
    """A request that waited through it would leave after its window."""
    asleep_s = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
    before_s = time.monotonic() + asleep_s
    between_s = elapsed_s()
    assert before_s <= between_s + 0.001
    assert between_s <= time.monotonic() + asleep_s + 0.001
