"""iPaynow's face: placements, code payments, queries, reverses and refunds, as forms both ways (docs/protocols/ipaynow.md)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode

import msgspec

from budan.sandbox.exchange import Answer, Request, Withheld
from budan.sandbox.faults import Faults
from budan.sandbox.ipaynow_messages import (
    ALIPAY,
    WrongField,
    beijing,
    order_fields,
    pay_fields,
    read_amount,
    read_expiry,
    read_method,
    refuse_wrong_fields,
    render_tn,
)
from budan.sandbox.numbers import BEIJING, IPAYNOW_WECHAT, channel_no, code_text, prepay_id
from budan.sandbox.payer import PayRefused
from budan.sandbox.records import (
    ChannelName,
    CodeMade,
    Event,
    EventKind,
    IpaynowAccount,
    Method,
    Placed,
    RefundState,
    Trade,
    TradeState,
)
from budan.sandbox.refunds import RefundRefused, RefundWish, note_refund, refund_faults, take_refund
from budan.sandbox.telling import as_queried
from budan.sandbox.world import World
from budan.wire.errors import BadAnswer
from budan.wire.forms import parse_form, render_form
from budan.wire.ipaynow import Signed, signed, verify

PATH: Final = "/ipaynow"
_REFUND_PATH: Final = f"{PATH}/refund/refundOrder"
_REFUND_QUERY_PATH: Final = f"{PATH}/refund/refundQuery"
_FUNCODES: Final[Mapping[str, frozenset[str]]] = {
    PATH: frozenset({"WP001", "MQ002"}),
    _REFUND_PATH: frozenset({"R001", "R002"}),
    _REFUND_QUERY_PATH: frozenset({"Q001", "Q002"}),
}
_WALLETS: Final[Mapping[str, ChannelName]] = {IPAYNOW_WECHAT: ChannelName.WECHAT_V3, ALIPAY: ChannelName.ALIPAY}
# How often a reverse that was put off is answered "in progress", its own answer included.
_PUT_OFFS: Final = 2
_REFUND_STATUSES: Final[Mapping[RefundState, str]] = {
    RefundState.PROCESSING: "A004",
    RefundState.DONE: "A001",
    RefundState.ABNORMAL: "A002",
    RefundState.CLOSED: "A002",
}
_REFUND_REFUSALS: Final[Mapping[str, str]] = {
    "not_paid": "订单未支付",
    "discordant": "商户退款订单号重复",
    "exceeds": "退款金额超限",
    "too_many": "退款次数超限",
    "poor": "商户余额不足",
}
_TEXT: Final = "text/html;charset=UTF-8"


class _Refusal(Exception):  # noqa: N818 - an answer, not an error
    def __init__(self, message: str, *, code: str = "A002") -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """A request whose signature was checked."""

    account: IpaynowAccount
    funcode: str
    fields: Mapping[str, str]

    def get(self, name: str) -> str:
        return self.fields.get(name, "")

    @property
    def is_refund(self) -> bool:
        return self.funcode not in _FUNCODES[PATH]


class IpaynowFace:
    """Answers three paths; HTTP's status is always 200."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def answer(self, request: Request) -> Answer | Withheld:
        """The signed answer; what fails before its sender is known is unsigned."""
        try:
            call = self._judged(request)
        except _Refusal as refusal:
            return _form({"responseCode": refusal.code, "responseMsg": refusal.message})
        await self._world.vane.endure(call.account.account_id)
        try:
            return await self._route(call)
        except _Refusal as refusal:
            return self._signed(call, {"responseCode": refusal.code, "responseMsg": f"E001#{refusal.message}"})

    async def _route(self, call: _Call) -> Answer | Withheld:
        match call.funcode:
            case "WP001":
                return await self._place(call)
            case "MQ002":
                return await self._query(call)
            case "R001":
                return await self._refund(call)
            case "Q001":
                return await self._query_refund(call)
            case "R002":
                return await self._reverse(call)
            case _:
                return await self._query_reverse(call)

    def _judged(self, request: Request) -> _Call:
        try:
            fields = parse_form(request.body)
        except BadAnswer as error:
            raise _Refusal("报文格式错误") from error
        funcode = fields.get("funcode", "")
        if request.method != "POST" or funcode not in _FUNCODES.get(request.path, frozenset()):
            raise _Refusal("功能码错误")
        account = self._world.truth.find_account(fields.get("appId", ""))
        if not isinstance(account, IpaynowAccount):
            raise _Refusal("应用不存在")
        call = _Call(account=account, funcode=funcode, fields=fields)
        kind = Signed.REFUND_REQUEST if call.is_refund else Signed.PAY_REQUEST
        if not verify(fields, app_key=account.app_key, kind=kind):
            raise _Refusal("签名错误")
        return call

    async def _place(self, call: _Call) -> Answer | Withheld:
        trade_no = call.get("mhtOrderNo")
        if self._world.truth.find(account_id=call.account.account_id, trade_no=trade_no) is not None:
            # A repeat gives no second code, and does not tell a repeat from another order of the same number.
            raise _Refusal("商户订单号重复")
        method = self._checked(call)
        if method is Method.PAY:
            return await self._charge(call)
        faults = self._world.faults_for_placing(
            call.get("mhtOrderName"),
            account_id=call.account.account_id,
            amount_minor=read_amount(call.fields, "mhtOrderAmt"),
        )
        if faults.timeout_before_charge:
            return Withheld()
        trade = self._new_trade(call, method=method, faults=faults)
        self._world.truth.record(Placed(trade=trade))
        return await self._taken(call, trade)

    async def _charge(self, call: _Call) -> Answer | Withheld:
        code = self._find_code(call)
        faults = self._world.faults_for(
            None if code is None else code.faults,
            account_id=call.account.account_id,
            amount_minor=read_amount(call.fields, "mhtOrderAmt"),
        )
        if faults.timeout_before_charge:
            return Withheld()
        trade = self._new_trade(call, method=Method.PAY, faults=faults)
        if code is None:
            # The order is there and has failed: the refused call must be asked about to learn it.
            self._world.truth.record(Placed(trade=trade))
            self._world.note(trade, EventKind.PAY_FAILED)
            raise _Refusal("付款码无效")
        pay_channel = IPAYNOW_WECHAT if code.channel is ChannelName.WECHAT_V3 else ALIPAY
        trade = msgspec.structs.replace(trade, payer_id=code.payer_id, pay_channel=pay_channel)
        trade = self._world.payer.charge(trade, auth_code=code.auth_code)
        return await self._taken(call, trade)

    async def _taken(self, call: _Call, trade: Trade) -> Answer | Withheld:
        """The answer after the order was placed, or its money taken; some of these answers are lost."""
        await self._world.slow_down(trade)
        if trade.faults.timeout_after_charge:
            self._world.note(trade, EventKind.ANSWER_WITHHELD)
            return Withheld()
        if trade.faults.busy:
            self._world.note(trade, EventKind.ANSWERED_BUSY)
            raise _Refusal("系统繁忙", code="A003")
        worked = {"responseCode": "A001", "responseMsg": "E000#成功[成功]"}
        if trade.method is Method.PAY:
            return self._signed(call, worked | pay_fields(trade))
        tn = render_tn(self._lead(call, trade))
        return self._signed(call, worked | {"nowPayOrderNo": trade.channel_no, "tn": tn})

    def _lead(self, call: _Call, trade: Trade) -> str:
        """What leads the payer on: a code's text, the script's parameters or a page."""
        now = self._world.clock()
        match trade.method:
            case Method.JSAPI:
                return urlencode(
                    {
                        "appId": "wxsandbox0000001",
                        "timeStamp": str(int(now.timestamp())),
                        "nonceStr": self._world.nonce(),
                        "package": f"prepay_id={prepay_id(trade, now=now)}",
                        "signType": "MD5",
                        "paySign": self._world.nonce(),
                    }
                )
            case Method.WAP:
                where = urlencode({"account_id": call.account.account_id})
                return f"{self._world.base_url}/wallet/{quote(trade.trade_no)}?{where}"
            case _:
                return code_text(trade, channel=_WALLETS[trade.pay_channel], now=now)

    async def _query(self, call: _Call) -> Answer:
        trade = self._named(call)
        self._world.note_query(trade)
        await self._world.slow_down(trade)
        worked = {"responseCode": "A001", "responseMsg": "E000#成功[成功]"}
        told = as_queried(trade, now=self._world.clock())
        return self._signed(call, worked | order_fields(told))

    async def _refund(self, call: _Call) -> Answer | Withheld:
        trade = self._named(call)
        if not call.get("mhtRefundNo") or trade.find_refund(call.get("mhtRefundNo")) is not None:
            raise _Refusal("商户退款订单号重复")
        try:
            asked = RefundWish(refund_no=call.get("mhtRefundNo"), amount_minor=read_amount(call.fields, "amount"))
            faults = refund_faults(self._world, trade, amount_minor=asked.amount_minor)
            if faults.timeout_before_charge:
                return Withheld()
            refund = take_refund(self._world, trade, asked, faults=faults)
        except WrongField as error:
            raise _Refusal(f"字段错误[{error}]") from error
        except RefundRefused as refusal:
            raise _Refusal(_REFUND_REFUSALS[refusal.code]) from refusal
        await self._world.slow_down(trade)
        if refund.faults.timeout_after_charge:
            note_refund(self._world, trade, refund, EventKind.ANSWER_WITHHELD)
            return Withheld()
        if refund.faults.busy:
            note_refund(self._world, trade, refund, EventKind.ANSWERED_BUSY)
            raise _Refusal("系统繁忙", code="A003")
        # Accepted is not done: the first answer is "in progress" even where the money is back already.
        return self._return_answer(call, trade, number=refund.refund_no, status="A004", amount=refund.amount_minor)

    async def _query_refund(self, call: _Call) -> Answer:
        number = call.get("mhtRefundNo")
        trade = self._world.truth.find_by_refund(account_id=call.account.account_id, refund_no=number)
        if trade is None:
            raise _Refusal("订单不存在")
        trade = self._world.payer.settled(trade)
        refund = trade.find_refund(number)
        assert refund is not None
        self._world.note_query(trade)
        await self._world.slow_down(trade)
        status = _REFUND_STATUSES[refund.state]
        return self._return_answer(call, trade, number=number, status=status, amount=refund.amount_minor)

    async def _reverse(self, call: _Call) -> Answer:
        trade = self._named(call)
        if trade.reverse_no or not call.get("mhtRefundNo"):
            raise _Refusal("商户退款订单号重复")
        if trade.placed_at.astimezone(BEIJING).date() != self._world.clock().astimezone(BEIJING).date():
            raise _Refusal("仅支持当日交易撤销")
        if trade.state not in {TradeState.WAITING, TradeState.TYPING, TradeState.PAID}:
            raise _Refusal("订单状态不允许撤销")
        asked = Event(nth=trade.nth, at=self._world.clock(), kind=EventKind.REVERSE_ASKED, text=call.get("mhtRefundNo"))
        self._world.truth.record(asked)
        return await self._reversed(call, self._world.truth.get(trade.nth))

    async def _query_reverse(self, call: _Call) -> Answer:
        number = call.get("mhtRefundNo")
        trade = self._world.truth.find_reverse(account_id=call.account.account_id, reverse_no=number)
        if trade is None:
            raise _Refusal("订单不存在")
        return await self._reversed(call, self._world.payer.settled(trade))

    async def _reversed(self, call: _Call, trade: Trade) -> Answer:
        await self._world.slow_down(trade)
        if trade.faults.retry_cancel and trade.cancels < _PUT_OFFS:
            self._world.note(trade, EventKind.CANCEL_PUT_OFF)
            return self._return_answer(call, trade, number=trade.reverse_no, status="A004")
        if trade.state is TradeState.PAID:
            trade = self._world.note(trade, EventKind.RETURNED)
        elif trade.state in {TradeState.WAITING, TradeState.TYPING}:
            trade = self._world.note(trade, EventKind.REVERSED)
        return self._return_answer(call, trade, number=trade.reverse_no, status="A001")

    def _return_answer(
        self, call: _Call, trade: Trade, *, number: str, status: str, amount: int | None = None
    ) -> Answer:
        fields = {
            "responseCode": "R000",
            "responseMsg": "E000#成功[成功]",
            "mhtOrderNo": trade.trade_no,
            "mhtRefundNo": number,
            "nowPayOrderNo": trade.channel_no,
            "tradeStatus": status,
            # A reverse's is sent without a value, which the signature must skip.
            "amount": "" if amount is None else str(amount),
        }
        return self._signed(call, fields)

    def _named(self, call: _Call) -> Trade:
        trade = self._world.truth.find(account_id=call.account.account_id, trade_no=call.get("mhtOrderNo"))
        if trade is None:
            raise _Refusal("订单不存在")
        return self._world.payer.settled(trade)

    def _checked(self, call: _Call) -> Method:
        try:
            self._world.payer.refuse_if_full()
            refuse_wrong_fields(call.fields)
            read_amount(call.fields, "mhtOrderAmt")
            is_over = read_expiry(call.fields) <= self._world.clock()
            method = read_method(call.fields)
        except PayRefused as refusal:
            raise _Refusal("系统繁忙", code="A003") from refusal
        except WrongField as error:
            raise _Refusal(f"字段错误[{error}]") from error
        if is_over:
            raise _Refusal("字段错误[mhtOrderTimeOut]")
        return method

    def _new_trade(self, call: _Call, *, method: Method, faults: Faults) -> Trade:
        now = self._world.clock()
        trade = Trade(
            nth=self._world.truth.trades_count,
            account_id=call.account.account_id,
            trade_no=call.get("mhtOrderNo"),
            method=method,
            amount_minor=read_amount(call.fields, "mhtOrderAmt"),
            subject=call.get("mhtOrderName"),
            placed_at=now,
            params_digest="",
            expires_at=read_expiry(call.fields),
            notify_url=call.get("notifyUrl"),
            return_url=call.get("frontNotifyUrl"),
            attach=call.get("mhtReserved"),
            pay_channel=call.get("payChannelType"),
            faults=faults,
        )
        return msgspec.structs.replace(trade, channel_no=channel_no(trade, channel=ChannelName.IPAYNOW, now=now))

    def _find_code(self, call: _Call) -> CodeMade | None:
        """The payer's code: its wallet is the one that was named, or any that iPaynow charges."""
        named = _WALLETS.get(call.get("payChannelType"))
        now = self._world.clock()
        for wallet in _WALLETS.values() if named is None else (named,):
            code = self._world.truth.find_code(call.get("channelAuthCode"), channel=wallet, now=now)
            if code is not None:
                return code
        return None

    def _signed(self, call: _Call, fields: Mapping[str, str]) -> Answer:
        kind = Signed.REFUND_ANSWER if call.is_refund else Signed.PAY_ANSWER
        own = {"mhtRefundNo": call.get("mhtRefundNo")} if call.is_refund else {"version": "1.0.0"}
        echoed = {"funcode": call.funcode, "appId": call.account.app_id, "mhtOrderNo": call.get("mhtOrderNo"), **own}
        shown = {
            **echoed,
            "responseTime": beijing(self._world.told_time(call.account.account_id)),
            **fields,
            "signType": "MD5",
        }
        return _form(signed(shown, app_key=call.account.app_key, kind=kind))


def _form(fields: Mapping[str, str]) -> Answer:
    return Answer(status=200, body=render_form(fields), content_type=_TEXT)
