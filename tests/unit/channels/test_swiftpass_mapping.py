"""Each row of the tables of docs/protocols/swiftpass.md section 3, and each code of theirs to each call."""

from datetime import UTC, datetime

import pytest

from budan.channels.flat_fields import Proof, Said
from budan.channels.swiftpass import mapping
from budan.channels.swiftpass.mapping import OurRefund, Ours
from budan.core.evidence import Outcome
from budan.core.refund import RefundOutcome
from budan.ports.channel import EndState, Method, PayResult
from budan.wire.errors import BadAnswer
from unit.channels.builders import REFUND_NO, SWIFTPASS_MCH_ID, TRADE_NO

OURS = Ours(trade_no=TRADE_NO, mch_id=SWIFTPASS_MCH_ID, not_found_codes=frozenset({"ORDERNOTEXIST"}))
OUR_REFUND = OurRefund(
    refund_no=REFUND_NO,
    trade_no=TRADE_NO,
    mch_id=SWIFTPASS_MCH_ID,
    not_found_codes=frozenset({"REFUNDNOTEXIST"}),
)
DEFINITE = [
    "AUTHCODEEXPIRE",
    "AUTH_CODE_INVALID",
    "NOTENOUGH",
    "ACQ.PAYMENT_AUTH_CODE_INVALID",
    "ACQ.BUYER_BALANCE_NOT_ENOUGH",
    "66227006",
    "66227008",
]
IN_PROGRESS = ["USERPAYING", "10003", "1003", "66227005"]
SYSTEM_ERRORS = ["SYSTEMERROR", "ACQ.SYSTEM_ERROR"]
ENDED = ["ORDERCLOSED", "ACQ.TRADE_HAS_CLOSE"]
PAID_BEFORE = ["ORDERPAID", "ACQ.TRADE_HAS_SUCCESS"]
TOO_LATE = ["REVERSE_EXPIRE", "ACQ.TRADE_CANCEL_TIME_OUT"]
NOWHERE_LISTED = ["BANKERROR", "ACQ.NEVER_HEARD_OF", "99999", ""]
EVERY_CODE = [
    *DEFINITE,
    *IN_PROGRESS,
    *SYSTEM_ERRORS,
    *ENDED,
    *PAID_BEFORE,
    *TOO_LATE,
    *NOWHERE_LISTED,
    "ORDERNOTEXIST",
]
NEED_QUERY = ["Y", "N", ""]


def answer(*, proof: Proof = Proof.VALID, **fields: str) -> Said:
    told = {"status": "0", "result_code": "0", "mch_id": SWIFTPASS_MCH_ID, "sign_type": "MD5", **fields}
    return Said(fields=told, proof=proof)


def failure(err_code: str, *, need_query: str = "", proof: Proof = Proof.VALID) -> Said:
    return answer(proof=proof, result_code="1", err_code=err_code, err_msg="为什么", need_query=need_query)


def a_charge(*, proof: Proof = Proof.VALID, **changes: str) -> Said:
    fields = {
        "out_trade_no": TRADE_NO,
        "pay_result": "0",
        "total_fee": "1280",
        "fee_type": "CNY",
        "trade_type": "pay.alipay.micropay",
        "transaction_id": "755000000001202601011234567890",
        "out_transaction_id": "2026010122001400000500000006",
        "openid": "2088000000000001",
        "time_end": "20260101080003",
        **changes,
    }
    return answer(proof=proof, **fields)


def a_standing(trade_state: str, **changes: str) -> Said:
    return answer(**({"out_trade_no": TRADE_NO, "trade_state": trade_state, "total_fee": "1280"} | changes))


def created(said: Said) -> PayResult:
    return mapping.placed(said, ours=OURS, method=Method.NATIVE)[0]


def charged(said: Said) -> PayResult:
    return mapping.charged(said, ours=OURS)


def queried(said: Said, *, ours: Ours = OURS) -> PayResult:
    return mapping.queried(said, ours=ours)


@pytest.mark.parametrize(
    ("trade_state", "outcome", "marks"),
    [
        ("SUCCESS", Outcome.PAID, ()),
        ("REFUND", Outcome.PAID, ("refunded_hint",)),
        ("NOTPAY", Outcome.UNPAID_OPEN, ()),
        ("USERPAYING", Outcome.UNPAID_OPEN, ("user_paying",)),
        ("CLOSED", Outcome.UNPAID_FINAL, ()),
        ("REVERSE", Outcome.UNPAID_FINAL, ("reversed_here",)),
        ("REVOKED", Outcome.UNPAID_FINAL, ("reversed_here",)),
        ("PAYERROR", Outcome.UNPAID_OPEN, ()),
        ("NEVER_HEARD_OF", Outcome.UNKNOWN, ()),
    ],
)
def test_each_trade_state_has_one_meaning(trade_state: str, outcome: Outcome, marks: tuple[str, ...]) -> None:
    result = queried(a_standing(trade_state))
    assert (result.outcome, result.order_minor, result.code) == (outcome, 1280, trade_state)
    shown = {mark for mark in ("user_paying", "reversed_here", "refunded_hint") if getattr(result, mark)}
    assert shown == set(marks)


def test_what_a_failed_payment_means_is_the_accounts_setting() -> None:
    """Unconfirmed: the safe reading waits for the reverse, one who knows may have it end the trade."""
    sure = Ours(trade_no=TRADE_NO, mch_id=SWIFTPASS_MCH_ID, payerror_ends=True)
    assert queried(a_standing("PAYERROR"), ours=sure).outcome is Outcome.UNPAID_FINAL


def test_a_charge_taken_is_paid_with_what_the_channel_says_of_it() -> None:
    result = charged(a_charge(coupon_fee="80"))
    assert (result.outcome, result.order_minor, result.payer_minor) == (Outcome.PAID, 1280, 1200)
    assert (result.currency, result.wallet, result.payer_id) == ("CNY", "alipay", "2088000000000001")
    assert result.channel_reference == "755000000001202601011234567890"
    assert result.wallet_reference == "2026010122001400000500000006"
    assert result.paid_at == datetime(2026, 1, 1, 0, 0, 3, tzinfo=UTC)
    assert charged(a_charge(cash_fee="1000", coupon_fee="80")).payer_minor == 1000
    assert charged(a_charge(coupon_fee="1281")).payer_minor is None
    assert charged(a_charge(time_end="some day")).paid_at is None
    assert charged(a_charge(fee_type="HKD")).currency == "HKD"


@pytest.mark.parametrize(
    ("trade_type", "wallet"),
    [
        ("pay.weixin.native", "wechat"),
        ("pay.alipay.jspay", "alipay"),
        ("pay.unionpay.micropay", "unionpay"),
        ("pay.bank.x", None),
        ("", None),
    ],
)
def test_the_wallet_is_read_from_the_trade_type(trade_type: str, wallet: str | None) -> None:
    assert charged(a_charge(trade_type=trade_type)).wallet == wallet


@pytest.mark.invariant("I4", "I5")
@pytest.mark.parametrize(
    "changes",
    [
        {"out_trade_no": "T20260101000002"},
        {"mch_id": "755000000002"},
        {"mch_id": ""},
        {"total_fee": ""},
        {"total_fee": "12.80"},
        {"pay_result": ""},
        {"pay_result": "1"},
        {"status": "1"},
        {"status": ""},
        {"result_code": ""},
    ],
)
def test_what_is_not_wholly_about_our_payment_pays_nothing(changes: dict[str, str]) -> None:
    assert charged(a_charge(**changes)).outcome is Outcome.UNKNOWN
    standing = {name: value for name, value in changes.items() if name != "pay_result"}
    if standing:
        assert queried(a_standing("SUCCESS", **standing)).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("need_query", NEED_QUERY)
@pytest.mark.parametrize("code", EVERY_CODE)
def test_every_code_of_a_charge_has_its_outcome(code: str, need_query: str) -> None:
    """need_query wins over a code that nobody lists; a listed end is one unless the channel itself wants to be asked."""
    result = charged(failure(code, need_query=need_query))
    if code in DEFINITE:
        expected = Outcome.UNKNOWN if need_query == "Y" else Outcome.UNPAID_FINAL
    elif code in IN_PROGRESS:
        expected = Outcome.UNKNOWN if need_query == "N" else Outcome.UNPAID_OPEN
    elif code in [*SYSTEM_ERRORS, *PAID_BEFORE, *TOO_LATE, "ORDERNOTEXIST"]:
        expected = Outcome.UNKNOWN
    else:
        expected = Outcome.UNPAID_FINAL if need_query == "N" else Outcome.UNKNOWN
    assert result.outcome is expected
    assert result.user_paying is (expected is Outcome.UNPAID_OPEN)
    assert (result.code, result.message, result.not_found) == (code, "为什么", False)


@pytest.mark.invariant("I5")
@pytest.mark.parametrize("proof", [Proof.UNSIGNED, Proof.WRONG])
@pytest.mark.parametrize("need_query", NEED_QUERY)
@pytest.mark.parametrize("code", EVERY_CODE)
def test_no_code_without_a_valid_signature_ends_or_pays_anything(code: str, need_query: str, proof: Proof) -> None:
    said = failure(code, need_query=need_query, proof=proof)
    results = [created(said), charged(said), queried(said)]
    assert {result.outcome for result in results} == {Outcome.UNKNOWN}
    assert not any(result.not_found or result.user_paying for result in results)
    assert mapping.closed(said, ours=OURS).state is EndState.UNKNOWN
    assert mapping.reversed_(said, ours=OURS).state is EndState.UNKNOWN
    assert mapping.refunded(said, ours=OUR_REFUND).outcome is RefundOutcome.UNKNOWN
    assert mapping.refund_queried(said, ours=OUR_REFUND).outcome is RefundOutcome.UNKNOWN


@pytest.mark.invariant("I5")
@pytest.mark.parametrize("proof", [Proof.VALID, Proof.UNSIGNED])
@pytest.mark.parametrize("status", ["400", "500", "1", "x"])
def test_a_message_that_was_not_understood_says_nothing_of_a_charge(status: str, proof: Proof) -> None:
    """A gateway may answer 500 after the wallet took the money."""
    said = Said(fields={"status": status, "message": "System error", "need_query": "N"}, proof=proof)
    assert charged(said).outcome is Outcome.UNKNOWN
    assert (queried(said).outcome, queried(said).busy) == (Outcome.UNKNOWN, True)
    assert (created(said).outcome, created(said).sent) == (Outcome.UNPAID_OPEN, True)
    assert mapping.closed(said, ours=OURS).state is EndState.RETRY
    assert mapping.reversed_(said, ours=OURS).state is EndState.RETRY
    assert mapping.refunded(said, ours=OUR_REFUND).outcome is RefundOutcome.UNKNOWN
    assert created(said).code == f"status_{status}"


@pytest.mark.parametrize("code", EVERY_CODE)
def test_every_code_of_a_placement_and_a_query_has_its_outcome(code: str) -> None:
    """No placement that was refused ends its trade: an earlier copy of it may have been taken."""
    said = failure(code)
    unclear = code in [*IN_PROGRESS, *PAID_BEFORE]
    assert created(said).outcome is (Outcome.UNKNOWN if unclear else Outcome.UNPAID_OPEN)
    result = queried(said)
    is_absent = code == "ORDERNOTEXIST"
    assert (result.outcome, result.not_found) == (Outcome.UNPAID_OPEN if is_absent else Outcome.UNKNOWN, is_absent)
    assert result.busy is (code in SYSTEM_ERRORS)


@pytest.mark.parametrize("code", EVERY_CODE)
def test_every_code_of_an_end_has_its_state(code: str) -> None:
    closed = dict.fromkeys(ENDED, EndState.ENDED)
    closed |= dict.fromkeys(PAID_BEFORE, EndState.ALREADY_PAID)
    closed |= dict.fromkeys(SYSTEM_ERRORS, EndState.RETRY)
    closed |= {"ORDERNOTEXIST": EndState.NOT_FOUND}
    assert mapping.closed(failure(code), ours=OURS).state is closed.get(code, EndState.UNKNOWN)
    reversed_ = dict.fromkeys(TOO_LATE, EndState.NOT_SUPPORTED)
    reversed_ |= dict.fromkeys([*SYSTEM_ERRORS, *IN_PROGRESS], EndState.RETRY)
    reversed_ |= {"ORDERNOTEXIST": EndState.NOT_FOUND}
    assert mapping.reversed_(failure(code), ours=OURS).state is reversed_.get(code, EndState.UNKNOWN)


def test_an_end_says_what_it_knows_of_the_money() -> None:
    closed, reversed_ = mapping.closed(answer(), ours=OURS), mapping.reversed_(answer(), ours=OURS)
    assert (closed.state, closed.money_returned) == (EndState.ENDED, False)
    assert (reversed_.state, reversed_.money_returned) == (EndState.ENDED, None)


@pytest.mark.invariant("I4")
@pytest.mark.parametrize(
    "said",
    [
        a_charge(),
        a_standing("SUCCESS"),
        answer(code_url="https://qr"),
        answer(pay_info="{}"),
        answer(out_trade_no="T20260101000002"),
        answer(refund_id="1"),
        answer(mch_id="755000000002"),
    ],
)
def test_the_answer_to_another_call_ends_nothing(said: Said) -> None:
    """The answer to an end holds no more than "yes": one that holds more was meant for another call."""
    assert mapping.closed(said, ours=OURS).state is EndState.UNKNOWN
    assert mapping.reversed_(said, ours=OURS).state is EndState.UNKNOWN


def test_a_placement_gives_the_payer_a_code_or_parameters() -> None:
    result, action = mapping.placed(answer(code_url="https://qr"), ours=OURS, method=Method.NATIVE)
    assert (result.outcome, action and action.qr_text) == (Outcome.UNPAID_OPEN, "https://qr")
    said = answer(pay_info='{"appId":"wx1","package":"prepay_id=1"}')
    result, action = mapping.placed(said, ours=OURS, method=Method.JSAPI)
    assert action is not None
    assert action.jsapi_parameters == {"appId": "wx1", "package": "prepay_id=1"}


@pytest.mark.parametrize("fields", [{}, {"pay_info": "x"}, {"pay_info": "[]"}, {"pay_info": "{}"}])
@pytest.mark.parametrize("method", [Method.NATIVE, Method.JSAPI])
def test_a_placement_without_anything_for_the_payer_is_unknown(method: Method, fields: dict[str, str]) -> None:
    result, action = mapping.placed(answer(**fields), ours=OURS, method=method)
    assert (result.outcome, action) == (Outcome.UNKNOWN, None)


def test_a_notice_tells_of_a_payment_and_of_nothing_else() -> None:
    assert mapping.told(a_charge().fields).outcome is Outcome.PAID
    for changes in ({"pay_result": "1"}, {"result_code": "1"}, {"status": "1"}):
        assert mapping.told(a_charge(**changes).fields).outcome is Outcome.UNKNOWN
    for name in ("out_trade_no", "total_fee", "pay_result", "status"):
        with pytest.raises(BadAnswer):
            mapping.told(a_charge(**{name: ""}).fields)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("SUCCESS", RefundOutcome.SUCCEEDED),
        ("PROCESSING", RefundOutcome.PENDING),
        ("FAIL", RefundOutcome.FAILED),
        ("CHANGE", RefundOutcome.ABNORMAL),
        ("NOTSURE", RefundOutcome.UNKNOWN),
        ("NEVER_HEARD_OF", RefundOutcome.UNKNOWN),
    ],
)
def test_each_refund_status_has_one_meaning(status: str, outcome: RefundOutcome) -> None:
    """The refund is found by its number, wherever in the list it stands."""
    others = {"out_refund_no_0": "R2", "refund_fee_0": "1", "refund_status_0": "SUCCESS"}
    mine = {
        "out_refund_no_1": REFUND_NO,
        "refund_id_1": "7551",
        "refund_fee_1": "280",
        "refund_status_1": status,
        "refund_time_1": "20260101090001",
    }
    result = mapping.refund_queried(answer(out_trade_no=TRADE_NO, refund_count="2", **others, **mine), ours=OUR_REFUND)
    assert (result.outcome, result.amount_minor, result.channel_reference) == (outcome, 280, "7551")
    assert result.refunded_at == datetime(2026, 1, 1, 1, 0, 1, tzinfo=UTC)
    # "Not sure" asks for the same number again; what we never heard of asks for nothing.
    assert result.to_repeat is (status == "NOTSURE")
    # A refund of another trade of the account that has the same number, made in a portal, is none of ours.
    foreign = answer(out_trade_no="T2", refund_count="2", **others, **mine)
    assert mapping.refund_queried(foreign, ours=OUR_REFUND).outcome is RefundOutcome.UNKNOWN


REFUND_REFUSALS = [
    "TRADE_OVERDUE",
    "ERROR",
    "USER_ACCOUNT_ABNORMAL",
    "INVALID_TRANSACTIONID",
    "NOTENOUGH",
    "ORDERNOTEXIST",
    "PARAM_ERROR",
]


@pytest.mark.parametrize(
    "code",
    [*REFUND_REFUSALS, *SYSTEM_ERRORS, "BIZERR_NEED_RETRY", "FREQUENCY_LIMITED", "INVALID_REQ_TOO_MUCH", ""],
)
def test_only_a_listed_code_refuses_a_refund(code: str) -> None:
    """What says "later" or says nothing must not free the money that is reserved for it."""
    expected = RefundOutcome.FAILED if code in REFUND_REFUSALS else RefundOutcome.UNKNOWN
    assert mapping.refunded(failure(code), ours=OUR_REFUND).outcome is expected


def test_a_refund_that_was_accepted_is_not_done() -> None:
    said = answer(out_trade_no=TRADE_NO, out_refund_no=REFUND_NO, refund_fee="280", refund_id="7551")
    result = mapping.refunded(said, ours=OUR_REFUND)
    assert (result.outcome, result.amount_minor, result.currency) == (RefundOutcome.PENDING, 280, "CNY")


def test_only_the_accounts_codes_say_that_there_is_no_such_refund() -> None:
    assert mapping.refund_queried(failure("REFUNDNOTEXIST"), ours=OUR_REFUND).outcome is RefundOutcome.NOT_FOUND
    assert mapping.refund_queried(failure("ORDERNOTEXIST"), ours=OUR_REFUND).outcome is RefundOutcome.UNKNOWN
