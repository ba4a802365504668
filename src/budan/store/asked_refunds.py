"""The questions about refunds that only bills tell of: which are due, and what each came to."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from budan.store.database import Transaction
from budan.store.queries import query

_LIST_DUE = query("asked_refund_list_due")
_NOTE = query("asked_refund_note")


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedRefund:
    """A difference that is to be asked about; `ordinal` is the refund's where it has a number of ours, else its payment's."""

    id: int
    account_id: int
    subject: str
    lane: int
    order_id: int
    ordinal: int
    created_at: datetime
    ask_count: int


async def list_due(transaction: Transaction, *, account_rows_max: int) -> list[AskedRefund]:
    """Those whose question is due, account by account, those that are due longest first."""
    return [AskedRefund(**dict(row)) for row in await transaction.many(_LIST_DUE, account_rows_max)]


async def note_answer(
    transaction: Transaction, discrepancy_id: int, *, wait: timedelta, has_left: bool, is_final: bool
) -> None:
    """What a question came to; nothing where the difference waits for no answer any more."""
    await transaction.none(_NOTE, discrepancy_id, wait.total_seconds(), has_left, is_final)
