"""What a job is: a plan, the arguments it takes, and a run that can go on where another broke off."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

import msgspec

from budan.core.errors import Refused
from budan.core.numbers import BadNumber, Environment, Number, NumberKind, parse_number

Level = Literal["info", "warning", "error"]
Say = Callable[[Level, str], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlan:
    """What the program ships of a job; operators may change `cron` and `zone`.

    `is_repair`: while it is paused, what it repairs stays broken. A run that starts `late_after_s` after its slot, or
    takes longer than `long_after_s`, is told of. One whose cursor and progress stand still for `stuck_after_s` is given up
    as a failed try: nobody else may do the job while it is held.
    """

    name: str
    purpose: str
    cron: str
    zone: str
    takes: frozenset[str]
    is_repair: bool
    late_after_s: float
    long_after_s: float
    stuck_after_s: float


class RunArguments(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a run by hand is about: one order, one merchant, orders made in a range of time; nothing is all."""

    order_no: str | None = None
    merchant_id: int | None = None
    since: datetime | None = None
    until: datetime | None = None

    def given(self) -> frozenset[str]:
        """The names of what is set, as the command line calls them."""
        values = {
            "order": self.order_no,
            "merchant": self.merchant_id,
            "since": self.since,
            "until": self.until,
        }
        return frozenset(name for name, value in values.items() if value is not None)


@dataclass(slots=True, kw_only=True)
class RunningJob:
    """A run while it runs. What `stand` is told is kept with the next heartbeat, and a later holder goes on from there.

    `last_begun_at` is when the newest planned run that ended well was begun. `cursor` is the job's own JSON.
    """

    run_id: int
    arguments: RunArguments
    slot: datetime
    started_at: datetime
    last_begun_at: datetime | None
    cursor: str | None
    progress: dict[str, int] = field(default_factory=dict[str, int])
    say: Say

    def stand(self, *, cursor: str | None, progress: Mapping[str, int]) -> None:
        """Everything before the cursor is done and committed."""
        self.cursor = cursor
        self.progress = dict(progress)


class Job(Protocol):
    """Work that has a plan. Killed at any moment it loses nothing: its cursor tells only of what is committed."""

    @property
    def plan(self) -> JobPlan:
        """When and how it runs."""
        ...

    async def run(self, running: RunningJob) -> None:
        """Do it, from the cursor to the end. Raises `StoreUnavailable` or `Overloaded`; it is taken up again then."""
        ...


def check_arguments(plan: JobPlan, arguments: RunArguments, *, now: datetime) -> None:
    """Refuse what makes no sense for this job.

    Raises `Refused` with `job_argument_not_taken`, `job_arguments_conflict`, `time_range_empty` or
    `time_range_in_future`, in this order.
    """
    given = arguments.given()
    for name in sorted(given - plan.takes):
        raise Refused("job_argument_not_taken", param=name, detail=f"{plan.name} takes {', '.join(sorted(plan.takes))}")
    if "order" in given and len(given) > 1:
        raise Refused("job_arguments_conflict", param="order", detail="an order is named alone")
    if arguments.since is not None and arguments.since >= now:
        raise Refused("time_range_in_future", param="since")
    if arguments.since is not None and arguments.until is not None and arguments.since >= arguments.until:
        raise Refused("time_range_empty", param="until")


def parse_order_no(order_no: str, *, environment: Environment) -> Number:
    """The parts of an order's number that an operator named.

    Raises `Refused` with `order_no_malformed` or `wrong_environment` (I13).
    """
    try:
        number = parse_number(order_no)
    except BadNumber as error:
        raise Refused("order_no_malformed", param="order") from error
    if number.environment is not environment:
        raise Refused("wrong_environment", param="order", detail=f"a number of {number.environment.value}")
    if number.kind is not NumberKind.ORDER:
        raise Refused("order_no_malformed", param="order", detail=f"a {number.kind.value}'s number")
    return number
