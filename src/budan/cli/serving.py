"""The command that answers over HTTP: serve."""

import asyncio
from contextlib import AsyncExitStack

import click
import uvloop

from budan.cli.frame import begin_role, database_dsn, listening, tell_built, with_settings
from budan.cli.settings import PROCESS_SETTINGS, Settings
from budan.cli.wiring import be_present, open_database, open_flows, watch_fleet
from budan.core.gap import Role
from budan.host.stall import end_if_stalled
from budan.web.asgi import build_app
from budan.web.serve import listen_at, serve_on


@click.command()
@with_settings(*PROCESS_SETTINGS, "listen", "trusted_proxies", "sandbox_url")
def serve(*, settings: Settings) -> None:
    """Answer merchants, channels and payers over HTTP until SIGTERM. Several may share one address."""
    begin_role(settings, "serve")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    host, port = settings.listen
    wallet_url = settings.text("sandbox_url") or None
    async with (
        AsyncExitStack() as stack,
        open_database(settings, dsn=database_dsn(settings)) as opened,
        open_flows(opened) as flows,
        be_present(opened, Role.SERVE),
        watch_fleet(opened),
    ):
        stack.enter_context(end_if_stalled())
        app = build_app(flows, wallet_url=wallet_url)
        with listening("listen", host=host, port=port):
            listener = listen_at(host=host, port=port, is_shared=True)
        await serve_on(app, listener=listener, on_ready=tell_built, trusted_proxies=settings.trusted_proxies)
