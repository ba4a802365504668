"""Whose payment an order's was, and what payers have of cashback."""

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from budan.flows.wired import Flows
from budan.web.api.listing import read_query
from budan.web.api.messages import PayerQuery, PayerRequest
from budan.web.api.orders import OrdersApi
from budan.web.exchange import Answer, Exchange, json_answer
from budan.web.reading import read_json
from budan.web.rest import PageRequest, exchange_of, path_of, respond

_PAYER = msgspec.json.Decoder(PayerRequest)


class PayersApi:
    """Answers for one merchant at a time: a payer of another one has nothing here."""

    def __init__(self, *, flows: Flows, orders: OrdersApi) -> None:
        self._flows = flows
        self._orders = orders

    async def bind(self, exchange: Exchange) -> Answer:
        """POST /v1/orders/{order_no}/payer."""
        request = read_json(_PAYER, exchange.body)
        view = await self._flows.payers.bind(exchange.known_caller(), exchange.parameters[0], request.payer_id)
        return json_answer(200, self._orders.answer(view))

    def handlers(self) -> list[HTTPRouteHandler]:
        """GET /v1/payers/{payer_id}/cashback."""

        @get(path_of("get_payer"), name="get_payer")
        async def get_payer(request: PageRequest) -> Response[bytes]:
            exchange, query = exchange_of(request), read_query(request, PayerQuery)
            page = await self._flows.payers.get(
                exchange.known_caller(), exchange.parameters[0], cursor=query.cursor, limit=query.limit
            )
            return respond(json_answer(200, page))

        return [get_payer]
