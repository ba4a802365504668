"""Fee rates: set for the time to come, and corrected where a payment was charged by a wrong one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from budan.core.errors import Refused, StaleState
from budan.core.fees import FEE_RATE_BP_MAX, FeeCorrection, FeeTerms, correct_fee
from budan.core.ledger import fee_correction_entry
from budan.core.money import AMOUNT_MINOR_MAX, Money
from budan.core.numbers import Environment, MerchantId
from budan.core.order import OrderState
from budan.flows.acts import check_name, check_reason
from budan.flows.choosing import CHANNELS
from budan.flows.locking import lock_named
from budan.flows.timelines import parse_order_no
from budan.ports.channel import Method
from budan.store import acts, directory
from budan.store import door as gate
from budan.store import rates as stored
from budan.store.database import Database, RowsFailed, Transaction
from budan.store.door import DoorWrites, LockedOrder, LockedTrade, OrderChange
from budan.store.rates import RateRow

METHODS = frozenset(method.value for method in Method)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeWish:
    """What a fee shall be, as a person gives it; nothing of it is checked yet."""

    rate_bp: int
    minimum_minor: int
    maximum_minor: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RateWish:
    """A rate to set, from a moment on, now where None; of one shop or method, of all where None."""

    merchant_id: int
    channel: str
    fee: FeeWish
    shop_id: int | None
    method: str | None
    effective_from: datetime | None
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectedFee:
    """A payment's fee before and after a correction, refunds taken off; `act` is None where nothing was to correct."""

    order_no: str
    version: int
    act: int | None
    currency: str
    kept_before_minor: int
    kept_after_minor: int


class _ActWish(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a correction beside its name and reason."""

    attempt: int
    before: FeeTerms
    after: FeeTerms
    owed_minor: int


class Rates:
    """Sets, lists and corrects what payments cost."""

    def __init__(self, *, database: Database, environment: Environment) -> None:
        self._database = database
        self._environment = environment

    async def set(self, wish: RateWish) -> datetime:
        """A rate from a moment on; gives that moment.

        Raises `Refused` with `name_malformed`, `channel_unknown`, `method_unknown`, as `_terms` does, with `merchant_unknown`,
        `shop_unknown`, `effective_from_past`, or `rate_exists` where such a rate begins at that very moment.
        """
        by = check_name(wish.by)
        check_rate(wish.channel, wish.fee.rate_bp)
        if wish.method is not None and wish.method not in METHODS:
            raise Refused("method_unknown", param="method", detail=f"one of {sorted(METHODS)}")
        terms, merchant_id = _terms(wish.fee), MerchantId(wish.merchant_id)
        try:
            async with self._database.transaction() as transaction:
                await _refuse_unknown(transaction, merchant_id, wish.shop_id)
                moment = await stored.set_rate(
                    transaction,
                    merchant_id=merchant_id,
                    channel=wish.channel,
                    shop_id=wish.shop_id,
                    method=wish.method,
                    effective_from=wish.effective_from,
                    terms=terms,
                    set_by=by,
                )
        except RowsFailed as failed:
            raise Refused("rate_exists", param="effective_from") from failed
        if moment is None:
            raise Refused("effective_from_past", param="effective_from", detail="a rate in the past is never changed")
        return moment

    async def withdraw(self, wish: RateWish) -> None:
        """Take away a rate that begins in a minute or later: this very one. It is kept beside the rates, with who did it.

        Raises `Refused` with `name_malformed`, `effective_from_missing` or `rate_not_to_come`.
        """
        by = check_name(wish.by)
        if wish.effective_from is None:
            raise Refused("effective_from_missing", param="from", detail="which rate: when it would begin")
        async with self._database.transaction() as transaction:
            is_gone = await stored.withdraw_rate(
                transaction,
                merchant_id=MerchantId(wish.merchant_id),
                channel=wish.channel,
                shop_id=wish.shop_id,
                method=wish.method,
                effective_from=wish.effective_from,
                rate_bp=wish.fee.rate_bp,
                by=by,
            )
        if not is_gone:
            raise Refused(
                "rate_not_to_come", param="from", detail="no such rate begins then, a minute from now or later"
            )

    async def list_of(self, merchant_id: int, *, past: bool) -> list[RateRow]:
        """A merchant's rates in force and to come, with `past` all; raises `Refused` with `merchant_unknown`."""
        async with self._database.reading() as transaction:
            await _refuse_unknown(transaction, MerchantId(merchant_id), None)
            return await stored.list_rates(transaction, [MerchantId(merchant_id)], past=past)

    async def correct(self, order_no: str, wish: FeeWish, *, by: str, reason: str) -> CorrectedFee:
        """Charge a payment as if `wish` had been its rate, by one posting; what was booked before stays.

        Safe to repeat: a fee that is right already is left alone. Raises `Refused` with `name_malformed`,
        `reason_malformed`, as `_terms` and `parse_order_no` do, then with `order_not_found` or `order_not_paid`.
        """
        by, reason, after = check_name(by), check_reason(reason), _terms(wish)
        number = parse_order_no(order_no, environment=self._environment)
        key = (number.lane, number.order_id)
        async with self._database.transaction() as transaction:
            locked = await lock_named(transaction, number)
            if locked.order.state is not OrderState.PAID:
                raise Refused("order_not_paid", param="order_no", detail=f"the order is {locked.order.state.value}")
            trades = (await gate.list_trades(transaction, [key]))[key]
            paid = _paid_trade(locked, trades)
            correction = _correction(paid, after)
            act = None
            if paid.trade.fee_terms != after:
                act = await _write(transaction, locked, paid, after, correction, by=by, reason=reason)
        return CorrectedFee(
            order_no=order_no,
            version=locked.version + (act is not None),
            act=act,
            currency=paid.trade.currency,
            kept_before_minor=correction.kept_before_minor,
            kept_after_minor=correction.kept_after_minor,
        )


def check_rate(channel: str, rate_bp: int) -> None:
    """Raises `Refused` with `channel_unknown` or `rate_out_of_range`."""
    if channel not in CHANNELS:
        raise Refused("channel_unknown", param="channel", detail=f"one of {sorted(CHANNELS)}")
    if not 0 <= rate_bp <= FEE_RATE_BP_MAX:
        raise Refused("rate_out_of_range", param="rate", detail=f"0 to {FEE_RATE_BP_MAX} basis points")


def _terms(wish: FeeWish) -> FeeTerms:
    """Raises `Refused` with `rate_out_of_range`, `minimum_out_of_range` or `maximum_out_of_range`, in this order."""
    if not 0 <= wish.rate_bp <= FEE_RATE_BP_MAX:
        raise Refused("rate_out_of_range", param="rate", detail=f"0 to {FEE_RATE_BP_MAX} basis points")
    if not 0 <= wish.minimum_minor <= AMOUNT_MINOR_MAX:
        raise Refused("minimum_out_of_range", param="minimum", detail=f"0 to {AMOUNT_MINOR_MAX}")
    if wish.maximum_minor is not None and not wish.minimum_minor <= wish.maximum_minor <= AMOUNT_MINOR_MAX:
        detail = f"from the minimum to {AMOUNT_MINOR_MAX}"
        raise Refused("maximum_out_of_range", param="maximum", detail=detail)
    return FeeTerms(rate_bp=wish.rate_bp, minimum_minor=wish.minimum_minor, maximum_minor=wish.maximum_minor)


async def _refuse_unknown(transaction: Transaction, merchant_id: MerchantId, shop_id: int | None) -> None:
    if await directory.find_merchant(transaction, merchant_id) is None:
        raise Refused("merchant_unknown", param="merchant")
    if shop_id is not None and not await stored.is_shop_of(transaction, shop_id, merchant_id=merchant_id):
        raise Refused("shop_unknown", param="shop", detail="no shop of this merchant")


def _paid_trade(locked: LockedOrder, trades: Sequence[LockedTrade]) -> LockedTrade:
    return next(trade for trade in trades if trade.trade.attempt == locked.order.paid_attempt)


def _correction(paid: LockedTrade, after: FeeTerms) -> FeeCorrection:
    return correct_fee(
        Money(amount_minor=paid.trade.amount_minor, currency=paid.trade.currency),
        before=paid.trade.fee_terms,
        after=after,
        refunded_minor=paid.refunds.gone_minor,
        given_minor=paid.refunds.fee_given_back_minor,
    )


async def _write(
    transaction: Transaction,
    locked: LockedOrder,
    paid: LockedTrade,
    after: FeeTerms,
    correction: FeeCorrection,
    *,
    by: str,
    reason: str,
) -> int:
    """The order's version, the terms in force, the act and its posting; gives the act's ordinal."""
    key, trade, owed_minor = (locked.lane, locked.order_id), paid.trade, correction.owed_minor
    wish = _ActWish(attempt=trade.attempt, before=trade.fee_terms, after=after, owed_minor=owed_minor)
    act = await acts.add_act(
        transaction,
        key,
        kind="fee",
        acted_by=by,
        reason=reason,
        acted_at=locked.now,
        wish=msgspec.json.encode(wish).decode(),
    )
    writes = DoorWrites(orders=[OrderChange(locked=locked, state=locked.order.state)])
    if owed_minor:
        entry = fee_correction_entry(
            act=act,
            merchant_id=locked.order.merchant_id,
            owed=Money(amount_minor=abs(owed_minor), currency=trade.currency),
            is_ours=owed_minor > 0,
        )
        writes.entries.append((key, entry))
    if len(await gate.write(transaction, writes, now=locked.now)) != 1:
        raise StaleState
    await stored.correct_trade_fee(
        transaction, key, attempt=trade.attempt, terms=after, given_back_minor=correction.given_back_minor
    )
    return act
