"""A whole private platform: embedded database, sandbox, serve, worker, merchant; nothing is left of it afterwards."""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TextIO

import msgspec

from budan.host.errors import DatabaseNotStarted
from budan.host.ports import LOOPBACK, held_ports
from budan.host.supervisor import Exit, OnExit, Program, Supervisor, supervise
from budan.proof.link import Link, open_link
from budan.proof.merchant import WEBHOOK_PATH
from budan.proof.server import PrivateServer, start_server
from budan.proof.steps import CLI, CommandLine, open_command_line

Progress = Callable[[str], None]

READY_S_MAX: Final = 60.0
STEP_S_MAX: Final = 60.0
TAIL_LINES: Final = 4
RATES_BP: Final[Mapping[str, int]] = {"wechat_v3": 60, "alipay": 55, "swiftpass": 50, "ipaynow": 45, "wechat_v2": 58}
# What most merchants have: an account at both.
BOTH: Final = ("wechat_v3", "alipay")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How big an instance is, and how its sandbox behaves; `webhook_query` asks the merchant for misbehaviour.

    `linked` puts a line that can be cut before the channels, and one before us where channels and payers call. Besides
    `merchants`, who have accounts at both wallets, there is one with nothing but each of the channels in `alone`.
    """

    serves: int = 1
    workers: int = 1
    merchants: int = 1
    time_scale: float = 1.0
    seed: int = 1
    webhook_query: str = ""
    log_level: str = "warning"
    linked: bool = False
    alone: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """A merchant with its key, as the command line told them once."""

    merchant_id: int
    lane: int
    api_key: str = field(repr=False)
    shop_url: str = ""
    terminal_url: str = ""

    @property
    def headers(self) -> str:
        """The lines that authenticate a request."""
        return f"Authorization: Bearer {self.api_key}\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """The lines of a linked instance: from us to the channels, and from them and the payers to us."""

    to_channel: Link
    to_us: Link
    channel_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A running platform: addresses, the merchants' keys, and where its three records are.

    `api_url` is where budan listens, `public_url` where it says that it can be reached.
    """

    folder: Path
    dsn: str
    api_url: str
    public_url: str
    sandbox_url: str
    accounts: Mapping[str, int]
    shops: tuple[Shop, ...]
    # Merchants of one channel alone, by that channel.
    alone: Mapping[str, Shop]
    supervisor: Supervisor
    # Budan's own programs, by name: what a proof stops it starts again.
    programs: Mapping[str, Program]
    server: PrivateServer | None
    links: Links | None
    # Programs that ended by themselves; a proof that saw one says so.
    exits: list[Exit]

    @property
    def events_file(self) -> Path:
        """The merchants' own file of webhooks."""
        return self.folder / "merchant.jsonl"

    @property
    def truth_file(self) -> Path:
        """The sandbox's own file."""
        return self.folder / "sandbox" / "truth.jsonl"

    def pids(self) -> dict[str, int]:
        """Every program of the instance that runs now."""
        pid = None if self.server is None else self.server.pid
        database = {} if pid is None else {"postgres": pid}
        return database | self.supervisor.pids()

    async def stop(self, name: str) -> None:
        """One of budan's programs ends in order and is not brought back."""
        await self.supervisor.stop(name)

    async def start(self, name: str, more: Mapping[str, str] | None = None) -> None:
        """A program that was stopped runs again and is ready, with these variables besides its own.

        A PYTHONPATH among them goes before the program's own.
        """
        program = self.programs[name]
        environment = {**program.environment, **(more or {})}
        if more is not None and "PYTHONPATH" in more:
            own = program.environment.get("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, (more["PYTHONPATH"], own)))
        changed = replace(program, environment=environment)
        await self.supervisor.start(changed, ready_s_max=READY_S_MAX)

    async def start_skewed(self, name: str, clock_file: Path) -> None:
        """A program that was stopped runs again with a clock that is wrong by the seconds in this file."""
        program = self.programs[name]
        argv = (sys.executable, "-m", "budan.proof.skewed", str(clock_file), *program.argv[len(CLI) :])
        await self.supervisor.start(replace(program, argv=argv), ready_s_max=READY_S_MAX)


@contextmanager
def private_folder() -> Generator[Path]:
    """A fresh folder that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="budan-"))
    # As root the database runs unprivileged and must get through; it cannot list what is here.
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def starting_postgres(folder: Path, *, progress: Progress) -> AsyncGenerator["asyncio.Task[PrivateServer]"]:
    """An embedded server while it starts; shield it when you wait for it."""
    starting = asyncio.create_task(start_server(folder, progress=progress))
    try:
        yield starting
    finally:
        # A thread cannot be cancelled, so what it starts is waited for and stopped. Whoever shielded it got its error.
        with suppress(DatabaseNotStarted):
            server = await starting
            await server.close()


@asynccontextmanager
async def private_instance(
    *, folder: Path, dsn: str | None, shape: Shape, progress: Progress
) -> AsyncGenerator[Instance]:
    """A platform in `folder`, on `dsn` or a database of its own, that answers when this is entered.

    A program that crashes is brought back, and told of in `exits`. Leaving stops everything within 10 s.
    """
    exits: list[Exit] = []
    logs = _Logs(folder / "logs")

    def report(exit_: Exit) -> None:
        exits.append(exit_)
        # A program that was killed did not say why.
        said = "" if exit_.code == -signal.SIGKILL else f": {logs.tail(exit_.name)}"
        progress(f"{exit_.name} ended with {exit_.code} after {exit_.ran_s:.1f} s{said}")

    async with AsyncExitStack() as stack:
        stack.callback(logs.close)
        ports = _choose_ports([port.number for port in stack.enter_context(held_ports(_PORTS))], shape=shape)
        starting = None
        if dsn is None:
            starting = await stack.enter_async_context(starting_postgres(folder / "postgres", progress=progress))
        links = await stack.enter_async_context(_open_links(ports)) if shape.linked else None
        supervisor = await stack.enter_async_context(supervise(on_line=logs.write, on_exit=report))
        outside = _outside(folder, ports=ports, shape=shape)
        async with open_command_line() as commands, asyncio.TaskGroup() as tasks:
            standing = tasks.create_task(_start_all(supervisor, outside, progress=progress))
            server = None if starting is None else await asyncio.shield(starting)
            url = dsn if server is None else server.dsn
            assert url is not None
            environment = _environment(folder, dsn=url, ports=ports, shape=shape)
            inside = _inside(environment, shape=shape)
            await commands.run("db", "upgrade", environment=environment, timeout_s=STEP_S_MAX)
            progress("database: has its tables")
            tasks.create_task(_start_all(supervisor, inside, progress=progress))
            await standing
            accounts = await _add_accounts(commands, environment, channels=(*BOTH, *shape.alone), progress=progress)
            rows = await _add_shops(commands, environment, accounts=accounts, ports=ports, shape=shape)
            shops = _keep_secrets(folder, rows, progress=progress)
            alone = dict(zip(shape.alone, shops[shape.merchants :], strict=True))
        yield Instance(
            folder=folder,
            dsn=url,
            api_url=f"http://{LOOPBACK}:{ports.own}",
            public_url=f"http://{LOOPBACK}:{ports.public}",
            sandbox_url=f"http://{LOOPBACK}:{ports.sandbox}",
            accounts=accounts,
            shops=shops[: shape.merchants],
            alone=alone,
            supervisor=supervisor,
            programs={program.name: program for program in (*outside, *inside)},
            server=server,
            links=links,
            exits=exits,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ports:
    """`own` is where serve listens, `public` where others call; the two differ where a line can be cut."""

    own: int
    public: int
    sandbox: int
    merchant: int
    channel: int


_PORTS: Final = 5


def _choose_ports(numbers: list[int], *, shape: Shape) -> _Ports:
    own, public, sandbox, merchant, channel = numbers
    if not shape.linked:
        public, channel = own, sandbox
    return _Ports(own=own, public=public, sandbox=sandbox, merchant=merchant, channel=channel)


@asynccontextmanager
async def _open_links(ports: _Ports) -> AsyncGenerator[Links]:
    async with (
        open_link(near_port=ports.channel, far_port=ports.sandbox) as to_channel,
        open_link(near_port=ports.public, far_port=ports.own) as to_us,
    ):
        yield Links(to_channel=to_channel, to_us=to_us, channel_url=f"http://{LOOPBACK}:{ports.channel}")


class _Logs:
    """What the programs print, a file each."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._files: dict[str, TextIO] = {}

    def write(self, name: str, line: str) -> None:
        if name not in self._files:
            self._files[name] = (self._folder / f"{name}.log").open("a", encoding="utf-8", buffering=1)
        self._files[name].write(line + "\n")

    def tail(self, name: str) -> str:
        path = self._folder / f"{name}.log"
        lines = path.read_text("utf-8", "replace").splitlines() if path.exists() else []
        return " | ".join(lines[-TAIL_LINES:]) or "it printed nothing"

    def close(self) -> None:
        for file in self._files.values():
            file.close()


def _environment(folder: Path, *, dsn: str, ports: _Ports, shape: Shape) -> dict[str, str]:
    settings = {
        "environment": "local",
        "database": dsn,
        "folder": str(folder),
        "public_url": f"http://{LOOPBACK}:{ports.public}",
        "listen": f"{LOOPBACK}:{ports.own}",
        "webhook_allow": f"{LOOPBACK}:{ports.merchant}",
        "sandbox_url": f"http://{LOOPBACK}:{ports.sandbox}",
        "log_style": "json",
        "log_level": shape.log_level,
    }
    # Nothing of our caller's settings: a key of a real instance has no business here.
    theirs = {name: text for name, text in os.environ.items() if not name.startswith("BUDAN_")}
    return theirs | {f"BUDAN_{name.upper()}": text for name, text in settings.items()}


def _outside(folder: Path, *, ports: _Ports, shape: Shape) -> tuple[Program, ...]:
    """Those who stand outside of budan: the channels and the merchant."""
    sandbox_flags = ("--port", str(ports.sandbox), "--time-scale", str(shape.time_scale), "--seed", str(shape.seed))
    merchant_files = ("--events-file", str(folder / "merchant.jsonl"), "--secrets-file", str(folder / "merchant.json"))
    merchant_address = ("--listen", f"{LOOPBACK}:{ports.merchant}")
    return (
        _program(
            "sandbox",
            (*CLI, "sandbox", *sandbox_flags),
            environment={"BUDAN_ENVIRONMENT": "local", "BUDAN_FOLDER": str(folder)},
        ),
        _program(
            "merchant",
            (sys.executable, "-m", "budan.proof.merchant", *merchant_address, *merchant_files),
            environment={},
        ),
    )


def _inside(environment: Mapping[str, str], *, shape: Shape) -> tuple[Program, ...]:
    """Budan's own programs."""
    names = [("serve", number) for number in range(1, shape.serves + 1)]
    names += [("worker", number) for number in range(1, shape.workers + 1)]
    return tuple(_program(f"{command}-{number}", (*CLI, command), environment=environment) for command, number in names)


def _program(name: str, argv: tuple[str, ...], *, environment: Mapping[str, str]) -> Program:
    return Program(name=name, argv=argv, environment=environment, on_exit=OnExit.RESTART, tells_ready=True)


async def _start_all(supervisor: Supervisor, programs: Sequence[Program], *, progress: Progress) -> None:
    await asyncio.gather(*(_start(supervisor, program, progress=progress) for program in programs))


async def _start(supervisor: Supervisor, program: Program, *, progress: Progress) -> None:
    await supervisor.start(program, ready_s_max=READY_S_MAX)
    progress(f"{program.name}: ready")


async def _add_accounts(
    commands: CommandLine, environment: Mapping[str, str], *, channels: Sequence[str], progress: Progress
) -> dict[str, int]:
    accounts: dict[str, int] = {}
    for channel in channels:
        arguments = ("channel", "add", channel, "--sandbox", "--name", f"sandbox {channel}")
        added = await commands.run(*arguments, environment=environment, timeout_s=STEP_S_MAX)
        accounts[channel] = int(added["account_id"])
    progress(f"accounts at the sandbox: {', '.join(accounts)}")
    return accounts


async def _add_shops(
    commands: CommandLine,
    environment: Mapping[str, str],
    *,
    accounts: Mapping[str, int],
    ports: _Ports,
    shape: Shape,
) -> list[dict[str, Any]]:
    """The merchants as their command told them, those of one channel alone last."""
    query = f"?{shape.webhook_query}" if shape.webhook_query else ""
    webhook = f"http://{LOOPBACK}:{ports.merchant}{WEBHOOK_PATH}{query}"
    many = [f"Shop {number}" for number in range(1, shape.merchants + 1)]
    wanted = [(many, BOTH), *(([f"Shop of {channel}"], (channel,)) for channel in shape.alone)]
    rows: list[dict[str, Any]] = []
    for names, channels in wanted:
        flags = ["--webhook", webhook, "--with-key", "--with-shop"]
        for channel in channels:
            flags += ["--account", str(accounts[channel]), "--rate", f"{channel}={RATES_BP[channel]}"]
        added = await commands.run("merchant", "add", *names, *flags, environment=environment, timeout_s=STEP_S_MAX)
        rows += added["merchants"]
    return rows


def _keep_secrets(folder: Path, rows: Sequence[Mapping[str, Any]], *, progress: Progress) -> tuple[Shop, ...]:
    """The merchants, whose own program has the secrets of their webhooks from now on."""
    secrets = {str(row["merchant_id"]): row["webhook_secret"] for row in rows}
    (folder / "merchant.json").write_bytes(msgspec.json.encode(secrets))
    progress(f"merchants: {len(rows)}, each with a key, a shop and a secret of its own")
    return tuple(msgspec.convert(row, Shop) for row in rows)
