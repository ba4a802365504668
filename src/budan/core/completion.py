"""Everything that must follow a decision, as values for one transaction (I3)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from budan.core.decide import Contradiction, Effect, RemedyCause, Transition
from budan.core.evidence import Evidence, evidence_digest
from budan.core.fees import fee
from budan.core.ledger import Entry, payment_entry, returned_entry, suspense_entry, unwanted_payment_entry
from budan.core.money import CURRENCY_EXPONENTS, Money
from budan.core.order import Order, OrderState
from budan.core.trade import Trade, is_charged


@dataclass(frozen=True, slots=True, kw_only=True)
class Consequences:
    """What the transaction of a decision writes besides the states.

    `event` names the webhook; `refund_minor` is the intent to give the whole payment back; `close_attempts` are the
    order's other open trades, which must be closed at their channels because the order is paid or ended here.
    `tells_unpaid`: from this commit on a shop that asks reads "not paid" of its charge, so what comes later goes back.
    """

    entries: tuple[Entry, ...] = ()
    event: str | None = None
    remedy: RemedyCause | None = None
    refund_minor: int | None = None
    close_attempts: tuple[int, ...] = ()
    fee_minor: int = 0
    tells_unpaid: bool = False


NOTHING = Consequences()

# Hexadecimal digits of a digest in an entry's key: 128 bits tell any two statements of one trade apart.
_DIGEST_SHOWN = 32


def consequences(order: Order, trade: Trade, siblings: Sequence[Trade], decision: Transition) -> Consequences:
    """What follows a transition of `trade`; `siblings` are the order's other trades."""
    follows = _of_effect(order, trade, siblings, decision)
    return replace(follows, tells_unpaid=True) if _tells_unpaid((decision.trade, *siblings), decision) else follows


def _tells_unpaid(trades: Sequence[Trade], decision: Transition) -> bool:
    """Whether all readers say "not paid" after it of an order that was charged: nobody can pay any trade of it.

    It is one mark for whoever asks, by whatever way, and whether anybody does: a reader that had to write first would
    be a promise that one forgotten reader breaks.
    """
    is_unpaid = decision.order_state is not OrderState.PAID
    return is_unpaid and is_charged(trades) and not any(trade.is_open for trade in trades)


def _of_effect(order: Order, trade: Trade, siblings: Sequence[Trade], decision: Transition) -> Consequences:
    paid = Money(amount_minor=trade.amount_minor, currency=trade.currency)
    match decision.effect:
        case Effect.NOTHING:
            if not _ends_unpaid(order, decision):
                return NOTHING
            return Consequences(event="order.closed", close_attempts=_left_open(order, siblings, decision))
        case Effect.COMPLETE:
            return _completion(order, trade, siblings, decision)
        case Effect.RETURN_SECOND | Effect.RETURN_LATE:
            entry = unwanted_payment_entry(attempt=trade.attempt, account_id=trade.account_id, paid=paid)
            return Consequences(
                entries=(entry,),
                event="order.payment_returning",
                remedy=decision.remedy,
                refund_minor=paid.amount_minor,
            )
        case Effect.BOOK_RETURNED:
            came = unwanted_payment_entry(attempt=trade.attempt, account_id=trade.account_id, paid=paid)
            went = returned_entry(attempt=trade.attempt, account_id=trade.account_id, paid=paid)
            return Consequences(
                entries=(came, went),
                event="order.payment_returned",
                close_attempts=_left_open(order, siblings, decision),
            )
        case _:
            assert_never(decision.effect)


def _completion(order: Order, trade: Trade, siblings: Sequence[Trade], decision: Transition) -> Consequences:
    paid = Money(amount_minor=trade.amount_minor, currency=trade.currency)
    charged = fee(paid, trade.fee_terms)
    entry = payment_entry(
        attempt=trade.attempt,
        account_id=trade.account_id,
        merchant_id=order.merchant_id,
        paid=paid,
        fee=charged,
    )
    return Consequences(
        entries=(entry,),
        event="order.paid",
        remedy=decision.remedy,
        close_attempts=_left_open(order, siblings, decision),
        fee_minor=charged.amount_minor,
    )


def _ends_unpaid(order: Order, decision: Transition) -> bool:
    """Whether a reverse's word ends the order."""
    return decision.order_state is OrderState.CLOSED and order.state is not OrderState.CLOSED


def _left_open(order: Order, siblings: Sequence[Trade], decision: Transition) -> tuple[int, ...]:
    """The siblings that could still take money for an order that this decision pays or ends."""
    if decision.order_state is order.state or decision.order_state not in {OrderState.PAID, OrderState.CLOSED}:
        return ()
    return tuple(sibling.attempt for sibling in siblings if sibling.is_open)


def contradiction_entries(trade: Trade, evidence: Evidence, contradiction: Contradiction) -> tuple[Entry, ...]:
    """Money that came and does not fit goes to `suspense`, in its own currency.

    A currency that we keep no books in cannot be booked: the contradiction alone tells of it.
    """
    if not contradiction.to_suspense or not evidence.order_minor or evidence.currency not in CURRENCY_EXPONENTS:
        return ()
    return (
        suspense_entry(
            attempt=trade.attempt,
            account_id=evidence.account_id,
            came=Money(amount_minor=evidence.order_minor, currency=evidence.currency),
            payment=_payment_named(evidence),
        ),
    )


def _payment_named(evidence: Evidence) -> str:
    """What tells this payment from another one of the same trade.

    Where the channel names none, what was said of it: two payments of one amount that differ in anything are two. The
    marks are left out, for a payment of which a refund is seen later is still the same.
    """
    named = evidence.channel_reference or evidence.wallet_reference
    unmarked = replace(evidence, refunded_hint=False, refunded_in_full=False, irreversible=False)
    return named or evidence_digest(unmarked).hex()[:_DIGEST_SHOWN]
