"""How WeChat Pay announces a payment (docs/protocols/wechat_v3.md §4)."""

import uuid
from typing import Final

import msgspec

from budan.sandbox.notices import RenderedNotice
from budan.sandbox.records import Trade, WechatAccount
from budan.sandbox.wechat_v3 import sign_headers
from budan.sandbox.wechat_v3_messages import rfc3339, transaction
from budan.sandbox.world import World
from budan.wire.http import HttpAnswer
from budan.wire.wechat_v3 import encrypt_resource

_MINUTE_S: Final = 60.0
_HOUR_S: Final = 3_600.0
_RESOURCE_NONCE_LENGTH: Final = 12
# Any stable namespace: the event's id must be the same in every repeat.
_EVENT_NAMESPACE: Final = uuid.UUID("4f0bba1e-52c9-4d0c-8f0e-6f3a2b6f7f10")


class WechatAnnouncer:
    """Writes sealed and signed notices."""

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def repeat_after_s(self) -> tuple[float, ...]:
        """15 repeats in about a day."""
        minutes = tuple(count * _MINUTE_S for count in (3, 10, 20, 30, 30, 30, 60))
        hours = tuple(count * _HOUR_S for count in (3, 3, 3, 6, 6))
        return (15.0, 15.0, 30.0, *minutes, *hours)

    async def render(self, trade: Trade) -> RenderedNotice:
        """The same event each time, sealed and signed anew."""
        account = self._world.truth.account_of(trade)
        assert isinstance(account, WechatAccount)
        assert trade.paid_at is not None
        nonce = self._world.nonce()[:_RESOURCE_NONCE_LENGTH]
        paid = msgspec.json.encode(transaction(trade, account) | {"trade_state": "SUCCESS"})
        resource = {
            "original_type": "transaction",
            "algorithm": "AEAD_AES_256_GCM",
            "ciphertext": encrypt_resource(
                paid, api_v3_key=account.apiv3_key, nonce=nonce, associated_data="transaction"
            ),
            "associated_data": "transaction",
            "nonce": nonce,
        }
        body = msgspec.json.encode(
            {
                "id": str(uuid.uuid5(_EVENT_NAMESPACE, trade.channel_no)),
                "create_time": rfc3339(trade.paid_at),
                "resource_type": "encrypt-resource",
                "event_type": "TRANSACTION.SUCCESS",
                "summary": "支付成功",
                "resource": resource,
            }
        )
        headers = await sign_headers(self._world, account, body, wanted_serial="")
        return RenderedNotice(headers=headers | {"Content-Type": "application/json"}, body=body)

    def is_acknowledged(self, answer: HttpAnswer) -> bool:
        """200 or 204, whatever the body says."""
        return answer.status in {200, 204}
