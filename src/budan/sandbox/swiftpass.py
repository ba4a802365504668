"""Swiftpass's face: codes for any wallet, JSAPI, charges, query, ends and refunds at one gateway (docs/protocols/swiftpass.md)."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import msgspec

from budan.sandbox.bills import Absent, empty_bill, make_bill, parse_day
from budan.sandbox.exchange import Answer, Request, Withheld
from budan.sandbox.faults import Faults
from budan.sandbox.numbers import channel_no, code_text, nth_of_channel_no, prepay_id
from budan.sandbox.payer import PayRefused
from budan.sandbox.records import ChannelName, EventKind, Method, Placed, Refund, SwiftpassAccount, Trade, TradeState
from budan.sandbox.refunds import RefundRefused, RefundWish, note_refund, refund_faults, take_refund
from budan.sandbox.swiftpass_messages import (
    OrderFields,
    WrongValue,
    expires_at,
    head_fields,
    is_alipay_user,
    is_of_alipay,
    paid_fields,
    parse_order,
    parse_refund,
    refund_fields,
    refund_list_fields,
    trade_state,
)
from budan.sandbox.telling import STRANGER, as_queried, lies_of_merchant
from budan.sandbox.world import World
from budan.wire.errors import BadAnswer
from budan.wire.field_signatures import sign_md5, sign_string, verify_md5, verify_rsa_sha256
from budan.wire.wechat_v3 import jsapi_sign_string
from budan.wire.xml_fields import parse_fields, render_fields

PATH: Final = "/pay/gateway"
_PLACING: Final[Mapping[str, Method]] = {
    "unified.trade.native": Method.NATIVE,
    "pay.weixin.jspay": Method.JSAPI,
    "pay.alipay.jspay": Method.JSAPI,
    "unified.trade.micropay": Method.MICROPAY,
}
# Which it is depends on the bank behind (docs/protocols/swiftpass.md §5); here it is WeChat's.
_REVERSE_LIFE: Final = timedelta(days=7)
_ENDED: Final = frozenset({TradeState.CLOSED, TradeState.RETURNED})
# What WeChat's refund says in these cases (docs/protocols/wechat_v2_micropay.md §3).
_REFUND_REFUSALS: Final[Mapping[str, str]] = {
    "not_paid": "INVALID_TRANSACTIONID",
    "discordant": "ERROR",
    "exceeds": "ERROR",
    "too_many": "ERROR",
    "poor": "NOTENOUGH",
}
_XML: Final = "text/xml;charset=UTF-8"


class _Refusal(Exception):  # noqa: N818 - an answer, not an error
    """A business failure: signed, with result_code 1."""

    def __init__(self, err_code: str, err_msg: str, *, need_query: str = "") -> None:
        super().__init__(err_code or err_msg)
        self.err_code = err_code
        self.err_msg = err_msg
        self.need_query = need_query


class _NotUnderstood(Exception):  # noqa: N818 - an answer, not an error
    """The message itself is refused, or the gateway failed: unsigned."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """A request whose signature was checked."""

    account: SwiftpassAccount
    fields: Mapping[str, str]


class SwiftpassFace:
    """Answers the gateway's one path; HTTP's status is always 200."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._services: Mapping[str, Callable[[_Call], Awaitable[Answer | Withheld]]] = {
            "unified.trade.native": self._place,
            "pay.weixin.jspay": self._place,
            "pay.alipay.jspay": self._place,
            "unified.trade.micropay": self._place,
            "unified.trade.query": self._query,
            "unified.trade.close": self._close,
            "unified.micropay.reverse": self._reverse,
            "unified.trade.refund": self._refund,
            "unified.trade.refundquery": self._query_refund,
            "pay.bill.merchant": self._bill,
        }

    async def answer(self, request: Request) -> Answer | Withheld:
        """The signed answer; what is not understood, and the gateway's own failure, are unsigned."""
        try:
            call = self._judged(request)
            await self._world.vane.endure(call.account.account_id)
            return await self._route(call)
        except _NotUnderstood as refusal:
            fields = {"version": "2.0", "charset": "UTF-8", "status": refusal.status, "message": refusal.message}
            return Answer(status=200, body=render_fields(fields), content_type=_XML)

    async def _route(self, call: _Call) -> Answer | Withheld:
        service = self._services.get(call.fields.get("service", ""))
        if service is None:
            raise _NotUnderstood("400", "service not support")
        try:
            return await service(call)
        except _Refusal as refusal:
            fields = {"err_code": refusal.err_code, "err_msg": refusal.err_msg, "need_query": refusal.need_query}
            return await self._signed(call.account, {"result_code": "1", **_filled(fields)})

    def _judged(self, request: Request) -> _Call:
        try:
            fields = parse_fields(request.body)
        except BadAnswer as error:
            raise _NotUnderstood("400", "Parse xml error") from error
        account = self._world.truth.find_account(fields.get("mch_id", ""))
        # A merchant number that nobody has is told as a wrong signature.
        if not isinstance(account, SwiftpassAccount) or not self._is_signed(account, fields):
            raise _NotUnderstood("400", "Auth valid fail")
        return _Call(account=account, fields=fields)

    def _is_signed(self, account: SwiftpassAccount, fields: Mapping[str, str]) -> bool:
        if fields.get("sign_type", "MD5") != account.sign_type:
            return False
        if account.sign_type == "MD5":
            return verify_md5(fields, key=account.api_key)
        return verify_rsa_sha256(fields, public_key=self._world.keys.merchant_key(account))

    async def _bill(self, call: _Call) -> Answer:
        """The file itself; a failure is told like any other that is not understood."""
        day = parse_day(call.fields.get("bill_date", ""))
        if day is None or call.fields.get("bill_type") != "ALL":
            raise _NotUnderstood("400", "bill_date or bill_type error")
        now = self._world.clock()
        content = make_bill(self._world.truth, call.account, day, now=now)
        match content:
            case Absent.TOO_EARLY:
                raise _NotUnderstood("400", "bill_date error")
            case Absent.CREATING:
                raise _NotUnderstood("500", "bill is creating")
            case Absent.EMPTY:
                content = empty_bill(call.account, day, now=now)
            case bytes():
                pass
        return Answer(status=200, body=content, content_type="text/plain;charset=UTF-8")

    async def _place(self, call: _Call) -> Answer | Withheld:
        method = _PLACING[call.fields["service"]]
        try:
            order = parse_order(call.fields)
            last_moment = expires_at(order)
        except WrongValue as error:
            raise _Refusal("", f"参数错误: {error}") from error
        if last_moment is not None and last_moment <= self._world.clock():
            raise _Refusal("", "参数错误: time_expire")
        if self._world.truth.find(account_id=call.account.account_id, trade_no=order.out_trade_no) is not None:
            raise _Refusal("", "商户订单号重复")
        if method is Method.MICROPAY:
            return await self._charge(call, order)
        if method is Method.JSAPI:
            self._refuse_wrong_payer(call, order)
        faults = self._world.faults_for_placing(
            order.body, account_id=call.account.account_id, amount_minor=int(order.total_fee)
        )
        if faults.timeout_before_charge:
            return Withheld()
        trade = self._new_trade(call.account, order, method=method, faults=faults)
        self._world.truth.record(Placed(trade=trade))
        return await self._taken(call.account, trade)

    def _refuse_wrong_payer(self, call: _Call, order: OrderFields) -> None:
        if call.fields["service"] == "pay.alipay.jspay":
            if order.sub_openid or not is_alipay_user(order.buyer_id):
                raise _Refusal("", "参数错误: buyer_id")
        elif not order.sub_openid or order.buyer_id or order.sub_appid != call.account.sub_appid:
            raise _Refusal("", "参数错误: sub_openid, sub_appid")

    async def _charge(self, call: _Call, order: OrderFields) -> Answer | Withheld:
        now = self._world.clock()
        code = self._world.truth.find_code(order.auth_code, channel=ChannelName.SWIFTPASS, now=now)
        if code is None:
            # WeChat's refusals come without need_query, Alipay's with it.
            if order.auth_code.startswith("1"):
                raise _Refusal("AUTH_CODE_INVALID", "付款码无效,请重新扫码")
            raise _Refusal("ACQ.PAYMENT_AUTH_CODE_INVALID", "支付失败,获取顾客账户信息失败", need_query="N")
        faults = self._world.faults_for(
            code.faults, account_id=call.account.account_id, amount_minor=int(order.total_fee)
        )
        if faults.timeout_before_charge:
            return Withheld()
        trade = self._new_trade(call.account, order, method=Method.MICROPAY, faults=faults)
        trade = msgspec.structs.replace(trade, payer_id=code.payer_id, notify_url="")
        trade = self._world.payer.charge(trade, auth_code=code.auth_code)
        return await self._taken(call.account, trade)

    async def _taken(self, account: SwiftpassAccount, trade: Trade) -> Answer | Withheld:
        """The answer after the order was placed, or its money taken; some of these answers are lost."""
        await self._world.slow_down(trade)
        if trade.faults.timeout_after_charge:
            self._world.note(trade, EventKind.ANSWER_WITHHELD)
            return Withheld()
        if trade.faults.busy:
            self._world.note(trade, EventKind.ANSWERED_BUSY)
            raise _NotUnderstood("500", "System error")
        return await self._placed_answer(account, trade)

    async def _placed_answer(self, account: SwiftpassAccount, trade: Trade) -> Answer:
        now = self._world.clock()
        match trade.method:
            case Method.NATIVE:
                text = code_text(trade, channel=ChannelName.SWIFTPASS, now=now)
                return await self._done(account, {"code_url": text, "code_status": "0"})
            case Method.JSAPI if is_of_alipay(trade):
                number = channel_no(trade, channel=ChannelName.ALIPAY, now=now)
                return await self._done(account, {"pay_info": msgspec.json.encode({"tradeNO": number}).decode()})
            case Method.JSAPI:
                package = f"prepay_id={prepay_id(trade, now=now)}"
                return await self._done(account, {"pay_info": await self._jsapi(account, package)})
            case _:
                return await self._charged_answer(account, trade)

    async def _charged_answer(self, account: SwiftpassAccount, trade: Trade) -> Answer:
        if trade.state is TradeState.TYPING:
            code = "10003" if is_of_alipay(trade) else "USERPAYING"
            raise _Refusal(code, "需要用户输入支付密码", need_query="Y")
        return await self._done(account, {"pay_result": "0", "need_query": "N", **paid_fields(trade)})

    async def _query(self, call: _Call) -> Answer:
        trade = self._find(call)
        self._world.note_query(trade)
        await self._world.slow_down(trade)
        seen = as_queried(trade, now=self._world.clock())
        told = {"trade_state": trade_state(seen), "out_trade_no": seen.trade_no, "attach": seen.attach}
        paid = paid_fields(seen) if seen.paid_at is not None else {}
        lie = {"out_trade_no": STRANGER} if lies_of_merchant(seen) else {}
        return await self._done(call.account, told | paid | lie)

    async def _close(self, call: _Call) -> Answer:
        trade = self._find(call)
        if trade.method is Method.MICROPAY:
            raise _Refusal("INVALID_REQUEST", "付款码订单不支持关单,请调用撤销")
        if trade.state in {TradeState.PAID, TradeState.RETURNED}:
            raise _Refusal("ORDERPAID", "订单已支付")
        if trade.state is TradeState.WAITING:
            self._world.note(trade, EventKind.CLOSED)
        await self._world.slow_down(trade)
        return await self._done(call.account, {})

    async def _reverse(self, call: _Call) -> Answer:
        trade = self._find(call)
        if trade.method is not Method.MICROPAY:
            raise _Refusal("INVALID_REQUEST", "仅付款码支付支持撤销")
        age = self._world.clock() - trade.placed_at
        if age < timedelta(seconds=call.account.reverse_after_s):
            raise _Refusal("SYSTEMERROR", "支付未满15秒,请稍后再撤销")
        if age > _REVERSE_LIFE:
            raise _Refusal("REVERSE_EXPIRE", "订单已超过可撤销的期限")
        if trade.faults.retry_cancel and trade.cancels == 0:
            self._world.note(trade, EventKind.CANCEL_PUT_OFF)
            raise _Refusal("SYSTEMERROR", "系统繁忙,请稍后再撤销")
        if trade.state is TradeState.PAID:
            self._world.note(trade, EventKind.RETURNED)
        elif trade.state not in _ENDED:
            self._world.note(trade, EventKind.REVERSED)
        await self._world.slow_down(trade)
        return await self._done(call.account, {})

    async def _refund(self, call: _Call) -> Answer | Withheld:
        try:
            wish = parse_refund(call.fields)
        except WrongValue as error:
            raise _Refusal("PARAM_ERROR", f"参数错误: {error}") from error
        trade = self._find(call)
        if int(wish.total_fee) != trade.amount_minor:
            raise _Refusal("PARAM_ERROR", "参数错误: total_fee")
        is_repeat = trade.find_refund(wish.out_refund_no) is not None
        faults = refund_faults(self._world, trade, amount_minor=int(wish.refund_fee))
        if faults.timeout_before_charge and not is_repeat:
            return Withheld()
        asked = RefundWish(refund_no=wish.out_refund_no, amount_minor=int(wish.refund_fee))
        try:
            refund = take_refund(self._world, trade, asked, faults=faults)
        except RefundRefused as refusal:
            raise _Refusal(_REFUND_REFUSALS[refusal.code], refusal.code) from refusal
        if not is_repeat:
            return await self._refund_taken(call, self._world.truth.get(trade.nth), refund)
        return await self._done(call.account, refund_fields(trade, refund))

    async def _refund_taken(self, call: _Call, trade: Trade, refund: Refund) -> Answer | Withheld:
        """The answer to a new refund; some of these answers are lost."""
        await self._world.slow_down(trade)
        if refund.faults.timeout_after_charge:
            note_refund(self._world, trade, refund, EventKind.ANSWER_WITHHELD)
            return Withheld()
        if refund.faults.busy:
            note_refund(self._world, trade, refund, EventKind.ANSWERED_BUSY)
            raise _Refusal("SYSTEMERROR", "系统繁忙,请用相同参数重新调用")
        return await self._done(call.account, refund_fields(trade, refund))

    async def _query_refund(self, call: _Call) -> Answer:
        """Our number of one refund wins over the trade's, which lists all."""
        refund_no = call.fields.get("out_refund_no", "")
        if not refund_no:
            trade = self._find(call)
            refunds = trade.refunds
        else:
            found = self._world.truth.find_by_refund(account_id=call.account.account_id, refund_no=refund_no)
            if found is None:
                raise _Refusal("REFUNDNOTEXIST", "退款订单不存在")
            trade = self._world.payer.settled(found)
            refunds = tuple(refund for refund in trade.refunds if refund.refund_no == refund_no)
        self._world.note_query(trade)
        await self._world.slow_down(trade)
        return await self._done(call.account, refund_list_fields(trade, refunds))

    def _new_trade(self, account: SwiftpassAccount, order: OrderFields, *, method: Method, faults: Faults) -> Trade:
        try:
            self._world.payer.refuse_if_full()
        except PayRefused as refusal:
            raise _Refusal("SYSTEMERROR", "系统繁忙,请稍后再试") from refusal
        if method is not Method.MICROPAY and not order.notify_url:
            raise _Refusal("", "参数错误: notify_url")
        return Trade(
            nth=self._world.truth.trades_count,
            account_id=account.account_id,
            trade_no=order.out_trade_no,
            method=method,
            amount_minor=int(order.total_fee),
            subject=order.body,
            placed_at=self._world.clock(),
            # A number that was used is refused whatever else it says, so there is nothing to compare.
            params_digest="",
            expires_at=expires_at(order),
            # A merchant who wants no notice names this machine (docs/protocols/swiftpass.md §1).
            notify_url="" if order.notify_url == "127.0.0.1" else order.notify_url,
            attach=order.attach,
            payer_id=order.payer_id,
            faults=faults,
        )

    def _find(self, call: _Call) -> Trade:
        """The trade that the call means; Swiftpass's own number wins."""
        number, account_id = call.fields.get("transaction_id", ""), call.account.account_id
        if number:
            nth = nth_of_channel_no(number)
            found = None if nth is None else self._world.truth.find_nth(nth)
            trade = found if found and (found.account_id, found.channel_no) == (account_id, number) else None
        else:
            trade = self._world.truth.find(account_id=account_id, trade_no=call.fields.get("out_trade_no", ""))
        if trade is None:
            raise _Refusal("ORDERNOTEXIST", "订单不存在")
        return self._world.payer.settled(trade)

    async def _jsapi(self, account: SwiftpassAccount, package: str) -> str:
        timestamp, nonce = int(self._world.clock().timestamp()), self._world.nonce()
        signed = jsapi_sign_string(appid=account.sub_appid, timestamp=timestamp, nonce=nonce, package=package)
        parameters = {
            "appId": account.sub_appid,
            "timeStamp": str(timestamp),
            "nonceStr": nonce,
            "package": package,
            "signType": "RSA",
            "paySign": await self._world.signer.sign_sha256(self._world.keys.swiftpass_key(account), signed),
        }
        return msgspec.json.encode(parameters).decode()

    async def _done(self, account: SwiftpassAccount, fields: Mapping[str, str]) -> Answer:
        return await self._signed(account, {"result_code": "0", **fields})

    async def _signed(self, account: SwiftpassAccount, fields: Mapping[str, str]) -> Answer:
        body = await render_signed(self._world, account, fields)
        return Answer(status=200, body=body, content_type=_XML)


async def render_signed(world: World, account: SwiftpassAccount, fields: Mapping[str, str]) -> bytes:
    """An answer or a notice, signed in the account's own way."""
    told = head_fields(account, nonce=world.nonce()) | dict(fields)
    if account.sign_type == "MD5":
        sign = sign_md5(told, key=account.api_key)
    else:
        sign = await world.signer.sign_sha256(world.keys.swiftpass_key(account), sign_string(told))
    return render_fields(told | {"sign": sign})


def _filled(fields: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value}
