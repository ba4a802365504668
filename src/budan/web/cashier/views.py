"""The cashier page of an order: choose a wallet, pay, see that it is paid."""

from typing import Literal
from urllib.parse import urlencode

import msgspec
from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler

from budan.core.errors import Refused
from budan.core.order import OrderState
from budan.core.trade import OPEN_STATES, TradeState
from budan.flows.views import Caller, OrderView, PaymentWish, TradeView
from budan.flows.wired import Flows
from budan.ports.channel import Method
from budan.web.cashier.wallets import Offer, Wallet, is_phone, list_offers, wallet_of, wallet_paying
from budan.web.exchange import Answer, Exchange, json_answer
from budan.web.page.codes import draw_code
from budan.web.page.forms import read_form
from budan.web.page.render import Pages, local_address, see_other, speech_of
from budan.web.problems import KINDS
from budan.web.rest import PageRequest, exchange_of, path_of, respond

PageState = Literal["open", "closing", "paid", "ended"]
_PAGE_STATES: dict[OrderState, PageState] = {
    OrderState.CREATED: "open",
    OrderState.PAYING: "open",
    OrderState.CLOSING: "closing",
    OrderState.PAID: "paid",
    OrderState.EXPIRED: "ended",
    OrderState.CLOSED: "ended",
}


class StateAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What an open page asks each second; a final state does not change any more."""

    state: str
    is_final: bool


def page_state(view: OrderView) -> PageState:
    """What the payer has to know of an order's state."""
    return _PAGE_STATES[OrderState(view.state)]


class Cashier:
    """Answers for the holder of an order's link."""

    def __init__(self, *, flows: Flows, pages: Pages, public_url: str, wallet_url: str | None) -> None:
        self._flows = flows
        self._pages = pages
        self._public_url = public_url
        self._wallet_url = wallet_url

    def handlers(self) -> list[HTTPRouteHandler]:
        """The pages that Litestar serves."""

        @get(path_of("cashier"), name="cashier")
        async def cashier(request: PageRequest) -> Response[bytes]:
            return respond(await self._show(exchange_of(request)))

        @post(path_of("cashier_start"), name="cashier_start")
        async def cashier_start(request: PageRequest) -> Response[bytes]:
            return respond(await self._start(exchange_of(request)))

        return [cashier, cashier_start]

    async def state(self, exchange: Exchange) -> Answer:
        """GET /pay/{token}/state: while the page is open we ask the channel, so a lost notice costs seconds."""
        caller, order_no = self._opened(exchange)
        view = await self._flows.questions.watch_order(caller, order_no)
        state = page_state(view)
        return json_answer(200, StateAnswer(state=state, is_final=state == "paid"))

    async def _show(self, exchange: Exchange) -> Answer:
        caller, order_no = self._opened(exchange)
        # A page that reloads itself because no script runs is a poll like any other.
        if b"asked=1" in exchange.scope["query_string"]:
            view = await self._flows.questions.watch_order(caller, order_no)
        else:
            view = await self._flows.reading.get_order(caller, order_no)
        return await self._page(exchange, caller, view)

    async def _start(self, exchange: Exchange) -> Answer:
        caller, order_no = self._opened(exchange)
        form = read_form(exchange.body)
        try:
            wish = PaymentWish(
                method=_read_method(form.get("method", "")),
                channel=form.get("channel"),
                return_url=f"{self._public_url}/pay/{exchange.parameters[0]}",
                payer_ip=exchange.client_ip,
            )
            await self._flows.payments.start_payment(caller, order_no, wish)
        except Refused as refused:
            view = await self._flows.reading.get_order(caller, order_no)
            return await self._page(exchange, caller, view, refused=refused)
        query = {"go": "1"} if wish.method is Method.WAP else {}
        return see_other(_address(exchange, **query))

    def _opened(self, exchange: Exchange) -> tuple[Caller, str]:
        opened = self._flows.cashier_links.read(exchange.parameters[0])
        if opened is None:
            raise Refused("page_not_found")
        return opened

    async def _page(
        self,
        exchange: Exchange,
        caller: Caller,
        view: OrderView,
        *,
        refused: Refused | None = None,
    ) -> Answer:
        user_agent = exchange.headers.get(b"user-agent", b"").decode("latin-1")
        state = page_state(view)
        trade = open_trade(view) if state == "open" else None
        if trade is not None and trade.redirect_url and wallet_of(user_agent) is Wallet.WECHAT:
            # WeChat's own browser opens no wallet's page, not even WeChat's: the payer chooses anew.
            trade = None
        payables = await self._flows.payments.list_payable(caller, view.order_no) if state == "open" else ()
        offers = list_offers(payables, user_agent=user_agent)
        token = exchange.parameters[0]
        return self._pages.render(
            "cashier.html",
            speech=speech_of(exchange.scope),
            status=200 if refused is None else KINDS[refused.code].status.value,
            order=view,
            state=state,
            trade=trade,
            drawing=draw_code(trade.qr_text) if trade is not None and trade.qr_text else None,
            jsapi=msgspec.json.encode(trade.jsapi_parameters).decode() if trade and trade.jsapi_parameters else None,
            jsapi_wallet=_script_wallet(trade).value,
            scanned_by=next(
                (wallet_paying(one).value for one in payables if trade and one.channel == trade.channel), "none"
            ),
            offers=[offer for offer in offers if not _is_shown(offer, trade)],
            in_wallet=wallet_of(user_agent).value,
            is_phone=is_phone(user_agent),
            wallet_page=self._wallet_page(trade, token),
            follows=b"go=1" in exchange.scope["query_string"],
            start_address=_address(exchange, tail="/start"),
            state_address=_address(exchange, tail="/state"),
            reload_address=_address(exchange, asked="1"),
            refused_code=None if refused is None else refused.code,
        )

    def _wallet_page(self, trade: TradeView | None, token: str) -> str | None:
        """Where one machine's tester plays the payer of a code; None where real wallets scan it."""
        if self._wallet_url is None or trade is None or trade.qr_text is None:
            return None
        query = urlencode({"code": trade.qr_text, "return_url": f"{self._public_url}/pay/{token}"})
        return f"{self._wallet_url}/wallet?{query}"


def open_trade(view: OrderView) -> TradeView | None:
    """The newest attempt that the payer can go on with."""
    for trade in reversed(view.trades):
        can_go_on = trade.qr_text or trade.redirect_url or trade.jsapi_parameters
        if can_go_on and TradeState(trade.state) in OPEN_STATES:
            return trade
    return None


def _script_wallet(trade: TradeView | None) -> Wallet:
    """Whose script takes the parameters: Alipay's asks for the number of its trade, WeChat's for a prepay_id."""
    is_alipays = trade is not None and trade.jsapi_parameters is not None and "tradeNO" in trade.jsapi_parameters
    return Wallet.ALIPAY if is_alipays else Wallet.WECHAT


def _is_shown(offer: Offer, trade: TradeView | None) -> bool:
    return trade is not None and trade.channel == offer.channel and trade.method == offer.method.value


def _read_method(text: str) -> Method:
    if text not in {Method.NATIVE.value, Method.WAP.value}:
        raise Refused("method_unsupported", param="method")
    return Method(text)


def _address(exchange: Exchange, *, tail: str = "", **query: str) -> str:
    return local_address(exchange.scope, f"/pay/{exchange.parameters[0]}{tail}", **query)
