"""What is not hot, on Litestar: told the body, the caller and the number of a request, it only answers."""

from collections.abc import Sequence
from typing import Any, cast

from litestar import Litestar, Request, Response
from litestar.handlers import HTTPRouteHandler
from litestar.types import HTTPScope as LitestarScope
from litestar.types import Message as LitestarMessage

from budan.web.exchange import Answer, Exchange, Message, Send
from budan.web.routes import ROUTES

PageRequest = Request[Any, Any, Any]
_PATHS = {route.name: route.path.replace("}", ":str}") for route in ROUTES}
_EXCHANGE = "budan_exchange"


def path_of(name: str) -> str:
    """The path of a route in Litestar's notation."""
    return _PATHS[name]


def exchange_of(request: PageRequest) -> Exchange:
    """What was learned of the request before Litestar saw it."""
    return cast("Exchange", request.scope["state"][_EXCHANGE])


def respond(answer: Answer) -> Response[bytes]:
    """An answer of ours as Litestar's response."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in answer.headers}
    media_type = headers.pop("content-type", "text/plain")
    return Response(answer.body, status_code=answer.status, media_type=media_type, headers=headers)


def _pass_on(_request: PageRequest, error: Exception) -> Response[bytes]:
    # Refusals and failures look alike on every route because one place answers them all.
    raise error


class Rest:
    """The Litestar side of the application."""

    def __init__(self, handlers: Sequence[HTTPRouteHandler]) -> None:
        self.names = frozenset(name for handler in handlers for name in [handler.name] if name)
        self._litestar = Litestar(
            list(handlers),
            openapi_config=None,
            logging_config=None,
            exception_handlers={Exception: _pass_on},
        )

    async def answer(self, exchange: Exchange, send: Send) -> int:
        """Let Litestar answer; returns the status. Raises what the handler raised, when nothing was sent yet."""
        status = 0

        async def receive() -> Message:
            return {"type": "http.request", "body": exchange.body, "more_body": False}

        async def stamped(message: LitestarMessage) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", exchange.request_id.encode())]
            await send(cast("Message", message))

        scope = dict(exchange.scope)
        # Litestar routes by method; the server leaves the body of HEAD out.
        scope["method"] = "GET" if scope["method"] == "HEAD" else scope["method"]
        scope["state"] = {_EXCHANGE: exchange}
        await self._litestar(cast("LitestarScope", scope), cast("Any", receive), stamped)
        return status
