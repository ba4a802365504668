"""What a payment costs its merchant, and what of it goes back with a refund."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from budan.core.money import AMOUNT_MINOR_MAX, Money

# A basis point is a hundredth of a percent.
BASIS_POINTS = 10_000
# A rate above the whole amount is a typing mistake, never a contract.
FEE_RATE_BP_MAX = BASIS_POINTS


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeTerms:
    """A rate in basis points with the bounds of the fee that it makes; `maximum_minor` None is no bound."""

    rate_bp: int
    minimum_minor: int = 0
    maximum_minor: int | None = None

    def __post_init__(self) -> None:
        assert 0 <= self.rate_bp <= FEE_RATE_BP_MAX
        assert 0 <= self.minimum_minor <= AMOUNT_MINOR_MAX
        assert self.maximum_minor is None or self.minimum_minor <= self.maximum_minor <= AMOUNT_MINOR_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What a merchant's payments on a channel cost from a moment on; `shop_id` and `method` None are all of them."""

    channel: str
    shop_id: int | None
    method: str | None
    effective_from: datetime
    terms: FeeTerms


def find_fee_terms(
    rates: Sequence[Rate], *, channel: str, shop_id: int | None, method: str, now: datetime
) -> FeeTerms | None:
    """The terms in force at `now` for a payment, None where no rate is.

    The most specific rate counts: of the shop and the method, of the shop, of the method, of the channel. Of several of
    one kind the newest.
    """
    in_force = [
        rate
        for rate in rates
        if rate.channel == channel
        and rate.shop_id in {None, shop_id}
        and rate.method in {None, method}
        and rate.effective_from <= now
    ]
    most_specific = max(
        in_force,
        key=lambda rate: (rate.shop_id is not None, rate.method is not None, rate.effective_from),
        default=None,
    )
    return None if most_specific is None else most_specific.terms


def fee(amount: Money, terms: FeeTerms) -> Money:
    """The rate's share of `amount`, rounded half up to a minor unit, within its bounds; never more than the amount."""
    share = part_of(terms.rate_bp, part=amount.amount_minor, whole=BASIS_POINTS)
    bounded = max(share, terms.minimum_minor)
    if terms.maximum_minor is not None:
        bounded = min(bounded, terms.maximum_minor)
    return Money(amount_minor=min(bounded, amount.amount_minor), currency=amount.currency)


def part_of(total_minor: int, *, part: int, whole: int) -> int:
    """`total_minor` times `part` of `whole`, rounded half up to a minor unit."""
    assert total_minor >= 0
    assert part >= 0
    assert whole > 0
    return (2 * total_minor * part + whole) // (2 * whole)


def fee_to_give_back(paid: Money, terms: FeeTerms, *, refunded_minor: int, given_minor: int) -> Money:
    """The fee that a refund gives back: the share of all that is refunded so far, less what was given back already.

    The fee goes back in the proportion in which the payment does, so a fee at a bound does too. Cumulative, so that many
    small refunds give back what one large one would, and a full one all of the fee. Where more went back than was paid,
    a person looks; the fee is given back once.
    """
    taken = fee(paid, terms).amount_minor
    share = part_of(taken, part=min(refunded_minor, paid.amount_minor), whole=paid.amount_minor)
    return Money(amount_minor=max(0, share - given_minor), currency=paid.currency)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeeCorrection:
    """What a fee in force should have been: what was kept of it, what is kept now, and what of it went back then."""

    kept_before_minor: int
    kept_after_minor: int
    given_back_minor: int

    @property
    def owed_minor(self) -> int:
        """What the merchant owes us more; below zero what we owe the merchant."""
        return self.kept_after_minor - self.kept_before_minor


def correct_fee(
    paid: Money, *, before: FeeTerms, after: FeeTerms, refunded_minor: int, given_minor: int
) -> FeeCorrection:
    """The correction that leaves the books as if `after` had been in force since the payment, refunds included."""
    given_after = fee_to_give_back(paid, after, refunded_minor=refunded_minor, given_minor=0).amount_minor
    return FeeCorrection(
        kept_before_minor=fee(paid, before).amount_minor - given_minor,
        kept_after_minor=fee(paid, after).amount_minor - given_after,
        given_back_minor=given_after,
    )
