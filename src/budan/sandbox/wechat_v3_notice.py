"""How WeChat Pay announces a payment and a refund (docs/protocols/wechat_v3.md §4)."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from budan.sandbox.notices import RenderedNotice
from budan.sandbox.records import Refund, RefundState, Trade, WechatAccount
from budan.sandbox.telling import as_told
from budan.sandbox.wechat_v3 import sign_headers
from budan.sandbox.wechat_v3_messages import refund_notice, rfc3339, told_transaction
from budan.sandbox.world import World
from budan.wire.http import HttpAnswer
from budan.wire.wechat_v3 import encrypt_resource

_MINUTE_S: Final = 60.0
_HOUR_S: Final = 3_600.0
_RESOURCE_NONCE_LENGTH: Final = 12
# Any stable namespace: the event's id must be the same in every repeat.
_EVENT_NAMESPACE: Final = uuid.UUID("4f0bba1e-52c9-4d0c-8f0e-6f3a2b6f7f10")


_REFUND_EVENTS: Final = {
    RefundState.DONE: ("REFUND.SUCCESS", "退款成功"),
    RefundState.ABNORMAL: ("REFUND.ABNORMAL", "退款异常"),
    RefundState.CLOSED: ("REFUND.CLOSED", "退款关闭"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    kind: str
    event_type: str
    summary: str
    channel_no: str
    at: datetime
    fields: Mapping[str, Any]


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

    async def render(self, trade: Trade, refund: Refund | None) -> RenderedNotice:
        """The same event each time, sealed and signed anew."""
        account = self._world.truth.account_of(trade)
        assert isinstance(account, WechatAccount)
        told = _payment(trade, account) if refund is None else _refund(trade, refund, account)
        nonce = self._world.nonce()[:_RESOURCE_NONCE_LENGTH]
        plaintext = msgspec.json.encode(told.fields)
        resource = {
            "original_type": told.kind,
            "algorithm": "AEAD_AES_256_GCM",
            "ciphertext": encrypt_resource(
                plaintext, api_v3_key=account.apiv3_key, nonce=nonce, associated_data=told.kind
            ),
            "associated_data": told.kind,
            "nonce": nonce,
        }
        body = msgspec.json.encode(
            {
                "id": str(uuid.uuid5(_EVENT_NAMESPACE, told.channel_no)),
                "create_time": rfc3339(told.at),
                "resource_type": "encrypt-resource",
                "event_type": told.event_type,
                "summary": told.summary,
                "resource": resource,
            }
        )
        headers = await sign_headers(self._world, account, body, wanted_serial="")
        return RenderedNotice(headers=headers | {"Content-Type": "application/json"}, body=body)

    def is_acknowledged(self, answer: HttpAnswer) -> bool:
        """200 or 204, whatever the body says."""
        return answer.status in {200, 204}


def _payment(trade: Trade, account: WechatAccount) -> _Told:
    assert trade.paid_at is not None
    return _Told(
        kind="transaction",
        event_type="TRANSACTION.SUCCESS",
        summary="支付成功",
        channel_no=trade.channel_no,
        at=trade.paid_at,
        fields=told_transaction(as_told(trade), account) | {"trade_state": "SUCCESS"},
    )


def _refund(trade: Trade, refund: Refund, account: WechatAccount) -> _Told:
    assert refund.ended_at is not None
    event_type, summary = _REFUND_EVENTS[refund.state]
    return _Told(
        kind="refund",
        event_type=event_type,
        summary=summary,
        channel_no=refund.channel_no,
        at=refund.ended_at,
        fields=refund_notice(trade, refund, account),
    )
