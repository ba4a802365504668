"""Notices as an operator lists and replays them, and the remedies that missing ones made needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from budan.core.numbers import AccountId, Lane, MerchantId, OrderId
from budan.store.database import Transaction, columns
from budan.store.queries import query
from budan.store.timeline import NoticeRow

_NOTICE_SCAN = query("notice_scan")
_NOTICE_FIND_RAW = query("notice_find_raw")
_NOTICE_LIST_REJECTED = query("notice_list_rejected")
_NOTICE_FIND_REJECTED = query("notice_find_rejected")
_NOTICE_PRUNE = query("notice_prune")
_REMEDY_SCAN = query("remedy_scan")

NoticeKey = tuple[Lane, OrderId, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredNotice:
    """A verified notice as it came; `headers` is JSON."""

    lane: Lane
    order_id: OrderId
    id: int
    account_id: AccountId
    trade_no: str
    received_at: datetime
    headers: str
    body: bytes
    decision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedNotice:
    """An unverified notice, without its body."""

    account_id: AccountId
    digest: str
    reason: str
    received_at: datetime
    times: int
    can_be_replayed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledNotice:
    """An unverified notice of which all was kept."""

    account_id: AccountId
    digest: str
    received_at: datetime
    headers: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedRemedy:
    """A remedy with what its order and trade say."""

    lane: Lane
    order_id: OrderId
    attempt: int
    cause: str
    learned_source: str
    paid_at: datetime | None
    learned_at: datetime
    completed_at: datetime
    actor: str
    channel: str
    account_id: AccountId
    amount_minor: int
    currency: str
    merchant_id: MerchantId
    reference: str
    in_bill: bool


async def scan_notices(
    transaction: Transaction,
    *,
    lanes: Sequence[Lane],
    since: OrderId,
    before: OrderId,
    account_id: AccountId | None,
    decision: str | None,
    rows_max: int,
) -> list[NoticeRow]:
    """The verified notices of orders in this stretch of ids, the newest order first."""
    rows = await transaction.many(_NOTICE_SCAN, lanes, since, before, rows_max, account_id, decision)
    return [NoticeRow(**dict(row)) for row in rows]


async def find_notices(transaction: Transaction, keys: Sequence[NoticeKey]) -> list[StoredNotice]:
    """These notices as they came, oldest first; unknown ones are absent."""
    rows = await transaction.many(_NOTICE_FIND_RAW, *columns(sorted(keys), 3))
    return [StoredNotice(**dict(row)) for row in rows]


async def list_rejected(
    transaction: Transaction, *, since: datetime, account_id: AccountId | None, rows_max: int
) -> list[RejectedNotice]:
    """Unverified notices, the newest first."""
    rows = await transaction.many(_NOTICE_LIST_REJECTED, since, account_id, rows_max)
    return [RejectedNotice(**dict(row)) for row in rows]


async def prune_rejected(transaction: Transaction, *, older_than_days: int, rows_max: int) -> int:
    """Forget the oldest unverified notices above this age; gives how many. Safe to repeat and to race."""
    row = await transaction.one(_NOTICE_PRUNE, older_than_days, rows_max)
    return cast("int", row["pruned"])


async def find_rejected(transaction: Transaction, keys: Sequence[tuple[AccountId, bytes]]) -> list[SampledNotice]:
    """These unverified notices as they came, oldest first; those of which a part was kept are absent."""
    rows = await transaction.many(_NOTICE_FIND_REJECTED, *columns(sorted(keys), 2))
    return [SampledNotice(**dict(row)) for row in rows]


async def scan_remedies(
    transaction: Transaction,
    *,
    since: datetime,
    until: datetime,
    channel: str | None,
    cause: str | None,
    rows_max: int,
) -> list[ListedRemedy]:
    """Remedies completed in a stretch of time, the newest first."""
    rows = await transaction.many(_REMEDY_SCAN, since, until, channel, cause, rows_max)
    return [ListedRemedy(**dict(row)) for row in rows]
