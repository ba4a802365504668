"""What WeChat Pay v3's answers say of a trade: pure functions, one row of the tables of docs/protocols/wechat_v3.md each."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, assert_never

import msgspec

from budan.channels.silence import BAD_ANSWER_CODE, shortened
from budan.channels.wechat_v3.messages import (
    BillPlace,
    Placed,
    Problem,
    Refund,
    RefundTold,
    Reversed,
    Transaction,
    find_moment,
    read,
)
from budan.core.evidence import Outcome
from budan.core.refund import RefundOutcome
from budan.ports.bill import BillAnswer, BillNotYet, BillUnfetched, NoBill
from budan.ports.channel import EndResult, EndState, PayResult, RefundResult
from budan.wire.errors import BadAnswer
from budan.wire.wechat_v3 import Verdict

WALLET: Final = "wechat"
FOREIGN_CODE: Final = "foreign_answer"
_HTTP_TOO_MANY: Final = 429


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """An answer as it came, and whether its signature is WeChat's."""

    status: int
    body: bytes
    verdict: Verdict


class Ours(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer must name to be about our trade."""

    trade_no: str
    mchid: str
    appid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OurRefund:
    """What an answer must name to be about our refund."""

    refund_no: str
    trade_no: str


class Word(Enum):
    """What an answer comes to, whichever call it answers."""

    DONE = "done"  # signed, and the body is the call's own
    PAYER_TYPING = "payer_typing"
    BUSY = "busy"  # not executed: too many calls
    NOT_EXECUTED = "not_executed"  # not executed: our request or our contract is at fault
    REFUSED = "refused"  # this payment is refused
    NO_TRADE = "no_trade"
    ALREADY_PAID = "already_paid"
    CLOSED = "closed"  # the number is closed and was not paid
    BROKEN = "broken"  # 5xx: it may have been executed (I5)
    UNCLEAR = "unclear"  # anything else, and everything that is not signed as it must be


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """A word with WeChat's own code and text; `is_signed` says whether they are proven."""

    word: Word
    is_signed: bool
    code: str = ""
    message: str = ""


# Both spellings of most codes occur, so they are compared without "_" (section 3).
_WORDS: Final[Mapping[str, Word]] = {
    "USERPAYING": Word.PAYER_TYPING,
    "FREQUENCYLIMITED": Word.BUSY,
    "RATELIMITEXCEED": Word.BUSY,
    "RATELIMITEXCEEDED": Word.BUSY,
    "NOAUTH": Word.NOT_EXECUTED,
    "SIGNERROR": Word.NOT_EXECUTED,
    "PARAMERROR": Word.NOT_EXECUTED,
    "INVALIDREQUEST": Word.NOT_EXECUTED,
    "MCHNOTEXISTS": Word.NOT_EXECUTED,
    "APPIDMCHIDNOTMATCH": Word.NOT_EXECUTED,
    "INVALIDTRANSACTIONID": Word.NOT_EXECUTED,
    "OPENIDMISMATCH": Word.NOT_EXECUTED,
    "NOTENOUGH": Word.REFUSED,
    "TRADEERROR": Word.REFUSED,
    "RULELIMIT": Word.REFUSED,
    "ACCOUNTERROR": Word.REFUSED,
    "USERACCOUNTABNORMAL": Word.REFUSED,
    # Named by v2's micropay as "not paid by this call"; v3's page does not list its codes (unconfirmed).
    "AUTHCODEEXPIRE": Word.REFUSED,
    "AUTHCODEEXPIRED": Word.REFUSED,
    "AUTHCODEERROR": Word.REFUSED,
    "AUTHCODEINVALID": Word.REFUSED,
    "ORDERNOTEXIST": Word.NO_TRADE,
    "RESOURCENOTEXISTS": Word.NO_TRADE,
    "ORDERPAID": Word.ALREADY_PAID,
    "ORDERCLOSED": Word.CLOSED,
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
    "PAYERROR": _Meaning(outcome=Outcome.UNPAID_FINAL),
    "REVOKED": _Meaning(outcome=Outcome.UNPAID_FINAL, reversed_here=True),
}
_UNHEARD_OF: Final = _Meaning(outcome=Outcome.UNKNOWN)

_REFUND_STATES: Final[Mapping[str, RefundOutcome]] = {
    "SUCCESS": RefundOutcome.SUCCEEDED,
    "CLOSED": RefundOutcome.FAILED,
    "PROCESSING": RefundOutcome.PENDING,
    "ABNORMAL": RefundOutcome.ABNORMAL,
}

_HTTP_OK: Final = 200
_HTTP_ACCEPTED: Final = 202
_HTTP_NO_CONTENT: Final = 204
_HTTP_BAD_REQUEST: Final = 400
_HTTP_NOT_FOUND: Final = 404
_HTTP_SERVER_ERROR: Final = 500


def hear(said: Said) -> Heard:
    """The word of an answer.

    A wrong signature voids any answer. A success must be signed. A refusal may come unsigned (section 2): its word is
    then passed on as unproven, and each call decides what an unproven word may do: never end a trade.
    """
    is_signed = said.verdict is Verdict.VALID
    if not is_signed and said.verdict is not Verdict.UNSIGNED:
        return Heard(word=Word.UNCLEAR, is_signed=False, code=f"signature_{said.verdict.value}")
    if said.status in {_HTTP_OK, _HTTP_NO_CONTENT}:
        if is_signed:
            return Heard(word=Word.DONE, is_signed=True)
        return Heard(word=Word.UNCLEAR, is_signed=False, code=f"signature_{said.verdict.value}")
    problem = _problem(said)
    word = Word.BROKEN if said.status >= _HTTP_SERVER_ERROR else _word(said, problem, is_signed=is_signed)
    return Heard(word=word, is_signed=is_signed, code=shortened(problem.code), message=shortened(problem.message))


def placed(said: Said, *, trade_no: str) -> tuple[PayResult, str]:
    """The answer to a placement, and the `code_url`, `prepay_id` or `h5_url` in it or ""; repeating one is safe, so little is final here.

    A refused placement took no money, signed or not: UNPAID_OPEN, and the trade lives on in case an earlier copy of the
    same placement arrived. 5xx, ORDER_PAID and OUT_TRADE_NO_USED are left to a query.
    """
    heard = hear(said)
    match heard.word:
        case Word.DONE:
            return _placed_done(said, trade_no=trade_no)
        case Word.BUSY | Word.NOT_EXECUTED | Word.REFUSED:
            outcome = Outcome.UNPAID_OPEN
        case Word.CLOSED:
            outcome = Outcome.UNPAID_FINAL if heard.is_signed else Outcome.UNKNOWN
        case Word.PAYER_TYPING | Word.NO_TRADE | Word.ALREADY_PAID | Word.BROKEN | Word.UNCLEAR:
            outcome = Outcome.UNKNOWN
        case _:
            assert_never(heard.word)
    return _result(outcome, heard, trade_no=trade_no), ""


def charged(said: Said, *, ours: Ours) -> PayResult:
    """The answer to a codepay charge, which is sent once and never again.

    So "not executed" is the end of it, but only where WeChat's signature proves the word; unsigned, or when the channel
    was busy ("for codepay query first"), or the number was in use, a query decides.
    """
    heard = hear(said)
    match heard.word:
        case Word.DONE:
            return transaction_result(said.body, ours=ours)
        case Word.PAYER_TYPING:
            if not heard.is_signed:
                return _result(Outcome.UNKNOWN, heard, trade_no=ours.trade_no)
            return PayResult(
                outcome=Outcome.UNPAID_OPEN,
                trade_no=ours.trade_no,
                user_paying=True,
                code=heard.code,
                message=heard.message,
            )
        case Word.REFUSED | Word.NOT_EXECUTED | Word.CLOSED:
            outcome = Outcome.UNPAID_FINAL if heard.is_signed else Outcome.UNKNOWN
        case Word.BUSY | Word.NO_TRADE | Word.ALREADY_PAID | Word.BROKEN | Word.UNCLEAR:
            outcome = Outcome.UNKNOWN
        case _:
            assert_never(heard.word)
    return _result(outcome, heard, trade_no=ours.trade_no)


def queried(said: Said, *, ours: Ours) -> PayResult:
    """The answer to a query.

    "No such trade" can in the end close a trade (I5), so it counts only when WeChat signed it. A query that was not
    executed says nothing of the trade.
    """
    heard = hear(said)
    if heard.word is Word.DONE:
        return transaction_result(said.body, ours=ours)
    if heard.word is Word.NO_TRADE and heard.is_signed:
        return PayResult(
            outcome=Outcome.UNPAID_OPEN,
            trade_no=ours.trade_no,
            not_found=True,
            code=heard.code,
            message=heard.message,
        )
    is_busy = heard.word in {Word.BUSY, Word.BROKEN}
    return _result(Outcome.UNKNOWN, heard, trade_no=ours.trade_no, busy=is_busy)


def closed(said: Said) -> EndResult:
    """The answer to a close, which is safe to repeat and gives no money back."""
    heard = hear(said)
    if heard.word is Word.DONE and said.status != _HTTP_NO_CONTENT:
        # A close is answered without a body, and so without our number: at least it is not the answer to another call.
        return EndResult(state=EndState.UNKNOWN, code=FOREIGN_CODE, message="the answer is to another call")
    match heard.word:
        case Word.DONE | Word.CLOSED:
            return _ended_unpaid(heard)
        case Word.ALREADY_PAID:
            # Ends nothing: the query that follows brings the proof.
            state = EndState.ALREADY_PAID
        case Word.NO_TRADE:
            state = EndState.NOT_FOUND if heard.is_signed else EndState.UNKNOWN
        case Word.BUSY | Word.NOT_EXECUTED | Word.BROKEN:
            state = EndState.RETRY
        case Word.PAYER_TYPING | Word.REFUSED | Word.UNCLEAR:
            state = EndState.UNKNOWN
        case _:
            assert_never(heard.word)
    return _end(state, heard)


def reversed_(said: Said, *, ours: Ours) -> EndResult:
    """The answer to a reverse, which is safe to repeat.

    WeChat does not say whether there was money to return. "Too early" (before 15 s) comes as INVALID_REQUEST: not
    executed, so to be repeated.
    """
    heard = hear(said)
    match heard.word:
        case Word.DONE:
            return _reversed_done(said, ours=ours)
        case Word.CLOSED:
            return _ended_unpaid(heard)
        case Word.NO_TRADE:
            # A reverse's answer may end a B2C trade (I5): only WeChat's own word does.
            state = EndState.NOT_FOUND if heard.is_signed else EndState.UNKNOWN
        case Word.PAYER_TYPING | Word.BUSY | Word.NOT_EXECUTED | Word.BROKEN:
            state = EndState.RETRY
        case Word.ALREADY_PAID | Word.REFUSED | Word.UNCLEAR:
            state = EndState.UNKNOWN
        case _:
            assert_never(heard.word)
    return _end(state, heard)


def refunded(said: Said, *, ours: OurRefund) -> RefundResult:
    """The answer to a refund, which is safe to repeat.

    Only a signed refusal is one, and even that says no more than that this request was not taken: an earlier copy may
    have been. A busy channel's "not executed" refuses nothing.
    """
    heard = hear(said)
    match heard.word:
        case Word.DONE:
            return _refund_result(said.body, ours=ours)
        case Word.REFUSED | Word.NOT_EXECUTED | Word.NO_TRADE | Word.CLOSED:
            outcome = RefundOutcome.FAILED if heard.is_signed else RefundOutcome.UNKNOWN
        case Word.PAYER_TYPING | Word.BUSY | Word.ALREADY_PAID | Word.BROKEN | Word.UNCLEAR:
            outcome = RefundOutcome.UNKNOWN
        case _:
            assert_never(heard.word)
    return _refund(outcome, ours=ours, code=heard.code, message=heard.message)


def refund_queried(said: Said, *, ours: OurRefund) -> RefundResult:
    """The answer to a refund's query; "no such refund" counts only when WeChat signed it."""
    heard = hear(said)
    if heard.word is Word.DONE:
        return _refund_result(said.body, ours=ours)
    is_absent = heard.word is Word.NO_TRADE and heard.is_signed
    outcome = RefundOutcome.NOT_FOUND if is_absent else RefundOutcome.UNKNOWN
    return _refund(outcome, ours=ours, code=heard.code, message=heard.message)


def transaction_result(body: bytes, *, ours: Ours) -> PayResult:
    """What a signed transaction object says of our trade; UNKNOWN when it is another's or unreadable."""
    try:
        transaction = read(body, Transaction)
    except BadAnswer as error:
        return _unknown(BAD_ANSWER_CODE, str(error), trade_no=ours.trade_no)
    if (transaction.out_trade_no, transaction.mchid, transaction.appid) != (ours.trade_no, ours.mchid, ours.appid):
        return _unknown(FOREIGN_CODE, "the answer is about another trade", trade_no=ours.trade_no)
    return told(transaction)


def told(transaction: Transaction) -> PayResult:
    """What a transaction object says of the trade that it names; amounts are passed on as they are (I4)."""
    amount = transaction.amount
    meaning = _TRADE_STATES.get(transaction.trade_state, _UNHEARD_OF)
    if meaning.outcome is Outcome.PAID and amount is None:
        return _unknown("amount_missing", "paid, but of what amount", trade_no=transaction.out_trade_no)
    return PayResult(
        outcome=meaning.outcome,
        trade_no=transaction.out_trade_no,
        order_minor=amount.total if amount else None,
        payer_minor=amount.payer_total if amount else None,
        currency=amount.currency if amount else None,
        channel_reference=transaction.transaction_id,
        paid_at=find_moment(transaction.success_time),
        payer_id=transaction.payer.openid if transaction.payer else None,
        wallet=WALLET,
        user_paying=meaning.user_paying,
        reversed_here=meaning.reversed_here,
        refunded_hint=meaning.refunded_hint,
        code=shortened(transaction.trade_state),
        message=shortened(transaction.trade_state_desc),
    )


def refund_told(refund: RefundTold) -> PayResult:
    """What a refund notice says of the trade: it was paid, and its whole amount was `total`.

    Only a refund that went through took money back; CLOSED and ABNORMAL left the payment as it was.
    """
    return PayResult(
        outcome=Outcome.PAID,
        trade_no=refund.out_trade_no,
        order_minor=refund.amount.total,
        payer_minor=refund.amount.payer_total,
        currency=refund.amount.currency,
        channel_reference=refund.transaction_id,
        wallet=WALLET,
        refunded_hint=refund.refund_status == "SUCCESS",
        code=shortened(f"REFUND.{refund.refund_status}"),
    )


def refund_notice_result(refund: RefundTold) -> RefundResult:
    """What a refund notice says of the refund that it names."""
    return RefundResult(
        outcome=_REFUND_STATES.get(refund.refund_status, RefundOutcome.UNKNOWN),
        refund_no=refund.out_refund_no,
        trade_no=refund.out_trade_no,
        amount_minor=refund.amount.refund,
        currency=refund.amount.currency,
        channel_reference=refund.refund_id,
        refunded_at=find_moment(refund.success_time),
        code=shortened(f"REFUND.{refund.refund_status}"),
    )


def bill_place(said: Said) -> BillPlace | BillAnswer:
    """Where the bill lies, else why there is none; raises `BadAnswer`.

    That nothing moved is believed unsigned too: it ends nothing, for our own books must say the same.
    """
    if said.status == _HTTP_OK:
        if said.verdict is not Verdict.VALID:
            return BillUnfetched(code=f"signature_{said.verdict.value}")
        place = read(said.body, BillPlace)
        if place.hash_type != "SHA1":
            raise BadAnswer("the bill's digest is of a kind that we do not know")
        return place
    problem = _problem(said)
    code = problem.code.replace("_", "").upper()
    if code == "NOSTATEMENTEXIST":
        return NoBill(code=problem.code)
    if code == "STATEMENTCREATING" or said.status == _HTTP_TOO_MANY:
        return BillNotYet(code=problem.code)
    return BillUnfetched(code=shortened(problem.code), message=shortened(problem.message))


def _problem(said: Said) -> Problem:
    try:
        problem = read(said.body, Problem)
    except BadAnswer:
        # A gateway on the way answers in its own words.
        return Problem(code=f"http_{said.status}")
    return problem


def _word(said: Said, problem: Problem, *, is_signed: bool) -> Word:
    word = _WORDS.get(problem.code.replace("_", ""), Word.UNCLEAR)
    if said.status == _HTTP_ACCEPTED:
        return word if word is Word.PAYER_TYPING and is_signed else Word.UNCLEAR
    if said.status < _HTTP_BAD_REQUEST:
        return Word.UNCLEAR
    if word is Word.NO_TRADE and said.status != _HTTP_NOT_FOUND:
        return Word.UNCLEAR
    return word


def _placed_done(said: Said, *, trade_no: str) -> tuple[PayResult, str]:
    try:
        answer = read(said.body, Placed)
    except BadAnswer as error:
        return _unknown(BAD_ANSWER_CODE, str(error), trade_no=trade_no), ""
    text = answer.code_url or answer.prepay_id or answer.h5_url
    if not text:
        return _unknown(BAD_ANSWER_CODE, "placed, but nothing for the payer", trade_no=trade_no), ""
    return PayResult(outcome=Outcome.UNPAID_OPEN, trade_no=trade_no), text


def _reversed_done(said: Said, *, ours: Ours) -> EndResult:
    try:
        answer = read(said.body, Reversed)
    except BadAnswer as error:
        return EndResult(state=EndState.UNKNOWN, code=BAD_ANSWER_CODE, message=shortened(str(error)))
    if (answer.out_trade_no, answer.mchid, answer.appid) != (ours.trade_no, ours.mchid, ours.appid):
        return EndResult(state=EndState.UNKNOWN, code=FOREIGN_CODE, message="the answer is about another trade")
    return EndResult(state=EndState.ENDED, money_returned=None)


def _refund_result(body: bytes, *, ours: OurRefund) -> RefundResult:
    try:
        refund = read(body, Refund)
    except BadAnswer as error:
        return _refund(RefundOutcome.UNKNOWN, ours=ours, code=BAD_ANSWER_CODE, message=shortened(str(error)))
    if (refund.out_refund_no, refund.out_trade_no) != (ours.refund_no, ours.trade_no):
        message = "the answer is about another refund"
        return _refund(RefundOutcome.UNKNOWN, ours=ours, code=FOREIGN_CODE, message=message)
    return RefundResult(
        outcome=_REFUND_STATES.get(refund.status, RefundOutcome.UNKNOWN),
        refund_no=refund.out_refund_no,
        trade_no=refund.out_trade_no,
        amount_minor=refund.amount.refund,
        currency=refund.amount.currency,
        channel_reference=refund.refund_id,
        refunded_at=find_moment(refund.success_time),
        code=shortened(refund.status),
    )


def _refund(outcome: RefundOutcome, *, ours: OurRefund, code: str, message: str) -> RefundResult:
    return RefundResult(outcome=outcome, refund_no=ours.refund_no, trade_no=ours.trade_no, code=code, message=message)


def _ended_unpaid(heard: Heard) -> EndResult:
    if not heard.is_signed:
        return _end(EndState.UNKNOWN, heard)
    return EndResult(state=EndState.ENDED, money_returned=False, code=heard.code, message=heard.message)


def _result(outcome: Outcome, heard: Heard, *, trade_no: str, busy: bool = False) -> PayResult:
    return PayResult(outcome=outcome, trade_no=trade_no, busy=busy, code=heard.code, message=heard.message)


def _end(state: EndState, heard: Heard) -> EndResult:
    return EndResult(state=state, code=heard.code, message=heard.message)


def _unknown(code: str, message: str, *, trade_no: str) -> PayResult:
    return PayResult(outcome=Outcome.UNKNOWN, trade_no=trade_no, code=code, message=shortened(message))
