"""The sandbox's own JSON interface, for demos, tests, audits and people; for local use only."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import parse_qs, unquote

import msgspec

from budan.sandbox.accounts import AccountRefused, AccountWish, KeysWish, change_keys, open_account, render_account
from budan.sandbox.auth_codes import make_auth_code
from budan.sandbox.bills import Absent, make_bill, parse_day
from budan.sandbox.choosing import (
    AccountFaultsWish,
    AmountsWish,
    BillFaultsWish,
    WeatherWish,
    choose_amounts,
    choose_bill_faults,
    choose_for_placing,
    choose_for_trade,
    choose_odds,
    choose_weather,
    documented_amounts,
)
from budan.sandbox.exchange import Answer, Request, json_answer
from budan.sandbox.faults import FaultOdds, Faults
from budan.sandbox.finding import AdminRefusal, find_trade
from budan.sandbox.payer import PayRefused
from budan.sandbox.records import (
    ChannelName,
    Event,
    EventKind,
    Placed,
    Refund,
    Trade,
    TradeState,
)
from budan.sandbox.refunds import RefundRefused, RefundWish, portal_refund_no, take_refund
from budan.sandbox.truth import CODE_LIFE
from budan.sandbox.world import World

PREFIX: Final = "/sandbox/"
TRUTH_PAGE_MAX: Final = 10_000
TRADES_MAX: Final = 1_000
# A list that filters looks at no more trades than this, the newest first.
_TRADES_SEARCHED_MAX: Final = 100_000
_LIMIT_DEFAULT: Final = 100
_T = TypeVar("_T")


class PayWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which trade a payer pays, by what was scanned or by number; `faults` absent leaves the notice to the odds."""

    code_text: Annotated[str, msgspec.Meta(max_length=1_000)] = ""
    trade_no: Annotated[str, msgspec.Meta(max_length=64)] = ""
    account_id: str = ""
    faults: Faults | None = None


class CodeWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which wallet shows a code, and what a charge with it meets."""

    channel: ChannelName
    faults: Faults | None = None


class PlacingWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the order of this subject shall meet when it is placed, before a payer has anything to say."""

    subject: Annotated[str, msgspec.Meta(min_length=1, max_length=127)]
    faults: Faults


class PortalWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person gives back in the channel's own portal, past the shop's program."""

    trade_no: Annotated[str, msgspec.Meta(max_length=64)]
    amount_minor: Annotated[int, msgspec.Meta(ge=1, le=10_000_000_000)]
    account_id: str = ""
    faults: Faults | None = None


class TradeFaultsWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a trade that is there already meets from now on: a channel that lied comes to its senses."""

    trade_no: Annotated[str, msgspec.Meta(max_length=64)]
    account_id: str = ""
    faults: Faults


class RefundFaultsWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the refunds of a trade meet from now on; `faults` absent leaves them to the odds again."""

    trade_no: Annotated[str, msgspec.Meta(max_length=64)]
    account_id: str = ""
    faults: Faults | None = None


class Admin:
    """Answers every path under /sandbox/."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def answer(self, request: Request) -> Answer:
        """The answer as JSON; a refusal has `code` and `detail`."""
        try:
            return await self._route(request)
        except AdminRefusal as refusal:
            return json_answer({"code": refusal.code, "detail": refusal.detail}, status=refusal.status)
        except PayRefused as refusal:
            return json_answer({"code": refusal.code, "detail": "the wallet refuses"}, status=409)
        except RefundRefused as refusal:
            return json_answer({"code": refusal.code, "detail": "no money goes back"}, status=409)
        except AccountRefused as refusal:
            return json_answer({"code": refusal.code, "detail": "no account was opened or changed"}, status=400)

    async def _route(self, request: Request) -> Answer:
        name = request.path.removeprefix(PREFIX)
        if request.method == "GET":
            return self._get(name, query=parse_qs(request.query))
        # A page of another site can post forms and plain text to this port, but not JSON.
        if not request.headers.get("content-type", "").startswith("application/json"):
            raise AdminRefusal(415, "json_wanted", "Content-Type must be application/json")
        match request.method, name:
            case _, "accounts" | "account-keys":
                return await self._keep_account(request, name)
            case "POST", "pay":
                return self._pay(_decoded(request.body, PayWish))
            case "POST", "scan":
                trade = self._world.payer.scan(self._named(_decoded(request.body, PayWish)))
                return json_answer(render_trade(self._world, trade))
            case "POST", "auth-codes":
                return self._auth_code(_decoded(request.body, CodeWish))
            case _:
                return self._choose_faults(request, name)

    async def _keep_account(self, request: Request, name: str) -> Answer:
        match request.method, name:
            case "POST", "accounts":
                account = await open_account(self._world, _decoded(request.body, AccountWish))
                return json_answer(render_account(self._world, account), status=201)
            case "PUT", "account-keys":
                account = await change_keys(self._world, _decoded(request.body, KeysWish))
                return json_answer(render_account(self._world, account))
            case _:
                raise AdminRefusal(404, "not_found", request.path)

    def _choose_faults(self, request: Request, name: str) -> Answer:
        match request.method, name:
            case "POST", "placings":
                return self._placing(_decoded(request.body, PlacingWish))
            case "POST", "portal-refunds":
                return self._refund_by_portal(_decoded(request.body, PortalWish))
            case "PUT", "trade-faults":
                chosen = _decoded(request.body, TradeFaultsWish)
                return self._choose_for_trade(chosen, EventKind.FAULTS_CHOSEN, chosen.faults)
            case "PUT", "refund-faults":
                wish = _decoded(request.body, RefundFaultsWish)
                return self._choose_for_trade(wish, EventKind.REFUND_FAULTS_CHOSEN, wish.faults)
            case _:
                return self._choose_for_all(request, name)

    def _choose_for_all(self, request: Request, name: str) -> Answer:
        match request.method, name:
            case "PUT", "weather":
                weather = _decoded(request.body, WeatherWish)
                return json_answer(choose_weather(self._world, weather, account_id=weather.account_id))
            case "PUT", "bill-faults":
                bills = _decoded(request.body, BillFaultsWish)
                choose_bill_faults(self._world, bills.faults, account_id=bills.account_id)
            case "PUT", "faults":
                choose_odds(self._world, _decoded(request.body, FaultOdds), account_id="")
            case "PUT", "account-faults":
                wish = _decoded(request.body, AccountFaultsWish)
                choose_odds(self._world, wish.odds, account_id=wish.account_id)
            case "PUT", "amount-faults":
                choose_amounts(self._world, _decoded(request.body, AmountsWish).amounts)
            case _:
                raise AdminRefusal(404, "not_found", request.path)
        return json_answer(self._chosen(name, account_id=""))

    def _get(self, name: str, *, query: Mapping[str, Sequence[str]]) -> Answer:
        match name:
            case "accounts":
                accounts = [render_account(self._world, account) for account in self._world.truth.list_accounts()]
                return json_answer({"accounts": accounts})
            case "trades":
                return json_answer({"trades": self._list(query)})
            case "truth":
                return self._truth_page(query)
            case "bill":
                return self._bill(query)
            case "faults" | "account-faults" | "amount-faults" | "documented-amounts" | "weather" | "bill-faults":
                return json_answer(self._chosen(name, account_id=_one(query, "account_id")))
            case _:
                return self._history(name, query)

    def _chosen(self, name: str, *, account_id: str) -> object:
        """What goes wrong on purpose just now."""
        choices = self._world.truth.choices
        match name:
            case "faults":
                return choices.odds
            case "account-faults":
                return {"accounts": choices.account_odds}
            case "amount-faults":
                return {"amounts": choices.amounts}
            case "documented-amounts":
                return {"amounts": documented_amounts(account_id)}
            case "weather":
                return self._world.vane.over(account_id)
            case _:
                return {"accounts": choices.bill_faults}

    def _history(self, name: str, query: Mapping[str, Sequence[str]]) -> Answer:
        if name.startswith("trades/"):
            trade_no = unquote(name.removeprefix("trades/"))
            trade = find_trade(self._world, trade_no=trade_no, account_id=_one(query, "account_id"))
            history = [render_event(event) for event in self._world.truth.history(trade)]
            return json_answer(render_trade(self._world, trade) | {"events": history})
        raise AdminRefusal(404, "not_found", name)

    def _bill(self, query: Mapping[str, Sequence[str]]) -> Answer:
        """The file as a person downloads it in the channel's portal; iPaynow's is to be had in no other way."""
        account = self._world.truth.find_account(_one(query, "account_id"))
        day = parse_day(_one(query, "day").replace("-", ""))
        if account is None or day is None:
            raise AdminRefusal(404, "bill_unknown", "account_id and day=YYYY-MM-DD name a bill")
        content = make_bill(self._world.truth, account, day, now=self._world.clock())
        if isinstance(content, Absent):
            raise AdminRefusal(404, f"bill_{content.value}", "there is no bill of this day")
        return Answer(status=200, body=content, content_type="application/octet-stream")

    def _pay(self, wish: PayWish) -> Answer:
        trade = self._world.payer.pay(self._named(wish), faults=wish.faults)
        return json_answer(render_trade(self._world, trade))

    def _refund_by_portal(self, wish: PortalWish) -> Answer:
        trade = find_trade(self._world, trade_no=wish.trade_no, account_id=wish.account_id)
        refund = RefundWish(refund_no=portal_refund_no(trade), amount_minor=wish.amount_minor, by_portal=True)
        faults = self._world.faults_for(wish.faults, account_id=trade.account_id, amount_minor=wish.amount_minor)
        taken = take_refund(self._world, trade, refund, faults=faults)
        return json_answer(render_refund(taken), status=201)

    def _choose_for_trade(
        self, wish: TradeFaultsWish | RefundFaultsWish, kind: EventKind, faults: Faults | None
    ) -> Answer:
        trade = choose_for_trade(self._world, kind, faults, trade_no=wish.trade_no, account_id=wish.account_id)
        return json_answer(render_trade(self._world, trade))

    def _named(self, wish: PayWish) -> Trade:
        if bool(wish.code_text) == bool(wish.trade_no):
            raise AdminRefusal(400, "one_of_code_text_and_trade_no")
        if wish.code_text:
            return self._world.payer.find_scanned(wish.code_text)
        return find_trade(self._world, trade_no=wish.trade_no, account_id=wish.account_id)

    def _placing(self, wish: PlacingWish) -> Answer:
        choose_for_placing(self._world, wish.subject, wish.faults)
        return json_answer(wish, status=201)

    def _auth_code(self, wish: CodeWish) -> Answer:
        code = make_auth_code(self._world, channel=wish.channel, faults=wish.faults)
        shown = {
            "auth_code": code.auth_code,
            "channel": code.channel.value,
            "payer_id": code.payer_id,
            "expires_at": code.made_at + CODE_LIFE,
        }
        return json_answer(shown, status=201)

    def _list(self, query: Mapping[str, Sequence[str]]) -> list[Mapping[str, Any]]:
        limit = _count(query, "limit", default=_LIMIT_DEFAULT, most=TRADES_MAX)
        state_text = _one(query, "state")
        try:
            state = TradeState(state_text) if state_text else None
        except ValueError as error:
            raise AdminRefusal(400, "state_unknown", state_text) from error
        found: list[Mapping[str, Any]] = []
        for trade, _ in zip(self._world.truth.newest_first(), range(_TRADES_SEARCHED_MAX), strict=False):
            if len(found) == limit:
                break
            settled = self._world.payer.settled(trade)
            if state is None or settled.state is state:
                found.append(render_trade(self._world, settled))
        return found

    def _truth_page(self, query: Mapping[str, Sequence[str]]) -> Answer:
        after = _count(query, "after", default=0, most=1 << 62)
        limit = _count(query, "limit", default=1_000, most=TRUTH_PAGE_MAX)
        trades = [self._world.payer.settled(trade) for trade in self._world.truth.list_from(after, limit=limit)]
        is_last = after + len(trades) >= self._world.truth.trades_count
        rendered = [render_trade(self._world, trade) for trade in trades]
        return json_answer({"trades": rendered, "next_after": None if is_last else after + len(trades)})


def render_trade(world: World, trade: Trade) -> dict[str, Any]:
    """A trade as the audit reads it."""
    is_returned = trade.state is TradeState.RETURNED
    return {
        "nth": trade.nth,
        "account_id": trade.account_id,
        "channel": world.truth.account_of(trade).CHANNEL.value,
        "trade_no": trade.trade_no,
        "channel_no": trade.channel_no,
        "method": trade.method.value,
        "amount_minor": trade.amount_minor,
        "currency": "CNY",
        "subject": trade.subject,
        "state": trade.state.value,
        "placed_at": trade.placed_at,
        "expires_at": trade.expires_at,
        "paid_at": trade.paid_at,
        "returned_at": trade.ended_at if is_returned else None,
        "payer_id": trade.payer_id,
        "faults": trade.faults,
        "notice_state": trade.notice_state.value,
        "notices_sent": trade.notice_sends,
        "refunded_minor": trade.refunded_minor,
        "refunds": [render_refund(refund) for refund in trade.refunds],
    }


def render_refund(refund: Refund) -> dict[str, Any]:
    """A refund as the audit reads it."""
    return {
        "refund_no": refund.refund_no,
        "amount_minor": refund.amount_minor,
        "channel_no": refund.channel_no,
        "state": refund.state.value,
        "by_portal": refund.by_portal,
        "asked_at": refund.asked_at,
        "ended_at": refund.ended_at,
        "faults": refund.faults,
        "notice_state": refund.notice_state.value,
        "notices_sent": refund.notice_sends,
    }


def render_event(event: Event | Placed) -> dict[str, Any]:
    """One line of a trade's history."""
    if isinstance(event, Placed):
        return {"at": event.trade.placed_at, "kind": "placed", "text": event.trade.method.value, "until": None}
    return {"at": event.at, "kind": event.kind.value, "text": event.text, "until": event.until}


def _decoded(body: bytes, wanted: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=wanted)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AdminRefusal(400, "body_unreadable", str(error)) from error


def _one(query: Mapping[str, Sequence[str]], name: str) -> str:
    return query.get(name, [""])[0]


def _count(query: Mapping[str, Sequence[str]], name: str, *, default: int, most: int) -> int:
    text = _one(query, name) or str(default)
    if not (text.isascii() and text.isdigit()) or int(text) > most:
        raise AdminRefusal(400, "count_unreadable", f"{name} is a whole number up to {most}")
    return int(text)
