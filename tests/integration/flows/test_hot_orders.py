import asyncio
import json
import os
import random
import sys
from collections import Counter
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from budan.core.numbers import Lane, parse_number
from builders import AMOUNT_MINOR
from integration.flows.standing import Standing, Till, stand_orders

HEARERS = 4
STATEMENTS = 2_000
ORDERS = 20
WAIT_S = 60.0
HEARER = Path(__file__).with_name("hot_hearer.py")


async def stand_scattered(till: Till) -> list[Standing]:
    """Orders whose rows lie in the table in another order than their keys."""
    standings: list[Standing] = []
    chance = random.Random(11)  # noqa: S311 - a seeded run is the purpose
    for number in chance.sample(range(ORDERS), ORDERS):
        standings += await stand_orders(
            till.database,
            merchant_id=till.merchant_id,
            lane=Lane(chance.randrange(4)),
            orders=1,
            trades=3,
            age=timedelta(seconds=number),
        )
    return standings


async def hear_in_processes(till: Till, standings: list[Standing]) -> list[dict[str, Any]]:
    """Starts all, lets them go at once, and gives what each printed; a process that failed fails the test."""
    orders = json.dumps([[one.lane, one.order_id, one.merchant_id] for one in standings])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    async with AsyncExitStack() as stack, asyncio.timeout(WAIT_S):
        hearers = [
            await asyncio.create_subprocess_exec(
                sys.executable,
                str(HEARER),
                till.dsn,
                "hashes" if number % 2 else "loops",
                str(number),
                str(STATEMENTS),
                orders,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=environment,
            )
            for number in range(HEARERS)
        ]
        for hearer in hearers:
            stack.callback(lambda ended: ended.returncode is None and ended.kill(), hearer)
            assert hearer.stdout is not None
            assert await hearer.stdout.readline() == b"ready\n"
        printed = await asyncio.gather(*(hearer.communicate(b"go\n") for hearer in hearers))
        assert [hearer.returncode for hearer in hearers] == [0] * HEARERS
    return [json.loads(out) for out, _ in printed]


@pytest.mark.invariant("I8", "I9")
async def test_hot_orders_heard_of_in_several_processes_by_two_plans_never_deadlock(till: Till) -> None:
    """Sorted arrays deadlocked 844 times in 1,200 transactions when two plans read them: the ordered lock is the gate."""
    standings = await stand_scattered(till)
    heard = await hear_in_processes(till, standings)
    assert {tuple(one["joins"]) for one in heard} == {("Hash Join",), ("Nested Loop",)}

    # No connection is left, so every one has reported what it saw.
    gone = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'budan'"
    await till.database.close()
    await till.until(gone, is_so=lambda count: count == 0)
    assert await till.rows("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == [(0,)]

    decisions = sum((Counter(one["decisions"]) for one in heard), Counter[str]())
    assert sum(decisions.values()) == HEARERS * STATEMENTS
    assert (decisions["failed"], decisions["complete"], decisions["return_second"]) == (0, ORDERS, ORDERS)
    assert await till.count("evidence_due") == 0
    await assert_every_statement_had_its_effect(till, standings, heard)
    # Batches were formed, so rows were locked together.
    assert sum(one["batches"] for one in heard) < HEARERS * STATEMENTS / 4


async def assert_every_statement_had_its_effect(
    till: Till, standings: list[Standing], heard: list[dict[str, Any]]
) -> None:
    asked = sum((Counter(one["asked"]) for one in heard), Counter[str]())
    counted = {
        (order_id, attempt): count
        for order_id, attempt, count in await till.rows("SELECT order_id, attempt, asked_count FROM trade")
    }
    for one in standings:
        for attempt in (1, 2, 3):
            assert counted[one.order_id, attempt] == asked[one.trade_no(attempt)]

    odd = {tuple(pair) for one in heard for pair in one["odd"]}
    assert await till.count("contradiction") == len(odd)
    assert await till.rows("SELECT state, count(*) FROM orders GROUP BY state") == [("paid", ORDERS)]
    assert await till.rows("SELECT event, count(*) FROM webhook GROUP BY event ORDER BY event") == [
        ("order.held", len({parse_number(trade_no).order_id for trade_no, _ in odd})),
        ("order.paid", ORDERS),
        ("order.payment_returning", ORDERS),
    ]
    assert await till.rows("SELECT count(*), count(DISTINCT order_id) FROM refund_due") == [(ORDERS, ORDERS)]
    assert await till.rows("SELECT account, sum(amount_minor) FROM posting GROUP BY account ORDER BY account") == [
        ("channel:7", 2 * ORDERS * AMOUNT_MINOR + len(odd) * (AMOUNT_MINOR + 1)),
        ("fee_income", -6 * ORDERS),
        (f"merchant:{till.merchant_id}", (6 - AMOUNT_MINOR) * ORDERS),
        ("refund_payable", -AMOUNT_MINOR * ORDERS),
        ("suspense", -(AMOUNT_MINOR + 1) * len(odd)),
    ]
