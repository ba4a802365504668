"""The command that plays the channels: sandbox."""

from pathlib import Path

import click

from budan.cli.frame import tell_built, with_settings
from budan.cli.settings import Settings
from budan.core.errors import Refused
from budan.sandbox.journal import FolderInUse
from budan.sandbox.serve import CannotListen, NotLoopback
from budan.sandbox.serve import run as run_sandbox


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
    """Play WeChat Pay (v3, v2), Alipay, Swiftpass and iPaynow, with faults. No money, never beside live accounts."""
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
            on_ready=tell_built,
        )
    except NotLoopback as error:
        raise Refused(
            "host_not_loopback", param="host", detail="anybody who reaches the sandbox may pay in it"
        ) from error
    except CannotListen as error:
        raise Refused("address_unusable", param="port", detail=f"cannot listen at {error}") from error
    except FolderInUse as error:
        raise Refused("folder_in_use", param="folder", detail=f"another sandbox works in {error}") from error
