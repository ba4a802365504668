"""What the nightly audit reads, makes due again and reports, and the mails that wait."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from budan.core.numbers import Lane, MerchantId, OrderId
from budan.store.database import Transaction, columns
from budan.store.queries import query

_AUDIT_LIST_LANES = query("audit_list_lanes")
_AUDIT_LIST_FINDINGS = query("audit_list_findings")
_AUDIT_LIST_OLDER = query("audit_list_older")
_AUDIT_ASK_AGAIN = query("audit_ask_again")
_AUDIT_DELIVER_AGAIN = query("audit_deliver_again")
_AUDIT_LOOK_AGAIN = query("audit_look_again")
_AUDIT_END_AGAIN = query("audit_end_again")
_AUDIT_REFUND_AGAIN = query("audit_refund_again")
_REPORT_ADD_ROWS = query("report_add_rows")
_REPORT_COUNT_ROWS = query("report_count_rows")
_REPORT_LIST_ROWS = query("report_list_rows")
_REPORT_LIST_RUNS = query("report_list_runs")
_REPORT_ADD = query("report_add")
_REPORT_FIND = query("report_find")
_MAIL_ADD = query("mail_add")
_MAIL_CLAIM = query("mail_claim")
_MAIL_SENT = query("mail_sent")
_MAIL_PUT_OFF = query("mail_put_off")
_MAIL_COUNT_WAITING = query("mail_count_waiting")

TradeKey = tuple[Lane, OrderId, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it should be; attempt 0 is the order as a whole."""

    kind: str
    order_id: OrderId
    attempt: int
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KindCount:
    """How much of one kind was found, and how much of it made due again."""

    kind: str
    found: int
    mended: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRow:
    """A finding with the order that it is about."""

    kind: str
    lane: Lane
    order_id: OrderId
    attempt: int
    detail: str
    mended: bool
    merchant_id: MerchantId
    reference: str
    amount_minor: int
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsOfState:
    """How many runs of a job ended so."""

    job: str
    state: str
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one audit found, as people read it."""

    run_id: int
    since: datetime
    until: datetime
    found: int
    mended: int
    text: str
    html: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMail:
    """A mail about to be written."""

    run_id: int
    sender: str
    recipients: Sequence[str]
    subject: str
    text: str = field(repr=False)
    html: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DueMail:
    """A mail to send now; `attempts` counts this one."""

    id: int
    sender: str
    recipients: list[str]
    subject: str
    text: str = field(repr=False)
    html: str = field(repr=False)
    created_at: datetime
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingMail:
    """What no server has taken yet."""

    waiting: int
    oldest_s: float
    error: str


async def list_lanes(transaction: Transaction, lanes: Sequence[Lane], *, since: int, until: int) -> list[Lane]:
    """Those of the lanes that have an order in the range of ids."""
    return [row["lane"] for row in await transaction.many(_AUDIT_LIST_LANES, lanes, since, until)]


async def list_findings(
    transaction: Transaction,
    lane: Lane,
    *,
    since: int,
    until: int,
    ended_before: datetime,
    told_before: datetime,
    rows_max: int,
) -> list[Finding]:
    """What is wrong with the orders of one lane in a range of ids; of each kind the first `rows_max` by number."""
    arguments = (lane, since, until, ended_before, told_before, rows_max)
    return [Finding(**dict(row)) for row in await transaction.many(_AUDIT_LIST_FINDINGS, *arguments)]


async def list_older(
    transaction: Transaction, lanes: Sequence[Lane], *, before: int, told_before: datetime, rows_max: int
) -> dict[Lane, list[Finding]]:
    """Refunds without a next step and untaken events of orders whose id is below `before`; `rows_max` of each kind."""
    found = dict[Lane, list[Finding]]()
    for row in await transaction.many(_AUDIT_LIST_OLDER, before, lanes, told_before, rows_max):
        columns_of = dict(row)
        found.setdefault(columns_of.pop("lane"), []).append(Finding(**columns_of))
    return found


async def ask_again(transaction: Transaction, trades: Sequence[TradeKey]) -> set[TradeKey]:
    """Make the questions of these trades due; the caller holds their orders."""
    rows = await transaction.many(_AUDIT_ASK_AGAIN, *columns(sorted(trades), 3))
    return {(row["lane"], row["order_id"], row["attempt"]) for row in rows}


async def deliver_again(transaction: Transaction, orders: Sequence[tuple[Lane, OrderId]]) -> set[OrderId]:
    """Make due the untaken webhooks of these orders that no row made due; the caller holds the orders."""
    rows = await transaction.many(_AUDIT_DELIVER_AGAIN, *columns(sorted(orders), 2))
    return {row["order_id"] for row in rows}


async def look_again(transaction: Transaction, orders: Sequence[tuple[Lane, OrderId]]) -> set[OrderId]:
    """Make a look at these orders due where none was; the caller holds them."""
    rows = await transaction.many(_AUDIT_LOOK_AGAIN, *columns(sorted(orders), 2))
    return {row["order_id"] for row in rows}


async def end_again(transaction: Transaction, trades: Sequence[TradeKey]) -> set[tuple[OrderId, int]]:
    """Make the ends of these trades due where they were not; the caller holds their orders."""
    rows = await transaction.many(_AUDIT_END_AGAIN, *columns(sorted(trades), 3))
    return {(row["order_id"], row["attempt"]) for row in rows}


async def refund_again(transaction: Transaction, trades: Sequence[TradeKey]) -> set[OrderId]:
    """Make the next steps of these trades' refunds due where they were not; the caller holds their orders."""
    rows = await transaction.many(_AUDIT_REFUND_AGAIN, *columns(sorted(trades), 3))
    return {row["order_id"] for row in rows}


async def add_rows(transaction: Transaction, run_id: int, lane: Lane, rows: Sequence[tuple[Finding, bool]]) -> None:
    """Keep what was found, each with whether it was mended. Safe to repeat."""
    arrays = columns(
        [(row.kind, lane, row.order_id, row.attempt, row.detail, mended) for row, mended in rows],
        6,
    )
    await transaction.none(_REPORT_ADD_ROWS, run_id, *arrays)


async def count_rows(transaction: Transaction, run_id: int, *, kinds: Sequence[str]) -> list[KindCount]:
    """How much of each kind a run found, in the order of `kinds`."""
    return [KindCount(**dict(row)) for row in await transaction.many(_REPORT_COUNT_ROWS, run_id, kinds)]


async def list_rows(
    transaction: Transaction, run_id: int, *, kinds: Sequence[str], of_kind_max: int
) -> list[ReportRow]:
    """The first rows of each kind of a run's report, in the order of `kinds`, unmended ones first."""
    return [ReportRow(**dict(row)) for row in await transaction.many(_REPORT_LIST_ROWS, run_id, kinds, of_kind_max)]


async def list_run_states(transaction: Transaction, *, since: datetime, until: datetime) -> list[RunsOfState]:
    """What became of all runs whose slot lies in a time."""
    return [RunsOfState(**dict(row)) for row in await transaction.many(_REPORT_LIST_RUNS, since, until)]


async def add_report(
    transaction: Transaction,
    run_id: int,
    *,
    since: datetime,
    until: datetime,
    found: int,
    mended: int,
    text: str,
    html: str,
) -> None:
    """Keep a report. Safe to repeat."""
    await transaction.none(_REPORT_ADD, run_id, since, until, found, mended, text, html)


async def find_report(transaction: Transaction, run_id: int | None) -> Report | None:
    """The report of a run, or the newest."""
    row = await transaction.maybe(_REPORT_FIND, run_id)
    return None if row is None else Report(**dict(row))


async def add_mail(transaction: Transaction, mail: NewMail) -> None:
    """Keep a mail until a server takes it; one for each run."""
    arguments = (mail.run_id, mail.sender, list(mail.recipients), mail.subject, mail.text, mail.html)
    await transaction.none(_MAIL_ADD, *arguments)


async def claim_mail(transaction: Transaction, *, claim_s: float) -> DueMail | None:
    """The oldest due mail, put off for so long."""
    row = await transaction.maybe(_MAIL_CLAIM, claim_s)
    return None if row is None else DueMail(**dict(row))


async def mark_sent(transaction: Transaction, mail_id: int) -> None:
    """A server has taken the mail."""
    await transaction.none(_MAIL_SENT, mail_id)


async def put_off(transaction: Transaction, mail_id: int, *, delay_s: float, error: str) -> None:
    """No server took it; it is due again after so long."""
    await transaction.none(_MAIL_PUT_OFF, mail_id, delay_s, error)


async def count_waiting(transaction: Transaction) -> WaitingMail:
    """What waits for a server."""
    return WaitingMail(**dict(await transaction.one(_MAIL_COUNT_WAITING)))
