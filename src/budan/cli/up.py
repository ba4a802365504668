"""`budan up`: everything on one machine, with an embedded PostgreSQL."""

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Final

import click

from budan.cli.frame import OUT, database_dsn, run_async, with_settings
from budan.cli.sandbox_account import add_sandbox_account
from budan.cli.setting_up import show_merchant
from budan.cli.settings import Settings, load_settings
from budan.cli.wiring import build_account_desk, build_administration, open_database
from budan.core.numbers import Environment
from budan.flows.administering import MerchantWish
from budan.host import embedded
from budan.host.errors import DatabaseNotStarted
from budan.host.supervisor import Exit, OnExit, Program, Supervisor, supervise
from budan.store.upgrade import upgrade

READY_S_MAX: Final = 30.0
DATABASE_RESTART_DELAY_S: Final = 1.0
DATABASE_LOG_LOOK_EVERY_S: Final = 60.0
SANDBOX_PORT_DEFAULT: Final = 8081
DEMO_RATES_BP: Final = {"wechat_v3": 60, "alipay": 55}
# Who made the demo shop, as what is set up keeps it.
DEMO_BY: Final = "budan up"


@click.command()
@click.option("--serve-processes", type=click.IntRange(1, 64), default=1, show_default=True)
@click.option("--worker-processes", type=click.IntRange(1, 64), default=1, show_default=True)
@click.option("--webhook", default=None, help="Where the demo shop of an empty database takes webhooks.")
@with_settings(
    "environment",
    "folder",
    "database",
    "listen",
    "trusted_proxies",
    "public_url",
    "webhook_allow",
    "sandbox_url",
    "smtp_url",
    "mail_from",
    "mail_to",
    "log_style",
    "log_level",
)
def up(*, serve_processes: int, worker_processes: int, webhook: str | None, settings: Settings) -> None:
    """Run everything here until Ctrl-C: database, serve, worker and, in the local environment, the sandbox.

    An empty local database gets a demo shop once; its API key is printed once.
    """
    run_async(_up(settings, serve_processes=serve_processes, worker_processes=worker_processes, webhook=webhook))


async def _up(settings: Settings, *, serve_processes: int, worker_processes: int, webhook: str | None) -> None:
    began_s = monotonic()

    def progress(line: str) -> None:
        OUT.print(f"{monotonic() - began_s:6.2f} s  {line}")

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with _database(settings, progress=progress, stop=stop) as dsn:
        await upgrade(dsn=dsn, environment=settings.environment, on_begin=lambda name: progress(f"database: {name}"))
        settings = _with_database(settings, dsn)
        async with supervise(on_line=_forward, on_exit=_report) as supervisor:
            if settings.environment is Environment.LOCAL:
                await _start_sandbox(supervisor, settings)
                progress(f"sandbox: {settings.text('sandbox_url')}/wallet")
                await _add_demo_shop(settings, webhook=webhook)
            await asyncio.gather(
                *(_start(supervisor, settings, "serve", index) for index in range(serve_processes)),
                *(_start(supervisor, settings, "worker", index) for index in range(worker_processes)),
            )
            progress(f"ready: {settings.public_url}/docs")
            await stop.wait()
            progress("stopping")


@asynccontextmanager
async def _database(settings: Settings, *, progress: embedded.Progress, stop: asyncio.Event) -> AsyncGenerator[str]:
    """The DSN of the settings, or an embedded server that is brought back when it crashes."""
    if settings.text("database"):
        yield settings.text("database")
        return
    folder = settings.folder / "postgres"
    server = await asyncio.to_thread(embedded.start, folder=folder, durable=True, progress=progress)
    progress("database: takes connections")
    async with asyncio.TaskGroup() as tasks:
        keepers = (
            tasks.create_task(_keep_database(server, folder, progress=progress, stop=stop)),
            tasks.create_task(_bound_database_log(folder)),
        )
        try:
            yield server.dsn
        finally:
            for keeper in keepers:
                keeper.cancel()


async def _bound_database_log(folder: Path) -> None:
    while True:
        await asyncio.sleep(DATABASE_LOG_LOOK_EVERY_S)
        await asyncio.to_thread(embedded.bound_log, folder)


async def _keep_database(
    server: embedded.RunningPostgres,
    folder: Path,
    *,
    progress: embedded.Progress,
    stop: asyncio.Event,
) -> None:
    """Start the server again after a crash; the DSN stays, so clients reconnect. Stops it at the end."""
    try:
        while True:
            code = await server.wait_ended()
            if stop.is_set():
                return
            progress(f"database: ended with {code}, starting again")
            await asyncio.sleep(DATABASE_RESTART_DELAY_S)
            try:
                server = await asyncio.to_thread(embedded.start, folder=folder, durable=True, progress=progress)
            except DatabaseNotStarted as error:
                progress(f"database: {error}")
    finally:
        await asyncio.to_thread(server.stop)


def _with_database(settings: Settings, dsn: str) -> Settings:
    """The settings that children and this process go on with."""
    texts = {name: value.text for name, value in settings.values.items()}
    sandbox_url = texts["sandbox_url"] or f"http://127.0.0.1:{SANDBOX_PORT_DEFAULT}"
    return load_settings({**texts, "database": dsn, "sandbox_url": sandbox_url}, environ={})


def _child_environment(settings: Settings) -> dict[str, str]:
    return {f"BUDAN_{name.upper()}": value.text for name, value in settings.values.items()}


async def _start(supervisor: Supervisor, settings: Settings, command: str, index: int) -> None:
    program = Program(
        name=f"{command}-{index + 1}",
        argv=(sys.executable, "-m", "budan.cli.main", command),
        environment=_child_environment(settings),
        on_exit=OnExit.RESTART,
        tells_ready=True,
    )
    await supervisor.start(program, ready_s_max=READY_S_MAX)


async def _start_sandbox(supervisor: Supervisor, settings: Settings) -> None:
    port = settings.text("sandbox_url").rstrip("/").rpartition(":")[2]
    program = Program(
        name="sandbox",
        argv=(sys.executable, "-m", "budan.cli.main", "sandbox", "--port", port),
        environment=_child_environment(settings),
        on_exit=OnExit.RESTART,
        tells_ready=True,
    )
    await supervisor.start(program, ready_s_max=READY_S_MAX)


async def _add_demo_shop(settings: Settings, *, webhook: str | None) -> None:
    """On an empty database: two sandbox accounts and a shop, once."""
    async with open_database(settings, dsn=database_dsn(settings)) as opened:
        administration, desk = build_administration(opened), build_account_desk(opened)
        if await administration.list_merchants():
            return
        account_ids = [
            (
                await add_sandbox_account(
                    desk,
                    settings.text("sandbox_url"),
                    channel=channel,
                    name=f"sandbox {channel}",
                    by=DEMO_BY,
                )
            )[0]
            for channel in DEMO_RATES_BP
        ]
        wish = MerchantWish(
            name="Demo shop",
            webhook_url=webhook,
            account_ids=tuple(account_ids),
            rates_bp=DEMO_RATES_BP,
            with_key=True,
            with_shop=True,
        )
        (added,) = await administration.add_merchants([wish], by=DEMO_BY)
    OUT.print("A demo shop was made. Its secrets are shown this once:")
    for name, value in show_merchant(added, public_url=settings.public_url).items():
        OUT.print(f"  {name}: {value}")


def _forward(name: str, line: str) -> None:
    OUT.print(f"[{name}] {line}")


def _report(exit_: Exit) -> None:
    again = "" if exit_.restart_delay_s is None else f", again in {exit_.restart_delay_s:g} s"
    OUT.print(f"[{exit_.name}] ended with {exit_.code} after {exit_.ran_s:.1f} s{again}")
