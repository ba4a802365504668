"""The one table of addresses: routing, limits, keys and OpenAPI are read from it."""

from dataclasses import dataclass
from enum import Enum

import msgspec

from budan.flows.views import PayerPage, RefundView
from budan.web.api.messages import (
    ChargeAgainRequest,
    ChargeRequest,
    CreateOrderRequest,
    OrderAnswer,
    OrderListAnswer,
    OrderListQuery,
    PayerQuery,
    PayerRequest,
    RefundListAnswer,
    RefundRequest,
)
from budan.web.reading import API_BODY_BYTES_MAX, NOTICE_BODY_BYTES_MAX


class Surface(Enum):
    """Who an address is for; decides how a refusal looks."""

    API = "api"
    NOTICE = "notice"
    PAGE = "page"
    OPS = "ops"


class BodyKind(Enum):
    """What a request may bring."""

    NONE = "none"
    JSON = "json"
    FORM = "form"
    BYTES = "bytes"


BODY_BYTES_MAX: dict[BodyKind, int] = {
    BodyKind.NONE: API_BODY_BYTES_MAX,
    BodyKind.JSON: API_BODY_BYTES_MAX,
    BodyKind.FORM: API_BODY_BYTES_MAX,
    BodyKind.BYTES: NOTICE_BODY_BYTES_MAX,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method of one address. `codes` are what the flow behind it refuses; what the edge adds follows from the rest."""

    name: str
    method: str
    path: str
    surface: Surface
    summary: str
    body: BodyKind = BodyKind.NONE
    takes: type[msgspec.Struct] | None = None
    query: type[msgspec.Struct] | None = None
    gives: type[msgspec.Struct] | None = None
    status: int = 200
    asks_key: bool = False
    takes_idempotency_key: bool = False
    needs_idempotency_key: bool = False
    codes: frozenset[str] = frozenset()

    @property
    def all_codes(self) -> frozenset[str]:
        """Every code that this route answers with, the edge's included."""
        codes = set(self.codes | {"internal_error", "overloaded"})
        if self.asks_key:
            codes |= {"api_key_missing", "api_key_unknown", "store_unavailable"}
        if self.takes_idempotency_key:
            codes |= {"idempotency_key_malformed", "idempotency_key_reused"}
        if self.needs_idempotency_key:
            codes.add("idempotency_key_missing")
        if self.body is not BodyKind.NONE:
            codes |= {"body_too_large", "body_timeout"}
        if self.body in {BodyKind.JSON, BodyKind.FORM}:
            codes.add("content_type_unsupported")
        if self.takes is not None:
            codes |= {"body_malformed", "field_missing", "field_unknown", "field_malformed"}
        if self.query is not None:
            codes |= {"field_unknown", "field_malformed"}
        return frozenset(codes)


_ORDER_CODES = frozenset(
    {
        "amount_not_positive",
        "amount_too_large",
        "currency_unknown",
        "reference_malformed",
        "subject_malformed",
        "reference_used",
        "shop_unknown",
    }
)
_ACCOUNT_CODES = frozenset({"no_account", "rate_missing", "channel_unavailable"})
_ORDER_NO_CODES = frozenset({"order_no_malformed", "wrong_environment", "order_not_found"})
_PAYABLE_CODES = frozenset({"order_not_payable", "order_expired", "too_many_attempts"})

ROUTES: tuple[Route, ...] = (
    Route(
        name="create_order",
        method="POST",
        path="/v1/orders",
        surface=Surface.API,
        summary="Create an order; with `payment` its customer can pay at once",
        body=BodyKind.JSON,
        takes=CreateOrderRequest,
        gives=OrderAnswer,
        status=201,
        asks_key=True,
        takes_idempotency_key=True,
        codes=_ORDER_CODES
        | _ACCOUNT_CODES
        | {"expires_in_out_of_range", "channel_unknown", "method_unsupported"}
        | {"payer_openid_missing", "payer_ip_missing"},
    ),
    Route(
        name="list_orders",
        method="GET",
        path="/v1/orders",
        surface=Surface.API,
        summary="List your orders, newest first",
        query=OrderListQuery,
        gives=OrderListAnswer,
        asks_key=True,
        codes=frozenset({"cursor_malformed", "limit_out_of_range", "state_unknown"}),
    ),
    Route(
        name="get_order",
        method="GET",
        path="/v1/orders/{order_no}",
        surface=Surface.API,
        summary="Ask for an order",
        gives=OrderAnswer,
        asks_key=True,
        codes=_ORDER_NO_CODES,
    ),
    Route(
        name="charge",
        method="POST",
        path="/v1/charges",
        surface=Surface.API,
        summary="Create an order and charge the code in the customer's wallet",
        body=BodyKind.JSON,
        takes=ChargeRequest,
        gives=OrderAnswer,
        asks_key=True,
        takes_idempotency_key=True,
        codes=_ORDER_CODES | _ACCOUNT_CODES | {"auth_code_unknown", "method_unsupported"},
    ),
    Route(
        name="charge_again",
        method="POST",
        path="/v1/orders/{order_no}/charges",
        surface=Surface.API,
        summary="Charge one more code to an order that is not paid",
        body=BodyKind.JSON,
        takes=ChargeAgainRequest,
        gives=OrderAnswer,
        asks_key=True,
        codes=_ORDER_NO_CODES
        | _PAYABLE_CODES
        | _ACCOUNT_CODES
        | {"auth_code_unknown", "method_unsupported", "charge_open"},
    ),
    Route(
        name="close_order",
        method="POST",
        path="/v1/orders/{order_no}/close",
        surface=Surface.API,
        summary="Close an order that shall not be paid any more",
        gives=OrderAnswer,
        asks_key=True,
        codes=_ORDER_NO_CODES | {"order_already_paid", "order_already_ended", "order_on_hold"},
    ),
    Route(
        name="cancel_charge",
        method="POST",
        path="/v1/orders/{order_no}/cancel",
        surface=Surface.API,
        summary="Reverse the charge of an order that is still open",
        gives=OrderAnswer,
        asks_key=True,
        codes=_ORDER_NO_CODES
        | {
            "order_already_paid",
            "no_open_charge",
            "method_unsupported",
            "order_on_hold",
            "trade_already_paid",
            "trade_already_ended",
        },
    ),
    Route(
        name="create_refund",
        method="POST",
        path="/v1/orders/{order_no}/refunds",
        surface=Surface.API,
        summary="Give back what was paid for an order, in part or all",
        body=BodyKind.JSON,
        takes=RefundRequest,
        gives=RefundView,
        status=201,
        asks_key=True,
        takes_idempotency_key=True,
        # No merchant's reference would catch a repeat.
        needs_idempotency_key=True,
        codes=_ORDER_NO_CODES
        | {
            "amount_not_positive",
            "amount_too_large",
            "reason_malformed",
            "order_not_paid",
            "order_on_hold",
            "refund_unsupported",
            "refund_too_late",
            "refund_exceeds_paid",
            "too_many_refunds",
        },
    ),
    Route(
        name="list_refunds",
        method="GET",
        path="/v1/orders/{order_no}/refunds",
        surface=Surface.API,
        summary="List the refunds of an order",
        gives=RefundListAnswer,
        asks_key=True,
        codes=_ORDER_NO_CODES,
    ),
    Route(
        name="get_refund",
        method="GET",
        path="/v1/orders/{order_no}/refunds/{refund_no}",
        surface=Surface.API,
        summary="Ask for a refund",
        gives=RefundView,
        asks_key=True,
        codes=_ORDER_NO_CODES | {"refund_not_found"},
    ),
    Route(
        name="bind_payer",
        method="POST",
        path="/v1/orders/{order_no}/payer",
        surface=Surface.API,
        summary="Say who paid an order whose channel did not tell; its cashback waits for that",
        body=BodyKind.JSON,
        takes=PayerRequest,
        gives=OrderAnswer,
        asks_key=True,
        codes=_ORDER_NO_CODES | {"payer_malformed", "order_not_paid", "no_cashback", "payer_bound"},
    ),
    Route(
        name="get_payer",
        method="GET",
        path="/v1/payers/{payer_id}/cashback",
        surface=Surface.API,
        summary="Ask what a payer has of cashback, and how it came",
        query=PayerQuery,
        gives=PayerPage,
        asks_key=True,
        codes=frozenset({"payer_malformed", "cursor_malformed", "limit_out_of_range"}),
    ),
    Route(
        name="notify",
        method="POST",
        path="/notify/{environment}/{channel}/{account_id}",
        surface=Surface.NOTICE,
        summary="A channel tells of a payment; answered in the channel's own form",
        body=BodyKind.BYTES,
        codes=frozenset({"account_not_found", "store_unavailable"}),
    ),
    Route(name="cashier_state", method="GET", path="/pay/{token}/state", surface=Surface.PAGE, summary="Is it paid?"),
    Route(name="cashier", method="GET", path="/pay/{token}", surface=Surface.PAGE, summary="The cashier"),
    Route(
        name="cashier_start",
        method="POST",
        path="/pay/{token}/start",
        surface=Surface.PAGE,
        summary="Start a payment",
        body=BodyKind.FORM,
    ),
    Route(name="shop", method="GET", path="/s/{shop_code}", surface=Surface.PAGE, summary="The printed code's page"),
    Route(
        name="shop_order",
        method="POST",
        path="/s/{shop_code}",
        surface=Surface.PAGE,
        summary="Create the order of a printed code",
        body=BodyKind.FORM,
    ),
    Route(name="terminal", method="GET", path="/terminal/{token}", surface=Surface.PAGE, summary="The cash desk"),
    Route(
        name="terminal_charge",
        method="POST",
        path="/terminal/{token}/charge",
        surface=Surface.PAGE,
        summary="Charge a customer's code",
        body=BodyKind.FORM,
    ),
    Route(
        name="terminal_order",
        method="GET",
        path="/terminal/{token}/orders/{order_no}",
        surface=Surface.PAGE,
        summary="The result of a charge",
    ),
    Route(
        name="terminal_state",
        method="GET",
        path="/terminal/{token}/orders/{order_no}/state",
        surface=Surface.PAGE,
        summary="Is it paid?",
    ),
    Route(name="books", method="GET", path="/books/{token}", surface=Surface.PAGE, summary="A day's bills and books"),
    Route(name="asset", method="GET", path="/assets/{name}", surface=Surface.PAGE, summary="A file of the pages"),
    Route(name="openapi", method="GET", path="/openapi.json", surface=Surface.API, summary="This API as OpenAPI 3.1"),
    Route(name="docs", method="GET", path="/docs", surface=Surface.PAGE, summary="This API for people"),
    Route(name="livez", method="GET", path="/livez", surface=Surface.OPS, summary="Does this instance run?"),
    Route(name="readyz", method="GET", path="/readyz", surface=Surface.OPS, summary="Can it take requests?"),
    Route(name="metrics", method="GET", path="/metrics", surface=Surface.OPS, summary="Counts and times"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The route of a request and the values in its path."""

    route: Route
    parameters: tuple[str, ...]


class Node:
    """One step of a path: literal steps first, else the step that takes any value."""

    __slots__ = ("any_step", "routes", "steps")

    def __init__(self) -> None:
        self.steps: dict[str, Node] = {}
        self.any_step: Node | None = None
        self.routes: dict[str, Route] = {}


class Router:
    """Finds a route by method and path without looking at the others."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self._root = Node()
        for route in routes:
            node = self._root
            for step in route.path.split("/")[1:]:
                node = _step_into(node, step)
            assert route.method not in node.routes, f"{route.method} {route.path} stands twice in the table"
            node.routes[route.method] = route

    def find(self, *, method: str, path: str) -> Found | frozenset[str] | None:
        """The route; or the methods that the path takes instead; or None where there is no such path."""
        node = self._root
        parameters: list[str] = []
        for step in path.split("/")[1:]:
            following = node.steps.get(step)
            if following is None:
                following = node.any_step
                if following is None or not step:
                    return None
                parameters.append(step)
            node = following
        if not node.routes:
            return None
        # Whoever may ask for the body may ask for its headers; the server leaves the body out.
        route = node.routes.get("GET" if method == "HEAD" else method)
        if route is None:
            return frozenset(node.routes)
        return Found(route=route, parameters=tuple(parameters))


def _step_into(node: Node, step: str) -> Node:
    if not step.startswith("{"):
        return node.steps.setdefault(step, Node())
    if node.any_step is None:
        node.any_step = Node()
    return node.any_step
