"""What processes see of an account is one row, and what it says changes every question of that account at once."""

import asyncio
from datetime import timedelta

import asyncpg
import pytest

from budan.core.errors import StoreUnavailable
from budan.core.evidence import Source
from budan.core.health import NoticeHealth, Sighting
from budan.core.numbers import AccountId
from budan.core.pace import COMING_AGES_S, is_sampled
from budan.flows.door import DoorItem
from budan.flows.healths import BELIEVED_S, AccountHealths
from budan.store.database import RowsFailed
from budan.workers.close import CLOSE_LIMITS
from budan.workers.in_flight import InFlight
from budan.workers.query import QUERY_LIMITS
from budan.workers.refund import REFUND_LIMITS
from budan.workers.run import channel_sweeps
from budan.workers.shares import AccountShares
from budan.workers.sweep import Sweep
from integration.flows.platform_side import MovingClock
from integration.workers.watching import when
from integration.workers.working import delivering, keeper, workers_of, working
from stage import Stage, StagedMerchant, StagedOrder

Rows = asyncpg.Connection
ACCOUNT = AccountId(7)
BOUND = 64


def another_memory(stage: Stage) -> AccountHealths:
    """The memory of one more process."""
    return AccountHealths(database=stage.database, clock=stage.opened.clock)


async def see_notices_come(rows: Rows, account_id: AccountId) -> None:
    await rows.execute(
        """
        INSERT INTO account_health (account_id, folded_at, timely, missed, asked, noticed_at)
        VALUES ($1, now(), 1000, 0, 0, now())
        """,
        account_id,
    )


async def see_notices_missing(rows: Rows, account_id: AccountId) -> None:
    await rows.execute("UPDATE account_health SET missed = 1000 WHERE account_id = $1", account_id)


async def waits_s(rows: Rows, order: StagedOrder) -> float:
    """How long the order's question still waits."""
    return await rows.fetchval(
        "SELECT extract(epoch FROM due_at - clock_timestamp())::float FROM query_due WHERE lane = $1 AND order_id = $2",
        order.lane,
        order.order_id,
    )


async def test_what_two_processes_see_is_one_row_that_both_read(stage: Stage, rows: Rows) -> None:
    serve, worker = another_memory(stage), another_memory(stage)
    for _ in range(8):
        serve.note_sighting(ACCOUNT, Sighting.TIMELY, weight=1)
    await serve.turn()
    await worker.turn()
    assert serve.notices_of(ACCOUNT) is worker.notices_of(ACCOUNT) is NoticeHealth.COMING
    worker.note_sighting(ACCOUNT, Sighting.MISSED, weight=20)
    worker.note_question(ACCOUNT, busy=True, answered=True)
    await worker.turn()
    await serve.turn()
    assert serve.notices_of(ACCOUNT) is worker.notices_of(ACCOUNT) is NoticeHealth.MISSING
    assert serve.rate_per_s(ACCOUNT) is not None
    seen = await rows.fetchrow("SELECT timely, missed, asked FROM account_health")
    assert seen
    assert tuple(seen) == (pytest.approx(8, rel=0.1), 20, 1)


async def test_what_cannot_be_told_now_is_told_later(stage: Stage, rows: Rows) -> None:
    serve = another_memory(stage)
    serve.note_sighting(ACCOUNT, Sighting.TIMELY, weight=1)
    await serve.turn()
    serve.note_sighting(ACCOUNT, Sighting.TIMELY, weight=1)
    async with rows.transaction():
        await rows.execute("SELECT 1 FROM account_health FOR UPDATE")
        with pytest.raises((RowsFailed, StoreUnavailable)):
            await serve.turn()
        serve.note_sighting(ACCOUNT, Sighting.TIMELY, weight=1)
    await serve.turn()
    assert await rows.fetchval("SELECT timely FROM account_health") == pytest.approx(3, rel=0.1)


async def test_what_was_read_long_ago_is_not_believed(stage: Stage, rows: Rows) -> None:
    """A process that lost its database must not go on asking rarely because all was well an hour ago."""
    await see_notices_come(rows, ACCOUNT)
    clock = MovingClock()
    healths = AccountHealths(database=stage.database, clock=clock)
    assert healths.notices_of(ACCOUNT) is NoticeHealth.UNKNOWN
    await healths.turn()
    assert healths.notices_of(ACCOUNT) is NoticeHealth.COMING
    clock.ahead += timedelta(seconds=BELIEVED_S + 1)
    assert healths.notices_of(ACCOUNT) is NoticeHealth.UNKNOWN


@pytest.mark.invariant("I6")
async def test_the_door_sees_what_comes_and_what_is_missing(stage: Stage, rows: Rows) -> None:
    healths, merchant = stage.flows.healths, await stage.add_merchant()
    for _ in range(6):
        await stage.add_paid_order(merchant)
    await healths.turn()
    assert healths.notices_of(merchant.account_id) is NoticeHealth.COMING
    order = await stage.add_order(merchant)
    await rows.execute("UPDATE trade SET created_at = now() - interval '1 minute' WHERE order_id = $1", order.order_id)
    paid_at = stage.opened.clock.now() - timedelta(seconds=30)
    found = stage.payment(order, source=Source.QUERY, paid_at=paid_at, asked_at=stage.opened.clock.now())
    await stage.flows.door.record(DoorItem(evidence=found, asked_attempts=1))
    await healths.turn()
    assert healths.notices_of(merchant.account_id) is NoticeHealth.MISSING


async def _add_waiting(stage: Stage, merchant: StagedMerchant) -> StagedOrder:
    """An order whose question was put off because its account's notices come."""
    while True:
        order = stage.name_order(merchant)
        if not is_sampled(order.order_id):
            await stage.add_orders([order], query_in_s=COMING_AGES_S[0])
            return order


@pytest.mark.invariant("I6")
async def test_when_notices_stop_every_waiting_question_of_the_account_comes_forward_whoever_holds_its_lane(
    stage: Stage, rows: Rows
) -> None:
    """No mode is switched by hand: one row says it, and each worker sees to its own lanes."""
    account, other = await stage.add_account(), await stage.add_account()
    merchants = [await stage.add_merchant(account_id=account) for _ in range(12)]
    assert len({merchant.lane for merchant in merchants}) > 2
    bystander = await _add_waiting(stage, await stage.add_merchant(account_id=other))
    waiting = [await _add_waiting(stage, merchant) for merchant in merchants]
    b2c, ended = waiting[:2]
    await rows.execute("UPDATE trade SET method = 'code' WHERE order_id = $1", b2c.order_id)
    await rows.execute("UPDATE trade SET state = 'closed' WHERE order_id = $1", ended.order_id)
    for one in (account, other):
        await see_notices_come(rows, one)
    await stage.flows.healths.turn()
    async with working(stage), working(stage):
        await when(rows, "SELECT count(*) = 2 FROM (SELECT DISTINCT holder FROM lane_lease) AS holders")
        await see_notices_missing(rows, account)
        # Nobody can be reached at this account, so each question that was asked is due again soon and counts for nothing.
        await when(rows, "SELECT count(*) = 3 FROM query_due WHERE due_at > clock_timestamp() + interval '40 s'")
    for untouched in (b2c, ended, bystander):
        assert 60 < await waits_s(rows, untouched) < COMING_AGES_S[0]
    for order in waiting[2:]:
        assert await waits_s(rows, order) < 10


async def test_what_waits_no_longer_than_is_tight_stays_where_it_is(stage: Stage, rows: Rows) -> None:
    """A second round must not ask again at once what the first has just asked."""
    merchant = await stage.add_merchant()
    order = await _add_waiting(stage, merchant)
    await rows.execute("UPDATE query_due SET attempts = 1, due_at = now() + interval '29 s'")
    page = await stage.flows.questions.bring_forward(
        lanes=[merchant.lane], accounts=[merchant.account_id], after=None, rows_max=10
    )
    assert (page.rows_read, page.rows_moved) == (1, 0)
    assert await waits_s(rows, order) > 20


async def test_waiting_questions_are_read_in_pages_that_skip_none(stage: Stage, rows: Rows) -> None:
    merchant = await stage.add_merchant()
    orders = [await _add_waiting(stage, merchant) for _ in range(25)]
    # Some of one moment, as a batch of intake makes them.
    await rows.execute("UPDATE query_due SET due_at = now() + (order_id / 4096 % 5 + 60) * interval '1 s'")
    await rows.execute("UPDATE trade SET created_at = now() - interval '30 s'")
    after, moved, pages = None, 0, 0
    while True:
        page = await stage.flows.questions.bring_forward(
            lanes=[merchant.lane], accounts=[merchant.account_id], after=after, rows_max=3
        )
        moved, pages, after = moved + page.rows_moved, pages + 1, page.last_due_at
        if page.rows_read < 3:
            break
    assert moved == len(orders)
    assert pages > 1
    assert await rows.fetchval("SELECT count(*) FROM query_due WHERE due_at <= clock_timestamp()") == len(orders)


async def test_workers_together_keep_an_accounts_bound_and_its_pace(stage: Stage) -> None:
    """Split by held lanes: a third worker takes from the others what it is given."""
    healths = another_memory(stage)
    for _ in range(100):
        healths.note_question(ACCOUNT, busy=True, answered=True)
    await healths.turn()
    pace = healths.rate_per_s(ACCOUNT)
    assert pace is not None
    workers = [keeper(stage) for _ in range(3)]
    for _ in range(4):
        for worker in workers:
            await worker.renew()
    shares = [AccountShares(healths=healths, lanes=worker) for worker in workers]
    assert sum(share.rows_max(ACCOUNT, of=BOUND) for share in shares) <= BOUND
    taken = 0
    for tenth in range(101):
        for share in shares:
            while share.take(ACCOUNT, now_s=tenth / 10):
                taken += 1
            assert share.held_back(now_s=tenth / 10) == [ACCOUNT]
    # In ten seconds, one question at once of each worker included, and what the pace gained meanwhile.
    assert pace * 10 * 0.95 <= taken <= pace * 10 * 1.05 + len(shares)


async def test_closes_and_refunds_keep_an_accounts_bound_and_pace_with_the_questions(stage: Stage) -> None:
    """Each worker of four may have a quarter of the account's bound, and one slow channel takes no more of any of them."""
    workers = [keeper(stage) for _ in range(4)]
    for _ in range(5):
        for worker in workers:
            await worker.renew()
    stop = asyncio.Event()
    async with (
        delivering(stage, allowed=()) as deliveries,
        InFlight(work="query", rows_max=1, stop=stop) as asking,
        InFlight(work="close", rows_max=1, stop=stop) as closing,
        InFlight(work="refund", rows_max=1, stop=stop) as refunding,
    ):
        built = workers_of(stage, deliveries, lanes=workers[0])
        sweeps = channel_sweeps(built, asking=asking, closing=closing, refunding=refunding)
        admitted: list[int] = []
        for sweep, limits in zip(sweeps, (QUERY_LIMITS, CLOSE_LIMITS, REFUND_LIMITS), strict=True):
            assert isinstance(sweep, Sweep)
            admitted.append(sum(sweep._gates.admit(ACCOUNT, key, now_s=0.0) for key in range(limits.rows_max)))
            assert sweep._gates.left_out(now_s=0.0) == [ACCOUNT]
        assert admitted == [limits.rows_max // 4 for limits in (QUERY_LIMITS, CLOSE_LIMITS, REFUND_LIMITS)]
        for _ in range(100):
            stage.flows.healths.note_question(ACCOUNT, busy=True, answered=True)
        await stage.flows.healths.turn()
        fresh = channel_sweeps(built, asking=asking, closing=closing, refunding=refunding)
        # A busy channel's first place is one for all three: whoever asks, closes or refunds after it waits.
        assert [sweep._gates.admit(ACCOUNT, 1, now_s=0.0) for sweep in fresh if isinstance(sweep, Sweep)] == [
            True,
            False,
            False,
        ]


async def test_an_account_without_a_limit_is_held_back_by_nobody(stage: Stage) -> None:
    lanes = keeper(stage)
    await lanes.renew()
    shares = AccountShares(healths=another_memory(stage), lanes=lanes)
    assert all(shares.take(ACCOUNT, now_s=0.0) for _ in range(1_000))
    assert shares.held_back(now_s=0.0) == []
    assert shares.rows_max(ACCOUNT, of=BOUND) == BOUND
