"""What a channel tells of a trade when it lies: the truth keeps what is so."""

from datetime import datetime, timedelta
from typing import Final

import msgspec

from budan.sandbox.records import Trade, TradeState

# Of the right form, and nobody's.
STRANGER: Final = "1900009999"
STRANGER_SELLER: Final = "2088000000000009"


def as_told(trade: Trade) -> Trade:
    """The trade as notices and answers tell it; only a payment is lied about."""
    if trade.paid_at is None or not trade.faults.amount_off_minor:
        return trade
    return msgspec.structs.replace(trade, amount_minor=max(1, trade.amount_minor + trade.faults.amount_off_minor))


def as_queried(trade: Trade, *, now: datetime) -> Trade:
    """The trade as a query tells it: for a while after its payment perhaps from before it."""
    if trade.state is not TradeState.PAID or trade.paid_at is None:
        return as_told(trade)
    if now >= trade.paid_at + timedelta(seconds=trade.faults.stale_query_s):
        return as_told(trade)
    before = TradeState.TYPING if trade.method.is_b2c else TradeState.WAITING
    return msgspec.structs.replace(trade, state=before, paid_at=None)


def lies_of_merchant(trade: Trade) -> bool:
    """Whether notices and answers about it name somebody else."""
    return trade.paid_at is not None and trade.faults.wrong_merchant
