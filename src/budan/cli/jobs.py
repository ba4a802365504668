"""Commands of the job centre: jobs list, run, history, show, pause, resume, set."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

import click
import msgspec
from rich.table import Table

from budan.cli.frame import ERR, EXIT_BROKEN, OUT, database_dsn, json_option, print_json, run_async, with_settings
from budan.cli.settings import STORE_SETTINGS, Settings
from budan.cli.wiring import PLANS, build_job_desk, open_database
from budan.core.errors import Refused
from budan.flows.job import RunArguments
from budan.flows.job_desk import CentreView, JobDesk, JobView
from budan.flows.job_runs import JobRuns
from budan.store.audit import Report
from budan.store.jobs import LineRow, RunRow

_JOB_SETTINGS: Final = (*STORE_SETTINGS, "smtp_url", "mail_from", "mail_to")
FOLLOW_EVERY_S: Final = 0.5
ENDED: Final = frozenset({"succeeded", "failed", "missed"})


@click.group()
def jobs() -> None:
    """What runs by the clock: see it, run it now, pause it."""


@jobs.command("list")
@with_settings(*_JOB_SETTINGS)
@json_option
def jobs_list(*, settings: Settings, as_json: bool) -> None:
    """Every job and every continuous loop, with what is due there."""
    view = run_async(_show(settings))
    if as_json:
        mail = {"set_up": view.mails, "waiting": view.waiting_mail.waiting, "error": view.waiting_mail.error}
        listed = {"jobs": [_job(job) for job in view.jobs], "loops": list(view.loops)}
        print_json(listed | {"workers": view.workers, "mail": mail})
        return
    _print_jobs(view)
    _warn(view)


@jobs.command("run")
@click.argument("name", metavar="JOB")
@click.option("--order", "order_no", default=None, help="One order, by its number.")
@click.option("--merchant", "merchant_id", type=int, default=None, help="One merchant's orders.")
@click.option(
    "--since", default=None, help="Orders made (reconcile: bills of days) from this moment on, RFC 3339 with a zone."
)
@click.option("--until", default=None, help="Orders made before this moment (reconcile: bills through its day).")
@click.option("--wait", is_flag=True, help="Follow the run to its end; exit 1 when it fails.")
@with_settings(*_JOB_SETTINGS)
@json_option
def jobs_run(
    *,
    name: str,
    order_no: str | None,
    merchant_id: int | None,
    since: str | None,
    until: str | None,
    wait: bool,
    settings: Settings,
    as_json: bool,
) -> None:
    """Make a run of a job due now, of all it covers or of what the options name. A worker takes it up."""
    arguments = RunArguments(
        order_no=order_no,
        merchant_id=merchant_id,
        since=_parse_moment("since", since),
        until=_parse_moment("until", until),
    )
    row = run_async(_order_run(settings, name, arguments, wait=wait))
    if as_json:
        print_json(_run(row))
    else:
        OUT.print(f"run {row.id} of {row.job}: {row.state} {_progress_text(row.progress)}".rstrip())
    if row.state == "failed":
        raise SystemExit(EXIT_BROKEN)


@jobs.command("history")
@click.argument("name", metavar="[JOB]", required=False)
@click.option("--limit", type=int, default=20, show_default=True)
@with_settings(*_JOB_SETTINGS)
@json_option
def jobs_history(*, name: str | None, limit: int, settings: Settings, as_json: bool) -> None:
    """Runs, newest first; of one job or of all."""

    async def read() -> list[RunRow]:
        async with open_job_desk(settings) as desk:
            return await desk.list_runs(name, rows_max=limit)

    rows = run_async(read())
    if as_json:
        print_json({"runs": [_run(row) for row in rows]})
        return
    table = Table("run", "job", "slot", "by", "state", "began", "ended", "progress", "error")
    for row in rows:
        times = (_moment_text(row.started_at), _moment_text(row.finished_at))
        progress = _progress_text(row.progress)
        table.add_row(str(row.id), row.job, _moment_text(row.slot), row.trigger, row.state, *times, progress, row.error)
    OUT.print(table)


@jobs.command("show")
@click.argument("run_id", metavar="RUN", type=int)
@with_settings(*_JOB_SETTINGS)
@json_option
def jobs_show(*, run_id: int, settings: Settings, as_json: bool) -> None:
    """One run with what it said."""

    async def read() -> tuple[RunRow, list[LineRow]]:
        async with open_job_desk(settings) as desk:
            return await desk.get_run(run_id)

    row, lines = run_async(read())
    if as_json:
        print_json(_run(row) | {"lines": lines})
        return
    for field, value in _run(row).items():
        OUT.print(f"{field}: {value}")
    for line in lines:
        OUT.print(f"{_moment_text(line.said_at)} {line.level}: {line.line}")


@jobs.command("report")
@click.argument("run_id", metavar="[RUN]", type=int, required=False)
@click.option("--html", is_flag=True, help="The page instead of the text.")
@with_settings(*_JOB_SETTINGS)
@json_option
def jobs_report(*, run_id: int | None, html: bool, settings: Settings, as_json: bool) -> None:
    """The nightly report, the newest or that of a run."""

    async def read() -> Report:
        async with open_job_desk(settings) as desk:
            return await desk.get_report(run_id)

    report = run_async(read())
    if as_json:
        print_json(report)
    else:
        click.echo(report.html if html else report.text)


@jobs.command("pause")
@click.argument("name", metavar="JOB")
@with_settings(*_JOB_SETTINGS)
@json_option
def jobs_pause(*, name: str, settings: Settings, as_json: bool) -> None:
    """Stop planning runs of a job. A run that is under way goes on to its end."""
    _set_enabled(settings, name, enabled=False, as_json=as_json)


@jobs.command("resume")
@click.argument("name", metavar="JOB")
@with_settings(*_JOB_SETTINGS)
@json_option
def jobs_resume(*, name: str, settings: Settings, as_json: bool) -> None:
    """Plan runs of a job again, from its next slot on."""
    _set_enabled(settings, name, enabled=True, as_json=as_json)


@jobs.command("set")
@click.argument("name", metavar="JOB")
@click.option("--cron", default=None, help="minute hour day month weekday, such as '*/30 * * * *'.")
@click.option("--zone", default=None, help="Whose wall clock cron reads, such as Asia/Shanghai.")
@with_settings(*_JOB_SETTINGS)
@json_option
def jobs_set(*, name: str, cron: str | None, zone: str | None, settings: Settings, as_json: bool) -> None:
    """Change when a job runs."""

    async def change() -> datetime:
        async with open_job_desk(settings) as desk:
            return await desk.set_cron(name, cron=cron, zone=zone)

    next_at = run_async(change())
    if as_json:
        print_json({"job": name, "next_at": next_at})
    else:
        OUT.print(f"{name}: next at {_moment_text(next_at)}")


@asynccontextmanager
async def open_job_desk(settings: Settings) -> AsyncGenerator[JobDesk]:
    """The desk on the settings' database, with the shipped jobs in it."""
    async with open_database(settings, dsn=database_dsn(settings)) as opened:
        await JobRuns(database=opened.database, plans={plan.name: plan for plan in PLANS}).register()
        yield build_job_desk(opened)


async def _show(settings: Settings) -> CentreView:
    async with open_job_desk(settings) as desk:
        return await desk.show()


async def _order_run(settings: Settings, name: str, arguments: RunArguments, *, wait: bool) -> RunRow:
    async with open_job_desk(settings) as desk:
        run_id = await desk.order_run(name, arguments)
        if not (await desk.show()).workers:
            ERR.print("no worker runs: it waits until one does", style="yellow")
        row, _ = await desk.get_run(run_id)
        told = ""
        while wait and row.state not in ENDED:
            await asyncio.sleep(FOLLOW_EVERY_S)
            row, _ = await desk.get_run(run_id)
            text = f"run {row.id}: {row.state} {_progress_text(row.progress)}"
            if text != told:
                ERR.print(text)
                told = text
        return row


def _set_enabled(settings: Settings, name: str, *, enabled: bool, as_json: bool) -> None:
    async def change() -> bool:
        async with open_job_desk(settings) as desk:
            return (await desk.set_enabled(name, enabled=enabled)).is_repair and not enabled

    is_recovery_off = run_async(change())
    if as_json:
        print_json({"job": name, "enabled": enabled, "recovery_off": is_recovery_off})
    else:
        OUT.print(f"{name}: {'on' if enabled else 'paused'}")
    if is_recovery_off:
        _warn_recovery_off(name)


def _warn(view: CentreView) -> None:
    for job in view.jobs:
        if job.is_recovery_off:
            _warn_recovery_off(job.plan.name)
        if job.overdue_s:
            ERR.print(f"{job.plan.name}: MISSED, no worker has planned it for {job.overdue_s:.0f} s", style="bold red")
    if not view.mails:
        ERR.print("no mail is set up: reports are kept (budan jobs report), and nobody is told", style="yellow")
    if view.waiting_mail.waiting:
        waiting = view.waiting_mail
        ERR.print(
            f"{waiting.waiting} mails wait, the oldest for {waiting.oldest_s:.0f} s: {waiting.error}",
            style="yellow",
        )
    if not view.workers:
        ERR.print("NO WORKER RUNS: nothing is asked, delivered or repaired", style="bold red")


def _warn_recovery_off(name: str) -> None:
    ERR.print(f"RECOVERY IS OFF: {name} is paused. Orders that it would find stay lost.", style="bold red")
    ERR.print(f"Turn it on again with: budan jobs resume {name}", style="bold red")


def _print_jobs(view: CentreView) -> None:
    table = Table("job", "on", "cron", "zone", "next", "last run", "progress", "what it does")
    for job in view.jobs:
        row = job.row
        state = "RECOVERY OFF" if job.is_recovery_off else "yes" if row.enabled else "paused"
        last = "" if row.run_state is None else f"{row.run_state} {_moment_text(row.run_slot)}"
        next_at = _moment_text(row.next_at) if row.enabled else ""
        progress = _progress_text(row.run_progress or "{}")
        table.add_row(job.plan.name, state, row.cron, row.zone, next_at, last, progress, job.plan.purpose)
    OUT.print(table)
    loops = Table("loop", "due", "oldest")
    for loop in view.loops:
        loops.add_row(loop.work, str(loop.rows_due), f"{loop.oldest_s:.1f} s")
    OUT.print(loops)


def _job(job: JobView) -> dict[str, object]:
    row = job.row
    last = None
    if row.run_id is not None:
        last = {
            "run": row.run_id,
            "slot": row.run_slot,
            "state": row.run_state,
            "started_at": row.run_started_at,
            "finished_at": row.run_finished_at,
            "progress": msgspec.json.decode(row.run_progress or "{}"),
        }
    return {
        "job": job.plan.name,
        "purpose": job.plan.purpose,
        "cron": row.cron,
        "zone": row.zone,
        "enabled": row.enabled,
        "recovery_off": job.is_recovery_off,
        "next_at": row.next_at if row.enabled else None,
        "overdue_s": round(job.overdue_s, 1),
        "last_run": last,
    }


def _run(row: RunRow) -> dict[str, object]:
    return {
        "run": row.id,
        "job": row.job,
        "slot": row.slot,
        "trigger": row.trigger,
        "arguments": msgspec.json.decode(row.arguments),
        "state": row.state,
        "failures": row.failures,
        "created_at": row.created_at,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "progress": msgspec.json.decode(row.progress),
        "error": row.error,
        "was_late": row.was_late,
        "was_long": row.was_long,
    }


def _parse_moment(param: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Refused("time_malformed", param=param, detail=f"{text}: like 2026-01-31T00:00:00+08:00") from error
    if moment.tzinfo is None:
        raise Refused("time_malformed", param=param, detail=f"{text}: without a zone it is anybody's guess")
    return moment.astimezone(UTC)


def _moment_text(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _progress_text(progress: str) -> str:
    counts = msgspec.json.decode(progress, type=dict[str, object])
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count)
