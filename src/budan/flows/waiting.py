"""What only a person can end, and what that person does about it: for the metrics, and for the morning's report (I6)."""

from datetime import timedelta
from typing import Final

from budan.store import waiting as stored
from budan.store.database import Database
from budan.store.waiting import WaitingCount

# More than anybody works off in a day; the count then says at least this.
COUNTED_MAX: Final = 10_000
# A refund's ladder has climbed to its last rung by then: refused each day, or no word of it (core/pace.py).
UNTAKEN_AFTER: Final = timedelta(days=1)
# To a bank card a refund that was taken is on its way for some working days.
UNDONE_AFTER: Final = timedelta(days=7)
# The four tries of the first minutes, and one more: what a moment's fault kept has had its effect.
INEFFECTIVE_AFTER: Final = timedelta(hours=2)

# Each kind in a few words, and what to do; docs/operating.md tells more under "What waits for a person".
KINDS: Final = {
    "order_held": ("orders are on hold", "budan orders list --held"),
    "suspense": ("orders have money in suspense", "say whose it is: budan orders release"),
    "adjustment_proposed": ("adjustments wait for a second person", "budan ledger adjust list"),
    "refund_abnormal": ("refunds cannot reach their payer's account", "pay them out by the channel's portal"),
    "refund_not_taken": ("refunds are not taken by their channel", "look at the account's balance and keys"),
    "refund_not_done": ("refunds were taken and are not done", "ask the channel"),
    "evidence_unknown_trade": ("statements are of trades that are not here", "find out whose they are"),
    "evidence_foreign_environment": ("statements are of another environment", "find out who pays there"),
    "evidence_failed": ("statements could not be recorded", "look for turn_failed in the log: a bug of ours"),
    "evidence_unreadable": ("statements are of another version", "run the version that kept them"),
    "trade_without_end": ("trades are over, and their channel does not say how they ended", "look at that channel"),
}


async def count_waiting(database: Database) -> list[WaitingCount]:
    """What waits for a person in all lanes, a kind each, in the order of `KINDS`; those with nothing are left out."""
    async with database.reading_statement() as transaction:
        counts = await stored.count_waiting(
            transaction,
            rows_max=COUNTED_MAX,
            untaken_after=UNTAKEN_AFTER,
            undone_after=UNDONE_AFTER,
            ineffective_after=INEFFECTIVE_AFTER,
        )
    places = {what: place for place, what in enumerate(KINDS)}
    return sorted(counts, key=lambda count: places.get(count.what, len(places)))


def tell_waiting(count: WaitingCount) -> str:
    """One line of a report: how many, since when, and what to do."""
    words, act = KINDS.get(count.what, (f"are {count.what}", "call an engineer"))
    more = " or more" if count.rows_found >= COUNTED_MAX else ""
    return f"{count.rows_found}{more} {words}, the oldest since {count.since:%F %R} UTC: {act}"
