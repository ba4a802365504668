"""The cash desk: enter the amount, scan the customer's code, see the result."""

import re
from hashlib import sha256

import msgspec
from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler

from budan.core.errors import Refused
from budan.flows.views import ChargeOrder, CreateOrder, OrderView, PaymentStatus, Terminal
from budan.flows.wired import Flows
from budan.web.cashier.shop import subject_of
from budan.web.exchange import Answer, Exchange, json_answer
from budan.web.page.forms import make_nonce, parse_amount, parse_code, read_form, read_nonce
from budan.web.page.render import Pages, local_address, see_other, speech_of
from budan.web.problems import KINDS
from budan.web.rest import PageRequest, exchange_of, path_of, respond

CURRENCY = "CNY"
# Short, because the page behind the redirect goes on asking and shows the waiting itself.
WAIT_S = 2.5

_TOKEN = re.compile(r"[0-9A-Za-z_-]{1,128}")


class TerminalState(msgspec.Struct, frozen=True, kw_only=True):
    """What an open result asks each second."""

    state: str
    is_final: bool


class TerminalPage:
    """Answers for the holder of a desk's link. A code is charged once per form, however often the form is sent."""

    def __init__(self, *, flows: Flows, pages: Pages) -> None:
        self._flows = flows
        self._pages = pages

    def handlers(self) -> list[HTTPRouteHandler]:
        """The pages that Litestar serves."""

        @get(path_of("terminal"), name="terminal")
        async def terminal(request: PageRequest) -> Response[bytes]:
            exchange = exchange_of(request)
            return respond(self._desk(exchange, await self._terminal(exchange)))

        @post(path_of("terminal_charge"), name="terminal_charge")
        async def terminal_charge(request: PageRequest) -> Response[bytes]:
            return respond(await self._charge(exchange_of(request)))

        @get(path_of("terminal_order"), name="terminal_order")
        async def terminal_order(request: PageRequest) -> Response[bytes]:
            return respond(await self._result(exchange_of(request)))

        return [terminal, terminal_charge, terminal_order]

    async def state(self, exchange: Exchange) -> Answer:
        """GET /terminal/{token}/orders/{order_no}/state."""
        terminal = await self._terminal(exchange)
        await self._refuse_other_shops(terminal, exchange.parameters[1])
        view = await self._flows.questions.watch_order(terminal.caller, exchange.parameters[1])
        return json_answer(200, _state_of(view))

    async def _charge(self, exchange: Exchange) -> Answer:
        terminal = await self._terminal(exchange)
        form = read_form(exchange.body)
        try:
            amount_minor = parse_amount(form.get("amount", ""), currency=CURRENCY)
            code = parse_code(form.get("auth_code", ""))
            mark = f"t-{read_nonce(form)}"
            wish = ChargeOrder(
                order=CreateOrder(
                    caller=terminal.caller,
                    reference=mark,
                    amount_minor=amount_minor,
                    currency=CURRENCY,
                    subject=subject_of(terminal.shop_name),
                    request_digest=sha256(f"{mark} {amount_minor} {code}".encode()).digest(),
                    idempotency_key=mark,
                    shop_id=terminal.shop_id,
                    terminal_id=terminal.terminal_id,
                ),
                auth_code=code,
                device_id=f"desk-{terminal.terminal_id}",
                device_ip=exchange.client_ip,
                wait_s=WAIT_S,
            )
            view = await self._flows.payments.charge(wish)
        except Refused as refused:
            return self._desk(exchange, terminal, amount=form.get("amount", ""), refused=refused)
        return see_other(_address(exchange, f"/orders/{view.order_no}"))

    async def _result(self, exchange: Exchange) -> Answer:
        terminal = await self._terminal(exchange)
        order_no = exchange.parameters[1]
        await self._refuse_other_shops(terminal, order_no)
        if b"asked=1" in exchange.scope["query_string"]:
            view = await self._flows.questions.watch_order(terminal.caller, order_no)
        else:
            view = await self._flows.reading.get_order(terminal.caller, order_no)
        state = _state_of(view)
        return self._pages.render(
            "result.html",
            speech=speech_of(exchange.scope),
            terminal=terminal,
            order=view,
            state=state.state,
            is_final=state.is_final,
            desk_address=_address(exchange),
            state_address=_address(exchange, f"/orders/{order_no}/state"),
            reload_address=_address(exchange, f"/orders/{order_no}", asked="1"),
        )

    async def _refuse_other_shops(self, terminal: Terminal, order_no: str) -> None:
        """A desk's link lies open on a counter: it shows what its own shop took, and no other shop's trade."""
        if await self._flows.reading.find_shop_id(terminal.caller, order_no) != terminal.shop_id:
            raise Refused("order_not_found", param="order_no")

    async def _terminal(self, exchange: Exchange) -> Terminal:
        token = exchange.parameters[0]
        terminal = await self._flows.directory.find_terminal(token) if _TOKEN.fullmatch(token) else None
        if terminal is None:
            raise Refused("page_not_found")
        return terminal

    def _desk(
        self,
        exchange: Exchange,
        terminal: Terminal,
        *,
        amount: str = "",
        refused: Refused | None = None,
    ) -> Answer:
        return self._pages.render(
            "desk.html",
            speech=speech_of(exchange.scope),
            status=200 if refused is None else KINDS[refused.code].status.value,
            terminal=terminal,
            amount=amount,
            nonce=make_nonce(),
            charge_address=_address(exchange, "/charge"),
            refused_code=None if refused is None else refused.code,
        )


def _state_of(view: OrderView) -> TerminalState:
    return TerminalState(
        state=view.payment_status.value,
        is_final=view.payment_status is not PaymentStatus.PENDING,
    )


def _address(exchange: Exchange, tail: str = "", **query: str) -> str:
    return local_address(exchange.scope, f"/terminal/{exchange.parameters[0]}{tail}", **query)
