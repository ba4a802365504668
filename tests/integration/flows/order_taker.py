"""A process that takes one order, to be killed while it does. Arguments: dsn, merchant id, lane."""

import asyncio
import sys

from budan.core.fees import FeeTerms
from budan.core.numbers import Environment, Lane, MerchantId
from budan.flows.choosing import Chosen
from budan.flows.healths import AccountHealths
from budan.flows.ids import IdSource
from budan.flows.intake import OrderIntake
from budan.flows.intents import IntentMaker, TradePlan
from budan.flows.views import Caller, CreateOrder
from budan.ports.channel import Method
from integration.flows.platform_side import WECHAT, MovingClock, open_accounts
from integration.flows.standing import PATIENT, connect


async def main(dsn: str, merchant_id: str, lane: str) -> None:
    """Take it."""
    database = await connect(dsn, **PATIENT)
    ids = IdSource(database=database, clock=MovingClock())
    await ids.start()
    healths = AccountHealths(database=database, clock=MovingClock())
    intents = IntentMaker(environment=Environment.LOCAL, public_url="http://127.0.0.1:8080", healths=healths)
    wish = CreateOrder(
        caller=Caller(merchant_id=MerchantId(int(merchant_id)), lane=Lane(int(lane))),
        reference="killed",
        amount_minor=1_000,
        currency="CNY",
        subject="Latte",
        request_digest=bytes(32),
        idempotency_key="killed",
    )
    with open_accounts() as accounts:
        plan = TradePlan(
            chosen=Chosen(account=accounts.by_id[WECHAT], method=Method.NATIVE, fee_terms=FeeTerms(rate_bp=60))
        )
        async with OrderIntake(database=database, ids=ids, intents=intents) as intake:
            await intake.take(wish, plan)


asyncio.run(main(*sys.argv[1:]))
