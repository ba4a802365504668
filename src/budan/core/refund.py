"""One return of money of one trade, and the one decision about it."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from hashlib import sha256
from typing import assert_never

from budan.core.evidence import Source
from budan.core.numbers import AccountId

# A request that left at the end of its send window needs this long to be known to the channel; Alipay wants a refund's
# query no sooner than 10 s after it (docs/protocols/alipay.md section 5).
REFUND_SETTLE = timedelta(seconds=10)


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


class RefundState(Enum):
    """created → submitted → succeeded; failed; abnormal; unknown until the channel says."""

    CREATED = "created"
    SUBMITTED = "submitted"
    UNKNOWN = "unknown"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABNORMAL = "abnormal"


class RefundOrigin(Enum):
    """Who wanted it."""

    MERCHANT = "merchant"
    OPERATOR = "operator"  # a person of the house, by name
    UNWANTED = "unwanted"  # a second or late payment goes back (I9)
    EXTERNAL = "external"  # somebody at the channel, past us


# The channel may still give money back for these.
OPEN_REFUND_STATES = frozenset(
    {RefundState.CREATED, RefundState.SUBMITTED, RefundState.UNKNOWN, RefundState.ABNORMAL},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """What `decide_refund` needs of a refund.

    `to_send` says that the next step is to send, not to ask. `refused`: a definite refusal was heard and no query has
    confirmed it; `untaken`: a query has, and nothing was sent since. `send_until` ends the window of the last sending,
    None before the first. `owed_minor` is what of the whole payment is not back with its payer, whoever sent it.
    """

    ordinal: int
    origin: RefundOrigin
    state: RefundState
    account_id: AccountId
    amount_minor: int
    owed_minor: int
    currency: str
    to_send: bool = True
    refused: bool = False
    untaken: bool = False
    send_until: datetime | None = None

    def __post_init__(self) -> None:
        assert not self.untaken or self.to_send, "what was sent since may be taken"


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundEvidence:
    """One verified statement about one refund, or the honest record that there was none (`UNKNOWN`)."""

    refund_no: str
    trade_no: str
    account_id: AccountId
    outcome: RefundOutcome
    source: Source
    learned_at: datetime
    asked_at: datetime | None = None
    amount_minor: int | None = None
    refunded_total_minor: int | None = None  # all that went back of the trade so far
    currency: str | None = None
    channel_reference: str | None = None
    refunded_at: datetime | None = None
    sent: bool = True
    to_repeat: bool = False  # with UNKNOWN, of a query: the channel's word that the same number may be sent again
    code: str = ""
    message: str = ""


class RefundEffect(Enum):
    """What must be written in the transaction of a refund's transition."""

    NOTHING = "nothing"
    GIVE_BACK = "give_back"  # the reserved amount went back: postings, fee, webhook
    GIVE_BACK_FREED = "give_back_freed"  # it went back after it had been freed: the same, and an inquiry
    FREE = "free"  # the amount may be refunded anew: webhook
    ASK_PERSON = "ask_person"  # abnormal: webhook
    BEGIN_ANEW = (
        "begin_anew"  # this number is dead and the money must go back all the same: a new intent of what is owed
    )
    OVERTAKEN = "overtaken"  # an unwanted payment is back by another way: nothing is promised any more


class RefundMismatch(Enum):
    """Why verified evidence of a refund does not fit."""

    WRONG_ACCOUNT = "wrong_account"
    WRONG_AMOUNT = "wrong_amount"
    WRONG_CURRENCY = "wrong_currency"
    REFUND_DENIED = "refund_denied"  # the channel says "closed" of a refund that it said was done


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundTransition:
    """The refund after, and what else the same transaction writes."""

    refund: Refund
    effect: RefundEffect = RefundEffect.NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundUnchanged:
    """The evidence says nothing new; it was heard."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundContradiction:
    """Verified evidence that does not fit: recorded, order held."""

    mismatch: RefundMismatch


RefundDecision = RefundTransition | RefundUnchanged | RefundContradiction


def decide_refund(refund: Refund, evidence: RefundEvidence) -> RefundDecision:
    """What `evidence` does to `refund`; pure, total, and safe to repeat (I8).

    Unknown stays unknown. Only two words free the amount: a query's "it has ended and moved nothing", and a refusal of
    the request that a later query confirms by knowing no such refund.
    """
    mismatch = _mismatch(refund, evidence)
    return _decide(refund, evidence) if mismatch is None else RefundContradiction(mismatch=mismatch)


def _decide(refund: Refund, evidence: RefundEvidence) -> RefundDecision:
    match evidence.outcome:
        case RefundOutcome.SUCCEEDED:
            return _decide_succeeded(refund, evidence)
        case RefundOutcome.FAILED:
            return _decide_failed(refund, evidence)
        case RefundOutcome.ABNORMAL:
            return _decide_abnormal(refund)
        case RefundOutcome.PENDING:
            return _decide_pending(refund)
        case RefundOutcome.NOT_FOUND:
            return _decide_not_found(refund, evidence)
        case RefundOutcome.UNKNOWN:
            return _decide_unknown(refund, evidence)
        case _:
            assert_never(evidence.outcome)


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeRefunds:
    """What a paid trade's refunds promise and have given back so far."""

    paid_minor: int
    reserved_minor: int
    refunded_minor: int
    elsewhere_minor: int
    fee_given_back_minor: int

    @property
    def left_minor(self) -> int:
        """What may still be refunded; below zero where more went back past us than we had left over."""
        return self.paid_minor - self.reserved_minor - self.refunded_minor - self.elsewhere_minor

    @property
    def gone_minor(self) -> int:
        """What is back with the payer, whoever sent it."""
        return self.refunded_minor + self.elsewhere_minor


def external_refund_minor(trade: TradeRefunds, evidence: RefundEvidence, *, untaken_minor: int) -> int | None:
    """How much a refund that is none of ours took back, or None where that cannot be told yet.

    Told by its total, it is what our own refunds and the known ones leave over; while one of ours is under way, either
    may be in that total. `untaken_minor` is promised and in none: the channel refused it and knows nothing of it. 0 is
    news that we had.
    """
    if evidence.amount_minor is not None:
        return evidence.amount_minor
    if evidence.refunded_total_minor is None or trade.reserved_minor > untaken_minor:
        return None
    return max(0, evidence.refunded_total_minor - trade.gone_minor)


def refund_mismatch(evidence: RefundEvidence, *, account_id: AccountId, currency: str) -> RefundMismatch | None:
    """Why a statement cannot be about a refund of this trade's money (I4), whoever asked for that refund.

    Only a statement that could end the refund must fit.
    """
    if evidence.outcome not in {RefundOutcome.SUCCEEDED, RefundOutcome.FAILED, RefundOutcome.ABNORMAL}:
        return None
    if evidence.account_id != account_id:
        return RefundMismatch.WRONG_ACCOUNT
    if evidence.outcome is RefundOutcome.SUCCEEDED and evidence.currency not in {None, currency}:
        return RefundMismatch.WRONG_CURRENCY
    return None


def refund_settled_at(send_until: datetime) -> datetime:
    """From when on "no such refund" says that nothing will come of the last sending any more."""
    return send_until + REFUND_SETTLE


def refund_evidence_digest(evidence: RefundEvidence) -> bytes:
    """Digest of the normalised statement, without source, nonce or time: the same news twice is one row."""
    statement = "\n".join(
        repr(part)
        for part in (
            evidence.refund_no,
            evidence.trade_no,
            evidence.account_id,
            evidence.outcome.value,
            evidence.amount_minor,
            evidence.refunded_total_minor,
            evidence.currency,
            evidence.channel_reference,
        )
    )
    return sha256(statement.encode()).digest()


def _mismatch(refund: Refund, evidence: RefundEvidence) -> RefundMismatch | None:
    mismatch = refund_mismatch(evidence, account_id=refund.account_id, currency=refund.currency)
    if mismatch is not None or evidence.outcome is not RefundOutcome.SUCCEEDED:
        return mismatch
    if evidence.amount_minor is not None and evidence.amount_minor != refund.amount_minor:
        return RefundMismatch.WRONG_AMOUNT
    return None


def _decide_succeeded(refund: Refund, evidence: RefundEvidence) -> RefundDecision:
    if refund.state is RefundState.SUCCEEDED:
        return RefundUnchanged(reason="already_succeeded")
    if evidence.amount_minor is None:
        # A notice that tells only a trade's total; the query tells this refund's amount.
        return RefundUnchanged(reason="amount_untold")
    effect = RefundEffect.GIVE_BACK_FREED if refund.state is RefundState.FAILED else RefundEffect.GIVE_BACK
    return RefundTransition(refund=_ended(refund, RefundState.SUCCEEDED), effect=effect)


def _decide_failed(refund: Refund, evidence: RefundEvidence) -> RefundDecision:
    is_asked = evidence.source is Source.QUERY
    match refund.state:
        case RefundState.SUCCEEDED:
            # A repeat of the request that is refused says nothing of the one that was taken.
            if evidence.source is Source.REPLY:
                return RefundUnchanged(reason="already_succeeded")
            return RefundContradiction(mismatch=RefundMismatch.REFUND_DENIED)
        case RefundState.FAILED:
            return RefundUnchanged(reason="already_failed")
        case RefundState.CREATED | RefundState.SUBMITTED | RefundState.UNKNOWN | RefundState.ABNORMAL:
            if is_asked:
                return _end_failed(refund)
            if refund.refused:
                return RefundUnchanged(reason="waits_for_query")
            state = RefundState.UNKNOWN if refund.state is RefundState.CREATED else refund.state
            return RefundTransition(refund=replace(refund, state=state, refused=True, untaken=False, to_send=False))
        case _:
            assert_never(refund.state)


def _end_failed(refund: Refund) -> RefundTransition:
    if refund.origin is not RefundOrigin.UNWANTED:
        effect = RefundEffect.FREE
    else:
        effect = RefundEffect.BEGIN_ANEW if refund.owed_minor > 0 else RefundEffect.OVERTAKEN
    return RefundTransition(refund=_ended(refund, RefundState.FAILED), effect=effect)


def _decide_abnormal(refund: Refund) -> RefundDecision:
    if refund.state not in OPEN_REFUND_STATES or refund.state is RefundState.ABNORMAL:
        return RefundUnchanged(reason=f"already_{refund.state.value}")
    after = replace(refund, state=RefundState.ABNORMAL, refused=False, untaken=False, to_send=False)
    return RefundTransition(refund=after, effect=RefundEffect.ASK_PERSON)


def _decide_pending(refund: Refund) -> RefundDecision:
    if refund.state not in OPEN_REFUND_STATES or refund.state is RefundState.ABNORMAL:
        return RefundUnchanged(reason=f"already_{refund.state.value}")
    # The channel knows the number, so a refusal that was heard is not its last word.
    after = replace(refund, state=RefundState.SUBMITTED, refused=False, untaken=False, to_send=False)
    return RefundUnchanged(reason="not_done_yet") if after == refund else RefundTransition(refund=after)


def _decide_not_found(refund: Refund, evidence: RefundEvidence) -> RefundDecision:
    if refund.state not in OPEN_REFUND_STATES or refund.state is RefundState.ABNORMAL:
        return RefundUnchanged(reason=f"already_{refund.state.value}")
    if not _is_settled(refund, evidence):
        return RefundUnchanged(reason="not_found_yet")
    # Of an unwanted payment that a portal refund overtook no such amount will ever be taken: what is owed still is less.
    is_overtaken = refund.owed_minor < refund.amount_minor
    if refund.refused and (refund.origin is not RefundOrigin.UNWANTED or is_overtaken):
        return _end_failed(refund)
    # Nothing arrived, or it was refused and must go back all the same.
    return _send_again(refund, untaken=refund.refused or refund.untaken, unchanged="not_found_yet")


def _send_again(refund: Refund, *, untaken: bool, unchanged: str) -> RefundDecision:
    """The same number, which moves money once however often it is sent."""
    after = replace(refund, state=RefundState.UNKNOWN, refused=False, to_send=True, untaken=untaken)
    return RefundUnchanged(reason=unchanged) if after == refund else RefundTransition(refund=after)


def _is_settled(refund: Refund, evidence: RefundEvidence) -> bool:
    """Whether the question left when no sending of ours could arrive any more."""
    asked = evidence.source is Source.QUERY and evidence.asked_at is not None
    if not asked or refund.send_until is None:
        return False
    assert evidence.asked_at is not None
    return evidence.asked_at > refund_settled_at(refund.send_until)


def _decide_unknown(refund: Refund, evidence: RefundEvidence) -> RefundDecision:
    """Unknown is not failed (I5)."""
    if refund.state not in OPEN_REFUND_STATES:
        return RefundUnchanged(reason="unclear")
    if not evidence.sent and evidence.source is Source.REPLY:
        # No byte left: the next step is still to send.
        after = replace(refund, to_send=True)
        return RefundUnchanged(reason="not_sent") if after == refund else RefundTransition(refund=after)
    if evidence.to_repeat and refund.state is not RefundState.ABNORMAL and _is_settled(refund, evidence):
        return _send_again(refund, untaken=refund.untaken, unchanged="unclear")
    if refund.state is not RefundState.CREATED or not evidence.sent:
        return RefundUnchanged(reason="unclear")
    return RefundTransition(refund=replace(refund, state=RefundState.UNKNOWN, untaken=False, to_send=False))


def _ended(refund: Refund, state: RefundState) -> Refund:
    return replace(refund, state=state, refused=False, untaken=False, to_send=False)
