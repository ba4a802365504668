"""Settlement: how far merchants are settled, batches with their lines, and what becomes of their payouts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from budan.core.ledger import Entry
from budan.core.numbers import Lane, MerchantId, OrderId
from budan.store.database import Transaction, columns
from budan.store.ledger import Stretch
from budan.store.queries import query

_SETTLEMENT_LIST_LANES = query("settlement_list_lanes")
_SETTLEMENT_MARK_ADD = query("settlement_mark_add")
_SETTLEMENT_LOCK_DUE = query("settlement_lock_due")
_SETTLEMENT_MAKE = query("settlement_make")
_SETTLEMENT_BOOK = query("settlement_book")
_SETTLEMENT_BATCH_LIST = query("settlement_batch_list")
_SETTLEMENT_BATCH_FIND = query("settlement_batch_find")
_SETTLEMENT_LINE_LIST = query("settlement_line_list")
_SETTLEMENT_LIST_HELD = query("settlement_list_held")
_SETTLEMENT_LOCK_BATCHES = query("settlement_lock_batches")
_SENT_ADD = query("settlement_sent_add")
_PAYOUT_ADD = query("settlement_payout_add")
_PAYOUT_RETURN = query("settlement_payout_return")
_SECOND_PAYOUT_ADD = query("settlement_second_payout_add")
_SECOND_PAYOUT_RETURN = query("settlement_second_payout_return")
_PAYOUT_LIST = query("settlement_payout_list")
_LIST_RELEASES = query("settlement_list_releases")
_SETTLEMENT_SET_PAYOUT_IF = query("settlement_set_payout_if")
_SETTLEMENT_SET_TERMS = query("settlement_set_terms")
_SETTLEMENT_LIST_UNTIED = query("settlement_list_untied")
_SETTLEMENT_LIST_ASTRAY = query("settlement_list_astray")

BatchKey = tuple[Lane, int]
# Where a listing begins: after any batch that could be.
NEWEST: Final = (date.max, 1 << 30, 1 << 62)


@dataclass(frozen=True, slots=True, kw_only=True)
class DueDay:
    """A merchant's next day, which is over for as long as its terms say; this transaction holds its mark.

    What was booked before `batched_at` is in batches or waits; the day ends at `ends_at` by the clock of `zone`.
    """

    merchant_id: MerchantId
    currency: str
    day: date
    batched_at: datetime
    zone: str
    ends_at: datetime
    payout_minor_min: int
    hold_back_bp: int
    hold_back_days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBatch:
    """A batch just made."""

    batch_id: int
    merchant_id: MerchantId
    currency: str
    day: date
    lines: int
    late_lines: int
    total_minor: int
    held_back_minor: int
    released_minor: int
    payout_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRow:
    """A batch as people see it: what somebody last told of it, if anybody has, and the last file that has its next payout.

    `released_in` is the batch that gave back what this one held back, None where it is still here. `files` counts those files; the digest, the writer, the moment and whom it asks to pay are None where there is none, and
    the payee where it named none.
    """

    lane: Lane
    batch_id: int
    merchant_id: MerchantId
    merchant_name: str
    currency: str
    day: date
    zone: str
    ends_at: datetime
    created_at: datetime
    lines: int
    late_lines: int
    total_minor: int
    held_back_minor: int
    released_minor: int
    payout_minor: int
    release_on: date
    released_in: int | None
    state: str
    payouts: int
    bank_reference: str | None
    changed_by: str | None
    changed_at: datetime | None
    return_reason: str | None
    files: int
    file_sha256: str | None
    sent_by: str | None
    sent_at: datetime | None
    sent_payee_id: int | None
    sent_number_end: str | None

    @property
    def key(self) -> BatchKey:
        """Where it is."""
        return self.lane, self.batch_id

    @property
    def place(self) -> tuple[date, int, int]:
        """Where it stands in a listing: what comes next comes after this."""
        return self.day, self.merchant_id, self.batch_id


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLine:
    """One line of a batch with its order; `fee_minor` is None where the order was never completed.

    `is_batch`: it is a second payout's; the batch's id stands in the order's place, and no order's amounts are there.
    Nor are they of an adjustment without an order, under its own id; `reason` is an adjustment's, else empty.
    """

    lane: Lane
    order_id: OrderId
    entry_key: str
    merchant_id: MerchantId
    currency: str
    amount_minor: int
    counts_at: datetime
    mark: str
    reference: str
    order_minor: int | None
    fee_minor: int | None
    is_batch: bool
    reason: str

    @property
    def place(self) -> tuple[int, str]:
        """Where it stands in its batch."""
        return self.order_id, self.entry_key


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedBatch:
    """What a payout needs of a batch that this transaction holds."""

    lane: Lane
    batch_id: int
    merchant_id: MerchantId
    currency: str
    payout_minor: int
    state: str
    version: int
    payouts: int
    bank_reference: str | None
    returned_references: list[str]
    second_references: list[str]
    returned_second_references: list[str]
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutRow:
    """One payout of a batch, and whether it came back; with `second_reason` it was one too many.

    The payee is the one that its last file named, None where none did.
    """

    ordinal: int
    bank_reference: str
    paid_by: str
    paid_at: datetime
    returned_by: str | None
    returned_at: datetime | None
    return_reason: str | None
    second_reason: str | None
    payee_id: int | None
    holder: str | None
    number_end: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutChange:
    """What batches become: by whom, with which reference of the bank's; `return_reason` where they came back."""

    state: str
    payouts: int
    bank_reference: str
    changed_by: str
    changed_at: datetime
    return_reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UntiedBatch:
    """A batch that is not the sum of its lines, or not booked as its figures and its state say."""

    lane: Lane
    batch_id: int
    merchant_id: MerchantId
    currency: str
    day: date
    total_minor: int
    lines_minor: int
    merchant_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AstrayEntry:
    """A merchant's entry that is settled as it was not booked, or not at all though its day has a batch."""

    lane: Lane
    order_id: OrderId
    entry_key: str
    currency: str
    booked_minor: int
    settled_minor: int


async def list_lanes(transaction: Transaction, *, first: int, merchant_id: MerchantId | None) -> list[Lane]:
    """The lanes from `first` on that have merchants, or this merchant."""
    return [row["lane"] for row in await transaction.many(_SETTLEMENT_LIST_LANES, first, merchant_id)]


async def add_marks(transaction: Transaction, lane: Lane, *, currencies: Sequence[str]) -> None:
    """Every merchant of the lane is settled from its first day on; safe to repeat."""
    await transaction.none(_SETTLEMENT_MARK_ADD, lane, currencies)


async def lock_due(
    transaction: Transaction,
    lane: Lane,
    *,
    merchant_id: MerchantId | None,
    settles_from_s: float,
    rows_max: int,
) -> list[DueDay]:
    """The next day of each merchant of the lane that may be settled, `settles_from_s` after midnight."""
    rows = await transaction.many(_SETTLEMENT_LOCK_DUE, lane, merchant_id, settles_from_s, rows_max)
    return [DueDay(**dict(row)) for row in rows]


async def make_batches(
    transaction: Transaction,
    lane: Lane,
    due: Sequence[tuple[DueDay, int]],
    *,
    booked_before: datetime,
    repairs_for_s: float,
    now: datetime,
) -> list[NewBatch]:
    """Settle these days in one statement, each with the id that its batch has if it has one; gives the batches."""
    rows = [
        (
            day.merchant_id,
            day.currency,
            batch_id,
            day.day,
            day.batched_at,
            day.zone,
            day.ends_at,
            day.payout_minor_min,
            day.hold_back_bp,
            day.hold_back_days,
        )
        for day, batch_id in due
    ]
    made = await transaction.many(_SETTLEMENT_MAKE, lane, *columns(rows, 10), booked_before, repairs_for_s, now)
    return [_new_batch(dict(row)) for row in made]


def _new_batch(fields: dict[str, object]) -> NewBatch:
    return NewBatch(**({"batch_id": fields.pop("id")} | fields))  # pyright: ignore[reportArgumentType] - a row's fields


async def book(transaction: Transaction, entries: Sequence[tuple[BatchKey, Entry]], *, now: datetime) -> None:
    """Post entries of batches, payouts and adjustments; one that is there already is a constraint's error."""
    rows = [
        (lane, batch_id, entry.key, number, line.account, line.amount_minor, line.currency)
        for (lane, batch_id), entry in entries
        for number, line in enumerate(entry.postings, start=1)
    ]
    await transaction.none(_SETTLEMENT_BOOK, *columns(rows, 7), now)


async def list_batches(
    transaction: Transaction,
    *,
    day: date | None,
    merchant_id: MerchantId | None,
    states: Sequence[str] | None,
    after: tuple[date, int, int],
    rows_max: int,
) -> list[BatchRow]:
    """Batches after a place in the listing, the newest day first."""
    rows = await transaction.many(_SETTLEMENT_BATCH_LIST, day, merchant_id, states, *after, rows_max)
    return [BatchRow(**dict(row)) for row in rows]


async def find_batch(transaction: Transaction, key: BatchKey) -> BatchRow | None:
    """One batch."""
    row = await transaction.maybe(_SETTLEMENT_BATCH_FIND, *key)
    return None if row is None else BatchRow(**dict(row))


async def list_lines(
    transaction: Transaction, key: BatchKey, *, after: tuple[int, str], rows_max: int
) -> list[BatchLine]:
    """A batch's lines after a place in it."""
    rows = await transaction.many(_SETTLEMENT_LINE_LIST, *key, *after, rows_max)
    return [BatchLine(**dict(row)) for row in rows]


async def list_held(transaction: Transaction, batch_ids: Sequence[int]) -> set[BatchKey]:
    """Which of these batches have an order that is held now."""
    rows = await transaction.many(_SETTLEMENT_LIST_HELD, batch_ids)
    return {(row["lane"], row["batch_id"]) for row in rows}


async def lock_batches(transaction: Transaction, keys: Sequence[BatchKey]) -> list[LockedBatch]:
    """These batches with what came back of them before, held by this transaction."""
    rows = await transaction.many(_SETTLEMENT_LOCK_BATCHES, *columns(sorted(keys), 2))
    return [LockedBatch(**dict(row)) for row in rows]


async def set_payout_if(
    transaction: Transaction, batches: Sequence[LockedBatch], change: PayoutChange
) -> set[BatchKey]:
    """Change batches that still have the version that was read, and keep the payout; gives those."""
    rows = sorted((batch.lane, batch.batch_id, batch.version) for batch in batches)
    changed = await transaction.many(
        _SETTLEMENT_SET_PAYOUT_IF,
        *columns(rows, 3),
        change.state,
        change.payouts,
        change.bank_reference,
        change.changed_by,
        change.changed_at,
        change.return_reason,
    )
    keys = {(row["lane"], row["batch_id"]) for row in changed}
    numbered = [
        (batch.lane, batch.batch_id, batch.payouts + change.payouts)
        for batch in batches
        if (batch.lane, batch.batch_id) in keys
    ]
    payouts = columns(sorted(numbered), 3)
    if change.return_reason is None:
        await transaction.none(_PAYOUT_ADD, *payouts, change.bank_reference, change.changed_by, change.changed_at)
    else:
        await transaction.none(_PAYOUT_RETURN, *payouts, change.changed_by, change.changed_at, change.return_reason)
    return keys


async def add_sent(
    transaction: Transaction,
    batches: Sequence[tuple[LockedBatch, int]],
    *,
    file_sha256: str,
    by: str,
    at: datetime,
) -> None:
    """Keep that a file asks the bank for the next payout of these batches, which this transaction holds, each to a payee."""
    rows = sorted(
        (batch.lane, batch.batch_id, batch.payouts + 1, batch.files + 1, payee_id) for batch, payee_id in batches
    )
    await transaction.none(_SENT_ADD, *columns(rows, 5), file_sha256, by, at)


async def add_second_payouts(
    transaction: Transaction, batches: Sequence[LockedBatch], *, reference: str, reason: str, by: str, at: datetime
) -> None:
    """Keep that these batches, which this transaction holds, were sent once too often by this reference."""
    rows = sorted((batch.lane, batch.batch_id, len(batch.second_references) + 1) for batch in batches)
    await transaction.none(_SECOND_PAYOUT_ADD, *columns(rows, 3), reference, reason, by, at)


async def return_second_payouts(
    transaction: Transaction, batches: Sequence[tuple[LockedBatch, int]], *, reason: str, by: str, at: datetime
) -> None:
    """Keep that second payouts, each by its ordinal, came back."""
    rows = sorted((batch.lane, batch.batch_id, ordinal) for batch, ordinal in batches)
    await transaction.none(_SECOND_PAYOUT_RETURN, *columns(rows, 3), by, at, reason)


async def list_payouts(transaction: Transaction, key: BatchKey) -> list[PayoutRow]:
    """A batch's payouts, oldest first."""
    return [PayoutRow(**dict(row)) for row in await transaction.many(_PAYOUT_LIST, *key)]


async def list_releases(transaction: Transaction, batch: BatchRow) -> list[int]:
    """The batches whose hold-back this one gives back, oldest first."""
    arguments = (batch.lane, batch.merchant_id, batch.currency, batch.batch_id)
    return [row["batch_id"] for row in await transaction.many(_LIST_RELEASES, *arguments)]


async def set_terms(
    transaction: Transaction,
    merchant_id: MerchantId,
    *,
    zone: str | None,
    after_days: int | None,
    payout_minor_min: int | None,
    hold_back_bp: int | None,
    hold_back_days: int | None,
    set_by: str | None,
) -> bool:
    """Change how a merchant is settled; what is None stays. False where there is no such merchant.

    A zone that PostgreSQL does not know is `RowsFailed`.
    """
    given = (zone, after_days, payout_minor_min, hold_back_bp, hold_back_days, set_by)
    return await transaction.maybe(_SETTLEMENT_SET_TERMS, merchant_id, *given) is not None


async def list_untied(transaction: Transaction, stretch: Stretch, *, rows_max: int) -> list[UntiedBatch]:
    """Batches of a stretch of ids that do not tie to their lines or to the ledger."""
    rows = await transaction.many(_SETTLEMENT_LIST_UNTIED, stretch.lanes, stretch.first_id, stretch.past_id, rows_max)
    return [UntiedBatch(**dict(row)) for row in rows]


async def list_astray(transaction: Transaction, stretch: Stretch, *, rows_max: int) -> list[AstrayEntry]:
    """Entries of a stretch of orders that are not settled as they were booked."""
    rows = await transaction.many(_SETTLEMENT_LIST_ASTRAY, stretch.lanes, stretch.first_id, stretch.past_id, rows_max)
    return [AstrayEntry(**dict(row)) for row in rows]
