"""Nobody can write down that they are away; whoever comes back does, so that no channel is blamed for our own absence."""

import asyncio
from datetime import timedelta

import asyncpg
import pytest
from structlog.testing import capture_logs

from budan.core.errors import StoreUnavailable
from budan.core.gap import GapCause, Role
from budan.flows import healths, ids, presence
from budan.flows.presence import AWAY_FROM_S, Presence
from budan.store.database import Database
from budan.telemetry import metrics
from integration.cuttable import cuttable
from integration.workers.watching import when
from integration.workers.working import SteppedClock
from stage import Stage

AWAY_S = AWAY_FROM_S * 12


async def put_back(rows: asyncpg.Connection, *, by_s: float = AWAY_S) -> None:
    """Whoever was last here was it so long ago."""
    await rows.execute("UPDATE presence SET seen_at = seen_at - make_interval(secs => $1)", by_s)


async def written(rows: asyncpg.Connection) -> list[tuple[str, str, timedelta]]:
    found = await rows.fetch("SELECT role, cause, ended_at - began_at AS lasted FROM outage ORDER BY began_at")
    return [(row["role"], row["cause"], row["lasted"]) for row in found]


async def test_the_first_who_comes_back_writes_down_since_when_nobody_was_there(
    stage: Stage, rows: asyncpg.Connection
) -> None:
    """All of them come back in the same moment after a machine's restart, and that is one outage."""
    processes = [Presence(database=stage.opened.database, role=Role.SERVE) for _ in range(8)]
    await Presence(database=stage.opened.database, role=Role.WORKER).see()
    await asyncio.gather(*(process.see() for process in processes))
    assert await written(rows) == []
    await put_back(rows)
    await asyncio.gather(*(process.see() for process in processes))
    ((role, cause, lasted),) = await written(rows)
    assert (role, cause) == ("serve", "we_were_down")
    assert timedelta(seconds=AWAY_S) <= lasted < timedelta(seconds=AWAY_S * 2)


async def test_what_keeps_a_process_going_counts_and_survives_what_nobody_foresaw(
    stage: Stage, rows: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each runs beside the whole process: an error that ended one once ended them all."""
    for module, name in ((presence, "SEEN_EVERY_S"), (ids, "RENEW_EVERY_S"), (healths, "FOLD_EVERY_S")):
        monkeypatch.setattr(module, name, 0.02)
    source = ids.IdSource(database=stage.database, clock=stage.opened.clock)
    await source.start()
    keepers = {
        "presence": Presence(database=stage.database, role=Role.SERVE),
        "id_lease": source,
        "account_health": healths.AccountHealths(database=stage.database, clock=stage.opened.clock),
    }
    tables = ("presence", "id_lease", "account_health")
    before = {work: _failures(work) for work in keepers}
    # Captured: a traceback with all its values takes a second to render.
    with capture_logs() as lines:
        async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(keeper.keep()) for keeper in keepers.values()]
            for table in tables:
                await rows.execute(f"ALTER TABLE {table} RENAME TO {table}_away")
            while any(_failures(work) < before[work] + 2 for work in keepers):
                await rows.execute("SELECT 1")
            for table in tables:
                await rows.execute(f"ALTER TABLE {table}_away RENAME TO {table}")
            await when(rows, "SELECT EXISTS (SELECT FROM presence WHERE role = 'serve')")
            for task in running:
                task.cancel()
    assert {line["error"].split(":")[0] for line in lines} == {"UndefinedTableError"}


async def test_ids_are_given_again_as_soon_as_the_database_is_back(
    database_dsn: str, rows: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A minute without it ends the lease; no order and no notice is taken until the lease is renewed."""
    monkeypatch.setattr(ids, "RENEW_EVERY_S", 0.02)
    monkeypatch.setattr(ids, "RETRY_EVERY_S", 0.02)
    clock = SteppedClock()
    async with cuttable(database_dsn) as (line, dsn), asyncio.TaskGroup() as tasks:
        database = await Database.connect(dsn)
        source = ids.IdSource(database=database, clock=clock)
        await source.start()
        line.cut()
        clock.monotonic += ids.LEASE_S
        before = _failures("id_lease")
        keeping = tasks.create_task(source.keep())
        await asyncio.sleep(0)
        # After the first renewal the usual time does not come again before the test is over.
        monkeypatch.setattr(ids, "RENEW_EVERY_S", 600)
        while _failures("id_lease") == before:
            await rows.execute("SELECT 1")
        with pytest.raises(StoreUnavailable):
            source.next()
        line.mend()
        async with asyncio.timeout(10):
            while not _gives_ids(source):
                await rows.execute("SELECT 1")
        keeping.cancel()
        await database.close()


async def test_a_process_whose_number_another_has_gives_no_ids_until_it_has_one_again(
    database_dsn: str, rows: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It learns by a renewal that its lease is lost; where no number is free it must not go on under the old one."""
    monkeypatch.setattr(ids, "RENEW_EVERY_S", 0.02)
    monkeypatch.setattr(ids, "RETRY_EVERY_S", 0.02)
    database = await Database.connect(database_dsn)
    source = ids.IdSource(database=database, clock=SteppedClock())
    await source.start()
    assert _gives_ids(source)
    await rows.execute("UPDATE id_lease SET holder = 'another', expires_at = clock_timestamp() + interval '1 hour'")
    keeping = asyncio.create_task(source.keep())
    async with asyncio.timeout(10):
        while _gives_ids(source):
            await rows.execute("SELECT 1")
        await rows.execute("UPDATE id_lease SET expires_at = clock_timestamp() - interval '1 hour'")
        while not _gives_ids(source):
            await rows.execute("SELECT 1")
    keeping.cancel()
    await database.close()


def _gives_ids(source: ids.IdSource) -> bool:
    try:
        return source.next() > 0
    except StoreUnavailable:
        return False


def _failures(work: str) -> float:
    return metrics.REGISTRY.get_sample_value("budan_turn_failures_total", {"work": work}) or 0.0


async def test_a_restart_is_no_outage(stage: Stage, rows: asyncpg.Connection) -> None:
    presence = Presence(database=stage.opened.database, role=Role.WORKER)
    await presence.see()
    await put_back(rows, by_s=AWAY_FROM_S / 2)
    await presence.see()
    assert await written(rows) == []


async def test_a_process_that_was_there_and_could_not_write_blames_the_database(
    rows: asyncpg.Connection, database_dsn: str
) -> None:
    async with cuttable(database_dsn) as (line, dsn):
        database = await Database.connect(dsn)
        try:
            presence = Presence(database=database, role=Role.SERVE)
            await presence.see()
            line.cut()
            with pytest.raises(StoreUnavailable):
                await presence.see()
            line.mend()
            await put_back(rows)
            await presence.see()
            await put_back(rows)
            await presence.see()
        finally:
            await database.close()
    # What was away the second time is another story: it had got through before.
    assert sorted(cause for _, cause, _ in await written(rows)) == [
        GapCause.DATABASE_AWAY.value,
        GapCause.WE_WERE_DOWN.value,
    ]
