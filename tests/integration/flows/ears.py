"""A till that also takes notices, from platforms whose keys the tests have."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from budan.core.numbers import Environment
from budan.flows.ids import IdSource
from budan.flows.notices import Notices
from budan.flows.refund_door import RefundDoor
from budan.ports.channel import Ack
from integration.flows.platform_side import ALIPAY, WECHAT, MovingClock, Told, open_accounts
from integration.flows.standing import LANES, Standing, Till

IDS = {"wechat_v3": WECHAT, "alipay": ALIPAY}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ear:
    """A till that also takes notices."""

    till: Till
    notices: Notices
    clock: MovingClock

    async def stand(self, channel: str, **changes: object) -> Standing:
        return await self.till.stand(account_id=IDS[channel], **changes)

    async def receive(self, told: Told, **changes: object) -> Ack | None:
        address = {"environment": "local", "channel": told.channel, "account_id": told.account_id} | changes
        return await self.notices.receive(headers=told.headers, body=told.body, **address)


@asynccontextmanager
async def open_ear(till: Till) -> AsyncIterator[Ear]:
    clock = MovingClock()
    ids = IdSource(database=till.database, clock=MovingClock())
    await ids.start()
    refunds = RefundDoor(database=till.database, environment=Environment.LOCAL, lanes=LANES)
    async with refunds:
        with open_accounts() as accounts:
            notices = Notices(
                database=till.database,
                environment=Environment.LOCAL,
                accounts=accounts,
                door=till.door,
                refunds=refunds,
                ids=ids,
                clock=clock,
            )
            yield Ear(till=till, notices=notices, clock=clock)


def is_yes(ack: Ack | None) -> bool:
    assert ack is not None
    return ack.status in {200, 204} and ack.body != b"fail"
