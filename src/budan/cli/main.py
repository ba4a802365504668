"""The entry point: `budan` and its commands."""

import click

from budan.cli.frame import exit_codes
from budan.cli.proving import bench, demo
from budan.cli.running import sandbox, serve, worker
from budan.cli.setting_up import channel, config, db, key, merchant, rate
from budan.cli.up import up


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="budan")
def root() -> None:
    """Payment orders that are completed exactly once, whatever breaks.

    Exit codes: 0 when all promises hold, 1 when one is broken, 2 on wrong use.
    """


for command in (up, serve, worker, sandbox, demo, bench, db, config, merchant, key, channel, rate):
    root.add_command(command)


def main() -> None:
    """Run the command line."""
    with exit_codes():
        root()


if __name__ == "__main__":
    main()
