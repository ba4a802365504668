"""Each row of the tables of docs/protocols/wechat_v2_micropay.md section 3, and each code of theirs to each call."""

from datetime import UTC, datetime

import pytest

from budan.channels.flat_fields import Proof, Said
from budan.channels.wechat_v2 import mapping
from budan.channels.wechat_v2.mapping import OurRefund, Ours
from budan.core.evidence import Outcome
from budan.core.refund import RefundOutcome
from budan.ports.channel import EndState, PayResult
from unit.channels.builders import APPID, MCHID, REFUND_NO, TRADE_NO

OURS = Ours(trade_no=TRADE_NO, appid=APPID, mch_id=MCHID)
OUR_REFUND = OurRefund(refund_no=REFUND_NO, trade=OURS, not_found_codes=frozenset({"REFUNDNOTEXIST"}))
REFUSED = [
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
]
UNKNOWN = [
    "SYSTEMERROR",
    "BANKERROR",
    "LACK_PARAMS",
    "NOT_UTF8",
    "ORDERPAID",
    "OUT_TRADE_NO_USED",
    "ORDERNOTEXIST",
    "REVERSE_EXPIRE",
    "INVALID_TRANSACTIONID",
    "CERT_ERROR",
    "NEVER_HEARD_OF",
    "",
]
EVERY_CODE = [*REFUSED, *UNKNOWN, "USERPAYING"]


def answer(*, proof: Proof = Proof.VALID, **fields: str) -> Said:
    told = {"return_code": "SUCCESS", "result_code": "SUCCESS", "appid": APPID, "mch_id": MCHID, **fields}
    return Said(fields=told, proof=proof)


def failure(err_code: str, *, recall: str = "", proof: Proof = Proof.VALID) -> Said:
    return answer(proof=proof, result_code="FAIL", err_code=err_code, err_code_des="为什么", recall=recall)


def a_charge(**changes: str) -> Said:
    fields = {
        "out_trade_no": TRADE_NO,
        "total_fee": "1280",
        "cash_fee": "1200",
        "settlement_total_fee": "1250",
        "fee_type": "CNY",
        "transaction_id": "4200009999202601010000000002",
        "openid": "oTestOpenid000000000000001",
        "time_end": "20260101080003",
        **changes,
    }
    return answer(**fields)


def a_standing(trade_state: str, **changes: str) -> Said:
    return answer(**({"out_trade_no": TRADE_NO, "trade_state": trade_state, "total_fee": "1280"} | changes))


def charged(said: Said) -> PayResult:
    return mapping.charged(said, ours=OURS)


def queried(said: Said) -> PayResult:
    return mapping.queried(said, ours=OURS)


@pytest.mark.parametrize(
    ("trade_state", "outcome", "marks"),
    [
        ("SUCCESS", Outcome.PAID, ()),
        ("REFUND", Outcome.PAID, ("refunded_hint",)),
        ("NOTPAY", Outcome.UNPAID_OPEN, ()),
        ("USERPAYING", Outcome.UNPAID_OPEN, ("user_paying",)),
        ("ACCEPT", Outcome.UNPAID_OPEN, ("user_paying",)),
        ("CLOSED", Outcome.UNPAID_FINAL, ()),
        ("PAYERROR", Outcome.UNPAID_FINAL, ()),
        ("REVOKED", Outcome.UNPAID_FINAL, ("reversed_here",)),
        ("NEVER_HEARD_OF", Outcome.UNKNOWN, ()),
    ],
)
def test_each_trade_state_has_one_meaning(trade_state: str, outcome: Outcome, marks: tuple[str, ...]) -> None:
    result = queried(a_standing(trade_state))
    assert (result.outcome, result.order_minor, result.code) == (outcome, 1280, trade_state)
    shown = {mark for mark in ("user_paying", "reversed_here", "refunded_hint") if getattr(result, mark)}
    assert shown == set(marks)


def test_a_charge_taken_is_paid_with_what_the_channel_says_of_it() -> None:
    result = charged(a_charge())
    assert (result.outcome, result.order_minor, result.payer_minor, result.settle_minor) == (
        Outcome.PAID,
        1280,
        1200,
        1250,
    )
    assert (result.currency, result.wallet, result.payer_id) == ("CNY", "wechat", "oTestOpenid000000000000001")
    assert result.paid_at == datetime(2026, 1, 1, 0, 0, 3, tzinfo=UTC)


@pytest.mark.invariant("I4", "I5")
@pytest.mark.parametrize(
    "changes",
    [
        {"out_trade_no": "T20260101000002"},
        {"mch_id": "1900000110"},
        {"appid": "wx0000000000000002"},
        {"appid": ""},
        {"total_fee": ""},
        {"total_fee": "12.80"},
        {"return_code": "FAIL"},
        {"return_code": ""},
        {"result_code": ""},
    ],
)
def test_what_is_not_wholly_about_our_payment_pays_nothing(changes: dict[str, str]) -> None:
    assert charged(a_charge(**changes)).outcome is Outcome.UNKNOWN
    assert queried(a_standing("SUCCESS", **changes)).outcome is Outcome.UNKNOWN


@pytest.mark.invariant("I4")
def test_a_querys_answer_is_no_answer_to_a_charge() -> None:
    """It holds the same fields of a trade whose money went back since."""
    assert charged(a_charge(trade_state="REVOKED")).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("code", EVERY_CODE)
def test_every_code_of_a_charge_has_its_outcome(code: str) -> None:
    result = charged(failure(code))
    expected = Outcome.UNPAID_FINAL if code in REFUSED else Outcome.UNKNOWN
    if code == "USERPAYING":
        expected = Outcome.UNPAID_OPEN
    assert (result.outcome, result.code, result.message) == (expected, code, "为什么")
    assert result.user_paying is (code == "USERPAYING")
    assert not result.not_found


@pytest.mark.parametrize("code", EVERY_CODE)
def test_every_code_of_a_query_says_nothing_but_that_there_is_no_trade(code: str) -> None:
    result, is_absent = queried(failure(code)), code == "ORDERNOTEXIST"
    assert (result.outcome, result.not_found) == (Outcome.UNPAID_OPEN if is_absent else Outcome.UNKNOWN, is_absent)
    assert result.busy is (code in {"SYSTEMERROR", "BANKERROR"})


@pytest.mark.invariant("I5")
@pytest.mark.parametrize("proof", [Proof.UNSIGNED, Proof.WRONG])
@pytest.mark.parametrize("code", EVERY_CODE)
def test_no_code_without_a_valid_signature_ends_or_pays_anything(code: str, proof: Proof) -> None:
    said = failure(code, proof=proof)
    results = [charged(said), queried(said)]
    assert {result.outcome for result in results} == {Outcome.UNKNOWN}
    assert not any(result.not_found or result.user_paying for result in results)
    assert mapping.reversed_(said, ours=OURS).state is EndState.UNKNOWN
    assert mapping.refunded(said, ours=OUR_REFUND).outcome is RefundOutcome.UNKNOWN
    assert mapping.refund_queried(said, ours=OUR_REFUND).outcome is RefundOutcome.UNKNOWN


@pytest.mark.invariant("I5")
@pytest.mark.parametrize("proof", [Proof.VALID, Proof.UNSIGNED])
def test_a_call_that_was_not_understood_says_nothing_of_a_charge(proof: Proof) -> None:
    said = Said(fields={"return_code": "FAIL", "return_msg": "签名错误"}, proof=proof)
    assert charged(said).outcome is Outcome.UNKNOWN
    assert (queried(said).outcome, queried(said).busy) == (Outcome.UNKNOWN, True)
    assert mapping.reversed_(said, ours=OURS).state is EndState.RETRY
    assert mapping.refunded(said, ours=OUR_REFUND).outcome is RefundOutcome.UNKNOWN


@pytest.mark.parametrize("code", EVERY_CODE)
def test_every_code_of_a_reverse_has_its_state(code: str) -> None:
    states = dict.fromkeys(["SYSTEMERROR", "BANKERROR", "USERPAYING"], EndState.RETRY)
    states |= {"ORDERNOTEXIST": EndState.NOT_FOUND, "REVERSE_EXPIRE": EndState.NOT_SUPPORTED}
    assert mapping.reversed_(failure(code), ours=OURS).state is states.get(code, EndState.UNKNOWN)
    assert mapping.reversed_(failure(code, recall="Y"), ours=OURS).state is EndState.RETRY


def test_a_reverse_is_done_when_nothing_is_to_be_recalled() -> None:
    done = mapping.reversed_(answer(recall="N"), ours=OURS)
    assert (done.state, done.money_returned) == (EndState.ENDED, None)
    assert mapping.reversed_(answer(recall="Y"), ours=OURS).state is EndState.RETRY
    for other in (a_charge(), a_standing("SUCCESS"), answer(refund_id="5030"), answer(mch_id="1900000110")):
        assert mapping.reversed_(other, ours=OURS).state is EndState.UNKNOWN


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("SUCCESS", RefundOutcome.SUCCEEDED),
        ("PROCESSING", RefundOutcome.PENDING),
        ("REFUNDCLOSE", RefundOutcome.FAILED),
        ("FAIL", RefundOutcome.FAILED),
        ("CHANGE", RefundOutcome.ABNORMAL),
        ("NOTSURE", RefundOutcome.UNKNOWN),
        ("NEVER_HEARD_OF", RefundOutcome.UNKNOWN),
    ],
)
def test_each_refund_status_has_one_meaning(status: str, outcome: RefundOutcome) -> None:
    """The refund is found by its number, wherever in the list it stands."""
    others = {"out_refund_no_0": "R2", "refund_fee_0": "1", "refund_status_0": "SUCCESS"}
    mine = {"out_refund_no_1": REFUND_NO, "refund_fee_1": "280", "refund_status_1": status}
    result = mapping.refund_queried(answer(refund_count="2", **others, **mine), ours=OUR_REFUND)
    assert (result.outcome, result.amount_minor) == (outcome, 280)
    # A refund of another trade of the account that has the same number, made in a portal, is none of ours.
    foreign = answer(out_trade_no="T2", refund_count="2", **others, **mine)
    assert mapping.refund_queried(foreign, ours=OUR_REFUND).outcome is RefundOutcome.UNKNOWN
    assert mapping.refund_queried(answer(refund_count="1", **others), ours=OUR_REFUND).outcome is RefundOutcome.UNKNOWN


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        *((code, RefundOutcome.FAILED) for code in ("TRADE_OVERDUE", "ERROR", "USER_ACCOUNT_ABNORMAL", "NOTENOUGH")),
        *((code, RefundOutcome.FAILED) for code in ("INVALID_TRANSACTIONID", "ORDERNOTEXIST", "PARAM_ERROR")),
        *((code, RefundOutcome.UNKNOWN) for code in ("SYSTEMERROR", "BIZERR_NEED_RETRY", "FREQUENCY_LIMITED", "")),
        *((code, RefundOutcome.UNKNOWN) for code in ("INVALID_REQ_TOO_MUCH", "CERT_ERROR", "SIGNERROR")),
    ],
)
def test_only_a_listed_code_refuses_a_refund(code: str, outcome: RefundOutcome) -> None:
    assert mapping.refunded(failure(code), ours=OUR_REFUND).outcome is outcome


def test_a_refund_that_was_accepted_is_not_done_and_one_of_another_number_is_not_ours() -> None:
    fields = {"out_trade_no": TRADE_NO, "out_refund_no": REFUND_NO, "refund_fee": "280"}
    result = mapping.refunded(answer(**fields), ours=OUR_REFUND)
    assert (result.outcome, result.amount_minor, result.currency) == (RefundOutcome.PENDING, 280, "CNY")
    for changes in ({"out_refund_no": "R2"}, {"out_trade_no": "T2"}, {"refund_fee": ""}):
        assert mapping.refunded(answer(**(fields | changes)), ours=OUR_REFUND).outcome is RefundOutcome.UNKNOWN


def test_only_the_accounts_codes_say_that_there_is_no_such_refund() -> None:
    assert mapping.refund_queried(failure("REFUNDNOTEXIST"), ours=OUR_REFUND).outcome is RefundOutcome.NOT_FOUND
    assert mapping.refund_queried(failure("ORDERNOTEXIST"), ours=OUR_REFUND).outcome is RefundOutcome.UNKNOWN
