"""The report of one run: what both sides have, what agrees, what differs, and what became of it since."""

from collections.abc import Sequence
from dataclasses import dataclass

from budan.core.numbers import AccountId
from budan.core.reconcile import AGREED, FeeBounds, RowKind, Sum, Verdict
from budan.store import reconcile as stored
from budan.store.database import Transaction
from budan.store.reconcile import DiscrepancyCount, RunRow, TallyRow


@dataclass(frozen=True, slots=True, kw_only=True)
class DayReport:
    """A run with its tie-out; `counts` are of the account's whole day, for a later bill may have added to it."""

    run: RunRow
    tallies: Sequence[TallyRow]
    counts: Sequence[DiscrepancyCount]

    def sides(self, kind: RowKind) -> tuple[int, int, int, int]:
        """Rows and sum there, rows and sum here, of one kind."""
        of_kind = [tally for tally in self.tallies if tally.kind == kind.value]
        return (
            sum(tally.their_rows for tally in of_kind),
            sum(tally.their_minor for tally in of_kind),
            sum(tally.our_rows for tally in of_kind),
            sum(tally.our_minor for tally in of_kind),
        )

    @property
    def matched(self) -> int:
        """How many rows of the bill agree with ours."""
        return sum(tally.their_rows for tally in self.tallies if Verdict(tally.verdict) in AGREED)

    @property
    def differences(self) -> int:
        """How many rows, of either side, do not."""
        return sum(
            max(tally.their_rows, tally.our_rows) for tally in self.tallies if Verdict(tally.verdict) not in AGREED
        )

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

    def tell_sums(self) -> str:
        """The sum of the bill's fees and what it should be, and what the channel settles otherwise, for people."""
        if not self.unsettled_minor:
            return self.tell_fees()
        minor = self.unsettled_minor
        return f"{self.tell_fees()} SETTLED OTHERWISE than ordered by {minor // 100}.{minor % 100:02}."

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
    def unsettled_minor(self) -> int:
        """How much the channel settles otherwise than the orders' amounts, by which merchants are credited; in minor units."""
        found = (count for count in self.counts if count.verdict == Verdict.SETTLE_DIFFERS.value)
        return sum(count.amount_minor for count in found if count.resolution != "gone")

    def outcomes(self) -> dict[str, Sum]:
        """What agrees, and what became of each difference: repaired, ended otherwise, or open."""
        found = {"matched": Sum(), "repaired": Sum(), "ended": Sum(), "open": Sum()}
        for tally in self.tallies:
            if Verdict(tally.verdict) in AGREED:
                found["matched"] += Sum(rows=tally.their_rows, amount_minor=tally.their_minor)
        for count in self.counts:
            ended = "repaired" if count.resolution == "repaired" else "ended"
            found[ended if count.state == "resolved" else "open"] += Sum(
                rows=count.rows_found, amount_minor=count.amount_minor
            )
        return found

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
            "settle_differs_minor": self.unsettled_minor,
            "matched": self.matched,
            "differences": self.differences,
            "repaired": self.repaired,
            "unresolved": self.unresolved,
            "kinds": {kind.value: self._kind(kind) for kind in RowKind},
            "outcomes": {
                name: {"rows": found.rows, "minor": found.amount_minor} for name, found in self.outcomes().items()
            },
            "discrepancies": list(self.counts),
        }

    def _kind(self, kind: RowKind) -> dict[str, object]:
        their_rows, their_minor, our_rows, our_minor = self.sides(kind)
        return {
            "there": {"rows": their_rows, "minor": their_minor},
            "here": {"rows": our_rows, "minor": our_minor},
            "verdicts": {
                tally.verdict: {
                    "there": {"rows": tally.their_rows, "minor": tally.their_minor},
                    "here": {"rows": tally.our_rows, "minor": tally.our_minor},
                }
                for tally in self.tallies
                if tally.kind == kind.value
            },
        }


def _major(amount_e5: int) -> str:
    """An amount of 100,000ths of the major unit."""
    sign, whole = "-" if amount_e5 < 0 else "", abs(amount_e5)
    return f"{sign}{whole // 100_000}.{whole % 100_000:05}"


async def read_report(transaction: Transaction, run: RunRow) -> DayReport:
    """The report of a run as its differences stand now."""
    return DayReport(
        run=run,
        tallies=await stored.list_tallies(transaction, run.id),
        counts=await stored.count_discrepancies(transaction, AccountId(run.account_id), day=run.day),
    )
