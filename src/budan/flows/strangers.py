"""Accounts that speak of orders with which they have nothing to do: heard and booked, but no order is held by them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from budan.core.decide import Mismatch
from budan.core.numbers import AccountId
from budan.store.accounts import list_allowed
from budan.store.database import Transaction
from budan.store.door import DoorWrites, Key, LockedOrder, LockedTrade

# The decision of such a statement, for metrics and for whoever asked for it.
UNRELATED_ACCOUNT = "unrelated_account"


async def spare_strangers(
    transaction: Transaction,
    writes: DoorWrites,
    speakers: Mapping[Key, AccountId],
    locked: Mapping[Key, LockedOrder],
    trades: Mapping[Key, Sequence[LockedTrade]],
) -> frozenset[Key]:
    """Take back the holds that a stranger's word would set, and give their orders.

    `speakers` is whose keys verified what is said of each order. An account is no stranger where it has a trade of the
    order, or may take payments of its merchant or of one of its shops. A stranger's statement stays a contradiction that
    is shown, and its money is in suspense (I4); but whoever knows one account's keys must not hold every merchant's
    orders. Asks the database only where an account without a trade of the order contradicts.
    """
    wrong = {one.key for one in writes.contradictions if one.mismatch == Mismatch.WRONG_ACCOUNT.value}
    doubtful = {key for key in wrong if speakers[key] not in {row.trade.account_id for row in trades[key]}}
    if not doubtful:
        return frozenset()
    pairs = {key: (locked[key].order.merchant_id, speakers[key]) for key in doubtful}
    rows = await list_allowed(transaction, sorted({merchant_id for merchant_id, _ in pairs.values()}))
    allowed = {(row.merchant_id, row.account_id) for row in rows}
    strangers = frozenset(key for key, pair in pairs.items() if pair not in allowed)
    writes.orders = [
        replace(change, hold_reason=None) if (change.locked.lane, change.locked.order_id) in strangers else change
        for change in writes.orders
    ]
    return strangers
