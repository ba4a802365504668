"""What an adapter answers when its channel said nothing that counts."""

from typing import Final

from budan.core.evidence import Outcome
from budan.core.refund import RefundOutcome
from budan.ports.bill import BillUnfetched
from budan.ports.channel import EndResult, EndState, PayResult, RefundResult
from budan.wire.errors import BadAnswer, NoAnswer, NotSent, WireError

# The guard counts these as signs of a sick channel; a refusal of our own carries another code.
NOT_SENT_CODE: Final = "not_sent"
NO_ANSWER_CODE: Final = "no_answer"
BAD_ANSWER_CODE: Final = "bad_answer"

# A channel's own words are kept for people; they are never worth more than this.
MESSAGE_LENGTH_MAX: Final = 200


def silent_pay_result(error: WireError, *, trade_no: str) -> PayResult:
    """What is known of the trade after a call without an answer (I5): nothing, unless no byte left this machine."""
    is_unsent = isinstance(error, NotSent)
    return PayResult(
        outcome=Outcome.UNPAID_OPEN if is_unsent else Outcome.UNKNOWN,
        trade_no=trade_no,
        sent=not is_unsent,
        code=_code(error),
        message=shortened(str(error)),
    )


def silent_end_result(error: WireError) -> EndResult:
    """What is known after a close or a reverse without an answer."""
    is_unsent = isinstance(error, NotSent)
    return EndResult(
        state=EndState.RETRY if is_unsent else EndState.UNKNOWN,
        sent=not is_unsent,
        code=_code(error),
        message=shortened(str(error)),
    )


def silent_refund_result(error: WireError, *, refund_no: str, trade_no: str) -> RefundResult:
    """What is known of the refund after a call without an answer: nothing."""
    return RefundResult(
        outcome=RefundOutcome.UNKNOWN,
        refund_no=refund_no,
        trade_no=trade_no,
        sent=not isinstance(error, NotSent),
        code=_code(error),
        message=shortened(str(error)),
    )


def silent_bill_answer(error: WireError) -> BillUnfetched:
    """What is known of the bill after a call without an answer: nothing."""
    return BillUnfetched(code=_code(error), message=shortened(str(error)), sent=not isinstance(error, NotSent))


def unsupported_bill_answer() -> BillUnfetched:
    """The channel serves no bill; nothing was sent."""
    return BillUnfetched(code="not_supported", sent=False)


def unsent_refund_result(code: str, *, refund_no: str, trade_no: str) -> RefundResult:
    """Our own refusal to call: nothing was sent, nothing happened."""
    return RefundResult(outcome=RefundOutcome.UNKNOWN, refund_no=refund_no, trade_no=trade_no, sent=False, code=code)


def unsent_pay_result(code: str, *, trade_no: str, message: str = "") -> PayResult:
    """Our own refusal to call: nothing was sent, nothing happened."""
    return PayResult(outcome=Outcome.UNPAID_OPEN, trade_no=trade_no, sent=False, code=code, message=message)


def unsupported_end_result(message: str) -> EndResult:
    """The channel has no such call for this trade; nothing was sent."""
    return EndResult(state=EndState.NOT_SUPPORTED, sent=False, code="not_supported", message=message)


def shortened(text: str) -> str:
    """A foreign text cut to what we keep of it, without what no log and no database column takes."""
    kept = text[:MESSAGE_LENGTH_MAX]
    return kept if kept.isprintable() else "".join(mark if mark.isprintable() else " " for mark in kept)


def _code(error: WireError) -> str:
    if isinstance(error, NotSent):
        return NOT_SENT_CODE
    if isinstance(error, NoAnswer):
        return NO_ANSWER_CODE
    assert isinstance(error, BadAnswer), "wire raises exactly three errors"
    return BAD_ANSWER_CODE
