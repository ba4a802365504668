"""The report of one run: what both sides have, what agrees, what differs, and what became of it since."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from budan.core.journal import render_money
from budan.core.numbers import AccountId
from budan.core.reconcile import AGREED, DAY_FEES, FeeBounds, RowKind, Sum, Verdict
from budan.core.tie_out import Became, Part, Sides, TieOut, agreed_as, ended_as, tie_day
from budan.store import day_closing as closing
from budan.store import ledger
from budan.store import reconcile as stored
from budan.store.database import Database, Transaction
from budan.store.ledger import ClosedDay
from budan.store.reconcile import DiscrepancyCount, RunRow
from budan.store.tie_out import FindingCount, SideRow, TallyRow, read_tie_out

# What a report always names, also where it is nothing.
ALWAYS_TOLD: Final = frozenset({Became.MATCHED, Became.REPAIRED, Became.OPEN})
# What a line is called that has all rows of its kind and currency.
ALL: Final = "all"
# More runs than that end in no night: accounts, days that came late, and parts of a day.
RUNS_CHECKED_MAX: Final = 1_000
# A day that was not closed for longer waits for something that no figure mends.
DAYS_WATCHED: Final = 31


@dataclass(frozen=True, slots=True, kw_only=True)
class TieLine:
    """What became of some rows of one kind, or all of them, on both sides in one currency."""

    kind: str
    currency: str
    name: str
    sides: Sides


@dataclass(frozen=True, slots=True, kw_only=True)
class UntiedSide:
    """A side, `there` or `here`, of which another sum is accounted for than was counted."""

    kind: str
    currency: str
    side: str
    counted: Sum
    known: Sum


@dataclass(frozen=True, slots=True, kw_only=True)
class Untied:
    """Another reason why a report does not tie out.

    `older_release`: nobody counted its sides. `matched`: of this kind what matched is not the same on both sides.
    `lines`: so many of the bill's rows are counted, and not all.
    """

    what: Literal["older_release", "matched", "lines"]
    kind: str = ""
    counted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DayReport:
    """A run with its tie-out; `counts` are of the account's whole day, for a later bill may have added to it.

    `sides` is what the run counted, `tallies` what it found, and `findings` what became of that until now.
    `closed` is how the books of its day were closed, None while they are open.
    """

    run: RunRow
    tallies: Sequence[TallyRow]
    sides: Sequence[SideRow]
    findings: Sequence[FindingCount]
    counts: Sequence[DiscrepancyCount]
    closed: ClosedDay | None

    @property
    def tie_outs(self) -> tuple[TieOut, ...]:
        """Each kind in each currency: what was counted, and what became of every row of it."""
        counted = {
            (RowKind(side.kind), side.currency): Sides(
                theirs=Sum(rows=side.their_rows, amount_minor=side.their_minor),
                ours=Sum(rows=side.our_rows, amount_minor=side.our_minor),
            )
            for side in self.sides
        }
        return tie_day(counted, self._parts())

    @property
    def ties_out(self) -> bool:
        """Whether every row and every cent of both sides is accounted for, in each kind and currency."""
        return all(one.ties for one in self.tie_outs) and self._counted_rows == self.run.lines

    def list_untied(self) -> Sequence[UntiedSide | Untied]:
        """What does not tie out; nothing where all does."""
        if self.tallies and not self.sides:
            return [Untied(what="older_release")]
        found = [part for one in self.tie_outs if not one.ties for part in _untied_parts(one)]
        if self._counted_rows != self.run.lines:
            found.append(Untied(what="lines", counted=self._counted_rows))
        return found

    def tell_untied(self) -> list[str]:
        """What does not tie out, in English for people; nothing where all does."""
        return [_tell_untied(found, lines=self.run.lines) for found in self.list_untied()]

    def tie_lines(self) -> list[TieLine]:
        """What became of the rows of each kind and currency, and all of them as they were counted, in this order."""
        lines: list[TieLine] = []
        for one in self.tie_outs:
            kind, currency = one.kind.value, one.currency
            lines += [
                TieLine(kind=kind, currency=currency, name=became.value, sides=one.became.get(became, Sides()))
                for became in Became
                if became in one.became or became in ALWAYS_TOLD
            ]
            lines.append(TieLine(kind=kind, currency=currency, name=ALL, sides=one.counted))
        return lines

    @property
    def _counted_rows(self) -> int:
        return sum(side.their_rows for side in self.sides)

    def _parts(self) -> Iterator[Part]:
        """What agreed when it was compared, then what became of each difference, which counts as it did then."""
        for tally in self.tallies:
            if Verdict(tally.verdict) in AGREED:
                sides = Sides(
                    theirs=Sum(rows=tally.their_rows, amount_minor=tally.their_minor),
                    ours=Sum(rows=tally.our_rows, amount_minor=tally.our_minor),
                )
                became = agreed_as(Verdict(tally.verdict))
                yield Part(kind=RowKind(tally.kind), currency=tally.currency, became=became, sides=sides)
        for found in self.findings:
            if found.kind == DAY_FEES:
                continue
            kind, became = RowKind(found.kind), ended_as(found.resolution)
            if found.their_currency is not None:
                theirs = Sides(theirs=Sum(rows=found.their_rows, amount_minor=found.their_minor))
                yield Part(kind=kind, currency=found.their_currency, became=became, sides=theirs)
            if found.our_currency is not None:
                ours = Sides(ours=Sum(rows=found.our_rows, amount_minor=found.our_minor))
                yield Part(kind=kind, currency=found.our_currency, became=became, sides=ours)

    @property
    def matched(self) -> int:
        """How many rows of the bill agree with ours."""
        return sum(tally.their_rows for tally in self.tallies if Verdict(tally.verdict) in AGREED)

    @property
    def differences(self) -> int:
        """How many rows, of either side, do not."""
        sides = defaultdict[tuple[str, str], list[tuple[int, int]]](list)
        for tally in self.tallies:
            if Verdict(tally.verdict) not in AGREED:
                sides[tally.kind, tally.verdict].append((tally.their_rows, tally.our_rows))
        # Where currencies differ the two sides of one row stand in two lines.
        return sum(max(map(sum, zip(*rows, strict=True))) for rows in sides.values())

    @property
    def repaired(self) -> int:
        """How many differences ended because the channel's word completed what was missing here."""
        return sum(count.rows_found for count in self.counts if count.resolution == "repaired")

    @property
    def unresolved(self) -> int:
        """How many wait: for the channel's word, for the bill of the day beside, or for a person."""
        return sum(count.rows_found for count in self.counts if count.state != "resolved")

    @property
    def fees_fit(self) -> bool | None:
        """Whether the sum of the bill's fees is what the contract says, to the rounding of each; None where nobody knows."""
        run = self.run
        if run.fee_wanted_e5 is None or run.fee_least_e5 is None or run.fee_most_e5 is None:
            return None
        bounds = FeeBounds(wanted_e5=run.fee_wanted_e5, least_e5=run.fee_least_e5, most_e5=run.fee_most_e5)
        return bounds.has(run.fee_e5)

    @property
    def unresolved_elsewhere(self) -> int:
        """How many of them are of other bills of the day: this one does not have them."""
        return self.unresolved - sum(found.rows_found for found in self.findings if not found.resolution)

    def tell_sums(self) -> str:
        """The sum of the bill's fees and what it should be, and what is settled otherwise or waits, for people."""
        told = [self.tell_fees()]
        if self.unsettled:
            sums = ", ".join(render_money(minor, currency=currency) for currency, minor in self.unsettled.items())
            told.append(f"SETTLED OTHERWISE than ordered by {sums}.")
        if self.unresolved_elsewhere:
            told.append(f"{self.unresolved_elsewhere} of the unresolved are of other bills of the day.")
        return " ".join(told)

    def tell_fees(self) -> str:
        """The sum of the bill's fees and what it should be, for people."""
        run = self.run
        told = f"Fees there {_major(run.fee_e5)}"
        if run.fee_wanted_e5 is None or run.fee_least_e5 is None or run.fee_most_e5 is None:
            return f"{told}, not judged."
        fits = "which fits" if self.fees_fit else "WHICH DIFFERS"
        between = f"{_major(run.fee_least_e5)} to {_major(run.fee_most_e5)} as each is rounded"
        return f"{told}, by the contract {_major(run.fee_wanted_e5)} ({between}), {fits}."

    @property
    def unsettled(self) -> dict[str, int]:
        """How much the channel settles otherwise than the orders' amounts, by which merchants are credited.

        By currency, in minor units.
        """
        sums = defaultdict[str, int](int)
        for count in self.counts:
            if count.verdict == Verdict.SETTLE_DIFFERS.value and count.resolution != "gone":
                sums[count.currency] += count.amount_minor
        return dict(sums)

    def as_json(self) -> dict[str, object]:
        """The counts and sums of each verdict, for machines."""
        run = self.run
        return {
            "run": run.id,
            "account": run.account_id,
            "account_name": run.account_name,
            "channel": run.channel,
            "day": run.day,
            "origin": run.origin,
            "partial": run.is_partial,
            "loaded_by": run.loaded_by or None,
            "digest": run.digest.hex(),
            "begun_at": run.begun_at,
            "ended_at": run.ended_at,
            "lines": run.lines,
            "fee_e5": run.fee_e5,
            "fee_wanted_e5": run.fee_wanted_e5,
            "fee_least_e5": run.fee_least_e5,
            "fee_most_e5": run.fee_most_e5,
            "fees_fit": self.fees_fit,
            "rate_e6": run.rate_e6,
            "settle_differs_minor": _of_one(self.unsettled),
            "settle_differs": self.unsettled,
            "matched": self.matched,
            "differences": self.differences,
            "repaired": self.repaired,
            "unresolved": self.unresolved,
            "unresolved_elsewhere": self.unresolved_elsewhere,
            "closed": self.closed,
            "ties_out": self.ties_out,
            "untied": self.tell_untied(),
            "tie_out": [_tie_json(one) for one in self.tie_outs],
            "kinds": {kind.value: self._kind(kind) for kind in RowKind},
            "outcomes": self._outcomes(),
            "discrepancies": list(self.counts),
        }

    def _kind(self, kind: RowKind) -> dict[str, object]:
        """As scripts know it; where rows are of several currencies their sum is null, and `tie_out` has each."""
        tallies = [tally for tally in self.tallies if tally.kind == kind.value]
        counted = [side for side in self.sides if side.kind == kind.value]
        verdicts = {
            name: _sides_json([tally for tally in tallies if tally.verdict == name])
            for name in dict.fromkeys(tally.verdict for tally in tallies)
        }
        return _sides_json(counted or tallies) | {"verdicts": verdicts}

    def _outcomes(self) -> dict[str, object]:
        """As scripts know it: rows of the bill that agree, and how many differences were repaired, ended or are open."""
        rows = dict.fromkeys(("matched", "repaired", "ended", "open"), 0)
        sums = {name: defaultdict[str, int](int) for name in rows}
        for tally in self.tallies:
            if Verdict(tally.verdict) in AGREED and tally.their_rows:
                rows["matched"] += tally.their_rows
                sums["matched"][tally.currency] += tally.their_minor
        for found in self.findings:
            currency = found.their_currency or found.our_currency
            if currency is None:
                continue
            ended = "repaired" if found.resolution == "repaired" else "ended"
            name = ended if found.resolution else "open"
            rows[name] += found.rows_found
            sums[name][currency] += found.our_minor if found.their_currency is None else found.their_minor
        return {name: {"rows": rows[name], "minor": _of_one(sums[name]), "sums": sums[name]} for name in rows}


def _of_one(sums: Mapping[str, int]) -> int | None:
    """The sum where all of it is of one currency; None where it would be of several."""
    return None if len(sums) > 1 else sum(sums.values())


def _sides_json(lines: Sequence[TallyRow] | Sequence[SideRow]) -> dict[str, object]:
    there, here = defaultdict[str, int](int), defaultdict[str, int](int)
    for line in lines:
        if line.their_rows:
            there[line.currency] += line.their_minor
        if line.our_rows:
            here[line.currency] += line.our_minor
    return {
        "there": {"rows": sum(line.their_rows for line in lines), "minor": _of_one(there)},
        "here": {"rows": sum(line.our_rows for line in lines), "minor": _of_one(here)},
    }


def _tie_json(one: TieOut) -> dict[str, object]:
    return {
        "kind": one.kind.value,
        "currency": one.currency,
        "ties": one.ties,
        **_both(one.counted),
        "outcomes": {became.value: _both(sides) for became, sides in one.became.items()},
    }


def _both(sides: Sides) -> dict[str, object]:
    return {
        "there": {"rows": sides.theirs.rows, "minor": sides.theirs.amount_minor},
        "here": {"rows": sides.ours.rows, "minor": sides.ours.amount_minor},
    }


def _untied_parts(one: TieOut) -> list[UntiedSide | Untied]:
    counted, known = one.counted, one.accounted
    sides = {"there": (counted.theirs, known.theirs), "here": (counted.ours, known.ours)}
    found: list[UntiedSide | Untied] = [
        UntiedSide(kind=one.kind.value, currency=one.currency, side=side, counted=was, known=now)
        for side, (was, now) in sides.items()
        if was != now
    ]
    return found or [Untied(what="matched", kind=one.kind.value)]


def _tell_untied(found: UntiedSide | Untied, *, lines: int) -> str:
    match found:
        case UntiedSide():
            was, now = _tell(found.counted, found.currency), _tell(found.known, found.currency)
            return f"{found.kind}: {found.side} {was} counted, {now} accounted for"
        case Untied(what="older_release"):
            return "its sides were counted by an older release: load its bill again, and it is compared anew"
        case Untied(what="matched"):
            return f"{found.kind}: what matched is not the same on both sides"
        case _:
            return f"the bill has {lines} rows, of which {found.counted} are counted"


def _tell(found: Sum, currency: str) -> str:
    return f"{found.rows} rows of {render_money(found.amount_minor, currency=currency)}"


def _major(amount_e5: int) -> str:
    """An amount of 100,000ths of the major unit."""
    sign, whole = "-" if amount_e5 < 0 else "", abs(amount_e5)
    return f"{sign}{whole // 100_000}.{whole % 100_000:05}"


async def read_report(transaction: Transaction, run: RunRow) -> DayReport:
    """The report of a run as its differences stand now."""
    kept = await read_tie_out(transaction, run.id)
    return DayReport(
        run=run,
        tallies=kept.tallies,
        sides=kept.sides,
        findings=kept.findings,
        counts=await stored.count_discrepancies(transaction, AccountId(run.account_id), day=run.day),
        closed=await ledger.find_day(transaction, run.day),
    )


async def count_untied(database: Database, *, since: datetime) -> int:
    """How many of the runs that ended since a moment do not tie out, of the newest `RUNS_CHECKED_MAX`."""
    async with database.reading_statement() as transaction:
        runs = await stored.list_runs(transaction, ended_since=since, rows_max=RUNS_CHECKED_MAX)
    untied = 0
    for run in runs:
        # Of their own: a thousand reports in one transaction would hold it open for long.
        async with database.reading() as transaction:
            untied += not (await read_report(transaction, run)).ties_out
    return untied


async def count_untied_days(database: Database) -> dict[int, int]:
    """How many days of each account do not tie out, by the newest whole bill of each; 0 where all do.

    Of the last `DAYS_WATCHED`: those that are not closed, and those that were compared since the last one was.
    """
    async with database.reading_statement() as transaction:
        run_ids = await closing.list_watched_runs(transaction, days=DAYS_WATCHED, rows_max=RUNS_CHECKED_MAX)
    untied = Counter[int]()
    for run_id in run_ids:
        async with database.reading() as transaction:
            (run,) = await stored.list_runs(transaction, run_id=run_id, rows_max=1)
            untied[run.account_id] += not (await read_report(transaction, run)).ties_out
    return dict(untied)
