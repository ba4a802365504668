"""The report of a day as a page: the tie-out, a bar of what agrees and what differs, and the differences themselves."""

from collections.abc import Sequence
from html import escape
from typing import Final

from budan.core.journal import render_money
from budan.core.reconcile import AGREED, RowKind, Verdict
from budan.flows.day_closing import tell_books
from budan.flows.day_report import DayReport
from budan.store.reconcile import DiscrepancyRow
from budan.store.tie_out import TallyRow

BAR_WIDTH: Final = 600
BAR_HEIGHT: Final = 18
# One difference among millions is still to be seen.
PART_WIDTH_MIN: Final = 3.0
_AGREES, _DIFFERS = "#2f855a", "#c53030"
_STYLE: Final = (
    "body{font:14px/1.5 system-ui,sans-serif;margin:2rem;max-width:70rem}table{border-collapse:collapse;margin:1rem 0}"
    "th,td{border:1px solid #ccc;padding:.2rem .6rem;text-align:left}td.n{text-align:right}"
    "p.untied{background:#c53030;color:#fff;font-weight:bold;padding:.6rem}"
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
        f"<body><h1>{title}</h1>{_untied(report)}{_books(report)}<p>{escape(facts)}</p>"
        f"<h2>Tie-out</h2>{_outcomes(report)}<h2>Verdicts</h2>{_bars(report)}{_tallies(report)}"
        f"<h2>Differences (the first {len(rows)})</h2>{_differences(rows)}</body></html>"
    )


def _untied(report: DayReport) -> str:
    """Nobody may read on and not see it."""
    lines = "".join(f"<br>{escape(line)}" for line in report.tell_untied())
    return f'<p class="untied" role="alert">THIS DAY DOES NOT TIE OUT{lines}</p>' if lines else ""


def _books(report: DayReport) -> str:
    """Whether the day's books are closed, by whom, and despite what."""
    return f"<p>{'<br>'.join(escape(line) for line in tell_books(report.run.day, report.closed))}</p>"


def _bars(report: DayReport) -> str:
    """A bar for each kind of rows that the day has, in each currency."""
    keys = dict.fromkeys((kind.value, tally.currency) for kind in RowKind for tally in report.tallies)
    return "".join(
        f"<h3>{escape(f'{kind}, {currency}')}</h3>{_bar(tallies)}"
        for kind, currency in keys
        if (tallies := [tally for tally in report.tallies if (tally.kind, tally.currency) == (kind, currency)])
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
    """What became of the day's rows: the lines of a kind and currency come to its last one, on both sides."""
    header = ("kind", "outcome", "rows there", "sum there", "rows here", "sum here")
    cells = [
        (
            line.kind,
            line.name,
            str(line.sides.theirs.rows),
            render_sum(line.sides.theirs.amount_minor, line.currency),
            str(line.sides.ours.rows),
            render_sum(line.sides.ours.amount_minor, line.currency),
        )
        for line in report.tie_lines()
    ]
    return _table(header, cells, numbers_from=2)


def _tallies(report: DayReport) -> str:
    header = ("kind", "verdict", "rows there", "sum there", "rows here", "sum here")
    cells = [
        (
            tally.kind,
            tally.verdict,
            str(tally.their_rows),
            render_sum(tally.their_minor, tally.currency),
            str(tally.our_rows),
            render_sum(tally.our_minor, tally.currency),
        )
        for tally in report.tallies
    ]
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
            render_sum(row.our_minor, row.our_currency or row.currency),
            _tell_state(row),
            row.owner or "",
            f"{row.age_s / 3_600:.0f} h",
        )
        for row in rows
    ]
    return _table(header, cells, numbers_from=len(header))


def _tell_state(row: DiscrepancyRow) -> str:
    ended = row.state if row.resolution is None else f"{row.state}: {row.resolution}"
    return f"{ended}, found after the close" if row.after_close else ended


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
    """An amount for people with its currency, "" where there is none."""
    return "" if amount_minor is None else render_money(amount_minor, currency=currency)
