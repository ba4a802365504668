"""Adjustments: what one person proposes, and what another decided about it."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

from budan.core.adjustment import Correction, adjustment_entry
from budan.core.ledger import Entry
from budan.core.numbers import Lane, MerchantId, OrderId
from budan.store.database import Transaction
from budan.store.door import Key
from budan.store.queries import query

_ADJUSTMENT_ADD = query("adjustment_add")
_ADJUSTMENT_LOCK = query("adjustment_lock")
_ADJUSTMENT_LIST = query("adjustment_list")
_ADJUSTMENT_APPROVE_IF = query("adjustment_approve_if")
_ADJUSTMENT_END_IF = query("adjustment_end_if")

# Of one difference or one receipt; more attempts than these are no work of persons.
OF_ONE_MAX: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAdjustment:
    """A proposal about to be written, in the order of the statement's values."""

    lane: Lane
    merchant_id: MerchantId | None
    order_id: OrderId | None
    discrepancy_id: int | None
    discrepancy_seen: str | None
    currency: str
    debit: str
    credit: str
    amount_minor: int
    fee_minor: int
    bank_reference: str | None
    reason: str
    proposed_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AdjustmentRow(NewAdjustment):
    """An adjustment as it stands. Who decided, when and why is None while it waits, `entry_id` until it is booked."""

    number: int
    proposed_at: datetime
    state: str
    decided_by: str | None
    decided_at: datetime | None
    decision_reason: str | None
    entry_id: int | None

    @property
    def correction(self) -> Correction:
        """What it moves."""
        return Correction(
            debit=self.debit,
            credit=self.credit,
            amount_minor=self.amount_minor,
            fee_minor=self.fee_minor,
            currency=self.currency,
        )

    @property
    def entry(self) -> Entry:
        """What it books, or would."""
        return adjustment_entry(self.number, self.correction)


async def add_adjustment(transaction: Transaction, new: NewAdjustment) -> int | None:
    """The number of a new proposal; None where a receipt of its reference waits or is booked already."""
    row = await transaction.maybe(_ADJUSTMENT_ADD, *asdict(new).values())
    return None if row is None else row["number"]


async def lock_adjustment(transaction: Transaction, number: int) -> AdjustmentRow | None:
    """One adjustment, which nobody else decides about until the transaction ends."""
    if await transaction.maybe(_ADJUSTMENT_LOCK, number) is None:
        return None
    (row,) = await list_adjustments(transaction, after=number - 1, rows_max=1)
    return row


async def list_adjustments(
    transaction: Transaction, *, after: int = 0, state: str | None = None, rows_max: int
) -> list[AdjustmentRow]:
    """Adjustments after a number, oldest first; of one state where it is given."""
    rows = await transaction.many(_ADJUSTMENT_LIST, after, None, None, None, state, None, None, rows_max)
    return [AdjustmentRow(**dict(row)) for row in rows]


async def list_of_difference(transaction: Transaction, discrepancy_id: int) -> list[AdjustmentRow]:
    """All that was proposed for a difference, oldest first."""
    rows = await transaction.many(_ADJUSTMENT_LIST, 0, discrepancy_id, None, None, None, None, None, OF_ONE_MAX)
    return [AdjustmentRow(**dict(row)) for row in rows]


async def list_of_receipt(transaction: Transaction, *, credit: str, bank_reference: str) -> list[AdjustmentRow]:
    """All that was proposed under a bank's reference for a channel account, oldest first."""
    rows = await transaction.many(_ADJUSTMENT_LIST, 0, None, credit, bank_reference, None, None, None, OF_ONE_MAX)
    return [AdjustmentRow(**dict(row)) for row in rows]


async def list_of_order(transaction: Transaction, key: Key, *, rows_max: int) -> list[AdjustmentRow]:
    """All that was proposed for an order, oldest first."""
    rows = await transaction.many(_ADJUSTMENT_LIST, 0, None, None, None, None, *key, rows_max)
    return [AdjustmentRow(**dict(row)) for row in rows]


async def approve_if(transaction: Transaction, number: int, *, by: str, at: datetime, entry_id: int) -> bool:
    """Approve what waits; False where it does not. The caller books its entry under `entry_id`."""
    return await transaction.maybe(_ADJUSTMENT_APPROVE_IF, number, by, at, entry_id) is not None


async def end_if(transaction: Transaction, number: int, *, state: str, by: str, reason: str) -> bool:
    """End what waits without booking it; False where it does not wait."""
    return await transaction.maybe(_ADJUSTMENT_END_IF, number, state, by, reason) is not None
