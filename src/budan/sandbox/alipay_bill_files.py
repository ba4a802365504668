"""Where Alipay's bills lie for half a minute: another host than the gateway, and nothing there is signed."""

from typing import Final
from urllib.parse import parse_qs

from budan.sandbox.exchange import Answer, Request
from budan.sandbox.world import World

PATH: Final = "/alipay-bills"


class AlipayBillFiles:
    """Answers the address that the gateway told."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def answer(self, request: Request) -> Answer:
        """The ZIP, or a page without it once the half minute is over."""
        token = parse_qs(request.query).get("token", [""])[0]
        content = self._world.bills.find(token, now=self._world.clock())
        if request.method != "GET" or content is None:
            return Answer(status=404, body="下载链接已失效\n".encode(), content_type="text/html; charset=utf-8")
        return Answer(status=200, body=content, content_type="application/octet-stream")
