"""How Swiftpass announces a payment (docs/protocols/swiftpass.md §4)."""

from typing import Final

from budan.sandbox.notices import RenderedNotice
from budan.sandbox.records import Refund, SwiftpassAccount, Trade
from budan.sandbox.swiftpass import render_signed
from budan.sandbox.swiftpass_messages import paid_fields
from budan.sandbox.telling import STRANGER, as_told, lies_of_merchant
from budan.sandbox.world import World
from budan.wire.http import HttpAnswer

_OK: Final = 200


class SwiftpassAnnouncer:
    """Writes signed XML."""

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def repeat_after_s(self) -> tuple[float, ...]:
        """9 repeats in about three hours."""
        return (15, 15, 30, 180, 1_800, 1_800, 1_800, 1_800, 3_600)

    async def render(self, trade: Trade, refund: Refund | None) -> RenderedNotice:
        """The same fields each time, with a fresh nonce and signature."""
        assert refund is None, "Swiftpass tells of no refund"
        account = self._world.truth.account_of(trade)
        assert isinstance(account, SwiftpassAccount)
        fields = {"result_code": "0", "pay_result": "0", **paid_fields(as_told(trade))}
        if lies_of_merchant(trade):
            fields["out_trade_no"] = STRANGER
        body = await render_signed(self._world, account, fields)
        return RenderedNotice(headers={"Content-Type": "text/xml;charset=UTF-8"}, body=body)

    def is_acknowledged(self, answer: HttpAnswer) -> bool:
        """200 with exactly `success`."""
        return answer.status == _OK and answer.body == b"success"
