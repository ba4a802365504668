"""Each row of a bill has one verdict, and a day whose two sides do not add up is nobody's report."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from budan.core.errors import Refused
from budan.core.numbers import (
    Environment,
    Lane,
    MerchantId,
    Number,
    NumberKind,
    OrderId,
    day_begin,
    id_floor,
    render_number,
)
from budan.core.reconcile import (
    BillRow,
    FeeBase,
    FeesBack,
    OurRow,
    PortalRefund,
    RowKind,
    Sum,
    Suspended,
    Tally,
    Terms,
    Verdict,
    bound_fees,
    find_number,
    judge_pair,
    judge_stranger,
    late_day,
    meet_portal_refunds,
    meet_suspended,
    parse_rate,
    render_rate,
    tie_out,
)

DAY = date(2026, 1, 1)
NOON = datetime(2026, 1, 1, 4, tzinfo=UTC)
TERMS = Terms(environment=Environment.LIVE, account_id=7, day=DAY, rate_e6=6_000)
NUMBER = Number(
    environment=Environment.LIVE,
    kind=NumberKind.ORDER,
    lane=Lane(3),
    merchant_id=MerchantId(5),
    order_id=OrderId(id_floor(NOON) + 1),
    ordinal=1,
)
ROW = BillRow(
    line_no=2,
    kind=RowKind.PAYMENT,
    happened_at=NOON,
    number=render_number(NUMBER),
    channel_no="4200",
    status="succeeded",
    currency="CNY",
    amount_minor=1_280,
    fee_e5=8_000,
)
OURS = OurRow(
    kind=RowKind.PAYMENT,
    number=NUMBER,
    account_id=7,
    has_moved=True,
    moved_at=NOON,
    currency="CNY",
    amount_minor=1_280,
)
SUSPENDED = Suspended(payment="4200X", wanted_minor=1_300, wanted_currency="CNY")
BACK: dict[str, Any] = {"kind": RowKind.REVERSAL}
NEXT_DAY = day_begin(DAY + timedelta(days=1)) + timedelta(minutes=1)


@pytest.mark.parametrize(
    ("row", "ours", "verdict"),
    [
        ({}, {}, Verdict.MATCHED),
        ({}, {"moved_at": None}, Verdict.MATCHED),
        ({"fee_e5": None}, {}, Verdict.MATCHED),
        ({"currency": "USD", "amount_minor": 1}, {}, Verdict.CURRENCY_DIFFERS),
        ({"amount_minor": 1_279, "status": "pending"}, {}, Verdict.AMOUNT_DIFFERS),
        # We learned of it three days later, and its channel tells no moment: it may be of any day since its request.
        ({}, {"moved_at": NOON + timedelta(days=3)}, Verdict.STATUS_DIFFERS),
        ({}, {"moved_at": NOON + timedelta(days=3), "begun_at": NOON}, Verdict.NEIGHBOUR_DAY),
        ({}, {"moved_at": NOON - timedelta(days=1), "begun_at": NOON - timedelta(days=9)}, Verdict.NEIGHBOUR_DAY),
        ({}, {"moved_at": NOON + timedelta(days=3), "begun_at": NOON + timedelta(days=1)}, Verdict.STATUS_DIFFERS),
        ({}, {"moved_at": NOON - timedelta(days=2), "begun_at": NOON - timedelta(days=9)}, Verdict.STATUS_DIFFERS),
        ({"status": "pending", "fee_e5": 0}, {}, Verdict.STATUS_DIFFERS),
        ({"status": "failed"}, {}, Verdict.STATUS_DIFFERS),
        # A coupon of the merchant's own, by the bill or by the channel's answer; its fee may be of what is settled.
        ({"settle_minor": 1_280}, {}, Verdict.MATCHED),
        ({"settle_minor": 1_180, "fee_e5": 7_000}, {}, Verdict.SETTLE_DIFFERS),
        ({}, {"settle_minor": 1_180}, Verdict.SETTLE_DIFFERS),
        ({"settle_minor": 1_180, "kind": RowKind.REFUND}, {"kind": RowKind.REFUND}, Verdict.MATCHED),
        # What goes back of a fee is of what goes back of the settled amount, or of all: not of what lies between.
        ({"settle_minor": 880, "fee_e5": -5_280, "kind": RowKind.REFUND}, {"kind": RowKind.REFUND}, Verdict.MATCHED),
        ({"settle_minor": 880, "fee_e5": -6_280, "kind": RowKind.REFUND}, {"kind": RowKind.REFUND}, Verdict.MATCHED),
        (
            {"settle_minor": 880, "fee_e5": -6_281, "kind": RowKind.REFUND},
            {"kind": RowKind.REFUND},
            Verdict.FEE_DIFFERS,
        ),
        ({"settle_minor": 880, "fee_e5": -7_680, "kind": RowKind.REFUND}, {"kind": RowKind.REFUND}, Verdict.MATCHED),
        # Exactly 7,680: written so, cut off to a fen, or rounded to one half up.
        ({"fee_e5": 7_680}, {}, Verdict.MATCHED),
        ({"fee_e5": 7_000}, {}, Verdict.MATCHED),
        ({"fee_e5": 7_681}, {}, Verdict.FEE_DIFFERS),
        ({"fee_e5": 6_000}, {}, Verdict.FEE_DIFFERS),
        ({"fee_e5": 9_000}, {}, Verdict.FEE_DIFFERS),
        # Exactly 11,124: a fen more is no rounding.
        ({"amount_minor": 1_854, "fee_e5": 11_000}, {"amount_minor": 1_854}, Verdict.MATCHED),
        ({"amount_minor": 1_854, "fee_e5": 12_000}, {"amount_minor": 1_854}, Verdict.FEE_DIFFERS),
        ({"fee_e5": -6_680, "kind": RowKind.REFUND}, {"kind": RowKind.REFUND}, Verdict.MATCHED),
        ({"fee_e5": -6_679, "kind": RowKind.REFUND}, {"kind": RowKind.REFUND}, Verdict.FEE_DIFFERS),
        ({"fee_e5": -8_000, "kind": RowKind.REFUND}, {"kind": RowKind.REFUND}, Verdict.MATCHED),
        ({}, {"moved_at": NEXT_DAY}, Verdict.NEIGHBOUR_DAY),
        ({"status": "pending"}, {"moved_at": NEXT_DAY}, Verdict.NEIGHBOUR_DAY),
        # A refund that took days stands as taken in the bill of its request's day, and is done in a later one.
        ({"status": "pending"}, {"moved_at": NOON + timedelta(days=2), "begun_at": NOON}, Verdict.NEIGHBOUR_DAY),
        ({}, {"moved_at": NOON - timedelta(days=1), "begun_at": NOON - timedelta(days=1)}, Verdict.NEIGHBOUR_DAY),
        # Two clocks lie between, at midnight after its request as well.
        ({}, {"moved_at": NEXT_DAY, "begun_at": NEXT_DAY}, Verdict.NEIGHBOUR_DAY),
        # A charge was taken back some time after its payment, and before we learned of that: no channel tells when.
        (BACK, {**BACK, "moved_at": NOON - timedelta(days=1), "known_at": NOON}, Verdict.NEIGHBOUR_DAY),
        (BACK, {**BACK, "moved_at": NOON - timedelta(days=5), "known_at": NOON}, Verdict.NEIGHBOUR_DAY),
        (
            BACK,
            {**BACK, "moved_at": NOON - timedelta(days=5), "known_at": NOON - timedelta(days=1)},
            Verdict.NEIGHBOUR_DAY,
        ),
        (
            BACK,
            {**BACK, "moved_at": NOON - timedelta(days=5), "known_at": NOON - timedelta(days=2)},
            Verdict.STATUS_DIFFERS,
        ),
        ({}, {"moved_at": NOON - timedelta(days=5), "known_at": NOON}, Verdict.STATUS_DIFFERS),
        ({"status": "failed"}, {"moved_at": NEXT_DAY}, Verdict.STATUS_DIFFERS),
        ({}, {"moved_at": NEXT_DAY + timedelta(days=1)}, Verdict.STATUS_DIFFERS),
        # Money that does not fit its order: what the channel takes or settles of it is judged when it is somebody's.
        ({}, {"suspended": SUSPENDED}, Verdict.IN_SUSPENSE),
        ({"settle_minor": 1_180, "fee_e5": 9_000}, {"suspended": SUSPENDED}, Verdict.IN_SUSPENSE),
        ({"amount_minor": 1_279}, {"suspended": SUSPENDED}, Verdict.AMOUNT_DIFFERS),
        ({"status": "failed"}, {"suspended": SUSPENDED}, Verdict.STATUS_DIFFERS),
        ({}, {"suspended": SUSPENDED, "moved_at": NEXT_DAY}, Verdict.NEIGHBOUR_DAY),
        ({}, {"has_moved": False}, Verdict.THERE_ONLY),
        # Not done there and not done here: only what both sides wait for must be the same.
        ({}, {"has_moved": False, "amount_minor": 1_279}, Verdict.THERE_ONLY),
        ({"status": "pending"}, {"has_moved": False}, Verdict.NEIGHBOUR_DAY),
        ({"status": "pending"}, {"has_moved": False, "currency": "USD"}, Verdict.CURRENCY_DIFFERS),
        ({"status": "pending"}, {"has_moved": False, "amount_minor": 1_279}, Verdict.AMOUNT_DIFFERS),
        ({"status": "pending"}, {"has_moved": False, "has_failed": True}, Verdict.THERE_ONLY),
        ({"status": "failed"}, {"has_moved": False, "has_failed": True}, Verdict.NEIGHBOUR_DAY),
        ({}, {"account_id": 8}, Verdict.UNKNOWN_NUMBER),
    ],
)
def test_a_row_with_our_number_has_the_first_difference_that_applies(
    row: dict[str, Any], ours: dict[str, Any], verdict: Verdict
) -> None:
    assert judge_pair(replace(ROW, **row), replace(OURS, **ours), TERMS) is verdict


def test_a_refund_made_past_us_is_met_by_its_name_or_where_a_total_told_it_by_its_amount() -> None:
    """Every two rows and every two refunds of a small world: nothing is paired for its amount that has a name of its own."""
    rows = [
        (replace(ROW, kind=RowKind.REFUND, number=name, channel_no=None, amount_minor=minor), NUMBER)
        for name, minor in product(("A", "B", None), (1, 2))
    ]
    made = [
        PortalRefund(
            lane=NUMBER.lane,
            order_id=NUMBER.order_id,
            ordinal=2,
            attempt=attempt,
            reference=reference,
            by_total=by_total,
            amount_minor=minor,
        )
        for attempt, reference, by_total, minor in product((1, 2), ("A", "total:2"), (True, False), (1, 2))
    ]
    for two_rows in product(rows, repeat=2):
        lines = {line_no: (replace(row, line_no=line_no), paid) for line_no, (row, paid) in enumerate(two_rows)}
        for first, second in product(made, repeat=2):
            ours = (first, replace(second, ordinal=3))
            met = meet_portal_refunds(list(lines.values()), ours)
            assert len({one.ordinal for one in met.values()}) == len(met), "one refund is one row"
            for line_no, (row, _) in lines.items():
                of_payment = [one for one in ours if one.attempt == NUMBER.ordinal]
                named = [one for one in of_payment if one.reference == row.name]
                fits = [one for one in of_payment if one.by_total and one.amount_minor == row.amount_minor]
                if line_no in met:
                    assert met[line_no] in named + fits
                    free = [one for one in named if one not in met.values()]
                    assert met[line_no] in named or not free, "its name comes first"
                else:
                    assert all(one in met.values() for one in named + fits)


def test_a_row_is_the_money_in_suspense_of_its_name_else_of_its_amount_and_each_is_met_once() -> None:
    """Two payments of one trade lie in suspense: neither is taken for the other, and a third row of the bill is neither."""
    named, other = [
        replace(OURS, amount_minor=minor, suspended=replace(SUSPENDED, payment=payment))
        for payment, minor in (("4200A", 5), ("4200B", 7))
    ]
    rows = [
        (replace(ROW, line_no=line_no, channel_no=name, amount_minor=minor), NUMBER)
        for line_no, (name, minor) in enumerate([("4300", 7), ("4200A", 7), ("4300", 5), (None, 7)])
    ]
    assert meet_suspended(rows, [other, named]) == {0: other, 1: named}
    strange = [(row, replace(NUMBER, ordinal=NUMBER.ordinal + 1)) for row, _ in rows]
    assert meet_suspended(strange, [other, named]) == {}


def test_a_sum_of_fees_is_bounded_by_how_each_may_be_rounded() -> None:
    """Half up adds half a fen at most, cutting off takes a whole one; of what goes back both ends are rounded."""
    paid = FeeBase(rows=10, least_minor=18_540, most_minor=18_540)
    back = FeeBase(rows=2, least_minor=1_000, most_minor=1_000)
    bounds = bound_fees(paid, back, rate_e6=6_000, beyond=FeesBack())
    assert (bounds.least_e5, bounds.wanted_e5, bounds.most_e5) == (93_240, 105_240, 112_240)


def test_a_sum_of_fees_may_be_of_what_is_settled_or_of_the_whole_amounts() -> None:
    """Which of both a channel takes where the merchant pays for coupons its contract says; the refunds' half likewise."""
    paid = FeeBase(rows=5, least_minor=4_400, most_minor=6_400)
    back = FeeBase(rows=1, least_minor=880, most_minor=1_280)
    bounds = bound_fees(paid, back, rate_e6=6_000, beyond=FeesBack(least_e5=-2_640, most_e5=-3_840))
    assert bounds.wanted_e5 == 26_400 - 2_640
    assert bounds.least_e5 == 26_400 - 3_840 - 6_000
    assert bounds.most_e5 == 38_400 - 2_640 + 2_500 + 1_000
    assert [bounds.has(fee_e5) for fee_e5 in (16_559, 16_560, 39_260, 39_261)] == [False, True, True, False]


def test_without_a_contract_no_fee_is_wrong() -> None:
    assert judge_pair(replace(ROW, fee_e5=999_999), OURS, replace(TERMS, rate_e6=None)) is Verdict.MATCHED


@pytest.mark.invariant("I13")
def test_only_numbers_of_this_environment_and_of_the_rows_kind_are_looked_for() -> None:
    assert find_number(ROW, TERMS) == NUMBER
    foreign = replace(ROW, number=render_number(replace(NUMBER, environment=Environment.TEST)))
    assert find_number(foreign, TERMS) is None
    assert judge_stranger(foreign, TERMS) is Verdict.OTHER_ENVIRONMENT
    assert find_number(replace(ROW, kind=RowKind.REFUND), TERMS) is None
    assert find_number(replace(ROW, number=render_number(replace(NUMBER, ordinal=0))), TERMS) is None
    for number in (None, "", "4200001", ROW.number and ROW.number[:-1] + "0"):
        assert find_number(replace(ROW, number=number), TERMS) is None
        assert judge_stranger(replace(ROW, number=number), TERMS) is Verdict.UNKNOWN_NUMBER


def test_what_is_left_when_the_differences_are_taken_away_is_what_agrees() -> None:
    extra = Tally(
        kind=RowKind.PAYMENT, currency="CNY", verdict=Verdict.DOUBLE, theirs=Sum(rows=1, amount_minor=5), ours=Sum()
    )
    lines = tie_out(
        RowKind.PAYMENT, "CNY", theirs=Sum(rows=3, amount_minor=25), ours=Sum(rows=2, amount_minor=20), found=[extra]
    )
    assert lines[0] == Tally(
        kind=RowKind.PAYMENT,
        currency="CNY",
        verdict=Verdict.MATCHED,
        theirs=Sum(rows=2, amount_minor=20),
        ours=Sum(rows=2, amount_minor=20),
    )


@pytest.mark.parametrize("ours", [Sum(rows=3, amount_minor=20), Sum(rows=2, amount_minor=21)])
def test_a_row_that_was_lost_on_the_way_is_our_mistake_and_no_report(ours: Sum) -> None:
    with pytest.raises(AssertionError, match="do not tie out"):
        tie_out(RowKind.PAYMENT, "CNY", theirs=Sum(rows=2, amount_minor=20), ours=ours, found=[])


def test_rates_are_read_as_people_write_them() -> None:
    assert [parse_rate(text) for text in ("0.6%", "0.006", "0%", "100%", "0.0001%")] == [6_000, 6_000, 0, 1_000_000, 1]
    assert [render_rate(rate_e6) for rate_e6 in (6_000, 3_800, 0, 1_000_000, 1)] == [
        "0.6%",
        "0.38%",
        "0%",
        "100%",
        "0.0001%",
    ]
    for text in ("", "x", "-1%", "101%", "0.00001%", "NaN", "Infinity%"):
        with pytest.raises(Refused, match="rate_malformed"):
            parse_rate(text)


@pytest.mark.parametrize(
    ("moved_at", "made_at", "now", "day"),
    [
        (NOON, NOON, NOON, None),
        # Midnight in Beijing lies between: the day may be compared by then, and so may one that its channel calls the next.
        (NEXT_DAY - timedelta(minutes=2), NOON, NEXT_DAY, DAY),
        (NEXT_DAY, NOON, NEXT_DAY - timedelta(minutes=2), DAY + timedelta(days=1)),
        (NOON, day_begin(DAY) - timedelta(days=1), NOON, None),
        (NOON, day_begin(DAY) - timedelta(days=1, milliseconds=1), NOON, DAY),
        (NOON, None, NOON, None),
        (NOON, None, NEXT_DAY, DAY),
    ],
)
def test_money_is_late_for_a_day_that_is_not_over_only_where_its_order_is_old(
    moved_at: datetime, made_at: datetime | None, now: datetime, day: date | None
) -> None:
    """What is written down needlessly is read with each day; what is not is on no day's side."""
    order_id = None if made_at is None else id_floor(made_at)
    assert late_day(moved_at, now=now, order_id=order_id) == day
