from typing import Any

import pytest

from budan.channels.alipay import mapping
from budan.channels.alipay.mapping import Proof, Said
from budan.channels.alipay.messages import Told, read
from budan.core.evidence import Outcome
from budan.core.refund import RefundOutcome
from budan.ports.channel import EndState, NoticeKind, PayResult
from budan.wire.errors import BadAnswer
from unit.channels.builders import APP_ID, REFUND_NO, SELLER_ID, TRADE_NO, a_refund_intent, a_refund_ref

# sub_codes of docs/protocols/alipay.md section 3, without "ACQ.".
REFUSED = [
    "PAYMENT_AUTH_CODE_INVALID",
    "BUYER_BALANCE_NOT_ENOUGH",
    "BUYER_BANKCARD_BALANCE_NOT_ENOUGH",
    "ERROR_BALANCE_PAYMENT_DISABLE",
    "BUYER_SELLER_EQUAL",
    "TRADE_BUYER_NOT_MATCH",
    "BUYER_ENABLE_STATUS_FORBID",
    "PULL_MOBILE_CASHIER_FAIL",
    "MOBILE_PAYMENT_SWITCH_OFF",
    "PAYMENT_FAIL",
    "BUYER_PAYMENT_AMOUNT_DAY_LIMIT_ERROR",
    "BUYER_PAYMENT_AMOUNT_MONTH_LIMIT_ERROR",
    "BEYOND_PAY_RESTRICTION",
    "SELLER_BEEN_BLOCKED",
    "PAYMENT_REQUEST_HAS_RISK",
    "NO_PAYMENT_INSTRUMENTS_AVAILABLE",
    "TOTAL_FEE_EXCEED",
    "INVALID_PARAMETER",
    "ACCESS_FORBIDDEN",
    "EXIST_FORBIDDEN_WORD",
    "PARTNER_ERROR",
    "APPLY_PC_MERCHANT_CODE_ERROR",
]
FORBIDDEN_BY_STATE = ["TRADE_STATUS_ERROR", "REASON_TRADE_STATUS_INVALID", "REASON_ILLEGAL_STATUS"]
UNKNOWN = ["SYSTEM_ERROR", "DISCORDANT_REPEAT_REQUEST", "TRADE_HAS_SUCCESS", "CONTEXT_INCONSISTENT", "NEVER_HEARD_OF"]
NOT_EXECUTED = ["20001", "40001", "40002", "40003", "40006"]
EVERY_CODE = ["10000", "10003", "20000", "40005", "99999", *NOT_EXECUTED]
EVERY_SUB_CODE = [*REFUSED, *FORBIDDEN_BY_STATE, *UNKNOWN, "TRADE_HAS_CLOSE", "TRADE_NOT_EXIST"]


def said(code: str, sub_code: str = "", *, proof: Proof = Proof.VALID, **fields: Any) -> Said:
    sub = {"sub_code": f"ACQ.{sub_code}", "sub_msg": "为什么"} if sub_code else {}
    return Said(payload={"code": code, "msg": "x", **sub, **fields}, proof=proof)


def done(*, proof: Proof = Proof.VALID, **fields: Any) -> Said:
    return said("10000", proof=proof, **{"out_trade_no": TRADE_NO, **fields})


def a_paid_answer(**changes: Any) -> Said:
    fields = {
        "trade_no": "2026010122001400000500000001",
        "total_amount": "12.80",
        "buyer_pay_amount": "10.00",
        "receipt_amount": "12.30",
        "gmt_payment": "2026-01-01 08:00:03",
        "buyer_user_id": "2088000000000001",
    }
    return done(**(fields | changes))


def a_standing_answer(status: str, **changes: Any) -> Said:
    fields = {"trade_status": status, "total_amount": "12.80", "trade_no": "2026010122001400000500000001"}
    return done(**(fields | changes))


def a_told(**changes: str) -> Told:
    fields = {
        "app_id": APP_ID,
        "seller_id": SELLER_ID,
        "out_trade_no": TRADE_NO,
        "trade_no": "2026010122001400000500000001",
        "trade_status": "TRADE_SUCCESS",
        "notify_type": "trade_status_sync",
        "total_amount": "12.80",
        "receipt_amount": "12.30",
        "buyer_pay_amount": "10.00",
        "buyer_id": "2088000000000001",
        "gmt_payment": "2026-01-01 08:00:03",
    }
    return read(fields | changes, Told)


def created(answer: Said) -> PayResult:
    return mapping.placed(answer, trade_no=TRADE_NO)[0]


def charged(answer: Said) -> PayResult:
    return mapping.charged(answer, trade_no=TRADE_NO)


def queried(answer: Said, *, is_b2c: bool = False) -> PayResult:
    return mapping.queried(answer, trade_no=TRADE_NO, is_b2c=is_b2c)


def ends(answer: Said) -> list[EndState]:
    return [mapping.closed(answer, trade_no=TRADE_NO).state, mapping.cancelled(answer, trade_no=TRADE_NO).state]


@pytest.mark.parametrize(
    ("status", "paid_date", "outcome", "hint"),
    [
        ("WAIT_BUYER_PAY", None, Outcome.UNPAID_OPEN, False),
        ("TRADE_SUCCESS", "2026-01-01 08:00:03", Outcome.PAID, False),
        ("TRADE_FINISHED", "2026-01-01 08:00:03", Outcome.PAID, False),
        ("TRADE_CLOSED", None, Outcome.UNPAID_FINAL, False),
        ("TRADE_CLOSED", "", Outcome.UNPAID_FINAL, False),
        ("TRADE_CLOSED", "2026-01-01 08:00:03", Outcome.PAID, True),
        ("TRADE_CLOSED", "some day", Outcome.PAID, True),
        ("TRADE_FROZEN", None, Outcome.UNKNOWN, False),
    ],
)
def test_each_trade_status_has_one_meaning(*, status: str, paid_date: str | None, outcome: Outcome, hint: bool) -> None:
    """TRADE_CLOSED says "never paid" or "given back": the time of the payment tells them apart."""
    result = queried(a_standing_answer(status, send_pay_date=paid_date))
    assert (result.outcome, result.refunded_hint, result.order_minor) == (outcome, hint, 1280)
    assert result.refunded_in_full is hint, "it is closed by a refund of all of it, and of no less"


def test_a_charge_that_waits_has_a_payer_typing_and_a_code_that_waits_has_none() -> None:
    assert queried(a_standing_answer("WAIT_BUYER_PAY"), is_b2c=True).user_paying
    assert not queried(a_standing_answer("WAIT_BUYER_PAY"), is_b2c=False).user_paying
    assert not queried(a_standing_answer("TRADE_SUCCESS"), is_b2c=True).user_paying


def test_a_charge_taken_is_paid_with_what_the_channel_says_of_amounts() -> None:
    result = charged(a_paid_answer())
    assert result.outcome is Outcome.PAID
    assert (result.order_minor, result.payer_minor, result.settle_minor, result.currency) == (1280, 1000, 1230, "CNY")
    assert result.paid_at is not None
    assert result.paid_at.isoformat() == "2026-01-01T00:00:03+00:00"
    assert (result.channel_reference, result.payer_id) == ("2026010122001400000500000001", "2088000000000001")
    assert charged(a_paid_answer(trans_currency="USD", total_amount="0.07")).currency == "USD"


@pytest.mark.parametrize(
    "amount", ["", None, "12,80", "1e3", "-1.00", "12.800", "١٢.80", " 12.80", "12.8O", ".5", 12.8]
)
@pytest.mark.invariant("I4", "I5")
def test_a_success_without_a_readable_amount_proves_nothing(amount: Any) -> None:
    assert charged(a_paid_answer(total_amount=amount)).outcome is Outcome.UNKNOWN
    assert queried(a_standing_answer("TRADE_SUCCESS", total_amount=amount)).outcome is Outcome.UNKNOWN


def test_an_amount_beside_the_order_must_be_readable_too_or_absent() -> None:
    assert charged(a_paid_answer(receipt_amount="NaN")).outcome is Outcome.UNKNOWN
    result = charged(a_paid_answer(receipt_amount="", buyer_pay_amount=None))
    assert (result.outcome, result.settle_minor, result.payer_minor) == (Outcome.PAID, None, None)


@pytest.mark.invariant("I4")
def test_an_answer_about_another_trade_says_nothing_of_ours() -> None:
    """Alipay's signature covers no question: an answer to another question verifies too."""
    other = {"out_trade_no": "T20260101000002"}
    results = [
        created(done(qr_code="https://qr", **other)),
        charged(a_paid_answer(**other)),
        queried(a_standing_answer("TRADE_SUCCESS", **other)),
        queried(a_standing_answer("TRADE_CLOSED", **other)),
    ]
    assert {(result.outcome, result.code) for result in results} == {(Outcome.UNKNOWN, "foreign_answer")}
    assert ends(done(action="close", retry_flag="N", **other)) == [EndState.UNKNOWN] * 2


@pytest.mark.parametrize("proof", [Proof.UNSIGNED, Proof.WRONG])
@pytest.mark.invariant("I4", "I5")
def test_a_success_that_is_not_signed_is_no_answer(proof: Proof) -> None:
    paid = Said(payload=a_paid_answer().payload, proof=proof)
    closed = Said(payload=a_standing_answer("TRADE_CLOSED").payload, proof=proof)
    assert [charged(paid).outcome, queried(closed).outcome] == [Outcome.UNKNOWN] * 2
    assert ends(done(proof=proof, action="refund", retry_flag="N")) == [EndState.UNKNOWN] * 2
    result, text = mapping.placed(done(proof=proof, qr_code="https://qr"), trade_no=TRADE_NO)
    assert (result.outcome, text) == (Outcome.UNKNOWN, "")


@pytest.mark.parametrize("code", EVERY_CODE)
@pytest.mark.parametrize("proof", list(Proof))
@pytest.mark.invariant("I5")
def test_no_unproven_code_ends_a_trade(code: str, proof: Proof) -> None:
    answer = said(code, proof=proof)
    results = [created(answer), charged(answer), queried(answer)]
    if proof is not Proof.VALID:
        assert all(result.outcome in {Outcome.UNKNOWN, Outcome.UNPAID_OPEN} for result in results)
        assert not any(result.not_found or result.user_paying for result in results)
    if proof is Proof.WRONG:
        assert {result.outcome for result in results} == {Outcome.UNKNOWN}
    assert not set(ends(answer)) & {EndState.ENDED, EndState.NOT_FOUND}


@pytest.mark.parametrize("sub_code", EVERY_SUB_CODE)
@pytest.mark.parametrize("proof", [Proof.UNSIGNED, Proof.WRONG])
@pytest.mark.invariant("I5")
def test_no_unproven_business_failure_says_anything(sub_code: str, proof: Proof) -> None:
    answer = said("40004", sub_code, proof=proof, retry_flag="Y")
    assert {created(answer).outcome, charged(answer).outcome, queried(answer).outcome} == {Outcome.UNKNOWN}
    assert ends(answer) == [EndState.UNKNOWN] * 2


@pytest.mark.parametrize("proof", list(Proof))
@pytest.mark.invariant("I5")
def test_unavailable_is_unknown_signed_or_not(proof: Proof) -> None:
    answer = said("20000", "unknow-error", proof=proof)
    assert {created(answer).outcome, charged(answer).outcome, queried(answer).outcome} == {Outcome.UNKNOWN}
    assert ends(answer) == [EndState.UNKNOWN] * 2


def test_a_payer_who_types_is_said_to_be_typing() -> None:
    result = charged(said("10003"))
    assert (result.outcome, result.user_paying) == (Outcome.UNPAID_OPEN, True)


@pytest.mark.parametrize("code", NOT_EXECUTED)
def test_what_was_not_executed_took_no_money(code: str) -> None:
    assert created(said(code)).outcome is Outcome.UNPAID_OPEN
    assert created(said(code, proof=Proof.UNSIGNED)).outcome is Outcome.UNPAID_OPEN
    assert charged(said(code)).outcome is Outcome.UNPAID_FINAL
    assert charged(said(code, proof=Proof.UNSIGNED)).outcome is Outcome.UNKNOWN
    assert queried(said(code)).outcome is Outcome.UNKNOWN
    assert ends(said(code)) == [EndState.RETRY] * 2


def test_a_channel_that_has_too_much_to_do_says_so() -> None:
    """Whoever asked slows down, for every trade of the account."""
    for answer in (said("40005"), said("20000"), said("40004", "SYSTEM_ERROR")):
        assert queried(answer).busy
    for answer in (said("40004", "TRADE_NOT_EXIST"), said("20001"), a_standing_answer("WAIT_BUYER_PAY")):
        assert not queried(answer).busy


def test_a_busy_channel_is_asked_again_but_charged_only_after_a_query() -> None:
    busy = said("40005")
    assert created(busy).outcome is Outcome.UNPAID_OPEN
    assert charged(busy).outcome is Outcome.UNKNOWN
    assert ends(busy) == [EndState.RETRY] * 2


@pytest.mark.parametrize("sub_code", REFUSED)
def test_a_signed_refusal_ends_a_charge_and_no_placement(sub_code: str) -> None:
    answer = said("40004", sub_code)
    assert (charged(answer).outcome, charged(answer).code) == (Outcome.UNPAID_FINAL, f"ACQ.{sub_code}")
    assert (created(answer).outcome, created(answer).sent) == (Outcome.UNPAID_OPEN, True)
    assert queried(answer).outcome is Outcome.UNKNOWN
    assert ends(answer) == [EndState.UNKNOWN] * 2


@pytest.mark.parametrize("sub_code", [*UNKNOWN, *FORBIDDEN_BY_STATE])
@pytest.mark.invariant("I5")
def test_a_sub_code_that_means_unknown_never_ends_a_trade(sub_code: str) -> None:
    answer = said("40004", sub_code)
    assert {created(answer).outcome, charged(answer).outcome, queried(answer).outcome} == {Outcome.UNKNOWN}
    assert not set(ends(answer)) & {EndState.ENDED, EndState.NOT_FOUND}


def test_a_closed_number_is_not_paid() -> None:
    answer = said("40004", "TRADE_HAS_CLOSE")
    assert [created(answer).outcome, charged(answer).outcome] == [Outcome.UNPAID_FINAL] * 2
    assert mapping.closed(answer, trade_no=TRADE_NO).state is EndState.ENDED
    assert mapping.cancelled(answer, trade_no=TRADE_NO).state is EndState.UNKNOWN


def test_a_number_that_nobody_scanned_is_not_found_and_ends_nothing() -> None:
    answer = said("40004", "TRADE_NOT_EXIST")
    result = queried(answer)
    assert (result.outcome, result.not_found) == (Outcome.UNPAID_OPEN, True)
    assert charged(answer).outcome is Outcome.UNKNOWN
    assert ends(answer) == [EndState.NOT_FOUND] * 2


@pytest.mark.parametrize(
    ("sub_code", "close", "cancel"),
    [
        ("SYSTEM_ERROR", EndState.RETRY, EndState.RETRY),
        ("TRADE_HAS_SUCCESS", EndState.ALREADY_PAID, EndState.UNKNOWN),
        ("TRADE_HAS_FINISHED", EndState.ALREADY_PAID, EndState.ALREADY_PAID),
        ("TRADE_STATUS_ERROR", EndState.UNKNOWN, EndState.UNKNOWN),
        ("TRADE_CANCEL_TIME_OUT", EndState.UNKNOWN, EndState.NOT_SUPPORTED),
        ("CANCEL_NOT_ALLOWED", EndState.UNKNOWN, EndState.NOT_SUPPORTED),
        ("SELLER_BALANCE_NOT_ENOUGH", EndState.UNKNOWN, EndState.RETRY),
        ("REASON_TRADE_BEEN_FREEZEN", EndState.UNKNOWN, EndState.RETRY),
    ],
)
def test_each_refused_end_has_its_meaning(sub_code: str, close: EndState, cancel: EndState) -> None:
    assert ends(said("40004", sub_code)) == [close, cancel]


@pytest.mark.parametrize(
    ("fields", "state", "returned"),
    [
        ({"retry_flag": "N", "action": "close"}, EndState.ENDED, False),
        ({"retry_flag": "N", "action": "refund"}, EndState.ENDED, True),
        ({"retry_flag": "Y"}, EndState.RETRY, None),
        ({"retry_flag": "Y", "action": "refund"}, EndState.RETRY, None),
        ({"retry_flag": "N"}, EndState.NOT_FOUND, None),
        ({}, EndState.NOT_FOUND, None),
        ({"retry_flag": "N", "trade_no": ""}, EndState.NOT_FOUND, None),
        ({"retry_flag": "N", "trade_no": "2026"}, EndState.ENDED, None),
        ({"retry_flag": "N", "action": "burn"}, EndState.UNKNOWN, None),
        ({"retry_flag": 1}, EndState.UNKNOWN, None),
    ],
)
def test_a_cancel_says_whether_money_went_back(
    *, fields: dict[str, Any], state: EndState, returned: bool | None
) -> None:
    result = mapping.cancelled(done(**fields), trade_no=TRADE_NO)
    assert (result.state, result.money_returned) == (state, returned)


def test_a_failed_cancel_that_asks_to_be_repeated_is_repeated() -> None:
    assert ends(said("40004", "NEVER_HEARD_OF", retry_flag="Y"))[1] is EndState.RETRY


@pytest.mark.parametrize("payload", [{}, {"code": 10000}, {"code": None}, {"code": ["10000"]}])
def test_an_answer_without_a_code_says_nothing(payload: dict[str, Any]) -> None:
    answer = Said(payload=payload, proof=Proof.VALID)
    assert {created(answer).outcome, charged(answer).outcome, queried(answer).outcome} == {Outcome.UNKNOWN}


def test_a_notice_of_a_payment_proves_it() -> None:
    kind, result = mapping.told(a_told())
    assert (kind, result.outcome, result.trade_no) == (NoticeKind.PAYMENT, Outcome.PAID, TRADE_NO)
    assert (result.order_minor, result.payer_minor, result.settle_minor, result.currency) == (1280, 1000, 1230, "CNY")
    assert (result.refunded_hint, result.payer_id) == (False, "2088000000000001")


@pytest.mark.parametrize("refund", [{"gmt_refund": "2026-01-01 09:00:00.120"}, {"refund_fee": "2.80"}])
def test_a_success_that_names_a_refund_is_a_refund_notice(refund: dict[str, str]) -> None:
    kind, result = mapping.told(a_told(**refund))
    assert (kind, result.outcome, result.refunded_hint) == (NoticeKind.REFUND, Outcome.PAID, True)
    assert (result.order_minor, result.refunded_in_full) == (1280, False)


def refunded(answer: Said) -> RefundOutcome:
    return mapping.refunded(answer, intent=a_refund_intent()).outcome


def refund_queried(answer: Said) -> RefundOutcome:
    return mapping.refund_queried(answer, ref=a_refund_ref()).outcome


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({"fund_change": "Y", "refund_fee": "2.80"}, RefundOutcome.SUCCEEDED),
        ({"fund_change": "Y", "refund_fee": "12.80"}, RefundOutcome.SUCCEEDED),
        # All that ever went back is less than what this call says it moved: it does not speak of this refund.
        ({"fund_change": "Y", "refund_fee": "2.79"}, RefundOutcome.PENDING),
        ({"fund_change": "N", "refund_fee": "2.80"}, RefundOutcome.PENDING),
        ({"refund_fee": "2.80"}, RefundOutcome.PENDING),
        ({"fund_change": "Y"}, RefundOutcome.UNKNOWN),
        ({"fund_change": "Y", "refund_fee": "2.80", "out_trade_no": "T2"}, RefundOutcome.UNKNOWN),
    ],
)
def test_a_refund_is_done_by_its_answer_only_when_it_moved_the_money(
    fields: dict[str, str], outcome: RefundOutcome
) -> None:
    assert refunded(done(**fields)) is outcome
    for proof in (Proof.UNSIGNED, Proof.WRONG):
        assert refunded(done(proof=proof, **fields)) is RefundOutcome.UNKNOWN


REFUND_REFUSED = [
    "SELLER_BALANCE_NOT_ENOUGH",
    "REASON_TRADE_REFUND_FEE_ERR",
    "REFUND_AMT_NOT_EQUAL_TOTAL",
    "TRADE_HAS_FINISHED",
    "TRADE_NOT_ALLOW_REFUND",
    "TRADE_STATUS_ERROR",
    "TRADE_NOT_EXIST",
    "INVALID_PARAMETER",
]
REFUND_UNKNOWN = ["SYSTEM_ERROR", "DISCORDANT_REPEAT_REQUEST", "REFUND_CHARGE_ERROR", "NEVER_HEARD_OF"]


@pytest.mark.invariant("I5")
def test_a_refund_is_refused_only_by_a_signed_refusal() -> None:
    for sub_code in REFUND_REFUSED:
        assert refunded(said("40004", sub_code)) is RefundOutcome.FAILED, sub_code
    for code in NOT_EXECUTED:
        assert refunded(said(code)) is RefundOutcome.FAILED, code
    for sub_code in REFUND_UNKNOWN:
        assert refunded(said("40004", sub_code)) is RefundOutcome.UNKNOWN, sub_code
    for code in ("10003", "20000", "40005", "99999"):
        assert refunded(said(code)) is RefundOutcome.UNKNOWN, code
    for proof in (Proof.UNSIGNED, Proof.WRONG):
        answers = [*(said("40004", sub_code, proof=proof) for sub_code in REFUND_REFUSED), said("40002", proof=proof)]
        assert {refunded(answer) for answer in answers} == {RefundOutcome.UNKNOWN}


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({"refund_status": "REFUND_SUCCESS", "refund_amount": "2.80"}, RefundOutcome.SUCCEEDED),
        ({"refund_status": "REFUND_PROCESSING", "refund_amount": "2.80"}, RefundOutcome.PENDING),
        ({"refund_status": "REFUND_SUCCESS"}, RefundOutcome.PENDING),
        ({"refund_status": ""}, RefundOutcome.NOT_FOUND),
        ({}, RefundOutcome.NOT_FOUND),
        ({"refund_status": "REFUND_SUCCESS", "refund_amount": "2.80", "out_request_no": "R2"}, RefundOutcome.UNKNOWN),
    ],
)
def test_a_refund_query_tells_of_our_refund_alone(fields: dict[str, str], outcome: RefundOutcome) -> None:
    answer = {"out_request_no": REFUND_NO} | fields
    assert refund_queried(done(**answer)) is outcome
    for proof in (Proof.UNSIGNED, Proof.WRONG):
        assert refund_queried(done(proof=proof, **answer)) is RefundOutcome.UNKNOWN


@pytest.mark.invariant("I5")
def test_a_refund_query_that_fails_says_nothing() -> None:
    answers = [said(code) for code in EVERY_CODE if code != "10000"]
    answers += [said("40004", sub_code) for sub_code in [*EVERY_SUB_CODE, *REFUND_REFUSED]]
    assert {refund_queried(answer) for answer in answers} == {RefundOutcome.UNKNOWN}


def test_a_refund_notice_tells_the_total_and_perhaps_which_refund() -> None:
    result = mapping.refund_told(a_told(refund_fee="5.00", gmt_refund="2026-01-01 09:00:00.120", out_biz_no=REFUND_NO))
    assert (result.outcome, result.refund_no) == (RefundOutcome.SUCCEEDED, REFUND_NO)
    assert (result.amount_minor, result.refunded_total_minor) == (None, 500)
    assert mapping.refund_told(a_told(refund_fee="5.00")).refund_no == ""


def test_a_refund_of_nothing_is_no_refund() -> None:
    assert mapping.told(a_told(refund_fee="0.00"))[0] is NoticeKind.PAYMENT


def test_a_notice_of_a_closed_trade_says_whether_it_had_been_paid() -> None:
    assert mapping.told(a_told(trade_status="TRADE_CLOSED", gmt_payment=""))[1].outcome is Outcome.UNPAID_FINAL
    result = mapping.told(a_told(trade_status="TRADE_CLOSED"))[1]
    assert (result.outcome, result.refunded_hint) == (Outcome.PAID, True)


def test_a_notice_with_an_amount_that_is_none_is_refused() -> None:
    with pytest.raises(BadAnswer):
        mapping.told(a_told(total_amount="12.80 元"))
