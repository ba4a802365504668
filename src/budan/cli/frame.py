"""What every command shares: settings from flags, JSON or text out, errors as exit codes."""

import asyncio
import functools
import getpass
import os
import sys
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, Final, ParamSpec, TypeVar, cast

import click
import msgspec
from rich.console import Console

from budan.cli.settings import SETTINGS, Settings, load_settings
from budan.core.errors import Refused, StoreUnavailable
from budan.host import embedded
from budan.host.errors import DatabaseNotStarted
from budan.host.memory import spare_what_is_built
from budan.host.readiness import tell_ready
from budan.host.supervisor import ProgramFailed
from budan.telemetry import metrics
from budan.telemetry.log import configure_logging

EXIT_BROKEN: Final = 1
EXIT_WRONG_USE: Final = 2

# rich honours NO_COLOR and a pipe by itself. What we print is others' text too, a channel's or a merchant's: brackets and
# colons in it are no markup and no emoji.
OUT: Final = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
ERR: Final = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)

P = ParamSpec("P")
R = TypeVar("R")


def with_settings(*names: str) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Adds a flag for each named setting to a command and gives it all settings as `settings`."""
    known = {setting.name: setting for setting in SETTINGS}

    def decorate(command: Callable[..., R]) -> Callable[..., R]:
        @functools.wraps(command)
        def run(*arguments: Any, **options: Any) -> R:
            flags = {name: options.pop(f"setting_{name}") for name in names}
            return command(*arguments, settings=load_settings(flags), **options)

        for name in reversed(names):
            flag = f"--{name.replace('_', '-')}"
            text = f"{known[name].purpose} [env BUDAN_{name.upper()}]"
            run = click.option(flag, f"setting_{name}", default=None, help=text)(run)
        return run

    return decorate


def json_option(command: Callable[P, R]) -> Callable[P, R]:
    """Adds `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(command)


def by_option(command: Callable[P, R]) -> Callable[P, R]:
    """Adds `--by`, which is kept with what the command does; nobody checks it."""
    told = "Your name, recorded as given; the one that you are logged in by where absent."
    return click.option("--by", default=_login, help=told)(command)


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"uid {os.getuid()}"


def print_json(value: object) -> None:
    """One line of JSON on stdout."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


def run_async(work: Coroutine[None, None, R]) -> R:
    """Run a command's work to its end; what it refuses is told by `exit_codes`."""
    return asyncio.run(work)


@contextmanager
def exit_codes() -> Generator[None]:
    """Refusals end as wrong use (2), a database or a program of ours that is away as a broken promise (1).

    Each with one clear line.
    """
    try:
        yield
    except* Refused as group:
        for refused in _leaves(group):
            assert isinstance(refused, Refused)
            named = f" ({refused.param})" if refused.param else ""
            ERR.print(f"budan: refused: {refused.code}{named} {refused.detail}".rstrip(), style="red")
        raise SystemExit(EXIT_WRONG_USE) from None
    except* (StoreUnavailable, DatabaseNotStarted, ProgramFailed) as group:
        for error in _leaves(group):
            ERR.print(f"budan: {error}", style="red")
        raise SystemExit(EXIT_BROKEN) from None


@contextmanager
def listening(setting: str, *, host: str, port: int) -> Generator[None]:
    """Where nobody can listen, the setting that says so is refused: `address_unusable`."""
    try:
        yield
    except OSError as error:
        detail = f"cannot listen at {host}:{port}: {error.strerror or error}"
        raise Refused("address_unusable", param=setting, detail=detail) from error


def begin_role(settings: Settings, role: str) -> None:
    """Logging of a long-running process; it refuses to run without its assertions."""
    if not __debug__:
        raise Refused("assertions_off", param="-O", detail="budan's assertions guard money")
    style, level = settings.text("log_style"), settings.text("log_level")
    if style not in {"console", "json"}:
        raise Refused("setting_malformed", param="log_style", detail="console or json")
    if level not in {"debug", "info", "warning", "error"}:
        raise Refused("setting_malformed", param="log_level", detail="debug, info, warning or error")
    metrics.BUILD.info({"version": version("budan"), "part": role})
    configure_logging(style=style, level=level, role=role, stream=sys.stderr)  # pyright: ignore[reportArgumentType] - checked above


def tell_built() -> None:
    """A long-running process is built and takes work from now on: its supervisor hears it."""
    spare_what_is_built()
    tell_ready()


def database_dsn(settings: Settings) -> str:
    """The DSN of the settings, or of the embedded server that `budan up` runs on this machine.

    Raises `Refused` with `database_unknown` where there is neither, `StoreUnavailable` where that server is away.
    """
    folder = settings.folder / "postgres"
    dsn = settings.text("database") or embedded.find_running_dsn(folder)
    if not dsn and embedded.has_cluster(folder):
        raise StoreUnavailable(f"the PostgreSQL in {folder} does not run: budan up starts it")
    if not dsn:
        raise Refused("database_unknown", param="database", detail="set BUDAN_DATABASE, or run: budan up")
    return dsn


def _leaves(group: ExceptionGroup[Exception]) -> list[Exception]:
    found: list[Exception] = []
    for error in group.exceptions:
        if isinstance(error, ExceptionGroup):
            found.extend(_leaves(cast("ExceptionGroup[Exception]", error)))
        else:
            found.append(error)
    return found
