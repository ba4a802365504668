"""Commands that run for long: serve, worker, sandbox."""

import asyncio
import signal
from pathlib import Path

import click
import uvloop

from budan.cli.frame import begin_process, database_dsn, with_settings
from budan.cli.settings import Settings
from budan.cli.wiring import open_database, open_flows, open_workers
from budan.core.errors import Refused
from budan.host.readiness import tell_ready
from budan.sandbox.serve import NotLoopback
from budan.sandbox.serve import run as run_sandbox
from budan.web.asgi import build_app
from budan.web.serve import serve as serve_http
from budan.workers.run import run_workers

_PROCESS = ("environment", "folder", "database", "public_url", "webhook_allow", "log_style", "log_level")


@click.command()
@with_settings(*_PROCESS, "listen", "sandbox_url")
def serve(*, settings: Settings) -> None:
    """Answer merchants, channels and payers over HTTP until SIGTERM. Several may share one address."""
    begin_process(settings, "serve")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    host, port = settings.listen
    wallet_url = settings.text("sandbox_url") or None
    async with open_database(settings, dsn=database_dsn(settings)) as opened, open_flows(opened) as flows:
        await serve_http(build_app(flows, wallet_url=wallet_url), host=host, port=port, on_ready=tell_ready)


@click.command()
@with_settings(*_PROCESS)
def worker(*, settings: Settings) -> None:
    """Ask channels, deliver webhooks and sweep what is left over, until SIGTERM. Run as many as you like."""
    begin_process(settings, "worker")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_work(settings))


async def _work(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with (
        open_database(settings, dsn=database_dsn(settings)) as opened,
        open_flows(opened) as flows,
        open_workers(opened, flows) as workers,
    ):
        tell_ready()
        await run_workers(workers, stop=stop)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65_535), default=8081, show_default=True, help="0 takes a free one.")
@click.option(
    "--time-scale", type=click.FloatRange(0.0001, 1), default=1.0, show_default=True, help="Of notice retries."
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of faults that come by probability.")
@click.option("--ready-file", type=click.Path(path_type=Path, dir_okay=False), default=None)
@with_settings("environment", "folder")
def sandbox(
    *,
    host: str,
    port: int,
    time_scale: float,
    seed: int,
    ready_file: Path | None,
    settings: Settings,
) -> None:
    """Play WeChat Pay and Alipay with wallets to tap and faults to tick. No money, never beside live accounts."""
    folder = settings.folder / "sandbox"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        run_sandbox(
            host=host,
            port=port,
            folder=folder,
            time_scale=time_scale,
            seed=seed,
            ready_file=ready_file,
            on_ready=tell_ready,
        )
    except NotLoopback as error:
        raise Refused(
            "host_not_loopback", param="host", detail="anybody who reaches the sandbox may pay in it"
        ) from error
