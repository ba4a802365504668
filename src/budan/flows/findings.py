"""What a comparison has found, as rows to be kept: both sides' sums by verdict, the differences, and the day's fees."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from budan.core.reconcile import (
    AGREED,
    DAY_FEES,
    MINOR_E5,
    FeeBase,
    FeeBounds,
    FeesBack,
    RowKind,
    Sum,
    Tally,
    Verdict,
    bound_fees,
    settled_otherwise,
    tie_out,
)
from budan.flows.judged_rows import KINDS
from budan.flows.judging import Judged, Judgement
from budan.store.matching import SideSum
from budan.store.reconcile import NewDiscrepancy
from budan.store.tie_out import NewFinding, SideRow, TallyRow

# Channels tell and take their fees in the currency that they settle in.
FEE_CURRENCY: Final = "CNY"
# What the table holds; no number of a channel that we know of is half as long.
SUBJECT_LENGTH_MAX: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class DayFees:
    """The sum of a bill's fees, in 100,000ths of the major unit; `bounds` is None where it is not judged."""

    fee_e5: int
    bounds: FeeBounds | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """The differences of a run, and beside each what it counts as."""

    rows: Sequence[NewDiscrepancy]
    counted: Sequence[NewFinding]


def tie_sides(
    theirs: Sequence[SideSum], ours: Sequence[SideSum], judgement: Judgement
) -> tuple[list[TallyRow], list[SideRow]]:
    """The lines of a day by kind, currency and verdict, and what was counted of each kind and currency.

    Raises AssertionError where both do not tie out.
    """
    their_sums = {(KINDS[side.kind], side.currency): _sum(side) for side in theirs}
    our_sums = {(KINDS[side.kind], side.currency): _sum(side) for side in ours}
    for key, late in judgement.late.items():
        our_sums[key] = our_sums.get(key, Sum()) + late
    found = judgement.tallies()
    tallies: list[Tally] = []
    sides: list[SideRow] = []
    for kind, currency in sorted(their_sums.keys() | our_sums.keys() | found.keys(), key=_place):
        there, here = (sums.get((kind, currency), Sum()) for sums in (their_sums, our_sums))
        tallies += tie_out(kind, currency, theirs=there, ours=here, found=found.get((kind, currency), ()))
        if there.rows or here.rows:
            sides.append(_side_row(kind, currency, theirs=there, ours=here))
    return [_tally_row(tally) for tally in tallies if tally.theirs.rows or tally.ours.rows], sides


def bound_day_fees(theirs: Sequence[SideSum], *, rate_e6: int | None, beyond: FeesBack) -> DayFees:
    """Judged is a bill that tells fees, of an account with a contract. What goes back of another rate's payment is of that.

    A contract's rate says nothing of an amount in another currency: the fees of such rows are taken as they are told.
    """
    told_e5 = sum(side.fee_e5 for side in theirs)
    judged = [side for side in theirs if side.currency == FEE_CURRENCY]
    if rate_e6 is None or not any(side.fee_base.rows for side in judged):
        return DayFees(fee_e5=told_e5, bounds=None)
    paid = [side.fee_base for side in judged if KINDS[side.kind] is RowKind.PAYMENT]
    back = [side.fee_base for side in judged if KINDS[side.kind] is not RowKind.PAYMENT]
    foreign_e5 = told_e5 - sum(side.fee_e5 for side in judged)
    bounds = bound_fees(
        sum(paid, FeeBase()),
        sum(back, FeeBase()),
        rate_e6=rate_e6,
        beyond=FeesBack(least_e5=beyond.least_e5 - foreign_e5, most_e5=beyond.most_e5 - foreign_e5),
    )
    return DayFees(fee_e5=told_e5, bounds=bounds)


def list_findings(rows: Sequence[Judged], fees: DayFees) -> Findings:
    """The differences among the judged rows; rows of one subject are told apart by how many of it came before."""
    seen: dict[tuple[RowKind, str], int] = {}
    differences: list[NewDiscrepancy] = []
    counted: list[NewFinding] = []
    for judged in rows:
        if judged.verdict in AGREED:
            continue
        subject = judged.subject[:SUBJECT_LENGTH_MAX]
        occurrence = seen.get((judged.kind, subject), 0)
        seen[judged.kind, subject] = occurrence + 1
        differences.append(_discrepancy(judged, subject=subject, occurrence=occurrence))
        counted.append(_finding(judged, subject=subject, occurrence=occurrence))
    if fees.bounds is not None and not fees.bounds.has(fees.fee_e5):
        differences.append(_fee_sum(fees.fee_e5, fees.bounds))
        counted.append(_no_row(DAY_FEES))
    return Findings(rows=differences, counted=counted)


def _sum(side: SideSum) -> Sum:
    return Sum(rows=side.rows, amount_minor=side.amount_minor)


def _place(key: tuple[RowKind, str]) -> tuple[str, str]:
    return key[0].value, key[1]


def _tally_row(tally: Tally) -> TallyRow:
    return TallyRow(
        kind=tally.kind.value,
        currency=tally.currency,
        verdict=tally.verdict.value,
        their_rows=tally.theirs.rows,
        their_minor=tally.theirs.amount_minor,
        our_rows=tally.ours.rows,
        our_minor=tally.ours.amount_minor,
    )


def _side_row(kind: RowKind, currency: str, *, theirs: Sum, ours: Sum) -> SideRow:
    return SideRow(
        kind=kind.value,
        currency=currency,
        their_rows=theirs.rows,
        their_minor=theirs.amount_minor,
        our_rows=ours.rows,
        our_minor=ours.amount_minor,
    )


def _discrepancy(judged: Judged, *, subject: str, occurrence: int) -> NewDiscrepancy:
    row, ours = judged.row, judged.ours
    assert row is not None or ours is not None
    number = None if ours is None else ours.number
    currency = row.currency if row is not None else ours.currency if ours is not None else ""
    their_minor, (our_minor, our_currency) = _their_amount(judged), _our_amount(judged)
    lonely = ours.suspended if row is None and ours is not None else None
    return NewDiscrepancy(
        kind=judged.kind.value,
        subject=subject,
        occurrence=occurrence,
        verdict=judged.verdict.value,
        line_no=None if row is None else row.line_no,
        # Of what the bill lacks it tells money in suspense from the trade's own.
        channel_no=lonely.payment if lonely is not None else None if row is None else row.channel_no,
        happened_at=row.happened_at if row is not None else ours.moved_at if ours is not None else None,
        status=None if row is None else row.status,
        currency=currency,
        their_minor=their_minor,
        our_minor=our_minor,
        our_currency=our_currency if our_currency != currency else None,
        fee_e5=None if row is None else row.fee_e5,
        lane=None if number is None else number.lane,
        order_id=None if number is None else number.order_id,
        ordinal=None if number is None else number.ordinal,
        state=judged.state,
    )


def _their_amount(judged: Judged) -> int | None:
    """What the bill says of what a difference is about."""
    row, ours = judged.row, judged.ours
    if judged.verdict is Verdict.SETTLE_DIFFERS and row is not None and ours is not None:
        # Both sides have the order's amount: what differs is what the channel settles of it.
        return settled_otherwise(row, ours)
    return None if row is None else row.amount_minor


def _our_amount(judged: Judged) -> tuple[int | None, str | None]:
    """What we say of it, and its currency."""
    ours = judged.ours
    if ours is None:
        return None, None
    if judged.verdict is Verdict.IN_SUSPENSE and ours.suspended is not None:
        # Both sides have what came: what differs is what its trade is about.
        return ours.suspended.wanted_minor, ours.suspended.wanted_currency
    # Of what has not moved here only an amount that differs is told: that is what the difference is about.
    is_told = ours.has_moved or judged.verdict in {Verdict.AMOUNT_DIFFERS, Verdict.CURRENCY_DIFFERS}
    return ours.amount_minor if is_told else None, ours.currency


def _finding(judged: Judged, *, subject: str, occurrence: int) -> NewFinding:
    """What a difference counts as: the same sums as its verdict's line of the tie-out is made of."""
    row, ours = judged.row, judged.ours
    is_here = ours is not None and judged.counted_here.rows > 0
    return NewFinding(
        kind=judged.kind.value,
        subject=subject,
        occurrence=occurrence,
        their_currency=None if row is None else row.currency,
        their_minor=None if row is None else judged.theirs.amount_minor,
        our_currency=ours.currency if is_here and ours is not None else None,
        our_minor=judged.counted_here.amount_minor if is_here else None,
    )


def _no_row(kind: str) -> NewFinding:
    return NewFinding(
        kind=kind,
        subject=kind,
        occurrence=0,
        their_currency=None,
        their_minor=None,
        our_currency=None,
        our_minor=None,
    )


def _fee_sum(fee_e5: int, bounds: FeeBounds) -> NewDiscrepancy:
    """The difference of a day whose fees together do not fit the contract: what the channel took, and what it may take.

    Rows that are ours are judged one by one as well; what is taken of the others only the sum shows.
    """
    return NewDiscrepancy(
        kind=DAY_FEES,
        subject=DAY_FEES,
        occurrence=0,
        verdict=Verdict.FEE_SUM_DIFFERS.value,
        line_no=None,
        channel_no=None,
        happened_at=None,
        status=None,
        currency=FEE_CURRENCY,
        their_minor=_minor(fee_e5),
        our_minor=_minor(bounds.wanted_e5),
        our_currency=None,
        fee_e5=fee_e5,
        lane=None,
        order_id=None,
        ordinal=None,
        state="open",
    )


def _minor(amount_e5: int) -> int:
    """Hundred-thousandths as minor units, rounded half up: for people to see, the run has the sum itself."""
    return (amount_e5 + MINOR_E5 // 2) // MINOR_E5
