"""What WeChat v2's answers say of a trade: pure functions over docs/protocols/wechat_v2_micropay.md section 3."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, assert_never

from budan.channels.flat_fields import REFUND_REFUSALS, Proof, Said, find_moment, list_numbered, parse_fen, read
from budan.channels.silence import BAD_ANSWER_CODE, shortened
from budan.channels.wechat_v2.messages import Head, Paid, Queried, QueriedRefund, Refunded
from budan.core.evidence import Outcome
from budan.core.refund import RefundOutcome
from budan.ports.bill import BillAnswer, BillNotYet, BillUnfetched, NoBill
from budan.ports.channel import EndResult, EndState, PayResult, RefundResult
from budan.wire.errors import BadAnswer

WALLET: Final = "wechat"
FOREIGN_CODE: Final = "foreign_answer"
_YES: Final = "SUCCESS"
# What only charges, queries and refunds are answered with.
_OTHER_ANSWERS: Final = frozenset({"trade_type", "trade_state", "total_fee", "refund_id", "refund_count"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """What an answer must name to be about our trade."""

    trade_no: str
    appid: str
    mch_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OurRefund:
    """What an answer must name to be about our refund; `not_found_codes` is the account's setting."""

    refund_no: str
    trade: Ours
    not_found_codes: frozenset[str]


class Word(Enum):
    """What an answer comes to, whichever call it answers."""

    DONE = "done"  # signed, and both codes say SUCCESS
    NOT_UNDERSTOOD = "not_understood"  # return_code is not SUCCESS: nothing follows for a charge
    PAYER_TYPING = "payer_typing"
    REFUSED = "refused"  # this call takes no money
    NO_TRADE = "no_trade"
    OUT_OF_TIME = "out_of_time"  # a reverse is not possible any more
    SYSTEM_ERROR = "system_error"  # safe calls are repeated
    UNCLEAR = "unclear"  # any other code, and everything that is not signed as it must be, is another's or unreadable


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A word with WeChat's own code and text; `is_signed` says whether they are proven."""

    word: Word
    is_signed: bool = False
    recall: bool = False
    code: str = ""
    message: str = ""


_CODES: Final[Mapping[str, Word]] = {
    "USERPAYING": Word.PAYER_TYPING,
    "SYSTEMERROR": Word.SYSTEM_ERROR,
    "BANKERROR": Word.SYSTEM_ERROR,
    "ORDERNOTEXIST": Word.NO_TRADE,
    "REVERSE_EXPIRE": Word.OUT_OF_TIME,
} | dict.fromkeys(
    (
        "PARAM_ERROR",
        "NOAUTH",
        "AUTHCODEEXPIRE",
        "AUTH_CODE_ERROR",
        "AUTH_CODE_INVALID",
        "NOTENOUGH",
        "NOTSUPORTCARD",
        "ORDERCLOSED",
        "ORDERREVERSED",
        "XML_FORMAT_ERROR",
        "REQUIRE_POST_METHOD",
        "SIGNERROR",
        "BUYER_MISMATCH",
        "APPID_NOT_EXIST",
        "MCHID_NOT_EXIST",
        "APPID_MCHID_NOT_MATCH",
        "INVALID_REQUEST",
        "TRADE_ERROR",
    ),
    Word.REFUSED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Meaning:
    outcome: Outcome
    user_paying: bool = False
    reversed_here: bool = False
    refunded_hint: bool = False


_TRADE_STATES: Final[Mapping[str, _Meaning]] = {
    "SUCCESS": _Meaning(outcome=Outcome.PAID),
    "REFUND": _Meaning(outcome=Outcome.PAID, refunded_hint=True),
    "NOTPAY": _Meaning(outcome=Outcome.UNPAID_OPEN),
    "USERPAYING": _Meaning(outcome=Outcome.UNPAID_OPEN, user_paying=True),
    "ACCEPT": _Meaning(outcome=Outcome.UNPAID_OPEN, user_paying=True),
    "CLOSED": _Meaning(outcome=Outcome.UNPAID_FINAL),
    "PAYERROR": _Meaning(outcome=Outcome.UNPAID_FINAL),
    "REVOKED": _Meaning(outcome=Outcome.UNPAID_FINAL, reversed_here=True),
}
_UNHEARD_OF: Final = _Meaning(outcome=Outcome.UNKNOWN)
_REFUND_STATES: Final[Mapping[str, RefundOutcome]] = {
    "SUCCESS": RefundOutcome.SUCCEEDED,
    "PROCESSING": RefundOutcome.PENDING,
    "REFUNDCLOSE": RefundOutcome.FAILED,
    "FAIL": RefundOutcome.FAILED,
    "CHANGE": RefundOutcome.ABNORMAL,
    # WeChat asks for the same request under the same number.
    "NOTSURE": RefundOutcome.UNKNOWN,
}


def hear(said: Said, *, ours: Ours) -> Heard:
    """The word of an answer.

    A wrong signature voids it. An answer that was not understood may come unsigned; its word ends nothing. All others
    count only when signed, and when they name our app and merchant number.
    """
    if said.proof is Proof.WRONG:
        return Heard(word=Word.UNCLEAR, code="signature_wrong")
    try:
        head = read(said.fields, Head)
    except BadAnswer as error:
        return Heard(word=Word.UNCLEAR, code=BAD_ANSWER_CODE, message=shortened(str(error)))
    is_signed = said.proof is Proof.VALID
    if head.return_code != _YES:
        message = shortened(head.return_msg)
        return Heard(word=Word.NOT_UNDERSTOOD, is_signed=is_signed, code="return_code_fail", message=message)
    if not is_signed:
        return Heard(word=Word.UNCLEAR, code="signature_missing")
    if (head.appid, head.mch_id) != (ours.appid, ours.mch_id):
        return Heard(word=Word.UNCLEAR, code=FOREIGN_CODE, message="the answer is for another merchant")
    return Heard(
        word=Word.DONE if head.result_code == _YES else _CODES.get(head.err_code, Word.UNCLEAR),
        is_signed=True,
        recall=head.recall == "Y",
        code=shortened(head.err_code),
        message=shortened(head.err_code_des),
    )


def bill_refused(fields: Mapping[str, str]) -> BillAnswer:
    """Why a failure's XML came instead of a bill; it is not signed, and ends nothing."""
    text = fields.get("return_msg", "")
    code = fields.get("error_code") or fields.get("err_code") or text
    words = text.casefold()
    if "no bill exist" in words or code == "20002":
        return NoBill(code=shortened(code))
    if "bill creating" in words:
        return BillNotYet(code=shortened(code))
    return BillUnfetched(code=shortened(code), message=shortened(text))


def charged(said: Said, *, ours: Ours) -> PayResult:
    """The answer to a charge, which is sent once and never again; what no table calls an end is left to a query."""
    heard = hear(said, ours=ours)
    match heard.word:
        case Word.DONE:
            return _charged_done(said, ours=ours)
        case Word.PAYER_TYPING:
            return PayResult(
                outcome=Outcome.UNPAID_OPEN,
                trade_no=ours.trade_no,
                user_paying=True,
                code=heard.code,
                message=heard.message,
            )
        case Word.REFUSED:
            outcome = Outcome.UNPAID_FINAL
        case Word.NOT_UNDERSTOOD | Word.NO_TRADE | Word.OUT_OF_TIME | Word.SYSTEM_ERROR | Word.UNCLEAR:
            outcome = Outcome.UNKNOWN
        case _:
            assert_never(heard.word)
    return _result(outcome, heard, trade_no=ours.trade_no)


def queried(said: Said, *, ours: Ours) -> PayResult:
    """The answer to a query; "no such trade" ends nothing by itself (I5)."""
    heard = hear(said, ours=ours)
    if heard.word is Word.DONE:
        return _queried_done(said, ours=ours)
    if heard.word is Word.NO_TRADE:
        return PayResult(
            outcome=Outcome.UNPAID_OPEN,
            trade_no=ours.trade_no,
            not_found=True,
            code=heard.code,
            message=heard.message,
        )
    is_busy = heard.word in {Word.SYSTEM_ERROR, Word.NOT_UNDERSTOOD}
    return _result(Outcome.UNKNOWN, heard, trade_no=ours.trade_no, busy=is_busy)


def reversed_(said: Said, *, ours: Ours) -> EndResult:
    """The answer to a reverse, which is safe to repeat and must be while WeChat says recall=Y.

    It does not name our trade: one that holds more than a result is the answer to another call.
    """
    heard = hear(said, ours=ours)
    if heard.word is Word.DONE and not _OTHER_ANSWERS.isdisjoint(said.fields):
        return EndResult(state=EndState.UNKNOWN, code=FOREIGN_CODE, message="the answer is to another call")
    if heard.recall:
        return _end(EndState.RETRY, heard)
    match heard.word:
        case Word.DONE:
            state = EndState.ENDED
        case Word.NO_TRADE:
            state = EndState.NOT_FOUND
        case Word.OUT_OF_TIME:
            state = EndState.NOT_SUPPORTED
        case Word.NOT_UNDERSTOOD | Word.SYSTEM_ERROR | Word.PAYER_TYPING:
            state = EndState.RETRY
        case Word.REFUSED | Word.UNCLEAR:
            state = EndState.UNKNOWN
        case _:
            assert_never(heard.word)
    return _end(state, heard)


def refunded(said: Said, *, ours: OurRefund) -> RefundResult:
    """The answer to a refund, which is safe to repeat: accepted is not done, and no code beyond the listed ones refuses."""
    heard = hear(said, ours=ours.trade)
    if heard.word is not Word.DONE:
        is_refused = heard.is_signed and heard.code in REFUND_REFUSALS
        return _refund(RefundOutcome.FAILED if is_refused else RefundOutcome.UNKNOWN, heard, ours=ours)
    try:
        answer = read(said.fields, Refunded)
    except BadAnswer as error:
        return _refund_unknown(BAD_ANSWER_CODE, str(error), ours=ours)
    if (answer.out_refund_no, answer.out_trade_no) != (ours.refund_no, ours.trade.trade_no):
        return _refund_unknown(FOREIGN_CODE, "the answer is about another refund", ours=ours)
    return RefundResult(
        outcome=RefundOutcome.PENDING,
        refund_no=ours.refund_no,
        trade_no=ours.trade.trade_no,
        amount_minor=parse_fen(answer.refund_fee),
        currency="CNY",
        channel_reference=answer.refund_id,
    )


def refund_queried(said: Said, *, ours: OurRefund) -> RefundResult:
    """The answer to a refund's query, in which ours must be found by its number, and which names no other trade."""
    heard = hear(said, ours=ours.trade)
    if heard.word is not Word.DONE:
        is_absent = heard.is_signed and heard.code in ours.not_found_codes
        return _refund(RefundOutcome.NOT_FOUND if is_absent else RefundOutcome.UNKNOWN, heard, ours=ours)
    try:
        listed = [read(fields, QueriedRefund) for fields in list_numbered(said.fields, "out_refund_no")]
    except BadAnswer as error:
        return _refund_unknown(BAD_ANSWER_CODE, str(error), ours=ours)
    mine = next((refund for refund in listed if refund.out_refund_no == ours.refund_no), None)
    # The question names the refund alone: one of another trade of the account may have its number, made in a portal.
    if mine is None or (said.fields.get("out_trade_no") or ours.trade.trade_no) != ours.trade.trade_no:
        return _refund_unknown(FOREIGN_CODE, "the answer is about another refund", ours=ours)
    return RefundResult(
        outcome=_REFUND_STATES.get(mine.refund_status, RefundOutcome.UNKNOWN),
        refund_no=ours.refund_no,
        trade_no=ours.trade.trade_no,
        amount_minor=parse_fen(mine.refund_fee),
        currency="CNY",
        channel_reference=mine.refund_id,
        code=shortened(mine.refund_status),
    )


def _charged_done(said: Said, *, ours: Ours) -> PayResult:
    try:
        answer = read(said.fields, Paid)
    except BadAnswer as error:
        return _unknown(BAD_ANSWER_CODE, str(error), trade_no=ours.trade_no)
    # A query's answer would hold the same fields of a trade that was refunded or reversed since.
    if answer.out_trade_no != ours.trade_no or "trade_state" in said.fields:
        return _foreign(ours)
    return _told(answer, _TRADE_STATES["SUCCESS"], code="SUCCESS")


def _queried_done(said: Said, *, ours: Ours) -> PayResult:
    try:
        answer = read(said.fields, Queried)
    except BadAnswer as error:
        return _unknown(BAD_ANSWER_CODE, str(error), trade_no=ours.trade_no)
    if answer.out_trade_no != ours.trade_no:
        return _foreign(ours)
    return _told(answer, _TRADE_STATES.get(answer.trade_state, _UNHEARD_OF), code=shortened(answer.trade_state))


def _told(answer: Paid | Queried, meaning: _Meaning, *, code: str) -> PayResult:
    is_paid = meaning.outcome is Outcome.PAID
    if is_paid and answer.total_fee is None:
        return _unknown("amount_missing", "paid, but of what amount", trade_no=answer.out_trade_no)
    return PayResult(
        outcome=meaning.outcome,
        trade_no=answer.out_trade_no,
        order_minor=parse_fen(answer.total_fee),
        payer_minor=parse_fen(answer.cash_fee),
        settle_minor=parse_fen(answer.settlement_total_fee),
        currency=answer.fee_type,
        channel_reference=answer.transaction_id,
        paid_at=find_moment(answer.time_end) if is_paid else None,
        payer_id=answer.openid,
        wallet=WALLET,
        user_paying=meaning.user_paying,
        reversed_here=meaning.reversed_here,
        refunded_hint=meaning.refunded_hint,
        code=code,
    )


def _result(outcome: Outcome, heard: Heard, *, trade_no: str, busy: bool = False) -> PayResult:
    return PayResult(outcome=outcome, trade_no=trade_no, busy=busy, code=heard.code, message=heard.message)


def _end(state: EndState, heard: Heard) -> EndResult:
    return EndResult(state=state, code=heard.code, message=heard.message)


def _refund(outcome: RefundOutcome, heard: Heard, *, ours: OurRefund) -> RefundResult:
    return RefundResult(
        outcome=outcome,
        refund_no=ours.refund_no,
        trade_no=ours.trade.trade_no,
        code=heard.code,
        message=heard.message,
    )


def _refund_unknown(code: str, message: str, *, ours: OurRefund) -> RefundResult:
    return _refund(RefundOutcome.UNKNOWN, Heard(word=Word.UNCLEAR, code=code, message=shortened(message)), ours=ours)


def _foreign(ours: Ours) -> PayResult:
    return _unknown(FOREIGN_CODE, "the answer is about another trade", trade_no=ours.trade_no)


def _unknown(code: str, message: str, *, trade_no: str) -> PayResult:
    return PayResult(outcome=Outcome.UNKNOWN, trade_no=trade_no, code=code, message=shortened(message))
