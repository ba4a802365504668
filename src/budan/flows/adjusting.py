"""Adjustments: one person proposes a posting with its reason, another approves it, and only then it is booked (I10)."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from budan.core.adjustment import (
    AdjustmentState,
    Correction,
    parse_correction,
    parse_receipt,
)
from budan.core.errors import Refused, StaleState
from budan.core.ledger import Entry
from budan.core.numbers import AccountId, Environment, Lane, MerchantId, OrderId, trade_number
from budan.flows.acts import check_name, check_reason, has_confirmed, has_lapsed, is_same_person
from budan.flows.adjusted_differences import (
    LockedDifference,
    fill_in,
    lock_difference,
    mend_difference,
    refuse_elsewhere,
    refuse_proposed,
)
from budan.flows.ids import IdSource
from budan.flows.locking import lock_named
from budan.flows.payouts import check_reference
from budan.flows.timelines import parse_order_no
from budan.store import adjustments as stored
from budan.store import directory
from budan.store.adjustments import AdjustmentRow, NewAdjustment
from budan.store.database import Database, Transaction
from budan.store.door import Key, lock_orders
from budan.store.settlement import book

LIST_ROWS_MAX: Final = 1_000
# The numbers of accounts and adjustments are PostgreSQL's integers.
NUMBER_MAX: Final = (1 << 31) - 1
# Where what belongs to no merchant is booked: a platform's figure is the sum over lanes.
HOUSE_LANE: Final = Lane(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdjustmentWish:
    """What a person wants to have booked; nothing of it is checked yet.

    Without accounts and amount the `difference` of reconciliation says what they are, where that is unambiguous.
    """

    by: str
    reason: str
    debit: str | None
    credit: str | None
    amount_minor: int | None
    currency: str
    order_no: str | None
    difference: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptWish:
    """What came into our bank of a channel account by this reference of the bank's, and what the channel kept of it."""

    by: str
    reason: str
    account_id: int
    received_minor: int
    fee_minor: int
    currency: str
    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """An adjustment with its order's number and what it books, or would; `changed` is False where it was so before.

    `has_lapsed`: it can only be rejected. `left_minor` is what an approval left of its difference, which is resolved by 0
    alone; else None.
    """

    row: AdjustmentRow
    order_no: str | None
    entry: Entry
    changed: bool
    has_lapsed: bool
    left_minor: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where an adjustment's entry is, and whose it is."""

    lane: Lane
    merchant_id: MerchantId | None
    order_id: OrderId | None


class Adjustments:
    """Takes proposals and decisions; the one that approves books it, in the same transaction.

    A proposal lapses after a day, as all do; it stays until somebody rejects it.
    """

    def __init__(self, *, database: Database, environment: Environment, ids: IdSource) -> None:
        self._database = database
        self._environment = environment
        self._ids = ids

    async def propose(self, wish: AdjustmentWish) -> Adjustment:
        """Write down what one person wants to have booked. Books nothing.

        Raises `Refused` with `name_malformed`, `reason_malformed`, `adjustment_incomplete`, as `parse_correction` and
        `parse_order_no` do, then with `discrepancy_not_found`, `discrepancy_resolved`, `difference_proposed`,
        `difference_of_another_order`, `difference_ambiguous`, `difference_adjusted`, `difference_of_another_account`,
        `order_not_found`, `merchants_differ`, `account_unknown` or `merchant_unknown`.
        """
        by, reason = check_name(wish.by), check_reason(wish.reason)
        correction = _parse(wish)
        number = None
        if wish.order_no is not None:
            number = parse_order_no(wish.order_no, environment=self._environment)
        async with self._database.transaction() as transaction:
            key = None if number is None else (number.lane, number.order_id)
            difference = None
            if wish.difference is not None:
                difference = await lock_difference(transaction, wish.difference)
                refuse_proposed(difference)
                key = _order_of(difference, named=key)
                correction = correction or fill_in(difference)
                refuse_elsewhere(difference, correction)
            assert correction is not None, "refused before"
            if number is not None:
                await lock_named(transaction, number)
            place = await _place(transaction, correction, key)
            return await self._add(
                transaction, correction, place, difference=difference, reference=None, by=by, reason=reason
            )

    async def receive(self, wish: ReceiptWish) -> Adjustment:
        """Write down what a channel paid into our bank. Books nothing; safe to repeat: the reference tells.

        Raises `Refused` with `name_malformed`, `reason_malformed`, `reference_malformed`, as `parse_receipt` does, then
        with `account_unknown`, or with `receipt_exists` where this reference has another sum.
        """
        by, reason, reference = check_name(wish.by), check_reason(wish.reason), check_reference(wish.reference)
        correction = parse_receipt(
            AccountId(wish.account_id),
            received_minor=wish.received_minor,
            fee_minor=wish.fee_minor,
            currency=wish.currency,
        )
        async with self._database.transaction() as transaction:
            place = await _place(transaction, correction, None)
            return await self._add(
                transaction, correction, place, difference=None, reference=reference, by=by, reason=reason
            )

    async def approve(self, number: int, *, amount_minor: int, by: str) -> Adjustment:
        """A second person agrees: its entry is booked, and the difference that it mends whole is resolved with it.

        The amount is theirs, and must be the proposed one: whoever has only the number has not seen what it books. Safe to
        repeat: it is booked once. Raises `Refused` with `name_malformed`, `adjustment_not_found`, `adjustment_ended`, as
        `has_confirmed` does, with `amount_differs`, `proposal_expired`, or as `mend_difference` does where the difference
        is not what it was when it was proposed.
        """
        by = check_name(by)
        async with self._database.transaction() as transaction:
            row = await _lock(transaction, number)
            _refuse_ended(row)
            is_repeated = has_confirmed(proposed_by=row.proposed_by, confirmed_by=row.decided_by, by=by)
            if amount_minor != row.amount_minor:
                raise Refused("amount_differs", param="amount", detail="another amount was proposed: look at it again")
            if is_repeated:
                return await self._show(transaction, row, changed=False)
            if has_lapsed(row.proposed_at, now=await transaction.clock()):
                detail = "reject it and propose it again: what it was about may have changed"
                raise Refused("proposal_expired", param="confirm", detail=detail)
            # A difference is locked before an order, here and where it is proposed.
            left_minor = None
            if row.discrepancy_id is not None:
                left_minor = await mend_difference(transaction, row, row.discrepancy_id, by=by)
            if row.order_id is not None:
                await lock_orders(transaction, [(row.lane, row.order_id)])
            now = await transaction.clock()
            entry_id = self._ids.next() if row.order_id is None else row.order_id
            if not await stored.approve_if(transaction, number, by=by, at=now, entry_id=entry_id):
                raise StaleState
            await book(transaction, [((row.lane, entry_id), row.entry)], now=now)
            approved = await self._show(transaction, await _lock(transaction, number), changed=True)
            return replace(approved, left_minor=left_minor)

    async def reject(self, number: int, *, by: str, reason: str) -> Adjustment:
        """End a proposal without booking it; by its own proposer it is withdrawn. Safe to repeat.

        Raises `Refused` with `name_malformed`, `reason_malformed`, `adjustment_not_found`, `adjustment_approved`, or
        with `adjustment_ended` where somebody else has ended it.
        """
        by, reason = check_name(by), check_reason(reason)
        async with self._database.transaction() as transaction:
            row = await _lock(transaction, number)
            if row.state == AdjustmentState.APPROVED.value:
                raise Refused("adjustment_approved", param="adjustment", detail=f"by {row.decided_by}: propose another")
            if row.decided_by is not None:
                if not is_same_person(row.decided_by, by):
                    _refuse_ended(row)
                return await self._show(transaction, row, changed=False)
            is_own = is_same_person(row.proposed_by, by)
            state = AdjustmentState.WITHDRAWN if is_own else AdjustmentState.REJECTED
            if not await stored.end_if(transaction, number, state=state.value, by=by, reason=reason):
                raise StaleState
            return await self._show(transaction, await _lock(transaction, number), changed=True)

    async def list_page(self, *, after: int, state: AdjustmentState | None, rows_max: int) -> list[Adjustment]:
        """Adjustments after a number, oldest first. Raises `Refused` with `limit_out_of_range`."""
        if not 0 < rows_max <= LIST_ROWS_MAX:
            raise Refused("limit_out_of_range", param="limit", detail=f"1 to {LIST_ROWS_MAX}")
        async with self._database.reading() as transaction:
            rows = await stored.list_adjustments(
                transaction,
                after=min(max(after, 0), NUMBER_MAX),
                state=None if state is None else state.value,
                rows_max=rows_max,
            )
            now = await transaction.clock()
        return [self._shown(row, changed=False, now=now) for row in rows]

    async def _add(
        self,
        transaction: Transaction,
        correction: Correction,
        place: _Place,
        *,
        difference: LockedDifference | None,
        reference: str | None,
        by: str,
        reason: str,
    ) -> Adjustment:
        new = NewAdjustment(
            lane=place.lane,
            merchant_id=place.merchant_id,
            order_id=place.order_id,
            discrepancy_id=None if difference is None else difference.row.id,
            discrepancy_seen=None if difference is None else difference.seen,
            currency=correction.currency,
            debit=correction.debit,
            credit=correction.credit,
            amount_minor=correction.amount_minor,
            fee_minor=correction.fee_minor,
            bank_reference=reference,
            reason=reason,
            proposed_by=by,
        )
        number = await stored.add_adjustment(transaction, new)
        if number is not None:
            return await self._show(transaction, await _lock(transaction, number), changed=True)
        assert reference is not None, "only a receipt's reference can be there already"
        return await self._show(transaction, await _find_receipt(transaction, correction, reference), changed=False)

    async def _show(self, transaction: Transaction, row: AdjustmentRow, *, changed: bool) -> Adjustment:
        return self._shown(row, changed=changed, now=await transaction.clock())

    def _shown(self, row: AdjustmentRow, *, changed: bool, now: datetime) -> Adjustment:
        order_no = None
        if row.order_id is not None and row.merchant_id is not None:
            order_no = trade_number(
                environment=self._environment,
                lane=row.lane,
                merchant_id=row.merchant_id,
                order_id=row.order_id,
                attempt=0,
            )
        is_old = row.state == AdjustmentState.PROPOSED.value and has_lapsed(row.proposed_at, now=now)
        return Adjustment(row=row, order_no=order_no, entry=row.entry, changed=changed, has_lapsed=is_old)


def _parse(wish: AdjustmentWish) -> Correction | None:
    """What the wish says itself; None where it leaves all of that to its difference."""
    given = {"debit": wish.debit, "credit": wish.credit, "amount": wish.amount_minor}
    missing = [name for name, value in given.items() if value is None]
    if wish.difference is not None and len(missing) == len(given):
        return None
    if wish.debit is None or wish.credit is None or wish.amount_minor is None:
        detail = "debit, credit and amount belong together; a difference alone may say all three"
        raise Refused("adjustment_incomplete", param=missing[0], detail=detail)
    return parse_correction(
        debit=wish.debit, credit=wish.credit, amount_minor=wish.amount_minor, currency=wish.currency
    )


async def _lock(transaction: Transaction, number: int) -> AdjustmentRow:
    row = await stored.lock_adjustment(transaction, number) if 0 < number <= NUMBER_MAX else None
    if row is None:
        raise Refused("adjustment_not_found", param="adjustment")
    return row


def _refuse_ended(row: AdjustmentRow) -> None:
    if row.decision_reason is not None:
        detail = f"{row.state} by {row.decided_by}: {row.decision_reason}"
        raise Refused("adjustment_ended", param="adjustment", detail=detail)


def _order_of(difference: LockedDifference, *, named: Key | None) -> Key | None:
    """The order of a difference, or the one that was named where the difference has none."""
    key = difference.key
    if key is None:
        return named
    if named is not None and named != key:
        raise Refused("difference_of_another_order", param="order_no")
    return key


async def _place(transaction: Transaction, correction: Correction, key: Key | None) -> _Place:
    """Where it is booked: with its order, else with its merchant; a merchant's account is in its own lane only."""
    merchants = set(correction.merchants)
    if key is not None:
        locked = (await lock_orders(transaction, [key])).get(key)
        if locked is None:
            raise Refused("order_not_found", param="order_no")
        merchants.add(locked.order.merchant_id)
    if len(merchants) > 1:
        raise Refused("merchants_differ", param="debit", detail="one adjustment is of one merchant, and of its order")
    for account_id in sorted(correction.accounts):
        is_number = 0 < account_id <= NUMBER_MAX
        if not is_number or await directory.find_account(transaction, account_id) is None:
            raise Refused("account_unknown", param="account", detail=f"there is no channel account {account_id}")
    if not merchants:
        return _Place(lane=HOUSE_LANE, merchant_id=None, order_id=None)
    merchant = await directory.find_merchant(transaction, next(iter(merchants)))
    if merchant is None:
        raise Refused("merchant_unknown", param="merchant")
    return _Place(lane=merchant.lane, merchant_id=merchant.merchant_id, order_id=None if key is None else key[1])


async def _find_receipt(transaction: Transaction, correction: Correction, reference: str) -> AdjustmentRow:
    """The receipt that has this reference already, if it is the same one."""
    rows = await stored.list_of_receipt(transaction, credit=correction.credit, bank_reference=reference)
    stands = (AdjustmentState.PROPOSED.value, AdjustmentState.APPROVED.value)
    row = next((one for one in rows if one.state in stands), None)
    if row is None:
        raise Refused("receipt_exists", param="reference", detail="it was ended this very moment: say it again")
    if row.correction != correction:
        raise Refused("receipt_exists", param="reference", detail=f"adjustment {row.number} has another sum")
    return row
