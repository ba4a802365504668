"""iPaynow (NowPay) behind the `Channel` port: forms both ways, one shared key."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final, assert_never

import msgspec

from budan.channels.form_reader import FormReader
from budan.channels.ipaynow import mapping, messages
from budan.channels.ipaynow.bill import bill_form
from budan.channels.ipaynow.mapping import GoingBack, Proof, Said
from budan.channels.ipaynow.settings import IpaynowSettings
from budan.channels.silence import (
    BAD_ANSWER_CODE,
    shortened,
    silent_end_result,
    silent_pay_result,
    silent_refund_result,
    unsent_pay_result,
    unsupported_bill_answer,
    unsupported_end_result,
)
from budan.core.evidence import Outcome
from budan.ports.bill import BillAnswer, BillTables, FetchedBill, ReadBill
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
from budan.wire import ipaynow
from budan.wire.errors import BadAnswer, NoAnswer, NotSent, WireError
from budan.wire.forms import parse_form, render_form
from budan.wire.http import HttpClient
from budan.wire.ipaynow import Signed

CAPABILITIES: Final = Capabilities(
    methods=frozenset({Method.NATIVE, Method.JSAPI, Method.WAP, Method.CODE}),
    # By an account's `c2b_pay_channel`; payers' codes are charged of both.
    wallets=frozenset({"wechat"}),
    # WeChat's 18 digits from 10 to 15, Alipay's 16 to 24 from 25 to 30: iPaynow charges both.
    auth_code_pattern=r"1[0-5][0-9]{16}|(2[5-9]|30)[0-9]{14,22}",
    # No such function was found; a placement's time-out is the only close (docs/protocols/ipaynow.md section 1).
    close=False,
    reverse=True,
    send_window=timedelta(seconds=10),
    call_timeout=timedelta(seconds=10),
    refund=True,
    # None was seen (section 4).
    # Not published; the wallets' own is about a year (section 5).
    refund_window=None,
    refund_spacing=timedelta(seconds=3),
    # None is documented; a file from the merchants' portal is loaded by hand.
    bills=None,
    # The day's end may be nearer: the adapter knows it, and then answers NOT_SUPPORTED.
    reverse_within=timedelta(hours=24),
)

# A reverse that left at the day's very end may reach iPaynow after it: until then "no such reverse" is not believed.
REVERSE_SETTLE: Final = timedelta(minutes=1)
# The longest field is a code as a picture, which we do not draw: 32 kB are four times a code's text of any size.
ANSWER_BYTES_MAX: Final = 32_768
_HTTP_OK: Final = 200
_ACCEPTED: Final = Ack(status=200, content_type="text/plain", body=b"success=Y")
_REFUSED: Final = Ack(status=200, content_type="text/plain", body=b"success=N")
_FORM_HEADERS: Final = {
    "Content-Type": "application/x-www-form-urlencoded;charset=utf-8",
    "User-Agent": "budan",
}


class IpaynowChannel:
    """One application. `monotonic_s` is compared with `Call.send_before_s` and bounds the questions of a reverse."""

    def __init__(self, *, settings: IpaynowSettings, http: HttpClient, monotonic_s: Callable[[], float]) -> None:
        self._settings = settings
        self._http = http
        self._monotonic_s = monotonic_s
        wallet = mapping.WALLETS[settings.c2b_pay_channel]
        self._capabilities = replace(CAPABILITIES, wallets=frozenset({wallet}))

    @property
    def capabilities(self) -> Capabilities:
        """See Channel.capabilities."""
        return self._capabilities

    async def create(self, intent: TradeIntent, *, call: Call) -> CreateResult:
        """See Channel.create. A repeat is refused as a number used twice, and gives no second code."""
        if _lacks_what_it_needs(intent):
            return CreateResult(result=unsent_pay_result("not_supported", trade_no=intent.trade_no))
        time_out_s = messages.find_time_out_s(intent, most_s=self._settings.c2b_time_out_s)
        if time_out_s is None:
            return CreateResult(result=unsent_pay_result("expiry_too_short", trade_no=intent.trade_no))
        fields = messages.render_placement(intent, time_out_s=time_out_s, settings=self._settings)
        try:
            said = await self._ask_pay(fields, call=call)
        except WireError as error:
            return CreateResult(result=silent_pay_result(error, trade_no=intent.trade_no))
        result, tn = mapping.placed(said, trade_no=intent.trade_no, app_id=self._settings.app_id)
        if said.proof is not Proof.VALID or not tn:
            return CreateResult(result=result)
        try:
            return CreateResult(result=result, action=_action(intent.method, tn))
        except BadAnswer as error:
            # The trade is there and can be asked about; nobody can be led to pay it.
            return CreateResult(
                result=msgspec.structs.replace(result, code=BAD_ANSWER_CODE, message=shortened(str(error)))
            )

    async def charge(self, intent: TradeIntent, *, auth_code: str, call: Call) -> PayResult:
        """See Channel.charge."""
        fields = messages.render_charge(intent, auth_code=auth_code, settings=self._settings)
        try:
            said = await self._ask_pay(fields, call=call)
        except WireError as error:
            return silent_pay_result(error, trade_no=intent.trade_no)
        return mapping.charged(said, trade_no=intent.trade_no, app_id=self._settings.app_id)

    async def query(self, ref: TradeRef, *, call: Call) -> PayResult:
        """See Channel.query."""
        try:
            said = await self._ask_pay(messages.render_query(ref, settings=self._settings), call=call)
        except WireError as error:
            return silent_pay_result(error, trade_no=ref.trade_no)
        return mapping.queried(
            said,
            trade_no=ref.trade_no,
            app_id=self._settings.app_id,
            refused_is_not_found=self._refused_is_not_found,
        )

    async def close(self, ref: TradeRef, *, call: Call) -> EndResult:  # noqa: ARG002 - there is no such call
        """See Channel.close: iPaynow has none, its time-out ends what nobody pays."""
        return unsupported_end_result("a placement ends by its time-out only")

    async def reverse(self, ref: TradeRef, *, call: Call) -> EndResult:
        """See Channel.reverse. Same day only; a refusal carries no reason, so up to two questions follow."""
        ends_s = self._monotonic_s() + call.deadline_s
        if not self._is_day_of(ref, call.now):
            return await self._find_reverse(ref, call=call, ends_s=ends_s)
        fields = messages.render_reverse(ref.trade_no, settings=self._settings)
        try:
            said = await self._ask_refund(self._settings.refund_gateway, fields, call=call)
        except WireError as error:
            return silent_end_result(error)
        heard = self._heard_of_reverse(said, ref.trade_no)
        if heard is not GoingBack.DONE and heard is not GoingBack.UNCLEAR:
            # A repeat is refused like anything else, and then its query tells what became of the first.
            said, heard = await self._ask_reverse(ref.trade_no, answer=said, call=self._rest(call, ends_s))
        standing = PayResult(outcome=Outcome.UNKNOWN, trade_no=ref.trade_no)
        if heard in {GoingBack.DONE, GoingBack.FAILED, GoingBack.REFUSED}:
            standing = await self.query(ref, call=self._rest(call, ends_s))
        return mapping.reversed_as(heard, standing, said=said)

    async def refund(self, intent: RefundIntent, *, call: Call) -> RefundResult:
        """See Channel.refund."""
        fields = messages.render_refund(intent, settings=self._settings)
        try:
            said = await self._ask_refund(self._settings.refund_gateway, fields, call=call)
        except WireError as error:
            return silent_refund_result(error, refund_no=intent.refund_no, trade_no=intent.trade_no)
        return mapping.refunded(said, intent=intent, app_id=self._settings.app_id)

    async def query_refund(self, ref: RefundRef, *, call: Call) -> RefundResult:
        """See Channel.query_refund."""
        fields = messages.render_return_query(messages.REFUND_QUERY, ref.refund_no, settings=self._settings)
        try:
            said = await self._ask_refund(self._settings.refund_query_gateway, fields, call=call)
        except WireError as error:
            return silent_refund_result(error, refund_no=ref.refund_no, trade_no=ref.trade_no)
        is_believed = self._settings.refused_refund_query == "not_found"
        return mapping.refund_queried(said, ref=ref, app_id=self._settings.app_id, refused_is_not_found=is_believed)

    async def fetch_bill(self, day: date, *, into: Path, call: Call) -> BillAnswer:  # noqa: ARG002 - there is no such call
        """See Channel.fetch_bill."""
        return unsupported_bill_answer()

    def read_bill(self, tables: BillTables, bill: FetchedBill, *, day: date, folder: Path) -> ReadBill:
        """See Channel.read_bill."""
        reader = FormReader(form=bill_form(), account_no=self._settings.app_id)
        return reader.read_bill(tables, bill, day=day, folder=folder)

    def parse_notice(self, notice: RawNotice, *, now: datetime) -> Notice:
        """See Channel.parse_notice, whatever content type it came with. Its signature covers no time of sending."""
        try:
            fields = parse_form(notice.body)
            said = self._said(messages.NOTICE, fields, Signed.PAY_ANSWER, now=now)
            if said.proof is not Proof.VALID:
                raise BadNotice(mapping.SIGNATURE_CODE)
            if said.get("appId") != self._settings.app_id:
                raise BadNotice(mapping.FOREIGN_CODE)
            if said.get("funcode") != messages.NOTICE:
                raise BadNotice("tells of what we do not know")
            return Notice(kind=NoticeKind.PAYMENT, result=mapping.told(said))
        except BadAnswer as error:
            raise BadNotice(str(error)) from error

    def acknowledge(self, *, accepted: bool) -> Ack:
        """See Channel.acknowledge."""
        return _ACCEPTED if accepted else _REFUSED

    async def end_session(self) -> None:
        """See SessionChannel.end_session."""
        await self._http.close()

    @property
    def _refused_is_not_found(self) -> bool:
        return self._settings.refused_query == "not_found"

    async def _ask_reverse(self, trade_no: str, *, answer: Said, call: Call) -> tuple[Said, GoingBack]:
        """What iPaynow knows of the trade's reverse; unclear when it does not say, for the reverse itself was sent."""
        try:
            said = await self._query_reverse(trade_no, call=call)
        except WireError:
            return answer, GoingBack.UNCLEAR
        return said, self._heard_of_reverse(said, trade_no)

    async def _find_reverse(self, ref: TradeRef, *, call: Call, ends_s: float) -> EndResult:
        """What became of the day's reverse: none is taken any more, but one that was taken goes on past midnight (I7)."""
        try:
            said = await self._query_reverse(ref.trade_no, call=call)
        except WireError as error:
            return silent_end_result(error)
        heard = self._heard_of_reverse(said, ref.trade_no)
        if heard is GoingBack.DONE:
            standing = await self.query(ref, call=self._rest(call, ends_s))
            return mapping.reversed_as(heard, standing, said=said)
        is_settled = not self._is_day_of(ref, call.now - REVERSE_SETTLE)
        is_named = said.get("mhtRefundNo") == messages.reverse_number(ref.trade_no)
        return mapping.not_reversed(
            heard, said=said, refused_is_not_found=self._refused_is_not_found and is_settled and is_named
        )

    async def _query_reverse(self, trade_no: str, *, call: Call) -> Said:
        """The answer to a reverse's query; raises `WireError`."""
        number = messages.reverse_number(trade_no)
        fields = messages.render_return_query(messages.REVERSE_QUERY, number, settings=self._settings)
        return await self._ask_refund(self._settings.refund_query_gateway, fields, call=call)

    def _is_day_of(self, ref: TradeRef, moment: datetime) -> bool:
        return messages.is_same_day(ref.created_at, moment, cut_off=self._settings.reverse_cut_off)

    def _heard_of_reverse(self, said: Said, trade_no: str) -> GoingBack:
        number = messages.reverse_number(trade_no)
        return mapping.going_back(said, number=number, trade_no=trade_no, app_id=self._settings.app_id)

    async def _ask_pay(self, fields: Mapping[str, str], *, call: Call) -> Said:
        signed = ipaynow.signed(fields, app_key=self._settings.app_key, kind=Signed.PAY_REQUEST)
        answer = await self._send(self._settings.gateway, signed, call=call)
        return self._said(fields["funcode"], answer, Signed.PAY_ANSWER, now=call.now)

    async def _ask_refund(self, url: str, fields: Mapping[str, str], *, call: Call) -> Said:
        signed = ipaynow.signed(fields, app_key=self._settings.app_key, kind=Signed.REFUND_REQUEST)
        answer = await self._send(url, signed, call=call)
        return self._said(fields["funcode"], answer, Signed.REFUND_ANSWER, now=call.now)

    async def _send(self, url: str, fields: Mapping[str, str], *, call: Call) -> dict[str, str]:
        answer = await self._http.request(
            method="POST",
            url=url,
            headers=_FORM_HEADERS,
            # What has no value is not covered by the signature and need not be sent.
            body=render_form({name: value for name, value in fields.items() if value}),
            timeout_s=call.deadline_s,
            body_bytes_max=ANSWER_BYTES_MAX,
            send_within_s=self._send_within_s(call),
        )
        if answer.status != _HTTP_OK:
            # iPaynow answers 200 always: this is a gateway on the way, and the request may have passed it.
            raise NoAnswer(f"http_{answer.status}")
        return parse_form(answer.body)

    def _said(self, funcode: str, fields: Mapping[str, str], kind: Signed, *, now: datetime) -> Said:
        if not fields.get(kind.field_name):
            proof = Proof.UNSIGNED
        else:
            keys = self._settings.app_keys_at(now)
            is_valid = any(ipaynow.verify(fields, app_key=key, kind=kind) for key in keys)
            proof = Proof.VALID if is_valid else Proof.WRONG
        return Said(funcode=funcode, fields=fields, proof=proof)

    def _rest(self, call: Call, ends_s: float) -> Call:
        """What is left of a call for its next question, which moves no money and has no send window."""
        return msgspec.structs.replace(call, deadline_s=max(0.0, ends_s - self._monotonic_s()), send_before_s=None)

    def _send_within_s(self, call: Call) -> float | None:
        """Read right before the client takes over (I11)."""
        if call.send_before_s is None:
            return None
        left_s = call.send_before_s - self._monotonic_s()
        if left_s <= 0:
            raise NotSent("the time to send is over")
        return left_s


def _lacks_what_it_needs(intent: TradeIntent) -> bool:
    match intent.method:
        case Method.NATIVE:
            return False
        case Method.JSAPI:
            return not intent.payer_openid
        case Method.WAP:
            return not intent.return_url
        case Method.CODE:
            return True
        case _:
            assert_never(intent.method)


def _action(method: Method, tn: str) -> PayAction:
    """What leads the payer on; raises `BadAnswer`."""
    match method:
        case Method.NATIVE:
            return PayAction(qr_text=messages.read_code_text(tn))
        case Method.JSAPI:
            return PayAction(jsapi_parameters=messages.read_jsapi_parameters(tn))
        case Method.WAP:
            return PayAction(redirect_url=messages.read_link(tn))
        case Method.CODE:
            raise AssertionError("a payer's code is charged, not placed")
        case _:
            assert_never(method)
