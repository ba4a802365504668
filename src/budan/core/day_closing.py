"""What stands against closing a day of the books: bills, differences, and money that waits for somebody."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from enum import Enum


class Stand(Enum):
    """What there is to tell of a day that is to be closed. All but the last two stand against it."""

    BILL_MISSING = "bill_missing"
    UNTIED = "untied"
    DISCREPANCY = "discrepancy"
    HOLD = "hold"
    SUSPENSE = "suspense"
    ADJUSTMENT = "adjustment"
    ONLY_FILE = "only_file"
    NO_BILL = "no_bill"


@dataclass(frozen=True, slots=True, kw_only=True)
class StandPoint:
    """One thing that there is to tell of a day, with how many rows it has and what they come to.

    `day` is the day that is meant, where it is an earlier one: of that something was found once it was closed. `code` is
    why a bill is not compared, `detail` what does not tie out, or who loaded a file. Of a difference the sum is as a report has it; of
    `proposed` rows one person has proposed the end, and a second one has not agreed.
    """

    stand: Stand
    rows_found: int = 1
    account_id: int | None = None
    account: str = ""
    day: date | None = None
    code: str = ""
    detail: str = ""
    kind: str = ""
    verdict: str = ""
    currency: str = ""
    amount_minor: int | None = None
    proposed: int = 0

    @property
    def is_against(self) -> bool:
        """Whether the day is not closed while this stands, unless a person says so."""
        return self.stand not in {Stand.ONLY_FILE, Stand.NO_BILL}

    @property
    def is_shown(self) -> bool:
        """Whether a closed day is never shown without it: by whose word it was compared is told as what stood against it."""
        return self.stand is not Stand.NO_BILL


def list_against(points: Iterable[StandPoint]) -> tuple[StandPoint, ...]:
    """Those for which a day stays open."""
    return tuple(point for point in points if point.is_against)
