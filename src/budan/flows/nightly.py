"""budan: each night looks through the orders of two days, makes due what is stuck, and writes and mails what it found."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import msgspec

from budan.core.numbers import Environment, Lane, OrderId, beijing_day, day_span, id_floor
from budan.flows.account_desk import AccountDesk
from budan.flows.day_report import count_untied
from budan.flows.job import JobPlan, RunningJob
from budan.flows.keeping import Housekeeping
from budan.flows.losses import Losses
from budan.flows.mailing import Envelope
from budan.flows.report import MEANINGS, Contents, list_matters, render_html, render_subject, render_text
from budan.flows.waiting import count_waiting
from budan.store import audit as stored
from budan.store import door as gate
from budan.store import jobs
from budan.store.audit import Finding, NewMail, TradeKey
from budan.store.database import Database, Transaction

NIGHTLY: Final = JobPlan(
    name="budan",
    purpose="audits two days of orders, makes due what is stuck, reports and mails it",
    cron="0 2 * * *",
    zone="Asia/Shanghai",
    takes=frozenset({"since", "until"}),
    is_repair=True,
    late_after_s=600.0,
    long_after_s=3_600.0,
    stuck_after_s=3_600.0,
)

AUDITED_FOR: Final = timedelta(days=2)
# After nights without a run, the days that nobody has looked at are looked at; what is older has had its month.
AUDITED_FOR_MAX: Final = timedelta(days=31)
# One statement reads one lane's orders of so long: at forty million orders a day some fifty thousand.
PART: Final = timedelta(hours=2)
# Of each kind in a part, so that many of one hide no other; what is mended is found no more by the next run.
OF_KIND_PER_PART_MAX: Final = 500
# Of each kind, of all orders that are older than the parts.
OF_KIND_OLDER_MAX: Final = 5_000
# A trade past its end is asked about on its ladder first, and a merchant's endpoint may be down for a while.
ENDED_FOR: Final = timedelta(minutes=10)
UNTOLD_FOR: Final = timedelta(hours=1)
ROWS_SHOWN_OF_KIND_MAX: Final = 50

# What asking the channel settles.
ASKED: Final = frozenset({"paid_not_completed", "open_past_end", "question_missing"})


class _Place(msgspec.Struct, frozen=True, kw_only=True):
    """The cursor: this part, and the lanes before this one, are looked through; `more` are kinds with more than is kept."""

    part: int
    lane: int
    more: frozenset[str] = frozenset()


class Nightly:
    """The audit, as a job."""

    def __init__(
        self,
        *,
        database: Database,
        environment: Environment,
        lanes: int,
        envelope: Envelope | None,
        accounts: AccountDesk,
        losses: Losses,
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._environment = environment
        self._lanes = lanes
        self._envelope = envelope
        self._losses = losses

    @property
    def plan(self) -> JobPlan:
        """See Job.plan."""
        return NIGHTLY

    async def run(self, running: RunningJob) -> None:
        """See Job.run."""
        since, until = _span(running)
        parts = _parts(since, until)
        if running.cursor is None:
            more = await self._look_at_older(running, since)
            place = _Place(part=0, lane=0, more=more)
        else:
            place = _read(running.cursor)
            more = place.more
        for number, (first, past) in enumerate(parts):
            if number < place.part:
                continue
            lanes = [Lane(lane) for lane in range(place.lane if number == place.part else 0, self._lanes)]
            for lane in await self._list_lanes(lanes, first, past):
                more |= await self._look_through(running, lane, first, past)
                self._stand(running, _Place(part=number, lane=lane + 1, more=more), parts=len(parts))
            self._stand(running, _Place(part=number + 1, lane=0, more=more), parts=len(parts))
        await self._report(running, since, until, more=more)

    def _stand(self, running: RunningJob, place: _Place, *, parts: int) -> None:
        progress = {"part": place.part, "parts": parts} | {
            name: count for name, count in running.progress.items() if name in {"found", "mended"}
        }
        running.stand(cursor=msgspec.json.encode(place).decode(), progress=progress)

    async def _list_lanes(self, lanes: Sequence[Lane], first: datetime, past: datetime) -> list[Lane]:
        async with self._database.reading() as transaction:
            return await stored.list_lanes(transaction, lanes, since=id_floor(first), until=id_floor(past))

    async def _look_at_older(self, running: RunningJob, since: datetime) -> frozenset[str]:
        """Refunds and events of orders from before the parts; gives the kinds of which there are more. Safe to repeat.

        Refunds and what is told of them belong to older orders as a rule. Nothing where a person asked for a time.
        """
        if running.arguments.since is not None or running.arguments.until is not None:
            return frozenset()
        async with self._database.reading() as transaction:
            found = await stored.list_older(
                transaction,
                [Lane(lane) for lane in range(self._lanes)],
                before=id_floor(since),
                told_before=running.started_at - UNTOLD_FOR,
                rows_max=OF_KIND_OLDER_MAX + 1,
            )
        for lane, findings in found.items():
            async with self._database.transaction() as transaction:
                await self._keep(transaction, running, lane, findings)
        kinds = Counter(finding.kind for findings in found.values() for finding in findings)
        return frozenset(kind for kind, count in kinds.items() if count > OF_KIND_OLDER_MAX)

    async def _look_through(self, running: RunningJob, lane: Lane, first: datetime, past: datetime) -> frozenset[str]:
        """One lane's part: found, made due and kept in one transaction, so that a report says what was done.

        Gives the kinds of which there are more than are kept.
        """
        async with self._database.transaction() as transaction:
            findings = await stored.list_findings(
                transaction,
                lane,
                since=id_floor(first),
                until=id_floor(past),
                ended_before=running.started_at - ENDED_FOR,
                told_before=running.started_at - UNTOLD_FOR,
                rows_max=OF_KIND_PER_PART_MAX + 1,
            )
            kept, more = _cut(findings)
            if kept:
                await self._keep(transaction, running, lane, kept)
        if more:
            told = f"lane {lane} has more between {first:%F %R} and {past:%F %R} UTC than is kept"
            await running.say("warning", f"{told}: {', '.join(sorted(more))}")
        return more

    async def _keep(
        self, transaction: Transaction, running: RunningJob, lane: Lane, findings: Sequence[Finding]
    ) -> None:
        """Make due what can be, and keep each finding with whether it was."""
        mended = await _mend(transaction, lane, findings)
        rows = [(finding, mended.has(lane, finding)) for finding in findings]
        await stored.add_rows(transaction, running.run_id, lane, rows)
        counts = running.progress
        counts["found"] = counts.get("found", 0) + len(rows)
        counts["mended"] = counts.get("mended", 0) + sum(is_mended for _, is_mended in rows)

    async def _report(self, running: RunningJob, since: datetime, until: datetime, *, more: frozenset[str]) -> None:
        """The report and its mail are one transaction: a report that says it was mailed is on its way."""
        standings = await self._accounts.list_standings()
        # The last whole day of Beijing: each loss is told of once, on the morning after it was made whole.
        day = beijing_day(running.slot) - timedelta(days=1)
        lost_since, lost_until = day_span(day)
        losses = await self._losses.tally(since=lost_since, until=lost_until)
        books = await Housekeeping(database=self._database).count_books()
        untied = await count_untied(self._database, since=since)
        waiting = await count_waiting(self._database)
        async with self._database.transaction() as transaction:
            runs = await stored.list_run_states(transaction, since=since, until=until)
            contents = Contents(
                environment=self._environment,
                since=since,
                until=until,
                kinds=await stored.count_rows(transaction, running.run_id, kinds=list(MEANINGS)),
                more=more,
                rows=await stored.list_rows(
                    transaction, running.run_id, kinds=list(MEANINGS), of_kind_max=ROWS_SHOWN_OF_KIND_MAX
                ),
                waiting=waiting,
                runs=runs,
                keys=[line for standing in standings for line in standing.list_key_warnings()],
                matters=list_matters(
                    runs=runs,
                    paused=[job.name for job in await jobs.list_jobs(transaction) if not job.enabled],
                    late_bills=sum(books.late_bills.values()),
                    untied=untied,
                    unresolved=books.ages,
                ),
                day=day,
                losses=losses,
            )
            text, html = render_text(contents), render_html(contents)
            await stored.add_report(
                transaction,
                running.run_id,
                since=since,
                until=until,
                found=contents.found,
                mended=contents.mended,
                text=text,
                html=html,
            )
            if self._envelope is not None:
                mail = NewMail(
                    run_id=running.run_id,
                    sender=self._envelope.sender,
                    recipients=self._envelope.recipients,
                    subject=render_subject(contents),
                    text=text,
                    html=html,
                )
                await stored.add_mail(transaction, mail)
        running.progress = dict(running.progress) | {
            "found": contents.found,
            "waiting": sum(count.rows_found for count in waiting),
            "mended": contents.mended,
            "lost": losses.lost,
            "unexplained": losses.unexplained,
        }
        if self._envelope is None:
            await running.say("warning", "no mail is set up: the report is kept and nobody was told")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mended:
    """Whose question, webhook, look, end and refund is due now."""

    asked: set[TradeKey]
    told: set[OrderId]
    looked: set[OrderId]
    ended: set[tuple[OrderId, int]]
    refunded: set[OrderId]

    def has(self, lane: Lane, finding: Finding) -> bool:
        """Whether this finding was mended."""
        match finding.kind:
            case "webhook_untaken":
                return finding.order_id in self.told
            case "look_missing":
                return finding.order_id in self.looked
            case "ending_missing":
                return (finding.order_id, finding.attempt) in self.ended
            case "refund_step_missing":
                return finding.order_id in self.refunded
            case _:
                return finding.kind in ASKED and (lane, finding.order_id, finding.attempt) in self.asked


def _cut(findings: Sequence[Finding]) -> tuple[list[Finding], frozenset[str]]:
    """What is kept of each kind, and the kinds of which there was more."""
    counts = Counter[str]()
    kept: list[Finding] = []
    for finding in findings:
        counts[finding.kind] += 1
        if counts[finding.kind] <= OF_KIND_PER_PART_MAX:
            kept.append(finding)
    return kept, frozenset(kind for kind, count in counts.items() if count > OF_KIND_PER_PART_MAX)


async def _mend(transaction: Transaction, lane: Lane, findings: Sequence[Finding]) -> _Mended:
    """Makes due what can be, under the orders' locks: the door writes the same rows."""
    await gate.lock_orders(transaction, sorted({(lane, finding.order_id) for finding in findings}))

    def orders_of(kind: str) -> list[tuple[Lane, OrderId]]:
        return sorted({(lane, finding.order_id) for finding in findings if finding.kind == kind})

    def trades_of(*kinds: str) -> list[TradeKey]:
        return sorted({(lane, finding.order_id, finding.attempt) for finding in findings if finding.kind in kinds})

    asked, untaken = trades_of(*ASKED), orders_of("webhook_untaken")
    unlooked, unended = orders_of("look_missing"), trades_of("ending_missing")
    unrefunded = trades_of("refund_step_missing")
    return _Mended(
        asked=await stored.ask_again(transaction, asked) if asked else set(),
        told=await stored.deliver_again(transaction, untaken) if untaken else set(),
        looked=await stored.look_again(transaction, unlooked) if unlooked else set(),
        ended=await stored.end_again(transaction, unended) if unended else set(),
        refunded=await stored.refund_again(transaction, unrefunded) if unrefunded else set(),
    )


def _span(running: RunningJob) -> tuple[datetime, datetime]:
    """What is looked through: two days, or as far back as nobody has looked."""
    given, until = running.arguments, running.slot
    if given.since is not None or given.until is not None:
        until = given.until or until
        return given.since or until - AUDITED_FOR, until
    since = until - AUDITED_FOR
    if running.last_begun_at is not None:
        since = min(since, running.last_begun_at - AUDITED_FOR / 2)
    return max(since, until - AUDITED_FOR_MAX), until


def _parts(since: datetime, until: datetime) -> list[tuple[datetime, datetime]]:
    parts: list[tuple[datetime, datetime]] = []
    first = since
    while first < until:
        parts.append((first, min(first + PART, until)))
        first += PART
    return parts


def _read(cursor: str) -> _Place:
    return msgspec.json.decode(cursor, type=_Place)
