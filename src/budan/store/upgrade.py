"""Forward-only migrations: one transaction per file, checksums, one runner at a time."""

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from importlib.resources import files
from typing import Final

import asyncpg

from budan.core.errors import Refused, StoreUnavailable
from budan.core.numbers import LANES_MAX, Environment
from budan.store.database import Transaction
from budan.store.partitions import PARTITIONED, WEEKS_AHEAD
from budan.store.queries import query

_FILE = re.compile(r"^(?P<number>\d{4})_[a-z0-9_]+\.(pre|post)\.sql$")

_MIGRATION_TABLE_MAKE = query("migration_table_make")
_MIGRATION_LOCK = query("migration_lock")
_MIGRATION_LIST = query("migration_list")
_MIGRATION_ADD = query("migration_add")
_MIGRATION_LIMITS = query("migration_limits")
_INSTALLATION_ADD = query("installation_add")
_INSTALLATION_FIND = query("installation_find")
_LEASES_FILL = query("leases_fill")
_PARTITIONS_MAKE = query("partitions_make")
_PRESENCE_LIST_SEEN = query("presence_list_seen")

# A program of ours is seen each second: whoever was seen so lately may still run, and is looked at once more so much later.
SEEN_LATELY_S: Final = 5.0
LOOK_AGAIN_S: Final = 2.5

# They end when whoever holds a lock ends, or the server is back.
_PASSING_ERRORS = (
    OSError,
    TimeoutError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.DeadlockDetectedError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One file of migrations/."""

    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, in hex."""
        return sha256(self.sql.encode()).hexdigest()


def all_migrations() -> list[Migration]:
    """Every migration in order."""
    folder = files("budan.store").joinpath("migrations")
    found = [
        Migration(name=path.name, sql=path.read_text(encoding="utf-8"))
        for path in folder.iterdir()
        if _FILE.match(path.name)
    ]
    return sorted(found, key=lambda migration: migration.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaGap:
    """Files of this version that have not run on a database, and files that ran there and that this version has not."""

    missing: list[str]
    unknown: list[str]


async def compare_schema(transaction: Transaction) -> SchemaGap:
    """What lies between this version and the database; an old program does not know what it must write into a newer one."""
    return _gap({row["name"] for row in await transaction.many(_MIGRATION_LIST)})


def _gap(applied: set[str]) -> SchemaGap:
    shipped = [migration.name for migration in all_migrations()]
    return SchemaGap(
        missing=[name for name in shipped if name not in applied], unknown=sorted(applied.difference(shipped))
    )


async def upgrade(
    *,
    dsn: str,
    environment: Environment,
    lanes: int = LANES_MAX,
    may_run_beside: bool = False,
    look_again_s: float = LOOK_AGAIN_S,
    on_begin: Callable[[str], None] = lambda _name: None,
) -> list[str]:
    """Bring a database to this version and say which files ran; safe to repeat and to race.

    `on_begin` hears each file's name before it runs: on a large database one may take minutes, 30 at most a statement.

    Raises `Refused`, before anything is changed in it: `environment_mismatch` or `lanes_mismatch` when the database
    belongs to another installation's settings (I13), `schema_newer` when a later version has upgraded it, and
    `programs_running` when there is something to run and, unless `may_run_beside`, a serve or worker is seen at work.
    `migration_changed` when an applied file differs. `StoreUnavailable` when it is away or something in it is held for
    too long: try again.
    """
    try:
        connection = await asyncpg.connect(dsn, timeout=10)
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise StoreUnavailable(str(error)) from error
    try:
        await connection.execute(_MIGRATION_LIMITS.sql)
        await _refuse_foreign(connection, environment=environment, lanes=lanes)
        await _make_table(connection)
        gap = _gap({row["name"] for row in await connection.fetch(_MIGRATION_LIST.sql)})
        if gap.unknown:
            raise Refused("schema_newer", param="database", detail=f"a later version ran {gap.unknown[-1]}")
        if gap.missing and not may_run_beside:
            await _refuse_running(connection, look_again_s=look_again_s)
        ran = [migration.name for migration in all_migrations() if await _apply(connection, migration, on_begin)]
        await _settle(connection, environment=environment, lanes=lanes)
    except _PASSING_ERRORS as error:
        raise StoreUnavailable(f"{type(error).__name__}: {error}") from error
    finally:
        await connection.close()
    return ran


async def _refuse_foreign(
    connection: "asyncpg.Connection[asyncpg.Record]",
    *,
    environment: Environment,
    lanes: int,
) -> None:
    """Nothing is refused before the first upgrade: the database is nobody's yet."""
    try:
        row = await connection.fetchrow(_INSTALLATION_FIND.sql)
    except asyncpg.UndefinedTableError:
        return
    if row is None:
        return
    if row["environment"] != environment.value:
        raise Refused("environment_mismatch", param="environment", detail=f"the database is {row['environment']}")
    if row["lanes"] != lanes:
        raise Refused("lanes_mismatch", param="lanes", detail=f"the database has {row['lanes']}")


async def _refuse_running(connection: "asyncpg.Connection[asyncpg.Record]", *, look_again_s: float) -> None:
    """A program of the old version must not take orders on the new schema; one that has just ended is seen no more."""
    before = await _list_seen(connection)
    if not before:
        return
    await asyncio.sleep(look_again_s)
    running = [role for role, seen_at in (await _list_seen(connection)).items() if seen_at != before.get(role)]
    if running:
        raise Refused(
            "programs_running", param="database", detail=f"{' and '.join(running)} runs on it: end it first, or --force"
        )


async def _list_seen(connection: "asyncpg.Connection[asyncpg.Record]") -> dict[str, datetime]:
    try:
        rows = await connection.fetch(_PRESENCE_LIST_SEEN.sql, SEEN_LATELY_S)
    except asyncpg.UndefinedTableError:
        # A database of before 0035, or of nobody yet: who runs there cannot be seen.
        return {}
    return {row["role"]: row["seen_at"] for row in rows}


async def _make_table(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    # IF NOT EXISTS does not see what another first runner has not committed yet, waits for it, and then fails.
    with suppress(asyncpg.UniqueViolationError, asyncpg.DuplicateTableError, asyncpg.DuplicateObjectError):
        await connection.execute(_MIGRATION_TABLE_MAKE.sql)


async def _apply(
    connection: "asyncpg.Connection[asyncpg.Record]", migration: Migration, on_begin: Callable[[str], None]
) -> bool:
    """Run one file in one transaction unless it ran; the table lock keeps a second runner waiting."""
    async with connection.transaction():
        await connection.execute(_MIGRATION_LOCK.sql)
        applied = {row["name"]: row["checksum"] for row in await connection.fetch(_MIGRATION_LIST.sql)}
        if migration.name in applied:
            if applied[migration.name] != migration.checksum:
                raise Refused("migration_changed", detail=migration.name)
            return False
        on_begin(migration.name)
        await connection.execute(migration.sql)
        await connection.execute(_MIGRATION_ADD.sql, migration.name, migration.checksum)
    return True


async def _settle(
    connection: "asyncpg.Connection[asyncpg.Record]",
    *,
    environment: Environment,
    lanes: int,
) -> None:
    """Say once whose database this is, and make what every start needs."""
    async with connection.transaction():
        await connection.execute(_INSTALLATION_ADD.sql, environment.value, lanes)
        # Of two first runners with different settings one was too late.
        await _refuse_foreign(connection, environment=environment, lanes=lanes)
        await connection.execute(_LEASES_FILL.sql, lanes)
    for table in PARTITIONED:
        for week in WEEKS_AHEAD:
            await connection.execute(_PARTITIONS_MAKE.sql, table, week)
