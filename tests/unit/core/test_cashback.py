from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from budan.core.cashback import (
    Cashback,
    CashbackDecision,
    CashbackOffer,
    CashbackPlan,
    Funder,
    grant_cashback,
    offer_cashback,
    settle_cashback,
)

NOW = datetime(2026, 1, 5, tzinfo=UTC)
OFFER = CashbackOffer(plan_id=1, funded_by=Funder.PLATFORM, amount_minor=100)
GRANTED = grant_cashback(OFFER, budget_left_minor=100)


def a_plan(**changes: Any) -> CashbackPlan:
    fields: dict[str, Any] = {
        "plan_id": 1,
        "funded_by": Funder.PLATFORM,
        "fixed_minor": 50,
        "rate_bp": None,
        "cap_minor": None,
        "methods": None,
        "begins_at": NOW,
        "ends_at": None,
    }
    return CashbackPlan(**(fields | changes))


def offered(*plans: CashbackPlan, amount_minor: int = 1_000, method: str = "jsapi") -> CashbackOffer | None:
    return offer_cashback(plans, amount_minor=amount_minor, method=method, now=NOW)


def none_because(*plans: CashbackPlan, amount_minor: int = 1_000) -> CashbackDecision | None:
    offer = offered(*plans, amount_minor=amount_minor)
    assert offer is not None
    return offer.none_because


def settled(cashback: Cashback = GRANTED, **changes: Any) -> Cashback:
    fields: dict[str, Any] = {
        "payer_id": "Bob",
        "is_held": False,
        "gone_minor": 0,
        "promised_minor": 0,
        "paid_minor": 1_000,
    }
    return settle_cashback(cashback, **(fields | changes))


@pytest.mark.parametrize(
    ("changes", "amount_minor", "expected"),
    [
        ({}, 1_000, 50),
        ({}, 30, 30),  # never more than was paid
        ({"fixed_minor": None, "rate_bp": 100}, 1_049, 10),
        ({"fixed_minor": None, "rate_bp": 100}, 1_050, 11),  # exactly half goes up
        ({"fixed_minor": None, "rate_bp": 100, "cap_minor": 5}, 1_050, 5),
        ({"fixed_minor": None, "rate_bp": 10_000}, 1_000, 1_000),
    ],
)
def test_a_plan_gives_a_fixed_amount_or_a_share_up_to_its_cap(
    changes: dict[str, Any], amount_minor: int, expected: int
) -> None:
    assert a_plan(**changes).amount_of(amount_minor) == expected


def test_a_payment_is_offered_what_gives_most_and_of_two_alike_the_older() -> None:
    best = offered(a_plan(fixed_minor=49), a_plan(plan_id=3), a_plan(plan_id=2))
    assert best == CashbackOffer(plan_id=2, funded_by=Funder.PLATFORM, amount_minor=50)
    assert offered() is None


def test_an_offer_says_why_it_is_none() -> None:
    second = timedelta(seconds=1)
    assert none_because(a_plan(begins_at=NOW + second)) is CashbackDecision.NOT_IN_FORCE
    assert none_because(a_plan(begins_at=NOW - second, ends_at=NOW)) is CashbackDecision.NOT_IN_FORCE
    assert none_because(a_plan(methods=frozenset({"code"}))) is CashbackDecision.METHOD_EXCLUDED
    small = a_plan(fixed_minor=None, rate_bp=1)
    assert none_because(small, amount_minor=4_999) is CashbackDecision.AMOUNT_TOO_SMALL
    assert none_because(small, a_plan(methods=frozenset({"jsapi"}), ends_at=NOW + second)) is None


def test_a_budget_that_is_used_up_grants_nothing_and_one_that_just_suffices_all() -> None:
    nothing = grant_cashback(OFFER, budget_left_minor=99)
    assert (nothing.decision, nothing.granted_minor) == (CashbackDecision.BUDGET_EXHAUSTED, 0)
    assert settled(nothing).booked_minor == 0
    assert (GRANTED.decision, GRANTED.granted_minor) == (CashbackDecision.GRANTED, 100)


def test_what_is_granted_waits_for_its_payer_and_for_an_inquiry() -> None:
    waits = settled(payer_id=None, is_held=True)
    assert (waits.decision, waits.booked_minor, waits.standing_minor) == (CashbackDecision.PAYER_UNKNOWN, 0, 100)
    held = settled(waits, is_held=True)
    assert (held.decision, held.booked_minor, held.payer_id) == (CashbackDecision.ORDER_HELD, 0, "Bob")
    booked = settled(held, payer_id="Eve")
    assert (booked.decision, booked.booked_minor, booked.payer_id) == (CashbackDecision.GRANTED, 100, "Bob")
    assert booked.movements == 1
    assert settled(booked) == booked


def test_a_refund_takes_back_when_promised_frees_the_budget_when_done_and_restores_when_it_came_to_nothing() -> None:
    booked = settled()
    promised = settled(booked, promised_minor=250)
    assert (promised.booked_minor, promised.standing_minor, promised.movements) == (75, 100, 2)
    done = settled(promised, gone_minor=250)
    assert (done.booked_minor, done.standing_minor, done.movements) == (75, 75, 2)
    freed = settled(promised)
    assert (freed.booked_minor, freed.standing_minor) == (100, 100)
    beyond = settled(booked, gone_minor=1_500)
    assert (beyond.booked_minor, beyond.standing_minor) == (0, 0)


def test_a_hold_stops_what_is_given_and_never_what_is_taken_back() -> None:
    booked = settled()
    assert settled(booked, is_held=True) == booked
    external = settled(booked, is_held=True, gone_minor=500)
    assert (external.booked_minor, external.decision) == (50, CashbackDecision.GRANTED)
    waits = settled(replace(booked, booked_minor=0), is_held=True, gone_minor=500)
    assert (waits.booked_minor, waits.decision) == (0, CashbackDecision.ORDER_HELD)
