"""One return of money of one trade."""

from enum import Enum


class RefundOutcome(Enum):
    """What an adapter says of one refund.

    `FAILED` in an answer to the request means "this request is refused", in an answer to a query "this refund has ended
    and moved nothing". `NOT_FOUND` is only ever a query's.
    """

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABNORMAL = "abnormal"  # accepted, but the payer's account cannot take it: a person must act
    PENDING = "pending"  # accepted, not done yet
    NOT_FOUND = "not_found"  # the channel's word that it knows no refund of this number
    UNKNOWN = "unknown"  # silence, busy, 5xx, bad signature, unreadable: ask, and repeat under the same number only
