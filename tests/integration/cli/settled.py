"""Days that go by, what is sold on them, whom it is paid to, and the proof of the books, for tests of settlement."""

from contextlib import aclosing

import asyncpg

from budan.core.payee import check_payee
from budan.flows.books import Books, LedgerCheck
from budan.flows.payees import Payees
from budan.flows.payouts import Batch, BatchFilter, Payouts, SettledLine
from budan.flows.settling import Settling
from budan.store.settlement import NewBatch
from stage import Stage, StagedMerchant, StagedOrder

Rows = asyncpg.Connection
ANY = BatchFilter(day=None, merchant_id=None, due=False)


async def pass_days(rows: Rows, days: int) -> None:
    """So many days go by: everything that happened is that much longer ago."""
    for statement in (
        "UPDATE posting SET booked_at = booked_at - $1::integer * interval '1 day'",
        "UPDATE adjustment SET decided_at = decided_at - $1::integer * interval '1 day'",
        "UPDATE orders SET paid_at = paid_at - $1::integer * interval '1 day'",
        "UPDATE merchant SET created_at = created_at - $1::integer * interval '1 day'",
        "UPDATE installation SET created_at = created_at - $1::integer * interval '1 day'",
        "UPDATE settlement_mark SET settled_day = settled_day - $1::integer",
        "UPDATE settlement_mark SET batched_at = batched_at - $1::integer * interval '1 day'",
        "UPDATE settlement_batch SET day = day - $1::integer, release_on = release_on - $1::integer",
        "UPDATE settlement_batch SET ends_at = ends_at - $1::integer * interval '1 day'",
    ):
        await rows.execute(statement, days)


async def sell(stage: Stage, merchant: StagedMerchant, *, orders: int = 1) -> list[StagedOrder]:
    return [await stage.add_paid_order(merchant) for _ in range(orders)]


async def list_batches(payouts: Payouts, wanted: BatchFilter = ANY) -> list[Batch]:
    batches = payouts.list_batches(wanted)
    async with aclosing(batches):
        return [batch async for batch in batches]


async def settle(settling: Settling) -> list[NewBatch]:
    made: list[NewBatch] = []
    settled_days = settling.settle(merchant_id=None)
    async with aclosing(settled_days):
        async for settled in settled_days:
            made += settled.batches
    return sorted(made, key=lambda batch: (batch.merchant_id, batch.day))


async def settle_one(settling: Settling) -> NewBatch:
    (batch,) = await settle(settling)
    return batch


async def list_lines(payouts: Payouts, batch: Batch) -> list[SettledLine]:
    lines = payouts.list_lines(batch)
    async with aclosing(lines):
        return [line async for line in lines]


async def check(books: Books) -> LedgerCheck:
    return await books.check(progress=lambda _: None)


async def balances(books: Books) -> dict[str, int]:
    trial = await books.trial_balance(day=None)
    return {line.account: line.balance_minor for line in trial.lines if line.balance_minor}


def payees_of(stage: Stage) -> Payees:
    return Payees(database=stage.database, box=stage.opened.keys.box)


async def propose_payee(stage: Stage, merchant: StagedMerchant, *, number: str, holder: str = "甲公司") -> int:
    wish = check_payee(holder=holder, bank_name="工商银行", bank_code="102100099996", is_card=False, number=number)
    return await payees_of(stage).propose(merchant.merchant_id, wish, by="Ann", reason="its contract")


async def give_payee(stage: Stage, merchant: StagedMerchant, *, number: str, holder: str = "甲公司") -> int:
    """A payee in force, as two persons make it."""
    proposal = await propose_payee(stage, merchant, number=number, holder=holder)
    await payees_of(stage).confirm(merchant.merchant_id, proposal, number=number, by="Bob")
    return proposal
