"""A line between two programs that a proof can cut, hold and slow down."""

import asyncio
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from enum import Enum, auto
from typing import Final

from budan.host.ports import LOOPBACK

_CHUNK_BYTES: Final = 64 * 1024
DIAL_S_MAX: Final = 5.0


class Passing(Enum):
    """What gets through. What is held is never passed on: its line breaks when the hold ends."""

    ALL = auto()
    REQUESTS_ONLY = auto()  # the far side hears, and its answers are held
    NOTHING = auto()  # the caller believes that it was heard
    BROKEN = auto()  # nobody is there


class Overheard:
    """What callers sent over a line while it was recorded."""

    def __init__(self) -> None:
        self._lines: dict[asyncio.StreamWriter, bytearray] = {}

    def add(self, line: asyncio.StreamWriter, chunk: bytes) -> None:
        """One more piece of what goes this way."""
        self._lines.setdefault(line, bytearray()).extend(chunk)

    def requests(self, start: bytes) -> list[bytes]:
        """The requests that begin so, each whole, of lines that carried nothing else."""
        return [start + rest for sent in self._lines.values() for rest in bytes(sent).split(start)[1:]]


class Held:
    """The requests that a link was told to hold, by their words."""

    def __init__(self, words: Sequence[bytes]) -> None:
        self._words = words
        self._text = bytearray()

    def names(self, word: str) -> bool:
        """Whether one of the held requests has this in it."""
        return word.encode() in self._text

    def forget(self) -> None:
        """From here on `names` is of what comes."""
        self._text.clear()

    def takes(self, chunk: bytes) -> bool:
        """Whether this is a piece of one; it is kept."""
        if not any(word in chunk for word in self._words):
            return False
        self._text += chunk
        return True


class Link:
    """Passes bytes on, unless a proof wants otherwise."""

    def __init__(self, *, far_port: int) -> None:
        self._far_port = far_port
        self._ends: set[asyncio.StreamWriter] = set()
        self._passing = Passing.ALL
        self._slow_s = 0.0
        self._overheard: Overheard | None = None
        self._held: Held | None = None
        self.connections: set[asyncio.Task[None]] = set()

    @contextmanager
    def passing(self, what: Passing) -> Generator[None]:
        """Inside, only this gets through; every line that was open then is broken when it ends."""
        self._passing = what
        if what is Passing.BROKEN:
            self.break_lines()
        try:
            yield
        finally:
            self.break_lines()
            self._passing = Passing.ALL

    @contextmanager
    def holding(self, *words: bytes) -> Generator[Held]:
        """Inside, requests with one of these words do not get through; all others do."""
        self._held = held = Held(words)
        try:
            yield held
        finally:
            self._held = None
            self.break_lines()

    @contextmanager
    def slowed(self, wait_s: float) -> Generator[None]:
        """Inside, every answer waits so long."""
        self._slow_s = wait_s
        try:
            yield
        finally:
            self._slow_s = 0.0

    @contextmanager
    def recording(self) -> Generator[Overheard]:
        """Inside, what callers send is kept besides being passed on."""
        self._overheard = overheard = Overheard()
        try:
            yield overheard
        finally:
            self._overheard = None

    def break_lines(self) -> None:
        """Every connection ends at once, on both sides."""
        for end in self._ends:
            end.transport.abort()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        task = asyncio.current_task()
        assert task is not None
        self.connections.add(task)
        try:
            await self._serve(reader, writer)
        finally:
            self.connections.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._passing is Passing.BROKEN:
            writer.transport.abort()
            return
        try:
            async with asyncio.timeout(DIAL_S_MAX):
                far_reader, far_writer = await asyncio.open_connection(LOOPBACK, self._far_port)
        except (OSError, TimeoutError):
            # Whoever called us sees what they would have seen: nobody is there.
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self._ends |= ends
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pass_on(reader, far_writer, is_answer=False))
                tasks.create_task(self._pass_on(far_reader, writer, is_answer=True))
        finally:
            self._ends -= ends

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool) -> None:
        try:
            while chunk := await reader.read(_CHUNK_BYTES):
                if is_answer and self._slow_s:
                    await asyncio.sleep(self._slow_s)
                if self._overheard is not None and not is_answer:
                    self._overheard.add(writer, chunk)
                if self._is_held(chunk, is_answer=is_answer):
                    continue
                writer.write(chunk)
                await writer.drain()
        except OSError:
            # A line that breaks on one side is broken on both.
            pass
        finally:
            # What was passed on arrives; then that side ends too.
            writer.close()

    def _is_held(self, chunk: bytes, *, is_answer: bool) -> bool:
        if self._held is not None and not is_answer and self._held.takes(chunk):
            return True
        return self._passing is Passing.NOTHING or (is_answer and self._passing is Passing.REQUESTS_ONLY)


@asynccontextmanager
async def open_link(*, near_port: int, far_port: int) -> AsyncGenerator[Link]:
    """A link from `near_port` to `far_port`, both on loopback; whoever holds the near port shares it with us."""
    link = Link(far_port=far_port)
    server = await asyncio.start_server(link.connected, LOOPBACK, near_port, reuse_port=True)
    try:
        yield link
    finally:
        server.close()
        link.break_lines()
        await asyncio.gather(*link.connections, return_exceptions=True)
