"""Alipay's OpenAPI (RSA2) for a direct merchant, behind the `Channel` port."""

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from msgspec.structs import replace

from budan.channels.alipay import mapping, messages
from budan.channels.alipay.bill import bill_form
from budan.channels.alipay.mapping import Proof, Said
from budan.channels.alipay.settings import AlipaySettings
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
from budan.core.evidence import Outcome
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
from budan.wire import alipay
from budan.wire.errors import BadAnswer, NoAnswer, NotSent, WireError
from budan.wire.forms import parse_form, render_form
from budan.wire.http import HttpClient
from budan.wire.rsa import Signer

CAPABILITIES: Final = Capabilities(
    methods=frozenset({Method.NATIVE, Method.WAP, Method.CODE}),
    wallets=frozenset({"alipay"}),
    # 16 to 24 digits that start with 25 to 30 (docs/protocols/alipay.md section 5).
    auth_code_pattern=r"(2[5-9]|30)[0-9]{14,22}",
    close=True,
    reverse=True,
    # Shorter than the life of anything that a payer waits for, longer than a garbage collection or a full queue.
    send_window=timedelta(seconds=10),
    call_timeout=timedelta(seconds=10),
    refund=True,
    # Refunds normally send none (docs/protocols/alipay.md section 4); one that comes is read.
    # By contract; 12 months is only usual (section 5).
    refund_window=None,
    refund_spacing=timedelta(seconds=3),
    # docs/protocols/alipay.md section 5, read 2026-09.
    reverse_within=timedelta(hours=24),
    bills=BillTerms(ready_at=time(10), kept=KEPT, fetch_timeout=FETCH_TIMEOUT),
)

# A trade with all its funds and goods stays below 32 kB.
ANSWER_BYTES_MAX: Final = 131_072
_NOTIFY_TYPE: Final = "trade_status_sync"
_ACCEPTED: Final = Ack(status=200, content_type="text/plain", body=b"success")
_REFUSED: Final = Ack(status=200, content_type="text/plain", body=b"fail")
_FORM_HEADERS: Final = {
    "Accept": "application/json",
    "Content-Type": "application/x-www-form-urlencoded;charset=utf-8",
    "User-Agent": "budan",
}


class AlipayChannel:
    """One application and seller. `monotonic_s` is only compared with `Call.send_before_s`."""

    def __init__(
        self, *, settings: AlipaySettings, http: HttpClient, signer: Signer, monotonic_s: Callable[[], float]
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
        if intent.method is Method.WAP and intent.return_url:
            return await self._wap(intent, return_url=intent.return_url, call=call)
        if intent.method is not Method.NATIVE:
            message = f"{intent.method.value} needs what this trade lacks"
            return CreateResult(result=unsent_pay_result("not_supported", trade_no=intent.trade_no, message=message))
        content = messages.render_precreate(intent, product_code=self._settings.precreate_product_code)
        try:
            said = await self._ask(messages.PRECREATE, content, call=call, notify_url=intent.notify_url)
        except WireError as error:
            return CreateResult(result=silent_pay_result(error, trade_no=intent.trade_no))
        result, qr_text = mapping.placed(said, trade_no=intent.trade_no)
        return CreateResult(result=result, action=PayAction(qr_text=qr_text) if qr_text else None)

    async def charge(self, intent: TradeIntent, *, auth_code: str, call: Call) -> PayResult:
        """See Channel.charge."""
        content = messages.render_pay(intent, auth_code=auth_code)
        try:
            said = await self._ask(messages.PAY, content, call=call, notify_url=intent.notify_url)
        except WireError as error:
            return silent_pay_result(error, trade_no=intent.trade_no)
        return mapping.charged(said, trade_no=intent.trade_no)

    async def query(self, ref: TradeRef, *, call: Call) -> PayResult:
        """See Channel.query."""
        try:
            said = await self._ask(messages.QUERY, messages.render_number(ref.trade_no), call=call)
        except WireError as error:
            return silent_pay_result(error, trade_no=ref.trade_no)
        return mapping.queried(said, trade_no=ref.trade_no, is_b2c=ref.direction is Direction.B2C)

    async def close(self, ref: TradeRef, *, call: Call) -> EndResult:
        """See Channel.close. Before anybody scanned there is nothing to close: NOT_FOUND."""
        if ref.direction is not Direction.C2B:
            return unsupported_end_result("a charge is cancelled, not closed")
        try:
            said = await self._ask(messages.CLOSE, messages.render_number(ref.trade_no), call=call)
        except WireError as error:
            return silent_end_result(error)
        return mapping.closed(said, trade_no=ref.trade_no)

    async def reverse(self, ref: TradeRef, *, call: Call) -> EndResult:
        """See Channel.reverse. Alipay calls it cancel, and takes it for both directions within 24 h."""
        try:
            said = await self._ask(messages.CANCEL, messages.render_number(ref.trade_no), call=call)
        except WireError as error:
            return silent_end_result(error)
        return mapping.cancelled(said, trade_no=ref.trade_no)

    async def refund(self, intent: RefundIntent, *, call: Call) -> RefundResult:
        """See Channel.refund."""
        try:
            said = await self._ask(messages.REFUND, messages.render_refund(intent), call=call)
        except WireError as error:
            return silent_refund_result(error, refund_no=intent.refund_no, trade_no=intent.trade_no)
        return mapping.refunded(said, intent=intent)

    async def query_refund(self, ref: RefundRef, *, call: Call) -> RefundResult:
        """See Channel.query_refund."""
        try:
            said = await self._ask(messages.REFUND_QUERY, messages.render_refund_query(ref), call=call)
        except WireError as error:
            return silent_refund_result(error, refund_no=ref.refund_no, trade_no=ref.trade_no)
        return mapping.refund_queried(said, ref=ref)

    async def fetch_bill(self, day: date, *, into: Path, call: Call) -> BillAnswer:
        """See Channel.fetch_bill."""
        return await kept_if_fetched(into, lambda: self._fetch_bill(day, into=into, call=call))

    def read_bill(self, tables: BillTables, bill: FetchedBill, *, day: date, folder: Path) -> ReadBill:
        """See Channel.read_bill."""
        reader = FormReader(form=bill_form(self._settings.bill_facts), account_no=self._settings.seller_id)
        return reader.read_bill(tables, bill, day=day, folder=folder)

    def parse_notice(self, notice: RawNotice, *, now: datetime) -> Notice:
        """See Channel.parse_notice. RSA2 notices carry no time to judge: `now` tells which keys count."""
        try:
            fields = parse_form(notice.body)
            keys = self._keys_of(fields.get("alipay_cert_sn", ""), now=now)
            if not any(alipay.verify_notify(fields, public_key=key) for key in keys):
                raise BadNotice("signature_wrong")
            told = messages.read(fields, messages.Told)
            kind, result = mapping.told(told)
            refund = mapping.refund_told(told) if kind is NoticeKind.REFUND else None
        except BadAnswer as error:
            raise BadNotice(str(error)) from error
        # Alipay signs for every merchant with one key, so only the numbers tell whose notice it is.
        if (told.app_id, told.seller_id) != (self._settings.app_id, self._settings.seller_id):
            raise BadNotice(mapping.FOREIGN_CODE)
        if told.notify_type != _NOTIFY_TYPE:
            raise BadNotice("tells of what we do not know")
        return Notice(kind=kind, result=result, refund=refund)

    def acknowledge(self, *, accepted: bool) -> Ack:
        """See Channel.acknowledge."""
        return _ACCEPTED if accepted else _REFUSED

    async def end_session(self) -> None:
        """See SessionChannel.end_session."""
        await self._http.close()

    async def _fetch_bill(self, day: date, *, into: Path, call: Call) -> BillAnswer:
        ends_s = self._monotonic_s() + call.deadline_s
        asking_s = min(call.deadline_s, CAPABILITIES.call_timeout.total_seconds())
        said = await self._ask(messages.BILL, messages.render_bill(day), call=replace(call, deadline_s=asking_s))
        place = mapping.bill_place(said, not_found_codes=self._settings.bill_not_found_codes)
        if not isinstance(place, messages.BillPlace):
            return place
        later = second_call(call, ends_s=ends_s, monotonic_s=self._monotonic_s)
        status = await download(
            self._http,
            method="GET",
            url=self._bill_address(place.bill_download_url),
            headers={"User-Agent": "budan"},
            body=b"",
            into=into,
            call=later,
            monotonic_s=self._monotonic_s,
        )
        return FetchedBill(path=into, packing=packing_of(head_of(into))) if status == HTTP_OK else http_failure(status)

    def _bill_address(self, told: str) -> str:
        """The address that Alipay signed. Its file is not signed, so it never comes in the clear unless all else does."""
        if self._settings.gateway.startswith("https://") and told.startswith("http://"):
            return f"https://{told.removeprefix('http://')}"
        return told

    async def _wap(self, intent: TradeIntent, *, return_url: str, call: Call) -> CreateResult:
        """The signed address of the page. Nothing is called; once the address is given out, the payer may pay."""
        # The payer who gives up goes where the one who paid goes: the page there asks us how the order stands.
        content = messages.render_wap(intent, quit_url=return_url)
        parameters = await self._signed(
            messages.WAP_PAY, content, call=call, notify_url=intent.notify_url, return_url=return_url
        )
        address = f"{self._settings.gateway}?{render_form(parameters).decode('ascii')}"
        result = PayResult(outcome=Outcome.UNPAID_OPEN, trade_no=intent.trade_no)
        return CreateResult(result=result, action=PayAction(redirect_url=address))

    async def _ask(self, method: str, content: str, *, call: Call, notify_url: str = "") -> Said:
        """What Alipay said and whether it is proven; raises the errors of `HttpClient.request`."""
        parameters = await self._signed(method, content, call=call, notify_url=notify_url)
        # The gateway decodes the form by the charset, which it must therefore know beforehand.
        charset = parameters.pop("charset")
        answer = await self._http.request(
            method="POST",
            url=f"{self._settings.gateway}?charset={charset}",
            headers=_FORM_HEADERS,
            body=render_form(parameters),
            timeout_s=call.deadline_s,
            body_bytes_max=ANSWER_BYTES_MAX,
            send_within_s=self._send_within_s(call),
        )
        if answer.status != HTTP_OK:
            # Alipay answers 200 always: this is a gateway on the way, and the request may have passed it.
            raise NoAnswer(f"http_{answer.status}")
        said = alipay.parse_answer(answer.body, method=method)
        return Said(payload=said.payload, proof=self._proof(said, now=call.now))

    async def _signed(
        self, method: str, content: str, *, call: Call, notify_url: str = "", return_url: str = ""
    ) -> dict[str, str]:
        parameters = {
            "app_id": self._settings.app_id,
            "method": method,
            "format": "JSON",
            "charset": "utf-8",
            "sign_type": "RSA2",
            "timestamp": messages.render_moment(call.now),
            "version": "1.0",
            "notify_url": notify_url,
            "return_url": return_url,
            "biz_content": content,
        }
        own = self._settings.own_certificates
        if own is not None:
            parameters |= {"app_cert_sn": own.app_cert_sn, "alipay_root_cert_sn": own.root_cert_sn}
        sent = {name: value for name, value in parameters.items() if value}
        sent["sign"] = await self._signer.sign_sha256(self._settings.app_private_key, alipay.request_sign_string(sent))
        return sent

    def _proof(self, answer: alipay.Answer, *, now: datetime) -> Proof:
        if not answer.is_signed:
            return Proof.UNSIGNED
        keys = self._keys_of(answer.alipay_cert_sn, now=now)
        is_valid = any(alipay.verify_answer(answer, public_key=key) for key in keys)
        return Proof.VALID if is_valid else Proof.WRONG

    def _keys_of(self, cert_sn: str, *, now: datetime) -> list[RSAPublicKey]:
        """Those that may have signed a message that names this certificate, or none."""
        return [key.public_key for key in self._settings.alipay_keys_at(now) if key.may_have_signed(cert_sn)]

    def _send_within_s(self, call: Call) -> float | None:
        """Read after the signature was made, right before the client takes over (I11)."""
        if call.send_before_s is None:
            return None
        left_s = call.send_before_s - self._monotonic_s()
        if left_s <= 0:
            raise NotSent("the time to send is over")
        return left_s
