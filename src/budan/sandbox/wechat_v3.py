"""WeChat Pay's face: APIv3 for JSAPI, native, H5 and code payments, query, close, reverse and refunds (docs/protocols/wechat_v3.md)."""

import gzip
import hashlib
import ipaddress
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import parse_qs, unquote

import msgspec

from budan.sandbox.bills import Absent, make_bill, parse_day
from budan.sandbox.exchange import Answer, Request, Withheld
from budan.sandbox.faults import Faults
from budan.sandbox.numbers import code_text, nth_of_channel_no, prepay_id
from budan.sandbox.payer import PayRefused
from budan.sandbox.records import (
    ChannelName,
    EventKind,
    Method,
    Placed,
    Refund,
    Trade,
    TradeState,
    WechatAccount,
)
from budan.sandbox.refunds import RefundRefused, RefundWish, note_refund, refund_faults, take_refund
from budan.sandbox.telling import as_queried
from budan.sandbox.wechat_v3_messages import (
    EndFields,
    OrderFields,
    RefundFields,
    refund_object,
    told_transaction,
    transaction,
)
from budan.sandbox.world import World
from budan.wire.wechat_v3 import SCHEME, Verdict, answer_sign_string, parse_authorization, verify_request

H5_PATH: Final = "/cgi-bin/mmpayweb-bin/checkmweb"
_PLACE: Final = "/v3/pay/transactions/"
_METHODS: Final[Mapping[str, Method]] = {
    "jsapi": Method.JSAPI,
    "native": Method.NATIVE,
    "h5": Method.WAP,
    "codepay": Method.CODEPAY,
}
_TRADE_PATH: Final = re.compile(r"/v3/pay/transactions/out-trade-no/([^/]+)(/close|/reverse)?")
_REFUNDS: Final = "/v3/refund/domestic/refunds"
_BILLS: Final = "/v3/bill"
_BILL_FILE: Final = "/v3/billdownload/file"
_REFUND_PATH: Final = re.compile(r"/v3/refund/domestic/refunds/([^/]+)")
_ID_PATH: Final = re.compile(r"/v3/pay/transactions/id/([^/]+)")
# A reverse is possible for this long (docs/protocols/wechat_v3.md §5).
_REVERSE_LIFE: Final = timedelta(days=7)
_REFUND_REFUSALS: Final[Mapping[str, tuple[int, str, str]]] = {
    "not_paid": (400, "INVALID_REQUEST", "订单未支付"),
    "discordant": (400, "INVALID_REQUEST", "订单金额或退款金额与之前请求不一致,请核实后再试"),
    "exceeds": (400, "INVALID_REQUEST", "申请退款金额大于可退金额"),
    "too_many": (400, "INVALID_REQUEST", "部分退款次数超限"),
    "poor": (403, "NOT_ENOUGH", "基本账户余额不足,请充值后重新发起"),
}
_AUTH_CODE: Final = re.compile(r"1[0-5][0-9]{16}")


class _Refusal(Exception):  # noqa: N818 - an answer, not an error
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message


class WechatFace:
    """Answers every path under /v3/."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._orders = msgspec.json.Decoder(OrderFields)
        self._ends = msgspec.json.Decoder(EndFields)
        self._refunds = msgspec.json.Decoder(RefundFields)
        self._encoder = msgspec.json.Encoder()

    async def answer(self, request: Request) -> Answer | Withheld:
        """The signed answer; what fails before the account is known is unsigned."""
        try:
            account = self._account(request)
        except _Refusal as refusal:
            return self._unsigned(refusal)
        await self._world.vane.endure(account.account_id)
        try:
            return await self._route(request, account)
        except _Refusal as refusal:
            if refusal.status >= 500:  # noqa: PLR2004 - HTTP's range; WeChat leaves these unsigned
                return self._unsigned(refusal)
            problem = {"code": refusal.code, "message": refusal.message}
            return await self._signed(request, account, status=refusal.status, fields=problem)

    async def _route(self, request: Request, account: WechatAccount) -> Answer | Withheld:
        if request.method == "POST" and (method := _METHODS.get(request.path.removeprefix(_PLACE))):
            return await self._place(request, account, method)
        for beginning, route in ((_REFUNDS, self._route_refund), (_BILLS, self._route_bill)):
            if request.path.startswith(beginning):
                return await route(request, account)
        if match := _TRADE_PATH.fullmatch(request.path):
            trade_no, end = unquote(match[1]), match[2]
            if request.method == "GET" and end is None:
                return await self._query(request, account, self._find(account, trade_no))
            if request.method == "POST" and end == "/close":
                return await self._close(request, account, trade_no)
            if request.method == "POST" and end == "/reverse":
                return await self._reverse(request, account, trade_no)
        if request.method == "GET" and (match := _ID_PATH.fullmatch(request.path)):
            return await self._query(request, account, self._find_paid(account, match[1]))
        raise _Refusal(404, "RESOURCE_NOT_EXISTS", "接口不存在")

    async def _route_refund(self, request: Request, account: WechatAccount) -> Answer | Withheld:
        if request.method == "POST" and request.path == _REFUNDS:
            return await self._refund(request, account)
        if request.method == "GET" and (match := _REFUND_PATH.fullmatch(request.path)):
            return await self._query_refund(request, account, unquote(match[1]))
        raise _Refusal(404, "RESOURCE_NOT_EXISTS", "接口不存在")

    async def _route_bill(self, request: Request, account: WechatAccount) -> Answer:
        match request.method, request.path:
            case "GET", "/v3/bill/tradebill":
                return await self._tell_bill(request, account)
            case "GET", "/v3/billdownload/file":
                return self._bill_file(request, account)
            case _:
                raise _Refusal(404, "RESOURCE_NOT_EXISTS", "接口不存在")

    async def _tell_bill(self, request: Request, account: WechatAccount) -> Answer:
        query = {name: values[0] for name, values in parse_qs(request.query).items()}
        day = parse_day(query.get("bill_date", "").replace("-", ""))
        if day is None or query.get("bill_type", "ALL") != "ALL" or query.get("tar_type") not in {None, "GZIP"}:
            raise _Refusal(400, "PARAM_ERROR", "参数错误")
        now = self._world.clock()
        content = make_bill(self._world.truth, account, day, now=now)
        match content:
            case Absent.TOO_EARLY:
                raise _Refusal(400, "INVALID_REQUEST", "账单日期不合法")
            case Absent.CREATING:
                raise _Refusal(400, "STATEMENT_CREATING", "账单文件正在生成,请稍后再试")
            case Absent.EMPTY:
                raise _Refusal(400, "NO_STATEMENT_EXIST", "账单文件不存在")
            case bytes():
                served = gzip.compress(content) if "tar_type" in query else content
        token = self._world.nonce()
        self._world.bills.lay(served, account_id=account.account_id, token=token, now=now)
        fields = {
            "hash_type": "SHA1",
            "hash_value": hashlib.sha1(content, usedforsecurity=False).hexdigest(),
            "download_url": f"{self._world.base_url}{_BILL_FILE}?token={token}",
        }
        return await self._signed(request, account, status=200, fields=fields)

    def _bill_file(self, request: Request, account: WechatAccount) -> Answer:
        """The file, asked for with a signature and answered without one."""
        token = parse_qs(request.query).get("token", [""])[0]
        content = self._world.bills.find(token, now=self._world.clock(), account_id=account.account_id)
        if content is None:
            raise _Refusal(400, "INVALID_REQUEST", "下载链接已失效")
        return Answer(status=200, body=content, content_type="text/plain; charset=utf-8")

    def _account(self, request: Request) -> WechatAccount:
        wrong = _Refusal(401, "SIGN_ERROR", "签名错误,请检查后再试")
        authorization = parse_authorization(request.headers.get("authorization", ""))
        account = None if authorization is None else self._world.truth.find_account(authorization.mchid)
        if authorization is None or not isinstance(account, WechatAccount):
            raise wrong
        if authorization.serial_no != account.merchant_serial:
            raise wrong
        verdict = verify_request(
            authorization,
            public_key=self._world.keys.merchant_key(account),
            method=request.method,
            path_and_query=request.path_and_query,
            body=request.body,
            now_s=int(self._world.told_time(account.account_id).timestamp()),
        )
        if verdict is not Verdict.VALID:
            raise wrong
        return account

    async def _place(self, request: Request, account: WechatAccount, method: Method) -> Answer | Withheld:
        order = self._order(request, account, method)
        digest = hashlib.blake2b(method.value.encode() + msgspec.msgpack.encode(order), digest_size=12).hexdigest()
        trade = self._world.truth.find(account_id=account.account_id, trade_no=order.out_trade_no)
        if trade is not None:
            return await self._place_again(request, account, self._world.payer.settled(trade), digest)
        if method is Method.CODEPAY:
            return await self._charge(request, account, order, digest)
        faults = self._world.faults_for_placing(
            order.description, account_id=account.account_id, amount_minor=order.amount.total
        )
        if faults.timeout_before_charge:
            return Withheld()
        trade = self._new_trade(account, order, method=method, digest=digest, faults=faults)
        self._world.truth.record(Placed(trade=trade))
        return await self._taken(request, account, trade)

    async def _place_again(
        self, request: Request, account: WechatAccount, trade: Trade, digest: str
    ) -> Answer | Withheld:
        if trade.params_digest != digest:
            raise _Refusal(403, "OUT_TRADE_NO_USED", "商户订单号重复")
        if trade.state is TradeState.PAID:
            raise _Refusal(400, "ORDER_PAID", "该订单已支付")
        if trade.state in {TradeState.CLOSED, TradeState.RETURNED}:
            raise _Refusal(400, "ORDER_CLOSED", "该订单已关闭")
        self._world.note(trade, EventKind.PLACED_AGAIN)
        await self._world.slow_down(trade)
        return await self._placed_answer(request, account, trade)

    async def _charge(
        self, request: Request, account: WechatAccount, order: OrderFields, digest: str
    ) -> Answer | Withheld:
        code = self._world.truth.find_code(
            order.payer.auth_code, channel=ChannelName.WECHAT_V3, now=self._world.clock()
        )
        if code is None:
            raise _Refusal(400, "AUTH_CODE_INVALID", "付款码无效,请重新扫码")
        faults = self._world.faults_for(code.faults, account_id=account.account_id, amount_minor=order.amount.total)
        if faults.timeout_before_charge:
            return Withheld()
        trade = self._new_trade(account, order, method=Method.CODEPAY, digest=digest, faults=faults)
        trade = msgspec.structs.replace(trade, payer_id=code.payer_id)
        trade = self._world.payer.charge(trade, auth_code=code.auth_code)
        return await self._taken(request, account, trade)

    async def _taken(self, request: Request, account: WechatAccount, trade: Trade) -> Answer | Withheld:
        """The answer after the order was placed, or its money taken; some of these answers are lost."""
        await self._world.slow_down(trade)
        if trade.faults.timeout_after_charge:
            self._world.note(trade, EventKind.ANSWER_WITHHELD)
            return Withheld()
        if trade.faults.busy:
            self._world.note(trade, EventKind.ANSWERED_BUSY)
            raise _Refusal(500, "SYSTEM_ERROR", "系统异常,请用相同参数重新调用")
        return await self._placed_answer(request, account, trade)

    async def _placed_answer(self, request: Request, account: WechatAccount, trade: Trade) -> Answer:
        now = self._world.clock()
        match trade.method:
            case Method.NATIVE:
                fields: dict[str, Any] = {"code_url": code_text(trade, channel=ChannelName.WECHAT_V3, now=now)}
            case Method.JSAPI:
                fields = {"prepay_id": prepay_id(trade, now=now)}
            case Method.WAP:
                fields = {"h5_url": f"{self._world.base_url}{H5_PATH}?prepay_id={prepay_id(trade, now=now)}"}
            case _:
                return await self._charged_answer(request, account, trade)
        return await self._signed(request, account, status=200, fields=fields)

    async def _charged_answer(self, request: Request, account: WechatAccount, trade: Trade) -> Answer:
        if trade.state is TradeState.TYPING:
            problem = {"code": "USERPAYING", "message": "用户支付中,需要输入密码"}
            return await self._signed(request, account, status=202, fields=problem)
        if trade.state is TradeState.FAILED:
            raise _Refusal(403, "TRADE_ERROR", "交易错误")
        return await self._signed(request, account, status=200, fields=transaction(trade, account))

    async def _query(self, request: Request, account: WechatAccount, trade: Trade) -> Answer:
        if parse_qs(request.query).get("mchid") != [account.mchid]:
            raise _Refusal(400, "PARAM_ERROR", "mchid 与签名不符")
        trade = self._world.payer.settled(trade)
        self._world.note_query(trade)
        await self._world.slow_down(trade)
        told = as_queried(trade, now=self._world.clock())
        return await self._signed(request, account, status=200, fields=told_transaction(told, account))

    async def _close(self, request: Request, account: WechatAccount, trade_no: str) -> Answer:
        self._end(request, account, needs_appid=False)
        trade = self._world.payer.settled(self._find(account, trade_no))
        if trade.method is Method.CODEPAY:
            raise _Refusal(400, "INVALID_REQUEST", "付款码订单不支持关单,请调用撤销 (268449641)")
        if trade.state in {TradeState.PAID, TradeState.RETURNED}:
            raise _Refusal(400, "ORDER_PAID", "该订单已支付")
        if trade.state is TradeState.WAITING:
            self._world.note(trade, EventKind.CLOSED)
        await self._world.slow_down(trade)
        return await self._signed(request, account, status=204, fields=None)

    async def _reverse(self, request: Request, account: WechatAccount, trade_no: str) -> Answer:
        self._end(request, account, needs_appid=True)
        trade = self._world.payer.settled(self._find(account, trade_no))
        if trade.method is not Method.CODEPAY:
            raise _Refusal(400, "INVALID_REQUEST", "仅付款码支付支持撤销")
        age = self._world.clock() - trade.placed_at
        if age < timedelta(seconds=account.reverse_after_s):
            raise _Refusal(400, "INVALID_REQUEST", "支付未满15秒,请稍后再撤销")
        if age > _REVERSE_LIFE:
            raise _Refusal(400, "INVALID_REQUEST", "超过撤销期限,请使用退款")
        if trade.state is TradeState.PAID:
            self._world.note(trade, EventKind.RETURNED)
        elif trade.state not in {TradeState.CLOSED, TradeState.RETURNED}:
            self._world.note(trade, EventKind.REVERSED)
        await self._world.slow_down(trade)
        fields = {"appid": account.appid, "mchid": account.mchid, "out_trade_no": trade.trade_no}
        return await self._signed(request, account, status=200, fields=fields)

    async def _refund(self, request: Request, account: WechatAccount) -> Answer | Withheld:
        wish = self._refund_wish(request)
        meant = (
            self._find_paid(account, wish.transaction_id)
            if wish.transaction_id
            else self._find(account, wish.out_trade_no)
        )
        trade = self._world.payer.settled(meant)
        if wish.amount.total != trade.amount_minor:
            raise _Refusal(400, "PARAM_ERROR", "订单金额不一致")
        is_repeat = trade.find_refund(wish.out_refund_no) is not None
        faults = refund_faults(self._world, trade, amount_minor=wish.amount.refund)
        if faults.timeout_before_charge and not is_repeat:
            return Withheld()
        asked = RefundWish(
            refund_no=wish.out_refund_no,
            amount_minor=wish.amount.refund,
            reason=wish.reason,
            notify_url=wish.notify_url,
        )
        try:
            refund = take_refund(self._world, trade, asked, faults=faults)
        except RefundRefused as refusal:
            raise _Refusal(*_REFUND_REFUSALS[refusal.code]) from refusal
        if not is_repeat:
            return await self._refund_taken(request, account, trade, refund)
        return await self._signed(request, account, status=200, fields=refund_object(trade, refund))

    async def _refund_taken(
        self, request: Request, account: WechatAccount, trade: Trade, refund: Refund
    ) -> Answer | Withheld:
        """The answer to a new refund; some of these answers are lost."""
        await self._world.slow_down(trade)
        if refund.faults.timeout_after_charge:
            note_refund(self._world, trade, refund, EventKind.ANSWER_WITHHELD)
            return Withheld()
        if refund.faults.busy:
            note_refund(self._world, trade, refund, EventKind.ANSWERED_BUSY)
            raise _Refusal(500, "SYSTEM_ERROR", "系统异常,请用相同参数重新调用")
        # Accepted is not done: this answer never says more, however fast the money was.
        fields = refund_object(trade, refund) | {"status": "PROCESSING"}
        return await self._signed(request, account, status=200, fields=fields)

    async def _query_refund(self, request: Request, account: WechatAccount, refund_no: str) -> Answer:
        trade = self._world.truth.find_by_refund(account_id=account.account_id, refund_no=refund_no)
        if trade is None:
            raise _Refusal(404, "RESOURCE_NOT_EXISTS", "退款单不存在")
        trade = self._world.payer.settled(trade)
        refund = trade.find_refund(refund_no)
        assert refund is not None
        self._world.note_query(trade)
        await self._world.slow_down(trade)
        return await self._signed(request, account, status=200, fields=refund_object(trade, refund))

    def _refund_wish(self, request: Request) -> RefundFields:
        try:
            wish = self._refunds.decode(request.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _Refusal(400, "PARAM_ERROR", f"参数错误: {error}") from error
        if not (wish.transaction_id or wish.out_trade_no) or wish.amount.currency != "CNY":
            raise _Refusal(400, "PARAM_ERROR", "参数错误: transaction_id, out_trade_no, amount.currency")
        if wish.notify_url and (not wish.notify_url.startswith(("https://", "http://")) or "?" in wish.notify_url):
            raise _Refusal(400, "PARAM_ERROR", "参数错误: notify_url")
        return wish

    def _order(self, request: Request, account: WechatAccount, method: Method) -> OrderFields:
        try:
            order = self._orders.decode(request.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _Refusal(400, "PARAM_ERROR", f"参数错误: {error}") from error
        if order.mchid != account.mchid:
            raise _Refusal(400, "PARAM_ERROR", "mchid 与签名不符")
        if order.appid != account.appid:
            raise _Refusal(400, "APPID_MCHID_NOT_MATCH", "appid和mch_id不匹配")
        if wrong := _wrong_field(order, method):
            raise _Refusal(400, "PARAM_ERROR", f"参数错误: {wrong}")
        if order.time_expire is not None and order.time_expire <= self._world.clock():
            known = self._world.truth.find(account_id=account.account_id, trade_no=order.out_trade_no)
            if known is None:
                raise _Refusal(400, "PARAM_ERROR", "参数错误: time_expire")
        return order

    def _end(self, request: Request, account: WechatAccount, *, needs_appid: bool) -> None:
        try:
            fields = self._ends.decode(request.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _Refusal(400, "PARAM_ERROR", f"参数错误: {error}") from error
        if fields.mchid != account.mchid:
            raise _Refusal(400, "PARAM_ERROR", "mchid 与签名不符")
        if needs_appid and fields.appid != account.appid:
            raise _Refusal(400, "APPID_MCHID_NOT_MATCH", "appid和mch_id不匹配")

    def _new_trade(
        self, account: WechatAccount, order: OrderFields, *, method: Method, digest: str, faults: Faults
    ) -> Trade:
        try:
            self._world.payer.refuse_if_full()
        except PayRefused as refusal:
            raise _Refusal(429, "FREQUENCY_LIMITED", "频率超限,请降低请求接口频率") from refusal
        return Trade(
            nth=self._world.truth.trades_count,
            account_id=account.account_id,
            trade_no=order.out_trade_no,
            method=method,
            amount_minor=order.amount.total,
            subject=order.description,
            placed_at=self._world.clock(),
            params_digest=digest,
            expires_at=order.time_expire,
            notify_url=order.notify_url,
            attach=order.attach,
            payer_id=order.payer.openid,
            faults=faults,
        )

    def _find(self, account: WechatAccount, trade_no: str) -> Trade:
        trade = self._world.truth.find(account_id=account.account_id, trade_no=trade_no)
        if trade is None:
            raise _Refusal(404, "ORDER_NOT_EXIST", "订单不存在")
        return trade

    def _find_paid(self, account: WechatAccount, transaction_id: str) -> Trade:
        nth = nth_of_channel_no(transaction_id)
        trade = None if nth is None else self._world.truth.find_nth(nth)
        if trade is None or trade.account_id != account.account_id or trade.channel_no != transaction_id:
            raise _Refusal(404, "ORDER_NOT_EXIST", "订单不存在")
        return trade

    async def _signed(
        self, request: Request, account: WechatAccount, *, status: int, fields: Mapping[str, Any] | None
    ) -> Answer:
        body = b"" if fields is None else self._encoder.encode(fields)
        wanted = request.headers.get("wechatpay-serial", "")
        headers = await sign_headers(self._world, account, body, wanted_serial=wanted)
        content_type = "" if fields is None else "application/json; charset=utf-8"
        return Answer(status=status, body=body, content_type=content_type, headers=headers)

    def _unsigned(self, refusal: _Refusal) -> Answer:
        body = self._encoder.encode({"code": refusal.code, "message": refusal.message})
        return Answer(
            status=refusal.status,
            body=body,
            content_type="application/json; charset=utf-8",
            headers={"Request-ID": self._world.nonce()},
        )


async def sign_headers(world: World, account: WechatAccount, body: bytes, *, wanted_serial: str) -> dict[str, str]:
    """The headers that sign this answer or notice."""
    serial, private_key = world.keys.wechat_key(account, wanted_serial=wanted_serial)
    timestamp = int(world.told_time(account.account_id).timestamp())
    nonce = world.nonce()
    signed = answer_sign_string(timestamp=timestamp, nonce=nonce, body=body)
    return {
        "Request-ID": nonce,
        "Wechatpay-Timestamp": str(timestamp),
        "Wechatpay-Nonce": nonce,
        "Wechatpay-Serial": serial,
        "Wechatpay-Signature-Type": SCHEME,
        "Wechatpay-Signature": await world.signer.sign_sha256(private_key, signed),
    }


def _wrong_field(order: OrderFields, method: Method) -> str:
    """The name of the first field that this method forbids or lacks, or an empty text."""
    if order.amount.currency != "CNY":
        return "amount.currency"
    if order.time_expire is not None and order.time_expire.tzinfo is None:
        return "time_expire"
    if method is Method.CODEPAY:
        return _wrong_charge_field(order)
    if method is Method.JSAPI and not order.payer.openid:
        return "payer.openid"
    if method is Method.WAP and (wrong := _wrong_h5_field(order)):
        return wrong
    # The channel itself wants https; here http is taken too, for everything is on one machine.
    is_plain = order.notify_url.startswith(("https://", "http://")) and "?" not in order.notify_url
    return "" if is_plain else "notify_url"


def _wrong_h5_field(order: OrderFields) -> str:
    scene = order.scene_info
    if scene is None or not _is_address(scene.payer_client_ip):
        return "scene_info.payer_client_ip"
    is_known = scene.h5_info is not None and scene.h5_info.type in {"Wap", "iOS", "Android"}
    return "" if is_known else "scene_info.h5_info.type"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _wrong_charge_field(order: OrderFields) -> str:
    scene = order.scene_info
    if not _AUTH_CODE.fullmatch(order.payer.auth_code):
        return "payer.auth_code"
    if scene is None or scene.store_info is None or not (scene.store_info.id or scene.store_info.out_id):
        return "scene_info.store_info"
    return "notify_url" if order.notify_url else ""
