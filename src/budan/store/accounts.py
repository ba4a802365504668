"""Channel accounts with their sealed keys, today's and those of before the last rotation."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

import msgspec

from budan.core.numbers import AccountId, MerchantId
from budan.store.database import Transaction
from budan.store.directory import AccountRow, read_account
from budan.store.queries import query

_ACCOUNT_LIST_SEALED = query("account_list_sealed")
_ACCOUNT_LOCK = query("account_lock")
_ACCOUNT_SET_ENABLED = query("account_set_enabled")
_ACCOUNT_ROTATE = query("account_rotate")
_ACCOUNT_END_OVERLAP = query("account_end_overlap")
_ACCOUNT_SEAL_AGAIN = query("account_seal_again")
_MERCHANT_ACCOUNT_ADD = query("merchant_account_add")
_MERCHANT_ACCOUNT_REMOVE = query("merchant_account_remove")
_MERCHANT_ACCOUNT_LIST = query("merchant_account_list")
_SHOP_ACCOUNT_ADD = query("shop_account_add")
_SHOP_ACCOUNT_REMOVE = query("shop_account_remove")
_SHOP_FIND_MERCHANT = query("shop_find_merchant")


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowedRow:
    """An account that a merchant may be paid through, in all its shops where `shop_id` is None; `methods` None: by any."""

    merchant_id: MerchantId
    shop_id: int | None
    account_id: AccountId
    channel: str
    enabled: bool
    methods: list[str] | None
    priority: int


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


async def seal_again(
    transaction: Transaction, account: AccountRow, *, sealed_secrets: bytes, old_sealed_secrets: bytes | None
) -> bool:
    """Keep the same secrets under another key; False where they were changed since the row was read."""
    row = await transaction.maybe(
        _ACCOUNT_SEAL_AGAIN,
        account.account_id,
        account.sealed_secrets,
        account.old_sealed_secrets,
        sealed_secrets,
        old_sealed_secrets,
    )
    return row is not None


async def end_overlap(transaction: Transaction, account_id: AccountId) -> bool:
    """Drop the old keys; False where there are none."""
    return await transaction.maybe(_ACCOUNT_END_OVERLAP, account_id) is not None


async def allow_account(
    transaction: Transaction,
    *,
    merchant_id: MerchantId,
    account_id: AccountId,
    priority: int,
    methods: Sequence[str] | None,
) -> None:
    """Let a merchant take payments through an account; safe to repeat."""
    await transaction.none(_MERCHANT_ACCOUNT_ADD, merchant_id, account_id, priority, methods)


async def allow_shop_account(
    transaction: Transaction,
    *,
    shop_id: int,
    account_id: AccountId,
    priority: int,
    methods: Sequence[str] | None,
) -> None:
    """Let a shop take payments through an account of its own; safe to repeat."""
    await transaction.none(_SHOP_ACCOUNT_ADD, shop_id, account_id, priority, methods)


async def disallow_account(transaction: Transaction, *, merchant_id: MerchantId, account_id: AccountId) -> bool:
    """Take it back; False where it was not allowed."""
    return await transaction.maybe(_MERCHANT_ACCOUNT_REMOVE, merchant_id, account_id) is not None


async def disallow_shop_account(transaction: Transaction, *, shop_id: int, account_id: AccountId) -> bool:
    """Take it back; False where it was not allowed."""
    return await transaction.maybe(_SHOP_ACCOUNT_REMOVE, shop_id, account_id) is not None


async def find_merchant_of_shop(transaction: Transaction, shop_id: int) -> MerchantId | None:
    """Whose shop it is."""
    row = await transaction.maybe(_SHOP_FIND_MERCHANT, shop_id)
    return None if row is None else cast("MerchantId", row["merchant_id"])


async def list_allowed(transaction: Transaction, merchant_ids: Sequence[MerchantId]) -> list[AllowedRow]:
    """The accounts of merchants and of their shops, those out of use too, first choice first."""
    return [AllowedRow(**dict(row)) for row in await transaction.many(_MERCHANT_ACCOUNT_LIST, merchant_ids)]
