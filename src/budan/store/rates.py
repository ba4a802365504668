"""Fee rates with the moments from which they count, and the fees that persons corrected."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from budan.core.fees import FeeTerms, Rate
from budan.core.numbers import Lane, MerchantId, OrderId
from budan.store.database import Transaction
from budan.store.queries import query

_RATE_SET = query("rate_set")
_RATE_WITHDRAW = query("rate_withdraw")
_RATE_LIST = query("rate_list")
_SHOP_IS_OF = query("shop_is_of")
_TRADE_CORRECT_FEE = query("trade_correct_fee")


@dataclass(frozen=True, slots=True, kw_only=True)
class RateRow:
    """A fee rate from a moment on; of one shop or method, or of all where None. `set_by` is None where nobody was asked."""

    merchant_id: MerchantId
    channel: str
    shop_id: int | None
    method: str | None
    effective_from: datetime
    rate_bp: int
    minimum_minor: int
    maximum_minor: int | None
    set_by: str | None

    @property
    def rate(self) -> Rate:
        """The row as payments see it."""
        return Rate(
            channel=self.channel,
            shop_id=self.shop_id,
            method=self.method,
            effective_from=self.effective_from,
            terms=FeeTerms(rate_bp=self.rate_bp, minimum_minor=self.minimum_minor, maximum_minor=self.maximum_minor),
        )


async def set_rate(
    transaction: Transaction,
    *,
    merchant_id: MerchantId,
    channel: str,
    shop_id: int | None,
    method: str | None,
    effective_from: datetime | None,
    terms: FeeTerms,
    set_by: str | None,
) -> datetime | None:
    """A rate from `effective_from`, or from now where None; gives the moment, or None when it is past."""
    row = await transaction.maybe(
        _RATE_SET,
        merchant_id,
        channel,
        effective_from,
        terms.rate_bp,
        shop_id,
        method,
        terms.minimum_minor,
        terms.maximum_minor,
        set_by,
    )
    return None if row is None else cast("datetime", row["effective_from"])


async def withdraw_rate(
    transaction: Transaction,
    *,
    merchant_id: MerchantId,
    channel: str,
    shop_id: int | None,
    method: str | None,
    effective_from: datetime,
    rate_bp: int,
    by: str,
) -> bool:
    """Take away a rate that has not begun; False where there is none such, or it begins within a minute."""
    given = (merchant_id, channel, shop_id, method, effective_from, rate_bp, by)
    return await transaction.maybe(_RATE_WITHDRAW, *given) is not None


async def list_rates(transaction: Transaction, merchant_ids: Sequence[MerchantId], *, past: bool) -> list[RateRow]:
    """Rates in force and to come, with `past` all that ever were; newest first within a channel, shop and method."""
    return [RateRow(**dict(row)) for row in await transaction.many(_RATE_LIST, merchant_ids, past)]


async def is_shop_of(transaction: Transaction, shop_id: int, *, merchant_id: MerchantId) -> bool:
    """Whether the shop is this merchant's."""
    return cast("bool", (await transaction.one(_SHOP_IS_OF, shop_id, merchant_id))["is_of"])


async def correct_trade_fee(
    transaction: Transaction,
    key: tuple[Lane, OrderId],
    *,
    attempt: int,
    terms: FeeTerms,
    given_back_minor: int,
) -> None:
    """Put other terms in force for a payment; the order is held by the gate, and its version raised."""
    await transaction.none(
        _TRADE_CORRECT_FEE,
        *key,
        attempt,
        terms.rate_bp,
        terms.minimum_minor,
        terms.maximum_minor,
        given_back_minor,
    )
