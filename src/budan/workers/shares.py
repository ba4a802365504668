"""This worker's part of what a channel account takes from all of us: bounds and pace split by held lanes."""

from dataclasses import dataclass
from typing import Final

from budan.core.numbers import AccountId
from budan.flows.healths import AccountHealths
from budan.flows.lanes import LaneKeeper

# What was not asked in this time is lost: a channel that wants few questions a second does not want them at once.
SAVED_S_MAX: Final = 0.5


@dataclass(slots=True, kw_only=True)
class _Bucket:
    tokens: float
    at_s: float


class AccountShares:
    """Splits each account's bound over the workers by the lanes that they hold, so that together they keep it."""

    def __init__(self, *, healths: AccountHealths, lanes: LaneKeeper) -> None:
        self._healths = healths
        self._lanes = lanes
        self._buckets: dict[int, _Bucket] = {}

    def rows_max(self, group: int, *, of: int) -> int:  # noqa: ARG002 - every account has the same bound
        """See Shares.rows_max."""
        return max(1, int(of * self._lanes.share))

    def take(self, group: int, *, now_s: float) -> bool:
        """See Shares.take."""
        bucket = self._fill(group, now_s=now_s)
        if bucket is None:
            return True
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    def held_back(self, *, now_s: float) -> list[int]:
        """See Shares.held_back."""
        filled = {group: self._fill(group, now_s=now_s) for group in list(self._buckets)}
        return [group for group, bucket in filled.items() if bucket is not None and bucket.tokens < 1]

    def _fill(self, group: int, *, now_s: float) -> _Bucket | None:
        """The account's bucket after what this worker saved since; None where nothing holds it back."""
        rate_per_s = self._healths.rate_per_s(AccountId(group))
        if rate_per_s is None:
            self._buckets.pop(group, None)
            return None
        rate_per_s *= self._lanes.share
        bucket = self._buckets.setdefault(group, _Bucket(tokens=1.0, at_s=now_s))
        saved = bucket.tokens + rate_per_s * (now_s - bucket.at_s)
        bucket.tokens, bucket.at_s = min(saved, max(1.0, rate_per_s * SAVED_S_MAX)), now_s
        return bucket
