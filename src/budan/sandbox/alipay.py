"""Alipay's face: precreate, wap, code payments, query, close, cancel and refunds at one gateway (docs/protocols/alipay.md)."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from budan.sandbox.alipay_bill_files import PATH as BILL_PATH
from budan.sandbox.alipay_messages import (
    BillFields,
    OrderFields,
    RefFields,
    RefundFields,
    RefundQueryFields,
    WrongValue,
    beijing,
    expires_at,
    parse_beijing,
    parse_yuan,
    refund_fields,
    refund_query_fields,
    trade_fields,
    trade_status,
    yuan,
)
from budan.sandbox.bills import Absent, make_bill
from budan.sandbox.exchange import Answer, Request, Withheld
from budan.sandbox.faults import NO_FAULTS, Faults
from budan.sandbox.numbers import channel_no, code_text, nth_of_channel_no
from budan.sandbox.payer import PayRefused
from budan.sandbox.records import AlipayAccount, ChannelName, EventKind, Method, Placed, Refund, Trade, TradeState
from budan.sandbox.refunds import RefundRefused, RefundWish, note_refund, refund_faults, take_refund
from budan.sandbox.telling import STRANGER, as_queried, lies_of_merchant
from budan.sandbox.world import World
from budan.wire.alipay import notify_sign_string, response_name, verify_request
from budan.wire.errors import BadAnswer
from budan.wire.forms import parse_form

PATH: Final = "/gateway.do"
_PLACING: Final[Mapping[str, Method]] = {
    "alipay.trade.precreate": Method.PRECREATE,
    "alipay.trade.wap.pay": Method.WAP,
    "alipay.trade.pay": Method.PAY,
}
# No document states how far a merchant's clock may be off; this is our choice.
_CLOCK_SKEW_MAX: Final = timedelta(minutes=10)
_CANCEL_LIFE: Final = timedelta(hours=24)
# What a code payment without a time-out gets (docs/protocols/alipay.md §5).
_PAY_LIFE: Final = timedelta(hours=3)
_TEXT: Final = "text/html;charset=utf-8"
_ENDED: Final = frozenset({TradeState.CLOSED, TradeState.FAILED, TradeState.RETURNED})
_T = TypeVar("_T")


class _Refusal(Exception):  # noqa: N818 - an answer, not an error
    def __init__(self, code: str, sub_code: str, sub_msg: str = "") -> None:
        super().__init__(sub_code)
        self.code = code
        self.sub_code = sub_code
        self.sub_msg = sub_msg or sub_code


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """A request whose signature was checked."""

    account: AlipayAccount
    method: str
    parameters: Mapping[str, str]


class AlipayFace:
    """Answers the gateway's one path; HTTP's status is always 200."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._encoder = msgspec.json.Encoder()
        self._operations: Mapping[str, Callable[[_Call], Awaitable[Answer | Withheld]]] = {
            "alipay.trade.query": self._query,
            "alipay.trade.close": self._close,
            "alipay.trade.cancel": self._cancel,
            "alipay.trade.refund": self._refund,
            "alipay.trade.fastpay.refund.query": self._query_refund,
            "alipay.data.dataservice.bill.downloadurl.query": self._bill,
        }

    async def answer(self, request: Request) -> Answer | Withheld:
        """The signed answer; what fails before it is understood, and "unavailable", are unsigned."""
        method = ""
        try:
            parameters = _parameters(request)
            method = parameters.get("method", "")
            call = self._judged(parameters)
        except _Refusal as refusal:
            return self._unsigned(method, refusal)
        await self._world.vane.endure(call.account.account_id)
        try:
            return await self._route(call)
        except _Refusal as refusal:
            if refusal.code == "20000":
                return self._unsigned(method, refusal)
            return await self._signed(call, _problem(refusal))

    async def _route(self, call: _Call) -> Answer | Withheld:
        if call.method in _PLACING:
            return await self._place(call, _PLACING[call.method])
        operation = self._operations.get(call.method)
        if operation is None:
            raise _Refusal("40002", "isv.invalid-method", "不存在的方法名")
        return await operation(call)

    def _judged(self, parameters: Mapping[str, str]) -> _Call:
        if not parameters.get("sign"):
            raise _Refusal("40001", "isv.missing-signature", "缺少签名参数")
        account = self._world.truth.find_account(parameters.get("app_id", ""))
        if not isinstance(account, AlipayAccount):
            raise _Refusal("40002", "isv.invalid-app-id", "无效的AppID参数")
        if parameters.get("sign_type") != "RSA2":
            raise _Refusal("40002", "isv.invalid-signature-type", "无效的签名类型")
        if not verify_request(parameters, public_key=self._world.keys.merchant_key(account)):
            raise _Refusal("40002", "isv.invalid-signature", "无效签名")
        _refuse_other_certificates(parameters, account)
        sent_at = parse_beijing(parameters.get("timestamp", ""))
        if sent_at is None or abs(self._world.told_time(account.account_id) - sent_at) > _CLOCK_SKEW_MAX:
            raise _Refusal("40002", "isv.invalid-timestamp", "非法的时间戳参数")
        return _Call(account=account, method=parameters.get("method", ""), parameters=parameters)

    async def _place(self, call: _Call, method: Method) -> Answer | Withheld:
        order = _content(call, OrderFields)
        urls = (call.parameters.get("notify_url", ""), call.parameters.get("return_url", ""))
        text = method.value.encode() + msgspec.msgpack.encode((order, urls))
        digest = hashlib.blake2b(text, digest_size=12).hexdigest()
        trade = self._world.truth.find(account_id=call.account.account_id, trade_no=order.out_trade_no)
        if trade is not None:
            return await self._place_again(call, self._world.payer.settled(trade), digest)
        if method is Method.PAY:
            return await self._charge(call, order, digest)
        faults = self._world.faults_for_placing(
            order.subject, account_id=call.account.account_id, amount_minor=_wished_minor(order.total_amount)
        )
        if faults.timeout_before_charge and method is Method.PRECREATE:
            return Withheld()
        trade = self._new_trade(call, order, method=method, digest=digest, faults=faults)
        self._world.truth.record(Placed(trade=trade))
        if method is Method.WAP:
            return self._to_wallet(self._world.payer.scan(trade))
        return await self._taken(call, trade)

    async def _place_again(self, call: _Call, trade: Trade, digest: str) -> Answer:
        if trade.params_digest != digest:
            raise _Refusal("40004", "ACQ.CONTEXT_INCONSISTENT", "交易信息被篡改")
        if trade.method is Method.WAP:
            return self._to_wallet(trade)
        if trade.state is TradeState.PAID:
            raise _Refusal("40004", "ACQ.TRADE_HAS_SUCCESS", "交易已被支付")
        if trade.state in _ENDED:
            raise _Refusal("40004", "ACQ.TRADE_HAS_CLOSE", "交易已经关闭")
        self._world.note(trade, EventKind.PLACED_AGAIN)
        await self._world.slow_down(trade)
        return await self._placed_answer(call, trade)

    async def _charge(self, call: _Call, order: OrderFields, digest: str) -> Answer | Withheld:
        now = self._world.clock()
        code = self._world.truth.find_code(order.auth_code, channel=ChannelName.ALIPAY, now=now)
        if code is None:
            raise _Refusal("40004", "ACQ.PAYMENT_AUTH_CODE_INVALID", "支付失败,请顾客刷新付款码后重新收款")
        faults = self._world.faults_for(
            code.faults, account_id=call.account.account_id, amount_minor=_wished_minor(order.total_amount)
        )
        if faults.timeout_before_charge:
            return Withheld()
        trade = self._new_trade(call, order, method=Method.PAY, digest=digest, faults=faults)
        number = channel_no(trade, channel=ChannelName.ALIPAY, now=now)
        trade = msgspec.structs.replace(trade, payer_id=code.payer_id, channel_no=number)
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
            raise _Refusal("20000", "isp.unknow-error", "系统繁忙")
        return await self._placed_answer(call, trade)

    async def _placed_answer(self, call: _Call, trade: Trade) -> Answer:
        if trade.method is Method.PRECREATE:
            text = code_text(trade, channel=ChannelName.ALIPAY, now=self._world.clock())
            return await self._signed(call, _done({"out_trade_no": trade.trade_no, "qr_code": text}))
        if trade.state is TradeState.TYPING:
            waiting = {"code": "10003", "msg": "order success pay inprocess"} | trade_fields(trade)
            return await self._signed(call, waiting)
        assert trade.paid_at is not None
        return await self._signed(call, _done(trade_fields(trade) | {"gmt_payment": beijing(trade.paid_at)}))

    async def _bill(self, call: _Call) -> Answer:
        wish = _content(call, BillFields)
        if wish.bill_type != "trade":
            raise _Refusal("40004", "isv.invalid_arguments", "参数有误")
        now = self._world.clock()
        content = make_bill(self._world.truth, call.account, wish.bill_date, now=now)
        match content:
            case Absent.TOO_EARLY:
                raise _Refusal("40004", "isv.invalid_arguments", "账单日期有误")
            # It has one word for a bill that is empty and for one that is not made yet.
            case Absent.EMPTY | Absent.CREATING:
                raise _Refusal("40004", "isv.bill_not_exist", "账单不存在")
            case bytes():
                token = self._world.nonce()
                self._world.bills.lay(content, account_id=call.account.account_id, token=token, now=now)
                address = f"{self._world.base_url}{BILL_PATH}/download?token={token}"
                return await self._signed(call, _done({"bill_download_url": address}))

    async def _query(self, call: _Call) -> Answer:
        trade = self._made(call)
        self._world.note_query(trade)
        await self._world.slow_down(trade)
        told = as_queried(trade, now=self._world.clock())
        fields = trade_fields(told) | {"trade_status": trade_status(told)}
        if told.paid_at is not None:
            fields["send_pay_date"] = beijing(told.paid_at)
        if lies_of_merchant(told):
            # The answer has no merchant in it but the number of the trade.
            fields["out_trade_no"] = STRANGER
        return await self._signed(call, _done(fields))

    async def _close(self, call: _Call) -> Answer:
        trade = self._made(call)
        if trade.state is not TradeState.WAITING:
            raise _Refusal("40004", "ACQ.REASON_TRADE_STATUS_INVALID", "交易状态不合法")
        self._world.note(trade, EventKind.CLOSED)
        await self._world.slow_down(trade)
        return await self._signed(call, _done({"trade_no": trade.channel_no, "out_trade_no": trade.trade_no}))

    async def _cancel(self, call: _Call) -> Answer:
        wish = _content(call, RefFields)
        trade = self._find(call.account, wish)
        if trade is None:
            return await self._signed(call, _done({"out_trade_no": wish.out_trade_no, "retry_flag": "N"}))
        fields = {"trade_no": trade.channel_no, "out_trade_no": trade.trade_no, "retry_flag": "N"}
        if trade.faults.retry_cancel and trade.cancels == 0:
            self._world.note(trade, EventKind.CANCEL_PUT_OFF)
            return await self._signed(call, _done(fields | {"retry_flag": "Y"}))
        action = self._cancelled(trade, age=self._world.clock() - trade.placed_at)
        await self._world.slow_down(trade)
        return await self._signed(call, _done(fields | ({"action": action} if action else {})))

    async def _refund(self, call: _Call) -> Answer | Withheld:
        wish = _content(call, RefundFields)
        trade = self._existing(call, RefFields(out_trade_no=wish.out_trade_no, trade_no=wish.trade_no))
        refund_no = wish.out_request_no or trade.trade_no
        is_repeat = trade.find_refund(refund_no) is not None
        faults = refund_faults(self._world, trade, amount_minor=_wished_minor(wish.refund_amount))
        if faults.timeout_before_charge and not is_repeat:
            return Withheld()
        try:
            amount_minor = parse_yuan(wish.refund_amount)
            asked = RefundWish(refund_no=refund_no, amount_minor=amount_minor, reason=wish.refund_reason)
            refund = take_refund(self._world, trade, asked, faults=faults)
        except WrongValue as error:
            raise _Refusal("40004", "ACQ.INVALID_PARAMETER", "参数无效: refund_amount") from error
        except RefundRefused as refusal:
            raise _Refusal("40004", _REFUND_REFUSALS[refusal.code]) from refusal
        if not is_repeat:
            return await self._refund_taken(call, self._world.truth.get(trade.nth), refund)
        return await self._signed(call, _done(refund_fields(trade, refund, moved=False)))

    async def _refund_taken(self, call: _Call, trade: Trade, refund: Refund) -> Answer | Withheld:
        """The answer to a new refund; some of these answers are lost."""
        await self._world.slow_down(trade)
        if refund.faults.timeout_after_charge:
            note_refund(self._world, trade, refund, EventKind.ANSWER_WITHHELD)
            return Withheld()
        if refund.faults.busy:
            note_refund(self._world, trade, refund, EventKind.ANSWERED_BUSY)
            raise _Refusal("40004", "ACQ.SYSTEM_ERROR", "系统错误")
        return await self._signed(call, _done(refund_fields(trade, refund, moved=True)))

    async def _query_refund(self, call: _Call) -> Answer:
        wish = _content(call, RefundQueryFields)
        trade = self._existing(call, RefFields(out_trade_no=wish.out_trade_no, trade_no=wish.trade_no))
        refund = trade.find_refund(wish.out_request_no)
        self._world.note_query(trade)
        await self._world.slow_down(trade)
        fields = {} if refund is None else refund_query_fields(trade, refund, options=wish.query_options)
        return await self._signed(call, _done(fields))

    def _cancelled(self, trade: Trade, *, age: timedelta) -> str:
        """Ends the trade and says how; nothing is said of a code that nobody scanned, but it is dead from now on."""
        if age > _CANCEL_LIFE:
            raise _Refusal("40004", "ACQ.TRADE_CANCEL_TIME_OUT", "超过撤销时间")
        if trade.state is TradeState.PAID:
            self._world.note(trade, EventKind.RETURNED)
            return "refund"
        if trade.state in {TradeState.WAITING, TradeState.TYPING}:
            self._world.note(trade, EventKind.CLOSED)
            return "close" if trade.channel_no else ""
        return ""

    def _made(self, call: _Call) -> Trade:
        """The trade that the call means; one that nobody scanned does not exist for Alipay."""
        return self._existing(call, _content(call, RefFields))

    def _existing(self, call: _Call, wish: RefFields) -> Trade:
        trade = self._find(call.account, wish)
        if trade is None or not trade.channel_no:
            raise _Refusal("40004", "ACQ.TRADE_NOT_EXIST", "交易不存在")
        return trade

    def _find(self, account: AlipayAccount, wish: RefFields) -> Trade | None:
        if wish.trade_no:
            nth = nth_of_channel_no(wish.trade_no)
            trade = None if nth is None else self._world.truth.find_nth(nth)
            if trade is None or trade.account_id != account.account_id or trade.channel_no != wish.trade_no:
                return None
        elif wish.out_trade_no:
            trade = self._world.truth.find(account_id=account.account_id, trade_no=wish.out_trade_no)
        else:
            raise _Refusal("40004", "ACQ.INVALID_PARAMETER", "out_trade_no 与 trade_no 不能同时为空")
        return None if trade is None else self._world.payer.settled(trade)

    def _new_trade(self, call: _Call, order: OrderFields, *, method: Method, digest: str, faults: Faults) -> Trade:
        now = self._world.clock()
        try:
            self._world.payer.refuse_if_full()
            _refuse_wrong_fields(order, method, call.account)
            amount_fen = parse_yuan(order.total_amount)
            last_moment = expires_at(order, now=now, default=_PAY_LIFE if method is Method.PAY else None)
        except PayRefused as refusal:
            raise _Refusal("40005", "isv.app-call-limited", "应用调用次数超限") from refusal
        except WrongValue as error:
            raise _Refusal("40004", "ACQ.INVALID_PARAMETER", f"参数无效: {error}") from error
        if last_moment is not None and last_moment <= now:
            raise _Refusal("40004", "ACQ.INVALID_PARAMETER", "参数无效: time_expire")
        return Trade(
            nth=self._world.truth.trades_count,
            account_id=call.account.account_id,
            trade_no=order.out_trade_no,
            method=method,
            amount_minor=amount_fen,
            subject=order.subject,
            placed_at=now,
            params_digest=digest,
            expires_at=last_moment,
            notify_url=_url(call, "notify_url"),
            return_url=_url(call, "return_url"),
            attach=order.passback_params,
            faults=NO_FAULTS if method is Method.WAP else faults,
        )

    def _to_wallet(self, trade: Trade) -> Answer:
        where = f"/wallet/{quote(trade.trade_no)}?{urlencode({'account_id': trade.account_id})}"
        return Answer(status=303, headers={"Location": where})

    async def _signed(self, call: _Call, fields: Mapping[str, Any]) -> Answer:
        # Alipay escapes the slash, and the signature covers the escape (docs/protocols/alipay.md §2).
        text = self._encoder.encode(fields).decode().replace("/", "\\/")
        cert_sn, private_key = self._world.keys.alipay_key(call.account)
        signature = await self._world.signer.sign_sha256(private_key, text.encode())
        named = f'"alipay_cert_sn":"{cert_sn}",' if cert_sn else ""
        body = f'{{"{response_name(call.method)}":{text},{named}"sign":"{signature}"}}'.encode()
        return Answer(status=200, body=body, content_type=_TEXT)

    def _unsigned(self, method: str, refusal: _Refusal) -> Answer:
        name = response_name(method) if method in _METHODS else "error_response"
        return Answer(status=200, body=self._encoder.encode({name: _problem(refusal)}), content_type=_TEXT)


_METHODS: Final = frozenset(
    {
        *_PLACING,
        "alipay.trade.query",
        "alipay.trade.close",
        "alipay.trade.cancel",
        "alipay.trade.refund",
        "alipay.trade.fastpay.refund.query",
    }
)
_REFUND_REFUSALS: Final = {
    "not_paid": "ACQ.TRADE_STATUS_ERROR",
    "discordant": "ACQ.DISCORDANT_REPEAT_REQUEST",
    "exceeds": "ACQ.REASON_TRADE_REFUND_FEE_ERR",
    "too_many": "ACQ.TRADE_NOT_ALLOW_REFUND",
    "poor": "ACQ.SELLER_BALANCE_NOT_ENOUGH",
}
_MESSAGES: Final = {
    "20000": "Service Currently Unavailable",
    "40001": "Missing Required Arguments",
    "40002": "Invalid Arguments",
    "40004": "Business Failed",
    "40005": "Call Limited",
}


async def return_address(world: World, trade: Trade, *, now: datetime) -> str:
    """The shop's `return_url` with the signed parameters that Alipay adds; never proof of payment."""
    account = world.truth.account_of(trade)
    assert isinstance(account, AlipayAccount)
    fields = {
        "app_id": account.app_id,
        "auth_app_id": account.app_id,
        "charset": "utf-8",
        "method": "alipay.trade.wap.pay.return",
        "out_trade_no": trade.trade_no,
        "seller_id": account.seller_id,
        "sign_type": "RSA2",
        "timestamp": beijing(now),
        "total_amount": yuan(trade.amount_minor),
        "trade_no": trade.channel_no,
        "version": "1.0",
    }
    _, private_key = world.keys.alipay_key(account)
    fields["sign"] = await world.signer.sign_sha256(private_key, notify_sign_string(fields))
    joint = "&" if "?" in trade.return_url else "?"
    return f"{trade.return_url}{joint}{urlencode(fields)}"


def _refuse_other_certificates(parameters: Mapping[str, str], account: AlipayAccount) -> None:
    """In certificate mode every request names the application's certificate and the root."""
    held = account.certificates
    if held is None:
        return
    for name, wanted in (("app_cert_sn", held.application_sn), ("alipay_root_cert_sn", held.root_sn)):
        if parameters.get(name) != wanted:
            raise _Refusal("40002", f"isv.invalid-{name.replace('_', '-')}", "无效的证书序列号")


def _parameters(request: Request) -> Mapping[str, str]:
    """The parameters of query and form together; a name in both would let two readers see two values."""
    if request.method not in {"GET", "POST"}:
        raise _Refusal("40002", "isv.invalid-parameter", "无效的HTTP方法")
    try:
        in_query = parse_form(request.query.encode("latin-1")) if request.query else {}
        in_body = parse_form(request.body) if request.body else {}
    except BadAnswer as error:
        raise _Refusal("40002", "isv.invalid-parameter", "参数无效") from error
    if any(in_query[name] != in_body[name] for name in in_query.keys() & in_body.keys()):
        raise _Refusal("40002", "isv.invalid-parameter", "参数重复")
    return in_query | in_body


def _content(call: _Call, wanted: type[_T]) -> _T:
    try:
        return msgspec.json.decode(call.parameters.get("biz_content", ""), type=wanted)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise _Refusal("40004", "ACQ.INVALID_PARAMETER", f"参数无效: {error}") from error


def _wished_minor(text: str) -> int:
    """The amount by which faults are chosen: none for what is no amount, which is refused later."""
    try:
        return parse_yuan(text)
    except WrongValue:
        return 0


def _url(call: _Call, name: str) -> str:
    url = call.parameters.get(name, "")
    if url and not url.startswith(("https://", "http://")):
        raise _Refusal("40002", f"isv.invalid-{name.replace('_', '-')}", "无效的地址")
    return url


def _refuse_wrong_fields(order: OrderFields, method: Method, account: AlipayAccount) -> None:
    if order.seller_id and order.seller_id != account.seller_id:
        raise WrongValue("seller_id")
    if method is Method.PAY and order.scene not in {"bar_code", "security_code"}:
        raise WrongValue("scene")
    if method is Method.WAP and (order.product_code != "QUICK_WAP_PAY" or not order.quit_url):
        raise WrongValue("product_code" if order.quit_url else "quit_url")


def _done(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {"code": "10000", "msg": "Success", **fields}


def _problem(refusal: _Refusal) -> dict[str, str]:
    return {
        "code": refusal.code,
        "msg": _MESSAGES[refusal.code],
        "sub_code": refusal.sub_code,
        "sub_msg": refusal.sub_msg,
    }
