"""The day's report ties out: every row and every cent of both sides, in each currency, whatever became of it since."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg

from budan.flows.day_page import render_page
from budan.flows.day_report import count_untied_days
from budan.flows.door import DoorItem
from budan.flows.keeping import Housekeeping
from budan.telemetry import metrics
from budan.web.asgi import build_app
from budan.workers.housekeeping import HousekeepingTurns
from integration.cli.commands import Typist
from integration.reconcile.bills import Line
from integration.reconcile.clerk import Clerk, add_refund
from integration.reconcile.test_books_page import get
from integration.workers.working import keeper
from stage import AMOUNT_MINOR, StagedOrder

Rows = asyncpg.Connection
A = AMOUNT_MINOR
FEE = "0.08000"

Both = tuple[tuple[int, int], tuple[int, int]]


def tie_out(report: dict[str, Any], kind: str, currency: str) -> dict[str, Both]:
    """Rows and minor units there and here of each outcome, and all as they were counted."""
    (one,) = [one for one in report["tie_out"] if (one["kind"], one["currency"]) == (kind, currency)]
    assert one["ties"]
    lines = {"all": one} | one["outcomes"]
    return {
        name: ((line["there"]["rows"], line["there"]["minor"]), (line["here"]["rows"], line["here"]["minor"]))
        for name, line in lines.items()
    }


async def busy_day(clerk: Clerk, rows: Rows) -> tuple[dict[str, StagedOrder], list[Line]]:
    """One of each: what agrees, what differs in each way, two currencies, refunds and a reversal."""
    names = ("fits", "amount", "currency", "fee", "double", "missing there", "returned", "dollars")
    orders = {name: await clerk.paid() for name in names}
    # Paid two days ago: it is on that day's side, and a bill that says otherwise does not put it on a second one.
    orders["status"] = await clerk.paid(at=clerk.noon - timedelta(days=2))
    orders["late day"] = await clerk.paid(at=clerk.noon + timedelta(hours=12, minutes=1))
    orders["unpaid"] = await clerk.order()
    await rows.execute("UPDATE trade SET state = 'reversed' WHERE order_id = $1", orders["returned"].order_id)
    # Our books keep no dollars yet: the day that they do, no sum of ours may be of both.
    await rows.execute("UPDATE trade SET currency = 'USD' WHERE order_id = $1", orders["dollars"].order_id)
    await add_refund(rows, orders["fits"], at=clerk.noon)
    await add_refund(rows, orders["fee"], at=clerk.noon, amount_minor=500)
    await clerk.discrepancies.set_contract(clerk.account_id, rate_e6=6_000, effective_from=clerk.day, by="ann")
    lines = [
        clerk.line(orders["fits"], fee=FEE),
        clerk.line(orders["amount"], amount_minor=A - 1, fee=FEE),
        clerk.line(orders["currency"], currency="USD", fee=FEE),
        clerk.line(orders["fee"], fee="0.50000"),
        clerk.line(orders["double"], fee=FEE),
        clerk.line(orders["double"], fee=FEE, channel_no="4200999"),
        clerk.line(orders["status"], fee=FEE),
        clerk.line(orders["late day"], fee=FEE, at=clerk.noon + timedelta(hours=11, minutes=59)),
        clerk.line(orders["unpaid"], fee=FEE),
        clerk.line(orders["returned"], fee=FEE),
        clerk.line(orders["returned"], kind="REVOKED", channel_no="77", fee="-0.08000"),
        clerk.line(orders["dollars"], currency="USD", fee=FEE),
        clerk.line(clerk.name(clerk.noon), trade_no="4711", currency="USD", amount_minor=70, channel_no="71"),
        clerk.line(orders["fits"], refund_no=clerk.refund_no(orders["fits"]), amount_minor=300, fee="-0.02000"),
    ]
    return orders, lines


async def test_every_row_of_both_sides_is_accounted_for_in_its_own_currency_whatever_became_of_it(
    clerk: Clerk, rows: Rows
) -> None:
    """Finance closes the day by these sums: a cent that is in none of them, or in two, is somebody's."""
    orders, lines = await busy_day(clerk, rows)
    report = await clerk.compare(lines)
    told: dict[str, Any] = report.as_json()
    assert (told["ties_out"], told["untied"]) == (True, [])
    # Of 14 lines 9 are payments in CNY and 3 in USD; ours are the eight of noon, one of them in dollars: what moved on another day counts there.
    assert tie_out(told, "payment", "CNY") == {
        "all": ((9, 9 * A - 1), (7, 7 * A)),
        "matched": ((3, 3 * A), (3, 3 * A)),
        "neighbour_day": ((1, A), (0, 0)),
        "open": ((5, 5 * A - 1), (4, 4 * A)),
    }
    assert tie_out(told, "payment", "USD") == {
        "all": ((3, 2 * A + 70), (1, A)),
        "matched": ((1, A), (1, A)),
        "open": ((2, A + 70), (0, 0)),
    }
    assert tie_out(told, "refund", "CNY") == {
        "all": ((1, 300), (2, 800)),
        "matched": ((1, 300), (1, 300)),
        "open": ((0, 0), (1, 500)),
    }
    assert tie_out(told, "reversal", "CNY") == {"all": ((1, A), (1, A)), "matched": ((1, A), (1, A))}
    assert told["kinds"]["payment"]["there"] == {"rows": 12, "minor": None}, "no sum is of two currencies"
    assert told["kinds"]["refund"]["here"] == {"rows": 2, "minor": 800}
    found = await clerk.differences()
    assert (found[orders["currency"].trade_no].currency, found[orders["currency"].trade_no].our_currency) == (
        "USD",
        "CNY",
    )

    await clerk.stage.flows.door.record(DoorItem(evidence=clerk.stage.payment(orders["unpaid"], paid_at=clerk.noon)))
    await clerk.discrepancies.follow_up(clerk.account_id)
    by_hand = found[orders["fee"].trade_no].id
    await clerk.discrepancies.resolve(by_hand, resolution="claimed", by="bob", note="told WeChat")
    first = (await clerk.reconciliation.get_report(report.run.id)).as_json()
    assert first["ties_out"]
    assert tie_out(first, "payment", "CNY") == {
        "all": ((9, 9 * A - 1), (7, 7 * A)),
        "matched": ((3, 3 * A), (3, 3 * A)),
        "neighbour_day": ((1, A), (0, 0)),
        "repaired": ((1, A), (0, 0)),
        "by_hand": ((1, A), (1, A)),
        "open": ((3, 3 * A - 1), (3, 3 * A)),
    }

    second = (await clerk.compare([*lines[:4], *lines[8:]])).as_json()
    assert second["ties_out"]
    assert tie_out(second, "payment", "CNY")["by_hand"] == ((1, A), (1, A)), "what a person ended is this bill's, too"
    first = (await clerk.reconciliation.get_report(report.run.id)).as_json()
    assert first["ties_out"], "what an earlier bill had stays as it was, and what became of it is told"
    # The number of the double is missed there now: nobody has ended what is wrong with it.
    assert tie_out(first, "payment", "CNY")["gone"] == ((1, A), (0, 0))


async def test_a_day_that_does_not_tie_out_says_so_in_every_form(
    clerk: Clerk, rows: Rows, typist: Typist, tmp_path: Path
) -> None:
    """Somebody's hand in the tables, or a bug of ours: whoever closes by page, sheet, screen or script sees it."""
    unpaid = await clerk.order()
    report = await clerk.compare([clerk.line(await clerk.paid()), clerk.line(unpaid)])
    assert "DOES NOT TIE OUT" not in render_page(report, [])
    assert await count_untied_days(clerk.stage.database) == {clerk.account_id: 0}
    await rows.execute("DELETE FROM reconcile_finding")
    stage, lanes = clerk.stage, keeper(clerk.stage)
    await lanes.renew()
    await HousekeepingTurns(
        housekeeping=Housekeeping(database=stage.database), lanes=lanes, clock=stage.opened.clock
    ).turn()
    account = {"account": str(clerk.account_id)}
    assert metrics.REGISTRY.get_sample_value("budan_days_untied", account) == 1
    assert metrics.REGISTRY.get_sample_value("budan_discrepancies_unresolved", account | {"age": "day"}) == 1
    run = str(report.run.id)
    told = await typist.json("reconcile", "show", run)
    words = f"payment: there 2 rows of {2 * A / 100:.2f} CNY counted, 1 rows of {A / 100:.2f} CNY accounted for"
    assert (told["ties_out"], told["untied"]) == (False, [words])
    for command in (("show", run), ("runs",), ("runs", "--json")):
        assert f"run {run} DOES NOT TIE OUT: {words}" in (await typist.type("reconcile", *command)).err
    for ending in ("html", "csv"):
        written = await typist.type("reconcile", "report", run, str(tmp_path / f"day.{ending}"))
        assert "DOES NOT TIE OUT" in written.err
    assert words in (tmp_path / "day.html").read_text()
    sheet = (tmp_path / "day.csv").read_text("utf-8-sig").splitlines()
    assert f",DOES NOT TIE OUT,{words}" in sheet[1].replace('"', "")
    assert any(
        f",payment,tie-out: all,2 rows there, 1 rows here,,{2 * A / 100:.2f}," in line.replace('"', "")
        for line in sheet
    )
    flows = clerk.stage.flows
    path = f"/books/{flows.books_links.render()}"
    for language, alarm in (("en", "DOES NOT TIE OUT"), ("zh", "账目轧不平")):
        _, page = await get(build_app(flows), path, language=language, query=f"day={clerk.day}")
        assert alarm in page


async def test_a_run_of_an_older_release_is_not_called_tied_and_is_compared_anew_when_its_bill_comes_again(
    clerk: Clerk, rows: Rows
) -> None:
    """It kept no count of its sides: to say that they tie would be a guess."""
    lines = [clerk.line(await clerk.paid()), clerk.line(clerk.name(clerk.noon))]
    first = await clerk.compare(lines)
    for table in ("reconcile_side", "reconcile_finding"):
        await rows.execute(f"DELETE FROM {table}")  # noqa: S608 - sql: a name of this test
    old = await clerk.reconciliation.get_report(first.run.id)
    assert (old.ties_out, "older release" in old.tell_untied()[0]) == (False, True)
    again = await clerk.compare(lines)
    assert (again.run.id, again.ties_out) == (first.run.id, True)
