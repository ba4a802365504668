"""What a running part of budan counts and measures, on a registry of its own."""

from collections.abc import Callable
from math import nan
from typing import Final, TypeVar, cast

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
    start_http_server,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
END_TIMEOUT_S: Final = 1.0

# Each running part answers /metrics for itself alone; the fleet's sums are the scraper's.
REGISTRY: Final = CollectorRegistry(auto_describe=False)
ProcessCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

_CALL_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCH_ROWS: Final = (1, 2, 5, 10, 20, 50, 100, 200)
# Up to a day: an order that took longer to recover is counted in the last, and told by name in the console.
_RECOVERY_SECONDS: Final = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0)

BUILD: Final = Info("budan_build", "Version and part of this running instance.", registry=REGISTRY)

HTTP_REQUESTS: Final = Counter(
    "budan_http_requests", "Requests answered, by route and status.", ["route", "status"], registry=REGISTRY
)
HTTP_SECONDS: Final = Histogram(
    "budan_http_request_seconds",
    "From a request's first byte to its answer.",
    ["route"],
    buckets=_CALL_SECONDS,
    registry=REGISTRY,
)
CHANNEL_CALLS: Final = Counter(
    "budan_channel_calls",
    "Calls to channels, by account, operation and outcome.",
    ["account", "operation", "outcome"],
    registry=REGISTRY,
)
CHANNEL_SECONDS: Final = Histogram(
    "budan_channel_call_seconds",
    "From the send decision to the channel's answer, or to giving up waiting.",
    ["account", "operation"],
    buckets=_CALL_SECONDS,
    registry=REGISTRY,
)
BREAKER_OPEN: Final = Gauge(
    "budan_channel_breaker_open", "1 while an account's calls are held back.", ["account"], registry=REGISTRY
)
ACCOUNT_NOTICES: Final = Gauge(
    "budan_account_notices",
    "1 for what may be expected of the account's notices: coming, unknown or missing.",
    ["account", "notices"],
    registry=REGISTRY,
)
ACCOUNT_RATE: Final = Gauge(
    "budan_account_questions_per_second_max",
    "Questions a second that the account's channel takes from all of us; +Inf while it never was busy.",
    ["account"],
    registry=REGISTRY,
)
BROUGHT_FORWARD: Final = Counter(
    "budan_questions_brought_forward", "Questions made due sooner because notices stopped.", registry=REGISTRY
)
PERSON_ROWS: Final = Gauge(
    "budan_questions_needing_person",
    "Trades in the held lanes that nobody can pay any more and whose channel does not say how they ended.",
    registry=REGISTRY,
)
WAITING: Final = Gauge(
    "budan_waiting_for_person",
    "What only a person can end, in all lanes, by kind; absent but at the worker that holds lane 0.",
    ["what"],
    registry=REGISTRY,
)
WAITING_OLDEST_SECONDS: Final = Gauge(
    "budan_waiting_for_person_oldest_seconds",
    "How long the oldest of it has waited; 0 where nothing does.",
    ["what"],
    registry=REGISTRY,
)
NOTICES: Final = Counter(
    "budan_notices", "Notices received, by channel and verdict.", ["channel", "verdict"], registry=REGISTRY
)
NOTICES_NOT_KEPT: Final = Counter(
    "budan_notices_not_kept",
    "Unverified notices of which not even a digest was kept: the account's share of the hour was used up.",
    ["account"],
    registry=REGISTRY,
)
EVIDENCE: Final = Counter(
    "budan_evidence", "Evidence decided, by source and decision.", ["source", "decision"], registry=REGISTRY
)
ORDERS_PAID: Final = Counter("budan_orders_paid", "Orders made paid, by what told us.", ["source"], registry=REGISTRY)
RECOVERY_SECONDS: Final = Histogram(
    "budan_recovery_seconds",
    "From the channel's payment time to our completion.",
    ["source"],
    buckets=_RECOVERY_SECONDS,
    registry=REGISTRY,
)
BATCH_ROWS: Final = Histogram(
    "budan_batch_rows", "Rows of one committed batch.", ["batch"], buckets=_BATCH_ROWS, registry=REGISTRY
)
BATCH_SECONDS: Final = Histogram(
    "budan_batch_seconds", "One batch's transaction.", ["batch"], buckets=_CALL_SECONDS, registry=REGISTRY
)
BATCH_REFUSED: Final = Counter(
    "budan_batch_refused", "Callers refused because the batch's queue was full.", ["batch"], registry=REGISTRY
)
DUE_ROWS: Final = Gauge("budan_due_rows", "Rows that are due in the held lanes.", ["work"], registry=REGISTRY)
DUE_OLDEST_SECONDS: Final = Gauge(
    "budan_due_oldest_seconds",
    "How long the oldest due row of the held lanes has been due; absent where no lane is held.",
    ["work"],
    registry=REGISTRY,
)
FLEET_DUE_OLDEST_SECONDS: Final = Gauge(
    "budan_fleet_due_oldest_seconds",
    "How long the oldest due row of all lanes has been due, told by serve whether or not a worker lives.",
    ["work"],
    registry=REGISTRY,
)
DEFAULT_PARTITION_ROWS: Final = Gauge(
    "budan_default_partition_rows",
    "Orders that found no partition of their own: partitions were late.",
    registry=REGISTRY,
)
ACCOUNT_KEY_ENDS: Final = Gauge(
    "budan_account_key_ends_timestamp_seconds",
    "When the first certificate of a channel account ends; infinite where its keys have no end.",
    ["account"],
    registry=REGISTRY,
)
JOB_RUNS: Final = Counter(
    "budan_job_runs",
    "Runs of jobs, by what became of them: succeeded, failed, missed, late, long.",
    ["job", "outcome"],
    registry=REGISTRY,
)
JOB_ENABLED: Final = Gauge("budan_job_enabled", "1 while a job runs by its plan.", ["job"], registry=REGISTRY)
JOB_RECOVERY_OFF: Final = Gauge(
    "budan_job_recovery_off", "1 while a job that repairs is paused.", ["job"], registry=REGISTRY
)
JOB_OVERDUE_SECONDS: Final = Gauge(
    "budan_job_overdue_seconds",
    "How long past its bound a job's slot has gone by without being planned.",
    ["job"],
    registry=REGISTRY,
)
MAILS: Final = Counter("budan_mails", "Tries to send a mail: sent, put_off.", ["outcome"], registry=REGISTRY)
MAIL_OLDEST_SECONDS: Final = Gauge(
    "budan_mail_oldest_seconds", "How long the oldest mail has waited for a server to take it.", registry=REGISTRY
)
BILLS_LATE: Final = Gauge(
    "budan_bills_late",
    "Days of an account whose bill should have been compared by now; shown by the worker that holds lane 0.",
    ["account"],
    registry=REGISTRY,
)
DISCREPANCIES_OPEN: Final = Gauge(
    "budan_discrepancies_unresolved",
    "Differences between bills and books that nobody has ended, by account and age: day (younger than one), week, older.",
    ["account", "age"],
    registry=REGISTRY,
)
DAYS_UNTIED: Final = Gauge(
    "budan_days_untied",
    "Days of an account whose bill and books do not tie out: days that are open, or were compared since the last close.",
    ["account"],
    registry=REGISTRY,
)
LANES_HELD: Final = Gauge(
    "budan_lanes_held", "Lanes whose lease this worker has now, by the time of the lease.", registry=REGISTRY
)
FLEET_LANES_FREE: Final = Gauge(
    "budan_fleet_lanes_without_worker",
    "Lanes whose lease no worker has, told by serve; NaN while nobody has looked.",
    registry=REGISTRY,
)
# Whoever does not count them must not say that there are none.
FLEET_LANES_FREE.set(nan)
TURN_FAILURES: Final = Counter(
    "budan_turn_failures", "Turns of a loop that ended in an error.", ["work"], registry=REGISTRY
)
LOG_LINES_LOST: Final = Counter(
    "budan_log_lines_lost",
    "Lines that could not be written, for a full disk or a reader that is gone.",
    registry=REGISTRY,
)
CLOCK_WENT_BACK: Final = Counter(
    "budan_clock_went_back", "Times that this machine's clock was set back below what it had shown.", registry=REGISTRY
)
DELIVERIES: Final = Counter(
    "budan_webhook_deliveries", "Attempts to deliver a webhook, by outcome.", ["outcome"], registry=REGISTRY
)


Metric = TypeVar("Metric", Counter, Gauge, Histogram)
_children: Final[dict[tuple[object, ...], object]] = {}


def labelled(metric: Metric, *values: str) -> Metric:
    """`metric.labels(*values)`, made once: the library's own look-up takes a lock and writes every value as text.

    The values are from short lists of ours, never what a stranger sent.
    """
    key = (metric, *values)
    child = _children.get(key)
    if child is None:
        child = _children[key] = metric.labels(*values)
    return cast("Metric", child)


def serve(host: str, port: int) -> Callable[[], None]:
    """Answer /metrics on a thread of its own, for a part that serves no HTTP; gives what ends it."""
    server, thread = start_http_server(port, addr=host, registry=REGISTRY)

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join(END_TIMEOUT_S)

    return end


def render() -> bytes:
    """The body of /metrics; its type is CONTENT_TYPE."""
    return generate_latest(REGISTRY)


class CallMetrics:
    """One account's metrics of calls, each looked up once: a sweep counts ten thousand calls a second."""

    def __init__(self, account: str) -> None:
        self._account = account
        self._seconds: dict[str, Histogram] = {}
        self._outcomes: dict[tuple[str, str], Counter] = {}
        self._breaker = BREAKER_OPEN.labels(account)
        self._is_held_back = False
        # Of an account whose settings changed, its last adapter may have said otherwise.
        self._breaker.set(0)

    def took(self, operation: str, seconds: float) -> None:
        """A call's time, from the decision to send to its answer or to giving up."""
        found = self._seconds.get(operation)
        if found is None:
            found = self._seconds[operation] = CHANNEL_SECONDS.labels(self._account, operation)
        found.observe(seconds)

    def count(self, operation: str, outcome: str) -> None:
        """A call by what came of it; both labels are from short lists of ours."""
        found = self._outcomes.get((operation, outcome))
        if found is None:
            found = self._outcomes[operation, outcome] = CHANNEL_CALLS.labels(self._account, operation, outcome)
        found.inc()

    def show(self, *, held_back: bool) -> None:
        """Whether any kind of calls is held back."""
        if held_back is not self._is_held_back:
            self._is_held_back = held_back
            self._breaker.set(int(held_back))
