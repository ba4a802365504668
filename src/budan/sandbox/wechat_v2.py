"""WeChat v2's face: charges of payers' codes, query, reverse and refunds in XML (docs/protocols/wechat_v2_micropay.md)."""

import gzip
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from budan.sandbox.bills import Absent, make_bill, parse_day
from budan.sandbox.exchange import Answer, Request, Withheld
from budan.sandbox.faults import Faults
from budan.sandbox.numbers import nth_of_channel_no
from budan.sandbox.payer import PayRefused
from budan.sandbox.records import ChannelName, EventKind, Method, Refund, Trade, TradeState, WechatV2Account
from budan.sandbox.refunds import RefundRefused, RefundWish, note_refund, refund_faults, take_refund
from budan.sandbox.telling import STRANGER, as_queried, lies_of_merchant
from budan.sandbox.wechat_v2_messages import (
    ChargeFields,
    WrongValue,
    paid_fields,
    parse_charge,
    parse_refund,
    query_fields,
    refund_fields,
    refund_list_fields,
)
from budan.sandbox.world import World
from budan.wire.errors import BadAnswer
from budan.wire.field_signatures import sign_hmac_sha256, sign_md5, verify_hmac_sha256, verify_md5
from budan.wire.xml_fields import parse_fields, render_fields

SECURE: Final = "/secapi/"
PATHS: Final[tuple[str, ...]] = (
    "/pay/micropay",
    "/pay/orderquery",
    "/pay/refundquery",
    "/pay/downloadbill",
    "/secapi/pay/reverse",
    "/secapi/pay/refund",
)
# docs/protocols/wechat_v2_micropay.md §5.
_REVERSE_LIFE: Final = timedelta(days=7)
_ENDED: Final = frozenset({TradeState.CLOSED, TradeState.RETURNED})
_REFUND_REFUSALS: Final[Mapping[str, str]] = {
    "not_paid": "INVALID_TRANSACTIONID",
    "discordant": "ERROR",
    "exceeds": "ERROR",
    "too_many": "ERROR",
    "poor": "NOTENOUGH",
}
_XML: Final = "text/xml;charset=UTF-8"


class _Refusal(Exception):  # noqa: N818 - an answer, not an error
    """A business failure: signed, with result_code FAIL."""

    def __init__(self, err_code: str, text: str = "", *, recall: str = "") -> None:
        super().__init__(err_code)
        self.err_code = err_code
        self.text = text or err_code
        self.recall = recall


class _NotUnderstood(Exception):  # noqa: N818 - an answer, not an error
    """The call itself is refused: unsigned, with return_code FAIL."""


class _NoBill(Exception):  # noqa: N818 - an answer, not an error
    """There is no bill: unsigned, with return_code FAIL, where else the file would stand."""

    def __init__(self, message: str, *, error_code: str) -> None:
        super().__init__(message)
        self.error_code = error_code


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """A request whose signature was checked."""

    account: WechatV2Account
    fields: Mapping[str, str]
    is_hmac: bool


class WechatV2Face:
    """Answers the `PATHS`; HTTP's status is always 200."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._operations: Mapping[str, Callable[[_Call], Awaitable[Answer | Withheld]]] = {
            "/pay/micropay": self._charge,
            "/pay/orderquery": self._query,
            "/pay/refundquery": self._query_refund,
            "/pay/downloadbill": self._bill,
            "/secapi/pay/reverse": self._reverse,
            "/secapi/pay/refund": self._refund,
        }

    async def answer(self, request: Request) -> Answer | Withheld:
        """The signed answer; a call that was not understood is answered unsigned."""
        try:
            call = self._judged(request)
        except _NotUnderstood as refusal:
            body = render_fields({"return_code": "FAIL", "return_msg": str(refusal)})
            return Answer(status=200, body=body, content_type=_XML)
        await self._world.vane.endure(call.account.account_id)
        try:
            return await self._operations[request.path](call)
        except _NoBill as refusal:
            fields = {"return_code": "FAIL", "return_msg": str(refusal), "error_code": refusal.error_code}
            return Answer(status=200, body=render_fields(fields), content_type=_XML)
        except _Refusal as refusal:
            fields = {"err_code": refusal.err_code, "err_code_des": refusal.text, "recall": refusal.recall}
            filled = {name: value for name, value in fields.items() if value}
            return self._signed(call, {"result_code": "FAIL", **filled})

    def _judged(self, request: Request) -> _Call:
        if request.path.startswith(SECURE) and not request.is_certified:
            raise _NotUnderstood("证书出错")
        try:
            fields = parse_fields(request.body)
        except BadAnswer as error:
            raise _NotUnderstood("XML格式错误") from error
        account = self._world.truth.find_account(fields.get("mch_id", ""))
        is_hmac = fields.get("sign_type", "MD5") == "HMAC-SHA256"
        verify = verify_hmac_sha256 if is_hmac else verify_md5
        if not isinstance(account, WechatV2Account) or not verify(fields, key=account.api_key):
            raise _NotUnderstood("签名错误")
        if fields.get("appid") != account.appid:
            raise _NotUnderstood("appid和mch_id不匹配")
        return _Call(account=account, fields=fields, is_hmac=is_hmac)

    async def _bill(self, call: _Call) -> Answer:
        day = parse_day(call.fields.get("bill_date", ""))
        if day is None or call.fields.get("bill_type") != "ALL":
            raise _NoBill("invalid bill_date or bill_type", error_code="20003")
        now = self._world.clock()
        content = make_bill(self._world.truth, call.account, day, now=now)
        match content:
            case Absent.TOO_EARLY:
                raise _NoBill("invalid bill_date", error_code="20003")
            case Absent.CREATING:
                raise _NoBill("Bill Creating", error_code="20007")
            case Absent.EMPTY:
                raise _NoBill("No Bill Exist", error_code="20002")
            case bytes():
                is_packed = call.fields.get("tar_type") == "GZIP"
                body = gzip.compress(content) if is_packed else content
                return Answer(status=200, body=body, content_type="application/octet-stream")

    async def _charge(self, call: _Call) -> Answer | Withheld:
        try:
            wish = parse_charge(call.fields)
        except WrongValue as error:
            raise _Refusal("PARAM_ERROR", f"参数错误: {error}") from error
        known = self._world.truth.find(account_id=call.account.account_id, trade_no=wish.out_trade_no)
        if known is not None:
            is_paid = self._world.payer.settled(known).state is TradeState.PAID
            raise _Refusal("ORDERPAID" if is_paid else "OUT_TRADE_NO_USED", "商户订单号重复")
        code = self._world.truth.find_code(wish.auth_code, channel=ChannelName.WECHAT_V2, now=self._world.clock())
        if code is None:
            raise _Refusal("AUTH_CODE_INVALID", "付款码无效,请重新扫码")
        faults = self._world.faults_for(
            code.faults, account_id=call.account.account_id, amount_minor=int(wish.total_fee)
        )
        if faults.timeout_before_charge:
            return Withheld()
        trade = self._new_trade(call.account, wish, payer_id=code.payer_id, faults=faults)
        trade = self._world.payer.charge(trade, auth_code=code.auth_code)
        return await self._charged(call, trade)

    async def _charged(self, call: _Call, trade: Trade) -> Answer | Withheld:
        """The answer after the money was taken, or the payer types; some of these answers are lost."""
        await self._world.slow_down(trade)
        if trade.faults.timeout_after_charge:
            self._world.note(trade, EventKind.ANSWER_WITHHELD)
            return Withheld()
        if trade.faults.busy:
            self._world.note(trade, EventKind.ANSWERED_BUSY)
            raise _Refusal("SYSTEMERROR", "系统超时")
        if trade.state is TradeState.TYPING:
            raise _Refusal("USERPAYING", "需要用户输入支付密码")
        return self._done(call, paid_fields(trade))

    async def _query(self, call: _Call) -> Answer:
        trade = self._find(call)
        self._world.note_query(trade)
        await self._world.slow_down(trade)
        told = as_queried(trade, now=self._world.clock())
        lie = {"mch_id": STRANGER} if lies_of_merchant(told) else {}
        return self._done(call, query_fields(told) | lie)

    async def _reverse(self, call: _Call) -> Answer:
        trade = self._find(call)
        age = self._world.clock() - trade.placed_at
        if age < timedelta(seconds=call.account.reverse_after_s):
            raise _Refusal("SYSTEMERROR", "支付未满15秒,请稍后再撤销", recall="Y")
        if age > _REVERSE_LIFE:
            raise _Refusal("REVERSE_EXPIRE", "订单已超过可撤销的期限", recall="N")
        if trade.faults.retry_cancel and trade.cancels == 0:
            self._world.note(trade, EventKind.CANCEL_PUT_OFF)
            raise _Refusal("SYSTEMERROR", "系统繁忙,请稍后再撤销", recall="Y")
        if trade.state is TradeState.PAID:
            self._world.note(trade, EventKind.RETURNED)
        elif trade.state not in _ENDED:
            self._world.note(trade, EventKind.REVERSED)
        await self._world.slow_down(trade)
        return self._done(call, {"recall": "N"})

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
        asked = RefundWish(refund_no=wish.out_refund_no, amount_minor=int(wish.refund_fee), reason=wish.refund_desc)
        try:
            refund = take_refund(self._world, trade, asked, faults=faults)
        except RefundRefused as refusal:
            raise _Refusal(_REFUND_REFUSALS[refusal.code], refusal.code) from refusal
        if not is_repeat:
            return await self._refund_taken(call, self._world.truth.get(trade.nth), refund)
        return self._done(call, refund_fields(trade, refund))

    async def _refund_taken(self, call: _Call, trade: Trade, refund: Refund) -> Answer | Withheld:
        """The answer to a new refund; some of these answers are lost."""
        await self._world.slow_down(trade)
        if refund.faults.timeout_after_charge:
            note_refund(self._world, trade, refund, EventKind.ANSWER_WITHHELD)
            return Withheld()
        if refund.faults.busy:
            note_refund(self._world, trade, refund, EventKind.ANSWERED_BUSY)
            raise _Refusal("SYSTEMERROR", "系统超时")
        return self._done(call, refund_fields(trade, refund))

    async def _query_refund(self, call: _Call) -> Answer:
        """Our number of one refund wins over the trade's, which lists all."""
        refund_no = call.fields.get("out_refund_no", "")
        if refund_no:
            found = self._world.truth.find_by_refund(account_id=call.account.account_id, refund_no=refund_no)
            if found is None:
                raise _Refusal("REFUNDNOTEXIST", "退款订单不存在")
            trade = self._world.payer.settled(found)
            refunds = tuple(refund for refund in trade.refunds if refund.refund_no == refund_no)
        else:
            trade = self._find(call)
            refunds = trade.refunds
        self._world.note_query(trade)
        await self._world.slow_down(trade)
        return self._done(call, refund_list_fields(trade, refunds))

    def _new_trade(self, account: WechatV2Account, wish: ChargeFields, *, payer_id: str, faults: Faults) -> Trade:
        try:
            self._world.payer.refuse_if_full()
        except PayRefused as refusal:
            raise _Refusal("SYSTEMERROR", "系统超时") from refusal
        return Trade(
            nth=self._world.truth.trades_count,
            account_id=account.account_id,
            trade_no=wish.out_trade_no,
            method=Method.MICROPAY,
            amount_minor=int(wish.total_fee),
            subject=wish.body,
            placed_at=self._world.clock(),
            # A number that was used is refused whatever else it says, so there is nothing to compare.
            params_digest="",
            attach=wish.attach,
            payer_id=payer_id,
            faults=faults,
        )

    def _find(self, call: _Call) -> Trade:
        """The trade that the call means; WeChat's own number wins."""
        number, account_id = call.fields.get("transaction_id", ""), call.account.account_id
        if number:
            nth = nth_of_channel_no(number)
            found = None if nth is None else self._world.truth.find_nth(nth)
            trade = found if found and (found.account_id, found.channel_no) == (account_id, number) else None
        else:
            trade = self._world.truth.find(account_id=account_id, trade_no=call.fields.get("out_trade_no", ""))
        if trade is None:
            raise _Refusal("ORDERNOTEXIST", "此交易订单号不存在")
        return self._world.payer.settled(trade)

    def _done(self, call: _Call, fields: Mapping[str, str]) -> Answer:
        return self._signed(call, {"result_code": "SUCCESS", **fields})

    def _signed(self, call: _Call, fields: Mapping[str, str]) -> Answer:
        told = {
            "return_code": "SUCCESS",
            "return_msg": "OK",
            "appid": call.account.appid,
            "mch_id": call.account.mch_id,
            "nonce_str": self._world.nonce(),
            **fields,
        }
        # The answer is signed as the request was.
        sign = sign_hmac_sha256 if call.is_hmac else sign_md5
        body = render_fields(told | {"sign": sign(told, key=call.account.api_key)})
        return Answer(status=200, body=body, content_type=_XML)
