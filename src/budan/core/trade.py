"""One attempt to pay an order on one channel account."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from budan.core.fees import FeeTerms
from budan.core.numbers import AccountId


class TradeState(Enum):
    """created → submitted → user_paying → succeeded; failed, closed; reversing → reversed; unknown."""

    CREATED = "created"
    SUBMITTED = "submitted"
    USER_PAYING = "user_paying"
    UNKNOWN = "unknown"
    REVERSING = "reversing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CLOSED = "closed"
    REVERSED = "reversed"


# The channel may still take money for these.
OPEN_STATES = frozenset(
    {
        TradeState.CREATED,
        TradeState.SUBMITTED,
        TradeState.USER_PAYING,
        TradeState.UNKNOWN,
        TradeState.REVERSING,
    },
)

# An unclear answer may move a trade from these to `unknown` and nothing else (I5).
UNCLEAR_FROM_STATES = frozenset({TradeState.CREATED, TradeState.SUBMITTED, TradeState.USER_PAYING})

# The channel ended these without a payment that stands.
UNPAID_END_STATES = frozenset({TradeState.FAILED, TradeState.CLOSED, TradeState.REVERSED})


class Direction(Enum):
    """Who scans: the customer the shop's code (C2B), or the shop the customer's (B2C)."""

    C2B = "c2b"
    B2C = "b2c"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """What `decide` needs of a trade.

    `send_until` ends the window in which its first byte may leave (I11); `expires_at` is the last moment at which the
    channel lets a C2B payer pay. `paid_seen` says that a success was heard while the trade could not complete the order.
    `not_found_count` counts the answers "no such trade" that came when I5 lets them count, `not_found_asked_at` is when
    the question of the newest of them left: one answer that comes twice counts once. `refund_known`: a refund of ours,
    or one that is booked, explains that the channel speaks of one.
    """

    attempt: int
    direction: Direction
    state: TradeState
    account_id: AccountId
    amount_minor: int
    currency: str
    fee_terms: FeeTerms
    send_until: datetime
    expires_at: datetime | None = None
    paid_seen: bool = False
    not_found_count: int = 0
    not_found_asked_at: datetime | None = None
    refund_known: bool = False

    @property
    def is_open(self) -> bool:
        """Whether the channel may still take money for it."""
        return self.state in OPEN_STATES


def is_charged(trades: Iterable[Trade]) -> bool:
    """Whether a payer's code was charged among these trades of an order: its shop waits for the answer."""
    return any(trade.direction is Direction.B2C for trade in trades)
