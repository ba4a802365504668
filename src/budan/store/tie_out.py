"""A run's tie-out: what each side came to, what was found of it, and what became of that since."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from budan.core.numbers import AccountId
from budan.store.database import Transaction, columns
from budan.store.queries import query

_FORGET = query("tie_out_forget")
_ADD_TALLIES = query("tie_out_add_tallies")
_ADD_SIDES = query("tie_out_add_sides")
_ADD_FINDINGS = query("tie_out_add_findings")
_LIST_TALLIES = query("tie_out_list_tallies")
_LIST_SIDES = query("tie_out_list_sides")
_COUNT_FINDINGS = query("tie_out_count_findings")

# The findings of one statement: below a second, and below any array's limits.
ROWS_PER_STATEMENT = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TallyRow:
    """Rows of one kind and currency under one verdict."""

    kind: str
    currency: str
    verdict: str
    their_rows: int
    their_minor: int
    our_rows: int
    our_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SideRow:
    """Rows of one kind and currency as they were counted on each side, apart from all comparing."""

    kind: str
    currency: str
    their_rows: int
    their_minor: int
    our_rows: int
    our_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFinding:
    """A difference that a run found, by its key within the day, and the row that it counts as on each side.

    Currency and amount are None where it counts as none there.
    """

    kind: str
    subject: str
    occurrence: int
    their_currency: str | None
    their_minor: int | None
    our_currency: str | None
    our_minor: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingCount:
    """Differences of a run that ended alike; `resolution` is "" where they have not, a currency None where no row counts.

    `rows_found` is how many they are, whatever they count as.
    """

    kind: str
    their_currency: str | None
    our_currency: str | None
    resolution: str
    rows_found: int
    their_rows: int
    their_minor: int
    our_rows: int
    our_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTieOut:
    """All of a run's tie-out."""

    tallies: Sequence[TallyRow]
    sides: Sequence[SideRow]
    findings: Sequence[NewFinding]


async def forget_tie_out(transaction: Transaction, run_id: int) -> None:
    """A run's tie-out is gone; the caller writes it anew."""
    await transaction.none(_FORGET, run_id)


async def add_tie_out(
    transaction: Transaction, account_id: AccountId, *, day: date, run_id: int, tie_out: NewTieOut
) -> None:
    """Keep a run's tie-out, once its differences are written."""
    lines = [
        (line.kind, line.currency, line.verdict, line.their_rows, line.their_minor, line.our_rows, line.our_minor)
        for line in tie_out.tallies
    ]
    await transaction.none(_ADD_TALLIES, run_id, *columns(lines, 7))
    sides = [
        (side.kind, side.currency, side.their_rows, side.their_minor, side.our_rows, side.our_minor)
        for side in tie_out.sides
    ]
    await transaction.none(_ADD_SIDES, run_id, *columns(sides, 6))
    for first in range(0, len(tie_out.findings), ROWS_PER_STATEMENT):
        found = [
            (
                *(one.kind, one.subject, one.occurrence),
                *(one.their_currency, one.their_minor, one.our_currency, one.our_minor),
            )
            for one in tie_out.findings[first : first + ROWS_PER_STATEMENT]
        ]
        await transaction.none(_ADD_FINDINGS, account_id, day, run_id, *columns(found, 7))


async def list_tallies(transaction: Transaction, run_id: int) -> list[TallyRow]:
    """What both sides have under each verdict."""
    return [TallyRow(**dict(row)) for row in await transaction.many(_LIST_TALLIES, run_id)]


async def list_sides(transaction: Transaction, run_id: int) -> list[SideRow]:
    """What a run counted on each side; nothing of one that was compared before this was kept."""
    return [SideRow(**dict(row)) for row in await transaction.many(_LIST_SIDES, run_id)]


async def count_findings(transaction: Transaction, run_id: int) -> list[FindingCount]:
    """What became of the differences that a run found."""
    return [FindingCount(**dict(row)) for row in await transaction.many(_COUNT_FINDINGS, run_id)]
