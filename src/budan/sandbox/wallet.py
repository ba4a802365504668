"""The wallet's pages, on which a person plays the payer."""

from collections.abc import Mapping
from importlib import resources
from typing import Any, Final
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

import segno

from budan.sandbox.admin import render_event
from budan.sandbox.alipay import return_address
from budan.sandbox.alipay_messages import yuan
from budan.sandbox.auth_codes import make_auth_code
from budan.sandbox.exchange import Answer, Request
from budan.sandbox.faults import Faults
from budan.sandbox.finding import AdminRefusal, find_trade
from budan.sandbox.numbers import BEIJING, H5_LINK_LIFE
from budan.sandbox.pages import Pages, View
from budan.sandbox.payer import PayRefused, is_expired
from budan.sandbox.records import AlipayAccount, ChannelName, Event, Method, Placed, Trade, TradeState
from budan.sandbox.wallet_texts import TEXTS
from budan.sandbox.wechat_v3 import H5_PATH
from budan.sandbox.world import World

PATH: Final = "/wallet"
_STYLE_PATH: Final = "/wallet/wallet.css"
_CODE_PATH: Final = "/wallet/code"
_LISTED_MAX: Final = 20
_SEARCHED_MAX: Final = 2_000
_NOTICE_DELAY_S: Final = 10
_TYPING_S: Final = 10
_AMOUNT_OFF_MINOR: Final = -1
_STALE_S: Final = 10
_QR_SCALE: Final = 6
# Whose code a shop scans; a code of one is charged on every channel that it pays on.
_WALLETS: Final = (ChannelName.WECHAT_V3, ChannelName.ALIPAY)
_PAY_TICKS: Final = (
    "drop_notice",
    "double_notice",
    "delay_notice",
    "reorder_notice",
    "forge_notice",
    "wrong_amount",
    "wrong_merchant",
    "stale_query",
)
_CODE_TICKS: Final = (
    "timeout_after_charge",
    "timeout_before_charge",
    "busy",
    "types_then_pays",
    "types_then_fails",
    *_PAY_TICKS,
)


class Wallet:
    """Answers /wallet, every path under it, and the address that WeChat's H5 leads a browser to."""

    def __init__(self, world: World) -> None:
        self._world = world
        folder = resources.files("budan.sandbox")
        self._style = folder.joinpath("static", "wallet.css").read_bytes()
        self._pages = Pages(TEXTS)

    async def answer(self, request: Request) -> Answer:
        """A page; a refusal is shown as one."""
        if request.path == _STYLE_PATH:
            return Answer(status=200, body=self._style, content_type="text/css; charset=utf-8")
        view = View(request)
        try:
            return await self._route(request, view)
        except PayRefused as refusal:
            return self._refusal(view, refusal.code, status=409)
        except AdminRefusal as refusal:
            return self._refusal(view, refusal.code, status=refusal.status)

    async def _route(self, request: Request, view: View) -> Answer:
        if request.path == H5_PATH:
            return self._h5(request, view)
        if request.path == PATH and request.method == "GET":
            return self._home(view)
        if request.path == _CODE_PATH and request.method == "GET":
            return self._code(view)
        trade_no = unquote(request.path.removeprefix(f"{PATH}/"))
        trade = find_trade(self._world, trade_no=trade_no, account_id=view.query.get("account_id", ""))
        if request.method == "POST":
            return await self._pay(view, trade, form=parse_qs(request.body.decode("latin-1")))
        return self._trade(view, trade)

    def _home(self, view: View) -> Answer:
        if code := view.query.get("code"):
            trade = self._world.payer.find_scanned(code)
            back = {"return_url": view.query["return_url"]} if "return_url" in view.query else {}
            return Answer(status=303, headers={"Location": _trade_path(view, trade, **back)})
        unpaid = [self._shown(trade, view) for trade in self._unpaid()]
        return self._pages.render("wallet_home.html", view, {"unpaid": unpaid})

    def _h5(self, request: Request, view: View) -> Answer:
        """Leads a browser to the trade as WeChat does: not its own browser, and only from a page that says where it is."""
        if "MicroMessenger" in request.headers.get("user-agent", ""):
            raise AdminRefusal(403, "h5_in_wechat")
        if not request.headers.get("referer"):
            raise AdminRefusal(403, "h5_from_nowhere")
        trade = self._world.payer.find_scanned(view.query.get("prepay_id", ""), life=H5_LINK_LIFE)
        back = {"return_url": view.query["redirect_url"]} if "redirect_url" in view.query else {}
        return Answer(status=303, headers={"Location": _trade_path(view, trade, **back)})

    def _unpaid(self) -> list[Trade]:
        now = self._world.clock()
        found: list[Trade] = []
        for trade, _ in zip(self._world.truth.newest_first(), range(_SEARCHED_MAX), strict=False):
            if trade.state is TradeState.WAITING and not is_expired(trade, now):
                found.append(trade)
            if len(found) == _LISTED_MAX:
                break
        return found

    def _trade(self, view: View, trade: Trade, *, refused: str = "") -> Answer:
        now = self._world.clock()
        is_payable = trade.state is TradeState.WAITING and not is_expired(trade, now)
        if is_payable:
            trade = self._world.payer.scan(trade)
        back = self._return_url(view, trade)
        shown = self._shown(trade, view) | {
            "events": [_shown_event(event) for event in self._world.truth.history(trade)],
            "is_payable": is_payable,
            "ticks": _PAY_TICKS,
            "action": _trade_path(view, trade, **({"return_url": back} if back and not trade.return_url else {})),
            "refused": refused,
        }
        origins = _origin(back)
        return self._pages.render("wallet_trade.html", view, shown, form_action=origins, status=409 if refused else 200)

    async def _pay(self, view: View, trade: Trade, *, form: Mapping[str, list[str]]) -> Answer:
        try:
            # Nobody ticked anything: then the odds may.
            ticked = [tick for tick in _PAY_TICKS if tick in form]
            trade = self._world.payer.pay(trade, faults=_ticked_faults(ticked) if form else None)
        except PayRefused as refusal:
            return self._trade(view, trade, refused=refusal.code)
        where = self._return_url(view, trade)
        if where and trade.method is Method.WAP and isinstance(self._world.truth.account_of(trade), AlipayAccount):
            where = await return_address(self._world, trade, now=self._world.clock())
        return Answer(status=303, headers={"Location": where or _trade_path(view, trade)})

    def _code(self, view: View) -> Answer:
        try:
            channel = ChannelName(view.query.get("channel", ChannelName.WECHAT_V3.value))
        except ValueError as error:
            raise AdminRefusal(404, "trade_unknown") from error
        ticked = [tick for tick in _CODE_TICKS if tick in view.query]
        code = make_auth_code(self._world, channel=channel, faults=_ticked_faults(ticked) if ticked else None)
        drawing = segno.make(code.auth_code, error="m", micro=False)
        shown = {
            "digits": " ".join(code.auth_code[at : at + 4] for at in range(0, len(code.auth_code), 4)),
            "drawing": drawing.svg_inline(scale=_QR_SCALE),
            "channels": [wallet.value for wallet in _WALLETS],
            "chosen": channel.value,
            "ticks": _CODE_TICKS,
            "ticked": ticked,
        }
        return self._pages.render("wallet_code.html", view, shown)

    def _refusal(self, view: View, code: str, *, status: int) -> Answer:
        return self._pages.render("wallet_refusal.html", view, {"refused": code}, status=status)

    def _return_url(self, view: View, trade: Trade) -> str:
        """Where the shop wants the payer back: its signed address, or one on the host of its callbacks."""
        if trade.return_url:
            return trade.return_url
        wanted = urlsplit(view.query.get("return_url", ""))
        is_the_shops = wanted.hostname is not None and wanted.hostname == urlsplit(trade.notify_url).hostname
        return wanted.geturl() if is_the_shops and wanted.scheme in {"http", "https"} else ""

    def _shown(self, trade: Trade, view: View) -> dict[str, Any]:
        expires = trade.expires_at
        return {
            "subject": trade.subject,
            "trade_no": trade.trade_no,
            "amount": f"¥{yuan(trade.amount_minor)}",
            "channel": self._world.truth.account_of(trade).CHANNEL.value,
            "state": trade.state.value,
            "expires": None if expires is None else expires.astimezone(BEIJING).strftime("%Y-%m-%d %H:%M:%S"),
            "path": _trade_path(view, trade),
        }


def _trade_path(view: View, trade: Trade, **more: str) -> str:
    """The address of the trade's page."""
    query = urlencode({"account_id": trade.account_id, "lang": view.language, **more})
    return f"{PATH}/{quote(trade.trade_no, safe='')}?{query}"


def _shown_event(event: Event | Placed) -> dict[str, Any]:
    fields = render_event(event)
    at = fields["at"].astimezone(BEIJING)
    return fields | {"at": at.strftime("%H:%M:%S.%f")[:-3]}


def _ticked_faults(ticked: list[str]) -> Faults:
    is_typing = "types_then_pays" in ticked or "types_then_fails" in ticked
    return Faults(
        timeout_after_charge="timeout_after_charge" in ticked,
        timeout_before_charge="timeout_before_charge" in ticked,
        busy="busy" in ticked,
        user_paying_s=_TYPING_S if is_typing else 0,
        user_paying_ends="failed" if "types_then_fails" in ticked else "paid",
        drop_notice="drop_notice" in ticked,
        double_notice="double_notice" in ticked,
        delay_notice_s=_NOTICE_DELAY_S if "delay_notice" in ticked else 0,
        reorder_notice="reorder_notice" in ticked,
        forge_notice="forge_notice" in ticked,
        wrong_merchant="wrong_merchant" in ticked,
        amount_off_minor=_AMOUNT_OFF_MINOR if "wrong_amount" in ticked else 0,
        stale_query_s=_STALE_S if "stale_query" in ticked else 0,
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""
