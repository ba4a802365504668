"""Due webhooks, delivered."""

from collections.abc import Hashable, Sequence
from typing import Final

from budan.core.numbers import Lane
from budan.flows.delivering import Deliveries
from budan.store.work import DueDelivery
from budan.workers.gates import GateLimits

# Far above what one endpoint may have, so that many slow ones leave room for the others.
DELIVERIES_MAX: Final = 512
DELIVERY_LIMITS: Final = GateLimits(
    rows_max=32,
    slow_rows_max=4,
    slow_after_s=1.0,
    failures_to_open=5,
    pause_s_first=1.0,
    # What arrived during an outage waits at most this long after its end.
    pause_s_max=60.0,
)


class DeliverWork:
    """Delivers webhooks; an endpoint that does not take them is tried less and less often."""

    name = "deliver"

    def __init__(self, *, deliveries: Deliveries) -> None:
        self._deliveries = deliveries

    async def list_due(self, *, lanes: Sequence[Lane], left_out: Sequence[int], rows_max: int) -> list[DueDelivery]:
        """See Work.list_due."""
        return await self._deliveries.list_due(lanes=lanes, endpoints_left_out=left_out, rows_max=rows_max)

    def key(self, row: DueDelivery) -> tuple[Lane, Hashable]:
        """See Work.key."""
        return row.lane, (row.order_id, row.version, row.endpoint_id)

    def group(self, row: DueDelivery) -> int:
        """See Work.group."""
        return row.endpoint_id

    async def do(self, row: DueDelivery, *, fence: int) -> bool | None:
        """See Work.do."""
        return await self._deliveries.deliver(row, fence=fence)
