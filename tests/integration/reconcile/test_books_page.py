"""The page of the books: for whoever was given a link, in two languages, and nothing that a stranger wrote runs there."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from budan.flows.books_link import LINK_LIFE, BooksLinks
from budan.flows.keeping import Housekeeping
from budan.ports.bill import BillUnfetched
from budan.web.asgi import Application, build_app
from integration.reconcile.bills import write_bill
from integration.reconcile.clerk import Clerk
from integration.reconcile.counter import BillCounter

Rows = asyncpg.Connection


@dataclass
class HandClock:
    """Time that only the test moves."""

    moment: datetime = datetime(2026, 1, 2, tzinfo=UTC)

    def now(self) -> datetime:
        """See Clock.now."""
        return self.moment

    def monotonic_s(self) -> float:
        """See Clock.monotonic_s."""
        return self.moment.timestamp()


async def get(app: Application, path: str, *, language: str = "en", query: str = "") -> tuple[int, str]:
    """Status and text of the page at an address."""
    sent: list[dict[str, Any]] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(b"accept-language", language.encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    await app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:]).decode()


async def test_the_page_shows_a_days_report_what_is_waited_for_and_what_is_open(
    clerk: Clerk, counter: BillCounter, rows: Rows
) -> None:
    tag = clerk.line(clerk.name(clerk.noon), trade_no="<script>alert(1)</script>", channel_no="8")
    counter.answers[clerk.day] = write_bill([clerk.line(await clerk.paid()), tag])
    counter.answers[clerk.day - timedelta(days=1)] = BillUnfetched(code="no_answer")
    await counter.run()
    flows = clerk.stage.flows
    app, path = build_app(flows), f"/books/{flows.books_links.render()}"
    status, english = await get(app, path, query=f"day={clerk.day}")
    assert status == 200
    assert "<script>alert" not in english
    for text in ("main (wechat_v3)", "unknown number", "&lt;script&gt;alert", "for a person", "no_answer", "late"):
        assert text in english
    _, chinese = await get(app, path, language="zh", query=f"day={clerk.day}")
    assert "对账日报" in chinese
    assert "逾期" in chinese
    for wrong, query in ((f"{path}0", ""), ("/books/1-0", ""), (path, "day=tomorrow")):
        assert (await get(app, wrong, query=query))[0] == 404
    counted = await Housekeeping(database=clerk.stage.database).count_books()
    (ages,) = counted.ages
    found = (counted.late_bills, ages.account_id, ages.day, ages.older)
    assert found == ({int(clerk.account_id): 1}, clerk.account_id, 1, 0)
    await rows.execute("UPDATE discrepancy SET found_at = now() - interval '8 days'")
    assert [ages.older for ages in (await Housekeeping(database=clerk.stage.database).count_books()).ages] == [1]


def test_a_link_to_the_books_ends_and_opens_nothing_else() -> None:
    clock = HandClock()
    links = BooksLinks(secret=b"k" * 32, clock=clock)
    token = links.render()
    assert links.is_good(token)
    assert not links.is_good(token[:-1] + ("0" if token[-1] != "0" else "1"))
    assert not BooksLinks(secret=b"l" * 32, clock=clock).is_good(token)
    until, mac = token.split("-")
    assert not links.is_good(f"{int(until) + 60}-{mac}")
    clock.moment += LINK_LIFE
    assert not links.is_good(token)
