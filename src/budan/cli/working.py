"""The command that does what is due: worker."""

import asyncio
import signal
from contextlib import AsyncExitStack

import click
import uvloop

from budan.cli.frame import begin_role, database_dsn, listening, tell_built, with_settings
from budan.cli.settings import PROCESS_SETTINGS, Settings
from budan.cli.wiring import be_present, open_database, open_flows, open_workers
from budan.core.gap import Role
from budan.host.stall import end_if_stalled
from budan.telemetry import metrics
from budan.workers.run import run_workers


@click.command()
@with_settings(*PROCESS_SETTINGS, "metrics_listen", "smtp_url", "mail_from", "mail_to")
def worker(*, settings: Settings) -> None:
    """Ask channels, end orders, send refunds, deliver webhooks and run the jobs, until SIGTERM.

    Run as many as you like.
    """
    begin_role(settings, "worker")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_work(settings))


async def _work(settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with (
        AsyncExitStack() as stack,
        open_database(settings, dsn=database_dsn(settings)) as opened,
        open_flows(opened) as flows,
        open_workers(opened, flows) as workers,
        be_present(opened, Role.WORKER),
    ):
        stack.enter_context(end_if_stalled())
        if settings.metrics_listen is not None:
            host, port = settings.metrics_listen
            with listening("metrics_listen", host=host, port=port):
                stack.callback(metrics.serve(host, port))
        tell_built()
        await run_workers(workers, stop=stop)
