"""How iPaynow announces a payment (docs/protocols/ipaynow.md §4)."""

from typing import Final

from budan.sandbox.ipaynow_messages import order_fields
from budan.sandbox.notices import RenderedNotice
from budan.sandbox.records import IpaynowAccount, Refund, Trade
from budan.sandbox.telling import as_told
from budan.sandbox.world import World
from budan.wire.forms import render_form
from budan.wire.http import HttpAnswer
from budan.wire.ipaynow import Signed, signed

_MINUTE_S: Final = 60.0
_HOUR_S: Final = 3_600.0
_OK: Final = 200


class IpaynowAnnouncer:
    """Writes signed forms and does not call them so."""

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def repeat_after_s(self) -> tuple[float, ...]:
        """8 repeats; the specification's own gaps, though they add up to more than its 25 hours."""
        minutes = tuple(count * _MINUTE_S for count in (2, 10, 30))
        return (*minutes, *(count * _HOUR_S for count in (1, 2, 6, 10, 15)))

    async def render(self, trade: Trade, refund: Refund | None) -> RenderedNotice:
        """The same bytes each time: nothing in it tells of its sending."""
        assert refund is None, "iPaynow tells of payments only"
        account = self._world.truth.account_of(trade)
        assert isinstance(account, IpaynowAccount)
        fields = {"funcode": "N001", "version": "1.0.0", "appId": account.app_id, **order_fields(as_told(trade))}
        fields["signType"] = "MD5"
        body = render_form(signed(fields, app_key=account.app_key, kind=Signed.PAY_ANSWER))
        # The real content type is not reliable either, so a shop must read the raw body.
        return RenderedNotice(headers={"Content-Type": "text/plain"}, body=body)

    def is_acknowledged(self, answer: HttpAnswer) -> bool:
        """200 with exactly `success=Y`."""
        return answer.status == _OK and answer.body == b"success=Y"
