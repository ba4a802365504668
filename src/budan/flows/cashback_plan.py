"""From a completion, a binding, a hold or a refund to the rows that an order's cashback writes, in their transaction."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from budan.core.cashback import Cashback, CashbackCause, CashbackOffer, grant_cashback, settle_cashback
from budan.core.ledger import cashback_entry
from budan.core.money import Money
from budan.flows.views import CashbackView
from budan.store.cashbacks import BudgetKey, CashbackChange, find_cashbacks, lock_budgets
from budan.store.database import Transaction
from budan.store.door import DoorWrites, Key, LockedOrder, LockedTrade

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(CashbackOffer)

# A budget that was not locked counts as empty.
_NONE_LEFT = 0


def encode_offer(offer: CashbackOffer | None) -> str | None:
    """The JSON that is kept with a trade."""
    return None if offer is None else _ENCODER.encode(offer).decode()


def decode_offer(text: str | None) -> CashbackOffer | None:
    """What was offered when a trade began; None where its merchant had no plan."""
    return None if text is None else _DECODER.decode(text)


def budget_key(locked: LockedOrder, trade: LockedTrade) -> BudgetKey | None:
    """Where the budget is of which the trade's payer was offered something."""
    offer = decode_offer(trade.cashback_offer)
    return None if offer is None or offer.plan_id is None else (locked.lane, offer.plan_id)


def find_paid(locked: LockedOrder, trades: Iterable[LockedTrade]) -> LockedTrade | None:
    """The trade that completed the order."""
    return next((trade for trade in trades if trade.trade.attempt == locked.order.paid_attempt), None)


def view_cashback(offer: CashbackOffer | None, cashback: Cashback | None) -> CashbackView | None:
    """What merchants are told of a payment's cashback: what stands, else why there is none; None where no plan was in force."""
    if cashback is not None:
        return CashbackView(
            decision=cashback.decision.value,
            granted_minor=cashback.granted_minor,
            booked_minor=cashback.booked_minor,
            funded_by=cashback.funded_by.value,
            payer_id=cashback.payer_id,
        )
    if offer is None or offer.none_because is None:
        return None
    return CashbackView(
        decision=offer.none_because.value, granted_minor=0, booked_minor=0, funded_by=None, payer_id=None
    )


def view_written_cashback(
    key: Key, trade: LockedTrade, writes: DoorWrites, *, before: Cashback | None
) -> CashbackView | None:
    """The same as this transaction leaves it; `before` is what stood when it began."""
    after = next((change.after for change in reversed(writes.cashbacks) if change.key == key), before)
    return view_cashback(decode_offer(trade.cashback_offer), after)


async def read_cashbacks(
    transaction: Transaction,
    locked: Mapping[Key, LockedOrder],
    trades: Mapping[Key, Sequence[LockedTrade]],
    writes: DoorWrites,
) -> dict[Key, Cashback]:
    """What the paid ones of these held orders were granted, their budgets locked; asks nothing where no plan offered any."""
    budgets: dict[Key, BudgetKey] = {}
    for key, order in locked.items():
        paid = find_paid(order, trades.get(key, ()))
        found = None if paid is None else budget_key(order, paid)
        if found is not None:
            budgets[key] = found
    if not budgets:
        return {}
    writes.budgets.update(await lock_budgets(transaction, list(budgets.values())))
    return await find_cashbacks(transaction, list(budgets))


def plan_granted(
    locked: LockedOrder, trade: LockedTrade, writes: DoorWrites, *, payer_id: str | None, is_held: bool
) -> None:
    """The cashback of the payment that completes the order now."""
    offer, budget = decode_offer(trade.cashback_offer), budget_key(locked, trade)
    if offer is None or budget is None:
        return
    granted = grant_cashback(offer, budget_left_minor=writes.budgets.get(budget, _NONE_LEFT))
    after = _settled(trade, granted, payer_id=payer_id, is_held=is_held, more_gone_minor=0, more_promised_minor=0)
    _write(locked, trade, after, writes, booked_minor=0, standing_minor=0, cause=CashbackCause.PAID)


def plan_settled(
    locked: LockedOrder,
    trade: LockedTrade,
    before: Cashback,
    writes: DoorWrites,
    *,
    cause: CashbackCause,
    is_held: bool,
    payer_id: str | None = None,
    more_gone_minor: int = 0,
    more_promised_minor: int = 0,
) -> bool:
    """What of a granted cashback moves; whether anything changed. The caller raises the order's version.

    The two amounts are what this transaction adds to what is back of the payment, and to what is promised to go back.
    """
    after = _settled(
        trade,
        before,
        payer_id=payer_id,
        is_held=is_held,
        more_gone_minor=more_gone_minor,
        more_promised_minor=more_promised_minor,
    )
    if after == before:
        return False
    _write(
        locked,
        trade,
        after,
        writes,
        booked_minor=before.booked_minor,
        standing_minor=before.standing_minor,
        cause=cause,
    )
    return True


def _settled(
    trade: LockedTrade,
    cashback: Cashback,
    *,
    payer_id: str | None,
    is_held: bool,
    more_gone_minor: int,
    more_promised_minor: int,
) -> Cashback:
    sums = trade.refunds
    return settle_cashback(
        cashback,
        payer_id=payer_id,
        is_held=is_held,
        gone_minor=sums.gone_minor + more_gone_minor,
        promised_minor=sums.reserved_minor + more_promised_minor,
        paid_minor=sums.paid_minor,
    )


def _write(
    locked: LockedOrder,
    trade: LockedTrade,
    after: Cashback,
    writes: DoorWrites,
    *,
    booked_minor: int,
    standing_minor: int,
    cause: CashbackCause,
) -> None:
    key, currency = (locked.lane, locked.order_id), trade.trade.currency
    budget = (locked.lane, after.plan_id)
    moved, taken = after.booked_minor - booked_minor, after.standing_minor - standing_minor
    writes.budgets[budget] = writes.budgets.get(budget, _NONE_LEFT) - taken
    writes.cashbacks.append(
        CashbackChange(
            key=key,
            merchant_id=locked.order.merchant_id,
            currency=currency,
            after=after,
            moved_minor=moved,
            taken_minor=taken,
            cause=cause,
        )
    )
    if moved:
        entry = cashback_entry(
            ordinal=after.movements,
            merchant_id=locked.order.merchant_id,
            funded_by=after.funded_by,
            given=Money(amount_minor=abs(moved), currency=currency),
            is_back=moved < 0,
        )
        writes.entries.append((key, entry))
