"""Where a paid order lost its time, and who lost it (docs/design.md section 12)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from budan.core.trade import Direction

# Shorter waits are no loss: a channel takes a second or two to tell, an endpoint a moment to answer.
GAP_NAMED_FROM = timedelta(seconds=5)


class GapCause(Enum):
    """Who lost the time, as far as what is written down tells."""

    NOTICE_MISSING = "notice_missing"
    NOTICE_LATE = "notice_late"
    NOTICE_REJECTED = "notice_rejected"
    REPLY_MISSING = "reply_missing"
    OUR_QUEUE = "our_queue"
    MERCHANT_ENDPOINT = "merchant_endpoint"
    WE_WERE_DOWN = "we_were_down"
    DATABASE_AWAY = "database_away"


class Role(Enum):
    """Who of ours can be away: what answers over HTTP, and what does what is due."""

    SERVE = "serve"
    WORKER = "worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A stretch in which no process of a role reached the database; `cause` says whether any was there and tried."""

    role: Role
    cause: GapCause
    began_at: datetime
    ended_at: datetime

    def __post_init__(self) -> None:
        assert self.cause in {GapCause.WE_WERE_DOWN, GapCause.DATABASE_AWAY}


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


def name_gap(milestones: Milestones, *, outages: Sequence[Outage], now: datetime) -> Gap | None:
    """The longest wait with its cause, or None where nobody waited long. The channel's clock may run ahead of ours.

    Who lost the time is whoever was away: through half of the wait or more, or when the channel would have told us.
    """
    gaps = [gap for gap in _waits(milestones, now=now) if gap.seconds >= GAP_NAMED_FROM.total_seconds()]
    longest = max(gaps, key=lambda gap: gap.seconds, default=None)
    if longest is None:
        return None
    is_unheard = longest.began_at == milestones.paid_at
    away = max(outages, key=lambda outage: _shared_s(longest, outage, now=now), default=None)
    if away is not None and _shared_s(longest, away, now=now) * 2 >= longest.seconds:
        return replace(longest, cause=away.cause)
    missed_by = next((outage for outage in outages if is_unheard and _has_missed(outage, longest)), None)
    return longest if missed_by is None else replace(longest, cause=missed_by.cause)


def _shared_s(gap: Gap, outage: Outage, *, now: datetime) -> float:
    return (min(gap.ended_at or now, outage.ended_at) - max(gap.began_at, outage.began_at)).total_seconds()


def _has_missed(outage: Outage, gap: Gap) -> bool:
    """Whether nobody was there to take the notice, which channels send within seconds of a payment."""
    is_there = outage.began_at < gap.began_at + GAP_NAMED_FROM and outage.ended_at > gap.began_at
    return outage.role is Role.SERVE and is_there


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
