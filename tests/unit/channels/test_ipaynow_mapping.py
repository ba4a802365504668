from itertools import product
from typing import Any

import pytest

from budan.channels.ipaynow import mapping
from budan.channels.ipaynow.mapping import GoingBack, Proof, Said
from budan.core.evidence import Outcome
from budan.core.refund import RefundOutcome
from budan.ports.channel import EndState, PayResult
from budan.wire.errors import BadAnswer
from unit.channels.builders import IPAYNOW_APP_ID, REFUND_NO, TRADE_NO, a_refund_intent, a_refund_ref

# The tables of docs/protocols/ipaynow.md section 3, and what stands in none of them.
RESPONSE_CODES = ["A001", "A002", "A003", "R000", "", "B001"]
STATUSES = ["A001", "A002", "A003", "A004", "A005", "A006", "A00I", "", "B001"]
UNCLEAR_STATUSES = ["A003", "A004", "B001"]
ENDED_STATUSES = ["A002", "A005", "A006"]


def said(*, proof: Proof = Proof.VALID, asked: str = "MQ002", **fields: str) -> Said:
    known = {"appId": IPAYNOW_APP_ID, "mhtOrderNo": TRADE_NO, "funcode": asked}
    return Said(funcode=asked, fields=known | fields, proof=proof)


def a_payment(**changes: str) -> Said:
    fields = {
        "responseCode": "A001",
        "transStatus": "A001",
        "mhtOrderAmt": "1280",
        "oriMhtOrderAmt": "1280",
        "discountAmt": "0",
        "nowPayOrderNo": "200301202601010800001234567",
        "channelOrderNo": "4200009999202601010000000005",
        "payConsumerId": "oTest",
        "payChannelType": "13",
        "payTime": "20260101080003",
    }
    return said(**(fields | changes))


def placed(answer: Said) -> tuple[PayResult, str]:
    return mapping.placed(answer, trade_no=TRADE_NO, app_id=IPAYNOW_APP_ID)


def charged(answer: Said) -> PayResult:
    return mapping.charged(answer, trade_no=TRADE_NO, app_id=IPAYNOW_APP_ID)


def queried(answer: Said, *, refused_is_not_found: bool = True) -> PayResult:
    return mapping.queried(answer, trade_no=TRADE_NO, app_id=IPAYNOW_APP_ID, refused_is_not_found=refused_is_not_found)


def gone_back(answer: Said) -> GoingBack:
    return mapping.going_back(answer, number=REFUND_NO, trade_no=TRADE_NO, app_id=IPAYNOW_APP_ID)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("A001", Outcome.PAID),
        ("A002", Outcome.UNPAID_FINAL),
        ("A005", Outcome.UNPAID_FINAL),
        ("A006", Outcome.UNPAID_FINAL),
        ("A00I", Outcome.UNPAID_OPEN),
        ("A004", Outcome.UNKNOWN),
        ("A003", Outcome.UNKNOWN),
        ("B001", Outcome.UNKNOWN),
    ],
)
def test_every_status_of_the_table_means_what_the_table_says(status: str, outcome: Outcome) -> None:
    answer = a_payment(transStatus=status)
    assert charged(answer).outcome is outcome
    assert queried(answer).outcome is outcome
    # The query's answer is the order again; whether it has a responseCode no document says.
    assert queried(a_payment(transStatus=status, responseCode="")).outcome is outcome
    assert mapping.told(answer).outcome is outcome


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("A001", Outcome.UNPAID_OPEN),
        ("A002", Outcome.UNPAID_OPEN),
        ("A003", Outcome.UNKNOWN),
        ("", Outcome.UNKNOWN),
        ("B001", Outcome.UNKNOWN),
    ],
)
def test_a_placement_is_made_refused_or_unknown(code: str, outcome: Outcome) -> None:
    result, tn = placed(said(responseCode=code, tn="weixin"))
    assert result.outcome is outcome
    assert tn == ("weixin" if code == "A001" else "")


@pytest.mark.invariant("I5")
@pytest.mark.parametrize(("code", "status"), list(product(RESPONSE_CODES, STATUSES)))
def test_only_a_call_that_worked_and_a_definite_status_end_a_trade(code: str, status: str) -> None:
    """What means unknown, in either place, neither pays nor ends anything."""
    answer = a_payment(responseCode=code, transStatus=status)
    for result in (charged(answer), queried(answer), placed(answer)[0]):
        if result.outcome in {Outcome.PAID, Outcome.UNPAID_FINAL}:
            assert code in {"A001", ""}
            assert status in {"A001", *ENDED_STATUSES}
    if status in UNCLEAR_STATUSES or code in {"A003", "B001"}:
        assert charged(answer).outcome is Outcome.UNKNOWN
        assert queried(answer).outcome is Outcome.UNKNOWN
    if code != "A001":
        assert charged(answer).outcome not in {Outcome.PAID, Outcome.UNPAID_FINAL}


@pytest.mark.invariant("I5")
@pytest.mark.parametrize("status", STATUSES)
def test_a_refused_charge_is_asked_about_whatever_else_it_says(status: str) -> None:
    """A number used twice is refused as well, and its first use may be paid."""
    result = charged(a_payment(responseCode="A002", transStatus=status))
    assert (result.outcome, result.answered) == (Outcome.UNKNOWN, True)


@pytest.mark.parametrize("status", ["A003", "A004"])
def test_a_channel_that_says_it_does_not_know_yet_is_well(status: str) -> None:
    """Five payers who type their passwords must not open the breaker."""
    assert charged(a_payment(transStatus=status)).answered
    assert queried(a_payment(transStatus=status)).answered
    assert not charged(a_payment(responseCode="A003", transStatus="")).answered


@pytest.mark.parametrize(
    "fields",
    [
        {"responseCode": "A002", "transStatus": ""},
        {"responseCode": "A002", "transStatus": "A002"},
        {"responseCode": "A001", "transStatus": ""},
    ],
)
def test_a_number_that_was_never_accepted_is_not_found_as_far_as_the_setting_says(fields: dict[str, str]) -> None:
    found = queried(said(**fields))
    assert (found.outcome, found.not_found) == (Outcome.UNPAID_OPEN, True)
    unsure = queried(said(**fields), refused_is_not_found=False)
    assert (unsure.outcome, unsure.not_found) == (Outcome.UNKNOWN, False)


@pytest.mark.invariant("I4", "I5")
@pytest.mark.parametrize("proof", [Proof.UNSIGNED, Proof.WRONG])
def test_nothing_that_is_not_signed_pays_or_ends(proof: Proof) -> None:
    for code, status in product(RESPONSE_CODES, STATUSES):
        answer = said(proof=proof, **a_payment(responseCode=code, transStatus=status).fields)
        assert charged(answer).outcome is Outcome.UNKNOWN
        assert queried(answer).outcome is Outcome.UNKNOWN
        result, tn = placed(answer)
        assert result.outcome in {Outcome.UNKNOWN, Outcome.UNPAID_OPEN}
        assert tn == ""
        assert gone_back(said(proof=proof, responseCode=code, tradeStatus=status)) is GoingBack.UNCLEAR


@pytest.mark.invariant("I4")
@pytest.mark.parametrize(
    "changes",
    [
        {"mhtOrderNo": "T20260101000002"},
        {"mhtOrderNo": ""},
        {"appId": "1400000000000002"},
        {"appId": ""},
        {"funcode": "R001"},
    ],
)
def test_an_answer_about_something_else_says_nothing_of_our_trade(changes: dict[str, str]) -> None:
    for code, status in product(RESPONSE_CODES, STATUSES):
        answer = a_payment(responseCode=code, transStatus=status, **changes)
        assert charged(answer).outcome is Outcome.UNKNOWN
        assert queried(answer).outcome is Outcome.UNKNOWN
        assert placed(answer)[1] == ""


def test_a_payment_is_read_whole() -> None:
    result = charged(a_payment())
    assert (result.order_minor, result.payer_minor, result.currency) == (1280, 1280, "CNY")
    assert (result.channel_reference, result.wallet_reference) == (
        "200301202601010800001234567",
        "4200009999202601010000000005",
    )
    assert (result.payer_id, result.wallet) == ("oTest", "wechat")
    assert result.paid_at is not None
    assert result.paid_at.isoformat() == "2026-01-01T00:00:03+00:00"


@pytest.mark.parametrize(
    ("amounts", "order_minor", "payer_minor"),
    [
        ({"mhtOrderAmt": "1280", "oriMhtOrderAmt": "", "discountAmt": ""}, 1280, 1280),
        ({"mhtOrderAmt": "1180", "oriMhtOrderAmt": "1280", "discountAmt": "100"}, 1280, 1180),
        ({"mhtOrderAmt": "1280", "oriMhtOrderAmt": "1280", "discountAmt": "100"}, 1280, 1180),
        # What does not add up is passed on as iPaynow's amount of the order: the door compares it.
        ({"mhtOrderAmt": "1", "oriMhtOrderAmt": "1280", "discountAmt": "0"}, 1, 1),
        ({"mhtOrderAmt": "1180", "oriMhtOrderAmt": "1280", "discountAmt": "50"}, 1180, 1180),
        ({"mhtOrderAmt": "5", "oriMhtOrderAmt": "5", "discountAmt": "9"}, 5, 5),
    ],
)
def test_a_discount_is_part_of_the_order_and_not_of_what_the_payer_gave(
    amounts: dict[str, str], order_minor: int, payer_minor: int
) -> None:
    result = charged(a_payment(**amounts))
    assert (result.order_minor, result.payer_minor) == (order_minor, payer_minor)


@pytest.mark.invariant("I4", "I5")
@pytest.mark.parametrize("amount", ["", "12.80", "-1", "１２８０", "1e3", "9" * 13])  # noqa: RUF001 - digits that are none
def test_a_success_without_a_readable_amount_proves_nothing(amount: str) -> None:
    for name in ("mhtOrderAmt", "oriMhtOrderAmt", "discountAmt"):
        if amount == "" and name != "mhtOrderAmt":
            continue
        assert charged(a_payment(**{name: amount})).outcome is Outcome.UNKNOWN
        assert queried(a_payment(**{name: amount})).outcome is Outcome.UNKNOWN
        with pytest.raises(BadAnswer):
            mapping.told(a_payment(**{name: amount}))


def test_another_currency_is_passed_on_for_the_door_to_refuse() -> None:
    assert charged(a_payment(mhtCurrencyType="840")).currency == "840"
    assert charged(a_payment(mhtCurrencyType="156")).currency == "CNY"


def test_an_unreadable_time_of_payment_is_none_and_the_payment_stands() -> None:
    for text in ("", "2026-01-01", "20261301080003"):
        result = charged(a_payment(payTime=text))
        assert (result.outcome, result.paid_at) == (Outcome.PAID, None)


def test_a_notice_without_a_number_is_refused() -> None:
    with pytest.raises(BadAnswer):
        mapping.told(a_payment(mhtOrderNo=""))


def an_answer_of_money(**changes: str) -> Said:
    fields = {"responseCode": "R000", "tradeStatus": "A001", "mhtRefundNo": REFUND_NO, "amount": "280"}
    return said(asked="Q001", **(fields | changes))


@pytest.mark.parametrize(
    ("fields", "heard"),
    [
        ({}, GoingBack.DONE),
        ({"responseCode": "A001"}, GoingBack.DONE),
        ({"tradeStatus": "A004"}, GoingBack.UNDER_WAY),
        ({"tradeStatus": "A00I"}, GoingBack.UNDER_WAY),
        ({"tradeStatus": ""}, GoingBack.UNDER_WAY),
        ({"tradeStatus": "A002"}, GoingBack.FAILED),
        ({"tradeStatus": "A005"}, GoingBack.FAILED),
        ({"tradeStatus": "A006"}, GoingBack.FAILED),
        ({"responseCode": "A002", "tradeStatus": ""}, GoingBack.REFUSED),
        ({"responseCode": "A002", "tradeStatus": "A002"}, GoingBack.REFUSED),
        ({"responseCode": "A002"}, GoingBack.UNCLEAR),
        ({"responseCode": "A003"}, GoingBack.UNCLEAR),
        ({"responseCode": ""}, GoingBack.UNCLEAR),
        ({"tradeStatus": "A003"}, GoingBack.UNCLEAR),
        ({"tradeStatus": "B001"}, GoingBack.UNCLEAR),
        ({"mhtRefundNo": "R2"}, GoingBack.UNCLEAR),
        ({"mhtRefundNo": ""}, GoingBack.UNCLEAR),
        ({"mhtRefundNo": "", "tradeStatus": "A002"}, GoingBack.UNCLEAR),
        ({"mhtOrderNo": "T2"}, GoingBack.UNCLEAR),
        ({"appId": ""}, GoingBack.UNCLEAR),
        ({"funcode": "MQ002"}, GoingBack.UNCLEAR),
    ],
)
def test_what_is_said_of_money_going_back(fields: dict[str, str], heard: GoingBack) -> None:
    assert gone_back(an_answer_of_money(**fields)) is heard


@pytest.mark.parametrize(
    ("fields", "sent", "asked"),
    [
        ({}, RefundOutcome.SUCCEEDED, RefundOutcome.SUCCEEDED),
        ({"amount": ""}, RefundOutcome.UNKNOWN, RefundOutcome.UNKNOWN),
        ({"tradeStatus": "A004"}, RefundOutcome.PENDING, RefundOutcome.PENDING),
        ({"tradeStatus": "A002"}, RefundOutcome.FAILED, RefundOutcome.FAILED),
        # A refused request says that this copy was not taken; a refused query that there is none of this number.
        ({"responseCode": "A002", "tradeStatus": ""}, RefundOutcome.FAILED, RefundOutcome.NOT_FOUND),
        ({"responseCode": "A003"}, RefundOutcome.UNKNOWN, RefundOutcome.UNKNOWN),
        ({"tradeStatus": "A003"}, RefundOutcome.UNKNOWN, RefundOutcome.UNKNOWN),
    ],
)
def test_what_becomes_of_a_refund(fields: dict[str, str], sent: RefundOutcome, asked: RefundOutcome) -> None:
    answer = an_answer_of_money(**fields)
    assert mapping.refunded(answer, intent=a_refund_intent(), app_id=IPAYNOW_APP_ID).outcome is sent
    result = refund_queried(answer)
    assert result.outcome is asked
    assert (result.amount_minor, result.currency) == (
        (280, "CNY") if asked is RefundOutcome.SUCCEEDED else (None, None)
    )


def refund_queried(answer: Said, *, refused_is_not_found: bool = True) -> Any:
    return mapping.refund_queried(
        answer, ref=a_refund_ref(), app_id=IPAYNOW_APP_ID, refused_is_not_found=refused_is_not_found
    )


def test_a_refused_query_of_a_refund_counts_only_when_it_names_it_and_the_setting_says_so() -> None:
    refused = {"responseCode": "A002", "tradeStatus": ""}
    assert refund_queried(an_answer_of_money(**refused)).outcome is RefundOutcome.NOT_FOUND
    unsure = refund_queried(an_answer_of_money(**refused), refused_is_not_found=False)
    assert (unsure.outcome, unsure.to_repeat) == (RefundOutcome.UNKNOWN, True)
    for is_believed in (False, True):
        unnamed = refund_queried(an_answer_of_money(mhtRefundNo="", **refused), refused_is_not_found=is_believed)
        assert (unnamed.outcome, unnamed.to_repeat) == (RefundOutcome.UNKNOWN, False)


PAID = PayResult(outcome=Outcome.PAID, trade_no=TRADE_NO, order_minor=1280, currency="CNY")
UNPAID = PayResult(outcome=Outcome.UNPAID_FINAL, trade_no=TRADE_NO)
OPEN = PayResult(outcome=Outcome.UNPAID_OPEN, trade_no=TRADE_NO)
NOT_FOUND = PayResult(outcome=Outcome.UNPAID_OPEN, trade_no=TRADE_NO, not_found=True)
UNKNOWN = PayResult(outcome=Outcome.UNKNOWN, trade_no=TRADE_NO)


@pytest.mark.parametrize(
    ("heard", "standing", "state", "returned"),
    [
        (GoingBack.DONE, PAID, EndState.ENDED, True),
        (GoingBack.DONE, UNPAID, EndState.ENDED, False),
        (GoingBack.DONE, OPEN, EndState.ENDED, None),
        (GoingBack.DONE, UNKNOWN, EndState.ENDED, None),
        (GoingBack.REFUSED, NOT_FOUND, EndState.NOT_FOUND, None),
        (GoingBack.REFUSED, UNPAID, EndState.ENDED, False),
        (GoingBack.REFUSED, PAID, EndState.RETRY, None),
        (GoingBack.REFUSED, UNKNOWN, EndState.RETRY, None),
        (GoingBack.FAILED, PAID, EndState.RETRY, None),
        (GoingBack.FAILED, NOT_FOUND, EndState.NOT_FOUND, None),
        (GoingBack.UNDER_WAY, PAID, EndState.UNKNOWN, None),
        (GoingBack.UNDER_WAY, UNPAID, EndState.UNKNOWN, None),
        (GoingBack.UNCLEAR, PAID, EndState.UNKNOWN, None),
        (GoingBack.UNCLEAR, UNPAID, EndState.UNKNOWN, None),
    ],
)
def test_a_reverse_ends_by_its_own_word_and_by_how_the_trade_stands(
    *, heard: GoingBack, standing: PayResult, state: EndState, returned: bool | None
) -> None:
    result = mapping.reversed_as(heard, standing, said=said())
    assert (result.state, result.money_returned) == (state, returned)
