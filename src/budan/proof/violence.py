"""Kills, pauses and cuts: what happens to the programs of an instance while it works."""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from budan.proof.instance import Instance
from budan.proof.queries import query
from budan.proof.records import CONNECT_S_MAX, wait_for
from budan.proof.skewed import STOPPED

BACK_S_MAX: Final = 60.0
# The database is down this long on purpose, besides what its recovery takes.
DATABASE_DOWN_S: Final = (0.1, 1.5)
CUT_DATABASE: Final = "cut connections"
CRASH_DATABASE: Final = "crash of the database"
END_DATABASE: Final = "immediate shutdown of the database"
_CONNECTIONS_CUT: Final = query("prove_connections_cut")


class Clocks:
    """The wrong clocks of some programs, which can be moved while they run."""

    def __init__(self, instance: Instance, *, names: Sequence[str]) -> None:
        self._instance = instance
        self._files = {name: instance.folder / f"clock-{name}" for name in names}

    def shift(self, name: str, *, by_s: float) -> None:
        """The program's clock is wrong by so much from now on."""
        self._say(name, str(by_s))

    def stop_clock(self, name: str, *, behind_s: float) -> None:
        """The program's clock stands still from now on, so far behind."""
        self._say(name, f"{STOPPED}{time.time() - behind_s}")

    def _say(self, name: str, text: str) -> None:
        # Renamed, so that a program that reads it meanwhile reads one of the two whole.
        written = self._files[name].with_suffix(".new")
        written.write_text(text, "ascii")
        written.rename(self._files[name])

    async def start(self) -> None:
        """All of them run anew, by their wrong clocks."""
        await asyncio.gather(*(self._instance.stop(name) for name in self._files))
        await asyncio.gather(*(self._instance.start_skewed(name, file) for name, file in self._files.items()))

    @asynccontextmanager
    async def resting(self, name: str) -> AsyncGenerator[None]:
        """Inside, this one does not run."""
        await self._instance.stop(name)
        try:
            yield
        finally:
            await self._instance.start_skewed(name, self._files[name])


class Violence:
    """What is done to an instance, and how often; programs that ended otherwise are accidents."""

    def __init__(self, instance: Instance, *, tell: Callable[[str], None]) -> None:
        self._instance = instance
        self._tell = tell
        self._killed: Counter[str] = Counter()
        self._exits_before = len(instance.exits)
        self._database_was_down = False
        self.kills = 0

    @property
    def accidents(self) -> list[str]:
        """Programs that ended without our doing; one that starts while there is no database says so with 1."""
        ended = Counter(
            exit_.name
            for exit_ in self._instance.exits[self._exits_before :]
            if not (exit_.code == 1 and self._database_was_down)
        )
        return [f"{name} ended by itself" for name, count in ended.items() if count > self._killed[name]]

    async def kill(self, name: str) -> None:
        """SIGKILL; the supervisor brings the program back."""
        pid = self._instance.supervisor.pids().get(name)
        if pid is None:
            return
        self._killed[name] += 1
        self.kills += 1
        self._tell(f"SIGKILL of {name}")
        os.kill(pid, signal.SIGKILL)

    async def kill_and_wait(self, name: str) -> None:
        """SIGKILL, and the program runs again when this returns; one that was killed just before is waited for first."""
        before = await wait_for(self._find_pid(name), what=f"{name} to be there", timeout_s=BACK_S_MAX)
        await self.kill(name)

        async def look() -> bool | None:
            return True if self._instance.supervisor.pids().get(name, before) != before else None

        await wait_for(look, what=f"{name} to be brought back", timeout_s=BACK_S_MAX)

    def _find_pid(self, name: str) -> Callable[[], Awaitable[int | None]]:
        async def look() -> int | None:
            return self._instance.supervisor.pids().get(name)

        return look

    @asynccontextmanager
    async def paused(self, name: str) -> AsyncGenerator[None]:
        """Inside, the program does not run; afterwards it goes on as if no time had passed."""
        pid = self._instance.supervisor.pids()[name]
        self._tell(f"{name} is paused")
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)
            self._tell(f"{name} goes on")

    @asynccontextmanager
    async def skewed(self, shifts_s: Mapping[str, float]) -> AsyncGenerator[Clocks]:
        """Inside, these programs run with clocks that are wrong by so much; they are stopped and started in order."""
        clocks = Clocks(self._instance, names=tuple(shifts_s))
        for name, by_s in shifts_s.items():
            clocks.shift(name, by_s=by_s)
        self._tell(f"clocks are wrong: {', '.join(f'{name} {by_s:+.0f} s' for name, by_s in shifts_s.items())}")
        await clocks.start()
        try:
            yield clocks
        finally:
            await asyncio.gather(*(self._instance.stop(name) for name in shifts_s))
            await asyncio.gather(*(self._instance.start(name) for name in shifts_s))

    @asynccontextmanager
    async def stopped(self, *names: str) -> AsyncGenerator[None]:
        """Inside, these programs do not run; they are stopped in order and started anew."""
        self._tell(f"stopped: {', '.join(names)}")
        await asyncio.gather(*(self._instance.stop(name) for name in names))
        try:
            yield
        finally:
            await asyncio.gather(*(self._instance.start(name) for name in names))
            self._tell(f"started: {', '.join(names)}")

    @asynccontextmanager
    async def database_down(self, *, crashed: bool) -> AsyncGenerator[None]:
        """Inside, there is no database; afterwards it has recovered."""
        server = self._instance.server
        assert server is not None, "a proof brings its own database"
        self._tell(CRASH_DATABASE if crashed else END_DATABASE)
        self.kills += 1
        self._database_was_down = True
        await (server.crash() if crashed else server.end_at_once())
        try:
            yield
        finally:
            await server.start()
            self._tell("the database is back")

    async def cut_connections(self) -> None:
        """Every session of budan's at the database is ended from the database's side."""
        self._tell(CUT_DATABASE)
        self.kills += 1
        connection = await asyncpg.connect(self._instance.dsn, timeout=CONNECT_S_MAX, command_timeout=CONNECT_S_MAX)
        try:
            await connection.fetchval(_CONNECTIONS_CUT)
        finally:
            connection.terminate()

    async def go_on(self, *, every_s: float, seed: int, stop: asyncio.Event) -> None:
        """One act of violence after another, drawn from the seed, until `stop`; what was taken away is given back.

        At least one, whenever `stop` comes: a run that is over sooner was not spared.
        """
        chance = random.Random(f"{seed}/violence")  # noqa: S311 - a seeded run is the purpose
        acts = [*sorted(self._instance.programs), CUT_DATABASE, CRASH_DATABASE, END_DATABASE]
        before = self.kills
        while not await _is_set_within(stop, every_s * chance.uniform(0.7, 1.3)) or self.kills == before:
            act, down_s = chance.choice(acts), chance.uniform(*DATABASE_DOWN_S)
            if act == CUT_DATABASE:
                await self.cut_connections()
            elif act in {CRASH_DATABASE, END_DATABASE}:
                async with self.database_down(crashed=act == CRASH_DATABASE):
                    await asyncio.sleep(down_s)
            else:
                await self.kill(act)


async def _is_set_within(event: asyncio.Event, wait_s: float) -> bool:
    try:
        async with asyncio.timeout(wait_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
