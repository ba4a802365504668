"""The nightly audit: it finds what is stuck, makes it due, and its report reaches its readers however long that takes."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from budan.cli.mail_settings import parse_mail
from budan.cli.wiring import build_job_desk, build_mail_turns
from budan.core.errors import Refused
from budan.core.evidence import evidence_digest
from budan.flows.job import RunArguments
from budan.flows.mailing import Mailing, Posted
from budan.host.ports import LOOPBACK, held_ports
from budan.store.jobs import RunRow
from budan.wire.errors import NoAnswer
from budan.wire.smtp import Letter, SmtpPost, parse_smtp_url
from budan.workers.mail import MailTurns
from integration.jobs.centre import counted, ended, job_worker, runs_of
from integration.jobs.smtp import mail_server
from integration.workers.watching import when
from stage import Stage, open_stage, stage_settings

Rows = asyncpg.Connection
MAIL = {"mail_from": "budan@shop.test", "mail_to": "finance@shop.test, oncall@shop.test"}


async def run_nightly(stage: Stage) -> RunRow:
    """A run by hand, of the orders of the last hour too."""
    await runs_of(stage).register()
    return await ended(stage, await build_job_desk(stage.opened).order_run("budan", RunArguments()))


async def kinds(rows: Rows) -> dict[str, tuple[int, int]]:
    found = await rows.fetch(
        "SELECT kind, count(*), count(*) FILTER (WHERE mended) FROM report_row GROUP BY kind ORDER BY kind"
    )
    return {row[0]: (row[1], row[2]) for row in found}


async def test_a_night_on_which_all_is_well_says_so(stage: Stage, rows: Rows) -> None:
    merchant = await stage.add_merchant()
    await stage.add_paid_order(merchant)
    await stage.add_order(merchant)
    async with job_worker(stage):
        row = await run_nightly(stage)
    assert row.state == "succeeded"
    report = await build_job_desk(stage.opened).get_report(None)
    assert (report.run_id, report.found) == (row.id, 0)
    assert "all well" in report.text
    assert all("Lost and late orders of" in told for told in (report.text, report.html))
    assert await rows.fetchval("SELECT count(*) FROM mail") == 0


async def test_a_morning_is_not_well_on_which_jobs_or_books_wait_for_somebody(stage: Stage, rows: Rows) -> None:
    """Whoever reads "all well" closes the mail: a repair job that is paused for a week would lose nobody a minute."""
    merchant = await stage.add_merchant()
    await runs_of(stage).register()
    await rows.execute("UPDATE job SET enabled = FALSE WHERE name = 'autobudan'")
    await rows.execute(
        "INSERT INTO job_run (job, slot, trigger, state, finished_at)"
        " VALUES ('settle-daily', now() - interval '1 hour', 'schedule', 'missed', now())"
    )
    await rows.execute(
        "INSERT INTO bill_day (account_id, day, state, ready_at, due_at)"
        " VALUES ($1, '2026-01-05', 'missed', '2026-01-06', '2026-01-06')",
        merchant.account_id,
    )
    # Rows of which nobody knows what became.
    await rows.execute(
        "INSERT INTO reconcile_run (account_id, day, digest, origin, is_partial, lines, fee_e5, begun_at)"
        " VALUES ($1, '2026-01-04', sha256(''), 'file', FALSE, 7, 0, now())",
        merchant.account_id,
    )
    async with job_worker(stage):
        await run_nightly(stage)
    report = await build_job_desk(stage.opened).get_report(None)
    first = report.text.splitlines()[0]
    assert ("all well" in first, "4 of jobs and books" in first) == (False, True)
    matters = (
        "autobudan is paused",
        "settle-daily: 1 runs missed",
        "1 days&#x27; bills are late",
        "1 runs over bills DO",
    )
    for told in matters:
        assert told in report.html


@pytest.mark.invariant("I6")
async def test_a_morning_is_not_well_on_which_something_waits_for_a_person(stage: Stage, rows: Rows) -> None:
    """Nothing goes on with these by itself: an order was held, and its payer's money was on its way back, for 20 days."""
    paid = await stage.add_paid_order(await stage.add_merchant())
    await rows.execute("UPDATE orders SET hold_reason = 'operator', hold_since = now() - interval '20 days'")
    await rows.execute(
        "INSERT INTO refund (lane, order_id, ordinal, attempt, origin, state, amount_minor, currency, reason, created_at)"
        " SELECT $1, $2, n, 1, 'unwanted', state, 1, 'CNY', '', now() - interval '20 days'"
        " FROM unnest(array['unknown', 'abnormal', 'submitted']) WITH ORDINALITY AS r (state, n)",
        paid.lane,
        paid.order_id,
    )
    await rows.execute(
        "INSERT INTO refund_due (lane, order_id, ordinal, due_at) SELECT lane, order_id, ordinal, now() FROM refund"
    )
    async with job_worker(stage):
        row = await run_nightly(stage)
    report = await build_job_desk(stage.opened).get_report(None)
    first = report.text.splitlines()[0]
    assert ("all well" in first, "4 for a person" in first) == (False, True)
    since = f"the oldest since {datetime.now(UTC) - timedelta(days=20):%F}"
    for told in ("1 orders are on hold", "1 refunds cannot reach", "1 refunds are not taken", "1 refunds were taken"):
        assert all(f"{told}" in text and since in text for text in (report.text, report.html)), told
    assert counted(row)["waiting"] == 4


@pytest.mark.invariant("I6")
async def test_what_is_stuck_is_found_and_made_due(stage: Stage, rows: Rows) -> None:
    """Each of these orders is broken by hand in one way that must not happen, and would otherwise stay so."""
    merchant = await stage.add_merchant(webhook_url="http://127.0.0.1:9/nobody")
    heard, past, unasked, well = [await stage.add_order(merchant) for _ in range(4)]
    untold = await stage.add_paid_order(merchant)
    await rows.execute(
        "INSERT INTO evidence (lane, order_id, attempt, digest, outcome, source, decision, account_id, learned_at)"
        " VALUES ($1, $2, 1, $3, 'paid', 'notice', 'complete', $4, now())",
        heard.lane,
        heard.order_id,
        evidence_digest(stage.payment(heard)),
        merchant.account_id,
    )
    an_hour = timedelta(hours=1)
    await rows.execute(
        "UPDATE trade SET expires_at = now() - $2::interval, send_until = now() - $2::interval WHERE order_id = $1",
        past.order_id,
        an_hour,
    )
    await rows.execute("DELETE FROM query_due WHERE order_id = $1", unasked.order_id)
    await rows.execute("DELETE FROM webhook_due WHERE order_id = $1", untold.order_id)
    await rows.execute("UPDATE webhook SET created_at = now() - $1::interval", 2 * an_hour)
    async with job_worker(stage):
        row = await run_nightly(stage)
    assert await kinds(rows) == {
        "open_past_end": (1, 1),
        "paid_not_completed": (1, 1),
        "question_missing": (1, 1),
        "webhook_untaken": (1, 1),
    }
    assert counted(row)["mended"] == 4
    due = await rows.fetch("SELECT order_id FROM query_due WHERE due_at <= now() ORDER BY order_id")
    assert [one["order_id"] for one in due] == sorted([heard.order_id, past.order_id, unasked.order_id])
    assert await rows.fetchval("SELECT due_at > now() FROM query_due WHERE order_id = $1", well.order_id)
    assert await rows.fetchval("SELECT order_id FROM webhook_due") == untold.order_id
    report = await build_job_desk(stage.opened).get_report(row.id)
    assert all(order.trade_no in report.text for order in (heard, past, unasked))
    assert all(order.trade_no in report.html for order in (heard, past, unasked))
    assert well.trade_no not in report.text


@pytest.mark.invariant("I6")
async def test_a_lost_due_row_of_any_kind_is_found_and_put_back(stage: Stage, rows: Rows) -> None:
    """No sweep sees an order, an attempt or a refund whose row is gone: without this nobody would ever go on with it."""
    merchant = await stage.add_merchant()
    unlooked, closing, reversing, held = [await stage.add_order(merchant) for _ in range(4)]
    refunded = await stage.add_paid_order(merchant)
    await rows.execute("DELETE FROM order_due WHERE order_id = $1", unlooked.order_id)
    await rows.execute("UPDATE orders SET told_unpaid = true WHERE id = $1", unlooked.order_id)
    await rows.execute("UPDATE orders SET state = 'closing' WHERE id = any($1)", [closing.order_id, held.order_id])
    await rows.execute("UPDATE orders SET hold_reason = 'dispute', hold_since = now() WHERE id = $1", held.order_id)
    await rows.execute("UPDATE trade SET state = 'reversing' WHERE order_id = $1", reversing.order_id)
    await rows.execute(
        "INSERT INTO refund (lane, order_id, ordinal, attempt, state, amount_minor, currency, reason, created_at)"
        " VALUES ($1, $2, 1, 1, 'unknown', 1, 'CNY', '', now()), ($1, $2, 2, 1, 'succeeded', 1, 'CNY', '', now())",
        refunded.lane,
        refunded.order_id,
    )
    async with job_worker(stage):
        await run_nightly(stage)
    assert await kinds(rows) == {"ending_missing": (2, 2), "look_missing": (1, 1), "refund_step_missing": (1, 1)}
    (look,) = await rows.fetch("SELECT ends_as, due_at <= now() FROM order_due WHERE order_id = $1", unlooked.order_id)
    assert tuple(look) == ("closed", True)
    ends = await rows.fetch("SELECT order_id FROM close_due WHERE due_at <= now() ORDER BY order_id")
    assert [one["order_id"] for one in ends] == sorted([closing.order_id, reversing.order_id])
    steps = await rows.fetch("SELECT order_id, ordinal FROM refund_due WHERE due_at <= now()")
    assert [tuple(one) for one in steps] == [(refunded.order_id, 1)]


@pytest.mark.invariant("I6")
async def test_a_refund_and_an_event_of_an_old_order_are_found_by_their_own_state(stage: Stage, rows: Rows) -> None:
    """Goods come back after days: an audit of two days of orders alone would see next to no refund."""
    old = await stage.add_paid_order(await stage.add_merchant(webhook_url="http://127.0.0.1:9/nobody"))
    a_month = timedelta(days=31) // timedelta(milliseconds=1) << 22
    await rows.execute("UPDATE orders SET id = id - $1", a_month)
    for table in ("webhook", "webhook_due"):
        await rows.execute(f"UPDATE {table} SET order_id = order_id - $1", a_month)  # noqa: S608 - of the two above
    await rows.execute("UPDATE webhook SET created_at = now() - interval '2 hours'")
    await rows.execute(
        "INSERT INTO refund (lane, order_id, ordinal, attempt, state, amount_minor, currency, reason, created_at)"
        " VALUES ($1, $2, 1, 1, 'submitted', 1, 'CNY', '', now())",
        old.lane,
        old.order_id - a_month,
    )
    async with job_worker(stage):
        await run_nightly(stage)
    assert await kinds(rows) == {"refund_step_missing": (1, 1), "webhook_untaken": (1, 0)}
    assert await rows.fetchval("SELECT order_id FROM refund_due") == old.order_id - a_month


@pytest.mark.invariant("I3", "I10")
async def test_books_that_are_broken_are_shown_and_left_to_a_person(stage: Stage, rows: Rows) -> None:
    merchant = await stage.add_merchant()
    unbooked, unbalanced = [await stage.add_paid_order(merchant) for _ in range(2)]
    await rows.execute("DELETE FROM posting WHERE order_id = $1", unbooked.order_id)
    await rows.execute(
        "UPDATE posting SET amount_minor = amount_minor + 1 WHERE order_id = $1 AND line = 0", unbalanced.order_id
    )
    async with job_worker(stage):
        await run_nightly(stage)
    assert await kinds(rows) == {"unbalanced": (1, 0), "unbooked": (1, 0)}
    report = await build_job_desk(stage.opened).get_report(None)
    assert "2 found, 0 asked again, 2 left" in report.text
    assert "call an engineer" in report.text


async def test_the_report_is_mailed_once_as_text_and_as_a_page(database_dsn: str, tmp_path: Path, rows: Rows) -> None:
    async with mail_server() as server, open_stage(database_dsn, tmp_path, smtp_url=server.url, **MAIL) as stage:
        await stage.add_paid_order(await stage.add_merchant())
        async with job_worker(stage):
            await run_nightly(stage)
        stop = asyncio.Event()
        sending = asyncio.create_task((await build_mail_turns(stage.opened)).run(stop))
        await when(rows, "SELECT sent_at IS NOT NULL FROM mail")
        stop.set()
        await sending
        (letter,) = server.taken
        assert server.recipients == [["finance@shop.test", "oncall@shop.test"]]
        assert letter["Subject"].startswith("budan local ")
        assert letter["From"] == "budan@shop.test"
        text, page = letter.get_body(("plain",)), letter.get_body(("html",))
        assert text
        assert page
        assert "all well" in text.get_content()
        assert "<h1>" in page.get_content()


@pytest.mark.invariant("I6")
async def test_a_mail_server_that_is_down_gets_the_report_when_it_is_back(
    database_dsn: str, tmp_path: Path, rows: Rows
) -> None:
    """Kept and sent later: the same mail, with the same number, by whatever worker is there then."""
    with held_ports(1) as (port,):
        number = port.number
    async with open_stage(database_dsn, tmp_path, smtp_url=f"smtp://{LOOPBACK}:{number}", **MAIL) as stage:
        async with job_worker(stage):
            await run_nightly(stage)
        mailing = mailing_of(stage)
        refused = await mailing.send_next()
        assert isinstance(refused, Posted)
        assert refused.error.startswith("NotSent")
        assert await mailing.send_next() is None
        shown = await build_job_desk(stage.opened).show()
        assert (shown.mails, shown.waiting_mail.waiting) == (True, 1)
        assert shown.waiting_mail.error == refused.error
        await rows.execute("UPDATE mail SET due_at = now()")
        async with mail_server(port=number, refusal="451 try again later") as busy:
            assert "451" in ((await mailing.send_next()) or refused).error
            assert busy.taken == []
        await rows.execute("UPDATE mail SET due_at = now()")
        async with mail_server(port=number) as back:
            assert await mailing_of(stage).send_next() == Posted(mail_id=refused.mail_id, attempts=3, error="")
            assert await mailing.send_next() is None
        assert [letter["Message-ID"].endswith(f".{refused.mail_id}@shop.test>") for letter in back.taken] == [True]


async def test_a_worker_that_ends_while_it_sends_waits_for_no_server_and_leaves_the_mail_to_another(
    database_dsn: str, tmp_path: Path, rows: Rows
) -> None:
    """A silent one once kept it for half a minute, until its supervisor killed it."""
    with held_ports(1) as (port,):
        number = port.number
    async with open_stage(database_dsn, tmp_path, smtp_url=f"smtp://{LOOPBACK}:{number}", **MAIL) as stage:
        async with job_worker(stage):
            await run_nightly(stage)

        async def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            spoken_to.set()
            await gone.wait()
            writer.close()
            await writer.wait_closed()
            closed.set()

        spoken_to, gone, closed = asyncio.Event(), asyncio.Event(), asyncio.Event()
        silent = await asyncio.start_server(accept, LOOPBACK, number)
        stop = asyncio.Event()
        turns = asyncio.create_task(MailTurns(mailing=mailing_of(stage)).run(stop))
        await asyncio.wait_for(spoken_to.wait(), 10)
        stop.set()
        await asyncio.wait_for(turns, 2)
        gone.set()
        await asyncio.wait_for(closed.wait(), 10)
        silent.close()
        assert await rows.fetchval("SELECT sent_at IS NULL AND due_at > now() FROM mail")
        await rows.execute("UPDATE mail SET due_at = now()")
        async with mail_server(port=number) as back:
            assert ((await mailing_of(stage).send_next()) or Posted(mail_id=0, attempts=0, error="none")).error == ""
            assert len(back.taken) == 1


def mailing_of(stage: Stage) -> Mailing:
    return Mailing(
        database=stage.database, post=SmtpPost(parse_smtp_url(stage.settings.text("smtp_url"))), installation="i"
    )


@pytest.mark.parametrize(
    ("texts", "code"),
    [
        ({"smtp_url": "smtp://127.0.0.1"}, "setting_missing"),
        ({**MAIL, "smtp_url": ""}, "setting_missing"),
        ({**MAIL, "smtp_url": "http://127.0.0.1"}, "setting_malformed"),
        ({**MAIL, "smtp_url": "smtp://127.0.0.1:99999"}, "setting_malformed"),
        ({**MAIL, "smtp_url": "smtp://h", "mail_to": "nobody"}, "setting_malformed"),
        ({**MAIL, "smtp_url": "smtp://h", "mail_from": "a@b\nBcc: c@d"}, "setting_malformed"),
    ],
)
def test_mail_settings_that_make_no_sense_are_refused_at_the_start(
    tmp_path: Path, texts: dict[str, Any], code: str
) -> None:
    with pytest.raises(Refused) as refused:
        parse_mail(stage_settings("postgresql://nowhere", tmp_path, **texts))
    assert refused.value.code == code
    assert "password" not in json.dumps(refused.value.detail) or refused.value.param == "smtp_url"


async def test_many_of_one_kind_hide_no_graver_one_and_are_told_to_be_more(stage: Stage, rows: Rows) -> None:
    """A bad morning is when the report is read: what is lost for good must stand above what is only many."""
    merchant = await stage.add_merchant()
    unbooked = await stage.add_paid_order(merchant)
    await rows.execute("DELETE FROM posting")
    await stage.add_orders([stage.name_order(merchant) for _ in range(501)])
    await rows.execute("DELETE FROM query_due")
    async with job_worker(stage):
        row = await run_nightly(stage)
    assert await kinds(rows) == {"question_missing": (500, 500), "unbooked": (1, 0)}
    report = await build_job_desk(stage.opened).get_report(None)
    first, *_, last = report.text.splitlines()
    assert "501 and more found" in first
    for told in (report.text, report.html):
        assert all(words in told for words in ("500 and more", "more than are kept"))
        assert told.index("unbooked") < told.index("question_missing")
        assert unbooked.trade_no in told
    assert last.lstrip().startswith("question_missing")
    _, lines = await build_job_desk(stage.opened).get_run(row.id)
    assert [line.level for line in lines if "has more" in line.line] == ["warning"]


async def test_a_password_is_told_to_no_mail_server_that_cannot_encrypt() -> None:
    letter = Letter(
        number="1",
        sender="budan@example.org",
        recipients=("ann@example.org",),
        subject="the night",
        written_at=datetime.now(UTC),
        text="all well",
        html="<p>all well</p>",
    )
    async with mail_server() as server:
        plain = parse_smtp_url(f"smtp://budan:secret@127.0.0.1:{server.port}")
        with pytest.raises(NoAnswer, match="STARTTLS"):
            await SmtpPost(plain).send(letter, timeout_s=5.0)
        assert server.taken == []
