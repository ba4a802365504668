"""What questions find and cost when notices are lost or come: computed order by order, for lives too long to wait for."""

import random
from dataclasses import dataclass
from math import inf, log
from statistics import NormalDist
from typing import Final, Protocol

# Order ages at payment: half within 20 s, 99 of 100 within 5 minutes; 30 of 100 orders are never paid.
PAID_AGE_S_MEDIAN: Final = 20.0
PAID_AGE_S_P99: Final = 300.0
NEVER_PAID_SHARE: Final = 0.3
_SIGMA: Final = log(PAID_AGE_S_P99 / PAID_AGE_S_MEDIAN) / NormalDist().inv_cdf(0.99)

# From a question's moment to its effect: the sweep's pause and listing, the call, the door's transaction.
ANSWER_S_MIN: Final = 0.03
ANSWER_S_MAX: Final = 0.35
NOTICE_S: Final = 0.1
# A trade that nobody paid is asked about when it was closed at the channel: only that is the channel's word.
CLOSING_QUESTIONS: Final = 1
# And twice more when it has ended: after 10 minutes and the next morning.
ENDED_QUESTIONS: Final = 2
FIXED_EVERY_S: Final = 5.0
SAMPLED_ONE_IN: Final = 20


class Schedule(Protocol):
    """Budan's own rule, handed in by the command: the proof does not import what it judges."""

    def __call__(self, *, age_s: float, attempts: int, notices_come: bool, is_sampled: bool) -> float:
        """How long to wait before the next question about a C2B trade that is `age_s` old."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """Orders by the age at which each is paid; None is never paid."""

    paid_ages_s: tuple[float | None, ...]
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What became of a crowd. `heal_s` is from each payment to its completion, `worst_share` of its own bound."""

    orders: int
    paid: int
    heal_s: tuple[float, ...]
    questions: int
    worst_share: float

    @property
    def per_paid_order(self) -> float:
        """Questions about all orders, those never paid too, for each paid one, until each trade has its end."""
        return self.questions / max(1, self.paid)

    @property
    def per_paid_order_with_ended(self) -> float:
        """The same with the questions that each trade gets which ended unpaid."""
        return (self.questions + ENDED_QUESTIONS * (self.orders - self.paid)) / max(1, self.paid)


def draw_crowd(*, orders: int, seed: int) -> Crowd:
    """The same seed gives the same orders."""
    # Chaos must be repeatable, and nothing secret depends on it.
    chance = random.Random(seed)  # noqa: S311 - a seeded run is the purpose
    return Crowd(paid_ages_s=tuple(draw_age_s(chance) for _ in range(orders)), seed=seed)


def draw_age_s(chance: random.Random) -> float | None:
    """The age at which one order is paid, or None."""
    if chance.random() < NEVER_PAID_SHARE:
        return None
    return PAID_AGE_S_MEDIAN * chance.lognormvariate(0.0, _SIGMA)


def bound_s(paid_age_s: float) -> float:
    """Within what a payment at this age must be found while every notice is lost."""
    return max(30.0, paid_age_s / 10)


def compute(crowd: Crowd, schedule: Schedule, *, notices_come: bool, expires_in_s: float) -> Cost:
    """Every order's questions, one after the other, until it is paid and known or its time is over.

    A payment after the expiry is not made. What the closing asks is counted for each order that nobody paid.
    """
    chance = random.Random(crowd.seed)  # noqa: S311 - a seeded run is the purpose
    heal_s: list[float] = []
    questions, worst_share = 0, 0.0
    for paid_age_s in crowd.paid_ages_s:
        paid_at_s = inf if paid_age_s is None or paid_age_s > expires_in_s else paid_age_s
        known_at_s = paid_at_s + NOTICE_S if notices_come else inf
        is_sampled = chance.randrange(SAMPLED_ONE_IN) == 0
        asked, found_at_s = _ask(
            schedule,
            chance,
            paid_at_s,
            known_at_s,
            notices_come=notices_come,
            is_sampled=is_sampled,
            expires_in_s=expires_in_s,
        )
        questions += asked
        if paid_at_s < inf:
            heal_s.append(found_at_s - paid_at_s)
            worst_share = max(worst_share, heal_s[-1] / bound_s(paid_at_s))
    return Cost(
        orders=len(crowd.paid_ages_s),
        paid=len(heal_s),
        heal_s=tuple(sorted(heal_s)),
        questions=questions,
        worst_share=worst_share,
    )


def fixed_ladder(*, age_s: float, attempts: int, notices_come: bool, is_sampled: bool) -> float:  # noqa: ARG001 - one rule for all
    """The simplest rule: each order each five seconds, whatever else is known."""
    return FIXED_EVERY_S


def count_questions(
    schedule: Schedule, *, paid_age_s: float | None, until_age_s: float, notices_come: bool, is_sampled: bool
) -> int:
    """How many questions this rule asks about one order that is followed up to an age."""
    age_s, asked = 0.0, 0
    while True:
        age_s += schedule(age_s=age_s, attempts=asked, notices_come=notices_come, is_sampled=is_sampled)
        if age_s > until_age_s:
            return asked
        asked += 1
        age_s += (ANSWER_S_MIN + ANSWER_S_MAX) / 2
        if paid_age_s is not None and paid_age_s <= age_s:
            return asked


def _ask(
    schedule: Schedule,
    chance: random.Random,
    paid_at_s: float,
    known_at_s: float,
    *,
    notices_come: bool,
    is_sampled: bool,
    expires_in_s: float,
) -> tuple[int, float]:
    """How many questions one order costs, and when its payment is known."""
    age_s, asked = 0.0, 0
    while True:
        age_s += schedule(age_s=age_s, attempts=asked, notices_come=notices_come, is_sampled=is_sampled)
        if age_s >= known_at_s:
            return asked, known_at_s
        if age_s >= expires_in_s:
            return asked + CLOSING_QUESTIONS, expires_in_s + chance.uniform(ANSWER_S_MIN, ANSWER_S_MAX)
        asked += 1
        left_s, age_s = age_s, age_s + chance.uniform(ANSWER_S_MIN, ANSWER_S_MAX)
        # What is paid while the question is on its way may or may not be in its answer: count it for the next one.
        if paid_at_s <= left_s:
            return asked, age_s
