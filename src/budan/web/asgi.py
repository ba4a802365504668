"""The one ASGI application: hot routes answered here, the rest handed to Litestar."""

from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from itertools import count
from secrets import token_hex
from time import perf_counter

import structlog

from budan.core.errors import Overloaded, Refused, StoreUnavailable
from budan.core.numbers import Environment
from budan.flows.views import Caller
from budan.flows.wired import Flows
from budan.telemetry import metrics
from budan.web.api.listing import listing_handlers
from budan.web.api.orders import OrdersApi
from budan.web.api.payers import PayersApi
from budan.web.api.refunds import RefundsApi
from budan.web.assets.files import Assets
from budan.web.cashier.shop import ShopPage
from budan.web.cashier.views import Cashier
from budan.web.docs.views import Docs
from budan.web.exchange import (
    Answer,
    Exchange,
    Header,
    Receive,
    Scope,
    Send,
    problem_answer,
    send_answer,
)
from budan.web.notices.receive import NoticeReceiver
from budan.web.ops.books import BooksPage
from budan.web.ops.probes import Probes
from budan.web.page.render import Pages
from budan.web.problems import refusal_of
from budan.web.reading import (
    ClientGone,
    check_content_type,
    read_body,
    read_idempotency_key,
)
from budan.web.rest import Rest
from budan.web.routes import BODY_BYTES_MAX, ROUTES, BodyKind, Found, Route, Router, Surface
from budan.web.terminal.views import TerminalPage

RawAnswerer = Callable[[Exchange], Awaitable[Answer]]

# Above this the process is behind by seconds; refusing at once is the honest answer.
REQUESTS_OPEN_MAX = 2_000
# Bodies that are on their way from strangers, who need no key to send half a form for as long as they may.
BODIES_OF_ADDRESS_MAX = 200
BODIES_OF_STRANGERS_MAX = 10_000
# Nobody reads our metrics by a status that was never sent; nginx counts these so.
STATUS_CLIENT_GONE = 499

_CONTENT_TYPES = {BodyKind.JSON: b"application/json", BodyKind.FORM: b"application/x-www-form-urlencoded"}
_CLOSE: tuple[Header, ...] = ((b"connection", b"close"),)
_UNREAD_BODY_CODES = frozenset({"body_too_large", "body_timeout"})
_BEARER = b"bearer "
API_KEY_BYTES_MAX = 255

# Over a Unix socket nobody has an address, and channels ask for one.
CLIENT_IP_UNKNOWN = "127.0.0.1"

_log = structlog.get_logger("budan.web")
_number = count(1)
_prefix = token_hex(4)


class Application:
    """Admits each request in one order, and answers every failure in the form of its surface.

    The precedence of refusals: overloaded, path, method, API key, body size and time, content type, idempotency key,
    JSON, fields, then whatever the flow refuses. The first that applies wins.
    """

    def __init__(
        self, *, flows: Flows, raw: Mapping[str, RawAnswerer], rest: Rest, pages: Pages, probes: Probes
    ) -> None:
        self._directory = flows.directory
        self._raw = raw
        self._rest = rest
        self._pages = pages
        self._probes = probes
        self._router = Router(ROUTES)
        self._open_count = 0
        self._bodies: Counter[str] = Counter()
        self._bodies_count = 0

    def begin_drain(self) -> None:
        """Tell whoever asks /readyz that this instance is about to go; requests are still answered."""
        self._probes.begin_drain()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        started_s = perf_counter()
        found = self._router.find(method=scope["method"], path=scope["path"])
        route_name = _name_of(found)
        status = STATUS_CLIENT_GONE
        self._open_count += 1
        try:
            status = await self._serve(scope, receive, send, found)
        except ClientGone:
            _log.info("client_gone", route=route_name)
        finally:
            self._open_count -= 1
            metrics.labelled(metrics.HTTP_REQUESTS, route_name, str(status)).inc()
            metrics.labelled(metrics.HTTP_SECONDS, route_name).observe(perf_counter() - started_s)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, found: Found | frozenset[str] | None) -> int:
        request_id = f"{_prefix}-{next(_number):06x}"
        try:
            route, exchange = await self._admit(scope, receive, found, request_id=request_id)
            raw = self._raw.get(route.name)
            if raw is None:
                return await self._rest.answer(exchange, send)
            answer = await raw(exchange)
        except (Refused, Overloaded, StoreUnavailable) as error:
            answer = self._refusal(scope, found, refusal_of(error), request_id=request_id)
        except ClientGone:
            raise
        except Exception:  # noqa: BLE001 - top of a request
            # Do not log the path: a page's address holds the token that opens it.
            _log.exception("request_failed", request_id=request_id, route=_name_of(found))
            answer = self._refusal(scope, found, Refused("internal_error"), request_id=request_id)
        await send_answer(send, answer, request_id=request_id)
        return answer.status

    async def _admit(
        self,
        scope: Scope,
        receive: Receive,
        found: Found | frozenset[str] | None,
        *,
        request_id: str,
    ) -> tuple[Route, Exchange]:
        """Everything that is asked of a request before its own code runs; raises `Refused` in the promised order."""
        is_probe = isinstance(found, Found) and found.route.surface is Surface.OPS
        if self._open_count > REQUESTS_OPEN_MAX and not is_probe:
            raise Overloaded
        if found is None:
            raise Refused("path_unknown")
        if not isinstance(found, Found):
            raise Refused("method_not_allowed", detail=f"takes {', '.join(sorted(found))}")
        route = found.route
        headers: dict[bytes, bytes] = dict(scope["headers"])
        client: tuple[str, int] | None = scope.get("client")
        exchange = Exchange(
            scope=scope,
            request_id=request_id,
            parameters=found.parameters,
            headers=headers,
            client_ip=CLIENT_IP_UNKNOWN if client is None else client[0],
        )
        if route.asks_key:
            exchange.caller = await self._authenticate(headers)
        if route.body is not BodyKind.NONE:
            bytes_max = BODY_BYTES_MAX[route.body]
            declared = headers.get(b"content-length")
            with self._reading(exchange):
                exchange.body = await read_body(receive, declared=declared, bytes_max=bytes_max)
            if self._open_count > REQUESTS_OPEN_MAX:
                raise Overloaded
            wanted = _CONTENT_TYPES.get(route.body)
            if wanted is not None:
                check_content_type(headers, wanted=wanted)
        if route.takes_idempotency_key:
            exchange.idempotency_key = read_idempotency_key(headers, is_needed=route.needs_idempotency_key)
        return route, exchange

    @contextmanager
    def _reading(self, exchange: Exchange) -> Generator[None]:
        """While a stranger's body comes his request is not open: half-sent ones must not take the place of whole ones.

        Raises `Overloaded` where his address, or all strangers together, have too many on their way.
        """
        if exchange.caller is not None:
            yield
            return
        reader = exchange.client_ip
        if self._bodies[reader] >= BODIES_OF_ADDRESS_MAX or self._bodies_count >= BODIES_OF_STRANGERS_MAX:
            raise Overloaded
        self._bodies[reader] += 1
        self._bodies_count += 1
        self._open_count -= 1
        try:
            yield
        finally:
            self._open_count += 1
            self._bodies_count -= 1
            self._bodies[reader] -= 1
            if not self._bodies[reader]:
                del self._bodies[reader]

    async def _authenticate(self, headers: dict[bytes, bytes]) -> Caller:
        given = headers.get(b"authorization", b"")
        if given[: len(_BEARER)].lower() != _BEARER:
            raise Refused("api_key_missing", param="Authorization", detail="send Authorization: Bearer <API key>")
        key = given[len(_BEARER) :].strip()
        if not key.isascii() or len(key) > API_KEY_BYTES_MAX:
            raise Refused("api_key_unknown", param="Authorization")
        caller = await self._directory.authenticate(key.decode("ascii"))
        if caller is None:
            raise Refused("api_key_unknown", param="Authorization")
        return caller

    def _refusal(
        self,
        scope: Scope,
        found: Found | frozenset[str] | None,
        refusal: Refused,
        *,
        request_id: str,
    ) -> Answer:
        if isinstance(found, Found) and found.route.surface is Surface.PAGE:
            return self._pages.refusal(scope, refusal, request_id=request_id)
        more: tuple[Header, ...] = ()
        if refusal.code in _UNREAD_BODY_CODES:
            more = _CLOSE
        elif refusal.code.startswith("api_key_"):
            more = ((b"www-authenticate", b'Bearer realm="budan"'),)
        elif isinstance(found, frozenset):
            allowed = found | {"HEAD"} if "GET" in found else found
            more = ((b"allow", ", ".join(sorted(allowed)).encode()),)
        return problem_answer(refusal, request_id=request_id, more=more)


def _name_of(found: Found | frozenset[str] | None) -> str:
    return found.route.name if isinstance(found, Found) else "none"


def build_app(flows: Flows, *, wallet_url: str | None = None) -> Application:
    """The application over wired flows.

    `wallet_url` is where the sandbox shows its wallet, so that one machine's tester can play the payer. Outside the
    local environment real wallets pay, and it is not shown.
    """
    wallet_url = wallet_url if flows.environment is Environment.LOCAL else None
    public_url = flows.public_url.rstrip("/")
    assets = Assets.load()
    pages = Pages(assets=assets)
    refunds = RefundsApi(flows=flows)
    orders = OrdersApi(flows=flows, public_url=public_url)
    payers = PayersApi(flows=flows, orders=orders)
    cashier = Cashier(flows=flows, pages=pages, public_url=public_url, wallet_url=wallet_url)
    terminal = TerminalPage(flows=flows, pages=pages)
    probes = Probes(flows=flows)
    raw: dict[str, RawAnswerer] = {
        "create_order": orders.create,
        "charge": orders.charge,
        "charge_again": orders.charge_again,
        "get_order": orders.get,
        "close_order": orders.close,
        "cancel_charge": orders.cancel,
        "create_refund": refunds.create,
        "list_refunds": refunds.list_of,
        "get_refund": refunds.get,
        "bind_payer": payers.bind,
        "notify": NoticeReceiver(flows=flows).receive,
        "cashier_state": cashier.state,
        "terminal_state": terminal.state,
        "asset": assets.answer,
        "livez": probes.live,
        "readyz": probes.ready,
        "metrics": probes.count,
    }
    rest = Rest(
        [
            *listing_handlers(flows=flows, orders=orders),
            *payers.handlers(),
            *cashier.handlers(),
            *terminal.handlers(),
            *ShopPage(flows=flows, pages=pages).handlers(),
            *Docs(pages=pages, public_url=public_url).handlers(),
            *BooksPage(flows=flows, pages=pages).handlers(),
        ]
    )
    return Application(flows=flows, raw=raw, rest=rest, pages=pages, probes=probes)
