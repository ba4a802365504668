"""WeChat Pay APIv3 for a direct merchant, behind the `Channel` port."""

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from msgspec.structs import replace

from budan.channels.bill_fetching import (
    FETCH_TIMEOUT,
    HTTP_OK,
    KEPT,
    download,
    head_of,
    http_failure,
    kept_if_fetched,
    packing_of,
    second_call,
)
from budan.channels.form_reader import FormReader
from budan.channels.silence import (
    silent_end_result,
    silent_pay_result,
    silent_refund_result,
    unsent_pay_result,
    unsupported_end_result,
)
from budan.channels.wechat_v3 import mapping, messages
from budan.channels.wechat_v3.bill import bill_form
from budan.channels.wechat_v3.mapping import OurRefund, Ours, Said
from budan.channels.wechat_v3.settings import WechatV3Settings
from budan.core.trade import Direction
from budan.ports.bill import BillAnswer, BillTables, BillTerms, FetchedBill, ReadBill
from budan.ports.channel import (
    Ack,
    BadNotice,
    Call,
    Capabilities,
    CreateResult,
    EndResult,
    Method,
    Notice,
    NoticeKind,
    PayAction,
    PayResult,
    RawNotice,
    RefundIntent,
    RefundRef,
    RefundResult,
    TradeIntent,
    TradeRef,
)
from budan.wire import wechat_v3
from budan.wire.errors import BadAnswer, NotSent, WireError
from budan.wire.http import HttpClient
from budan.wire.rsa import Signer
from budan.wire.wechat_v3 import Authorization, Verdict

CAPABILITIES: Final = Capabilities(
    methods=frozenset({Method.NATIVE, Method.JSAPI, Method.WAP, Method.CODE}),
    wallets=frozenset({"wechat"}),
    # 18 digits that start with 10 to 15 (docs/protocols/wechat_v3.md section 5).
    auth_code_pattern=r"1[0-5][0-9]{16}",
    close=True,
    reverse=True,
    # Shorter than the life of anything that a payer waits for, longer than a garbage collection or a full queue.
    send_window=timedelta(seconds=10),
    call_timeout=timedelta(seconds=10),
    refund=True,
    # docs/protocols/wechat_v3.md section 5.
    refund_window=timedelta(days=365),
    refund_spacing=timedelta(minutes=1),
    # docs/protocols/wechat_v3.md section 5, read 2026-04.
    reverse_after=timedelta(seconds=15),
    reverse_within=timedelta(days=7),
    bills=BillTerms(ready_at=time(10), kept=KEPT, fetch_timeout=FETCH_TIMEOUT),
    wap_needs_payer_ip=True,
)
# docs/protocols/wechat_v3.md section 5.
_H5_LINK_LIFE: Final = timedelta(minutes=5)

# A transaction with all its promotions stays below 32 kB.
ANSWER_BYTES_MAX: Final = 131_072
_ALGORITHM: Final = "AEAD_AES_256_GCM"
_ACCEPTED: Final = Ack(status=200, content_type="application/json", body='{"code":"SUCCESS","message":"成功"}'.encode())
_REFUSED: Final = Ack(status=500, content_type="application/json", body='{"code":"FAIL","message":"失败"}'.encode())
_JSON_HEADERS: Final = {
    "Accept": "application/json",
    "Content-Type": "application/json",
    # WeChat refuses calls that do not name their program.
    "User-Agent": "budan",
}


class WechatV3Channel:
    """One merchant number. `monotonic_s` is only compared with `Call.send_before_s`."""

    def __init__(
        self, *, settings: WechatV3Settings, http: HttpClient, signer: Signer, monotonic_s: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._http = http
        self._signer = signer
        self._monotonic_s = monotonic_s

    @property
    def capabilities(self) -> Capabilities:
        """See Channel.capabilities."""
        return CAPABILITIES

    async def create(self, intent: TradeIntent, *, call: Call) -> CreateResult:
        """See Channel.create."""
        path = _placement_path(intent)
        if path is None:
            message = f"{intent.method.value} needs what this trade lacks"
            return CreateResult(result=unsent_pay_result("not_supported", trade_no=intent.trade_no, message=message))
        body = messages.render_placement(intent, appid=self._settings.appid, mchid=self._settings.mchid)
        try:
            said = await self._ask("POST", path, body, call=call)
        except WireError as error:
            return CreateResult(result=silent_pay_result(error, trade_no=intent.trade_no))
        result, text = mapping.placed(said, trade_no=intent.trade_no)
        return CreateResult(result=result, action=await self._action(intent, text, call=call) if text else None)

    async def charge(self, intent: TradeIntent, *, auth_code: str, call: Call) -> PayResult:
        """See Channel.charge."""
        body = messages.render_charge(
            intent, auth_code=auth_code, appid=self._settings.appid, mchid=self._settings.mchid
        )
        try:
            said = await self._ask("POST", messages.CHARGE, body, call=call)
        except WireError as error:
            return silent_pay_result(error, trade_no=intent.trade_no)
        return mapping.charged(said, ours=self._ours(intent.trade_no))

    async def query(self, ref: TradeRef, *, call: Call) -> PayResult:
        """See Channel.query."""
        path = messages.query_path(ref.trade_no, mchid=self._settings.mchid)
        try:
            said = await self._ask("GET", path, b"", call=call)
        except WireError as error:
            return silent_pay_result(error, trade_no=ref.trade_no)
        return mapping.queried(said, ours=self._ours(ref.trade_no))

    async def close(self, ref: TradeRef, *, call: Call) -> EndResult:
        """See Channel.close."""
        if ref.direction is not Direction.C2B:
            return unsupported_end_result("a code payment is reversed, not closed")
        body = messages.render_close(mchid=self._settings.mchid)
        try:
            said = await self._ask("POST", messages.close_path(ref.trade_no), body, call=call)
        except WireError as error:
            return silent_end_result(error)
        return mapping.closed(said)

    async def reverse(self, ref: TradeRef, *, call: Call) -> EndResult:
        """See Channel.reverse."""
        if ref.direction is not Direction.B2C:
            return unsupported_end_result("only a code payment is reversed")
        body = messages.render_reverse(appid=self._settings.appid, mchid=self._settings.mchid)
        try:
            said = await self._ask("POST", messages.reverse_path(ref.trade_no), body, call=call)
        except WireError as error:
            return silent_end_result(error)
        return mapping.reversed_(said, ours=self._ours(ref.trade_no))

    async def refund(self, intent: RefundIntent, *, call: Call) -> RefundResult:
        """See Channel.refund."""
        ours = OurRefund(refund_no=intent.refund_no, trade_no=intent.trade_no)
        try:
            said = await self._ask("POST", messages.REFUND, messages.render_refund(intent), call=call)
        except WireError as error:
            return silent_refund_result(error, refund_no=intent.refund_no, trade_no=intent.trade_no)
        return mapping.refunded(said, ours=ours)

    async def query_refund(self, ref: RefundRef, *, call: Call) -> RefundResult:
        """See Channel.query_refund."""
        try:
            said = await self._ask("GET", messages.refund_path(ref.refund_no), b"", call=call)
        except WireError as error:
            return silent_refund_result(error, refund_no=ref.refund_no, trade_no=ref.trade_no)
        return mapping.refund_queried(said, ours=OurRefund(refund_no=ref.refund_no, trade_no=ref.trade_no))

    async def fetch_bill(self, day: date, *, into: Path, call: Call) -> BillAnswer:
        """See Channel.fetch_bill."""
        return await kept_if_fetched(into, lambda: self._fetch_bill(day, into=into, call=call))

    def read_bill(self, tables: BillTables, bill: FetchedBill, *, day: date, folder: Path) -> ReadBill:
        """See Channel.read_bill."""
        reader = FormReader(form=bill_form(self._settings.bill_facts), account_no=self._settings.mchid)
        return reader.read_bill(tables, bill, day=day, folder=folder)

    def parse_notice(self, notice: RawNotice, *, now: datetime) -> Notice:
        """See Channel.parse_notice."""
        verdict = wechat_v3.verify_answer(
            notice.headers, notice.body, public_keys=self._settings.platform_keys_at(now), now_s=int(now.timestamp())
        )
        if verdict is not Verdict.VALID:
            raise BadNotice(f"signature_{verdict.value}")
        try:
            return self._open_notice(messages.read(notice.body, messages.Envelope), now=now)
        except BadAnswer as error:
            raise BadNotice(str(error)) from error

    def acknowledge(self, *, accepted: bool) -> Ack:
        """See Channel.acknowledge."""
        return _ACCEPTED if accepted else _REFUSED

    async def end_session(self) -> None:
        """See SessionChannel.end_session."""
        await self._http.close()

    async def _fetch_bill(self, day: date, *, into: Path, call: Call) -> BillAnswer:
        ends_s = self._monotonic_s() + call.deadline_s
        asking_s = min(call.deadline_s, CAPABILITIES.call_timeout.total_seconds())
        place = mapping.bill_place(
            await self._ask("GET", messages.bill_path(day), b"", call=replace(call, deadline_s=asking_s))
        )
        if not isinstance(place, messages.BillPlace):
            return place
        path = place.download_url.removeprefix(self._settings.gateway)
        if not path.startswith("/") or path == place.download_url:
            # What we sign for a stranger's host would put our name on that stranger's errand.
            raise BadAnswer("the bill lies at another host")
        later = second_call(call, ends_s=ends_s, monotonic_s=self._monotonic_s)
        status = await download(
            self._http,
            method="GET",
            url=place.download_url,
            headers=await self._signed_headers("GET", path, b"", call=later),
            body=b"",
            into=into,
            call=later,
            monotonic_s=self._monotonic_s,
        )
        if status != HTTP_OK:
            return http_failure(status)
        return FetchedBill(path=into, packing=packing_of(head_of(into)), sha1=place.hash_value)

    def _open_notice(self, envelope: messages.Envelope, *, now: datetime) -> Notice:
        if envelope.resource.algorithm != _ALGORITHM:
            raise BadNotice("sealed with an algorithm that we do not know")
        plaintext = self._unseal(envelope.resource, now=now)
        if envelope.event_type.startswith("TRANSACTION."):
            return self._payment_notice(messages.read(plaintext, messages.Transaction))
        if envelope.event_type.startswith("REFUND."):
            return self._refund_notice(messages.read(plaintext, messages.RefundTold))
        raise BadNotice("tells of what we do not know")

    def _unseal(self, sealed: messages.Resource, *, now: datetime) -> bytes:
        """What one of the keys that count now opens; raises `BadAnswer`."""
        for key in self._settings.apiv3_keys_at(now):
            try:
                return wechat_v3.decrypt_resource(
                    sealed.ciphertext,
                    api_v3_key=key,
                    nonce=sealed.nonce,
                    associated_data=sealed.associated_data,
                )
            except BadAnswer:
                continue
        raise BadAnswer("resource cannot be decrypted")

    def _payment_notice(self, transaction: messages.Transaction) -> Notice:
        # Signed by our platform key and yet another's: one key serves many merchants, so only the numbers tell.
        if (transaction.mchid, transaction.appid) != (self._settings.mchid, self._settings.appid):
            raise BadNotice(mapping.FOREIGN_CODE)
        return Notice(kind=NoticeKind.PAYMENT, result=mapping.told(transaction))

    def _refund_notice(self, refund: messages.RefundTold) -> Notice:
        if refund.mchid != self._settings.mchid:
            raise BadNotice(mapping.FOREIGN_CODE)
        return Notice(
            kind=NoticeKind.REFUND,
            result=mapping.refund_told(refund),
            refund=mapping.refund_notice_result(refund),
        )

    async def _action(self, intent: TradeIntent, text: str, *, call: Call) -> PayAction:
        if intent.method is Method.NATIVE:
            return PayAction(qr_text=text)
        if intent.method is Method.WAP:
            link = messages.render_h5_link(text, return_url=intent.return_url)
            return PayAction(redirect_url=link, good_until=call.now + _H5_LINK_LIFE)
        timestamp, package = int(call.now.timestamp()), f"prepay_id={text}"
        signed = wechat_v3.jsapi_sign_string(
            appid=self._settings.appid, timestamp=timestamp, nonce=call.nonce, package=package
        )
        return PayAction(
            jsapi_parameters={
                "appId": self._settings.appid,
                "timeStamp": str(timestamp),
                "nonceStr": call.nonce,
                "package": package,
                "signType": "RSA",
                "paySign": await self._signer.sign_sha256(self._private_key, signed),
            }
        )

    async def _ask(self, method: str, path: str, body: bytes, *, call: Call) -> Said:
        """What WeChat said and whether it is proven; raises the errors of `HttpClient.request`."""
        headers = await self._signed_headers(method, path, body, call=call)
        answer = await self._http.request(
            method=method,
            url=f"{self._settings.gateway}{path}",
            headers=headers,
            body=body,
            timeout_s=call.deadline_s,
            body_bytes_max=ANSWER_BYTES_MAX,
            send_within_s=self._send_within_s(call),
        )
        verdict = wechat_v3.verify_answer(
            answer.headers,
            answer.body,
            public_keys=self._settings.platform_keys_at(call.now),
            now_s=int(call.now.timestamp()),
        )
        return Said(status=answer.status, body=answer.body, verdict=verdict)

    async def _signed_headers(self, method: str, path: str, body: bytes, *, call: Call) -> dict[str, str]:
        timestamp = int(call.now.timestamp())
        signed = wechat_v3.request_sign_string(
            method=method, path_and_query=path, timestamp=timestamp, nonce=call.nonce, body=body
        )
        authorization = Authorization(
            mchid=self._settings.mchid,
            nonce=call.nonce,
            timestamp=timestamp,
            serial_no=self._settings.merchant_serial,
            signature=await self._signer.sign_sha256(self._private_key, signed),
        )
        headers = {**_JSON_HEADERS, "Authorization": wechat_v3.render_authorization(authorization)}
        if self._settings.wanted_serial is not None:
            headers["Wechatpay-Serial"] = self._settings.wanted_serial
        return headers

    def _send_within_s(self, call: Call) -> float | None:
        """Read after the signature was made, right before the client takes over (I11)."""
        if call.send_before_s is None:
            return None
        left_s = call.send_before_s - self._monotonic_s()
        if left_s <= 0:
            raise NotSent("the time to send is over")
        return left_s

    def _ours(self, trade_no: str) -> Ours:
        return Ours(trade_no=trade_no, mchid=self._settings.mchid, appid=self._settings.appid)

    @property
    def _private_key(self) -> RSAPrivateKey:
        return self._settings.merchant_private_key


def _placement_path(intent: TradeIntent) -> str | None:
    if intent.method is Method.NATIVE:
        return messages.PLACE_NATIVE
    if intent.method is Method.JSAPI and intent.payer_openid:
        return messages.PLACE_JSAPI
    if intent.method is Method.WAP and intent.payer_ip:
        return messages.PLACE_H5
    return None
