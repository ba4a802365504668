"""The computation behind the figures of recovery: checked against rules whose cost is known without it."""

from statistics import median

import pytest

from budan.cli.proving import _question_wait_s
from budan.proof import recovery
from budan.proof.ranks import percentile
from budan.proof.recovery import Crowd, compute, count_questions, draw_crowd, fixed_ladder

EXPIRES_IN_S = 360.0


def crowd(*ages: float | None) -> Crowd:
    return Crowd(paid_ages_s=ages, seed=1)


def one_question_at(age_s: float):  # noqa: ANN201 - a schedule made on the spot
    def schedule(*, attempts: int, **_: object) -> float:
        return age_s if attempts == 0 else 1e9

    return schedule


def test_orders_are_drawn_as_the_figure_says() -> None:
    drawn = draw_crowd(orders=20_000, seed=7)
    assert drawn == draw_crowd(orders=20_000, seed=7)
    paid = sorted(age for age in drawn.paid_ages_s if age is not None)
    assert 1 - len(paid) / 20_000 == pytest.approx(recovery.NEVER_PAID_SHARE, abs=0.01)
    assert median(paid) == pytest.approx(recovery.PAID_AGE_S_MEDIAN, rel=0.05)
    assert paid[int(len(paid) * 0.99)] == pytest.approx(recovery.PAID_AGE_S_P99, rel=0.15)


def test_a_lost_payment_is_found_by_the_first_question_that_leaves_after_it() -> None:
    cost = compute(crowd(7.0, None), fixed_ladder, notices_come=False, expires_in_s=EXPIRES_IN_S)
    assert cost.paid == 1
    # Asked at 5 and 10 s, each with an answer on its way.
    assert 3 <= cost.heal_s[0] <= 3 + 2 * recovery.ANSWER_S_MAX
    assert cost.worst_share == pytest.approx(cost.heal_s[0] / 30)


def test_an_order_that_nobody_pays_costs_every_question_and_its_closing() -> None:
    cost = compute(crowd(None), one_question_at(90), notices_come=False, expires_in_s=EXPIRES_IN_S)
    assert cost.questions == 1 + recovery.CLOSING_QUESTIONS


def test_a_payment_that_no_question_finds_is_found_by_the_closing() -> None:
    cost = compute(crowd(100.0), one_question_at(90), notices_come=False, expires_in_s=EXPIRES_IN_S)
    assert cost.heal_s[0] == pytest.approx(260, abs=1)


def test_a_notice_that_comes_spares_what_would_be_asked_after_it() -> None:
    paid_early = crowd(*[20.0] * 10)
    cost = compute(paid_early, one_question_at(90), notices_come=True, expires_in_s=EXPIRES_IN_S)
    assert (cost.questions, cost.heal_s[0]) == (0, pytest.approx(recovery.NOTICE_S))


def test_questions_about_an_order_that_is_followed_for_a_while_are_counted_up_to_then() -> None:
    asked = [
        count_questions(fixed_ladder, paid_age_s=paid, until_age_s=until, notices_come=False, is_sampled=False)
        for paid, until in ((None, 4.0), (None, 21.0), (7.0, 60.0))
    ]
    assert asked == [0, 4, 2]


@pytest.mark.parametrize(("expires_in_s", "outage_max"), [(360.0, 12.0), (600.0, 14.5), (900.0, 16.0)])
def test_budans_own_rule_keeps_its_figures(expires_in_s: float, outage_max: float) -> None:
    """docs/bench.md tells what is reached at which expiry; whoever changes the pace sees here what it costs."""
    orders = draw_crowd(orders=4_000, seed=3)
    outage = compute(orders, _question_wait_s, notices_come=False, expires_in_s=expires_in_s)
    health = compute(orders, _question_wait_s, notices_come=True, expires_in_s=expires_in_s)
    fixed = compute(orders, fixed_ladder, notices_come=False, expires_in_s=expires_in_s)
    assert outage.per_paid_order <= outage_max
    assert health.per_paid_order <= 1.2
    assert fixed.per_paid_order > 2 * outage.per_paid_order
    assert percentile(outage.heal_s, 50) <= 5
    assert percentile(outage.heal_s, 99) <= 30
    assert outage.worst_share <= 1


def test_the_two_questions_after_an_unpaid_end_are_counted_beside_the_others() -> None:
    """A paid order and one that nobody pays, each asked about once before its end: the closing asks, then the two of I6."""
    cost = compute(crowd(7.0, None), one_question_at(10.0), notices_come=False, expires_in_s=EXPIRES_IN_S)
    assert cost.per_paid_order == 1 + 1 + recovery.CLOSING_QUESTIONS
    assert cost.per_paid_order_with_ended == cost.per_paid_order + 2
