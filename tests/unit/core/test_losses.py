import pytest

from budan.core.losses import UNEXPLAINED, Loss, LossTally


def a_tally(*losses: tuple[str, str, float | None]) -> LossTally:
    tally = LossTally()
    for channel, cause, recover_s in losses:
        tally.add(Loss(channel=channel, cause=cause, recover_s=recover_s))
    return tally


def test_lost_orders_are_counted_by_channel_and_cause_the_most_first() -> None:
    tally = a_tally(
        ("alipay", "notice_late", 9.0),
        ("wechat_v3", "notice_missing", 4.0),
        ("wechat_v3", "notice_missing", 6.0),
        ("wechat_v3", UNEXPLAINED, None),
    )
    assert [(row.channel, row.cause, row.orders) for row in tally.counts()] == [
        ("wechat_v3", "notice_missing", 2),
        ("alipay", "notice_late", 1),
        ("wechat_v3", UNEXPLAINED, 1),
    ]
    assert (tally.lost, tally.unexplained) == (4, 1)
    unexplained = tally.counts()[2]
    assert (unexplained.recover_p50_s, unexplained.recover_max_s) == (None, None)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([3.0], (3.0, 3.0, 3.0)),
        ([1.0, 2.0], (1.0, 2.0, 2.0)),
        ([float(second) for second in range(1, 101)], (50.0, 99.0, 100.0)),
        ([float(second) for second in range(1, 1_001)], (500.0, 990.0, 1_000.0)),
    ],
)
def test_the_time_to_recover_is_told_by_nearest_rank(seconds: list[float], expected: tuple[float, ...]) -> None:
    """A percentile that lies between two orders is the time of none."""
    whole = a_tally(*(("alipay", "notice_late", second) for second in reversed(seconds))).whole()
    assert (whole.recover_p50_s, whole.recover_p99_s, whole.recover_max_s) == expected
