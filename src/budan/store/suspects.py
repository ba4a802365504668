"""Unpaid orders whose channels may have been paid, in pages by key."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from budan.core.numbers import AccountId, Lane, MerchantId, OrderId
from budan.store.database import Transaction
from budan.store.queries import query

_SUSPECT_LIST_LANES = query("suspect_list_lanes")
_SUSPECT_LIST = query("suspect_list")


@dataclass(frozen=True, slots=True, kw_only=True)
class SuspectRange:
    """Ids from `since` up to but not `until`; of one merchant or of all."""

    since: int
    until: int
    merchant_id: MerchantId | None = None


class SuspectRow(msgspec.Struct, frozen=True):
    """An unpaid order and one of its trades as they were read; `now` is the database's clock then.

    A struct made by position, because a sweep makes a hundred thousand of them: a dataclass costs ten times as much.
    """

    lane: Lane
    order_id: OrderId
    attempt: int
    merchant_id: MerchantId
    order_state: str
    account_id: AccountId
    method: str
    state: str
    created_at: datetime
    send_until: datetime
    expires_at: datetime | None
    paid_seen: bool
    not_found_count: int
    channel_reference: str | None
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SuspectPage:
    """Suspects after a key; `last` is the last order that was looked at, None where there is none left."""

    rows: tuple[SuspectRow, ...]
    last: OrderId | None


async def list_suspect_lanes(transaction: Transaction, lanes: Sequence[Lane], within: SuspectRange) -> list[Lane]:
    """Those of the lanes that have an unpaid order in the range."""
    rows = await transaction.many(_SUSPECT_LIST_LANES, lanes, within.since, within.until, within.merchant_id)
    return [row["lane"] for row in rows]


async def list_suspects(
    transaction: Transaction, lane: Lane, within: SuspectRange, *, after: int, orders_max: int
) -> SuspectPage:
    """The trades of the next `orders_max` unpaid orders of a lane, after an order id."""
    rows = await transaction.many(_SUSPECT_LIST, lane, after, within.until, within.merchant_id, orders_max)
    assert not rows or tuple(rows[0].keys()) == SuspectRow.__struct_fields__
    return SuspectPage(
        # An order that nobody began to pay has no trade, and counts as looked at.
        rows=tuple([SuspectRow(*row) for row in rows if row["attempt"] is not None]),
        last=rows[-1]["order_id"] if rows else None,
    )
