"""WeChat Pay's older XML interface for scanned payers' codes, behind the `Channel` port."""

from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Final

from budan.channels.bill_fetching import (
    FETCH_TIMEOUT,
    HTTP_OK,
    KEPT,
    download,
    head_of,
    http_failure,
    kept_if_fetched,
    packing_of,
)
from budan.channels.flat_fields import Proof, Said
from budan.channels.form_reader import FormReader
from budan.channels.send_window import send_within_s
from budan.channels.silence import (
    silent_end_result,
    silent_pay_result,
    silent_refund_result,
    unsent_pay_result,
    unsupported_end_result,
)
from budan.channels.wechat_v2 import mapping, messages
from budan.channels.wechat_v2.bill import bill_form
from budan.channels.wechat_v2.mapping import OurRefund, Ours
from budan.channels.wechat_v2.settings import SignType, WechatV2Settings
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
    PayResult,
    RawNotice,
    RefundIntent,
    RefundRef,
    RefundResult,
    TradeIntent,
    TradeRef,
)
from budan.wire.errors import NoAnswer, WireError
from budan.wire.field_signatures import sign_hmac_sha256, sign_md5, verify_hmac_sha256, verify_md5
from budan.wire.http import HttpClient
from budan.wire.xml_fields import parse_fields, render_fields

CAPABILITIES: Final = Capabilities(
    methods=frozenset({Method.CODE}),
    wallets=frozenset({"wechat"}),
    # 18 digits that start with 10 to 15: the same codes as WeChat Pay v3's (section 1).
    auth_code_pattern=r"1[0-5][0-9]{16}",
    close=False,
    reverse=True,
    reverse_after=timedelta(seconds=15),
    reverse_within=timedelta(days=7),
    # Shorter than the life of a payer's code, longer than a garbage collection or a full queue.
    send_window=timedelta(seconds=10),
    call_timeout=timedelta(seconds=10),
    refund=True,
    # docs/protocols/wechat_v2_micropay.md section 5.
    refund_window=timedelta(days=365),
    refund_spacing=timedelta(minutes=1),
    bills=BillTerms(ready_at=time(10), kept=KEPT, fetch_timeout=FETCH_TIMEOUT),
)

# A trade with all its promotions stays below 32 kB.
ANSWER_BYTES_MAX: Final = 131_072
_REFUSED: Final = Ack(
    status=200,
    content_type="text/xml",
    body=b"<xml><return_code><![CDATA[FAIL]]></return_code><return_msg><![CDATA[NO]]></return_msg></xml>",
)
_XML_HEADERS: Final = {"Accept": "text/xml", "Content-Type": "text/xml;charset=UTF-8", "User-Agent": "budan"}


class WechatV2Channel:
    """One merchant number. `secure_http` shows its certificate; `monotonic_s` is compared with `Call.send_before_s` only."""

    def __init__(
        self,
        *,
        settings: WechatV2Settings,
        http: HttpClient,
        secure_http: HttpClient,
        monotonic_s: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._http = http
        self._secure_http = secure_http
        self._monotonic_s = monotonic_s

    @property
    def capabilities(self) -> Capabilities:
        """See Channel.capabilities."""
        return CAPABILITIES

    async def create(self, intent: TradeIntent, *, call: Call) -> CreateResult:  # noqa: ARG002 - nothing is called
        """See Channel.create; this interface is used for payers' codes alone."""
        return CreateResult(result=unsent_pay_result("not_supported", trade_no=intent.trade_no))

    async def charge(self, intent: TradeIntent, *, auth_code: str, call: Call) -> PayResult:
        """See Channel.charge."""
        fields = messages.charge_fields(intent, auth_code=auth_code, settings=self._settings)
        try:
            said = await self._ask(messages.MICROPAY, fields, call=call)
        except WireError as error:
            return silent_pay_result(error, trade_no=intent.trade_no)
        return mapping.charged(said, ours=self._ours(intent.trade_no))

    async def query(self, ref: TradeRef, *, call: Call) -> PayResult:
        """See Channel.query."""
        try:
            said = await self._ask(messages.QUERY, messages.number_fields(ref.trade_no), call=call)
        except WireError as error:
            return silent_pay_result(error, trade_no=ref.trade_no)
        return mapping.queried(said, ours=self._ours(ref.trade_no))

    async def close(self, ref: TradeRef, *, call: Call) -> EndResult:  # noqa: ARG002 - nothing is called
        """See Channel.close."""
        return unsupported_end_result("a charge is reversed, not closed")

    async def reverse(self, ref: TradeRef, *, call: Call) -> EndResult:
        """See Channel.reverse."""
        if ref.direction is not Direction.B2C:
            return unsupported_end_result("only a charge is reversed")
        try:
            said = await self._ask(messages.REVERSE, messages.number_fields(ref.trade_no), call=call)
        except WireError as error:
            return silent_end_result(error)
        return mapping.reversed_(said, ours=self._ours(ref.trade_no))

    async def refund(self, intent: RefundIntent, *, call: Call) -> RefundResult:
        """See Channel.refund."""
        try:
            said = await self._ask(messages.REFUND, messages.refund_fields(intent), call=call)
        except WireError as error:
            return silent_refund_result(error, refund_no=intent.refund_no, trade_no=intent.trade_no)
        return mapping.refunded(said, ours=self._our_refund(intent.refund_no, trade_no=intent.trade_no))

    async def query_refund(self, ref: RefundRef, *, call: Call) -> RefundResult:
        """See Channel.query_refund."""
        try:
            said = await self._ask(messages.REFUND_QUERY, messages.refund_query_fields(ref.refund_no), call=call)
        except WireError as error:
            return silent_refund_result(error, refund_no=ref.refund_no, trade_no=ref.trade_no)
        return mapping.refund_queried(said, ours=self._our_refund(ref.refund_no, trade_no=ref.trade_no))

    async def fetch_bill(self, day: date, *, into: Path, call: Call) -> BillAnswer:
        """See Channel.fetch_bill."""
        return await kept_if_fetched(into, lambda: self._fetch_bill(day, into=into, call=call))

    def read_bill(self, tables: BillTables, bill: FetchedBill, *, day: date, folder: Path) -> ReadBill:
        """See Channel.read_bill."""
        reader = FormReader(form=bill_form(self._settings.bill_facts), account_no=self._settings.mch_id)
        return reader.read_bill(tables, bill, day=day, folder=folder)

    def parse_notice(self, notice: RawNotice, *, now: datetime) -> Notice:  # noqa: ARG002 - none is believed
        """See Channel.parse_notice. Charges have no notice, and that of a refund, which we never ask for, is not signed."""
        raise BadNotice("this channel sends none")

    def acknowledge(self, *, accepted: bool) -> Ack:
        """See Channel.acknowledge."""
        assert not accepted, "no notice of this channel is ever accepted"
        return _REFUSED

    async def end_session(self) -> None:
        """See SessionChannel.end_session."""
        await self._http.close()
        await self._secure_http.close()

    async def _fetch_bill(self, day: date, *, into: Path, call: Call) -> BillAnswer:
        status = await download(
            self._http,
            method="POST",
            url=f"{self._settings.gateway}{messages.BILL}",
            headers=_XML_HEADERS,
            body=render_fields(self._signed(messages.bill_fields(day), nonce=call.nonce)),
            into=into,
            call=call,
            monotonic_s=self._monotonic_s,
        )
        head = head_of(into)
        if status != HTTP_OK:
            return http_failure(status)
        if head.lstrip().startswith(b"<xml"):
            return mapping.bill_refused(parse_fields(head))
        return FetchedBill(path=into, packing=packing_of(head))

    async def _ask(self, path: str, fields: Mapping[str, str], *, call: Call) -> Said:
        """What WeChat said and whether it is proven; raises the errors of `HttpClient.request`."""
        body = render_fields(self._signed(fields, nonce=call.nonce))
        shows_certificate = path.startswith("/secapi/")
        http = self._secure_http if shows_certificate else self._http
        gateway = self._settings.secure_gateway if shows_certificate else self._settings.gateway
        answer = await http.request(
            method="POST",
            url=f"{gateway}{path}",
            headers=_XML_HEADERS,
            body=body,
            timeout_s=call.deadline_s,
            body_bytes_max=ANSWER_BYTES_MAX,
            send_within_s=send_within_s(call, monotonic_s=self._monotonic_s),
        )
        if answer.status != HTTP_OK:
            # WeChat answers 200 always here: this is a gateway on the way, and the request may have passed it.
            raise NoAnswer(f"http_{answer.status}")
        said = parse_fields(answer.body)
        return Said(fields=said, proof=self._proof(said, now=call.now))

    def _signed(self, fields: Mapping[str, str], *, nonce: str) -> dict[str, str]:
        settings = self._settings
        sent = {
            "appid": settings.appid,
            "mch_id": settings.mch_id,
            "nonce_str": nonce,
            "sign_type": settings.sign_type.value,
            **fields,
        }
        sign = sign_md5 if settings.sign_type is SignType.MD5 else sign_hmac_sha256
        return sent | {"sign": sign(sent, key=settings.api_key)}

    def _proof(self, fields: Mapping[str, str], *, now: datetime) -> Proof:
        """Judged by the account's own way to sign, which is that of the request."""
        if not fields.get("sign"):
            return Proof.UNSIGNED
        verify = verify_md5 if self._settings.sign_type is SignType.MD5 else verify_hmac_sha256
        is_valid = any(verify(fields, key=key) for key in self._settings.api_keys_at(now))
        return Proof.VALID if is_valid else Proof.WRONG

    def _ours(self, trade_no: str) -> Ours:
        return Ours(trade_no=trade_no, appid=self._settings.appid, mch_id=self._settings.mch_id)

    def _our_refund(self, refund_no: str, *, trade_no: str) -> OurRefund:
        return OurRefund(
            refund_no=refund_no,
            trade=self._ours(trade_no),
            not_found_codes=self._settings.refund_not_found_codes,
        )
