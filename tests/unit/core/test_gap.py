from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from budan.core.gap import Gap, GapCause, Milestones, Outage, Role, name_gap
from budan.core.trade import Direction

PAID_AT = datetime(2026, 1, 5, 4, 0, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return PAID_AT + timedelta(seconds=seconds)


def the_gap(*outages: Outage, **changes: Any) -> Gap | None:
    """Of a payment that was told, completed and taken within a second, less what `changes` say; now is an hour later."""
    parts = {
        "direction": Direction.C2B,
        "paid_at": PAID_AT,
        "learned_at": after(0.5),
        "learned_source": "notice",
        "completed_at": after(0.6),
        "noticed_at": after(0.5),
        "rejected_at": None,
        "is_to_tell": True,
        "told_at": after(0.7),
        "taken_at": after(0.9),
    }
    return name_gap(Milestones(**(parts | changes)), outages=outages, now=after(3_600))


def away(began_s: float, ended_s: float, *, role: Role = Role.SERVE, cause: GapCause = GapCause.WE_WERE_DOWN) -> Outage:
    return Outage(role=role, cause=cause, began_at=after(began_s), ended_at=after(ended_s))


LATE = {"completed_at": after(61), "told_at": after(61.1), "taken_at": after(61.2)}


def test_an_order_that_went_the_normal_way_has_no_gap() -> None:
    assert the_gap() is None


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"learned_at": after(60), "noticed_at": after(60)}, GapCause.NOTICE_LATE),
        ({"learned_at": after(60), "learned_source": "query", "noticed_at": None}, GapCause.NOTICE_MISSING),
        # Something came to the account that could not be verified, and nothing that could.
        (
            {"learned_at": after(60), "learned_source": "query", "noticed_at": None, "rejected_at": after(1)},
            GapCause.NOTICE_REJECTED,
        ),
        # A forged copy beside the true one that came late has lost nobody anything.
        (
            {"learned_at": after(60), "learned_source": "query", "noticed_at": after(300), "rejected_at": after(1)},
            GapCause.NOTICE_LATE,
        ),
        # It came in the end, so it was not lost but late.
        ({"learned_at": after(60), "learned_source": "query", "noticed_at": after(300)}, GapCause.NOTICE_LATE),
        # It had come, and something of ours kept it from its effect.
        ({"learned_at": after(60), "learned_source": "query", "noticed_at": after(1)}, GapCause.OUR_QUEUE),
        (
            {
                "direction": Direction.B2C,
                "learned_at": after(60),
                "learned_source": "query",
                "noticed_at": None,
            },
            GapCause.REPLY_MISSING,
        ),
        ({}, GapCause.OUR_QUEUE),
    ],
)
def test_time_before_the_completion_is_named(changes: dict[str, Any], cause: GapCause) -> None:
    gap = the_gap(**(LATE | changes))
    assert gap is not None
    assert gap.cause is cause


def test_a_merchant_that_takes_the_event_late_is_named() -> None:
    gap = the_gap(taken_at=after(120.7))
    assert gap == Gap(cause=GapCause.MERCHANT_ENDPOINT, began_at=after(0.7), ended_at=after(120.7), seconds=120.0)


def test_a_merchant_that_has_not_taken_it_yet_is_still_awaited() -> None:
    gap = the_gap(taken_at=None)
    assert gap is not None
    assert (gap.cause, gap.ended_at, gap.seconds) == (GapCause.MERCHANT_ENDPOINT, None, 3_599.3)


def test_an_event_that_never_left_is_our_own_wait() -> None:
    gap = the_gap(told_at=None, taken_at=None)
    assert gap is not None
    assert (gap.cause, gap.began_at, gap.ended_at) == (GapCause.OUR_QUEUE, after(0.6), None)


def test_an_order_that_nobody_wants_to_hear_of_waits_for_nobody() -> None:
    assert the_gap(is_to_tell=False, told_at=None, taken_at=None) is None


def test_a_channel_whose_clock_runs_ahead_lost_nothing() -> None:
    assert the_gap(paid_at=after(40)) is None


def test_the_longest_wait_is_the_one_that_is_named() -> None:
    gap = the_gap(
        learned_at=after(20), noticed_at=after(20), completed_at=after(20), told_at=after(20), taken_at=after(90)
    )
    assert gap is not None
    assert gap.cause is GapCause.MERCHANT_ENDPOINT


UNHEARD = {"learned_at": after(60), "learned_source": "query", "noticed_at": None}


@pytest.mark.parametrize(
    ("outages", "changes", "cause"),
    [
        # Nobody was there to take the notice, and we asked for long afterwards.
        ([away(-30, 10)], UNHEARD, GapCause.WE_WERE_DOWN),
        ([away(3, 10, cause=GapCause.DATABASE_AWAY)], UNHEARD, GapCause.DATABASE_AWAY),
        # The notice should have come before, or was due only after.
        ([away(20, 40)], UNHEARD, GapCause.NOTICE_MISSING),
        ([away(-30, 0)], UNHEARD, GapCause.NOTICE_MISSING),
        # Workers take no notices: without them nobody asks, and that is most of this wait or little of it.
        ([away(-30, 10, role=Role.WORKER)], UNHEARD, GapCause.NOTICE_MISSING),
        ([away(20, 55, role=Role.WORKER)], UNHEARD, GapCause.WE_WERE_DOWN),
        # The one that took the most of it has lost it.
        (
            [away(10, 45, role=Role.WORKER, cause=GapCause.DATABASE_AWAY), away(50, 55)],
            UNHEARD,
            GapCause.DATABASE_AWAY,
        ),
        # What we knew and could not write down, or could not tell.
        ([away(0, 59, cause=GapCause.DATABASE_AWAY)], {}, GapCause.DATABASE_AWAY),
        ([away(0, 61)], {"completed_at": after(0.6), "told_at": None, "taken_at": None}, GapCause.OUR_QUEUE),
        ([away(0, 3_000)], {"completed_at": after(0.6), "told_at": None, "taken_at": None}, GapCause.WE_WERE_DOWN),
    ],
)
def test_time_in_which_we_were_away_is_ours(outages: list[Outage], changes: dict[str, Any], cause: GapCause) -> None:
    """A channel that sent its notice to nobody has lost nothing, and is not to be called."""
    gap = the_gap(*outages, **(LATE | changes))
    assert gap is not None
    assert gap.cause is cause


def test_a_time_away_in_which_nobody_waited_is_no_gap() -> None:
    assert the_gap(away(0, 20)) is None
