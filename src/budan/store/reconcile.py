"""Comparing bills with our books: our side copied out, runs with their tie-out, and the differences they found."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from operator import attrgetter
from pathlib import Path

import msgspec

from budan.core.numbers import AccountId, Lane
from budan.core.reconcile import PortalRefund
from budan.store.bill_days import COMMIT_MAX
from budan.store.database import Record, Transaction, columns
from budan.store.queries import query

_COPY_PAYMENTS = query("reconcile_copy_payments")
_COPY_LATE = query("reconcile_copy_late")
_COPY_REFUNDS = query("reconcile_copy_refunds")
_LIST_TRADES = query("reconcile_list_trades")
_LIST_REFUNDS = query("reconcile_list_refunds")
_LIST_PORTAL_REFUNDS = query("reconcile_list_portal_refunds")
_ASK_REFUNDS = query("reconcile_ask_refunds")
_ADD_RUN = query("reconcile_add_run")
_TAKE_RUN = query("reconcile_take_run")
_RENEW_RUN = query("reconcile_renew_run")
_LIST_RUNS = query("reconcile_list_runs")
_FIND_RUN = query("reconcile_find_run")
_LIST_DAYS = query("reconcile_list_days")
_SIGHTING_FORGET = query("sighting_forget")
_SIGHTING_ADD = query("sighting_add")
_SIGHTING_ADD_PORTAL = query("sighting_add_portal")
_SIGHTING_LIST = query("sighting_list")
_SIGHTING_LIST_BESIDE = query("sighting_list_beside")
_SIGHTING_LIST_HAD = query("sighting_list_had")
_DISCREPANCY_LIST_ENDED = query("discrepancy_list_ended")
_DISCREPANCY_NOTE_REOPENED = query("discrepancy_note_reopened")
_DISCREPANCY_WRITE = query("discrepancy_write")
_DISCREPANCY_REOPEN_BESIDE = query("discrepancy_reopen_beside")
_DISCREPANCY_RESOLVE_GONE = query("discrepancy_resolve_gone")
_DISCREPANCY_LIST = query("discrepancy_list")
_DISCREPANCY_LIST_FOLLOWED = query("discrepancy_list_followed")
_DISCREPANCY_COUNT = query("discrepancy_count")
_DISCREPANCY_COUNT_AGES = query("discrepancy_count_ages")
_DISCREPANCY_SETTLE = query("discrepancy_settle")
_DISCREPANCY_ASSIGN = query("discrepancy_assign")
_LOCK_ACCOUNTS = query("reconcile_lock_accounts")
_LOCK_ACCOUNT = query("reconcile_lock_account")
_DISCREPANCY_REOPEN_IF = query("discrepancy_reopen_if")
_DISCREPANCY_LOCK = query("discrepancy_lock")
_NOTE_ADD = query("discrepancy_note_add")
_NOTE_LIST = query("discrepancy_note_list")

# Of a trade or refund: lane, order, and attempt or ordinal.
RowKey = tuple[int, int, int]
# Lane and order.
OrderKey = tuple[int, int]
SightingKey = tuple[int, int, str]
# Of a refund that was made past us: lane, order, and its number at the channel.
PortalKey = tuple[int, int, str]
# The differences of one statement: below a second, and below any array's limits.
ROWS_PER_STATEMENT = 5_000
# Money whose channel tells no moment may stand in any bill from its request to the day after we learned that it moved;
# an abnormal refund waits for a person for weeks.
UNTOLD_DAYS_MAX = 31


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyRange:
    """Payments of an account between two moments, of the orders of some lanes with ids in a range."""

    lanes: Sequence[Lane]
    first_id: int
    past_id: int
    account_id: AccountId
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MovedRow:
    """A trade or a refund as it is here now; of a trade also when its channel last answered.

    `known_at` is since when it is booked or, of a refund, over; None where it is not.
    `rate_e6` is of a refund: the contract's on its payment's day, -1 where there was none. `settle_minor` is what the channel said that it settles of a payment, where that is not its amount.
    Where the channel told no moment `moved_at` is when we learned of it. `begun_at` is before when no bill can have it, of
    all refunds and where the channel told no moment. A refund that `is_external` was made past us: a bill has it by its
    name there, and never by our number.
    """

    lane: int
    order_id: int
    ordinal: int
    merchant_id: int
    account_id: int
    state: str
    has_moved: bool
    moved_at: datetime | None
    begun_at: datetime | None
    currency: str
    amount_minor: int
    settle_minor: int | None
    rate_e6: int | None
    answered_at: datetime | None
    known_at: datetime | None
    is_external: bool

    @property
    def key(self) -> RowKey:
        """Where it is."""
        return self.lane, self.order_id, self.ordinal


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeRow:
    """A payment or refund of ours that another day's bill has, with its own day and since when we know of it."""

    key: SightingKey
    day: date
    known_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """That a row of ours stood in bills of other days: in one that the channel brought, and done in one that counts."""

    by_channel: bool
    is_done: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRun:
    """A run of the same bytes; outdated where another whole bill of its day was compared since, or a file became the channel's.

    Also where we learned since that money moved that day of which it has no row. They are news of the channel's where its
    last whole bill was another one.
    """

    id: int
    is_news: bool
    is_outdated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A run about to be written."""

    account_id: AccountId
    day: date
    digest: bytes
    origin: str
    is_partial: bool
    loaded_by: str
    lines: int
    rate_e6: int | None
    fee_e5: int
    fee_wanted_e5: int | None
    fee_least_e5: int | None
    fee_most_e5: int | None
    begun_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run as it was written."""

    id: int
    account_id: int
    account_name: str
    channel: str
    day: date
    digest: bytes
    origin: str
    is_partial: bool
    loaded_by: str
    lines: int
    rate_e6: int | None
    fee_e5: int
    fee_wanted_e5: int | None
    fee_least_e5: int | None
    fee_most_e5: int | None
    begun_at: datetime
    ended_at: datetime


class NewDiscrepancy(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A difference about to be written, in the order of the statement's arrays.

    `currency` is of the bill's row where there is one, `our_currency` of ours where that is another one.
    """

    kind: str
    subject: str
    occurrence: int
    verdict: str
    line_no: int | None
    channel_no: str | None
    happened_at: datetime | None
    status: str | None
    currency: str
    their_minor: int | None
    our_minor: int | None
    our_currency: str | None
    fee_e5: int | None
    lane: int | None
    order_id: int | None
    ordinal: int | None
    state: str


_VALUES = attrgetter(*NewDiscrepancy.__struct_fields__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscrepancyRow:
    """A difference as it stands, its currencies as in `NewDiscrepancy`.

    Its age ends with it; `notes` is what was written to it, None where nothing was or is asked. Of a refund that is asked about, `ask_count` questions left, the next at `ask_at`; `answered_at` is the last final answer's. `after_close`: its day was closed when it was found, or opened again.
    """

    id: int
    account_id: int
    day: date
    kind: str
    subject: str
    occurrence: int
    verdict: str
    run_id: int
    line_no: int | None
    channel_no: str | None
    happened_at: datetime | None
    status: str | None
    currency: str
    their_minor: int | None
    our_minor: int | None
    our_currency: str | None
    fee_e5: int | None
    lane: int | None
    order_id: int | None
    ordinal: int | None
    state: str
    owner: str | None
    found_at: datetime
    resolved_at: datetime | None
    resolution: str | None
    ask_at: datetime
    ask_count: int
    answered_at: datetime | None
    after_close: bool
    age_s: float
    notes: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What becomes of a difference as it was read; `resolution` is None where it goes on."""

    row: DiscrepancyRow
    state: str
    resolution: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscrepancyCount:
    """How many differences of a day are where; `resolution` is "" where there is none."""

    kind: str
    verdict: str
    currency: str
    state: str
    resolution: str
    rows_found: int
    amount_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAges:
    """An account's differences that nobody has ended: younger than a day, than a week, and older ones."""

    account_id: int
    day: int
    week: int
    older: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteRow:
    """What was written to a difference."""

    number: int
    written_by: str
    written_at: datetime
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscrepancyFilter:
    """Which differences: None is any."""

    after: int = 0
    discrepancy_id: int | None = None
    account_id: int | None = None
    day: date | None = None
    state: str | None = None
    with_resolved: bool = False


async def copy_payments(transaction: Transaction, wanted: CopyRange, *, path: Path) -> None:
    """Write the payments of a range to a file of comma-separated values."""
    await transaction.copy_out(
        _COPY_PAYMENTS,
        path,
        list(wanted.lanes),
        wanted.first_id,
        wanted.past_id,
        wanted.account_id,
        wanted.since,
        wanted.until,
    )


async def copy_late(transaction: Transaction, copied: CopyRange, *, day: date, path: Path) -> None:
    """Write the payments of a day that are not in what was copied of it to a file of comma-separated values."""
    await transaction.copy_out(
        _COPY_LATE, path, copied.account_id, day, copied.first_id, copied.past_id, copied.since, copied.until
    )


async def copy_refunds(
    transaction: Transaction,
    account_id: AccountId,
    *,
    since: datetime,
    until: datetime,
    rate_e6: int | None,
    path: Path,
) -> None:
    """Write the refunds of a time to a file of comma-separated values; `rate_e6` is the contract's on that day."""
    await transaction.copy_out(_COPY_REFUNDS, path, account_id, since, until, -1 if rate_e6 is None else rate_e6)


async def list_trades(transaction: Transaction, keys: Sequence[RowKey]) -> dict[RowKey, MovedRow]:
    """These trades, those that are here."""
    return _by_key(await transaction.many(_LIST_TRADES, *columns(sorted(keys), 3)))


async def list_refunds(transaction: Transaction, keys: Sequence[RowKey]) -> dict[RowKey, MovedRow]:
    """These refunds, those that are here."""
    return _by_key(await transaction.many(_LIST_REFUNDS, *columns(sorted(keys), 3)))


async def list_portal_refunds(transaction: Transaction, orders: Sequence[OrderKey]) -> list[PortalRefund]:
    """The refunds of these orders that were made past us, those that are booked."""
    rows = await transaction.many(_LIST_PORTAL_REFUNDS, *columns(sorted(orders), 2))
    return [PortalRefund(**dict(row)) for row in rows]


def _by_key(rows: Sequence[Record]) -> dict[RowKey, MovedRow]:
    found = [MovedRow(**dict(row)) for row in rows]
    return {row.key: row for row in found}


async def ask_refunds(transaction: Transaction, keys: Sequence[RowKey]) -> set[RowKey]:
    """Make the next step of these refunds due, where they have not gone back; the caller holds their orders."""
    rows = await transaction.many(_ASK_REFUNDS, *columns(sorted(keys), 3))
    return {(row["lane"], row["order_id"], row["ordinal"]) for row in rows}


async def add_run(transaction: Transaction, run: NewRun) -> int | None:
    """The new run's id; None where these bytes were compared for that day already."""
    row = await transaction.maybe(
        _ADD_RUN,
        run.account_id,
        run.day,
        run.digest,
        run.origin,
        run.is_partial,
        run.loaded_by,
        run.lines,
        run.rate_e6,
        run.fee_e5,
        run.fee_wanted_e5,
        run.fee_least_e5,
        run.fee_most_e5,
        run.begun_at,
    )
    return None if row is None else row["id"]


async def take_run(transaction: Transaction, run_id: int, *, origin: str) -> None:
    """A run's bytes came again, from `origin`. Safe to repeat."""
    await transaction.none(_TAKE_RUN, run_id, origin)


async def renew_run(transaction: Transaction, run_id: int, run: NewRun) -> None:
    """A run is compared once more and its day's newest; the caller writes its tie-out anew."""
    fees = (run.fee_e5, run.fee_wanted_e5, run.fee_least_e5, run.fee_most_e5)
    await transaction.none(_RENEW_RUN, run_id, run.rate_e6, *fees, run.begun_at)


async def list_runs(
    transaction: Transaction,
    *,
    run_id: int | None = None,
    account_id: int | None = None,
    day: date | None = None,
    ended_since: datetime | None = None,
    rows_max: int,
) -> list[RunRow]:
    """The runs that fit, newest first."""
    arguments = (run_id, account_id, day, ended_since, rows_max)
    return [RunRow(**dict(row)) for row in await transaction.many(_LIST_RUNS, *arguments)]


async def find_run(
    transaction: Transaction, account_id: AccountId, *, day: date, digest: bytes, is_partial: bool, origin: str
) -> KnownRun | None:
    """The earlier run over the same bytes and `is_partial`; `origin` says who brings them now."""
    row = await transaction.maybe(_FIND_RUN, account_id, day, digest, is_partial, origin, COMMIT_MAX.total_seconds())
    return None if row is None else KnownRun(**dict(row))


async def list_days(transaction: Transaction, account_id: AccountId, *, first: date, last: date) -> dict[date, bool]:
    """Those of the days whose whole bill was compared, and whether the channel brought one of them."""
    return {row["day"]: row["by_channel"] for row in await transaction.many(_LIST_DAYS, account_id, first, last)}


async def add_sightings(
    transaction: Transaction,
    account_id: AccountId,
    *,
    bill_day: date,
    run_id: int,
    origin: str,
    sightings: Mapping[SightingKey, bool],
) -> None:
    """Rows of a day's bill that are ours and of another day, and whether each was done. Safe to repeat."""
    rows = [(*key, is_done) for key, is_done in sorted(sightings.items())]
    await transaction.none(_SIGHTING_ADD, account_id, bill_day, run_id, origin, *columns(rows, 4))


async def forget_sightings(transaction: Transaction, account_id: AccountId, *, bill_day: date, origin: str) -> None:
    """A whole bill of the day is about to say anew what it has of other days; a file takes back no word of the channel's."""
    await transaction.none(_SIGHTING_FORGET, account_id, bill_day, origin)


async def add_portal_sightings(transaction: Transaction, discrepancy_ids: Sequence[int]) -> None:
    """The rows of bills by which these refunds that were made past us were found are theirs. Safe to repeat."""
    await transaction.none(_SIGHTING_ADD_PORTAL, list(discrepancy_ids))


async def list_sightings(
    transaction: Transaction,
    account_id: AccountId,
    wanted: Sequence[SightingKey],
    *,
    but_of: date | None = None,
    by_channel: bool = False,
) -> dict[SightingKey, Sighting]:
    """Those of ours that stood in the bill of another day than `but_of`; with `by_channel` its files have done nothing."""
    rows = await transaction.many(_SIGHTING_LIST, account_id, *columns(sorted(wanted), 3), but_of, by_channel)
    return {_sighting_key(row): Sighting(by_channel=row["by_channel"], is_done=row["is_done"]) for row in rows}


async def list_beside(
    transaction: Transaction, account_id: AccountId, *, day: date, by_channel: bool
) -> set[SightingKey]:
    """What the bills beside had done of other days; `by_channel`: only those that the channel brought."""
    found = await transaction.many(_SIGHTING_LIST_BESIDE, account_id, day, by_channel, UNTOLD_DAYS_MAX)
    return {_sighting_key(row) for row in found}


async def list_had(
    transaction: Transaction, account_id: AccountId, *, day: date, by_channel: bool, wanted: Sequence[HomeRow]
) -> set[SightingKey]:
    """Those rows of the day's bill that the whole bill of their own day has had already; `by_channel` as above."""
    rows = [(*row.key, row.day, row.known_at) for row in wanted]
    found = await transaction.many(_SIGHTING_LIST_HAD, account_id, day, by_channel, *columns(rows, 5))
    return {_sighting_key(row) for row in found}


def _sighting_key(row: Record) -> SightingKey:
    return row["order_id"], row["ordinal"], row["kind"]


async def write_discrepancies(
    transaction: Transaction,
    account_id: AccountId,
    *,
    day: date,
    run_id: int,
    says_anew: bool,
    rows: Sequence[NewDiscrepancy],
) -> None:
    """Write the differences of a run; what is known keeps its age, owner and notes.

    What a person has ended and is unchanged stays so, unless this bill `says_anew` what there is. What is opened again
    has a note of how it had ended.
    """
    ended = await transaction.many(_DISCREPANCY_LIST_ENDED, account_id, day)
    for first in range(0, len(rows), ROWS_PER_STATEMENT):
        values = [_VALUES(row) for row in rows[first : first + ROWS_PER_STATEMENT]]
        await transaction.none(_DISCREPANCY_WRITE, account_id, day, run_id, *columns(values, 17), says_anew)
    if ended:
        await transaction.none(
            _DISCREPANCY_NOTE_REOPENED, *columns([(row["id"], row["resolution"]) for row in ended], 2)
        )


async def resolve_gone(transaction: Transaction, account_id: AccountId, *, day: date, run_id: int) -> int:
    """End what only earlier bills of the day had; gives how many. The run is of the whole bill."""
    return (await transaction.one(_DISCREPANCY_RESOLVE_GONE, account_id, day, run_id))["rows_changed"]


async def reopen_beside(transaction: Transaction, account_id: AccountId, *, bill_day: date) -> None:
    """Open again what ended as another day's row that the bill of `bill_day` has no more. Safe to repeat."""
    await transaction.none(_DISCREPANCY_REOPEN_BESIDE, account_id, bill_day, UNTOLD_DAYS_MAX)


async def list_discrepancies(
    transaction: Transaction, wanted: DiscrepancyFilter, *, rows_max: int
) -> list[DiscrepancyRow]:
    """The differences that fit, oldest first."""
    rows = await transaction.many(
        _DISCREPANCY_LIST,
        wanted.after,
        wanted.discrepancy_id,
        wanted.account_id,
        wanted.day,
        wanted.state,
        wanted.with_resolved,
        rows_max,
    )
    return [DiscrepancyRow(**dict(row)) for row in rows]


async def list_followed(
    transaction: Transaction, *, after: int, account_id: AccountId | None, rows_max: int
) -> list[DiscrepancyRow]:
    """The unresolved differences after a number that may end without a person, oldest first: what one side alone has."""
    rows = await transaction.many(_DISCREPANCY_LIST_FOLLOWED, after, account_id, rows_max)
    return [DiscrepancyRow(**dict(row)) for row in rows]


async def count_discrepancies(transaction: Transaction, account_id: AccountId, *, day: date) -> list[DiscrepancyCount]:
    """How many differences of a day are in which state."""
    return [DiscrepancyCount(**dict(row)) for row in await transaction.many(_DISCREPANCY_COUNT, account_id, day)]


async def count_ages(transaction: Transaction) -> list[OpenAges]:
    """How old the differences are that nobody has ended, of each account that has any."""
    return [OpenAges(**dict(row)) for row in await transaction.many(_DISCREPANCY_COUNT_AGES)]


async def settle_discrepancies(transaction: Transaction, moves: Sequence[Move]) -> set[int]:
    """Set the state, and where it is resolved how, of some differences; gives those that changed.

    What is resolved stays so, and what another run has written anew since it was read stays as that run says.
    """
    rows = [
        (move.row.id, move.row.run_id, move.row.verdict, move.state, move.resolution)
        for move in sorted(moves, key=lambda move: move.row.id)
    ]
    return {row["id"] for row in await transaction.many(_DISCREPANCY_SETTLE, *columns(rows, 5))}


async def lock_free_accounts(transaction: Transaction, account_ids: Collection[int]) -> set[int]:
    """Those of the accounts of which no run is being kept, until the transaction ends; waits for none."""
    return {row["id"] for row in await transaction.many(_LOCK_ACCOUNTS, sorted(account_ids))}


async def lock_account(transaction: Transaction, account_id: AccountId) -> None:
    """Nobody else changes the account's differences until the transaction ends."""
    await transaction.one(_LOCK_ACCOUNT, account_id)


async def assign_discrepancy(transaction: Transaction, discrepancy_id: int, *, owner: str | None) -> bool:
    """Say who takes care of a difference; False where it is resolved or not there."""
    return await transaction.maybe(_DISCREPANCY_ASSIGN, discrepancy_id, owner) is not None


async def lock_discrepancy(transaction: Transaction, discrepancy_id: int) -> str | None:
    """The state of a difference, which nobody changes until the transaction ends; None where there is none."""
    row = await transaction.maybe(_DISCREPANCY_LOCK, discrepancy_id)
    return None if row is None else row["state"]


async def reopen_discrepancy_if(transaction: Transaction, discrepancy_id: int) -> bool:
    """Open again what a person has ended; False where no person did. It keeps its age, owner and notes."""
    return await transaction.maybe(_DISCREPANCY_REOPEN_IF, discrepancy_id) is not None


async def add_note(transaction: Transaction, discrepancy_id: int, *, written_by: str, note: str) -> None:
    """Write a note; the caller holds the difference."""
    await transaction.none(_NOTE_ADD, discrepancy_id, written_by, note)


async def list_notes(transaction: Transaction, discrepancy_id: int) -> list[NoteRow]:
    """The notes to a difference, oldest first."""
    return [NoteRow(**dict(row)) for row in await transaction.many(_NOTE_LIST, discrepancy_id)]
