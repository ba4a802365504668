"""What became of every row of both sides of a day, and whether that adds up to what was counted."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from budan.core.reconcile import RowKind, Sum, Verdict


class Became(Enum):
    """What became of a row since its bill was compared.

    `NEIGHBOUR_DAY` was seen at once or later, `GONE` is a difference that a later bill of the day has no more, `BY_HAND` one
    that a person ended, `OPEN` one that nobody has: it waits for the channel, for the bill beside, or for a person.
    """

    MATCHED = "matched"
    NEIGHBOUR_DAY = "neighbour_day"
    RETURNED = "returned"
    REPAIRED = "repaired"
    GONE = "gone"
    BY_HAND = "by_hand"
    OPEN = "open"


_AGREED_AS: Final = {
    Verdict.MATCHED: Became.MATCHED,
    Verdict.NEIGHBOUR_DAY: Became.NEIGHBOUR_DAY,
    Verdict.RETURNED: Became.RETURNED,
}
_ENDED_AS: Final = {
    "repaired": Became.REPAIRED,
    "neighbour_day": Became.NEIGHBOUR_DAY,
    "gone": Became.GONE,
    "accepted": Became.BY_HAND,
    "corrected": Became.BY_HAND,
    "refunded": Became.BY_HAND,
    "claimed": Became.BY_HAND,
}


_NOTHING: Final = Sum()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """What the bill and we have of some rows, in one currency."""

    theirs: Sum = _NOTHING
    ours: Sum = _NOTHING

    def __add__(self, other: "Sides") -> "Sides":
        return Sides(theirs=self.theirs + other.theirs, ours=self.ours + other.ours)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Rows of one kind and currency that became the same."""

    kind: RowKind
    currency: str
    became: Became
    sides: Sides


@dataclass(frozen=True, slots=True, kw_only=True)
class TieOut:
    """Rows of one kind in one currency: what was counted on each side, and what became of them."""

    kind: RowKind
    currency: str
    counted: Sides
    became: Mapping[Became, Sides]

    @property
    def accounted(self) -> Sides:
        """What all that we know the outcome of comes to."""
        return sum(self.became.values(), Sides())

    @property
    def ties(self) -> bool:
        """Whether rows and sums of each side are those of its outcomes, and what matched is the same on both sides."""
        matched = self.became.get(Became.MATCHED, Sides())
        return self.accounted == self.counted and matched.theirs == matched.ours


def agreed_as(verdict: Verdict) -> Became:
    """What rows became that agreed when they were compared."""
    return _AGREED_AS[verdict]


def ended_as(resolution: str) -> Became:
    """What a difference became that ended so; "" where it has not."""
    return _ENDED_AS[resolution] if resolution else Became.OPEN


def tie_day(counted: Mapping[tuple[RowKind, str], Sides], parts: Iterable[Part]) -> tuple[TieOut, ...]:
    """A day's parts beside what was counted, by kind and currency; nothing is summed across either.

    What was never counted and has parts all the same is there too: it does not tie.
    """
    became: defaultdict[tuple[RowKind, str], dict[Became, Sides]] = defaultdict(dict)
    for part in parts:
        of_key = became[part.kind, part.currency]
        of_key[part.became] = of_key.get(part.became, Sides()) + part.sides
    places = {kind: place for place, kind in enumerate(RowKind)}
    keys = sorted(counted.keys() | became.keys(), key=lambda key: (places[key[0]], key[1]))
    return tuple(
        TieOut(
            kind=kind,
            currency=currency,
            counted=counted.get((kind, currency), Sides()),
            became={name: became[kind, currency][name] for name in Became if name in became[kind, currency]},
        )
        for kind, currency in keys
    )
