"""When to look again: questions by a trade's age and its account's notices, the rest on ladders; nothing ever ends (I6)."""

from collections.abc import Sequence
from datetime import timedelta
from typing import assert_never

from budan.core.health import NoticeHealth
from budan.core.numbers import OrderId
from budan.core.trade import Direction

# Ages at which a C2B trade is asked about while its account's notices are missing, in seconds. Half of all payments are
# made before the 20th second: with a question each 4.5 s there, half of them are found within
# 5 s. docs/bench.md tells how these were found and that no schedule needs much less.
MISSING_AGES_S: tuple[float, ...] = (6.5, 11, 15.5, 20, 36)
# Nobody has seen yet whether notices come: one question more, and the first payment of a fresh account is found in 3 s.
UNKNOWN_AGES_S: tuple[float, ...] = (3, *MISSING_AGES_S)
# After these a payment at age `a` is found within max(30 s, a/10). What is paid while a question is on its way waits for
# the next one, so there is time here for two of them to be asked and answered.
WAIT_S = 29.2
WAIT_SHARE = 0.1
ANSWER_S = 0.8
# What nobody can end goes on like this.
WAIT_S_MAX = 1_800.0
# An open trade is shown as needing a person this long after its payer's last chance to pay. Until then
# the questions alone may still end it.
PERSON_AFTER = timedelta(hours=1)

# While notices come, a trade is asked about once in case its own was lost, and then after its usual expiry.
COMING_AGES_S: tuple[float, ...] = (90, 1_200, 7_200)
COMING_WAIT_S = 21_600.0
# One trade in twenty is asked about while it is young, so that notices which stopped are missed within seconds.
SAMPLED_ONE_IN = 20
SAMPLED_AGES_S: tuple[float, ...] = (8, 20, *COMING_AGES_S)

# A question that is late for one age does not ask again for the next one at once.
BETWEEN_S_MIN = 1.5

# A B2C payer stands at the desk: WeChat wants 5 s, Alipay 3 to 6 s between questions (protocols, "Time rules").
QUERY_LADDER_B2C_S: tuple[float, ...] = (2, 3, 5, 5, 5, 5, 5, 10, 30, 60, 120, 300, 600, 1_800)

# Whatever brought no word comes again after this share of its age.
UNHEARD_SHARE = 0.1

# A trade that ended unpaid is asked once more after 10 minutes and the next morning (I6).
QUERY_LADDER_ENDED_S: tuple[float, ...] = (600, 43_200)
# A question of these that brought no answer is not used up: it comes again after a share of the trade's age, so soon after
# a short outage and rarely in a long one, for as long as nobody answers.
ENDED_UNHEARD_S_MIN = 120.0
ENDED_UNHEARD_S_MAX = 21_600.0

# A refund is asked about sooner while somebody waits for it; WeChat's takes minutes, to a bank card days.
REFUND_LADDER_S: tuple[float, ...] = (2, 5, 15, 60, 300, 1_800, 7_200, 21_600, 86_400)
# A step that could not leave keeps its rung, and comes again after a share of the refund's age: at once after a moment's
# refusal, rarely while its account cannot be used, and soon once it can.
REFUND_UNSENT_S_MIN = 2.0
REFUND_UNSENT_S_MAX = 300.0
# The rung of five minutes, at which one begins that follows a refund which its channel refused for good.
REFUND_ANEW_ATTEMPTS = REFUND_LADDER_S.index(300)

# A refund that only a bill tells of: in each run of the job for an hour, then as one whose channel is away.
BILL_REFUND_LADDER_S: tuple[float, ...] = (*[300.0] * 6, 1_800, 3_600, 7_200, 21_600, 86_400)

# Standard Webhooks recommends a ladder over days; ours ends at one try a day until somebody looks.
DELIVERY_LADDER_S: tuple[float, ...] = (5, 30, 120, 300, 1_800, 3_600, 7_200, 14_400, 36_000, 86_400)

# The ladder for evidence whose trade we do not know: its intent may still be on its way to the database.
LEFTOVER_LADDER_S: tuple[float, ...] = (1, 5, 30, 300, 3_600, 21_600)

# Ending a trade at its channel: a close or a reverse is safe to repeat, and a payer may act at any moment until it is done.
CLOSE_LADDER_S: tuple[float, ...] = (5, 10, 15, 30, 60, 120, 300, 600, 1_800)

# An order that waits for its channels is looked at when one of them has answered. These looks are for what nobody told.
LOOK_LADDER_S: tuple[float, ...] = (60, 300, 1_800)


def question_wait(
    *, direction: Direction, age: timedelta, attempts: int, notices: NoticeHealth, is_sampled: bool
) -> timedelta:
    """How long to wait before asking about an open trade (again), which is `age` old and was asked about `attempts` times.

    Never endless: whatever is open is asked about again (I6). A healthier account is never asked about sooner.
    """
    match direction:
        case Direction.B2C:
            return delay_after(QUERY_LADDER_B2C_S, attempts=attempts)
        case Direction.C2B:
            age_s = max(0.0, age.total_seconds())
            return timedelta(seconds=_next_age_s(age_s, notices, is_sampled=is_sampled) - age_s)
        case _:
            assert_never(direction)


def ended_unheard_wait(*, age: timedelta) -> timedelta:
    """How long to wait after a question about a trade that ended, which is `age` old, brought no answer."""
    return _share_of(age, s_min=ENDED_UNHEARD_S_MIN, s_max=ENDED_UNHEARD_S_MAX)


def refund_unsent_wait(*, age: timedelta) -> timedelta:
    """How long to wait at least after a step of a refund, which is `age` old, could not leave this machine."""
    return _share_of(age, s_min=REFUND_UNSENT_S_MIN, s_max=REFUND_UNSENT_S_MAX)


def is_sampled(order_id: OrderId) -> bool:
    """Whether the order is one of those that are asked about young while notices come; the same answer everywhere."""
    # Ids count milliseconds and places: Fibonacci hashing spreads neighbours.
    return (order_id * 0x9E3779B97F4A7C15 % 2**64) >> 32 < 2**32 // SAMPLED_ONE_IN


def weight_of_miss(*, age: timedelta, notices: NoticeHealth) -> float:
    """How many missed notices one found at this age counts for.

    While notices come, only one trade in `SAMPLED_ONE_IN` is asked about this young.
    """
    only_sampled = notices is NoticeHealth.COMING and age.total_seconds() < COMING_AGES_S[0]
    return float(SAMPLED_ONE_IN) if only_sampled else 1.0


def delay_after(ladder: Sequence[float], *, attempts: int) -> timedelta:
    """How long to wait after `attempts` tries; the last rung repeats for ever."""
    assert attempts >= 0
    return timedelta(seconds=ladder[min(attempts, len(ladder) - 1)])


def question_needs_person(*, direction: Direction, attempts: int, open_too_long: timedelta) -> bool:
    """Whether an open trade's question is shown as needing a person; it goes on being asked.

    `open_too_long` is how long ago its payer could pay for the last time; below zero while that payer still can.
    """
    if direction is Direction.B2C:
        return needs_person(QUERY_LADDER_B2C_S, attempts=attempts)
    return open_too_long > PERSON_AFTER


def needs_person(ladder: Sequence[float], *, attempts: int) -> bool:
    """Whether the ladder is climbed: from here on it goes on slowly and is shown."""
    return attempts >= len(ladder)


def _share_of(age: timedelta, *, s_min: float, s_max: float) -> timedelta:
    return timedelta(seconds=min(max(age.total_seconds() * UNHEARD_SHARE, s_min), s_max))


def _next_age_s(age_s: float, notices: NoticeHealth, *, is_sampled: bool) -> float:
    tight_s = _next_of(MISSING_AGES_S, age_s, wait_s=_tight_wait_s(age_s))
    match notices:
        case NoticeHealth.MISSING:
            return tight_s
        case NoticeHealth.UNKNOWN:
            return min(tight_s, _next_of(UNKNOWN_AGES_S, age_s, wait_s=_tight_wait_s(age_s)))
        case NoticeHealth.COMING:
            ages_s = SAMPLED_AGES_S if is_sampled else COMING_AGES_S
            return max(tight_s, _next_of(ages_s, age_s, wait_s=COMING_WAIT_S))
        case _:
            assert_never(notices)


def _next_of(ages_s: Sequence[float], age_s: float, *, wait_s: float) -> float:
    soonest_s = age_s + BETWEEN_S_MIN if age_s else 0.0
    return next((one for one in ages_s if one >= soonest_s), age_s + wait_s)


def _tight_wait_s(age_s: float) -> float:
    return min(max(WAIT_S, age_s * WAIT_SHARE - ANSWER_S), WAIT_S_MAX)
