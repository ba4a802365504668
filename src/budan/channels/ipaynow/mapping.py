"""What iPaynow's answers and notices say of a trade: pure functions over the tables of docs/protocols/ipaynow.md section 3."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, assert_never

from budan.channels.ipaynow.messages import CURRENCY_CODE, find_moment, parse_amount
from budan.channels.silence import BAD_ANSWER_CODE, shortened
from budan.core.evidence import Outcome
from budan.core.refund import RefundOutcome
from budan.ports.channel import EndResult, EndState, PayResult, RefundIntent, RefundRef, RefundResult
from budan.wire.errors import BadAnswer

FOREIGN_CODE: Final = "foreign_answer"
SIGNATURE_CODE: Final = "signature_wrong"
_CURRENCY: Final = "CNY"
WALLETS: Final[Mapping[str, str]] = {"13": "wechat", "12": "alipay", "11": "unionpay"}


class Proof(Enum):
    """What an answer's signature is worth."""

    VALID = "valid"
    UNSIGNED = "unsigned"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """The fields of an answer to the call `funcode`, and whether iPaynow's signature covers them."""

    funcode: str
    fields: Mapping[str, str]
    proof: Proof

    def get(self, name: str) -> str:
        """The field; "" when it is absent, which iPaynow itself does not tell from empty."""
        return self.fields.get(name, "")

    @property
    def code(self) -> str:
        """The codes for a log, both where there are two."""
        words = (self.get("responseCode"), self.get("transStatus") or self.get("tradeStatus"))
        return shortened("/".join(word for word in words if word))

    @property
    def message(self) -> str:
        """What iPaynow says to people; no public list of its codes exists, so nothing is decided by it."""
        return shortened(self.get("responseMsg"))


class Standing(Enum):
    """What `transStatus` comes to."""

    DONE = "done"
    ENDED = "ended"  # failed, closed or not accepted: it will not be paid
    WAITING = "waiting"  # not handled yet: unpaid so far
    UNCLEAR = "unclear"  # in progress, unknown, or a word that we never heard of
    ABSENT = "absent"


_STANDINGS: Final[Mapping[str, Standing]] = {
    "A001": Standing.DONE,
    "A002": Standing.ENDED,
    "A005": Standing.ENDED,
    "A006": Standing.ENDED,
    "A00I": Standing.WAITING,
    "A004": Standing.UNCLEAR,
    "A003": Standing.UNCLEAR,
    "": Standing.ABSENT,
}


class Call(Enum):
    """What `responseCode` says became of the call itself."""

    WORKED = "worked"
    REFUSED = "refused"
    UNCLEAR = "unclear"


_PAY_CALLS: Final[Mapping[str, Call]] = {"A001": Call.WORKED, "A002": Call.REFUSED}
_REFUND_CALLS: Final[Mapping[str, Call]] = {**_PAY_CALLS, "R000": Call.WORKED}


def placed(said: Said, *, trade_no: str, app_id: str) -> tuple[PayResult, str]:
    """The answer to a placement, and its `tn` or "".

    A refused placement made no code, so this call takes no money: UNPAID_OPEN, in case an earlier copy arrived.
    """
    if said.proof is Proof.WRONG or _is_foreign(said, trade_no=trade_no, app_id=app_id):
        return _unproven(said, trade_no=trade_no), ""
    call = _call(said)
    match call:
        case Call.WORKED if said.proof is Proof.VALID and said.get("mhtOrderNo") == trade_no:
            return _result(Outcome.UNPAID_OPEN, said, trade_no=trade_no), said.get("tn")
        case Call.REFUSED:
            return _result(Outcome.UNPAID_OPEN, said, trade_no=trade_no), ""
        case Call.WORKED | Call.UNCLEAR:
            return _result(Outcome.UNKNOWN, said, trade_no=trade_no), ""
        case _:
            assert_never(call)


def charged(said: Said, *, trade_no: str, app_id: str) -> PayResult:
    """The answer to a charge, which is sent once: `transStatus` tells of the payment, and only where the call worked.

    A refused call is to be asked about first: a number used twice is refused as well, and its first use may be paid.
    """
    if not _is_ours(said, trade_no=trade_no, app_id=app_id):
        return _unproven(said, trade_no=trade_no)
    call = _call(said)
    match call:
        case Call.WORKED if _standing(said) is not Standing.ABSENT:
            return _stands(said, trade_no=trade_no)
        case Call.WORKED | Call.UNCLEAR:
            return _result(Outcome.UNKNOWN, said, trade_no=trade_no)
        case Call.REFUSED:
            return _result(Outcome.UNKNOWN, said, trade_no=trade_no, answered=True)
        case _:
            assert_never(call)


def queried(said: Said, *, trade_no: str, app_id: str, refused_is_not_found: bool) -> PayResult:
    """The answer to a query.

    For a number that was never accepted iPaynow refuses, or sends no status (unconfirmed, so it is a setting whether
    that counts as "no such trade"); a trade that is there has its status, with or without a `responseCode`.
    """
    if not _is_ours(said, trade_no=trade_no, app_id=app_id):
        return _unproven(said, trade_no=trade_no)
    is_refused = _call(said) is Call.REFUSED
    standing = _standing(said)
    if standing is Standing.ABSENT and (is_refused or said.get("responseCode") == "A001"):
        return _no_trade(said, trade_no=trade_no, is_not_found=refused_is_not_found)
    # "A002" of the call beside "A002" of a status: which of the two refused is not told, and the weaker one ends less.
    if is_refused and said.get("transStatus") == "A002":
        return _no_trade(said, trade_no=trade_no, is_not_found=refused_is_not_found)
    if said.get("responseCode") in {"", "A001"}:
        return _stands(said, trade_no=trade_no)
    return _result(Outcome.UNKNOWN, said, trade_no=trade_no)


def told(said: Said) -> PayResult:
    """What a verified notice says of the trade that it names; raises `BadAnswer` for an amount that is none."""
    if not said.get("mhtOrderNo"):
        raise BadAnswer("the notice names no trade")
    result = _stands(said, trade_no=said.get("mhtOrderNo"))
    if result.code == BAD_ANSWER_CODE:
        raise BadAnswer(result.message)
    return result


class GoingBack(Enum):
    """What an answer says of money that shall go back, by a reverse or a refund."""

    DONE = "done"
    UNDER_WAY = "under_way"
    FAILED = "failed"  # it ended and moved nothing
    REFUSED = "refused"  # this call was; an earlier one under the same number may have worked
    UNCLEAR = "unclear"


_GOINGS_BACK: Final[Mapping[str, GoingBack]] = {
    "A001": GoingBack.DONE,
    "A002": GoingBack.FAILED,
    "A005": GoingBack.FAILED,
    "A006": GoingBack.FAILED,
    "A004": GoingBack.UNDER_WAY,
    "A00I": GoingBack.UNDER_WAY,
}


def going_back(said: Said, *, number: str, trade_no: str, app_id: str) -> GoingBack:
    """The answer to R001, R002 and their queries; `number` is ours of the refund or the reverse."""
    ours = {"appId": {app_id}, "mhtOrderNo": {"", trade_no}, "mhtRefundNo": {"", number}}
    ours["funcode"] = {"", said.funcode}
    if said.proof is not Proof.VALID or any(said.get(name) not in values for name, values in ours.items()):
        return GoingBack.UNCLEAR
    call = _REFUND_CALLS.get(said.get("responseCode"), Call.UNCLEAR)
    status = said.get("tradeStatus")
    if call is Call.REFUSED and status in {"", "A002"}:
        # Which of the two refused is not told, and that the call did ends less.
        return GoingBack.REFUSED
    if call is Call.WORKED and not status:
        return GoingBack.UNDER_WAY
    heard = _GOINGS_BACK.get(status, GoingBack.UNCLEAR) if call is Call.WORKED else GoingBack.UNCLEAR
    # A word that ends something must name it: without the number it could be about another.
    is_named = bool(said.get("mhtRefundNo"))
    return heard if is_named or heard is GoingBack.UNDER_WAY else GoingBack.UNCLEAR


def reversed_as(heard: GoingBack, standing: PayResult, *, said: Said) -> EndResult:
    """How a reverse ended, by its own word and by how the trade stands after it.

    iPaynow does not say whether a reverse gave money back, and refuses without a reason: both the trade itself tells.
    """
    match heard:
        case GoingBack.DONE:
            state, returned = EndState.ENDED, _money_returned(standing)
        case GoingBack.FAILED | GoingBack.REFUSED if standing.not_found:
            state, returned = EndState.NOT_FOUND, None
        case GoingBack.FAILED | GoingBack.REFUSED if standing.outcome is Outcome.UNPAID_FINAL:
            state, returned = EndState.ENDED, False
        case GoingBack.FAILED | GoingBack.REFUSED:
            state, returned = EndState.RETRY, None
        case GoingBack.UNDER_WAY | GoingBack.UNCLEAR:
            # Not RETRY: past its time that would say that the payment stands, and it is on its way back (I7).
            state, returned = EndState.UNKNOWN, None
        case _:
            assert_never(heard)
    is_told = heard is not GoingBack.UNCLEAR
    return EndResult(state=state, money_returned=returned, answered=is_told, code=said.code, message=said.message)


def not_reversed(heard: GoingBack, *, said: Said, refused_is_not_found: bool) -> EndResult:
    """The word about a reverse that is not done, after the day: only that it ended, or never was, lets the payment stand."""
    match heard:
        case GoingBack.FAILED:
            state = EndState.NOT_SUPPORTED
        case GoingBack.REFUSED:
            state = EndState.NOT_SUPPORTED if refused_is_not_found else EndState.UNKNOWN
        case GoingBack.UNDER_WAY | GoingBack.UNCLEAR:
            state = EndState.UNKNOWN
        case GoingBack.DONE:
            raise AssertionError("a reverse that is done ends the trade")
        case _:
            assert_never(heard)
    is_told = heard is not GoingBack.UNCLEAR
    return EndResult(state=state, answered=is_told, code=said.code, message=said.message)


def refunded(said: Said, *, intent: RefundIntent, app_id: str) -> RefundResult:
    """The answer to a refund, which is safe to repeat: a number used before is refused, and its query tells."""
    heard = going_back(said, number=intent.refund_no, trade_no=intent.trade_no, app_id=app_id)
    match heard:
        case GoingBack.DONE:
            outcome = _done(said)
        case GoingBack.UNDER_WAY:
            outcome = RefundOutcome.PENDING
        case GoingBack.FAILED | GoingBack.REFUSED:
            outcome = RefundOutcome.FAILED
        case GoingBack.UNCLEAR:
            outcome = RefundOutcome.UNKNOWN
        case _:
            assert_never(heard)
    return _refund(outcome, said, refund_no=intent.refund_no, trade_no=intent.trade_no)


def refund_queried(said: Said, *, ref: RefundRef, app_id: str, refused_is_not_found: bool) -> RefundResult:
    """The answer to a refund's query.

    A refusal has no reason. It is "no such refund" only where the setting says so, for with a refused repeat of the
    refund that frees the amount (I5); else the same number is sent again, which refunds once.
    """
    is_to_repeat = False
    heard = going_back(said, number=ref.refund_no, trade_no=ref.trade_no, app_id=app_id)
    match heard:
        case GoingBack.DONE:
            outcome = _done(said)
        case GoingBack.UNDER_WAY:
            outcome = RefundOutcome.PENDING
        case GoingBack.FAILED:
            outcome = RefundOutcome.FAILED
        case GoingBack.REFUSED:
            # To be believed it must name the refund: any other's refusal reads the same.
            is_named = said.get("mhtRefundNo") == ref.refund_no
            outcome = RefundOutcome.NOT_FOUND if is_named and refused_is_not_found else RefundOutcome.UNKNOWN
            is_to_repeat = is_named and not refused_is_not_found
        case GoingBack.UNCLEAR:
            outcome = RefundOutcome.UNKNOWN
        case _:
            assert_never(heard)
    result = _refund(outcome, said, refund_no=ref.refund_no, trade_no=ref.trade_no)
    return replace(result, to_repeat=is_to_repeat)


def _money_returned(standing: PayResult) -> bool | None:
    if standing.outcome is Outcome.PAID:
        return True
    return False if standing.outcome is Outcome.UNPAID_FINAL else None


def _call(said: Said) -> Call:
    return _PAY_CALLS.get(said.get("responseCode"), Call.UNCLEAR)


def _standing(said: Said) -> Standing:
    return _STANDINGS.get(said.get("transStatus"), Standing.UNCLEAR)


def _is_foreign(said: Said, *, trade_no: str, app_id: str) -> bool:
    """Whether the answer names another trade, application or call."""
    ours = {"appId": app_id, "mhtOrderNo": trade_no, "funcode": said.funcode}
    return any(said.get(name) not in {"", value} for name, value in ours.items())


def _is_ours(said: Said, *, trade_no: str, app_id: str) -> bool:
    """Whether iPaynow signed it and it names this trade: what does not could be a refusal of any other."""
    names_it = (said.get("appId"), said.get("mhtOrderNo")) == (app_id, trade_no)
    return said.proof is Proof.VALID and names_it and said.get("funcode") in {"", said.funcode}


def _stands(said: Said, *, trade_no: str) -> PayResult:
    """What the trade's status says, whichever message brings it."""
    standing = _standing(said)
    match standing:
        case Standing.DONE:
            return _paid(said, trade_no=trade_no)
        case Standing.ENDED:
            return _result(Outcome.UNPAID_FINAL, said, trade_no=trade_no)
        case Standing.WAITING:
            return _result(Outcome.UNPAID_OPEN, said, trade_no=trade_no)
        case Standing.UNCLEAR | Standing.ABSENT:
            return _result(Outcome.UNKNOWN, said, trade_no=trade_no, answered=True)
        case _:
            assert_never(standing)


def _paid(said: Said, *, trade_no: str) -> PayResult:
    try:
        order_minor, payer_minor = _amounts(said)
    except BadAnswer as error:
        return PayResult(
            outcome=Outcome.UNKNOWN, trade_no=trade_no, code=BAD_ANSWER_CODE, message=shortened(str(error))
        )
    currency = said.get("mhtCurrencyType")
    return PayResult(
        outcome=Outcome.PAID,
        trade_no=trade_no,
        order_minor=order_minor,
        payer_minor=payer_minor,
        # Another currency is passed on as it is named: the door finds that it is not ours.
        currency=_CURRENCY if currency in {"", CURRENCY_CODE} else shortened(currency),
        channel_reference=_reference(said, "nowPayOrderNo"),
        wallet_reference=_reference(said, "channelOrderNo"),
        paid_at=find_moment(said.get("payTime")),
        payer_id=_reference(said, "payConsumerId"),
        wallet=WALLETS.get(said.get("payChannelType")),
        code=said.code,
    )


def _amounts(said: Said) -> tuple[int, int]:
    """What was ordered and what the payer gave; raises `BadAnswer`.

    With a discount `oriMhtOrderAmt` is the order and `mhtOrderAmt` what was paid of it. Where they do not add up, the
    amount that iPaynow calls the order's is passed on, and the door compares it.
    """
    paid_minor = parse_amount(said.get("mhtOrderAmt"))
    discount_minor = parse_amount(said.get("discountAmt") or "0")
    original_minor = parse_amount(said.get("oriMhtOrderAmt") or str(paid_minor))
    if original_minor == paid_minor and discount_minor <= original_minor:
        return original_minor, original_minor - discount_minor
    if original_minor == paid_minor + discount_minor:
        return original_minor, paid_minor
    return paid_minor, paid_minor


def _no_trade(said: Said, *, trade_no: str, is_not_found: bool) -> PayResult:
    if not is_not_found:
        return _result(Outcome.UNKNOWN, said, trade_no=trade_no, answered=True)
    return PayResult(
        outcome=Outcome.UNPAID_OPEN, trade_no=trade_no, not_found=True, code=said.code, message=said.message
    )


def _done(said: Said) -> RefundOutcome:
    """A field may come without its value, and done without an amount proves nothing."""
    return RefundOutcome.UNKNOWN if _amount_of_refund(said) is None else RefundOutcome.SUCCEEDED


def _amount_of_refund(said: Said) -> int | None:
    try:
        return parse_amount(said.get("amount"))
    except BadAnswer:
        return None


def _refund(outcome: RefundOutcome, said: Said, *, refund_no: str, trade_no: str) -> RefundResult:
    return RefundResult(
        outcome=outcome,
        refund_no=refund_no,
        trade_no=trade_no,
        amount_minor=_amount_of_refund(said) if outcome is RefundOutcome.SUCCEEDED else None,
        currency=_CURRENCY if outcome is RefundOutcome.SUCCEEDED else None,
        code=said.code,
        message=said.message,
    )


def _reference(said: Said, name: str) -> str | None:
    text = said.get(name)
    return shortened(text) if text else None


def _unproven(said: Said, *, trade_no: str) -> PayResult:
    code = FOREIGN_CODE if said.proof is Proof.VALID else SIGNATURE_CODE
    return PayResult(outcome=Outcome.UNKNOWN, trade_no=trade_no, code=code, message=said.message)


def _result(outcome: Outcome, said: Said, *, trade_no: str, answered: bool = False) -> PayResult:
    return PayResult(outcome=outcome, trade_no=trade_no, answered=answered, code=said.code, message=said.message)
