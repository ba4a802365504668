"""The nightly report in words: plain text, and HTML that shows the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from html import escape
from typing import Final

from budan.core.gap import Outage
from budan.core.losses import LossCount, LossTally
from budan.core.money import CURRENCY_EXPONENTS
from budan.core.numbers import Environment, trade_number
from budan.flows.waiting import tell_waiting
from budan.store.audit import KindCount, ReportRow, RunsOfState
from budan.store.reconcile import OpenAges
from budan.store.waiting import WaitingCount

# What each kind means to whoever reads it in the morning, and what they must do; the gravest first.
MEANINGS: Final = {
    "unbooked": "paid and not in the books: a bug of ours, call an engineer",
    "unbalanced": "an entry does not sum to zero: a bug of ours, call an engineer",
    "paid_not_completed": "the channel said paid and nothing followed; asked again",
    "refund_step_missing": "a refund without an end, and nobody would have gone on with it; gone on with",
    "ending_missing": "to be closed or reversed and nobody would have done it; done again",
    "question_missing": "open and nobody would have asked; asked again",
    "look_missing": "not final and nobody would have looked at its end; looked at again",
    "open_past_end": "past its end and nobody knows how it ended; asked again",
    "webhook_untaken": "the merchant has not taken an event for an hour",
}

# Of these kinds the run kept and mended only the first; the next run goes on with what is left.
MORE: Final = (
    "There are more than are kept of what is marked so. Run it again once the first are seen to: budan jobs run budan"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a report tells; `rows` are the first of each kind, unmended ones first, `keys` which must be renewed.

    Of the kinds in `more` more was there than the run kept. `waiting` is what only a person can end, `matters` are what
    a person must see of jobs and books, a line each; `losses` are those of a Beijing `day`.
    """

    environment: Environment
    since: datetime
    until: datetime
    kinds: Sequence[KindCount]
    more: frozenset[str]
    rows: Sequence[ReportRow]
    waiting: Sequence[WaitingCount]
    runs: Sequence[RunsOfState]
    keys: Sequence[str]
    matters: Sequence[str]
    day: date
    losses: LossTally

    @property
    def found(self) -> int:
        """How much was not as it should be."""
        return sum(kind.found for kind in self.kinds)

    @property
    def mended(self) -> int:
        """How much of it was made due again."""
        return sum(kind.mended for kind in self.kinds)


def render_subject(contents: Contents) -> str:
    """One line that says whether anybody must read on."""
    day = f"{contents.until:%F}"
    left = contents.found - contents.mended
    told = {
        f"{contents.found}{' and more' if contents.more else ''} found, "
        f"{contents.mended} asked again, {left} left": contents.found,
        f"{sum(count.rows_found for count in contents.waiting)} for a person": len(contents.waiting),
        f"{len(contents.matters)} of jobs and books": len(contents.matters),
        f"{len(contents.keys)} keys to renew": len(contents.keys),
    }
    words = [text for text, count in told.items() if count]
    if not contents.found and not contents.matters and not contents.waiting:
        words.insert(0, "all well")
    return f"budan {contents.environment.value} {day}: {', '.join(words)}"


def list_matters(
    *, runs: Sequence[RunsOfState], paused: Sequence[str], late_bills: int, untied: int, unresolved: Sequence[OpenAges]
) -> list[str]:
    """What a person must see of jobs and books, a line each."""
    matters = [f"{run.job}: {run.runs} runs {run.state}" for run in runs if run.state in {"failed", "missed"}]
    matters += [f"{job} is paused" for job in paused]
    if untied:
        matters.append(f"{untied} runs over bills DO NOT TIE OUT, close no such day: budan reconcile runs")
    if late_bills:
        matters.append(f"{late_bills} days' bills are late: budan reconcile runs")
    older = sum(ages.older for ages in unresolved)
    open_count = older + sum(ages.day + ages.week for ages in unresolved)
    if open_count:
        matters.append(
            f"{open_count} differences are unresolved, {older} for more than a week: budan reconcile discrepancies"
        )
    return matters


def render_text(contents: Contents) -> str:
    """The report as plain text."""
    lines = [render_subject(contents), "", _range(contents), ""]
    for kind in contents.kinds:
        lines.append(f"{kind.kind}: {_found(kind, contents)}, of which {kind.mended} made due again")
        lines.append(f"  {MEANINGS[kind.kind]}")
    if not contents.kinds:
        lines.append("Every order is where it should be.")
    if contents.more:
        lines.append(MORE)
    if contents.waiting:
        lines += ["", "Waiting for a person:", *(f"  {tell_waiting(count)}" for count in contents.waiting)]
    if contents.matters:
        lines += ["", "Jobs and books:", *(f"  {matter}" for matter in contents.matters)]
    if contents.keys:
        lines += ["", "Keys that end, or have ended:", *(f"  {key}" for key in contents.keys)]
    lines += ["", *losses_text(contents.losses, day=contents.day)]
    lines += ["", "Runs of the jobs in this time:", *(f"  {run.job}: {run.runs} {run.state}" for run in contents.runs)]
    if contents.rows:
        lines += ["", _rows_title(contents) + ":"]
        lines += ["  " + "  ".join(_cells(row, contents.environment)) for row in contents.rows]
    return "\n".join(lines) + "\n"


def render_html(contents: Contents) -> str:
    """The same as a page: no script, nothing loaded from elsewhere."""
    kinds = _table(
        ("what", "found", "made due again", "meaning"),
        [(kind.kind, _found(kind, contents), str(kind.mended), MEANINGS[kind.kind]) for kind in contents.kinds],
    )
    more = f"<p>{escape(MORE)}</p>" if contents.more else ""
    waits = [(tell_waiting(count),) for count in contents.waiting]
    waiting = _table(("waiting for a person",), waits) if waits else ""
    runs = _table(("job", "runs", "state"), [(run.job, str(run.runs), run.state) for run in contents.runs])
    rows = _table(_COLUMNS, [_cells(row, contents.environment) for row in contents.rows])
    matters = _table(("jobs and books",), [(matter,) for matter in contents.matters]) if contents.matters else ""
    keys = _table(("keys that end, or have ended",), [(key,) for key in contents.keys]) if contents.keys else ""
    title = escape(render_subject(contents))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>'
        f"<body><h1>{title}</h1><p>{escape(_range(contents))}</p>{kinds}{more}{waiting}{matters}{keys}"
        f"{losses_html(contents.losses, day=contents.day)}"
        f"<h2>Jobs</h2>{runs}<h2>{_rows_title(contents)}</h2>{rows}</body></html>"
    )


def losses_title(tally: LossTally, *, day: date) -> str:
    """One line that says whether anybody must read on."""
    return f"Lost and late orders of {day:%F}: {tally.lost} of {tally.paid} paid, {tally.unexplained} unexplained"


def losses_text(tally: LossTally, *, day: date) -> list[str]:
    """The lost-order report of a day, a line for each channel and cause."""
    lines = [losses_title(tally, day=day)]
    if tally.lost:
        lines += ["  " + "  ".join(cells) for cells in (_LOSS_COLUMNS, *_loss_rows(tally))]
    lines += ["  away: " + "  ".join(_outage_cells(outage)) for outage in tally.outages]
    return lines


def losses_html(tally: LossTally, *, day: date) -> str:
    """The same as a part of a page."""
    away = _table(_OUTAGE_COLUMNS, [_outage_cells(outage) for outage in tally.outages]) if tally.outages else ""
    return f"<h2>{escape(losses_title(tally, day=day))}</h2>{_table(_LOSS_COLUMNS, _loss_rows(tally))}{away}"


def render_losses_page(tally: LossTally, *, day: date, environment: Environment) -> str:
    """The same as a page of its own: no script, nothing loaded from elsewhere."""
    title = f"budan {environment.value} {day:%F}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title></head>'
        f"<body><h1>{escape(title)}</h1>{losses_html(tally, day=day)}</body></html>"
    )


_LOSS_COLUMNS: Final = ("channel", "cause", "orders", "recover p50 s", "p99 s", "max s")
_OUTAGE_COLUMNS: Final = ("away", "from", "to", "seconds", "cause")


def _outage_cells(outage: Outage) -> tuple[str, ...]:
    seconds = (outage.ended_at - outage.began_at).total_seconds()
    moments = (f"{moment.astimezone(UTC):%F %TZ}" for moment in (outage.began_at, outage.ended_at))
    return (outage.role.value, *moments, f"{seconds:.1f}", outage.cause.value)


def _loss_rows(tally: LossTally) -> list[tuple[str, ...]]:
    """By channel and cause, and all of them in the last row."""
    rows = [(row.channel, row.cause, *_loss_figures(row)) for row in tally.counts()]
    return [*rows, ("all", "", *_loss_figures(tally.whole()))] if rows else []


def _loss_figures(row: LossCount) -> tuple[str, ...]:
    seconds = (row.recover_p50_s, row.recover_p99_s, row.recover_max_s)
    return (str(row.orders), *("" if second is None else f"{second:.1f}" for second in seconds))


_COLUMNS: Final = ("what", "number", "merchant", "reference", "amount", "detail", "made due again")


def _cells(row: ReportRow, environment: Environment) -> tuple[str, ...]:
    number = trade_number(
        environment=environment,
        lane=row.lane,
        merchant_id=row.merchant_id,
        order_id=row.order_id,
        attempt=row.attempt,
    )
    amount = f"{_major(row.amount_minor, row.currency)} {row.currency}"
    mended = "yes" if row.mended else "no"
    return (row.kind, number, str(row.merchant_id), row.reference, amount, row.detail, mended)


def _major(amount_minor: int, currency: str) -> str:
    """Never by way of a float: a report's cents are somebody's cents."""
    major, minor = divmod(amount_minor, 10 ** CURRENCY_EXPONENTS[currency])
    return f"{major}.{minor:0{CURRENCY_EXPONENTS[currency]}d}"


def _found(kind: KindCount, contents: Contents) -> str:
    return f"{kind.found} and more" if kind.kind in contents.more else str(kind.found)


def _rows_title(contents: Contents) -> str:
    of = f"{contents.found} and more" if contents.more else contents.found
    return f"Orders (the first of each kind, {len(contents.rows)} of {of})"


def _range(contents: Contents) -> str:
    return f"Orders made from {contents.since:%F %R} to {contents.until:%F %R} UTC."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    heads = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{heads}</tr>{body}</table>"
