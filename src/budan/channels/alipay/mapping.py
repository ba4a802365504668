"""What Alipay's answers and notices say of a trade: pure functions over the tables of docs/protocols/alipay.md section 3."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Final, assert_never

from budan.channels.alipay.messages import (
    BillPlace,
    Cancelled,
    Closed,
    Head,
    Paid,
    Precreated,
    Queried,
    Refunded,
    RefundQueried,
    Told,
    find_moment,
    read,
)
from budan.channels.alipay.yuan import parse_optional_yuan, parse_yuan
from budan.channels.silence import BAD_ANSWER_CODE, shortened
from budan.core.evidence import Outcome
from budan.core.refund import RefundOutcome
from budan.ports.bill import BillAnswer, BillNotYet, BillUnfetched, NoBill
from budan.ports.channel import EndResult, EndState, NoticeKind, PayResult, RefundIntent, RefundRef, RefundResult
from budan.wire.errors import BadAnswer

WALLET: Final = "alipay"
FOREIGN_CODE: Final = "foreign_answer"
# Domestic contracts know one currency; `trans_currency` is sent by others only.
_CURRENCY: Final = "CNY"


class Proof(Enum):
    """What an answer's signature is worth."""

    VALID = "valid"
    UNSIGNED = "unsigned"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """The object inside an answer, and whether Alipay's signature covers it."""

    payload: Mapping[str, Any]
    proof: Proof


class Word(Enum):
    """What an answer comes to, whichever call it answers."""

    DONE = "done"  # signed 10000
    PAYER_TYPING = "payer_typing"
    BUSY = "busy"  # not executed: too many calls
    NOT_EXECUTED = "not_executed"  # not executed: our request or our contract is at fault
    REFUSED = "refused"  # this payment is refused
    NO_TRADE = "no_trade"
    ALREADY_PAID = "already_paid"
    CLOSED = "closed"  # the number is closed and was not paid
    IN_USE = "in_use"  # the number was used with other values
    FINISHED = "finished"  # paid, and past any return
    OUT_OF_TIME = "out_of_time"  # a cancel is not possible any more, or not under this contract
    POOR = "poor"  # money must go back and the seller has none just now
    SYSTEM_ERROR = "system_error"  # safe calls are repeated
    UNCLEAR = "unclear"  # anything else, 20000, and everything that is not signed as it must be


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A word with Alipay's own code and text; `is_signed` says whether they are proven."""

    word: Word
    is_signed: bool
    code: str = ""
    message: str = ""


_CODES: Final[Mapping[str, Word]] = {
    "10000": Word.DONE,
    "10003": Word.PAYER_TYPING,
    "20001": Word.NOT_EXECUTED,
    "40001": Word.NOT_EXECUTED,
    "40002": Word.NOT_EXECUTED,
    "40003": Word.NOT_EXECUTED,
    "40005": Word.BUSY,
    "40006": Word.NOT_EXECUTED,
}
_BUSINESS_FAILURE: Final = "40004"
_SERVICE_UNAVAILABLE: Final = "20000"

_SUB_CODES: Final[Mapping[str, Word]] = {
    "SYSTEM_ERROR": Word.SYSTEM_ERROR,
    "TRADE_HAS_SUCCESS": Word.ALREADY_PAID,
    "TRADE_HAS_CLOSE": Word.CLOSED,
    "TRADE_NOT_EXIST": Word.NO_TRADE,
    "CONTEXT_INCONSISTENT": Word.IN_USE,
    "TRADE_HAS_FINISHED": Word.FINISHED,
    "TRADE_CANCEL_TIME_OUT": Word.OUT_OF_TIME,
    "CANCEL_NOT_ALLOWED": Word.OUT_OF_TIME,
    "SELLER_BALANCE_NOT_ENOUGH": Word.POOR,
    "REASON_TRADE_BEEN_FREEZEN": Word.POOR,
    "PAYMENT_AUTH_CODE_INVALID": Word.REFUSED,
    "BUYER_BALANCE_NOT_ENOUGH": Word.REFUSED,
    "BUYER_BANKCARD_BALANCE_NOT_ENOUGH": Word.REFUSED,
    "ERROR_BALANCE_PAYMENT_DISABLE": Word.REFUSED,
    "BUYER_SELLER_EQUAL": Word.REFUSED,
    "TRADE_BUYER_NOT_MATCH": Word.REFUSED,
    "BUYER_ENABLE_STATUS_FORBID": Word.REFUSED,
    "PULL_MOBILE_CASHIER_FAIL": Word.REFUSED,
    "MOBILE_PAYMENT_SWITCH_OFF": Word.REFUSED,
    "PAYMENT_FAIL": Word.REFUSED,
    "BEYOND_PAY_RESTRICTION": Word.REFUSED,
    "SELLER_BEEN_BLOCKED": Word.REFUSED,
    "PAYMENT_REQUEST_HAS_RISK": Word.REFUSED,
    "NO_PAYMENT_INSTRUMENTS_AVAILABLE": Word.REFUSED,
    "TOTAL_FEE_EXCEED": Word.REFUSED,
    "INVALID_PARAMETER": Word.REFUSED,
    "ACCESS_FORBIDDEN": Word.REFUSED,
    "EXIST_FORBIDDEN_WORD": Word.REFUSED,
    "PARTNER_ERROR": Word.REFUSED,
    "APPLY_PC_MERCHANT_CODE_ERROR": Word.REFUSED,
}
_BILL_LIMITS: Final = frozenset({"SYSTEM_RATE_LIMIT", "USER_RATE_LIMIT"})
_LIMIT_SUFFIX: Final = "_LIMIT_ERROR"

# What refuses a refund, beside the words that refuse any call. TRADE_STATUS_ERROR leaves a close in question, for the
# trade may be paid; a refund of such a trade was simply not taken. Neither REFUND_CHARGE_ERROR ("retry later") nor
# DISCORDANT_REPEAT_REQUEST (an earlier copy may have worked) is here.
_REFUND_REFUSALS: Final = frozenset(
    {
        "ACQ.REASON_TRADE_REFUND_FEE_ERR",
        "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL",
        "ACQ.TRADE_NOT_ALLOW_REFUND",
        "ACQ.TRADE_STATUS_ERROR",
    }
)


def hear(said: Said) -> Heard:
    """The word of an answer.

    A wrong signature voids it. Alipay leaves early failures unsigned: their word is passed on as unproven, and no call
    ends a trade on it. Success, a typing payer and business failures count only when signed; 20000 counts never.
    """
    try:
        head = read(said.payload, Head)
    except BadAnswer as error:
        return Heard(word=Word.UNCLEAR, is_signed=False, code=BAD_ANSWER_CODE, message=shortened(str(error)))
    is_signed = said.proof is Proof.VALID
    if said.proof is Proof.WRONG:
        return Heard(word=Word.UNCLEAR, is_signed=False, code="signature_wrong")
    word = _word(head)
    if not is_signed and word not in {Word.NOT_EXECUTED, Word.BUSY}:
        word = Word.UNCLEAR
    return Heard(
        word=word,
        is_signed=is_signed,
        code=shortened(head.sub_code or head.code),
        message=shortened(head.sub_msg or head.msg),
    )


def bill_place(said: Said, *, not_found_codes: frozenset[str]) -> BillPlace | BillAnswer:
    """Where the bill lies, else why there is none; raises `BadAnswer`."""
    heard = hear(said)
    if heard.word is Word.DONE:
        return read(said.payload, BillPlace)
    if heard.is_signed and heard.code in not_found_codes:
        return NoBill(code=heard.code)
    if heard.word is Word.BUSY or heard.code in _BILL_LIMITS:
        return BillNotYet(code=heard.code)
    return BillUnfetched(code=heard.code, message=heard.message)


def placed(said: Said, *, trade_no: str) -> tuple[PayResult, str]:
    """The answer to a precreate, and its code's text or "".

    A refused precreate made no code, so this call takes no money: UNPAID_OPEN, in case an earlier copy arrived.
    """
    heard = hear(said)
    match heard.word:
        case Word.DONE:
            return _placed_done(said, trade_no=trade_no)
        case Word.BUSY | Word.NOT_EXECUTED | Word.REFUSED:
            outcome = Outcome.UNPAID_OPEN
        case Word.CLOSED:
            outcome = Outcome.UNPAID_FINAL
        case (
            Word.PAYER_TYPING
            | Word.NO_TRADE
            | Word.ALREADY_PAID
            | Word.IN_USE
            | Word.FINISHED
            | Word.OUT_OF_TIME
            | Word.POOR
            | Word.SYSTEM_ERROR
            | Word.UNCLEAR
        ):
            outcome = Outcome.UNKNOWN
        case _:
            assert_never(heard.word)
    return _result(outcome, heard, trade_no=trade_no), ""


def charged(said: Said, *, trade_no: str) -> PayResult:
    """The answer to a charge, which is sent once and never again; whatever is not proven is left to a query."""
    heard = hear(said)
    match heard.word:
        case Word.DONE:
            return _charged_done(said, trade_no=trade_no)
        case Word.PAYER_TYPING:
            return PayResult(
                outcome=Outcome.UNPAID_OPEN,
                trade_no=trade_no,
                user_paying=True,
                code=heard.code,
                message=heard.message,
            )
        case Word.REFUSED | Word.CLOSED | Word.NOT_EXECUTED:
            outcome = Outcome.UNPAID_FINAL if heard.is_signed else Outcome.UNKNOWN
        case (
            Word.BUSY
            | Word.NO_TRADE
            | Word.ALREADY_PAID
            | Word.IN_USE
            | Word.FINISHED
            | Word.OUT_OF_TIME
            | Word.POOR
            | Word.SYSTEM_ERROR
            | Word.UNCLEAR
        ):
            outcome = Outcome.UNKNOWN
        case _:
            assert_never(heard.word)
    return _result(outcome, heard, trade_no=trade_no)


def queried(said: Said, *, trade_no: str, is_b2c: bool) -> PayResult:
    """The answer to a query; "no such trade" only says that nobody has scanned yet (I5)."""
    heard = hear(said)
    if heard.word is Word.DONE:
        return _queried_done(said, trade_no=trade_no, is_b2c=is_b2c)
    if heard.word is Word.NO_TRADE:
        return PayResult(
            outcome=Outcome.UNPAID_OPEN, trade_no=trade_no, not_found=True, code=heard.code, message=heard.message
        )
    # 20000 "service unavailable" proves nothing of the trade, but it is reason enough to ask more slowly.
    is_busy = heard.word in {Word.BUSY, Word.SYSTEM_ERROR} or heard.code == _SERVICE_UNAVAILABLE
    return _result(Outcome.UNKNOWN, heard, trade_no=trade_no, busy=is_busy)


def closed(said: Said, *, trade_no: str) -> EndResult:
    """The answer to a close, which is safe to repeat and gives no money back."""
    heard = hear(said)
    match heard.word:
        case Word.DONE:
            return _closed_done(said, trade_no=trade_no)
        case Word.CLOSED:
            return EndResult(state=EndState.ENDED, money_returned=False, code=heard.code, message=heard.message)
        case Word.ALREADY_PAID | Word.FINISHED:
            state = EndState.ALREADY_PAID
        case Word.NO_TRADE:
            state = EndState.NOT_FOUND
        case Word.BUSY | Word.NOT_EXECUTED | Word.SYSTEM_ERROR:
            state = EndState.RETRY
        case Word.PAYER_TYPING | Word.REFUSED | Word.IN_USE | Word.OUT_OF_TIME | Word.POOR | Word.UNCLEAR:
            # TRADE_STATUS_ERROR and its like are here: the state forbids it, perhaps because it is paid.
            state = EndState.UNKNOWN
        case _:
            assert_never(heard.word)
    return _end(state, heard)


def cancelled(said: Said, *, trade_no: str) -> EndResult:
    """The answer to a cancel, which is safe to repeat and may give money back.

    OUT_OF_TIME is NOT_SUPPORTED: this trade can no longer be cancelled, and only a query tells whether it is paid.
    """
    heard = hear(said)
    match heard.word:
        case Word.DONE:
            return _cancelled_done(said, trade_no=trade_no)
        case Word.FINISHED:
            state = EndState.ALREADY_PAID
        case Word.NO_TRADE:
            state = EndState.NOT_FOUND
        case Word.OUT_OF_TIME:
            state = EndState.NOT_SUPPORTED
        case Word.BUSY | Word.NOT_EXECUTED | Word.SYSTEM_ERROR | Word.POOR:
            state = EndState.RETRY
        case Word.PAYER_TYPING | Word.REFUSED | Word.ALREADY_PAID | Word.CLOSED | Word.IN_USE | Word.UNCLEAR:
            # An unknown failure may say itself that the same call shall be made again.
            state = EndState.RETRY if heard.is_signed and said.payload.get("retry_flag") == "Y" else EndState.UNKNOWN
        case _:
            assert_never(heard.word)
    return _end(state, heard)


def refunded(said: Said, *, intent: RefundIntent) -> RefundResult:
    """The answer to a refund, which is safe to repeat.

    10000 without `fund_change` may be a repeat of a finished refund: only its query tells. A refusal counts when Alipay
    signed it, and says no more than that this request was not taken: an earlier copy may have been.
    """
    heard = hear(said)
    match heard.word:
        case Word.DONE:
            return _refunded_done(said, intent=intent)
        case Word.REFUSED | Word.NOT_EXECUTED | Word.NO_TRADE | Word.FINISHED | Word.POOR | Word.CLOSED:
            is_refused = heard.is_signed
        case (
            Word.PAYER_TYPING
            | Word.BUSY
            | Word.ALREADY_PAID
            | Word.IN_USE
            | Word.OUT_OF_TIME
            | Word.SYSTEM_ERROR
            | Word.UNCLEAR
        ):
            is_refused = heard.is_signed and heard.code in _REFUND_REFUSALS
        case _:
            assert_never(heard.word)
    outcome = RefundOutcome.FAILED if is_refused else RefundOutcome.UNKNOWN
    return _refund(outcome, refund_no=intent.refund_no, trade_no=intent.trade_no, heard=heard)


def refund_queried(said: Said, *, ref: RefundRef) -> RefundResult:
    """The answer to a refund's query.

    Without a status Alipay knows no refund of this number, or it failed: either way a repeat under the same number does
    no harm, so both are NOT_FOUND.
    """
    heard = hear(said)
    if heard.word is Word.DONE:
        return _refund_queried_done(said, ref=ref, heard=heard)
    return _refund(RefundOutcome.UNKNOWN, refund_no=ref.refund_no, trade_no=ref.trade_no, heard=heard)


def refund_told(notice: Told) -> RefundResult:
    """What a notice of a refund says of it. It tells all that went back so far; which refund it names is unconfirmed."""
    return RefundResult(
        # A refund that is not done is not told of, but the notice's number may be any of the trade's refunds.
        outcome=RefundOutcome.SUCCEEDED,
        refund_no=notice.out_biz_no or "",
        trade_no=notice.out_trade_no,
        refunded_total_minor=parse_optional_yuan(notice.refund_fee),
        currency=_CURRENCY,
        refunded_at=find_moment(notice.gmt_refund),
        code=shortened(notice.trade_status),
    )


def told(notice: Told) -> tuple[NoticeKind, PayResult]:
    """What a verified notice says of the trade that it names; raises `BadAnswer` for an amount that is none.

    A refund is told by a repeated TRADE_SUCCESS or a TRADE_CLOSED that names it: the payment is proven by it, once more.
    """
    is_refund = bool(notice.gmt_refund or parse_optional_yuan(notice.refund_fee))
    outcome, refunded_hint = _meaning(notice.trade_status, has_paid_time=bool(notice.gmt_payment))
    result = PayResult(
        outcome=outcome,
        trade_no=notice.out_trade_no,
        order_minor=parse_yuan(notice.total_amount),
        payer_minor=parse_optional_yuan(notice.buyer_pay_amount),
        settle_minor=parse_optional_yuan(notice.receipt_amount),
        currency=_CURRENCY,
        channel_reference=notice.trade_no,
        paid_at=find_moment(notice.gmt_payment),
        payer_id=notice.buyer_id or notice.buyer_open_id,
        wallet=WALLET,
        refunded_hint=refunded_hint or (is_refund and outcome is Outcome.PAID),
        refunded_in_full=refunded_hint,
        code=shortened(notice.trade_status),
    )
    return (NoticeKind.REFUND if is_refund else NoticeKind.PAYMENT), result


def _word(head: Head) -> Word:
    if head.code != _BUSINESS_FAILURE:
        return _CODES.get(head.code, Word.UNCLEAR)
    sub_code = head.sub_code.removeprefix("ACQ.")
    if sub_code.endswith(_LIMIT_SUFFIX):
        return Word.REFUSED
    return _SUB_CODES.get(sub_code, Word.UNCLEAR)


def _meaning(trade_status: str, *, has_paid_time: bool) -> tuple[Outcome, bool]:
    """The outcome and whether all of the payment was given back; TRADE_CLOSED is told apart by the time of its payment."""
    match trade_status:
        case "TRADE_SUCCESS" | "TRADE_FINISHED":
            return Outcome.PAID, False
        case "TRADE_CLOSED":
            return (Outcome.PAID, True) if has_paid_time else (Outcome.UNPAID_FINAL, False)
        case "WAIT_BUYER_PAY":
            return Outcome.UNPAID_OPEN, False
        case _:
            return Outcome.UNKNOWN, False


def _placed_done(said: Said, *, trade_no: str) -> tuple[PayResult, str]:
    try:
        answer = read(said.payload, Precreated)
    except BadAnswer as error:
        return _unknown(BAD_ANSWER_CODE, str(error), trade_no=trade_no), ""
    if answer.out_trade_no != trade_no:
        return _foreign(trade_no), ""
    return PayResult(outcome=Outcome.UNPAID_OPEN, trade_no=trade_no), answer.qr_code


def _charged_done(said: Said, *, trade_no: str) -> PayResult:
    try:
        answer = read(said.payload, Paid)
        return _foreign(trade_no) if answer.out_trade_no != trade_no else _charged_paid(answer)
    except BadAnswer as error:
        return _unknown(BAD_ANSWER_CODE, str(error), trade_no=trade_no)


def _charged_paid(answer: Paid) -> PayResult:
    return PayResult(
        outcome=Outcome.PAID,
        trade_no=answer.out_trade_no,
        order_minor=parse_yuan(answer.total_amount),
        payer_minor=parse_optional_yuan(answer.buyer_pay_amount),
        settle_minor=parse_optional_yuan(answer.receipt_amount),
        currency=answer.trans_currency or _CURRENCY,
        channel_reference=answer.trade_no,
        paid_at=find_moment(answer.gmt_payment),
        payer_id=answer.buyer_user_id or answer.buyer_open_id,
        wallet=WALLET,
        code="10000",
    )


def _queried_done(said: Said, *, trade_no: str, is_b2c: bool) -> PayResult:
    try:
        answer = read(said.payload, Queried)
        return _foreign(trade_no) if answer.out_trade_no != trade_no else _standing(answer, is_b2c=is_b2c)
    except BadAnswer as error:
        return _unknown(BAD_ANSWER_CODE, str(error), trade_no=trade_no)


def _standing(answer: Queried, *, is_b2c: bool) -> PayResult:
    outcome, refunded_hint = _meaning(answer.trade_status, has_paid_time=bool(answer.send_pay_date))
    order_minor = parse_optional_yuan(answer.total_amount)
    if outcome is Outcome.PAID and order_minor is None:
        return _unknown("amount_missing", "paid, but of what amount", trade_no=answer.out_trade_no)
    return PayResult(
        outcome=outcome,
        trade_no=answer.out_trade_no,
        order_minor=order_minor,
        payer_minor=parse_optional_yuan(answer.buyer_pay_amount),
        settle_minor=parse_optional_yuan(answer.receipt_amount),
        currency=answer.trans_currency or _CURRENCY,
        channel_reference=answer.trade_no,
        paid_at=_paid_at(answer.send_pay_date, outcome),
        payer_id=answer.buyer_user_id or answer.buyer_open_id,
        wallet=WALLET,
        # A scanned code of the shop's may lie in the payer's hand for long; a charge waits for a password just now.
        user_paying=is_b2c and outcome is Outcome.UNPAID_OPEN,
        refunded_hint=refunded_hint,
        refunded_in_full=refunded_hint,
        code=shortened(answer.trade_status),
    )


def _paid_at(text: str | None, outcome: Outcome) -> datetime | None:
    return find_moment(text) if outcome is Outcome.PAID else None


def _closed_done(said: Said, *, trade_no: str) -> EndResult:
    try:
        answer = read(said.payload, Closed)
    except BadAnswer as error:
        return EndResult(state=EndState.UNKNOWN, code=BAD_ANSWER_CODE, message=shortened(str(error)))
    if answer.out_trade_no != trade_no:
        return EndResult(state=EndState.UNKNOWN, code=FOREIGN_CODE)
    return EndResult(state=EndState.ENDED, money_returned=False, code="10000")


def _cancelled_done(said: Said, *, trade_no: str) -> EndResult:
    try:
        answer = read(said.payload, Cancelled)
    except BadAnswer as error:
        return EndResult(state=EndState.UNKNOWN, code=BAD_ANSWER_CODE, message=shortened(str(error)))
    if answer.out_trade_no != trade_no:
        return EndResult(state=EndState.UNKNOWN, code=FOREIGN_CODE)
    return _cancel_done(answer)


def _cancel_done(answer: Cancelled) -> EndResult:
    if answer.retry_flag == "Y":
        return EndResult(state=EndState.RETRY, code="retry_flag")
    match answer.action:
        case "refund":
            return EndResult(state=EndState.ENDED, money_returned=True, code="refund")
        case "close":
            return EndResult(state=EndState.ENDED, money_returned=False, code="close")
        case "" if answer.trade_no is None:
            # Alipay answers so for a number that it does not know: nothing was ended.
            return EndResult(state=EndState.NOT_FOUND, code="no_trade")
        case "":
            # The trade is there and had ended before this call: a repeat of a cancel whose first answer was lost.
            return EndResult(state=EndState.ENDED, code="nothing_to_do")
        case _:
            return EndResult(state=EndState.UNKNOWN, code="action_unknown", message=shortened(answer.action))


def _refunded_done(said: Said, *, intent: RefundIntent) -> RefundResult:
    try:
        answer = read(said.payload, Refunded)
        refunded_total_minor = parse_yuan(answer.refund_fee)
    except BadAnswer as error:
        return _refund_unknown(BAD_ANSWER_CODE, str(error), refund_no=intent.refund_no, trade_no=intent.trade_no)
    if answer.out_trade_no != intent.trade_no:
        return _foreign_refund(refund_no=intent.refund_no, trade_no=intent.trade_no)
    is_done = answer.fund_change == "Y" and refunded_total_minor >= intent.amount_minor
    return RefundResult(
        outcome=RefundOutcome.SUCCEEDED if is_done else RefundOutcome.PENDING,
        refund_no=intent.refund_no,
        trade_no=intent.trade_no,
        # The answer tells only the total; that this call moved money, it moved what it asked for.
        amount_minor=intent.amount_minor if is_done else None,
        refunded_total_minor=refunded_total_minor,
        currency=_CURRENCY,
        code=f"fund_change_{answer.fund_change}"[:20],
    )


def _refund_queried_done(said: Said, *, ref: RefundRef, heard: Heard) -> RefundResult:
    try:
        answer = read(said.payload, RefundQueried)
        amount_minor = parse_optional_yuan(answer.refund_amount)
    except BadAnswer as error:
        return _refund_unknown(BAD_ANSWER_CODE, str(error), refund_no=ref.refund_no, trade_no=ref.trade_no)
    if answer.refund_status is None:
        return _refund(RefundOutcome.NOT_FOUND, refund_no=ref.refund_no, trade_no=ref.trade_no, heard=heard)
    if (answer.out_request_no, answer.out_trade_no) != (ref.refund_no, ref.trade_no):
        return _foreign_refund(refund_no=ref.refund_no, trade_no=ref.trade_no)
    is_done = answer.refund_status == "REFUND_SUCCESS" and amount_minor is not None
    return RefundResult(
        outcome=RefundOutcome.SUCCEEDED if is_done else RefundOutcome.PENDING,
        refund_no=ref.refund_no,
        trade_no=ref.trade_no,
        amount_minor=amount_minor,
        currency=_CURRENCY,
        refunded_at=find_moment(answer.gmt_refund_pay),
        code=shortened(answer.refund_status),
    )


def _refund(outcome: RefundOutcome, *, refund_no: str, trade_no: str, heard: Heard) -> RefundResult:
    return RefundResult(outcome=outcome, refund_no=refund_no, trade_no=trade_no, code=heard.code, message=heard.message)


def _foreign_refund(*, refund_no: str, trade_no: str) -> RefundResult:
    return _refund_unknown(FOREIGN_CODE, "the answer is about another refund", refund_no=refund_no, trade_no=trade_no)


def _refund_unknown(code: str, message: str, *, refund_no: str, trade_no: str) -> RefundResult:
    return RefundResult(
        outcome=RefundOutcome.UNKNOWN,
        refund_no=refund_no,
        trade_no=trade_no,
        code=code,
        message=shortened(message),
    )


def _result(outcome: Outcome, heard: Heard, *, trade_no: str, busy: bool = False) -> PayResult:
    return PayResult(outcome=outcome, trade_no=trade_no, busy=busy, code=heard.code, message=heard.message)


def _end(state: EndState, heard: Heard) -> EndResult:
    return EndResult(state=state, code=heard.code, message=heard.message)


def _foreign(trade_no: str) -> PayResult:
    return _unknown(FOREIGN_CODE, "the answer is about another trade", trade_no=trade_no)


def _unknown(code: str, message: str, *, trade_no: str) -> PayResult:
    return PayResult(outcome=Outcome.UNKNOWN, trade_no=trade_no, code=code, message=shortened(message))
