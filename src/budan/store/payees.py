"""Whom merchants' payouts go to: proposed and confirmed payees, their numbers sealed."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

from budan.core.numbers import MerchantId
from budan.core.payee import Payee
from budan.store.database import Transaction
from budan.store.queries import query

_PAYEE_ADD = query("payee_add")
_PAYEE_SEAL_IF = query("payee_seal_if")
_PAYEE_CONFIRM = query("payee_confirm")
_PAYEE_LIST_OF = query("payee_list_of")
_PAYEE_LIST_IN_FORCE = query("payee_list_in_force")
_PAYEE_LIST_SEALED = query("payee_list_sealed")
_PAYEE_LOCK_MERCHANTS = query("payee_lock_merchants")


@dataclass(frozen=True, slots=True, kw_only=True)
class PayeeRow:
    """A payee as one person proposed it, and as another confirmed it, if anybody has."""

    id: int
    merchant_id: MerchantId
    holder: str
    bank_name: str | None
    bank_code: str | None
    is_card: bool
    sealed_number: bytes = field(repr=False)
    number_end: str
    acted_by: str
    reason: str
    acted_at: datetime
    confirmed_by: str | None
    confirmed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedPayee:
    """A payee's sealed number and what its seal names."""

    id: int
    merchant_id: MerchantId
    sealed_number: bytes = field(repr=False)


async def add_payee(
    transaction: Transaction, merchant_id: MerchantId, payee: Payee, *, acted_by: str, reason: str, acted_at: datetime
) -> int:
    """A proposal without its number, which `seal_if` adds in the same transaction; gives its id."""
    parts = (payee.holder, payee.bank_name, payee.bank_code, payee.is_card, payee.number_end)
    row = await transaction.one(_PAYEE_ADD, merchant_id, *parts, acted_by, reason, acted_at)
    return cast("int", row["id"])


async def seal_if(transaction: Transaction, payee_id: int, *, was: bytes, sealed: bytes) -> bool:
    """Keep the number under another seal; False where it is under another one than `was` already."""
    return await transaction.maybe(_PAYEE_SEAL_IF, payee_id, was, sealed) is not None


async def confirm_payee(transaction: Transaction, payee_id: int, *, confirmed_by: str, confirmed_at: datetime) -> None:
    """Another person agrees; one that is confirmed already stays as it is."""
    await transaction.none(_PAYEE_CONFIRM, payee_id, confirmed_by, confirmed_at)


async def list_payees(transaction: Transaction, merchant_id: MerchantId, *, rows_max: int) -> list[PayeeRow]:
    """A merchant's payees, the newest first."""
    return [PayeeRow(**dict(row)) for row in await transaction.many(_PAYEE_LIST_OF, merchant_id, rows_max)]


async def list_in_force(transaction: Transaction, merchant_ids: Collection[MerchantId]) -> dict[MerchantId, PayeeRow]:
    """Whom payouts of these merchants go to; merchants without a payee are not in it."""
    rows = [PayeeRow(**dict(row)) for row in await transaction.many(_PAYEE_LIST_IN_FORCE, sorted(merchant_ids))]
    return {row.merchant_id: row for row in rows}


async def list_sealed(transaction: Transaction, *, after_id: int, rows_max: int) -> Sequence[SealedPayee]:
    """The next payees, replaced ones too."""
    return [SealedPayee(**dict(row)) for row in await transaction.many(_PAYEE_LIST_SEALED, after_id, rows_max)]


async def keep_payees(transaction: Transaction, merchant_ids: Collection[MerchantId]) -> None:
    """Let nobody change the payees of these merchants until the transaction ends."""
    await transaction.many(_PAYEE_LOCK_MERCHANTS, sorted(merchant_ids))
