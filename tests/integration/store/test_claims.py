import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from budan.core.numbers import Lane, MerchantId, OrderId
from budan.store import intake
from budan.store.database import Database
from budan.store.rows import Claim, ClaimOutcome
from integration.flows.standing import PATIENT, Till, connect, open_till

LANE, MERCHANT = Lane(3), MerchantId(9)
HASHES = {"enable_nestloop": "off", "enable_hashjoin": "on", "enable_seqscan": "on"}


def a_claim(order_id: int, reference: str, key: str | None) -> Claim:
    return Claim(
        lane=LANE,
        merchant_id=MERCHANT,
        order_id=OrderId(order_id),
        reference=reference,
        idempotency_key=key,
        request_digest=bytes(32),
    )


@pytest.fixture
async def till(database_dsn: str) -> AsyncIterator[Till]:
    async with open_till(database_dsn, **PATIENT) as opened:
        yield opened


@asynccontextmanager
async def another_planner(dsn: str) -> AsyncIterator[Database]:
    database = await connect(dsn, **PATIENT, **HASHES)
    try:
        yield database
    finally:
        await database.close()


async def claim(database: Database, claims: Sequence[Claim]) -> dict[OrderId, ClaimOutcome]:
    async with database.transaction() as transaction:
        return await intake.claim(transaction, claims)


@asynccontextmanager
async def reference_held(till: Till, reference: str) -> AsyncIterator[None]:
    """Somebody else is about to take this reference, and lets it go in the end."""
    holding = till.outside.transaction()
    await holding.start()
    await till.outside.execute(
        "INSERT INTO order_reference (lane, merchant_id, reference, order_id) VALUES ($1, $2, $3, 1)",
        LANE,
        MERCHANT,
        reference,
    )
    try:
        yield
    finally:
        await holding.rollback()


async def waiting(till: Till, sessions: int) -> None:
    await till.until(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        is_so=lambda count: count == sessions,
    )


async def test_two_batches_with_the_same_references_under_other_keys_do_not_deadlock(till: Till) -> None:
    """A merchant who repeats orders under new keys must not make other merchants' batches wait for a deadlock's end."""
    first = [a_claim(10, "r2", "a1"), a_claim(11, "m", "a2"), a_claim(12, "r1", "a3")]
    second = [a_claim(20, "r1", "b1"), a_claim(21, "m", "b2"), a_claim(22, "r2", "b3")]
    async with reference_held(till, "m"):
        claiming = [asyncio.create_task(claim(till.database, claims)) for claims in (first, second)]
        await waiting(till, 2)
    outcomes = await asyncio.gather(*claiming)
    won = [{outcome.reference_claimed for outcome in one.values()} for one in outcomes]
    assert sorted(won, key=repr) == [{False}, {True}]


async def test_two_copies_of_a_request_claimed_by_two_plans_do_not_deadlock(till: Till) -> None:
    """Whatever joins the planner likes: keys are claimed before references."""
    async with another_planner(till.dsn) as hashing:
        async with reference_held(till, "m"):
            first = asyncio.create_task(claim(till.database, [a_claim(10, "m", "a"), a_claim(11, "r", "k")]))
            await waiting(till, 1)
            second = asyncio.create_task(claim(hashing, [a_claim(20, "r", "k")]))
            await waiting(till, 2)
        outcomes = await asyncio.gather(first, second)
    assert [[one.key_claimed for one in outcome.values()] for outcome in outcomes] == [[True, True], [False]]
    assert [[one.reference_claimed for one in outcome.values()] for outcome in outcomes] == [[True, True], [False]]


async def test_of_equal_requests_in_one_batch_one_gets_all_its_claims(till: Till) -> None:
    outcomes = await claim(till.database, [a_claim(number, "r", "k") for number in range(1, 51)])
    won = [order_id for order_id, outcome in outcomes.items() if outcome.key_claimed]
    assert len(won) == 1
    assert [order_id for order_id, outcome in outcomes.items() if outcome.reference_claimed] == won
