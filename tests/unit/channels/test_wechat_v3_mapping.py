import json
from typing import Any

import pytest

from budan.channels.wechat_v3 import mapping
from budan.channels.wechat_v3.mapping import OurRefund, Ours, Said
from budan.channels.wechat_v3.messages import RefundTold, read
from budan.core.evidence import Outcome
from budan.core.refund import RefundOutcome
from budan.ports.channel import EndState, PayResult
from budan.wire.wechat_v3 import Verdict
from unit.channels.builders import APPID, MCHID, REFUND_NO, TRADE_NO

OUR_REFUND = OurRefund(refund_no=REFUND_NO, trade_no=TRADE_NO)
OURS = Ours(trade_no=TRADE_NO, mchid=MCHID, appid=APPID)
UNTRUSTED = [verdict for verdict in Verdict if verdict is not Verdict.VALID]
FORGED = [verdict for verdict in UNTRUSTED if verdict is not Verdict.UNSIGNED]

# (status, code): every row of docs/protocols/wechat_v3.md section 3, in both spellings where both occur.
NOT_EXECUTED = [
    (403, "NO_AUTH"),
    (401, "SIGN_ERROR"),
    (400, "PARAM_ERROR"),
    (400, "INVALID_REQUEST"),
    (400, "MCH_NOT_EXISTS"),
    (400, "APPID_MCHID_NOT_MATCH"),
    (400, "INVALID_TRANSACTIONID"),
]
REFUSED = [(403, "NOT_ENOUGH"), (403, "TRADE_ERROR"), (403, "RULE_LIMIT"), (403, "ACCOUNT_ERROR"), (403, "NOTENOUGH")]
REFUSED_CODES = [(400, "AUTH_CODE_INVALID"), (400, "AUTHCODEEXPIRE"), (400, "AUTH_CODE_ERROR")]
BUSY = [(429, "FREQUENCY_LIMITED"), (429, "RATELIMIT_EXCEED"), (429, "RATELIMIT_EXCEEDED")]
BROKEN = [(500, "SYSTEM_ERROR"), (500, "BANK_ERROR"), (500, "OPENID_MISMATCH"), (502, "X"), (503, "PARAM_ERROR")]
NO_TRADE = [(404, "ORDER_NOT_EXIST"), (404, "ORDERNOTEXIST"), (404, "RESOURCE_NOT_EXISTS")]
IN_QUESTION = [
    (400, "ORDER_PAID"),
    (403, "ORDERPAID"),
    (403, "OUT_TRADE_NO_USED"),
    (400, "NEVER_HEARD_OF"),
    (302, "PARAM_ERROR"),
    (202, "PARAM_ERROR"),
    (201, "USERPAYING"),
]
EVERY_ROW = [
    (400, "USERPAYING"),
    *NOT_EXECUTED,
    *REFUSED,
    *REFUSED_CODES,
    *BUSY,
    *BROKEN,
    *NO_TRADE,
    *IN_QUESTION,
    (400, "ORDER_CLOSED"),
]


def refusal(status: int, code: str, *, verdict: Verdict = Verdict.VALID) -> Said:
    return Said(status=status, body=json.dumps({"code": code, "message": "为什么"}).encode(), verdict=verdict)


def transaction(state: str, *, verdict: Verdict = Verdict.VALID, **changes: Any) -> Said:
    fields = {
        "mchid": MCHID,
        "appid": APPID,
        "out_trade_no": TRADE_NO,
        "transaction_id": "4200009999202601010000000001",
        "trade_state": state,
        "trade_state_desc": "x",
        "success_time": "2026-01-01T08:00:03+08:00",
        "payer": {"openid": "oTest"},
        "amount": {"total": 1280, "payer_total": 1000, "currency": "CNY", "payer_currency": "CNY"},
        "promotion_detail": [{"coupon_id": "1"}],
    } | changes
    kept = {name: value for name, value in fields.items() if value is not ...}
    return Said(status=200, body=json.dumps(kept).encode(), verdict=verdict)


def created(said: Said) -> PayResult:
    return mapping.placed(said, trade_no=TRADE_NO)[0]


def charged(said: Said) -> PayResult:
    return mapping.charged(said, ours=OURS)


def queried(said: Said) -> PayResult:
    return mapping.queried(said, ours=OURS)


@pytest.mark.parametrize("code", [*BUSY, *BROKEN])
def test_a_channel_that_has_too_much_to_do_says_so(code: tuple[int, str]) -> None:
    """Whoever asked slows down, for every trade of the account."""
    assert queried(refusal(*code)).busy
    assert not queried(refusal(*NO_TRADE[0])).busy
    assert not queried(transaction("NOTPAY")).busy


@pytest.mark.parametrize(
    ("state", "outcome", "flags"),
    [
        ("SUCCESS", Outcome.PAID, set[str]()),
        ("REFUND", Outcome.PAID, {"refunded_hint"}),
        ("NOTPAY", Outcome.UNPAID_OPEN, set[str]()),
        ("USERPAYING", Outcome.UNPAID_OPEN, {"user_paying"}),
        ("CLOSED", Outcome.UNPAID_FINAL, set[str]()),
        ("PAYERROR", Outcome.UNPAID_FINAL, set[str]()),
        ("REVOKED", Outcome.UNPAID_FINAL, {"reversed_here"}),
        ("ACCEPT", Outcome.UNKNOWN, set[str]()),
        ("success", Outcome.UNKNOWN, set[str]()),
    ],
)
def test_each_trade_state_has_one_meaning(state: str, outcome: Outcome, flags: set[str]) -> None:
    result = queried(transaction(state))
    assert result.outcome is outcome
    told = {"refunded_hint", "user_paying", "reversed_here", "not_found", "money_returned"}
    assert {name for name in told if getattr(result, name)} == flags
    assert result.code == state


def test_what_the_channel_says_of_amounts_is_passed_on_untouched() -> None:
    """The door compares (I4): a mapping that did would hide a wrong amount instead of holding the order."""
    result = queried(transaction("SUCCESS", amount={"total": 7, "payer_total": 0, "currency": "USD"}))
    assert (result.order_minor, result.payer_minor, result.settle_minor, result.currency) == (7, 0, None, "USD")
    assert result.channel_reference == "4200009999202601010000000001"
    assert result.payer_id == "oTest"
    assert result.paid_at is not None
    assert result.paid_at.isoformat() == "2026-01-01T00:00:03+00:00"


def test_an_unpaid_trade_needs_none_of_what_only_a_payment_gives() -> None:
    lacking = dict.fromkeys(("transaction_id", "success_time", "payer", "amount"), ...)
    result = queried(transaction("NOTPAY", **lacking))
    assert (result.outcome, result.order_minor, result.currency) == (Outcome.UNPAID_OPEN, None, None)


@pytest.mark.parametrize(
    "amount",
    [
        ...,
        None,
        {},
        {"total": "1280"},
        {"total": 12.8},
        {"total": True},
        {"total": -1},
        {"total": 10**30},
        {"total": 1280, "currency": "¥"},
        [1280],
    ],
)
@pytest.mark.invariant("I4", "I5")
def test_a_success_without_a_readable_amount_proves_nothing(amount: Any) -> None:
    assert queried(transaction("SUCCESS", amount=amount)).outcome is Outcome.UNKNOWN
    assert charged(transaction("SUCCESS", amount=amount)).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("time", ["yesterday", "2026-01-01T08:00:03", "", "9999-99-99T00:00:00+08:00", None])
def test_a_payment_is_a_payment_though_its_time_cannot_be_read(time: str | None) -> None:
    result = queried(transaction("SUCCESS", success_time=time))
    assert (result.outcome, result.paid_at) == (Outcome.PAID, None)


@pytest.mark.parametrize("change", [{"out_trade_no": "T20260101000002"}, {"mchid": "1"}, {"appid": "wx2"}])
@pytest.mark.parametrize("state", ["SUCCESS", "CLOSED", "NOTPAY"])
@pytest.mark.invariant("I4")
def test_an_answer_about_another_trade_says_nothing_of_ours(state: str, change: dict[str, str]) -> None:
    """A signature binds the answer's text, not the question: an answer to another question verifies too."""
    for answer in (queried, charged):
        result = answer(transaction(state, **change))
        assert (result.outcome, result.code, result.trade_no) == (Outcome.UNKNOWN, "foreign_answer", TRADE_NO)


@pytest.mark.parametrize("verdict", UNTRUSTED)
@pytest.mark.parametrize("state", ["SUCCESS", "CLOSED", "NOTPAY", "REVOKED"])
@pytest.mark.invariant("I4", "I5")
def test_a_success_that_is_not_signed_is_no_answer(state: str, verdict: Verdict) -> None:
    for answer in (queried, charged):
        result = answer(transaction(state, verdict=verdict))
        assert (result.outcome, result.sent) == (Outcome.UNKNOWN, True)
        assert result.code == f"signature_{verdict.value}"


@pytest.mark.parametrize("verdict", FORGED)
@pytest.mark.parametrize(("status", "code"), EVERY_ROW)
@pytest.mark.invariant("I4", "I5")
def test_a_wrong_signature_voids_every_refusal(status: int, code: str, verdict: Verdict) -> None:
    said = refusal(status, code, verdict=verdict)
    assert [answer(said).outcome for answer in (created, charged, queried)] == [Outcome.UNKNOWN] * 3
    assert mapping.closed(said).state is EndState.UNKNOWN
    assert mapping.reversed_(said, ours=OURS).state is EndState.UNKNOWN


@pytest.mark.parametrize(("status", "code"), EVERY_ROW)
@pytest.mark.invariant("I5")
def test_no_unsigned_word_ends_a_trade(status: int, code: str) -> None:
    said = refusal(status, code, verdict=Verdict.UNSIGNED)
    results = [created(said), charged(said), queried(said)]
    assert all(result.outcome in {Outcome.UNKNOWN, Outcome.UNPAID_OPEN} for result in results)
    assert not any(result.not_found or result.user_paying for result in results)
    ends = {mapping.closed(said).state, mapping.reversed_(said, ours=OURS).state}
    assert not ends & {EndState.ENDED, EndState.NOT_FOUND}


@pytest.mark.parametrize(("status", "code"), [*BROKEN, *BUSY, *IN_QUESTION])
@pytest.mark.parametrize("verdict", [Verdict.VALID, Verdict.UNSIGNED])
@pytest.mark.invariant("I5")
def test_a_code_that_means_unknown_never_ends_a_trade(status: int, code: str, verdict: Verdict) -> None:
    said = refusal(status, code, verdict=verdict)
    assert charged(said).outcome is Outcome.UNKNOWN
    assert queried(said).outcome is Outcome.UNKNOWN
    assert created(said).outcome is not Outcome.UNPAID_FINAL


@pytest.mark.parametrize(
    ("rows", "create", "charge", "query", "close", "reverse"),
    [
        (NOT_EXECUTED, "unpaid_open", "unpaid_final", "unknown", "retry", "retry"),
        (REFUSED, "unpaid_open", "unpaid_final", "unknown", "unknown", "unknown"),
        (REFUSED_CODES, "unpaid_open", "unpaid_final", "unknown", "unknown", "unknown"),
        (BUSY, "unpaid_open", "unknown", "unknown", "retry", "retry"),
        (BROKEN, "unknown", "unknown", "unknown", "retry", "retry"),
        (NO_TRADE, "unknown", "unknown", "unpaid_open", "not_found", "not_found"),
        ([(400, "ORDER_PAID"), (400, "ORDERPAID")], "unknown", "unknown", "unknown", "already_paid", "unknown"),
        ([(400, "ORDER_CLOSED")], "unpaid_final", "unpaid_final", "unknown", "ended", "ended"),
        ([(403, "OUT_TRADE_NO_USED"), (409, "NEW")], "unknown", "unknown", "unknown", "unknown", "unknown"),
        ([(202, "USERPAYING")], "unknown", "unpaid_open", "unknown", "unknown", "retry"),
        ([(400, "ORDER_NOT_EXIST")], "unknown", "unknown", "unknown", "unknown", "unknown"),
    ],
)
def test_each_signed_refusal_has_its_meaning_in_each_call(
    *, rows: list[tuple[int, str]], create: str, charge: str, query: str, close: str, reverse: str
) -> None:
    for status, code in rows:
        said = refusal(status, code)
        assert created(said).outcome.value == create, code
        assert charged(said).outcome.value == charge, code
        assert queried(said).outcome.value == query, code
        assert mapping.closed(said).state.value == close, code
        assert mapping.reversed_(said, ours=OURS).state.value == reverse, code
        assert created(said).sent


def test_a_typing_payer_is_said_to_be_typing() -> None:
    result = charged(refusal(202, "USERPAYING"))
    assert (result.outcome, result.user_paying, result.code) == (Outcome.UNPAID_OPEN, True, "USERPAYING")
    assert charged(refusal(202, "USERPAYING", verdict=Verdict.UNSIGNED)).outcome is Outcome.UNKNOWN


def test_only_a_query_says_that_there_is_no_trade() -> None:
    result = queried(refusal(404, "ORDER_NOT_EXIST"))
    assert (result.outcome, result.not_found, result.sent) == (Outcome.UNPAID_OPEN, True, True)
    assert queried(Said(status=404, body=b"<html>", verdict=Verdict.VALID)).code == "http_404"


def test_a_placement_gives_the_payer_something_only_when_it_is_signed() -> None:
    body = b'{"code_url":"weixin://x"}'
    result, text = mapping.placed(Said(status=200, body=body, verdict=Verdict.VALID), trade_no=TRADE_NO)
    assert (result.outcome, result.sent, text) == (Outcome.UNPAID_OPEN, True, "weixin://x")
    for verdict in UNTRUSTED:
        result, text = mapping.placed(Said(status=200, body=body, verdict=verdict), trade_no=TRADE_NO)
        assert (result.outcome, text) == (Outcome.UNKNOWN, "")
    for unreadable in (b"", b"{}", b"[]", b"\xff", b'{"code_url":1}', b'{"code_url":"weixin'):
        result, text = mapping.placed(Said(status=200, body=unreadable, verdict=Verdict.VALID), trade_no=TRADE_NO)
        assert (result.outcome, text) == (Outcome.UNKNOWN, "")


def test_a_close_is_done_by_its_signature_alone() -> None:
    done = mapping.closed(Said(status=204, body=b"", verdict=Verdict.VALID))
    assert (done.state, done.money_returned) == (EndState.ENDED, False)
    assert mapping.closed(transaction("SUCCESS")).state is EndState.UNKNOWN
    for verdict in UNTRUSTED:
        assert mapping.closed(Said(status=204, body=b"", verdict=verdict)).state is EndState.UNKNOWN


def test_a_reverse_is_done_when_its_answer_names_our_trade() -> None:
    fields = {"appid": APPID, "mchid": MCHID, "out_trade_no": TRADE_NO}
    said = Said(status=200, body=json.dumps(fields).encode(), verdict=Verdict.VALID)
    done = mapping.reversed_(said, ours=OURS)
    assert (done.state, done.money_returned) == (EndState.ENDED, None)
    other = Said(status=200, body=json.dumps(fields | {"out_trade_no": "T2"}).encode(), verdict=Verdict.VALID)
    assert mapping.reversed_(other, ours=OURS).code == "foreign_answer"
    assert mapping.reversed_(Said(status=200, body=b"", verdict=Verdict.VALID), ours=OURS).state is EndState.UNKNOWN


def a_refund_told(status: str) -> RefundTold:
    body = {
        "mchid": MCHID,
        "out_trade_no": TRADE_NO,
        "out_refund_no": REFUND_NO,
        "refund_status": status,
        "amount": {"total": 1280, "refund": 280},
    }
    return read(json.dumps(body).encode(), RefundTold)


def a_refund(status: str, *, verdict: Verdict = Verdict.VALID) -> Said:
    fields = {
        "out_refund_no": REFUND_NO,
        "out_trade_no": TRADE_NO,
        "status": status,
        "amount": {"total": 1280, "refund": 280},
    }
    return Said(status=200, body=json.dumps(fields).encode(), verdict=verdict)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("SUCCESS", RefundOutcome.SUCCEEDED),
        ("CLOSED", RefundOutcome.FAILED),
        ("ABNORMAL", RefundOutcome.ABNORMAL),
        ("PROCESSING", RefundOutcome.PENDING),
        ("DONE", RefundOutcome.UNKNOWN),
        ("success", RefundOutcome.UNKNOWN),
    ],
)
def test_each_refund_status_has_one_meaning_wherever_it_is_told(status: str, outcome: RefundOutcome) -> None:
    results = [
        mapping.refunded(a_refund(status), ours=OUR_REFUND),
        mapping.refund_queried(a_refund(status), ours=OUR_REFUND),
        mapping.refund_notice_result(a_refund_told(status)),
    ]
    assert {result.outcome for result in results} == {outcome}
    assert {(result.refund_no, result.trade_no, result.amount_minor) for result in results} == {
        (REFUND_NO, TRADE_NO, 280)
    }
    for verdict in UNTRUSTED:
        assert mapping.refunded(a_refund(status, verdict=verdict), ours=OUR_REFUND).outcome is RefundOutcome.UNKNOWN


@pytest.mark.invariant("I5")
@pytest.mark.parametrize(("status", "code"), EVERY_ROW)
def test_a_refund_is_refused_only_by_a_signed_refusal_and_never_by_a_busy_channel(status: int, code: str) -> None:
    refusing = [*NOT_EXECUTED, *REFUSED, *REFUSED_CODES, *NO_TRADE, (400, "ORDER_CLOSED")]
    result = mapping.refunded(refusal(status, code), ours=OUR_REFUND)
    assert result.outcome is (RefundOutcome.FAILED if (status, code) in refusing else RefundOutcome.UNKNOWN)
    assert (result.refund_no, result.sent) == (REFUND_NO, True)
    for verdict in UNTRUSTED:
        unproven = mapping.refunded(refusal(status, code, verdict=verdict), ours=OUR_REFUND)
        assert unproven.outcome is RefundOutcome.UNKNOWN


@pytest.mark.parametrize("code", ["USER_ACCOUNT_ABNORMAL", "NOT_ENOUGH"])
def test_what_only_a_refund_meets_refuses_it(code: str) -> None:
    assert mapping.refunded(refusal(403, code), ours=OUR_REFUND).outcome is RefundOutcome.FAILED


@pytest.mark.invariant("I5")
@pytest.mark.parametrize(("status", "code"), EVERY_ROW)
def test_a_refund_query_that_is_not_answered_says_nothing_but_no_such_refund(status: int, code: str) -> None:
    result = mapping.refund_queried(refusal(status, code), ours=OUR_REFUND)
    assert result.outcome is (RefundOutcome.NOT_FOUND if (status, code) in NO_TRADE else RefundOutcome.UNKNOWN)
    for verdict in UNTRUSTED:
        unproven = mapping.refund_queried(refusal(status, code, verdict=verdict), ours=OUR_REFUND)
        assert unproven.outcome is RefundOutcome.UNKNOWN


@pytest.mark.parametrize(("status", "hint"), [("SUCCESS", True), ("ABNORMAL", False), ("CLOSED", False)])
def test_a_refund_notice_proves_the_payment_and_hints_at_a_return_only_when_money_went_back(
    status: str,
    hint: bool,  # noqa: FBT001 - a column of the table
) -> None:
    result = mapping.refund_told(a_refund_told(status))
    assert (result.outcome, result.trade_no, result.order_minor) == (Outcome.PAID, TRADE_NO, 1280)
    assert (result.currency, result.refunded_hint) == ("CNY", hint)


def test_a_foreign_text_keeps_nothing_that_a_log_or_a_column_refuses() -> None:
    said = Said(status=400, body=b'{"code":"A\\u0000B","message":"' + b"x" * 5_000 + b'"}', verdict=Verdict.VALID)
    result = queried(said)
    assert result.code == "A B"
    assert len(result.message) == 200


def test_an_endlessly_nested_answer_is_unreadable() -> None:
    deep = b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b',"code":"ORDER_CLOSED"}'
    assert charged(Said(status=400, body=deep, verdict=Verdict.VALID)).outcome is Outcome.UNKNOWN
    assert queried(Said(status=200, body=deep, verdict=Verdict.VALID)).outcome is Outcome.UNKNOWN
