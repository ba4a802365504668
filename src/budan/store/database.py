"""The pool, and transactions whose commits nobody can cancel."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Generator, Iterable, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, cast

import asyncpg
from asyncpg.transaction import Transaction as Begun

from budan.core.errors import StoreUnavailable
from budan.store.queries import Query, Rows, query

STATEMENT_TIMEOUT_MS = 5_000
# No snapshot of 30 s on the primary (docs/design.md section 6); bulk reads go in ranges that end well before.
BULK_STATEMENT_TIMEOUT_MS = 25_000
# Short: a batch that waits for a row is rolled back and halved (docs/design.md section 3).
LOCK_TIMEOUT_MS = 1_000
ACQUIRE_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 10.0
BULK_COMMAND_TIMEOUT_S = 30.0
POOL_SIZE_MAX = 8

_CLOCK_READ = query("clock_read")


class RowsFailed(Exception):  # noqa: N818 - an outcome that the coalescer answers by halving
    """The statement failed for a reason that may lie in one row of the batch, or pass by itself."""


# Deadlock, lock time-out, cancelled by time-out, serialisation, every constraint (docs/design.md section 3), bad pages.
_ROW_ERRORS = (
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.SerializationError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.DataError,
    # One bad page is met by the rows that lie in it.
    asyncpg.DataCorruptedError,
    asyncpg.IndexCorruptedError,
)
# What says that the database serves nobody now, whatever the statement: none of it lies in a row.
_AWAY_ERRORS = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    # A pooled connection that the server has just ended and whose end the driver has not read to its end.
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.CannotConnectNowError,
    # A standby that nobody has promoted, or a disk so full that somebody made the database read-only.
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    # The server's disk or files (class 58), and what it found wrong in itself (class XX).
    asyncpg.PostgresSystemError,
    asyncpg.InternalServerError,
    # Rights are taken from the whole of us, and given back.
    asyncpg.InsufficientPrivilegeError,
)

Record = asyncpg.Record


class Workload(Enum):
    """What a pool's sessions are made for."""

    BY_KEY = "by_key"  # batches by primary key, as nearly all of budan
    BULK = "bulk"  # the books: sums over ranges of keys or of time


class Transaction:
    """Statements of one open transaction."""

    __slots__ = ("_connection",)

    def __init__(self, connection: "asyncpg.Connection[Record]") -> None:
        self._connection = connection

    def _next(self) -> "asyncpg.Connection[Record]":
        """The connection for one more statement."""
        return self._connection

    async def many(self, statement: Query, *arguments: object) -> list[Record]:
        """All rows of a `:many` query."""
        assert statement.rows is Rows.MANY, statement.name
        return await self._next().fetch(statement.sql, *arguments)

    async def maybe(self, statement: Query, *arguments: object) -> Record | None:
        """The row of a `:maybe` query, if there is one."""
        assert statement.rows is Rows.MAYBE, statement.name
        return await self._next().fetchrow(statement.sql, *arguments)

    async def one(self, statement: Query, *arguments: object) -> Record:
        """The row of a `:one` query."""
        assert statement.rows is Rows.ONE, statement.name
        row = await self._next().fetchrow(statement.sql, *arguments)
        assert row is not None, f"{statement.name} promised a row"
        return row

    async def none(self, statement: Query, *arguments: object) -> None:
        """Run a `:none` query."""
        assert statement.rows is Rows.NONE, statement.name
        await self._next().execute(statement.sql, *arguments)

    async def copy_out(self, statement: Query, path: Path, *arguments: object) -> None:
        """Write the rows of a `:many` query to a file as comma-separated values: none of them becomes one of Python's."""
        assert statement.rows is Rows.MANY, statement.name
        with path.open("wb") as stream:

            async def write(chunk: bytes) -> None:
                # Into the page cache: a thread for each chunk would cost more than the write.
                stream.write(chunk)

            await self._next().copy_from_query(statement.sql.rstrip(";"), *arguments, output=write, format="csv")

    async def clock(self) -> datetime:
        """The database's clock: the `now` of every decision."""
        row = await self.one(_CLOCK_READ)
        return cast("datetime", row["now"])


class _OneStatement(Transaction):
    """A transaction that PostgreSQL begins and commits with its only statement."""

    __slots__ = ("_is_over",)

    def __init__(self, connection: "asyncpg.Connection[Record]") -> None:
        super().__init__(connection)
        self._is_over = False

    def _next(self) -> "asyncpg.Connection[Record]":
        assert not self._is_over, "a second statement would be a second transaction"
        self._is_over = True
        return self._connection


class Database:
    """A pool of connections to one PostgreSQL."""

    def __init__(self, pool: "asyncpg.Pool[Record]") -> None:
        self._pool = pool

    @staticmethod
    async def connect(
        dsn: str,
        *,
        connections_max: int = POOL_SIZE_MAX,
        workload: Workload = Workload.BY_KEY,
    ) -> "Database":
        """Open the pool; raises `StoreUnavailable` when PostgreSQL is away."""
        session = _SESSIONS[workload]
        # The driver would log a page for each second without a server; whoever needs the database says so in a line.
        logging.getLogger("asyncpg.pool").setLevel(logging.ERROR)
        try:
            pool = await asyncpg.create_pool(
                dsn,
                min_size=1,
                max_size=connections_max,
                command_timeout=session.command_timeout_s,
                timeout=ACQUIRE_TIMEOUT_S,
                reset=_keep_session,
                server_settings=session.settings,
            )
        except (*_AWAY_ERRORS, asyncpg.PostgresError) as error:
            raise StoreUnavailable(f"{type(error).__name__}: {error}") from error
        return Database(pool)

    async def close(self) -> None:
        """Give the connections back; open statements get a moment to end."""
        try:
            async with asyncio.timeout(ACQUIRE_TIMEOUT_S):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Transaction]:
        """One transaction, committed at the end of the block.

        Raises `RowsFailed` where halving or a later try can help, `StoreUnavailable` where PostgreSQL is away. A
        cancelled caller waits for a commit that is under way: its outcome must be known (I1).
        """
        async with self._connected() as connection, _committed(connection, connection.transaction()) as transaction:
            yield transaction

    @asynccontextmanager
    async def statement(self) -> AsyncGenerator[Transaction]:
        """A transaction of one statement, which begins and commits with it: one round trip instead of three.

        Raises as `transaction` does. For what is safe to repeat: whoever is cancelled does not know whether it was done.
        """
        async with self._connected() as connection:
            yield _OneStatement(connection)

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[Transaction]:
        """A transaction of reads that nobody halves: whatever keeps it from answering is `StoreUnavailable`."""
        with _unhalved():
            async with self.transaction() as transaction:
                yield transaction

    @asynccontextmanager
    async def snapshot(self) -> AsyncGenerator[Transaction]:
        """As `reading`, where all statements see one moment: rows of several tables fit together, and none is locked."""
        with _unhalved():
            async with self._connected() as connection:
                begun = connection.transaction(isolation="repeatable_read", readonly=True)
                async with _committed(connection, begun) as transaction:
                    yield transaction

    @asynccontextmanager
    async def reading_statement(self) -> AsyncGenerator[Transaction]:
        """As `reading`, for a single statement."""
        with _unhalved():
            async with self.statement() as transaction:
                yield transaction

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator["asyncpg.Connection[Record]"]:
        """A connection of the pool, given back afterwards; what the server says of statements becomes our errors."""
        connection = await self._acquire()
        try:
            try:
                yield cast("asyncpg.Connection[Record]", connection)
            finally:
                # The driver shields it from cancellation itself.
                await self._pool.release(connection, timeout=ACQUIRE_TIMEOUT_S)
        except _ROW_ERRORS as error:
            raise RowsFailed(f"{type(error).__name__}: {error}") from error
        except _AWAY_ERRORS as error:
            raise StoreUnavailable(f"{type(error).__name__}: {error}") from error

    async def _acquire(self) -> "asyncpg.pool.PoolConnectionProxy[Record]":
        """A connection; whatever the server says against it is `StoreUnavailable`, also a wrong name or password."""
        try:
            # The driver's own time-out would make a task of each.
            async with asyncio.timeout(ACQUIRE_TIMEOUT_S):
                return await self._pool.acquire()
        except (*_AWAY_ERRORS, asyncpg.PostgresError) as error:
            raise StoreUnavailable(f"{type(error).__name__}: {error}") from error


@asynccontextmanager
async def _committed(connection: "asyncpg.Connection[Record]", begun: Begun) -> AsyncGenerator[Transaction]:
    """Begin, and commit at the end of the block or roll back; a cancelled caller waits for either."""
    await begun.start()
    try:
        yield Transaction(connection)
    except BaseException:
        await _uncancelled(begun.rollback())
        raise
    await _uncancelled(begun.commit())


@contextmanager
def _unhalved() -> Generator[None]:
    try:
        yield
    except RowsFailed as error:
        raise StoreUnavailable(str(error)) from error


# The hot statements join arrays to keys. On young partitions without statistics the planner would scan, and it would
# plan anew for each batch size; these settings hold it to the one nested loop over primary keys.
_SESSION_SETTINGS: dict[str, str] = {
    "application_name": "budan",
    "statement_timeout": str(STATEMENT_TIMEOUT_MS),
    "lock_timeout": str(LOCK_TIMEOUT_MS),
    "idle_in_transaction_session_timeout": "30000",
    "timezone": "UTC",
    "plan_cache_mode": "force_generic_plan",
    # A row read in vain must cost more than a step down an index: with the default PostgreSQL 15 reads whole lanes.
    "cpu_tuple_cost": "1",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    # On a partition that is still empty the planner would keep all rows of the lanes in memory and compare each.
    "enable_bitmapscan": "off",
    "enable_material": "off",
    "jit": "off",
}

# A sum over a day reads most of what it sees: the planner's own choice is right, made for the values at hand.
_BULK_SETTINGS: dict[str, str] = {
    "application_name": "budan books",
    "statement_timeout": str(BULK_STATEMENT_TIMEOUT_MS),
    "lock_timeout": str(LOCK_TIMEOUT_MS),
    "idle_in_transaction_session_timeout": "30000",
    "timezone": "UTC",
    "plan_cache_mode": "force_custom_plan",
    "jit": "off",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Session:
    settings: dict[str, str]
    command_timeout_s: float


_SESSIONS = {
    Workload.BY_KEY: _Session(settings=_SESSION_SETTINGS, command_timeout_s=COMMAND_TIMEOUT_S),
    Workload.BULK: _Session(settings=_BULK_SETTINGS, command_timeout_s=BULK_COMMAND_TIMEOUT_S),
}


async def _keep_session(_connection: Any) -> None:
    """No session state is ever set, so nothing is reset: this doubles throughput (docs/stack.md)."""


async def _uncancelled(awaitable: Any) -> None:
    """Wait for the end of `awaitable` even when the caller is cancelled meanwhile, then let the cancellation pass."""
    task = asyncio.ensure_future(awaitable)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            await asyncio.wait([task], timeout=COMMAND_TIMEOUT_S)
        raise


def columns(rows: Sequence[tuple[object, ...]], width: int) -> list[list[object]]:
    """Rows turned into `width` arrays for `unnest`."""
    if not rows:
        return [[] for _ in range(width)]
    turned = [list(column) for column in zip(*rows, strict=True)]
    assert len(turned) == width
    return turned


def sparse_columns(rows: Sequence[tuple[object, ...]], width: int) -> list[list[object]]:
    """As `columns`, with an empty array for a column that is NULL in every row: `unnest` fills up the shorter arrays.

    The driver looks at each element several times, and most columns of a usual batch have none. For arrays that one
    `unnest` takes together, whose first column is never NULL.
    """
    return [[] if column.count(None) == len(column) else column for column in columns(rows, width)]


def id_bounds(order_ids: Iterable[int]) -> tuple[int, int]:
    """The lowest and the highest of some order ids: by them a statement leaves out the partitions that hold none."""
    ids = list(order_ids)
    return (min(ids), max(ids)) if ids else (0, 0)
