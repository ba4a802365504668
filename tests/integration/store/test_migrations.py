import asyncio
from pathlib import Path

import asyncpg
import pytest

from budan.cli.settings import load_settings
from budan.cli.wiring import open_database
from budan.core.errors import Refused, StoreUnavailable
from budan.core.numbers import Environment
from budan.store import upgrade as runner
from budan.store.queries import query
from budan.store.upgrade import Migration, all_migrations, upgrade
from integration.flows.standing import until


async def fetch(dsn: str, statement: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(dsn)
    try:
        return [tuple(row) for row in await connection.fetch(statement)]
    finally:
        await connection.close()


async def execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture
def further(monkeypatch: pytest.MonkeyPatch) -> list[Migration]:
    """Migrations that come after the shipped ones, as a later version would bring them."""
    added: list[Migration] = []
    shipped = all_migrations()
    monkeypatch.setattr(runner, "all_migrations", lambda: [*shipped, *added])
    return added


async def test_a_first_upgrade_runs_every_file_once_and_says_so(empty_database_dsn: str) -> None:
    names = [migration.name for migration in all_migrations()]
    assert await upgrade(dsn=empty_database_dsn, environment=Environment.TEST) == names
    assert await upgrade(dsn=empty_database_dsn, environment=Environment.TEST) == []
    assert await fetch(empty_database_dsn, "SELECT name, checksum FROM schema_migration ORDER BY name") == [
        (migration.name, migration.checksum) for migration in all_migrations()
    ]
    assert await fetch(empty_database_dsn, "SELECT environment, lanes FROM installation") == [("test", 64)]
    assert await fetch(empty_database_dsn, "SELECT count(*) FROM lane_lease") == [(64,)]


async def test_runners_at_once_run_each_file_once(empty_database_dsn: str) -> None:
    """Four machines start the new version in the same second."""
    ran = await asyncio.gather(*(upgrade(dsn=empty_database_dsn, environment=Environment.LOCAL) for _ in range(4)))
    assert sorted(name for names in ran for name in names) == [migration.name for migration in all_migrations()]
    assert await fetch(empty_database_dsn, "SELECT count(*) FROM installation") == [(1,)]


async def test_two_first_runners_that_both_miss_the_table_go_on(empty_database_dsn: str) -> None:
    other, watching = [await asyncpg.connect(empty_database_dsn) for _ in range(2)]
    statement = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    try:
        async with other.transaction():
            await other.execute(query("migration_table_make").sql)
            running = asyncio.create_task(upgrade(dsn=empty_database_dsn, environment=Environment.LOCAL))
            await until(watching, statement, is_so=lambda count: count > 0)
        assert len(await asyncio.wait_for(running, timeout=20)) == len(all_migrations())
    finally:
        await other.close()
        await watching.close()


async def test_a_file_that_was_changed_after_it_ran_is_refused(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = [Migration(name=one.name, sql=one.sql + "\n-- later thought") for one in all_migrations()]
    monkeypatch.setattr(runner, "all_migrations", lambda: changed)
    with pytest.raises(Refused, match="migration_changed"):
        await upgrade(dsn=database_dsn, environment=Environment.LOCAL)


async def test_an_older_version_does_not_start_on_a_newer_database_and_leaves_it_as_it_is(
    database_dsn: str, further: list[Migration], tmp_path: Path
) -> None:
    """Forward only: what an older program does not know it does not write, and a paid order would lack it."""
    further.append(Migration(name="9000_further.pre.sql", sql="CREATE TABLE further (id integer PRIMARY KEY)"))
    assert await upgrade(dsn=database_dsn, environment=Environment.LOCAL) == ["9000_further.pre.sql"]
    further.clear()
    with pytest.raises(Refused, match="schema_newer"):
        await upgrade(dsn=database_dsn, environment=Environment.LOCAL)
    settings = load_settings({"folder": str(tmp_path), "environment": "local", "database": database_dsn}, environ={})
    with pytest.raises(Refused, match="schema_newer"):
        async with open_database(settings, dsn=database_dsn):
            pass
    assert await fetch(database_dsn, "SELECT count(*) FROM further") == [(0,)]


async def test_an_upgrade_is_refused_while_a_program_of_ours_runs_there(
    database_dsn: str, further: list[Migration]
) -> None:
    """An old program must not take orders on the new schema; one that has just ended keeps nobody waiting."""
    further.append(Migration(name="9000_further.pre.sql", sql="CREATE TABLE further (id integer PRIMARY KEY)"))
    running, watching = [await asyncpg.connect(database_dsn) for _ in range(2)]

    async def be_seen() -> None:
        while True:
            await running.execute(
                "INSERT INTO presence (role, seen_at) VALUES ('serve', clock_timestamp())"
                " ON CONFLICT (role) DO UPDATE SET seen_at = excluded.seen_at"
            )

    serve = asyncio.create_task(be_seen())
    try:
        await until(watching, "SELECT count(*) FROM presence", is_so=lambda count: count > 0)
        with pytest.raises(Refused, match="programs_running"):
            await upgrade(dsn=database_dsn, environment=Environment.LOCAL, look_again_s=0.1)
    finally:
        serve.cancel()
        await asyncio.wait([serve])
        await running.close()
        await watching.close()
    assert await fetch(database_dsn, "SELECT to_regclass('further') IS NULL") == [(True,)]
    assert await upgrade(dsn=database_dsn, environment=Environment.LOCAL, look_again_s=0.1) == ["9000_further.pre.sql"]


async def test_a_file_that_fails_leaves_nothing_of_itself(database_dsn: str, further: list[Migration]) -> None:
    further.append(Migration(name="9000_half.pre.sql", sql="CREATE TABLE half (id integer); SELECT 1 / 0"))
    with pytest.raises(asyncpg.DivisionByZeroError):
        await upgrade(dsn=database_dsn, environment=Environment.LOCAL)
    assert await fetch(database_dsn, "SELECT to_regclass('half') IS NULL") == [(True,)]
    assert await fetch(database_dsn, "SELECT count(*) FROM schema_migration WHERE name LIKE '9000%'") == [(0,)]


async def test_a_migration_waits_four_seconds_for_a_lock_and_works_as_long_as_its_rows_take(
    database_dsn: str, further: list[Migration]
) -> None:
    """It queues in front of every order that wants the same table; an index of a year's orders takes minutes."""
    sql = (
        "CREATE TABLE limits AS SELECT current_setting('lock_timeout') AS l, current_setting('statement_timeout') AS s"
    )
    further.append(Migration(name="9000_limits.pre.sql", sql=sql))
    begun: list[str] = []
    await upgrade(dsn=database_dsn, environment=Environment.LOCAL, on_begin=begun.append)
    assert await fetch(database_dsn, "SELECT l, s FROM limits") == [("4s", "30min")]
    assert begun == ["9000_limits.pre.sql"]


async def test_a_runner_that_cannot_get_its_lock_says_so_and_changes_nothing(
    database_dsn: str, further: list[Migration]
) -> None:
    further.append(Migration(name="9000_further.pre.sql", sql="ALTER TABLE merchant ADD COLUMN further integer"))
    holder = await asyncpg.connect(database_dsn)
    try:
        async with holder.transaction():
            await holder.execute("LOCK TABLE merchant IN ACCESS SHARE MODE")
            with pytest.raises(StoreUnavailable, match="lock timeout"):
                await upgrade(dsn=database_dsn, environment=Environment.LOCAL)
    finally:
        await holder.close()
    assert await upgrade(dsn=database_dsn, environment=Environment.LOCAL) == ["9000_further.pre.sql"]


async def test_a_database_that_is_away_is_said_to_be(postgres_server: object, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        await upgrade(dsn=f"postgresql://budan@/budan?host={tmp_path}", environment=Environment.LOCAL)


@pytest.mark.invariant("I13")
@pytest.mark.parametrize("environment", [Environment.TEST, Environment.LIVE])
async def test_an_upgrade_of_another_environments_database_is_refused(
    database_dsn: str, environment: Environment
) -> None:
    with pytest.raises(Refused, match="environment_mismatch"):
        await upgrade(dsn=database_dsn, environment=environment)
    assert await fetch(database_dsn, "SELECT environment FROM installation") == [("local",)]


@pytest.mark.invariant("I13")
async def test_an_upgrade_of_another_environments_database_changes_nothing(
    database_dsn: str, further: list[Migration]
) -> None:
    further.append(Migration(name="9000_further.pre.sql", sql="CREATE TABLE further (id integer PRIMARY KEY)"))
    with pytest.raises(Refused, match="environment_mismatch"):
        await upgrade(dsn=database_dsn, environment=Environment.LIVE)
    assert await fetch(database_dsn, "SELECT to_regclass('further') IS NULL") == [(True,)]


async def test_the_number_of_lanes_is_fixed_when_the_database_is_made(database_dsn: str) -> None:
    with pytest.raises(Refused, match="lanes_mismatch"):
        await upgrade(dsn=database_dsn, environment=Environment.LOCAL, lanes=16)


@pytest.mark.invariant("I13")
async def test_nothing_opens_a_database_of_another_environment(database_dsn: str, tmp_path: Path) -> None:
    settings = load_settings({"folder": str(tmp_path), "environment": "live", "database": database_dsn}, environ={})
    with pytest.raises(Refused, match="environment_mismatch"):
        async with open_database(settings, dsn=database_dsn):
            pass
