"""Due webhooks, delivered."""

from collections.abc import Hashable, Sequence
from typing import Final, assert_never

import structlog

from budan.core.numbers import Environment, Lane
from budan.flows.delivering import Deliveries
from budan.store.work import DueDelivery
from budan.workers.gates import GateLimits, Pauses, Verdict
from budan.workers.sweep import number_order

# Far above what one endpoint may have, so that many slow ones leave room for the others.
DELIVERIES_MAX: Final = 512
DELIVERY_LIMITS: Final = GateLimits(
    rows_max=64,
    slow_rows_max=4,
    slow_after_s=1.0,
    pauses=Pauses(
        failures_to_open=5,
        pause_s_first=1.0,
        # What arrived during an outage waits at most this long after its end.
        pause_s_max=60.0,
    ),
)
# What waits for a dead endpoint is moved once in so many probes, and not at each.
PUT_OFF_PAUSES: Final = 10

_log = structlog.get_logger(__name__)


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

    def order_no(self, row: DueDelivery, *, environment: Environment) -> str:
        """See Work.order_no."""
        return number_order(row, environment=environment)

    async def do(self, row: DueDelivery, *, fence: int) -> bool | None:
        """See Work.do."""
        return await self._deliveries.deliver(row, fence=fence)

    async def follow(self, row: DueDelivery, verdict: Verdict, *, fence: int, pause_s: float) -> None:
        """A dead endpoint's rows leave the listings, and come back when it does; see Follow."""
        match verdict:
            case Verdict.HELD_BACK:
                _log.warning("endpoint_held_back", endpoint_id=row.endpoint_id, pause_s=pause_s)
                await self._deliveries.put_off(row, fence=fence, delay_s=pause_s * PUT_OFF_PAUSES)
            case Verdict.LET_THROUGH:
                _log.info("endpoint_takes_again", endpoint_id=row.endpoint_id)
                await self._deliveries.bring_forward(row, fence=fence)
            case Verdict.FIRST_TAKEN:
                # It may have been away for hours while another worker had its lane: what waits then stands on a late rung.
                await self._deliveries.bring_left_behind_forward(row, fence=fence)
            case Verdict.NOTHING_NEW:
                return
            case _:
                assert_never(verdict)
