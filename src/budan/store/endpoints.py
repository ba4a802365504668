"""Where merchants take webhooks: the sealed secrets that sign, and who changed them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from budan.core.numbers import MerchantId
from budan.store.database import Transaction, columns
from budan.store.queries import query

_ENDPOINT_LOCK_OF = query("endpoint_lock_of")
_ENDPOINT_ROTATE = query("endpoint_rotate")
_ENDPOINT_END_OVERLAP = query("endpoint_end_overlap")
_ENDPOINT_FORGET_OLD = query("endpoint_forget_old")
_ENDPOINT_ACT_ADD = query("endpoint_act_add")
_ENDPOINT_LIST_SEALED = query("endpoint_list_sealed")
_ENDPOINT_SEAL_AGAIN = query("endpoint_seal_again")


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedEndpoint:
    """An endpoint's sealed secrets: the one that signs, and the one of before a rotation."""

    endpoint_id: int
    sealed_secret: bytes
    old_sealed_secret: bytes | None


async def lock_endpoints_of(transaction: Transaction, merchant_id: MerchantId) -> dict[int, datetime | None]:
    """A merchant's endpoints, and until when the old secret of each counts; nobody else changes them meanwhile."""
    return {row["id"]: row["old_until"] for row in await transaction.many(_ENDPOINT_LOCK_OF, merchant_id)}


async def rotate(
    transaction: Transaction, endpoint_id: int, *, sealed_secret: bytes, overlap_s: int
) -> datetime | None:
    """A new secret; until when the old one signs beside it, None where it is gone."""
    row = await transaction.one(_ENDPOINT_ROTATE, endpoint_id, sealed_secret, overlap_s)
    return cast("datetime | None", row["old_until"])


async def end_overlap(transaction: Transaction, endpoint_id: int) -> bool:
    """Drop the old secret; False where none signs any more."""
    return await transaction.maybe(_ENDPOINT_END_OVERLAP, endpoint_id) is not None


async def forget_old(transaction: Transaction) -> int:
    """Drop old secrets whose overlap is over; gives how many."""
    return len(await transaction.many(_ENDPOINT_FORGET_OLD))


async def add_act(
    transaction: Transaction, endpoint_id: int, *, kind: str, acted_by: str, reason: str, old_until: datetime | None
) -> None:
    """Keep who did what to the endpoint's secret, and why."""
    await transaction.none(_ENDPOINT_ACT_ADD, endpoint_id, kind, acted_by, reason, old_until)


async def list_sealed(transaction: Transaction, *, after_id: int, rows_max: int) -> list[SealedEndpoint]:
    """The next endpoints, those out of use too."""
    rows = await transaction.many(_ENDPOINT_LIST_SEALED, after_id, rows_max)
    return [
        SealedEndpoint(
            endpoint_id=row["id"], sealed_secret=row["sealed_secret"], old_sealed_secret=row["old_sealed_secret"]
        )
        for row in rows
    ]


async def seal_again(transaction: Transaction, sealed: Sequence[tuple[SealedEndpoint, SealedEndpoint]]) -> int:
    """Keep the same secrets of endpoints, as before and as now, under another key; how many were not changed since."""
    rows = [
        (was.endpoint_id, was.sealed_secret, was.old_sealed_secret, now.sealed_secret, now.old_sealed_secret)
        for was, now in sealed
    ]
    return len(await transaction.many(_ENDPOINT_SEAL_AGAIN, *columns(rows, 5)))
