"""The entry point: `budan` and its commands."""

from importlib import import_module
from typing import Final

import click

from budan.cli.frame import exit_codes

# Where each command is: only the one that runs is imported, for what `serve` stands on takes a second to load.
_MODULES: Final = {
    "up": "up",
    "serve": "serving",
    "worker": "working",
    "sandbox": "playing",
    "demo": "proving",
    "bench": "proving",
    "prove": "proving",
    "db": "setting_up",
    "config": "setting_up",
    "merchant": "setting_up",
    "key": "setting_up",
    "channel": "channel",
    "rate": "rates",
    "orders": "orders",
    "notices": "notices",
    "remedies": "notices",
    "ledger": "ledger",
    "reconcile": "reconciling",
    "jobs": "jobs",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        assert ctx.command is self
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        assert ctx.command is self
        if cmd_name not in _MODULES:
            return None
        found: object = getattr(import_module(f"budan.cli.{_MODULES[cmd_name]}"), cmd_name)
        assert isinstance(found, click.Command)
        return found


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="budan")
def root() -> None:
    """Payment orders that are completed exactly once, whatever breaks.

    Exit codes: 0 well; 1 a promise is broken, the database is away, or a program of ours does not run; 2 wrong use or
    settings.
    """


def main() -> None:
    """Run the command line."""
    with exit_codes():
        root()


if __name__ == "__main__":
    main()
