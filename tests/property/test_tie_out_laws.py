"""A day ties out when every row of both sides has one outcome, and shows it when one has none, two, or another amount."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st

from budan.core.reconcile import RowKind, Sum
from budan.core.tie_out import Became, Part, Sides, TieOut, tie_day

Money = tuple[str, int]
_MONEY = st.tuples(st.sampled_from(("CNY", "USD")), st.integers(0, 10**12))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of a day as each side has it, and what became of it."""

    kind: RowKind
    became: Became
    theirs: Money | None
    ours: Money | None


MATCHED = st.builds(
    lambda kind, money: Row(kind=kind, became=Became.MATCHED, theirs=money, ours=money),
    st.sampled_from(RowKind),
    _MONEY,
)
OTHERS = st.builds(
    Row,
    kind=st.sampled_from(RowKind),
    became=st.sampled_from([became for became in Became if became is not Became.MATCHED]),
    theirs=st.none() | _MONEY,
    ours=st.none() | _MONEY,
).filter(lambda row: row.theirs is not None or row.ours is not None)
DAYS = st.lists(MATCHED | OTHERS, min_size=1, max_size=12)


def one(row: Row) -> list[Part]:
    """What a row counts as: on each side in that side's own currency."""
    parts: list[Part] = []
    for money, side in ((row.theirs, "theirs"), (row.ours, "ours")):
        if money is not None:
            sides = Sides(**{side: Sum(rows=1, amount_minor=money[1])})
            parts.append(Part(kind=row.kind, currency=money[0], became=row.became, sides=sides))
    return parts


def tie(rows: Sequence[Row], parts: Sequence[Part]) -> tuple[TieOut, ...]:
    """The sides counted apart, row by row, whatever became of them."""
    counted = defaultdict[tuple[RowKind, str], Sides](Sides)
    for row in rows:
        for part in one(row):
            counted[part.kind, part.currency] += part.sides
    return tie_day(counted, parts)


@given(DAYS)
def test_a_day_of_which_every_row_has_one_outcome_ties_out_in_each_kind_and_currency(rows: list[Row]) -> None:
    """Nothing is summed across currencies: each tie-out's sums are those of its own rows."""
    tied = tie(rows, [part for row in rows for part in one(row)])
    assert all(each.ties for each in tied)
    for each in tied:
        theirs = [
            row.theirs[1] for row in rows if row.kind is each.kind and row.theirs and row.theirs[0] == each.currency
        ]
        assert each.accounted.theirs == Sum(rows=len(theirs), amount_minor=sum(theirs))


@given(DAYS, st.data())
def test_a_row_that_is_lost_counted_twice_or_changed_is_seen_where_it_is(rows: list[Row], drawn: st.DataObject) -> None:
    """One that was moved to another currency is missed in the one and too much in the other."""
    parts = [part for row in rows for part in one(row)]
    place = drawn.draw(st.integers(0, len(parts) - 1))
    part = parts[place]
    cent = Sum(rows=0, amount_minor=1)
    wrongs = {
        "lost": [],
        "twice": [part, part],
        "a cent more": [replace(part, sides=part.sides + Sides(theirs=cent))],
        "moved": [replace(part, currency="EUR")],
    }
    for what, instead in wrongs.items():
        tied = tie(rows, [*parts[:place], *instead, *parts[place + 1 :]])
        untied = {(each.kind, each.currency) for each in tied if not each.ties}
        assert (part.kind, part.currency) in untied, what
        assert untied <= {(part.kind, part.currency), (part.kind, "EUR")}, what


def test_what_matched_is_the_same_on_both_sides() -> None:
    """Each side may add up by itself, and the channel still settle another sum than we booked."""
    sides = Sides(theirs=Sum(rows=1, amount_minor=5), ours=Sum(rows=1, amount_minor=6))
    part = Part(kind=RowKind.PAYMENT, currency="CNY", became=Became.MATCHED, sides=sides)
    (tied,) = tie_day({(RowKind.PAYMENT, "CNY"): sides}, [part])
    assert (tied.accounted, tied.ties) == (sides, False)
