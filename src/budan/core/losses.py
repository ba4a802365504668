"""Lost and late orders counted: by channel and cause, with the time that it took until each was whole again."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from budan.core.gap import Outage

UNEXPLAINED = "unexplained"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """One order: `recover_s` is from the payment to the completion, None where the channel told no moment of it."""

    channel: str
    cause: str
    recover_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LossCount:
    """The orders of one channel and cause; the seconds are None where no order has any."""

    channel: str
    cause: str
    orders: int
    recover_p50_s: float | None
    recover_p99_s: float | None
    recover_max_s: float | None


@dataclass(slots=True, kw_only=True)
class LossTally:
    """Counts while they are read. `outages` are the stretches in which we were away, newest first."""

    paid: int = 0
    outages: Sequence[Outage] = ()
    seconds: dict[tuple[str, str], list[float]] = field(default_factory=dict[tuple[str, str], list[float]])
    orders: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])

    def add(self, loss: Loss) -> None:
        """Count an order."""
        key = (loss.channel, loss.cause)
        self.orders[key] = self.orders.get(key, 0) + 1
        if loss.recover_s is not None:
            self.seconds.setdefault(key, []).append(loss.recover_s)

    @property
    def lost(self) -> int:
        """All of them."""
        return sum(self.orders.values())

    @property
    def unexplained(self) -> int:
        """Those of which nothing tells where their time went; none is the aim."""
        return sum(orders for (_, cause), orders in self.orders.items() if cause == UNEXPLAINED)

    def counts(self) -> list[LossCount]:
        """By channel and cause, the most first."""
        rows = [_count(key, orders, sorted(self.seconds.get(key, []))) for key, orders in self.orders.items()]
        return sorted(rows, key=lambda row: (-row.orders, row.channel, row.cause))

    def whole(self) -> LossCount:
        """All channels and causes as one."""
        everything = sorted(second for seconds in self.seconds.values() for second in seconds)
        return _count(("", ""), self.lost, everything)


def _count(key: tuple[str, str], orders: int, seconds: Sequence[float]) -> LossCount:
    channel, cause = key
    return LossCount(
        channel=channel,
        cause=cause,
        orders=orders,
        recover_p50_s=_percentile(seconds, 50),
        recover_p99_s=_percentile(seconds, 99),
        recover_max_s=_percentile(seconds, 100),
    )


def _percentile(ordered: Sequence[float], share: int) -> float | None:
    """The nearest rank: the smallest value that at least `share` of a hundred do not exceed."""
    if not ordered:
        return None
    return ordered[max(0, -(-len(ordered) * share // 100) - 1)]
