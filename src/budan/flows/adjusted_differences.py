"""Differences of reconciliation that two persons mend by a posting: what it must be, and what it leaves of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from budan.core.adjustment import AdjustmentState, Correction, correct_settled
from budan.core.errors import Refused
from budan.core.ledger import channel_account
from budan.core.numbers import AccountId, Lane, MerchantId, OrderId
from budan.core.reconcile import Verdict
from budan.core.trade import TradeState
from budan.flows.discrepancies import NOTE_LENGTH_MAX, end_locked, lock_unresolved
from budan.store import adjustments as stored
from budan.store.adjustments import AdjustmentRow
from budan.store.database import Transaction
from budan.store.door import Key, list_trades, lock_orders
from budan.store.reconcile import DiscrepancyRow, add_note

# The numbers of differences are PostgreSQL's bigints.
DIFFERENCE_MAX: Final = (1 << 63) - 1
# How a difference ends whose adjustment is approved (flows/discrepancies.py).
CORRECTED: Final = "corrected"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Payment:
    """The payment that a channel settles otherwise; its merchant has it where it completed the order and stands."""

    merchant_id: MerchantId
    is_merchants: bool
    refunds_minor: int  # back with the payer, or promised


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedDifference:
    """A difference that this transaction holds, with what persons booked for it and what waits.

    `payment` is what a channel settles otherwise, else None.
    """

    row: DiscrepancyRow
    booked: Sequence[AdjustmentRow]
    waiting: AdjustmentRow | None
    payment: _Payment | None

    @property
    def key(self) -> Key | None:
        """The order that it is of."""
        return None if self.row.lane is None or self.row.order_id is None else _key(self.row)

    @property
    def seen(self) -> str:
        """It as a person decides about it."""
        row, of_payment = self.row, ""
        if self.payment is not None:
            whose = "the merchant's" if self.payment.is_merchants else "not the merchant's"
            of_payment = f", {whose}, {self.payment.refunds_minor} in refunds"
        return f"{row.verdict} {row.their_minor} there, {row.our_minor} here {row.currency}{of_payment}"

    @property
    def left_minor(self) -> int:
        """How much more is to be debited to the channel's account; below zero: credited. Of `settle_differs` alone."""
        assert self.row.our_minor is not None
        assert self.row.their_minor is not None
        booked_minor = sum(self._on_channel(one.correction) for one in self.booked)
        return self.row.their_minor - self.row.our_minor - booked_minor

    def left_after(self, correction: Correction) -> int:
        """What this leaves of it; 0 where only persons can tell how much it is of."""
        if not _is_settled_otherwise(self.row):
            return 0
        return self.left_minor - self._on_channel(correction)

    def _on_channel(self, correction: Correction) -> int:
        channel = channel_account(AccountId(self.row.account_id))
        return correction.amount_minor * ((correction.debit == channel) - (correction.credit == channel))


async def lock_difference(transaction: Transaction, number: int) -> LockedDifference:
    """A difference, held until the transaction ends; so is its order where that tells whose money it is.

    Raises `Refused` with `discrepancy_not_found` or `discrepancy_resolved`.
    """
    if not 0 < number <= DIFFERENCE_MAX:
        raise Refused("discrepancy_not_found", param="discrepancy")
    row = await lock_unresolved(transaction, number)
    proposed = await stored.list_of_difference(transaction, number)
    return LockedDifference(
        row=row,
        booked=[one for one in proposed if one.state == AdjustmentState.APPROVED.value],
        waiting=next((one for one in proposed if one.state == AdjustmentState.PROPOSED.value), None),
        payment=await _lock_payment(transaction, row) if _is_settled_otherwise(row) else None,
    )


def refuse_proposed(difference: LockedDifference) -> None:
    """One waits at a time, or both would be approved: raises `Refused` with `difference_proposed`."""
    waiting = difference.waiting
    if waiting is not None:
        detail = f"adjustment {waiting.number} of {waiting.proposed_by}'s waits: approve or reject it first"
        raise Refused("difference_proposed", param="difference", detail=detail)


def refuse_elsewhere(difference: LockedDifference, correction: Correction) -> None:
    """What moves nothing of a difference does not end it: raises `Refused` with `difference_of_another_account`."""
    account_id = AccountId(difference.row.account_id)
    if account_id not in correction.accounts:
        detail = f"debit or credit {channel_account(account_id)}, or leave the difference out"
        raise Refused("difference_of_another_account", param="difference", detail=detail)


def fill_in(difference: LockedDifference) -> Correction:
    """What mends a difference of itself: what the channel settles otherwise, less what was booked for it before.

    Only of money that its merchant has, all of it. Raises `Refused` with `difference_ambiguous` or `difference_adjusted`.
    """
    row, payment = difference.row, difference.payment
    why = _why_ambiguous(difference)
    if payment is None or why is not None:
        detail = f"{why}: say which accounts and how much: debit, credit, amount"
        raise Refused("difference_ambiguous", param="difference", detail=detail)
    assert row.their_minor is not None, "that is why it is no other"
    correction = correct_settled(
        merchant_id=payment.merchant_id,
        account_id=AccountId(row.account_id),
        ours_minor=row.their_minor - difference.left_minor,
        theirs_minor=row.their_minor,
        currency=row.currency,
    )
    if correction is None:
        numbers = ", ".join(str(one.number) for one in difference.booked)
        detail = f"adjustment {numbers} has booked it: budan reconcile resolve {row.id} --as {CORRECTED}"
        raise Refused("difference_adjusted", param="difference", detail=detail)
    return correction


async def mend_difference(transaction: Transaction, adjustment: AdjustmentRow, number: int, *, by: str) -> int:
    """Write to a difference what was approved for it, and end it where that leaves nothing; gives what is left.

    Raises `Refused` as `lock_difference` and `refuse_elsewhere` do, or with `difference_changed` where it is not what its
    proposer saw.
    """
    difference = await lock_difference(transaction, number)
    if difference.seen != adjustment.discrepancy_seen:
        detail = f"it was {adjustment.discrepancy_seen}, and is {difference.seen}: reject this and propose anew"
        raise Refused("difference_changed", param="difference", detail=detail)
    refuse_elsewhere(difference, adjustment.correction)
    left_minor = difference.left_after(adjustment.correction)
    left = f" leaves {left_minor}" if left_minor else ""
    note = f"adjustment {adjustment.number}{left}, proposed by {adjustment.proposed_by}: {adjustment.reason}"
    note = note[:NOTE_LENGTH_MAX]
    if left_minor:
        await add_note(transaction, number, written_by=by, note=note)
    else:
        await end_locked(transaction, difference.row, resolution=CORRECTED, by=by, note=note)
    return left_minor


def _is_settled_otherwise(row: DiscrepancyRow) -> bool:
    is_known = row.our_minor is not None and row.their_minor is not None
    return row.verdict == Verdict.SETTLE_DIFFERS.value and is_known


def _key(row: DiscrepancyRow) -> Key:
    assert row.lane is not None
    assert row.order_id is not None
    return Lane(row.lane), OrderId(row.order_id)


async def _lock_payment(transaction: Transaction, row: DiscrepancyRow) -> _Payment:
    key = _key(row)
    order = (await lock_orders(transaction, [key]))[key].order
    trades = (await list_trades(transaction, [key]))[key]
    paid = next(one for one in trades if one.trade.attempt == row.ordinal)
    is_complete = row.ordinal == order.paid_attempt and paid.trade.state is TradeState.SUCCEEDED
    refunds_minor = paid.refunds.reserved_minor + paid.refunds.gone_minor
    return _Payment(merchant_id=order.merchant_id, is_merchants=is_complete, refunds_minor=refunds_minor)


def _why_ambiguous(difference: LockedDifference) -> str | None:
    """Why nobody but a person can tell who bears it; None where the merchant does."""
    if difference.payment is None:
        return f"it is {difference.row.verdict}"
    if not difference.payment.is_merchants:
        return "this payment did not pay the order, or was taken back"
    if difference.payment.refunds_minor:
        return f"{difference.payment.refunds_minor} of the payment went back, or is about to"
    return None
