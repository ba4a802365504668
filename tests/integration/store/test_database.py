import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from budan.core.errors import Refused, StoreUnavailable
from budan.store.database import Database, RowsFailed
from budan.store.leases import worker_gone, worker_seen
from integration.flows.standing import PATIENT, Till, open_till


@pytest.fixture
async def till(database_dsn: str) -> AsyncIterator[Till]:
    async with open_till(database_dsn, **PATIENT) as opened:
        yield opened


async def fail(database: Database, error: BaseException) -> None:
    async with database.transaction():
        raise error


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.DeadlockDetectedError("40P01"),
        asyncpg.LockNotAvailableError("55P03"),
        asyncpg.QueryCanceledError("57014"),
        asyncpg.SerializationError("40001"),
        asyncpg.CheckViolationError("23514"),
        asyncpg.UniqueViolationError("23505"),
        asyncpg.CharacterNotInRepertoireError("22021"),
        asyncpg.DataCorruptedError("XX001"),
        asyncpg.IndexCorruptedError("XX002"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_may_lie_in_one_row_is_answered_by_halving(till: Till, error: Exception) -> None:
    with pytest.raises(RowsFailed):
        await fail(till.database, error)


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(),
        TimeoutError(),
        asyncpg.AdminShutdownError("57P01"),
        asyncpg.ConnectionDoesNotExistError("08003"),
        asyncpg.TooManyConnectionsError("53300"),
        asyncpg.DiskFullError("53100"),
        asyncpg.ReadOnlySQLTransactionError("25006"),
        asyncpg.IdleInTransactionSessionTimeoutError("25P03"),
        asyncpg.PostgresIOError("58030"),
        asyncpg.InternalServerError("XX000"),
        asyncpg.InsufficientPrivilegeError("42501"),
        asyncpg.InterfaceError("closed"),
        asyncpg.InternalClientError("another operation is in progress"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_database_that_went_away_is_said_to_be(till: Till, error: Exception) -> None:
    with pytest.raises(StoreUnavailable):
        await fail(till.database, error)


@pytest.mark.parametrize("error", [Refused("order_expired"), AssertionError(), asyncio.CancelledError()], ids=repr)
async def test_what_our_own_code_raises_passes_and_nothing_is_kept(till: Till, error: BaseException) -> None:
    with pytest.raises(type(error)):
        await fail(till.database, error)
    states = """
        SELECT DISTINCT state FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'budan'
    """
    assert await till.rows(states) == [("idle",)]


async def test_a_single_statement_is_committed_with_itself_and_allows_no_second(till: Till) -> None:
    """It has no transaction around it: a second would be on the disk where the first is not, or the other way round."""
    async with till.database.statement() as transaction:
        await worker_seen(transaction, worker="alone", living_s=5.0)
        assert await till.rows("SELECT id FROM worker") == [("alone",)]
        with pytest.raises(AssertionError):
            await worker_gone(transaction, worker="alone")
    assert await till.rows("SELECT id FROM worker") == [("alone",)]


@pytest.mark.invariant("I1")
async def test_a_caller_who_is_cancelled_waits_for_a_commit_that_is_under_way(till: Till) -> None:
    """Whoever gives up in the middle of it would not know whether it is on the disk."""
    await till.outside.execute(
        """
        CREATE TABLE gate (held boolean);
        INSERT INTO gate VALUES (true);
        CREATE FUNCTION wait_at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN PERFORM 1 FROM gate FOR UPDATE; RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER waits AFTER INSERT ON query_due DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION wait_at_commit();
        """
    )
    async with till.outside.transaction():
        await till.outside.execute("SELECT 1 FROM gate FOR UPDATE")
        standing = asyncio.create_task(till.stand())
        await till.waiting_on_lock()
        standing.cancel()
        done, _ = await asyncio.wait([standing], timeout=0.05)
        assert not done
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(standing, timeout=20)
    assert await till.count("orders") == 1
