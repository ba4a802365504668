"""A run's tie-out: what each side came to, what was found of it, and what became of that since."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from budan.core.numbers import AccountId
from budan.store.database import Transaction, columns
from budan.store.queries import query

_FORGET = query("tie_out_forget")
_ADD_TALLIES = query("tie_out_add_tallies")
_ADD_SIDES = query("tie_out_add_sides")
_ADD_FINDINGS = query("tie_out_add_findings")
_READ = query("tie_out_read")

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
class KeptRow:
    """A row of a run's tie-out; what `name` and the currencies are depends on its `part`: side, tally or finding."""

    part: str
    kind: str
    their_currency: str | None
    our_currency: str | None
    name: str
    rows_found: int
    their_rows: int
    their_minor: int
    our_rows: int
    our_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptTieOut:
    """A run's tie-out as of one moment; one that was compared before sides were kept has none."""

    tallies: Sequence[TallyRow]
    sides: Sequence[SideRow]
    findings: Sequence[FindingCount]


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


async def read_tie_out(transaction: Transaction, run_id: int) -> KeptTieOut:
    """What a run counted and found, and what became of its differences until now."""
    rows = [KeptRow(**dict(row)) for row in await transaction.many(_READ, run_id)]
    return KeptTieOut(
        tallies=[
            TallyRow(verdict=row.name, currency=row.their_currency or "", **_sums(row))
            for row in rows
            if row.part == "tally"
        ],
        sides=[SideRow(currency=row.their_currency or "", **_sums(row)) for row in rows if row.part == "side"],
        findings=[
            FindingCount(
                their_currency=row.their_currency,
                our_currency=row.our_currency,
                resolution=row.name,
                rows_found=row.rows_found,
                **_sums(row),
            )
            for row in rows
            if row.part == "finding"
        ],
    )


def _sums(row: KeptRow) -> dict[str, Any]:
    return {
        "kind": row.kind,
        "their_rows": row.their_rows,
        "their_minor": row.their_minor,
        "our_rows": row.our_rows,
        "our_minor": row.our_minor,
    }
