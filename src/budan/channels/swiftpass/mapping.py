"""What Swiftpass's answers and notices say of a trade: pure functions over docs/protocols/swiftpass.md section 3."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, assert_never

import msgspec

from budan.channels.flat_fields import REFUND_REFUSALS, Proof, Said, find_moment, list_numbered, parse_fen, read
from budan.channels.silence import BAD_ANSWER_CODE, shortened
from budan.channels.swiftpass.messages import Head, Paid, Placed, Queried, QueriedRefund, Refunded, parse_jsapi
from budan.core.evidence import Outcome
from budan.core.refund import RefundOutcome
from budan.ports.channel import EndResult, EndState, Method, PayAction, PayResult, RefundResult
from budan.wire.errors import BadAnswer

FOREIGN_CODE: Final = "foreign_answer"
_YES: Final = "0"
# What only placements, charges, queries and refunds are answered with.
_OTHER_ANSWERS: Final = frozenset({"code_url", "pay_info", "pay_result", "trade_state", "refund_id", "refund_count"})


class Ours(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer must name to be about our trade, and what the account says of facts that nobody confirmed."""

    trade_no: str
    mch_id: str
    payerror_ends: bool = False
    not_found_codes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class OurRefund:
    """What an answer must name to be about our refund."""

    refund_no: str
    trade_no: str
    mch_id: str
    not_found_codes: frozenset[str] = frozenset()

    @property
    def trade(self) -> Ours:
        """What is ours of its trade; "no such trade" is what the account calls "no such refund"."""
        return Ours(trade_no=self.trade_no, mch_id=self.mch_id, not_found_codes=self.not_found_codes)


class Word(Enum):
    """What an answer comes to, whichever call it answers."""

    DONE = "done"  # signed, status 0 and result_code 0
    NOT_UNDERSTOOD = "not_understood"  # status is not 0; nothing follows for a charge that could have run
    PAYER_TYPING = "payer_typing"
    REFUSED = "refused"  # this payment is refused for good
    NO_TRADE = "no_trade"
    ALREADY_PAID = "already_paid"
    CLOSED = "closed"  # the number is closed and was not paid
    OUT_OF_TIME = "out_of_time"  # a reverse is not possible any more
    SYSTEM_ERROR = "system_error"  # safe calls are repeated
    FAILED = "failed"  # result_code is not 0, for a reason that says nothing of the trade
    UNCLEAR = "unclear"  # everything that is not signed as it must be, is another's or cannot be read


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """A word with the channel's own code and text; `is_signed` says whether they are proven."""

    word: Word
    is_signed: bool = False
    code: str = ""
    message: str = ""


# Codes pass through from the wallet, so WeChat's and Alipay's stand side by side (section 3).
_CODES: Final[Mapping[str, Word]] = {
    "USERPAYING": Word.PAYER_TYPING,
    "10003": Word.PAYER_TYPING,
    # The vendor's demo means 10003 and prints this.
    "1003": Word.PAYER_TYPING,
    "66227005": Word.PAYER_TYPING,
    "AUTHCODEEXPIRE": Word.REFUSED,
    "AUTH_CODE_INVALID": Word.REFUSED,
    "NOTENOUGH": Word.REFUSED,
    "ACQ.PAYMENT_AUTH_CODE_INVALID": Word.REFUSED,
    "ACQ.BUYER_BALANCE_NOT_ENOUGH": Word.REFUSED,
    "66227006": Word.REFUSED,
    "66227008": Word.REFUSED,
    "ORDERPAID": Word.ALREADY_PAID,
    "ACQ.TRADE_HAS_SUCCESS": Word.ALREADY_PAID,
    "ORDERCLOSED": Word.CLOSED,
    "ACQ.TRADE_HAS_CLOSE": Word.CLOSED,
    "REVERSE_EXPIRE": Word.OUT_OF_TIME,
    "ACQ.TRADE_CANCEL_TIME_OUT": Word.OUT_OF_TIME,
    "SYSTEMERROR": Word.SYSTEM_ERROR,
    "ACQ.SYSTEM_ERROR": Word.SYSTEM_ERROR,
}


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
    "CLOSED": _Meaning(outcome=Outcome.UNPAID_FINAL),
    "REVERSE": _Meaning(outcome=Outcome.UNPAID_FINAL, reversed_here=True),
    "REVOKED": _Meaning(outcome=Outcome.UNPAID_FINAL, reversed_here=True),
}
# The channel asks for the same request under the same number.
_TO_REPEAT: Final = "NOTSURE"
_REFUND_STATES: Final[Mapping[str, RefundOutcome]] = {
    "SUCCESS": RefundOutcome.SUCCEEDED,
    "PROCESSING": RefundOutcome.PENDING,
    "FAIL": RefundOutcome.FAILED,
    "CHANGE": RefundOutcome.ABNORMAL,
    _TO_REPEAT: RefundOutcome.UNKNOWN,
}
_PAYERROR: Final = "PAYERROR"
_UNHEARD_OF: Final = _Meaning(outcome=Outcome.UNKNOWN)
_WALLETS: Final = {"weixin": "wechat", "alipay": "alipay", "unionpay": "unionpay", "qq": "qq"}


def hear(said: Said, *, ours: Ours) -> Heard:
    """The word of an answer.

    A wrong signature voids it. An answer that was not understood may come unsigned; its word ends nothing. All others
    count only when signed, and when they name our merchant number: one platform key signs for many.
    """
    if said.proof is Proof.WRONG:
        return Heard(word=Word.UNCLEAR, code="signature_wrong")
    try:
        head = read(said.fields, Head)
    except BadAnswer as error:
        return Heard(word=Word.UNCLEAR, code=BAD_ANSWER_CODE, message=shortened(str(error)))
    is_signed = said.proof is Proof.VALID
    if head.status != _YES:
        return Heard(
            word=Word.NOT_UNDERSTOOD,
            is_signed=is_signed,
            code=shortened(head.code or f"status_{head.status}"),
            message=shortened(head.message),
        )
    if not is_signed:
        return Heard(word=Word.UNCLEAR, code="signature_missing")
    if head.mch_id != ours.mch_id:
        return Heard(word=Word.UNCLEAR, code=FOREIGN_CODE, message="the answer is for another merchant")
    return Heard(
        word=_word(head, ours),
        is_signed=True,
        code=shortened(head.err_code),
        message=shortened(head.err_msg),
    )


def placed(said: Said, *, ours: Ours, method: Method) -> tuple[PayResult, PayAction | None]:
    """The answer to a placement, and what the payer needs.

    A refused placement took no money: UNPAID_OPEN, and the trade lives on, for Swiftpass refuses a number that an earlier
    copy of the same placement has used, in words of its own that nobody lists.
    """
    heard = hear(said, ours=ours)
    match heard.word:
        case Word.DONE:
            return _placed_done(said, ours=ours, method=method)
        case (
            Word.NOT_UNDERSTOOD
            | Word.REFUSED
            | Word.FAILED
            | Word.CLOSED
            | Word.NO_TRADE
            | Word.SYSTEM_ERROR
            | Word.OUT_OF_TIME
        ):
            outcome = Outcome.UNPAID_OPEN
        case Word.PAYER_TYPING | Word.ALREADY_PAID | Word.UNCLEAR:
            outcome = Outcome.UNKNOWN
        case _:
            assert_never(heard.word)
    return _result(outcome, heard, trade_no=ours.trade_no), None


def charged(said: Said, *, ours: Ours) -> PayResult:
    """The answer to a charge, which is sent once and never again.

    Final is only a code that the vendor lists as a definite failure, or any code with need_query=N; with need_query=Y no
    code is. Everything else is left to a query.
    """
    heard = hear(said, ours=ours)
    need_query = said.fields.get("need_query", "")
    match heard.word:
        case Word.DONE:
            return _charged_done(said, ours=ours)
        case Word.PAYER_TYPING if need_query != "N":
            return PayResult(
                outcome=Outcome.UNPAID_OPEN,
                trade_no=ours.trade_no,
                user_paying=True,
                code=heard.code,
                message=heard.message,
            )
        case Word.REFUSED:
            outcome = Outcome.UNKNOWN if need_query == "Y" else Outcome.UNPAID_FINAL
        case Word.FAILED | Word.CLOSED:
            outcome = Outcome.UNPAID_FINAL if need_query == "N" else Outcome.UNKNOWN
        case (
            Word.PAYER_TYPING
            | Word.NOT_UNDERSTOOD
            | Word.NO_TRADE
            | Word.ALREADY_PAID
            | Word.OUT_OF_TIME
            | Word.SYSTEM_ERROR
            | Word.UNCLEAR
        ):
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
    # Neither word proves anything of the trade, but either is reason enough to ask more slowly.
    is_busy = heard.word in {Word.SYSTEM_ERROR, Word.NOT_UNDERSTOOD}
    return _result(Outcome.UNKNOWN, heard, trade_no=ours.trade_no, busy=is_busy)


def closed(said: Said, *, ours: Ours) -> EndResult:
    """The answer to a close, which is safe to repeat and gives no money back; it need not name our trade."""
    heard = _hear_end(said, ours=ours)
    match heard.word:
        case Word.DONE | Word.CLOSED:
            return EndResult(state=EndState.ENDED, money_returned=False, code=heard.code, message=heard.message)
        case Word.ALREADY_PAID:
            state = EndState.ALREADY_PAID
        case Word.NO_TRADE:
            state = EndState.NOT_FOUND
        case Word.NOT_UNDERSTOOD | Word.SYSTEM_ERROR:
            state = EndState.RETRY
        case Word.PAYER_TYPING | Word.REFUSED | Word.OUT_OF_TIME | Word.FAILED | Word.UNCLEAR:
            state = EndState.UNKNOWN
        case _:
            assert_never(heard.word)
    return _end(state, heard)


def reversed_(said: Said, *, ours: Ours) -> EndResult:
    """The answer to a reverse, which is safe to repeat; it does not say whether there was money to return."""
    heard = _hear_end(said, ours=ours)
    match heard.word:
        case Word.DONE:
            state = EndState.ENDED
        case Word.NO_TRADE:
            state = EndState.NOT_FOUND
        case Word.OUT_OF_TIME:
            state = EndState.NOT_SUPPORTED
        case Word.NOT_UNDERSTOOD | Word.SYSTEM_ERROR | Word.PAYER_TYPING:
            state = EndState.RETRY
        case Word.CLOSED | Word.ALREADY_PAID | Word.REFUSED | Word.FAILED | Word.UNCLEAR:
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
    if (answer.out_refund_no, answer.out_trade_no) != (ours.refund_no, ours.trade_no):
        return _refund_unknown(FOREIGN_CODE, "the answer is about another refund", ours=ours)
    return RefundResult(
        outcome=RefundOutcome.PENDING,
        refund_no=ours.refund_no,
        trade_no=ours.trade_no,
        amount_minor=parse_fen(answer.refund_fee),
        currency="CNY",
        channel_reference=answer.refund_id,
    )


def refund_queried(said: Said, *, ours: OurRefund) -> RefundResult:
    """The answer to a refund's query, in which ours must be found by its number, and which names no other trade."""
    heard = hear(said, ours=ours.trade)
    if heard.word is not Word.DONE:
        is_absent = heard.word is Word.NO_TRADE
        return _refund(RefundOutcome.NOT_FOUND if is_absent else RefundOutcome.UNKNOWN, heard, ours=ours)
    try:
        listed = [read(fields, QueriedRefund) for fields in list_numbered(said.fields, "out_refund_no")]
    except BadAnswer as error:
        return _refund_unknown(BAD_ANSWER_CODE, str(error), ours=ours)
    mine = next((refund for refund in listed if refund.out_refund_no == ours.refund_no), None)
    # The question names the refund alone: one of another trade of the account may have its number, made in a portal.
    if mine is None or (said.fields.get("out_trade_no") or ours.trade_no) != ours.trade_no:
        return _refund_unknown(FOREIGN_CODE, "the answer is about another refund", ours=ours)
    outcome = _REFUND_STATES.get(mine.refund_status, RefundOutcome.UNKNOWN)
    return RefundResult(
        outcome=outcome,
        refund_no=ours.refund_no,
        trade_no=ours.trade_no,
        amount_minor=parse_fen(mine.refund_fee),
        currency="CNY",
        channel_reference=mine.refund_id,
        refunded_at=find_moment(mine.refund_time),
        to_repeat=mine.refund_status == _TO_REPEAT,
        code=shortened(mine.refund_status),
    )


def told(fields: Mapping[str, str]) -> PayResult:
    """What a verified notice says of the trade that it names; raises `BadAnswer` for one that cannot be read.

    Only "paid" is ever told; what else comes is heard and left to a query.
    """
    head, paid = read(fields, Head), read(fields, Paid)
    if (head.status, head.result_code, paid.pay_result) != (_YES, _YES, _YES):
        code = shortened(head.err_code or f"pay_result_{paid.pay_result}")
        return _unknown(code, head.err_msg, trade_no=paid.out_trade_no)
    return _paid_result(paid)


def _hear_end(said: Said, *, ours: Ours) -> Heard:
    """The word of an answer that holds no more than the result: at least it is not the answer to another call."""
    heard = hear(said, ours=ours)
    is_ours = said.fields.get("out_trade_no", ours.trade_no) == ours.trade_no
    if heard.word is Word.DONE and (not is_ours or not _OTHER_ANSWERS.isdisjoint(said.fields)):
        return Heard(word=Word.UNCLEAR, code=FOREIGN_CODE, message="the answer is to another call")
    return heard


def _word(head: Head, ours: Ours) -> Word:
    if head.result_code == _YES:
        return Word.DONE
    if head.err_code in ours.not_found_codes:
        return Word.NO_TRADE
    return _CODES.get(head.err_code, Word.FAILED)


def _placed_done(said: Said, *, ours: Ours, method: Method) -> tuple[PayResult, PayAction | None]:
    try:
        answer = read(said.fields, Placed)
        action = (
            PayAction(jsapi_parameters=parse_jsapi(answer.pay_info))
            if method is Method.JSAPI
            else PayAction(qr_text=_code_text(answer))
        )
    except BadAnswer as error:
        return _unknown(BAD_ANSWER_CODE, str(error), trade_no=ours.trade_no), None
    return PayResult(outcome=Outcome.UNPAID_OPEN, trade_no=ours.trade_no), action


def _code_text(answer: Placed) -> str:
    if not answer.code_url:
        raise BadAnswer("placed, but no code for the payer")
    return answer.code_url


def _charged_done(said: Said, *, ours: Ours) -> PayResult:
    try:
        answer = read(said.fields, Paid)
    except BadAnswer as error:
        return _unknown(BAD_ANSWER_CODE, str(error), trade_no=ours.trade_no)
    if answer.out_trade_no != ours.trade_no:
        return _foreign(ours)
    if answer.pay_result != _YES:
        return _unknown(f"pay_result_{answer.pay_result}", "taken in, but not paid", trade_no=ours.trade_no)
    return _paid_result(answer)


def _paid_result(paid: Paid) -> PayResult:
    return PayResult(
        outcome=Outcome.PAID,
        trade_no=paid.out_trade_no,
        order_minor=parse_fen(paid.total_fee),
        payer_minor=_payer_minor(paid),
        currency=paid.fee_type,
        channel_reference=paid.transaction_id,
        wallet_reference=paid.out_transaction_id,
        paid_at=find_moment(paid.time_end),
        payer_id=paid.sub_openid or paid.openid,
        wallet=_wallet(paid.trade_type),
        code="pay_result_0",
    )


def _queried_done(said: Said, *, ours: Ours) -> PayResult:
    try:
        answer = read(said.fields, Queried)
    except BadAnswer as error:
        return _unknown(BAD_ANSWER_CODE, str(error), trade_no=ours.trade_no)
    return _standing(answer, ours) if answer.out_trade_no == ours.trade_no else _foreign(ours)


def _standing(answer: Queried, ours: Ours) -> PayResult:
    meaning = _meaning(answer.trade_state, ours)
    is_paid = meaning.outcome is Outcome.PAID
    if is_paid and answer.total_fee is None:
        return _unknown("amount_missing", "paid, but of what amount", trade_no=answer.out_trade_no)
    return PayResult(
        outcome=meaning.outcome,
        trade_no=answer.out_trade_no,
        order_minor=parse_fen(answer.total_fee),
        payer_minor=_payer_minor(answer),
        currency=answer.fee_type,
        channel_reference=answer.transaction_id,
        wallet_reference=answer.out_transaction_id,
        paid_at=find_moment(answer.time_end or answer.gmt_payment) if is_paid else None,
        payer_id=answer.sub_openid or answer.openid,
        wallet=_wallet(answer.trade_type),
        user_paying=meaning.user_paying,
        reversed_here=meaning.reversed_here,
        refunded_hint=meaning.refunded_hint,
        code=shortened(answer.trade_state),
    )


def _meaning(trade_state: str, ours: Ours) -> _Meaning:
    if trade_state == _PAYERROR:
        return _Meaning(outcome=Outcome.UNPAID_FINAL if ours.payerror_ends else Outcome.UNPAID_OPEN)
    return _TRADE_STATES.get(trade_state, _UNHEARD_OF)


def _payer_minor(answer: Paid | Queried) -> int | None:
    """What the payer gave after coupons: told, or the amount without the coupon's part."""
    if answer.cash_fee is not None:
        return parse_fen(answer.cash_fee)
    total, coupon = parse_fen(answer.total_fee), parse_fen(answer.coupon_fee)
    return None if total is None or coupon is None or coupon > total else total - coupon


def _wallet(trade_type: str) -> str | None:
    """The wallet in a type such as `pay.weixin.native`."""
    parts = trade_type.split(".")
    return _WALLETS.get(parts[1]) if len(parts) > 1 else None


def _result(outcome: Outcome, heard: Heard, *, trade_no: str, busy: bool = False) -> PayResult:
    return PayResult(outcome=outcome, trade_no=trade_no, busy=busy, code=heard.code, message=heard.message)


def _end(state: EndState, heard: Heard) -> EndResult:
    return EndResult(state=state, code=heard.code, message=heard.message)


def _refund(outcome: RefundOutcome, heard: Heard, *, ours: OurRefund) -> RefundResult:
    return RefundResult(
        outcome=outcome, refund_no=ours.refund_no, trade_no=ours.trade_no, code=heard.code, message=heard.message
    )


def _refund_unknown(code: str, message: str, *, ours: OurRefund) -> RefundResult:
    return _refund(RefundOutcome.UNKNOWN, Heard(word=Word.UNCLEAR, code=code, message=shortened(message)), ours=ours)


def _foreign(ours: Ours) -> PayResult:
    return _unknown(FOREIGN_CODE, "the answer is about another trade", trade_no=ours.trade_no)


def _unknown(code: str, message: str, *, trade_no: str) -> PayResult:
    return PayResult(outcome=Outcome.UNKNOWN, trade_no=trade_no, code=shortened(code), message=shortened(message))
