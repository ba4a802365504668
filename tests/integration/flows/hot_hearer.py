"""One process that hears much about few orders: waits for a line, hears it all at once, and prints what came of it.

Arguments: dsn, plan, seed, number of statements, and the orders as JSON of [lane, order id, merchant id].
"""

import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import Sequence

import asyncpg

from budan.core.evidence import Evidence
from budan.core.numbers import Environment
from budan.flows.door import Door, DoorItem
from budan.flows.healths import AccountHealths
from budan.store import database as stored
from budan.store.queries import query
from budan.telemetry import metrics
from builders import AMOUNT_MINOR, not_paid_yet, paid, refused, silence
from integration.flows.platform_side import MovingClock
from integration.flows.standing import LANES, Standing, connect

# A planner that knows the tables, or was set otherwise, joins by hashes: rows come in the order of the table.
PLANS = {
    "loops": {},
    "hashes": {"enable_nestloop": "off", "enable_hashjoin": "on", "enable_seqscan": "on", "enable_indexscan": "off"},
}
REFERENCES = 3


def choose(chance: random.Random, standing: Standing) -> DoorItem:
    """What is heard next: mostly "not yet", two trades that were paid, one that was refused, money that does not fit."""
    dice = chance.random()
    if dice < 0.5:
        answer = chance.choice([not_paid_yet, silence])
        return DoorItem(evidence=answer(trade_no=standing.trade_no(chance.choice([1, 2, 3]))), asked_attempts=1)
    if dice < 0.7:
        return DoorItem(evidence=refused(trade_no=standing.trade_no(3)), asked_attempts=1)
    if dice < 0.9:
        attempt = chance.choice([1, 2])
        return DoorItem(evidence=paid(trade_no=standing.trade_no(attempt), channel_reference=f"42-{attempt}"))
    reference = f"odd-{chance.randrange(REFERENCES)}"
    return DoorItem(
        evidence=paid(trade_no=standing.trade_no(1), order_minor=AMOUNT_MINOR + 1, channel_reference=reference)
    )


async def hear(dsn: str, plan: str, items: Sequence[DoorItem]) -> dict[str, object]:
    database = await connect(dsn, **PLANS[plan])
    joins = await list_joins(dsn, plan)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)
    healths = AccountHealths(database=database, clock=MovingClock())
    async with Door(database=database, environment=Environment.LOCAL, lanes=LANES, healths=healths) as door:
        planned = await asyncio.gather(*(door.record(item) for item in items))
    batches = metrics.REGISTRY.get_sample_value("budan_batch_rows_count", {"batch": "door"})
    await database.close()
    return {"joins": joins, "batches": batches, "decisions": Counter(one.decision for one in planned)}


async def list_joins(dsn: str, plan: str) -> list[str]:
    """How this process joins the rows that it locks."""
    connection = await asyncpg.connect(dsn, server_settings=stored._SESSION_SETTINGS | PLANS[plan])
    await connection.execute(f"PREPARE gate AS {query('door_lock_orders').sql}")
    text = await connection.fetchval("EXPLAIN (FORMAT JSON) EXECUTE gate ('{}', '{}', 0, 1)")
    await connection.close()
    return sorted(name for name in ("Hash Join", "Nested Loop", "Merge Join") if f'"{name}"' in text)


def say_asked(items: Sequence[DoorItem]) -> dict[str, int]:
    return Counter(item.evidence.trade_no for item in items if item.asked_attempts is not None)


def main() -> None:
    """Hear, and print what came of it."""
    dsn, plan, seed, statements = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    standings = [
        Standing(lane=lane, order_id=order_id, merchant_id=merchant_id)
        for lane, order_id, merchant_id in json.loads(sys.argv[5])
    ]
    chance = random.Random(seed)  # noqa: S311 - a seeded run is the purpose
    items = [choose(chance, chance.choice(standings)) for _ in range(statements)]
    heard = asyncio.run(hear(dsn, plan, items))
    said: list[Evidence] = [item.evidence for item in items]
    odd = {(one.trade_no, one.channel_reference) for one in said if one.order_minor == AMOUNT_MINOR + 1}
    sys.stdout.write(json.dumps(heard | {"asked": say_asked(items), "odd": sorted(odd)}) + "\n")


if __name__ == "__main__":
    main()
