"""What somebody says of one trade: the only input that may move a pay state."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from hashlib import sha256

from budan.core.numbers import AccountId


class Outcome(Enum):
    """What an adapter says of one trade."""

    PAID = "paid"
    UNPAID_FINAL = "unpaid_final"  # the channel's definite no
    UNPAID_OPEN = "unpaid_open"  # not paid yet; ends nothing by itself
    UNKNOWN = "unknown"  # silence, 5xx, bad signature, unreadable: ask, never charge again


class Source(Enum):
    """How a statement reached us."""

    REPLY = "reply"
    NOTICE = "notice"
    QUERY = "query"
    BILL = "bill"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One verified statement about one trade, or the honest record that there was none (`UNKNOWN`).

    `order_minor` is what I4 compares; `payer_minor` is after coupons; `settle_minor` is what the channel pays us.
    `asked_at` is the database's clock when the question left; `learned_at` when the answer was read.
    """

    trade_no: str
    account_id: AccountId
    outcome: Outcome
    source: Source
    learned_at: datetime
    asked_at: datetime | None = None
    order_minor: int | None = None
    payer_minor: int | None = None
    settle_minor: int | None = None
    currency: str | None = None
    channel_reference: str | None = None
    wallet_reference: str | None = None
    paid_at: datetime | None = None
    payer_id: str | None = None
    wallet: str | None = None
    user_paying: bool = False  # the payer is typing a password just now
    not_found: bool = False  # "no such trade": definite only under the rule of I5
    reversed_here: bool = False  # the channel's word that this trade was revoked or reversed
    money_returned: bool = False  # with `reversed_here`: a payment existed and went back
    irreversible: bool = False  # with PAID: the reverse was refused because the payment stands
    refunded_hint: bool = False  # paid, and a refund was seen that may not be ours
    refunded_in_full: bool = False  # with `refunded_hint`: the channel's word that all of it went back
    sent: bool = True  # False: no byte left this machine; the same call may be repeated
    answered: bool = False  # with UNKNOWN: the channel answered, its word only settles nothing yet
    code: str = ""
    message: str = ""

    def __post_init__(self) -> None:
        if self.outcome is Outcome.PAID:
            assert self.order_minor is not None, "a payment without an amount proves nothing (I4)"
            assert self.currency is not None
        assert not (self.money_returned and not self.reversed_here)
        assert not (self.irreversible and self.outcome is not Outcome.PAID)
        assert not (self.refunded_in_full and not self.refunded_hint)
        assert not (self.not_found and self.outcome is not Outcome.UNPAID_OPEN)

    @property
    def is_channels_word(self) -> bool:
        """Whether its channel answered, be it "not yet": silence, a bill and a person's word are no answers."""
        is_answer = self.sent and (self.answered or self.outcome is not Outcome.UNKNOWN)
        return is_answer and self.source not in {Source.BILL, Source.OPERATOR}


def evidence_digest(evidence: Evidence) -> bytes:
    """Digest of the normalised statement, without source, nonce or time: the same news twice is one row.

    A row of a bill is told apart from the channel's signed word of the same, which must not be lost beside it (I4).
    """
    statement = "\n".join(
        repr(part)
        for part in (
            evidence.trade_no,
            evidence.account_id,
            evidence.outcome.value,
            evidence.order_minor,
            evidence.payer_minor,
            evidence.settle_minor,
            evidence.currency,
            evidence.channel_reference,
            evidence.wallet_reference,
            evidence.reversed_here,
            evidence.money_returned,
            evidence.irreversible,
            evidence.refunded_hint,
            *(("in full",) if evidence.refunded_in_full else ()),
        )
    )
    marked = f"bill\n{statement}" if evidence.source is Source.BILL else statement
    return sha256(marked.encode()).digest()
