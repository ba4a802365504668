"""Due refunds: sent, then asked about on the ladder until the channel's word is definite."""

from collections.abc import Hashable, Sequence
from typing import Final

from budan.core.numbers import AccountId, Environment, Lane
from budan.flows.refunding import Refunding
from budan.store.refunds import DueRefund
from budan.workers.gates import GateLimits
from budan.workers.sweep import number_order

REFUNDS_MAX: Final = 64
# Refunds hurry nobody: they take few of an account's places, fewer of a slow one's.
REFUND_LIMITS: Final = GateLimits(
    rows_max=16,
    slow_rows_max=4,
    slow_after_s=1.0,
    pauses=None,
)


class RefundWork:
    """Takes the next step of refunds that are due."""

    name = "refund"

    def __init__(self, *, refunding: Refunding) -> None:
        self._refunding = refunding

    async def list_due(self, *, lanes: Sequence[Lane], left_out: Sequence[int], rows_max: int) -> list[DueRefund]:
        """See Work.list_due."""
        accounts = [AccountId(group) for group in left_out]
        return await self._refunding.list_due(lanes=lanes, accounts_left_out=accounts, rows_max=rows_max)

    def key(self, row: DueRefund) -> tuple[Lane, Hashable]:
        """See Work.key."""
        return row.lane, (row.order_id, row.ordinal)

    def group(self, row: DueRefund) -> int:
        """See Work.group."""
        return row.account_id

    def order_no(self, row: DueRefund, *, environment: Environment) -> str:
        """See Work.order_no."""
        return number_order(row, environment=environment)

    async def do(
        self,
        row: DueRefund,
        *,
        fence: int,  # noqa: ARG002 - a number refunds once and the door takes a second answer, so it needs no fence
    ) -> bool | None:
        """See Work.do."""
        await self._refunding.advance(row)
        return None
