"""How Alipay announces a payment, and a refund where it does (docs/protocols/alipay.md §4)."""

import hashlib
from typing import Final

from budan.sandbox.alipay_messages import notice_fields, refund_notice_fields
from budan.sandbox.notices import RenderedNotice
from budan.sandbox.records import AlipayAccount, Refund, Trade
from budan.sandbox.telling import STRANGER_SELLER, as_told, lies_of_merchant
from budan.sandbox.world import World
from budan.wire.alipay import notify_sign_string
from budan.wire.forms import render_form
from budan.wire.http import HttpAnswer

_MINUTE_S: Final = 60.0
_HOUR_S: Final = 3_600.0
_OK: Final = 200
_NOTIFY_ID_LENGTH: Final = 34


class AlipayAnnouncer:
    """Writes signed forms."""

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def repeat_after_s(self) -> tuple[float, ...]:
        """7 repeats in about 25 hours."""
        minutes = tuple(count * _MINUTE_S for count in (4, 10, 10))
        return (*minutes, *(count * _HOUR_S for count in (1, 2, 6, 15)))

    async def render(self, trade: Trade, refund: Refund | None) -> RenderedNotice:
        """The same notify_id each time, with a fresh time and signature."""
        account = self._world.truth.account_of(trade)
        assert isinstance(account, AlipayAccount)
        told_no = trade.channel_no if refund is None else f"{trade.channel_no}{refund.refund_no}"
        fields = dict(
            notice_fields(
                as_told(trade),
                app_id=account.app_id,
                seller_id=STRANGER_SELLER if lies_of_merchant(trade) else account.seller_id,
                notify_id=hashlib.sha256(told_no.encode()).hexdigest()[:_NOTIFY_ID_LENGTH],
                now=self._world.told_time(account.account_id),
            )
        )
        if refund is not None:
            fields |= refund_notice_fields(trade, refund)
        # A notice does not name its certificate: no document shows that it does.
        _, private_key = self._world.keys.alipay_key(account)
        signature = await self._world.signer.sign_sha256(private_key, notify_sign_string(fields))
        body = render_form(fields | {"sign_type": "RSA2", "sign": signature})
        content_type = "application/x-www-form-urlencoded; charset=utf-8"
        return RenderedNotice(headers={"Content-Type": content_type}, body=body)

    def is_acknowledged(self, answer: HttpAnswer) -> bool:
        """200 with exactly `success`."""
        return answer.status == _OK and answer.body == b"success"
