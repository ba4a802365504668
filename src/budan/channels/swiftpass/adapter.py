"""Swiftpass (威富通), an aggregator whose gateway many banks run, behind the `Channel` port."""

from collections.abc import Callable, Mapping
from dataclasses import replace
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
    shortened,
    silent_end_result,
    silent_pay_result,
    silent_refund_result,
    unsent_pay_result,
    unsupported_end_result,
)
from budan.channels.swiftpass import mapping, messages
from budan.channels.swiftpass.bill import bill_form
from budan.channels.swiftpass.mapping import OurRefund, Ours
from budan.channels.swiftpass.settings import SwiftpassSettings
from budan.core.trade import Direction
from budan.ports.bill import BillAnswer, BillTables, BillTerms, BillUnfetched, FetchedBill, ReadBill
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
    PayResult,
    RawNotice,
    RefundIntent,
    RefundRef,
    RefundResult,
    TradeIntent,
    TradeRef,
)
from budan.wire.errors import BadAnswer, NoAnswer, WireError
from budan.wire.field_signatures import sign_md5, sign_string, verify_md5, verify_rsa_sha256
from budan.wire.http import HttpClient
from budan.wire.rsa import Signer
from budan.wire.xml_fields import parse_fields, render_fields

CAPABILITIES: Final = Capabilities(
    methods=frozenset({Method.NATIVE, Method.JSAPI, Method.CODE}),
    wallets=frozenset({"wechat", "alipay"}),
    # WeChat's and Alipay's codes; which other wallets a bank's contract takes is not documented.
    auth_code_pattern=r"1[0-5][0-9]{16}|(2[5-9]|30)[0-9]{14,22}",
    close=True,
    reverse=True,
    # WeChat's rule; which wallet pays is not known beforehand.
    reverse_after=timedelta(seconds=15),
    # Shorter than the life of anything that a payer waits for, longer than a garbage collection or a full queue.
    send_window=timedelta(seconds=10),
    call_timeout=timedelta(seconds=10),
    refund=True,
    # The wallet's, or the contract's.
    refund_window=None,
    # WeChat's rule; which wallet paid is known too late to wait less.
    refund_spacing=timedelta(minutes=1),
    bills=BillTerms(ready_at=time(10), kept=KEPT, fetch_timeout=FETCH_TIMEOUT),
)

# A trade with all its promotions stays below 32 kB.
ANSWER_BYTES_MAX: Final = 131_072
_ACCEPTED: Final = Ack(status=200, content_type="text/plain", body=b"success")
_REFUSED: Final = Ack(status=200, content_type="text/plain", body=b"fail")
_XML_HEADERS: Final = {"Accept": "text/xml", "Content-Type": "text/xml;charset=UTF-8", "User-Agent": "budan"}


class SwiftpassChannel:
    """One merchant number. `monotonic_s` is only compared with `Call.send_before_s`."""

    def __init__(
        self, *, settings: SwiftpassSettings, http: HttpClient, signer: Signer, monotonic_s: Callable[[], float]
    ) -> None:
        self._settings = settings
        lacking: set[Method] = set() if settings.sub_appid else {Method.JSAPI}
        assert CAPABILITIES.bills is not None, "Swiftpass serves bills"
        self._capabilities = replace(
            CAPABILITIES,
            methods=CAPABILITIES.methods - lacking,
            reverse_within=settings.reverse_within,
            bills=replace(CAPABILITIES.bills, ready_at=settings.bill_ready_at),
        )
        self._http = http
        self._signer = signer
        self._monotonic_s = monotonic_s

    @property
    def capabilities(self) -> Capabilities:
        """See Channel.capabilities; without an official account of its own this one leads nobody by JSAPI."""
        return self._capabilities

    async def create(self, intent: TradeIntent, *, call: Call) -> CreateResult:
        """See Channel.create. A repeat of a number that was taken is refused: it changes nothing and gives no new code."""
        fields = messages.placement_fields(intent, settings=self._settings)
        if fields is None:
            message = f"{intent.method.value} needs what this trade or account lacks"
            return CreateResult(result=unsent_pay_result("not_supported", trade_no=intent.trade_no, message=message))
        if intent.expires_at is not None and intent.expires_at - intent.created_at < self._settings.c2b_life_min:
            return CreateResult(result=unsent_pay_result("expiry_too_short", trade_no=intent.trade_no))
        try:
            said = await self._ask(fields, call=call)
        except WireError as error:
            return CreateResult(result=silent_pay_result(error, trade_no=intent.trade_no))
        result, action = mapping.placed(said, ours=self._ours(intent.trade_no), method=intent.method)
        return CreateResult(result=result, action=action)

    async def charge(self, intent: TradeIntent, *, auth_code: str, call: Call) -> PayResult:
        """See Channel.charge."""
        fields = messages.charge_fields(intent, auth_code=auth_code, settings=self._settings)
        try:
            said = await self._ask(fields, call=call)
        except WireError as error:
            return silent_pay_result(error, trade_no=intent.trade_no)
        return mapping.charged(said, ours=self._ours(intent.trade_no))

    async def query(self, ref: TradeRef, *, call: Call) -> PayResult:
        """See Channel.query."""
        try:
            said = await self._ask(messages.number_fields(messages.QUERY, ref.trade_no), call=call)
        except WireError as error:
            return silent_pay_result(error, trade_no=ref.trade_no)
        return mapping.queried(said, ours=self._ours(ref.trade_no))

    async def close(self, ref: TradeRef, *, call: Call) -> EndResult:
        """See Channel.close."""
        if ref.direction is not Direction.C2B:
            return unsupported_end_result("a charge is reversed, not closed")
        try:
            said = await self._ask(messages.number_fields(messages.CLOSE, ref.trade_no), call=call)
        except WireError as error:
            return silent_end_result(error)
        return mapping.closed(said, ours=self._ours(ref.trade_no))

    async def reverse(self, ref: TradeRef, *, call: Call) -> EndResult:
        """See Channel.reverse."""
        if ref.direction is not Direction.B2C:
            return unsupported_end_result("only a charge is reversed")
        try:
            said = await self._ask(messages.number_fields(messages.REVERSE, ref.trade_no), call=call)
        except WireError as error:
            return silent_end_result(error)
        return mapping.reversed_(said, ours=self._ours(ref.trade_no))

    async def refund(self, intent: RefundIntent, *, call: Call) -> RefundResult:
        """See Channel.refund."""
        fields = messages.refund_fields(intent, settings=self._settings)
        try:
            said = await self._ask(fields, call=call)
        except WireError as error:
            return silent_refund_result(error, refund_no=intent.refund_no, trade_no=intent.trade_no)
        return mapping.refunded(said, ours=self._our_refund(intent.refund_no, trade_no=intent.trade_no))

    async def query_refund(self, ref: RefundRef, *, call: Call) -> RefundResult:
        """See Channel.query_refund."""
        try:
            said = await self._ask(messages.refund_query_fields(ref.refund_no), call=call)
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

    def parse_notice(self, notice: RawNotice, *, now: datetime) -> Notice:
        """See Channel.parse_notice. These notices carry no time to judge: `now` tells which keys count."""
        try:
            fields = parse_fields(notice.body)
            if self._proof(fields, now=now) is not Proof.VALID:
                raise BadNotice("signature_wrong")
            # One platform key signs for many merchants, so only the number tells whose notice it is.
            if fields.get("mch_id") != self._settings.mch_id:
                raise BadNotice(mapping.FOREIGN_CODE)
            return Notice(kind=NoticeKind.PAYMENT, result=mapping.told(fields))
        except BadAnswer as error:
            raise BadNotice(str(error)) from error

    def acknowledge(self, *, accepted: bool) -> Ack:
        """See Channel.acknowledge."""
        return _ACCEPTED if accepted else _REFUSED

    async def end_session(self) -> None:
        """See SessionChannel.end_session."""
        await self._http.close()

    async def _fetch_bill(self, day: date, *, into: Path, call: Call) -> BillAnswer:
        fields = messages.bill_fields(day, settings=self._settings)
        status = await download(
            self._http,
            method="POST",
            url=self._settings.bill_gateway,
            headers=_XML_HEADERS,
            body=render_fields(await self._signed(fields, nonce=call.nonce)),
            into=into,
            call=call,
            monotonic_s=self._monotonic_s,
        )
        head = head_of(into)
        if status != HTTP_OK:
            return http_failure(status)
        if head.lstrip().startswith(b"<xml"):
            # No code says that nothing moved: an empty day has a bill without rows.
            told = parse_fields(head)
            return BillUnfetched(
                code=f"status_{told.get('status', '')[:16]}", message=shortened(told.get("message", ""))
            )
        return FetchedBill(path=into, packing=packing_of(head))

    async def _ask(self, fields: Mapping[str, str], *, call: Call) -> Said:
        """What Swiftpass said and whether it is proven; raises the errors of `HttpClient.request`."""
        body = render_fields(await self._signed(fields, nonce=call.nonce))
        answer = await self._http.request(
            method="POST",
            url=self._settings.gateway,
            headers=_XML_HEADERS,
            body=body,
            timeout_s=call.deadline_s,
            body_bytes_max=ANSWER_BYTES_MAX,
            send_within_s=send_within_s(call, monotonic_s=self._monotonic_s),
        )
        if answer.status != HTTP_OK:
            # Swiftpass answers 200 always: this is a gateway on the way, and the request may have passed it.
            raise NoAnswer(f"http_{answer.status}")
        said = parse_fields(answer.body)
        return Said(fields=said, proof=self._proof(said, now=call.now))

    async def _signed(self, fields: Mapping[str, str], *, nonce: str) -> dict[str, str]:
        settings = self._settings
        sent = {
            "version": "2.0",
            "charset": "UTF-8",
            "sign_type": settings.sign_type.value,
            "mch_id": settings.mch_id,
            "nonce_str": nonce,
            **fields,
        }
        if settings.rsa_keys is None:
            return sent | {"sign": sign_md5(sent, key=settings.api_key)}
        private_key = settings.rsa_keys.merchant_private_key
        return sent | {"sign": await self._signer.sign_sha256(private_key, sign_string(sent))}

    def _proof(self, fields: Mapping[str, str], *, now: datetime) -> Proof:
        """Judged by the account's own way to sign: what a message says of itself proves nothing."""
        if not fields.get("sign"):
            return Proof.UNSIGNED
        settings = self._settings
        is_valid = (
            any(verify_md5(fields, key=key) for key in settings.api_keys_at(now))
            if settings.rsa_keys is None
            else any(verify_rsa_sha256(fields, public_key=key) for key in settings.platform_keys_at(now))
        )
        return Proof.VALID if is_valid else Proof.WRONG

    def _ours(self, trade_no: str) -> Ours:
        return Ours(
            trade_no=trade_no,
            mch_id=self._settings.mch_id,
            payerror_ends=self._settings.payerror_ends,
            not_found_codes=self._settings.not_found_codes,
        )

    def _our_refund(self, refund_no: str, *, trade_no: str) -> OurRefund:
        return OurRefund(
            refund_no=refund_no,
            trade_no=trade_no,
            mch_id=self._settings.mch_id,
            not_found_codes=self._settings.refund_not_found_codes,
        )
