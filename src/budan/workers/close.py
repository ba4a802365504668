"""Orders whose time is over, and trades to be ended at their channels."""

from collections.abc import Hashable, Sequence
from typing import Final

import structlog

from budan.core.numbers import AccountId, Environment, Lane
from budan.flows.closing import OrderClosing
from budan.flows.ending import TradeEndings
from budan.store.closing import DueClose, DueOrder
from budan.workers.gates import GateLimits
from budan.workers.sweep import number_order

ORDERS_MAX: Final = 256
# Looks go to our own database, so there is one group, and nothing outside that could be slow.
ORDER_LIMITS: Final = GateLimits(
    rows_max=ORDERS_MAX,
    slow_rows_max=ORDERS_MAX,
    slow_after_s=60.0,
    pauses=None,
)
CLOSES_MAX: Final = 128
# The guard of each account has its own breaker; here one account only must not take every place.
CLOSE_LIMITS: Final = GateLimits(
    rows_max=32,
    slow_rows_max=8,
    slow_after_s=2.0,
    pauses=None,
)
_ONE_GROUP: Final = 0

_log = structlog.get_logger(__name__)


class ExpireWork:
    """Looks at orders whose time may be over."""

    name = "expire"

    def __init__(self, *, closing: OrderClosing) -> None:
        self._closing = closing

    async def list_due(self, *, lanes: Sequence[Lane], left_out: Sequence[int], rows_max: int) -> list[DueOrder]:
        """See Work.list_due."""
        return [] if left_out else await self._closing.list_due(lanes=lanes, rows_max=rows_max)

    def key(self, row: DueOrder) -> tuple[Lane, Hashable]:
        """See Work.key."""
        return row.lane, row.order_id

    def group(self, row: DueOrder) -> int:  # noqa: ARG002 - one group for all
        """See Work.group."""
        return _ONE_GROUP

    def order_no(self, row: DueOrder, *, environment: Environment) -> str:
        """See Work.order_no."""
        return number_order(row, environment=environment)

    async def do(
        self,
        row: DueOrder,
        *,
        fence: int,  # noqa: ARG002 - a second look finds nothing to do, so it needs no fence
    ) -> bool | None:
        """See Work.do."""
        await self._closing.look((row.lane, row.order_id))
        return None


class CloseWork:
    """Closes and reverses trades at their channels."""

    name = "close"

    def __init__(self, *, endings: TradeEndings) -> None:
        self._endings = endings

    async def list_due(self, *, lanes: Sequence[Lane], left_out: Sequence[int], rows_max: int) -> list[DueClose]:
        """See Work.list_due."""
        accounts = [AccountId(group) for group in left_out]
        return await self._endings.list_due(lanes=lanes, accounts_left_out=accounts, rows_max=rows_max)

    def key(self, row: DueClose) -> tuple[Lane, Hashable]:
        """See Work.key."""
        return row.lane, (row.order_id, row.attempt)

    def group(self, row: DueClose) -> int:
        """See Work.group."""
        return row.account_id

    def order_no(self, row: DueClose, *, environment: Environment) -> str:
        """See Work.order_no."""
        return number_order(row, environment=environment)

    async def do(
        self,
        row: DueClose,
        *,
        fence: int,  # noqa: ARG002 - a close and a reverse are safe to repeat, and the door makes a second answer harmless
    ) -> bool | None:
        """See Work.do."""
        await self._endings.end(row)
        return None
