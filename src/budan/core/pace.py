"""When to look again: ladders of queries and of webhook deliveries, none of which ever ends (I6)."""

from collections.abc import Sequence
from datetime import timedelta

# A young order is asked often, an old one rarely. Notices normally come within a second, so the first question waits
# long enough not to be asked about a healthy order.
QUERY_LADDER_S: tuple[float, ...] = (3, 3, 5, 5, 10, 15, 30, 60, 120, 300, 600, 1_800)

# A B2C payer stands at the desk: WeChat wants 5 s, Alipay 3 to 6 s between questions (protocols, "Time rules").
QUERY_LADDER_B2C_S: tuple[float, ...] = (2, 3, 5, 5, 5, 5, 5, 10, 30, 60, 120, 300, 600, 1_800)

# A trade that ended unpaid is asked once more after 10 minutes and the next morning (I6).
QUERY_LADDER_ENDED_S: tuple[float, ...] = (600, 43_200)

# Standard Webhooks recommends a ladder over days; ours ends at one try a day until somebody looks.
DELIVERY_LADDER_S: tuple[float, ...] = (5, 30, 120, 300, 1_800, 3_600, 7_200, 14_400, 36_000, 86_400)

# The ladder for evidence whose trade we do not know: its intent may still be on its way to the database.
LEFTOVER_LADDER_S: tuple[float, ...] = (1, 5, 30, 300, 3_600, 21_600)

# Ending a trade at its channel: a close or a reverse is safe to repeat, and a payer may act at any moment until it is done.
CLOSE_LADDER_S: tuple[float, ...] = (5, 10, 15, 30, 60, 120, 300, 600, 1_800)

# An order that waits for its channels is looked at when one of them has answered. These looks are for what nobody told.
LOOK_LADDER_S: tuple[float, ...] = (60, 300, 1_800)


def delay_after(ladder: Sequence[float], *, attempts: int) -> timedelta:
    """How long to wait after `attempts` tries; the last rung repeats for ever."""
    assert attempts >= 0
    return timedelta(seconds=ladder[min(attempts, len(ladder) - 1)])


def needs_person(ladder: Sequence[float], *, attempts: int) -> bool:
    """Whether the ladder is climbed: from here on it goes on slowly and is shown."""
    return attempts >= len(ladder)
