"""From what an adapter says to evidence: the same values, stamped with source and times."""

from datetime import datetime

from budan.core.evidence import Evidence, Source
from budan.core.numbers import AccountId
from budan.ports.channel import PayResult


def stamp(
    result: PayResult,
    *,
    account_id: AccountId,
    source: Source,
    learned_at: datetime,
    asked_at: datetime | None,
) -> Evidence:
    """The evidence in a result; `account_id` is whose keys verified it, which is what I4 compares."""
    return Evidence(
        trade_no=result.trade_no,
        account_id=account_id,
        outcome=result.outcome,
        source=source,
        learned_at=learned_at,
        asked_at=asked_at,
        order_minor=result.order_minor,
        payer_minor=result.payer_minor,
        settle_minor=result.settle_minor,
        currency=result.currency,
        channel_reference=result.channel_reference,
        wallet_reference=result.wallet_reference,
        paid_at=result.paid_at,
        payer_id=result.payer_id,
        wallet=result.wallet,
        user_paying=result.user_paying,
        not_found=result.not_found,
        reversed_here=result.reversed_here,
        money_returned=result.money_returned,
        refunded_hint=result.refunded_hint,
        sent=result.sent,
        code=result.code,
        message=result.message,
    )
