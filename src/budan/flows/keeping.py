"""What the database needs in time: partitions ahead, counts of what is due, and forgeries and old secrets forgotten."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final

from budan.core.numbers import Lane
from budan.flows.bill_days import OPEN_ROWS_MAX, bill_is_late
from budan.flows.day_report import count_untied_days
from budan.flows.waiting import count_waiting
from budan.store import bill_days, endpoints, notices, partitions, reconcile, work
from budan.store.database import Database, RowsFailed
from budan.store.reconcile import OpenAges
from budan.store.waiting import WaitingCount
from budan.store.work import DueCount

# The continuous loops, by the work that they find due.
KINDS: Final = ("query", "deliver", "evidence", "expire", "close", "refund")
# More than a person looks at; the metric then says at least this.
NEEDING_PERSON_MAX = 10_000
# So much due of one kind is an outage however much more there is; the metric then says at least this.
DUE_COUNTED_MAX: Final = 10_000
# An unverified notice can be replayed until then; nobody repairs a key for longer.
REJECTED_KEPT_DAYS: Final = 30
REJECTED_PRUNED_MAX: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BooksCount:
    """What finance waits for: late bills by account, and each account's differences that nobody has ended."""

    late_bills: Mapping[int, int]
    ages: Sequence[OpenAges]


class Housekeeping:
    """Keeps partitions ahead of the orders and counts what waits."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    async def make_partitions(self, *, lock_timeout_ms: int = partitions.LOCK_TIMEOUT_MS) -> int:
        """Make the partitions of the next two weeks where they are missing; gives how many. Safe to repeat.

        A table that somebody holds, or a week whose rows take too long to move, is left for the next time, and the others
        get theirs; raises `RowsFailed` then.
        """
        made, held = 0, None
        for table, week in product(partitions.PARTITIONED, partitions.WEEKS_AHEAD):
            try:
                async with self._database.transaction() as transaction:
                    made += await partitions.make_partition(
                        transaction, table, weeks_ahead=week, lock_timeout_ms=lock_timeout_ms
                    )
            except RowsFailed as error:
                held = error
        if held is not None:
            raise held
        return made

    async def prune_rejected(self) -> bool:
        """Forget one batch of old unverified notices; True where more may be there. Safe to repeat."""
        async with self._database.transaction() as transaction:
            pruned = await notices.prune_rejected(
                transaction, older_than_days=REJECTED_KEPT_DAYS, rows_max=REJECTED_PRUNED_MAX
            )
        return pruned == REJECTED_PRUNED_MAX

    async def forget_old_secrets(self) -> int:
        """Forget webhook secrets that were replaced and sign no more; gives how many. Safe to repeat."""
        async with self._database.transaction() as transaction:
            return await endpoints.forget_old(transaction)

    async def count_default_rows(self) -> int:
        """Orders that found no partition of their own; above 0 partitions were late."""
        async with self._database.transaction() as transaction:
            return await partitions.count_default_rows(transaction)

    async def count_needing_person(self, *, lanes: Sequence[Lane]) -> int:
        """Questions in the held lanes that a person must look at, counted up to a bound."""
        async with self._database.reading_statement() as transaction:
            return await work.count_questions_needing_person(transaction, lanes=lanes, rows_max=NEEDING_PERSON_MAX)

    async def count_books(self) -> BooksCount:
        """The late bills of each account that waits for one, and the open differences of each that has any, by age."""
        async with self._database.reading() as transaction:
            waited = await bill_days.list_open(transaction, due_only=False, rows_max=OPEN_ROWS_MAX)
            ages = await reconcile.count_ages(transaction)
        late = Counter[int]()
        for bill in waited:
            late[bill.account_id] += bill_is_late(bill)
        return BooksCount(late_bills=late, ages=ages)

    async def count_untied_days(self) -> Mapping[int, int]:
        """How many days of each account that was compared lately do not tie out; see `day_report.count_untied_days`."""
        return await count_untied_days(self._database)

    async def count_waiting(self) -> list[WaitingCount]:
        """What only a person can end, in all lanes, by kind."""
        return await count_waiting(self._database)

    async def count_due(self, *, lanes: Sequence[Lane]) -> list[DueCount]:
        """How much is due in the held lanes, by kind of work, counted up to a bound."""
        async with self._database.reading_statement() as transaction:
            return await work.count_due(transaction, lanes=lanes, rows_max=DUE_COUNTED_MAX)
