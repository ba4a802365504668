from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from budan.core.fees import (
    FEE_RATE_BP_MAX,
    FeeTerms,
    Rate,
    correct_fee,
    fee,
    fee_to_give_back,
    find_fee_terms,
    part_of,
)
from budan.core.money import AMOUNT_MINOR_MAX, Money

NOW = datetime(2026, 1, 5, tzinfo=UTC)


def cny(amount_minor: int) -> Money:
    return Money(amount_minor=amount_minor, currency="CNY")


@pytest.mark.parametrize(
    ("amount_minor", "rate_bp", "expected"),
    [
        (0, 60, 0),
        (1, 60, 0),
        (83, 60, 0),  # 0.498
        (84, 60, 1),  # 0.504
        (250, 60, 2),  # 1.5 goes up
        (249, 60, 1),  # 1.494
        (50, 100, 1),  # exactly half goes up
        (49, 100, 0),
        (1_000, 38, 4),  # 3.8
        (1_999, 60, 12),  # 11.994: binary fractions would say 11
        (1, 5_000, 1),
        (1, 4_999, 0),
        (1_000, 0, 0),
        (1_000, FEE_RATE_BP_MAX, 1_000),
        (AMOUNT_MINOR_MAX, 60, 60_000_000),
    ],
)
def test_a_fee_is_rounded_half_up_to_a_minor_unit(amount_minor: int, rate_bp: int, expected: int) -> None:
    assert fee(cny(amount_minor), FeeTerms(rate_bp=rate_bp)) == cny(expected)


@pytest.mark.parametrize("rate_bp", [-1, FEE_RATE_BP_MAX + 1])
def test_a_rate_outside_its_bounds_is_our_bug(rate_bp: int) -> None:
    with pytest.raises(AssertionError):
        FeeTerms(rate_bp=rate_bp)


@pytest.mark.parametrize(
    ("amount_minor", "expected"),
    [
        (5, 5),  # never more than the amount
        (10, 10),
        (1_000, 10),  # 6 is below the minimum
        (1_749, 10),  # 10.494
        (1_750, 11),  # 10.5
        (50_000, 300),
        (100_000, 500),  # 600 is above the maximum
        (0, 0),
    ],
)
def test_a_fee_stays_within_its_bounds_and_the_amount(amount_minor: int, expected: int) -> None:
    assert fee(cny(amount_minor), FeeTerms(rate_bp=60, minimum_minor=10, maximum_minor=500)) == cny(expected)


def test_bounds_that_leave_no_fee_are_our_bug() -> None:
    with pytest.raises(AssertionError):
        FeeTerms(rate_bp=60, minimum_minor=11, maximum_minor=10)


@pytest.mark.parametrize(
    ("part", "whole", "expected"), [(0, 3, 0), (1, 3, 3), (2, 3, 7), (1, 4, 3), (3, 4, 8), (3, 3, 10), (1, 20, 1)]
)
def test_a_part_is_rounded_half_up(part: int, whole: int, expected: int) -> None:
    assert part_of(10, part=part, whole=whole) == expected


@pytest.mark.invariant("I8")
@pytest.mark.parametrize(
    "terms",
    [
        *(FeeTerms(rate_bp=rate_bp) for rate_bp in (0, 1, 38, 55, 60, 9_999, 10_000)),
        FeeTerms(rate_bp=60, minimum_minor=100),
        FeeTerms(rate_bp=600, maximum_minor=5),
        FeeTerms(rate_bp=0, minimum_minor=2_000),
    ],
    ids=repr,
)
def test_many_small_refunds_give_back_the_fee_that_one_large_one_would(terms: FeeTerms) -> None:
    paid, given = cny(1_003), 0
    for refunded_minor in (*range(1, 1_003, 7), 1_003):
        given += fee_to_give_back(paid, terms, refunded_minor=refunded_minor, given_minor=given).amount_minor
    assert given == fee(paid, terms).amount_minor


def test_a_fee_at_a_bound_goes_back_in_the_proportion_of_the_refund() -> None:
    capped, floored = FeeTerms(rate_bp=60, maximum_minor=500), FeeTerms(rate_bp=60, minimum_minor=100)
    assert fee_to_give_back(cny(1_000_000), capped, refunded_minor=100_000, given_minor=0) == cny(50)
    assert fee_to_give_back(cny(1_000), floored, refunded_minor=10, given_minor=0) == cny(1)


def test_more_that_went_back_than_was_paid_gives_the_fee_back_once() -> None:
    terms = FeeTerms(rate_bp=100)
    assert fee_to_give_back(cny(1_000), terms, refunded_minor=1_500, given_minor=0) == cny(10)
    assert fee_to_give_back(cny(1_000), terms, refunded_minor=1_500, given_minor=10) == cny(0)


# From the least to the most specific.
PRECEDENCE: list[tuple[int | None, str | None]] = [(None, None), (None, "jsapi"), (5, None), (5, "jsapi")]


def a_rate(shop_id: int | None, method: str | None, *, bp: int, days: int = -1, channel: str = "alipay") -> Rate:
    return Rate(
        channel=channel,
        shop_id=shop_id,
        method=method,
        effective_from=NOW + timedelta(days=days),
        terms=FeeTerms(rate_bp=bp),
    )


def found_bp(rates: list[Rate], *, shop_id: int | None = 5, method: str = "jsapi") -> int | None:
    terms = find_fee_terms(rates, channel="alipay", shop_id=shop_id, method=method, now=NOW)
    return None if terms is None else terms.rate_bp


def test_the_most_specific_rate_counts_whatever_is_newer() -> None:
    for less, more in pairwise(PRECEDENCE):
        assert found_bp([a_rate(*less, bp=1), a_rate(*more, bp=2, days=-9)]) == 2
        assert found_bp([a_rate(*more, bp=2, days=-9), a_rate(*less, bp=1)]) == 2


def test_a_rate_of_another_shop_method_or_channel_never_counts() -> None:
    others = [a_rate(6, None, bp=1), a_rate(None, "code", bp=1), a_rate(5, "code", bp=1), a_rate(6, "jsapi", bp=1)]
    foreign = a_rate(5, "jsapi", bp=1, channel="wechat_v3")
    assert found_bp([*others, foreign]) is None
    assert found_bp([*others, foreign, a_rate(None, None, bp=60)]) == 60
    assert found_bp([a_rate(5, None, bp=1), a_rate(None, None, bp=60)], shop_id=None) == 60


def test_a_rate_counts_from_its_moment_on_and_the_newest_of_a_kind_wins() -> None:
    rates = [a_rate(None, None, bp=60, days=-9), a_rate(None, None, bp=55), a_rate(None, None, bp=38, days=1)]
    assert found_bp(rates) == 55
    assert found_bp([a_rate(None, None, bp=38, days=0)]) == 38
    assert found_bp([a_rate(5, "jsapi", bp=38, days=1), *rates]) == 55


def test_a_correction_leaves_what_the_right_rate_would_have_left() -> None:
    before, after = FeeTerms(rate_bp=60), FeeTerms(rate_bp=38)
    lowered = correct_fee(cny(10_000), before=before, after=after, refunded_minor=0, given_minor=0)
    assert (lowered.kept_before_minor, lowered.kept_after_minor, lowered.owed_minor) == (60, 38, -22)
    half_back = correct_fee(cny(10_000), before=before, after=after, refunded_minor=5_000, given_minor=30)
    assert (half_back.kept_after_minor, half_back.owed_minor, half_back.given_back_minor) == (19, -11, 19)
    raised = correct_fee(cny(10_000), before=after, after=before, refunded_minor=10_000, given_minor=38)
    assert (raised.owed_minor, raised.given_back_minor) == (0, 60)
