"""The merchant's list of orders."""

from typing import TypeVar

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from budan.core.errors import Refused
from budan.flows.wired import Flows
from budan.web.api.messages import OrderListAnswer, OrderListQuery
from budan.web.api.orders import OrdersApi
from budan.web.exchange import json_answer
from budan.web.reading import field_refusal
from budan.web.rest import PageRequest, exchange_of, path_of, respond

Query = TypeVar("Query", bound=msgspec.Struct)


def listing_handlers(*, flows: Flows, orders: OrdersApi) -> list[HTTPRouteHandler]:
    """GET /v1/orders."""

    @get(path_of("list_orders"), name="list_orders")
    async def list_orders(request: PageRequest) -> Response[bytes]:
        query = read_query(request, OrderListQuery)
        page = await flows.reading.list_orders(
            exchange_of(request).known_caller(),
            cursor=query.cursor,
            limit=query.limit,
            state=query.state,
            reference=query.reference,
        )
        answer = OrderListAnswer(
            orders=[orders.answer(view) for view in page.orders],
            next_cursor=page.next_cursor,
        )
        return respond(json_answer(200, answer))

    return [list_orders]


def read_query(request: PageRequest, kind: type[Query]) -> Query:
    """The query's fields; raises `Refused` with `field_malformed` or `field_unknown`."""
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in given:
            raise Refused("field_malformed", param=name, detail="given twice")
        given[name] = value
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise field_refusal(str(error)) from None
