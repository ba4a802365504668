"""Channel accounts with their sealed keys, today's and those of before the last rotation."""

from datetime import datetime
from typing import cast

import msgspec

from budan.core.numbers import AccountId
from budan.store.database import Transaction
from budan.store.directory import AccountRow, read_account
from budan.store.queries import query

_ACCOUNT_LIST_SEALED = query("account_list_sealed")
_ACCOUNT_LOCK = query("account_lock")
_ACCOUNT_SET_ENABLED = query("account_set_enabled")
_ACCOUNT_ROTATE = query("account_rotate")
_ACCOUNT_END_OVERLAP = query("account_end_overlap")


async def list_sealed(transaction: Transaction) -> list[AccountRow]:
    """All accounts with their sealed secrets."""
    return [read_account(row) for row in await transaction.many(_ACCOUNT_LIST_SEALED)]


async def lock_account(transaction: Transaction, account_id: AccountId) -> AccountRow | None:
    """One account, which nobody else changes until the transaction ends."""
    row = await transaction.maybe(_ACCOUNT_LOCK, account_id)
    return None if row is None else read_account(row)


async def set_enabled(transaction: Transaction, account_id: AccountId, *, enabled: bool) -> bool:
    """Let new trades go there or not; False where there is no such account."""
    return await transaction.maybe(_ACCOUNT_SET_ENABLED, account_id, enabled) is not None


async def rotate(
    transaction: Transaction,
    account_id: AccountId,
    *,
    settings: dict[str, str],
    sealed_secrets: bytes,
    overlap_s: int,
) -> datetime | None:
    """New keys; until when the old ones count beside them, None where they are gone."""
    row = await transaction.one(
        _ACCOUNT_ROTATE, account_id, msgspec.json.encode(settings).decode(), sealed_secrets, overlap_s
    )
    return cast("datetime | None", row["old_until"])


async def end_overlap(transaction: Transaction, account_id: AccountId) -> bool:
    """Drop the old keys; False where there are none."""
    return await transaction.maybe(_ACCOUNT_END_OVERLAP, account_id) is not None
