"""The commands of the job centre, as an operator types them."""

import asyncpg
import pytest

from integration.cli.commands import Typist
from integration.jobs.centre import job_worker
from integration.jobs.quick import QuickChannel
from stage import Stage

Rows = asyncpg.Connection


async def test_jobs_and_loops_are_listed_with_what_is_due(stage: Stage, typist: Typist) -> None:
    await stage.add_order(await stage.add_merchant(), query_in_s=-5)
    listed = await typist.json("jobs", "list")
    (job,) = [job for job in listed["jobs"] if job["job"] == "autobudan"]
    assert (job["cron"], job["zone"], job["enabled"], job["last_run"]) == ("*/30 * * * *", "Asia/Shanghai", True, None)
    loops = {loop["work"]: loop["rows_due"] for loop in listed["loops"]}
    assert loops["query"] == 1
    assert loops.keys() >= {"query", "deliver", "evidence", "close", "refund"}
    told = await typist.type("jobs", "list")
    assert "NO WORKER RUNS" in told.err


async def test_pausing_what_repairs_says_loudly_that_recovery_is_off(stage: Stage, typist: Typist) -> None:
    paused = await typist.type("jobs", "pause", "autobudan")
    assert paused.code == 0
    assert "RECOVERY IS OFF: autobudan is paused" in paused.err
    listed = await typist.type("jobs", "list")
    assert "RECOVERY OFF" in listed.out
    assert "RECOVERY IS OFF" in listed.err
    (job,) = [job for job in (await typist.json("jobs", "list"))["jobs"] if job["job"] == "autobudan"]
    assert (job["enabled"], job["recovery_off"], job["next_at"]) == (False, True, None)
    resumed = await typist.json("jobs", "resume", "autobudan")
    assert resumed == {"job": "autobudan", "enabled": True, "recovery_off": False}
    assert "RECOVERY" not in (await typist.type("jobs", "list")).err


async def test_a_run_by_hand_is_followed_to_its_end_and_stands_in_the_history(
    stage: Stage, typist: Typist, rows: Rows, quick: QuickChannel
) -> None:
    merchant = await stage.add_merchant(account_id=await quick.add_account(stage))
    orders = [stage.name_order(merchant) for _ in range(20)]
    await stage.add_orders(orders)
    async with job_worker(stage):
        run = await typist.json("jobs", "run", "autobudan", "--merchant", str(merchant.merchant_id), "--wait")
    assert run["state"] == "succeeded"
    assert run["progress"]["asked"] == 20
    assert run["arguments"] == {"merchant_id": merchant.merchant_id}
    history = await typist.json("jobs", "history", "autobudan")
    assert [one["run"] for one in history["runs"]] == [run["run"]]
    assert (await typist.json("jobs", "show", str(run["run"])))["lines"] == []
    paid = await rows.fetchval("SELECT count(*) FROM orders WHERE state = 'paid'")
    assert paid == sum(quick.took_money(order.trade_no) for order in orders)


async def test_a_plan_may_be_changed_to_one_that_fires(stage: Stage, typist: Typist, rows: Rows) -> None:
    changed = await typist.json("jobs", "set", "autobudan", "--cron", "15 3 * * *", "--zone", "UTC")
    assert changed["next_at"].endswith("T03:15:00Z")
    assert await rows.fetchval("SELECT cron || ' ' || zone FROM job WHERE name = 'autobudan'") == "15 3 * * * UTC"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("run", "autobudna"), "job_unknown (job)"),
        (("pause", "archive"), "job_unknown (job)"),
        (("history", "nothing"), "job_unknown (job)"),
        (("history", "--limit", "0"), "limit_out_of_range (limit)"),
        (("show", "77"), "run_not_found (run)"),
        (("set", "autobudan"), "nothing_to_change (cron)"),
        (("set", "autobudan", "--cron", "0 0 30 2 *"), "cron_never_fires (cron)"),
        (("set", "autobudan", "--cron", "at night"), "cron_malformed (cron)"),
        (("set", "autobudan", "--zone", "Mars"), "zone_unknown (zone)"),
        (("run", "autobudan", "--order", "12"), "order_no_malformed (order)"),
        (("run", "autobudan", "--merchant", "99"), "merchant_not_found (merchant)"),
        (("run", "autobudan", "--since", "yesterday"), "time_malformed (since)"),
        (("run", "autobudan", "--since", "2026-01-01T00:00:00"), "time_malformed (since)"),
        (("run", "autobudan", "--since", "2090-01-01T00:00:00Z"), "time_range_in_future (since)"),
        (("run", "autobudan", "--order", "1", "--merchant", "2"), "job_arguments_conflict (order)"),
    ],
)
async def test_nonsense_is_refused_as_wrong_use_and_changes_nothing(
    stage: Stage, typist: Typist, rows: Rows, arguments: tuple[str, ...], code: str
) -> None:
    refused = await typist.type("jobs", *arguments)
    assert refused.code == 2
    assert f"budan: refused: {code}" in refused.err
    assert await rows.fetchval("SELECT count(*) FROM job_run") == 0
    assert await rows.fetchval("SELECT cron FROM job WHERE name = 'autobudan'") in {None, "*/30 * * * *"}


async def test_the_report_is_printed_and_a_missing_one_refused(stage: Stage, typist: Typist) -> None:
    refused = await typist.type("jobs", "report")
    assert (refused.code, "report_not_found (run)" in refused.err) == (2, True)
    async with job_worker(stage):
        run = await typist.json("jobs", "run", "budan", "--wait")
    text = await typist.type("jobs", "report")
    assert "Every order is where it should be." in text.out
    page = await typist.type("jobs", "report", str(run["run"]), "--html")
    assert page.out.startswith("<!doctype html>")
    assert "no mail is set up" in (await typist.type("jobs", "list")).err
