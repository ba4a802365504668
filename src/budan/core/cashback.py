"""What a payer gets back of a payment: offered when it begins, granted when it completes, taken back with refunds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum

from budan.core.fees import BASIS_POINTS, part_of


class Funder(Enum):
    """Who pays for it."""

    MERCHANT = "merchant"
    PLATFORM = "platform"


class CashbackDecision(Enum):
    """What was decided of a payment's cashback: the first three grant it, the others say why there is none."""

    GRANTED = "granted"
    PAYER_UNKNOWN = "payer_unknown"  # granted, and booked when the payer is known
    ORDER_HELD = "order_held"  # granted, and booked when the inquiry is over
    BUDGET_EXHAUSTED = "budget_exhausted"
    NOT_IN_FORCE = "not_in_force"
    METHOD_EXCLUDED = "method_excluded"
    AMOUNT_TOO_SMALL = "amount_too_small"


class CashbackCause(Enum):
    """Why cashback moved."""

    PAID = "paid"
    PAYER_KNOWN = "payer_known"
    RELEASED = "released"
    REFUND = "refund"
    REFUND_FREED = "refund_freed"  # a refund that had taken it back came to nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class CashbackPlan:
    """A fixed amount, or a share in basis points up to a cap, of payments by some methods in some time.

    `methods` None is every method, `ends_at` None no end; the end itself is past it.
    """

    plan_id: int
    funded_by: Funder
    fixed_minor: int | None
    rate_bp: int | None
    cap_minor: int | None
    methods: frozenset[str] | None
    begins_at: datetime
    ends_at: datetime | None

    def amount_of(self, paid_minor: int) -> int:
        """What it gives for a payment: the share rounded half up to a minor unit, never more than was paid."""
        if self.fixed_minor is not None:
            return min(self.fixed_minor, paid_minor)
        assert self.rate_bp is not None, "a plan is fixed or a share"
        share = part_of(self.rate_bp, part=paid_minor, whole=BASIS_POINTS)
        return share if self.cap_minor is None else min(share, self.cap_minor)

    def is_in_force(self, now: datetime) -> bool:
        """Whether payments that begin now have it."""
        return self.begins_at <= now and (self.ends_at is None or now < self.ends_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class CashbackOffer:
    """What a trade promises its payer, kept with its intent; `none_because` where its merchant's plans give nothing."""

    plan_id: int | None = None
    funded_by: Funder | None = None
    amount_minor: int = 0
    none_because: CashbackDecision | None = None

    def __post_init__(self) -> None:
        assert (self.amount_minor > 0) == (self.none_because is None)
        assert (self.plan_id is None) == (self.funded_by is None) == (self.none_because is not None)


def offer_cashback(
    plans: Sequence[CashbackPlan], *, amount_minor: int, method: str, now: datetime
) -> CashbackOffer | None:
    """The plan that gives a payment most, the older of two alike; None where there is no plan to speak of."""
    if not plans:
        return None
    in_force = [plan for plan in plans if plan.is_in_force(now)]
    if not in_force:
        return CashbackOffer(none_because=CashbackDecision.NOT_IN_FORCE)
    fitting = [plan for plan in in_force if plan.methods is None or method in plan.methods]
    if not fitting:
        return CashbackOffer(none_because=CashbackDecision.METHOD_EXCLUDED)
    best = max(fitting, key=lambda plan: (plan.amount_of(amount_minor), -plan.plan_id))
    given = best.amount_of(amount_minor)
    if given == 0:
        return CashbackOffer(none_because=CashbackDecision.AMOUNT_TOO_SMALL)
    return CashbackOffer(plan_id=best.plan_id, funded_by=best.funded_by, amount_minor=given)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cashback:
    """What a paid order was granted; of that, what its refunds leave standing, and what is booked to its payer."""

    plan_id: int
    funded_by: Funder
    decision: CashbackDecision
    granted_minor: int
    standing_minor: int
    booked_minor: int
    payer_id: str | None
    movements: int

    def __post_init__(self) -> None:
        assert 0 <= self.booked_minor <= self.standing_minor <= self.granted_minor
        assert self.payer_id is not None or self.booked_minor == 0


def grant_cashback(offer: CashbackOffer, *, budget_left_minor: int) -> Cashback:
    """The decision at completion, nothing of it booked yet: all that was offered, or nothing where the budget is used up."""
    assert offer.plan_id is not None
    assert offer.funded_by is not None
    granted = offer.amount_minor if offer.amount_minor <= budget_left_minor else 0
    return Cashback(
        plan_id=offer.plan_id,
        funded_by=offer.funded_by,
        decision=CashbackDecision.GRANTED if granted else CashbackDecision.BUDGET_EXHAUSTED,
        granted_minor=granted,
        standing_minor=granted,
        booked_minor=0,
        payer_id=None,
        movements=0,
    )


def settle_cashback(
    cashback: Cashback, *, payer_id: str | None, is_held: bool, gone_minor: int, promised_minor: int, paid_minor: int
) -> Cashback:
    """What shall stand and be booked when so much of the payment is back with its payer, and so much more promised.

    It goes back in the proportion in which the payment does, as the share of all that goes back: many small refunds end
    as one large one, and the order of news does not matter. A refund takes back when it is promised and frees the budget
    when it is done, so that one that comes to nothing finds its budget untouched. More is booked only for a known payer
    of an order without a hold; taken back it is in any case. A payer that is known stays.
    """

    def left_of(back_minor: int) -> int:
        part = min(back_minor, paid_minor)
        return cashback.granted_minor - part_of(cashback.granted_minor, part=part, whole=paid_minor)

    standing, due = left_of(gone_minor), left_of(gone_minor + promised_minor)
    known = cashback.payer_id or payer_id
    if cashback.granted_minor == 0:
        return replace(cashback, payer_id=known)
    if known is None:
        decision, booked = CashbackDecision.PAYER_UNKNOWN, 0
    elif is_held and due > cashback.booked_minor:
        decision, booked = CashbackDecision.ORDER_HELD, cashback.booked_minor
    else:
        decision, booked = CashbackDecision.GRANTED, due
    return replace(
        cashback,
        decision=decision,
        standing_minor=standing,
        booked_minor=booked,
        payer_id=known,
        movements=cashback.movements + (booked != cashback.booked_minor),
    )
