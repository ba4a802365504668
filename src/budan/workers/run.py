"""All loops of a worker, from the first lane to the last row in flight."""

import asyncio
from dataclasses import dataclass
from typing import Final, TypeVar

import structlog

from budan.core.numbers import Environment
from budan.flows.asking import Questions
from budan.flows.closing import OrderClosing
from budan.flows.delivering import Deliveries
from budan.flows.ending import TradeEndings
from budan.flows.failures import Failures, attempt
from budan.flows.healths import AccountHealths
from budan.flows.keeping import Housekeeping
from budan.flows.lanes import LaneKeeper
from budan.flows.leftovers import Leftovers
from budan.flows.refunding import Refunding
from budan.ports.clock import Clock
from budan.telemetry import metrics
from budan.workers.close import CLOSE_LIMITS, CLOSES_MAX, ORDER_LIMITS, ORDERS_MAX, CloseWork, ExpireWork
from budan.workers.deliver import DELIVERIES_MAX, DELIVERY_LIMITS, DeliverWork
from budan.workers.evidence import EVIDENCE_LIMITS, EVIDENCE_MAX, EvidenceWork
from budan.workers.forward import ForwardTurns
from budan.workers.gates import GateLimits, Gates, Shares
from budan.workers.housekeeping import HousekeepingTurns
from budan.workers.in_flight import InFlight
from budan.workers.jobs import JobTurns
from budan.workers.loop import Turns, run_loop
from budan.workers.mail import MailTurns
from budan.workers.query import QUERY_LIMITS, QUESTIONS_MAX, QueryWork
from budan.workers.refund import REFUND_LIMITS, REFUNDS_MAX, RefundWork
from budan.workers.shares import AccountShares
from budan.workers.sweep import Follow, Sweep, Work

# Within one lease, so that what drains is still ours to write, and a second before the supervisor kills us.
DRAIN_S: Final = 3.0

Row = TypeVar("Row")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """What a worker runs on, as wiring built it."""

    environment: Environment
    lanes: LaneKeeper
    questions: Questions
    healths: AccountHealths
    refunding: Refunding
    deliveries: Deliveries
    leftovers: Leftovers
    closing: OrderClosing
    endings: TradeEndings
    housekeeping: Housekeeping
    jobs: JobTurns
    mail: MailTurns
    clock: Clock


async def run_workers(workers: Workers, *, stop: asyncio.Event) -> None:
    """Run every loop until `stop`, then drain what is in flight and give the lanes back.

    Killed at any moment it loses nothing: what was not written is still due, and the lanes are free when their leases
    end.
    """
    failures = Failures(work="lanes")
    # Counted when somebody asks: a lease also ends where no turn comes that would say so.
    metrics.LANES_HELD.set_function(workers.lanes.count_leased)
    async with (
        InFlight(work="deliver", rows_max=DELIVERIES_MAX, stop=stop) as delivering,
        InFlight(work="query", rows_max=QUESTIONS_MAX, stop=stop) as asking,
        InFlight(work="evidence", rows_max=EVIDENCE_MAX, stop=stop) as retrying,
        InFlight(work="expire", rows_max=ORDERS_MAX, stop=stop) as expiring,
        InFlight(work="close", rows_max=CLOSES_MAX, stop=stop) as closing,
        InFlight(work="refund", rows_max=REFUNDS_MAX, stop=stop) as refunding,
    ):
        forward = ForwardTurns(questions=workers.questions, healths=workers.healths, lanes=workers.lanes)
        deliver = DeliverWork(deliveries=workers.deliveries)
        sweeps: tuple[Turns, ...] = (
            _sweep(workers, deliver, DELIVERY_LIMITS, delivering, follow=deliver.follow),
            _sweep(workers, EvidenceWork(leftovers=workers.leftovers), EVIDENCE_LIMITS, retrying),
            _sweep(workers, ExpireWork(closing=workers.closing), ORDER_LIMITS, expiring),
            *channel_sweeps(workers, asking=asking, closing=closing, refunding=refunding),
        )
        housekeeping = HousekeepingTurns(housekeeping=workers.housekeeping, lanes=workers.lanes, clock=workers.clock)
        await attempt(workers.lanes.renew, failures)
        async with asyncio.TaskGroup() as loops:
            for turns in sweeps:
                loops.create_task(run_loop(turns, lanes=workers.lanes, stop=stop))
            loops.create_task(housekeeping.run(stop))
            loops.create_task(workers.jobs.run(stop))
            loops.create_task(workers.mail.run(stop))
            loops.create_task(forward.run(stop))
        flying = (delivering, asking, retrying, expiring, closing, refunding)
        _log.info("worker_stopping", rows_in_flight=sum(len(rows) for rows in flying))
        # A whole lease from here, for what drains.
        await attempt(workers.lanes.renew, failures)
        cut_off = sum(await asyncio.gather(*(rows.drain(timeout_s=DRAIN_S) for rows in flying)))
    await attempt(workers.lanes.release, failures)
    _log.info("worker_stopped", rows_cut_off=cut_off)


def channel_sweeps(
    workers: Workers, *, asking: InFlight, closing: InFlight, refunding: InFlight
) -> tuple[Turns, Turns, Turns]:
    """What calls channels: by held lanes all workers share each account's bound, and its pace while it is busy."""
    shares = AccountShares(healths=workers.healths, lanes=workers.lanes)
    return (
        _sweep(workers, QueryWork(questions=workers.questions), QUERY_LIMITS, asking, shares=shares),
        _sweep(workers, CloseWork(endings=workers.endings), CLOSE_LIMITS, closing, shares=shares),
        _sweep(workers, RefundWork(refunding=workers.refunding), REFUND_LIMITS, refunding, shares=shares),
    )


def _sweep(
    workers: Workers,
    work: Work[Row],
    limits: GateLimits,
    in_flight: InFlight,
    *,
    follow: Follow[Row] | None = None,
    shares: Shares | None = None,
) -> Sweep[Row]:
    workers.lanes.watch(work.name)
    return Sweep(
        work=work,
        environment=workers.environment,
        lanes=workers.lanes,
        clock=workers.clock,
        gates=Gates(limits, shares=shares),
        in_flight=in_flight,
        follow=follow,
    )
