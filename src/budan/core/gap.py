"""Where a paid order lost its time, and who lost it (docs/design.md section 12)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from budan.core.trade import Direction

# Shorter waits are no loss: a channel takes a second or two to tell, an endpoint a moment to answer.
GAP_NAMED_FROM = timedelta(seconds=5)


class GapCause(Enum):
    """Who lost the time, as far as the order's own rows tell."""

    NOTICE_MISSING = "notice_missing"
    NOTICE_LATE = "notice_late"
    NOTICE_REJECTED = "notice_rejected"
    REPLY_MISSING = "reply_missing"
    OUR_QUEUE = "our_queue"
    MERCHANT_ENDPOINT = "merchant_endpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Milestones:
    """The moments between a payment and the merchant's word that it was taken; None has not happened.

    `noticed_at` is the first verified notice of the paying trade, `told_at` the first delivery that left. `is_to_tell`
    says that an event waits for an endpoint. `rejected_at` is the first notice to the paying account, from the payment
    until we knew of it, whose signature did not hold: of whom it told, nobody can say.
    """

    direction: Direction
    paid_at: datetime | None
    learned_at: datetime
    learned_source: str
    completed_at: datetime
    noticed_at: datetime | None
    rejected_at: datetime | None
    is_to_tell: bool
    told_at: datetime | None
    taken_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """The longest wait of an order; `ended_at` None goes on."""

    cause: GapCause
    began_at: datetime
    ended_at: datetime | None
    seconds: float


def name_gap(milestones: Milestones, *, now: datetime) -> Gap | None:
    """The longest wait with its cause, or None where nobody waited long. The channel's clock may run ahead of ours."""
    gaps = [gap for gap in _waits(milestones, now=now) if gap.seconds >= GAP_NAMED_FROM.total_seconds()]
    return max(gaps, key=lambda gap: gap.seconds, default=None)


def _waits(milestones: Milestones, *, now: datetime) -> list[Gap]:
    waits: list[Gap] = []
    if milestones.paid_at is not None:
        waits.append(_gap(_unheard_cause(milestones), milestones.paid_at, milestones.learned_at, now=now))
    waits.append(_gap(GapCause.OUR_QUEUE, milestones.learned_at, milestones.completed_at, now=now))
    if milestones.is_to_tell:
        waits.append(_gap(GapCause.OUR_QUEUE, milestones.completed_at, milestones.told_at, now=now))
    if milestones.told_at is not None:
        waits.append(_gap(GapCause.MERCHANT_ENDPOINT, milestones.told_at, milestones.taken_at, now=now))
    return waits


def _unheard_cause(milestones: Milestones) -> GapCause:
    """Why we learned late: a notice that came after all was late, whatever we learned it from before."""
    noticed_at = milestones.noticed_at
    if noticed_at is not None and noticed_at < milestones.learned_at and milestones.learned_source != "notice":
        # It was here and had no effect at once: its row failed, or waited for its trade.
        return GapCause.OUR_QUEUE
    if noticed_at is not None or milestones.learned_source == "notice":
        return GapCause.NOTICE_LATE
    if milestones.direction is Direction.B2C:
        return GapCause.REPLY_MISSING
    return GapCause.NOTICE_MISSING if milestones.rejected_at is None else GapCause.NOTICE_REJECTED


def _gap(cause: GapCause, began_at: datetime, ended_at: datetime | None, *, now: datetime) -> Gap:
    seconds = ((ended_at or now) - began_at).total_seconds()
    return Gap(cause=cause, began_at=began_at, ended_at=ended_at, seconds=max(0.0, seconds))
