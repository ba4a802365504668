"""The report of a day as a page: the tie-out, a bar of what agrees and what differs, and the differences themselves."""

from collections.abc import Sequence
from html import escape
from typing import Final

from budan.core.journal import render_amount
from budan.core.money import CURRENCY_EXPONENTS
from budan.core.reconcile import AGREED, RowKind, Verdict
from budan.flows.day_report import DayReport
from budan.store.reconcile import DiscrepancyRow, TallyRow

BAR_WIDTH: Final = 600
BAR_HEIGHT: Final = 18
# One difference among millions is still to be seen.
PART_WIDTH_MIN: Final = 3.0
_AGREES, _DIFFERS = "#2f855a", "#c53030"
_STYLE: Final = (
    "body{font:14px/1.5 system-ui,sans-serif;margin:2rem;max-width:70rem}table{border-collapse:collapse;margin:1rem 0}"
    "th,td{border:1px solid #ccc;padding:.2rem .6rem;text-align:left}td.n{text-align:right}"
)


def render_page(report: DayReport, rows: Sequence[DiscrepancyRow]) -> str:
    """The page: no script, nothing loaded from elsewhere. `rows` are the first differences, unresolved ones or all."""
    run = report.run
    title = escape(f"{run.day} {run.account_name} ({run.channel})")
    state = "a part of the day" if run.is_partial else "the whole day"
    facts = (
        f"Run {run.id} over {state}, {run.lines} lines, {report.matched} agree, {report.differences} differ, "
        f"{report.repaired} repaired, {report.unresolved} unresolved. {report.tell_sums()}"
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head>'
        f"<body><h1>{title}</h1><p>{escape(facts)}</p>{_outcomes(report)}{_bars(report)}<h2>Tie-out</h2>{_tallies(report)}"
        f"<h2>Differences (the first {len(rows)})</h2>{_differences(rows)}</body></html>"
    )


def _bars(report: DayReport) -> str:
    """A bar for each kind of rows that the day has."""
    return "".join(
        f"<h3>{kind.value}</h3>{_bar(tallies)}"
        for kind in RowKind
        if (tallies := [tally for tally in report.tallies if tally.kind == kind.value])
    )


def _bar(tallies: Sequence[TallyRow]) -> str:
    parts = [(tally, max(tally.their_rows, tally.our_rows)) for tally in tallies]
    total = sum(rows for _, rows in parts)
    left, drawn = 0.0, list[str]()
    for tally, rows in parts:
        width = max(PART_WIDTH_MIN, BAR_WIDTH * rows / total)
        colour = _AGREES if Verdict(tally.verdict) in AGREED else _DIFFERS
        label = escape(f"{tally.verdict}: {rows}")
        drawn.append(
            f'<rect x="{left:.1f}" width="{width:.1f}" height="{BAR_HEIGHT}" fill="{colour}" stroke="#fff">'
            f"<title>{label}</title></rect>"
        )
        left += width
    labels = ", ".join(f"{tally.verdict} {rows}" for tally, rows in parts)
    return (
        f'<svg role="img" aria-label="{escape(labels)}" viewBox="0 0 {left:.1f} {BAR_HEIGHT}" width="{left:.0f}" '
        f'height="{BAR_HEIGHT}">{"".join(drawn)}</svg><p>{escape(labels)}</p>'
    )


def _outcomes(report: DayReport) -> str:
    """What became of the day's rows."""
    cells = [
        (name, str(found.rows), render_sum(found.amount_minor, "CNY")) for name, found in report.outcomes().items()
    ]
    return _table(("outcome", "rows", "sum"), cells, numbers_from=1)


def _tallies(report: DayReport) -> str:
    header = ("kind", "verdict", "rows there", "sum there", "rows here", "sum here")
    cells = [
        (
            tally.kind,
            tally.verdict,
            str(tally.their_rows),
            render_sum(tally.their_minor, "CNY"),
            str(tally.our_rows),
            render_sum(tally.our_minor, "CNY"),
        )
        for tally in report.tallies
    ]
    for kind in RowKind:
        their_rows, their_minor, our_rows, our_minor = report.sides(kind)
        sums = (str(their_rows), render_sum(their_minor, "CNY"), str(our_rows), render_sum(our_minor, "CNY"))
        cells.append((kind.value, "all", *sums))
    return _table(header, cells, numbers_from=2)


def _differences(rows: Sequence[DiscrepancyRow]) -> str:
    header = ("number", "kind", "verdict", "subject", "line", "there", "here", "state", "owner", "age")
    cells = [
        (
            str(row.id),
            row.kind,
            row.verdict,
            row.subject,
            "" if row.line_no is None else str(row.line_no),
            render_sum(row.their_minor, row.currency),
            render_sum(row.our_minor, row.currency),
            row.state if row.resolution is None else f"{row.state}: {row.resolution}",
            row.owner or "",
            f"{row.age_s / 3_600:.0f} h",
        )
        for row in rows
    ]
    return _table(header, cells, numbers_from=len(header))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], *, numbers_from: int) -> str:
    heads = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td class="n">{escape(cell)}</td>' if place >= numbers_from else f"<td>{escape(cell)}</td>"
            for place, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return f"<table><tr>{heads}</tr>{body}</table>"


def render_sum(amount_minor: int | None, currency: str) -> str:
    """An amount for people, "" where there is none; in a currency that we keep no books in as it stands in the bill."""
    if amount_minor is None:
        return ""
    known = currency in CURRENCY_EXPONENTS
    return render_amount(amount_minor, currency=currency) if known else f"{amount_minor} minor {currency}"
