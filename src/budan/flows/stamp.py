"""From what an adapter says to evidence: the same values, stamped with source and times."""

import re
from datetime import datetime

from budan.core.evidence import Evidence, Outcome, Source
from budan.core.numbers import AccountId
from budan.core.refund import RefundEvidence
from budan.ports.channel import EndResult, EndState, PayResult, RefundResult

# PostgreSQL holds neither NUL nor half a character; a channel's text for people must not hold up its money.
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


def stamp(
    result: PayResult,
    *,
    account_id: AccountId,
    source: Source,
    learned_at: datetime,
    asked_at: datetime | None,
    irreversible: bool = False,
) -> Evidence:
    """The evidence in a result; `account_id` is whose keys verified it, which is what I4 compares.

    A character that the store cannot hold becomes U+FFFD. `irreversible`: a reverse was refused before this was asked,
    so a payment that is told of stands.
    """
    return Evidence(
        trade_no=_storable(result.trade_no),
        account_id=account_id,
        outcome=result.outcome,
        source=source,
        learned_at=learned_at,
        asked_at=asked_at,
        order_minor=result.order_minor,
        payer_minor=result.payer_minor,
        settle_minor=result.settle_minor,
        currency=_storable_or_none(result.currency),
        channel_reference=_storable_or_none(result.channel_reference),
        wallet_reference=_storable_or_none(result.wallet_reference),
        paid_at=result.paid_at,
        payer_id=_storable_or_none(result.payer_id),
        wallet=_storable_or_none(result.wallet),
        user_paying=result.user_paying,
        not_found=result.not_found,
        reversed_here=result.reversed_here,
        money_returned=result.money_returned,
        irreversible=irreversible and result.outcome is Outcome.PAID,
        refunded_hint=result.refunded_hint,
        refunded_in_full=result.refunded_in_full,
        sent=result.sent,
        answered=result.answered,
        code=_storable(result.code),
        message=_storable(result.message),
    )


def stamp_reverse(
    end: EndResult,
    *,
    trade_no: str,
    account_id: AccountId,
    learned_at: datetime,
    asked_at: datetime,
) -> Evidence | None:
    """The evidence in the answer to a reverse; None where only a question can tell how the trade stands."""
    if end.state not in {EndState.ENDED, EndState.NOT_FOUND}:
        return None
    has_ended = end.state is EndState.ENDED
    return Evidence(
        trade_no=trade_no,
        account_id=account_id,
        outcome=Outcome.UNPAID_FINAL if has_ended else Outcome.UNPAID_OPEN,
        source=Source.REPLY,
        learned_at=learned_at,
        asked_at=asked_at,
        not_found=not has_ended,
        reversed_here=has_ended,
        money_returned=has_ended and bool(end.money_returned),
        code=_storable(end.code),
        message=_storable(end.message),
    )


def stamp_refund(
    result: RefundResult,
    *,
    account_id: AccountId,
    source: Source,
    learned_at: datetime,
    asked_at: datetime | None,
) -> RefundEvidence:
    """The evidence in what was said of a refund; see `stamp`."""
    return RefundEvidence(
        refund_no=_storable(result.refund_no),
        trade_no=_storable(result.trade_no),
        account_id=account_id,
        outcome=result.outcome,
        source=source,
        learned_at=learned_at,
        asked_at=asked_at,
        amount_minor=result.amount_minor,
        refunded_total_minor=result.refunded_total_minor,
        currency=_storable_or_none(result.currency),
        channel_reference=_storable_or_none(result.channel_reference),
        refunded_at=result.refunded_at,
        sent=result.sent,
        to_repeat=result.to_repeat,
        code=_storable(result.code),
        message=_storable(result.message),
    )


def _storable(text: str) -> str:
    return _UNSTORABLE.sub("\ufffd", text)


def _storable_or_none(text: str | None) -> str | None:
    return None if text is None else _storable(text)
