"""The page behind a shop's printed code: the customer enters the amount and gets an order to pay."""

import re

from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler

from budan.core.errors import Refused
from budan.flows.views import Shop
from budan.flows.wired import Flows
from budan.web.exchange import Answer, Exchange
from budan.web.page.forms import parse_amount, read_form
from budan.web.page.render import Pages, local_address, see_other, speech_of
from budan.web.problems import KINDS
from budan.web.rest import PageRequest, exchange_of, path_of, respond

CURRENCY = "CNY"

_CODE = re.compile(r"[0-9A-Za-z_-]{1,64}")


class ShopPage:
    """Answers for whoever scans a shop's sign."""

    def __init__(self, *, flows: Flows, pages: Pages) -> None:
        self._flows = flows
        self._pages = pages

    def handlers(self) -> list[HTTPRouteHandler]:
        """The pages that Litestar serves."""

        @get(path_of("shop"), name="shop")
        async def shop(request: PageRequest) -> Response[bytes]:
            exchange = exchange_of(request)
            return respond(self._page(exchange, await self._shop(exchange)))

        @post(path_of("shop_order"), name="shop_order")
        async def shop_order(request: PageRequest) -> Response[bytes]:
            return respond(await self._order(exchange_of(request)))

        return [shop, shop_order]

    async def _order(self, exchange: Exchange) -> Answer:
        shop = await self._shop(exchange)
        form = read_form(exchange.body)
        try:
            amount_minor = parse_amount(form.get("amount", ""), currency=CURRENCY)
            view = await self._flows.shop_orders.take(
                shop,
                form.get("nonce", ""),
                amount_minor=amount_minor,
                currency=CURRENCY,
                subject=subject_of(shop.name),
            )
        except Refused as refused:
            return self._page(exchange, shop, amount=form.get("amount", ""), refused=refused)
        token = self._flows.cashier_links.render(view.order_no)
        return see_other(local_address(exchange.scope, f"/pay/{token}"))

    async def _shop(self, exchange: Exchange) -> Shop:
        code = exchange.parameters[0]
        shop = await self._flows.directory.find_shop(code) if _CODE.fullmatch(code) else None
        if shop is None:
            raise Refused("page_not_found")
        return shop

    def _page(self, exchange: Exchange, shop: Shop, *, amount: str = "", refused: Refused | None = None) -> Answer:
        return self._pages.render(
            "shop.html",
            speech=speech_of(exchange.scope),
            status=200 if refused is None else KINDS[refused.code].status.value,
            shop=shop,
            amount=amount,
            nonce=self._flows.shop_orders.make_form(shop),
            order_address=local_address(exchange.scope, f"/s/{exchange.parameters[0]}"),
            refused_code=None if refused is None else refused.code,
        )


def subject_of(name: str) -> str:
    """What the wallet shows for an order without goods: the shop's name, as far as every channel takes it."""
    return re.sub(r"[\x00-\x1f\x7f/=&]", " ", name)[:40].strip() or "-"
