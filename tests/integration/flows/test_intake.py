import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from structlog.testing import capture_logs

from budan.core.errors import Refused, StoreUnavailable
from budan.core.fees import FeeTerms
from budan.core.numbers import Environment
from budan.flows.choosing import Chosen
from budan.flows.healths import AccountHealths
from budan.flows.ids import IdSource
from budan.flows.intake import OrderIntake, Replayed, Taken
from budan.flows.intents import IntentMaker, TradePlan, decode_intent
from budan.flows.views import Caller, CreateOrder
from budan.ports.channel import Method
from integration.flows.platform_side import WECHAT, MovingClock, open_accounts
from integration.flows.standing import Till, connect

COPIES = 50
WAIT_S = 30.0
ANSWERS = (Taken, Replayed)
OWNED = ("orders", "trade", "query_due", "idempotency", "order_reference")


@pytest.fixture
def plan() -> Iterator[TradePlan]:
    with open_accounts() as accounts:
        yield TradePlan(
            chosen=Chosen(account=accounts.by_id[WECHAT], method=Method.NATIVE, fee_terms=FeeTerms(rate_bp=60))
        )


@asynccontextmanager
async def open_intake(till: Till) -> AsyncIterator[OrderIntake]:
    """As another process has it: with connections and a process number of its own."""
    database = await connect(till.dsn, lock_timeout="20s", statement_timeout="20s")
    ids = IdSource(database=database, clock=MovingClock())
    await ids.start()
    healths = AccountHealths(database=database, clock=MovingClock())
    intents = IntentMaker(environment=Environment.LOCAL, public_url="http://127.0.0.1:8080", healths=healths)
    try:
        async with OrderIntake(database=database, ids=ids, intents=intents) as intake:
            yield intake
    finally:
        await database.close()


@pytest.fixture
async def intakes(till: Till) -> AsyncIterator[tuple[OrderIntake, OrderIntake]]:
    async with open_intake(till) as one, open_intake(till) as other:
        yield one, other


def a_wish(till: Till, **changes: Any) -> CreateOrder:
    fields = {
        "caller": Caller(merchant_id=till.merchant_id, lane=till.lane),
        "reference": f"ref-{token_hex(6)}",
        "amount_minor": 1_000,
        "currency": "CNY",
        "subject": "Latte",
        "request_digest": bytes(32),
    }
    return CreateOrder(**(fields | changes))


async def take_all(
    intakes: tuple[OrderIntake, OrderIntake], wishes: list[CreateOrder], plan: TradePlan | None
) -> list[Taken | Replayed | str]:
    """What each wish came to, taken at the same moment by two processes in turn; a refusal by its code."""

    async def take(number: int, wish: CreateOrder) -> Taken | Replayed | str:
        try:
            return await intakes[number % 2].take(wish, plan)
        except Refused as refused:
            return refused.code

    return await asyncio.wait_for(asyncio.gather(*(take(*pair) for pair in enumerate(wishes))), WAIT_S)


async def counts(till: Till) -> list[int]:
    return [await till.count(table) for table in OWNED]


@pytest.mark.invariant("I6", "I11")
async def test_an_order_is_committed_with_its_intent_and_the_question_about_it(
    till: Till, intakes: tuple[OrderIntake, OrderIntake], plan: TradePlan
) -> None:
    wish = a_wish(till, idempotency_key="k", expires_in_s=600)
    taken = await intakes[0].take(wish, plan)
    assert isinstance(taken, Taken)
    assert await counts(till) == [1, 1, 1, 1, 1]
    ((state, intent, send_s, query_s),) = await till.rows(
        """
        SELECT t.state, t.intent::text, extract(epoch FROM t.send_until - t.created_at)::float,
            extract(epoch FROM q.due_at - t.created_at)::float
        FROM trade AS t JOIN query_due AS q USING (lane, order_id, attempt)
        """
    )
    decoded = decode_intent(intent)
    assert state == "created"
    assert (decoded.amount_minor, decoded.currency, decoded.subject) == (1_000, "CNY", "Latte")
    assert decoded.notify_url == f"http://127.0.0.1:8080/notify/local/wechat_v3/{WECHAT}"
    assert decoded.expires_at == taken.order.expires_at
    assert send_s > 0
    assert query_s == 3.0


async def test_a_repeat_under_its_key_resumes_the_same_order(
    till: Till, intakes: tuple[OrderIntake, OrderIntake], plan: TradePlan
) -> None:
    wish = a_wish(till, idempotency_key="k")
    first, again = await intakes[0].take(wish, plan), await intakes[1].take(wish, plan)
    assert isinstance(first, Taken)
    assert again == Replayed(order_id=first.order.order_id)
    assert await counts(till) == [1, 1, 1, 1, 1]


async def test_a_key_with_another_body_and_a_reference_under_another_key_are_refused(
    till: Till, intakes: tuple[OrderIntake, OrderIntake], plan: TradePlan
) -> None:
    wish = a_wish(till, idempotency_key="k", reference="r")
    await intakes[0].take(wish, plan)
    others = [
        a_wish(till, idempotency_key="k", reference="r", request_digest=b"o" * 32),
        a_wish(till, idempotency_key="k", reference="other", request_digest=b"o" * 32),
        a_wish(till, idempotency_key="other", reference="r"),
        a_wish(till, reference="r"),
    ]
    assert [(await take_all(intakes, [other], plan))[0] for other in others] == [
        "idempotency_key_reused",
        "idempotency_key_reused",
        "reference_used",
        "reference_used",
    ]
    assert await counts(till) == [1, 1, 1, 1, 1]
    # What was refused gave its claims back: both are free for another order.
    (taken,) = await take_all(intakes, [a_wish(till, idempotency_key="other", reference="other")], plan)
    assert isinstance(taken, Taken)


async def test_fifty_equal_requests_at_one_moment_make_one_order(
    till: Till, intakes: tuple[OrderIntake, OrderIntake], plan: TradePlan
) -> None:
    heard = await take_all(intakes, [a_wish(till, idempotency_key="k", reference="r")] * COPIES, plan)
    assert Counter(type(one) for one in heard) == {Taken: 1, Replayed: COPIES - 1}
    ids = {one.order.order_id if isinstance(one, Taken) else one.order_id for one in heard if isinstance(one, ANSWERS)}
    assert await till.rows("SELECT id FROM orders") == [(one,) for one in ids]
    assert await counts(till) == [1, 1, 1, 1, 1]


async def test_fifty_keys_for_one_reference_at_one_moment_make_one_order_and_give_their_keys_back(
    till: Till, intakes: tuple[OrderIntake, OrderIntake], plan: TradePlan
) -> None:
    wishes = [a_wish(till, idempotency_key=f"k{number}", reference="r") for number in range(COPIES)]
    heard = await take_all(intakes, wishes, plan)
    assert Counter(one if isinstance(one, str) else "taken" for one in heard) == {
        "taken": 1,
        "reference_used": COPIES - 1,
    }
    assert await counts(till) == [1, 1, 1, 1, 1]
    (again,) = await take_all(intakes, [a_wish(till, idempotency_key="k1", reference="another")], plan)
    won = next(number for number, one in enumerate(heard) if isinstance(one, Taken))
    assert isinstance(again, Taken) or won == 1


async def test_a_refused_item_takes_no_other_of_its_batch_with_it(
    till: Till, intakes: tuple[OrderIntake, OrderIntake], plan: TradePlan
) -> None:
    await intakes[0].take(a_wish(till, reference="used"), None)
    wishes = [a_wish(till, reference="used" if number == 7 else f"r{number}") for number in range(20)]
    heard = await take_all((intakes[0], intakes[0]), wishes, plan)
    assert [number for number, one in enumerate(heard) if one == "reference_used"] == [7]
    assert await counts(till) == [20, 19, 19, 0, 20]


async def test_an_item_that_the_tables_refuse_takes_no_other_with_it(
    till: Till, intakes: tuple[OrderIntake, OrderIntake], plan: TradePlan
) -> None:
    await till.outside.execute("ALTER TABLE orders ADD CONSTRAINT planted CHECK (reference <> 'r7') NOT VALID")
    wishes = [a_wish(till, reference=f"r{number}", idempotency_key=f"k{number}") for number in range(20)]
    heard = await asyncio.gather(*(intakes[0].take(wish, plan) for wish in wishes), return_exceptions=True)
    assert [type(one) for one in heard] == [Taken] * 7 + [StoreUnavailable] + [Taken] * 12
    # Nothing of the one that failed is left, so its repeat is a first copy.
    assert await counts(till) == [19, 19, 19, 19, 19]
    await till.outside.execute("ALTER TABLE orders DROP CONSTRAINT planted")
    assert isinstance(await intakes[1].take(wishes[7], plan), Taken)


@pytest.mark.invariant("I6")
@pytest.mark.parametrize("table", ["trade", "query_due"])
async def test_no_order_stands_without_its_trade_and_its_question(
    till: Till, intakes: tuple[OrderIntake, OrderIntake], plan: TradePlan, table: str
) -> None:
    await till.outside.execute(f"ALTER TABLE {table} ADD CONSTRAINT planted CHECK (false) NOT VALID")
    with pytest.raises(StoreUnavailable):
        await intakes[0].take(a_wish(till, idempotency_key="k"), plan)
    assert await counts(till) == [0, 0, 0, 0, 0]


@pytest.mark.invariant("I1", "I11")
async def test_a_process_killed_in_the_middle_of_an_intake_leaves_no_half_order(
    till: Till, intakes: tuple[OrderIntake, OrderIntake], plan: TradePlan
) -> None:
    taker = Path(__file__).with_name("order_taker.py")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    merchant = [str(till.merchant_id), str(till.lane)]
    async with AsyncExitStack() as stack, asyncio.timeout(WAIT_S):
        # Its claims are made; the order itself waits for a table that somebody else holds.
        await stack.enter_async_context(till.outside.transaction())
        await till.outside.execute("LOCK TABLE query_due IN ACCESS EXCLUSIVE MODE")
        child = await asyncio.create_subprocess_exec(sys.executable, str(taker), till.dsn, *merchant, env=environment)
        await till.until(
            """
            SELECT count(*) FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
            WHERE a.datname = current_database() AND a.application_name = 'budan' AND l.relation = 'query_due'::regclass AND NOT l.granted
            """,
            is_so=lambda count: count == 1,
        )
        child.send_signal(signal.SIGKILL)
        assert await child.wait() == -signal.SIGKILL
    await till.until(
        """
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND state <> 'idle' AND application_name = 'budan'
        """,
        is_so=lambda count: count == 0,
    )
    assert await counts(till) == [0, 0, 0, 0, 0]
    assert isinstance(await intakes[0].take(a_wish(till, reference="killed", idempotency_key="killed"), plan), Taken)


async def test_a_clock_that_is_set_back_stops_no_order_and_is_told_once(till: Till) -> None:
    """It once stopped intake and notices, with no word of it, until the clock had caught up."""
    clock = MovingClock(ahead=timedelta(hours=1))
    ids = IdSource(database=till.database, clock=clock)
    await ids.start()
    with capture_logs() as lines:
        given = [ids.next()]
        clock.ahead = timedelta(0)
        given += [ids.next() for _ in range(5_000)]
        clock.ahead = timedelta(hours=1, seconds=1)
        given.append(ids.next())
    assert given == sorted(set(given))
    assert [line["event"] for line in lines] == ["clock_went_back"]
    assert lines[0]["seconds"] == pytest.approx(3_600, abs=5)
