"""Every error code that a protocol's page lists is read from the page, so that none is left out of the tables by which we decide."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from budan.channels import flat_fields
from budan.channels.alipay import mapping as alipay
from budan.channels.ipaynow import mapping as ipaynow
from budan.channels.swiftpass import mapping as swiftpass
from budan.channels.wechat_v2 import mapping as wechat_v2
from budan.channels.wechat_v3 import mapping as wechat_v3
from budan.core.evidence import Outcome
from budan.core.refund import RefundOutcome
from budan.ports.channel import EndResult, EndState, PayResult, RefundResult
from budan.wire.wechat_v3 import Verdict
from unit.channels.builders import (
    APPID,
    IPAYNOW_APP_ID,
    MCHID,
    REFUND_NO,
    SWIFTPASS_MCH_ID,
    TRADE_NO,
    a_refund_intent,
    a_refund_ref,
)

PAGES = Path(__file__).parents[3] / "docs" / "protocols"
_CODE = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b|\b[A-Z]{6,}\b")
# Words of the pages that are no codes.
NO_CODES = frozenset({"LIMIT_ERROR", "_LIMIT_ERROR"})


def rows(page: str, *, begins: str) -> Iterator[tuple[str, str]]:
    """The rows of the table whose head begins so: what the first cell says, and the rest."""
    lines = iter((PAGES / page).read_text("utf-8").splitlines())
    for line in lines:
        if line.startswith(begins):
            break
    next(lines)
    for line in lines:
        if not line.startswith("|"):
            return
        first, _, rest = line.strip("| ").partition("|")
        yield first.strip(), rest.strip()


def codes(text: str) -> list[str]:
    """The codes of a cell; what stands in brackets explains them."""
    return [code for code in _CODE.findall(re.sub(r"\([^)]*\)", "", text)) if code not in NO_CODES]


def ends(result: PayResult) -> bool:
    """Whether the word ends a trade, or pays it. "The payer is typing" does neither."""
    return result.outcome in {Outcome.PAID, Outcome.UNPAID_FINAL}


def v2_charged(code: str) -> PayResult:
    told = {"return_code": "SUCCESS", "result_code": "FAIL", "appid": APPID, "mch_id": MCHID, "err_code": code}
    ours = wechat_v2.Ours(trade_no=TRADE_NO, appid=APPID, mch_id=MCHID)
    return wechat_v2.charged(flat_fields.Said(fields=told, proof=flat_fields.Proof.VALID), ours=ours)


def swiftpass_charged(code: str) -> PayResult:
    told = {"status": "0", "result_code": "1", "mch_id": SWIFTPASS_MCH_ID, "err_code": code}
    ours = swiftpass.Ours(trade_no=TRADE_NO, mch_id=SWIFTPASS_MCH_ID, payerror_ends=False)
    return swiftpass.charged(flat_fields.Said(fields=told, proof=flat_fields.Proof.VALID), ours=ours)


def alipay_charged(code: str) -> PayResult:
    payload = {"code": "40004", "msg": "x", "sub_code": f"ACQ.{code}"}
    return alipay.charged(alipay.Said(payload=payload, proof=alipay.Proof.VALID), trade_no=TRADE_NO)


def v3_charged(code: str, status: int) -> PayResult:
    body = json.dumps({"code": code, "message": "x"}).encode()
    said = wechat_v3.Said(status=status, body=body, verdict=Verdict.VALID)
    return wechat_v3.charged(said, ours=wechat_v3.Ours(trade_no=TRADE_NO, mchid=MCHID, appid=APPID))


def listed(page: str, *, begins: str, first: str) -> list[str]:
    """The codes of one row of the table."""
    (found,) = (codes(rest) for cell, rest in rows(page, begins=begins) if first in cell)
    assert found, first
    return found


V2, ALIPAY = ("wechat_v2_micropay.md", "| Class | Codes |"), ("alipay.md", "| Class | Codes |")


@pytest.mark.invariant("I5")
@pytest.mark.parametrize(
    ("page", "begins", "first", "charged"),
    [
        (*V2, "unknown, query", v2_charged),
        (*V2, "number already used", v2_charged),
        (*ALIPAY, "**unknown**", alipay_charged),
        (*ALIPAY, "already paid", alipay_charged),
    ],
)
def test_a_code_that_the_page_calls_unknown_never_ends_a_charge(
    page: str, begins: str, first: str, charged: Callable[[str], PayResult]
) -> None:
    for code in listed(page, begins=begins, first=first):
        assert not ends(charged(code)), code


@pytest.mark.parametrize(
    ("page", "begins", "first", "charged"),
    [
        (*V2, "not paid by this call", v2_charged),
        (*ALIPAY, "**not paid**", alipay_charged),
        (*ALIPAY, "number closed", alipay_charged),
    ],
)
def test_a_code_that_the_page_calls_not_paid_ends_a_charge(
    page: str, begins: str, first: str, charged: Callable[[str], PayResult]
) -> None:
    for code in listed(page, begins=begins, first=first):
        # Of a number that was used with other data nothing is known before a query, as the page says beside it.
        wanted = Outcome.UNKNOWN if code == "CONTEXT_INCONSISTENT" else Outcome.UNPAID_FINAL
        assert charged(code).outcome is wanted, code


@pytest.mark.invariant("I5")
def test_each_row_of_wechats_codes_means_of_a_charge_what_the_page_says() -> None:
    seen: set[str] = set()
    for cell, meaning in rows("wechat_v3.md", begins="| HTTP / code | Meaning"):
        status = 0
        for word in re.findall(r"\b[2-5][0-9]{2}\b|" + _CODE.pattern, cell):
            if word.isdigit():
                status = int(word)
                continue
            result = v3_charged(word, status or 400)
            is_final = "not paid" in meaning and "**if**" not in meaning and "paid**: query" not in meaning
            # A 5xx is never a word on the payment, whatever it says.
            assert ends(result) is (is_final and status < 500), (status, word)
            assert result.outcome is not Outcome.PAID, word
            seen.add(word)
    assert {"SYSTEM_ERROR", "ORDER_CLOSED", "NOT_ENOUGH", "OUT_TRADE_NO_USED"} <= seen


@pytest.mark.invariant("I5")
def test_swiftpass_ends_a_charge_by_the_codes_that_its_page_calls_definite_alone() -> None:
    text = next(
        line for line in (PAGES / "swiftpass.md").read_text("utf-8").splitlines() if "**definite failure**" in line
    )
    definite, _, rest = text.partition("**definite failure**")[2].partition("**in progress**")
    assert len(codes(definite)) >= 5
    for code in re.findall(r"\bACQ\.[A-Z_]+|\b[A-Z_]{9,}\b|\b[0-9]{8}\b", definite):
        assert swiftpass_charged(code).outcome is Outcome.UNPAID_FINAL, code
    for code in ("USERPAYING", "10003", "1003", "66227005"):
        assert code in rest
        assert not ends(swiftpass_charged(code)), code


@pytest.mark.invariant("I5")
def test_each_status_of_ipaynows_page_means_what_it_says() -> None:
    seen = 0
    for status, meaning in rows("ipaynow.md", begins="| transStatus"):
        told = {
            "funcode": "MQ002",
            "appId": IPAYNOW_APP_ID,
            "mhtOrderNo": TRADE_NO,
            "mhtOrderAmt": "1280",
            "nowPayOrderNo": "1",
            "responseCode": "A001",
            "transStatus": status,
        }
        said = ipaynow.Said(funcode="MQ002", fields=told, proof=ipaynow.Proof.VALID)
        result = ipaynow.queried(said, trade_no=TRADE_NO, app_id=IPAYNOW_APP_ID, refused_is_not_found=True)
        wanted = (
            Outcome.PAID
            if meaning.startswith("**paid**")
            else Outcome.UNPAID_FINAL
            if meaning.startswith("**not paid**")
            else Outcome.UNPAID_OPEN
            if "unpaid so far" in meaning
            else Outcome.UNKNOWN
        )
        assert result.outcome is wanted, status
        seen += 1
    assert seen >= 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Every call that is not a charge, answered by one signed failure."""

    paid: PayResult
    ended: list[EndResult]
    refund: RefundResult
    asked: RefundResult


def v3_answers(code: str) -> Answers:
    # "No such …" is a 404 there, and no other status may say it.
    status = 404 if "NOT_EXIST" in code else 400
    body = json.dumps({"code": code, "message": "x"}).encode()
    said = wechat_v3.Said(status=status, body=body, verdict=Verdict.VALID)
    ours = wechat_v3.Ours(trade_no=TRADE_NO, mchid=MCHID, appid=APPID)
    refund = wechat_v3.OurRefund(refund_no=REFUND_NO, trade_no=TRADE_NO)
    return Answers(
        paid=wechat_v3.queried(said, ours=ours),
        ended=[wechat_v3.closed(said), wechat_v3.reversed_(said, ours=ours)],
        refund=wechat_v3.refunded(said, ours=refund),
        asked=wechat_v3.refund_queried(said, ours=refund),
    )


def v2_answers(code: str) -> Answers:
    told = {"return_code": "SUCCESS", "result_code": "FAIL", "appid": APPID, "mch_id": MCHID, "err_code": code}
    said = flat_fields.Said(fields=told, proof=flat_fields.Proof.VALID)
    ours = wechat_v2.Ours(trade_no=TRADE_NO, appid=APPID, mch_id=MCHID)
    refund = wechat_v2.OurRefund(refund_no=REFUND_NO, trade=ours, not_found_codes=frozenset({"REFUNDNOTEXIST"}))
    return Answers(
        paid=wechat_v2.queried(said, ours=ours),
        ended=[wechat_v2.reversed_(said, ours=ours)],
        refund=wechat_v2.refunded(said, ours=refund),
        asked=wechat_v2.refund_queried(said, ours=refund),
    )


def swiftpass_answers(code: str) -> Answers:
    told = {"status": "0", "result_code": "1", "mch_id": SWIFTPASS_MCH_ID, "err_code": code}
    said = flat_fields.Said(fields=told, proof=flat_fields.Proof.VALID)
    ours = swiftpass.Ours(trade_no=TRADE_NO, mch_id=SWIFTPASS_MCH_ID, payerror_ends=False)
    refund = swiftpass.OurRefund(refund_no=REFUND_NO, trade_no=TRADE_NO, mch_id=SWIFTPASS_MCH_ID)
    return Answers(
        paid=swiftpass.queried(said, ours=ours),
        ended=[swiftpass.closed(said, ours=ours), swiftpass.reversed_(said, ours=ours)],
        refund=swiftpass.refunded(said, ours=refund),
        asked=swiftpass.refund_queried(said, ours=refund),
    )


def alipay_answers(code: str) -> Answers:
    payload = {"code": "40004", "msg": "x", "sub_code": f"ACQ.{code}"}
    said = alipay.Said(payload=payload, proof=alipay.Proof.VALID)
    return Answers(
        paid=alipay.queried(said, trade_no=TRADE_NO, is_b2c=True),
        ended=[alipay.closed(said, trade_no=TRADE_NO), alipay.cancelled(said, trade_no=TRADE_NO)],
        refund=alipay.refunded(said, intent=a_refund_intent()),
        asked=alipay.refund_queried(said, ref=a_refund_ref()),
    )


UNHEARD_OF = "NEVER_HEARD_OF"


@pytest.mark.invariant("I5")
@pytest.mark.parametrize(
    ("page", "answers", "ending", "to_repeat"),
    [
        ("wechat_v3.md", v3_answers, {"ORDER_CLOSED", "ORDERCLOSED"}, {"FREQUENCY_LIMITED", "RATELIMIT_EXCEED"}),
        (V2[0], v2_answers, set[str](), {"SYSTEMERROR", "BIZERR_NEED_RETRY", "FREQUENCY_LIMITED"}),
        ("swiftpass.md", swiftpass_answers, set[str](), {"SYSTEMERROR"}),
        (ALIPAY[0], alipay_answers, {"TRADE_HAS_CLOSE"}, {"SYSTEM_ERROR", "DISCORDANT_REPEAT_REQUEST"}),
    ],
)
def test_no_failure_of_another_call_pays_or_ends_what_the_page_does_not_call_ended(
    page: str, answers: Callable[[str], Answers], ending: set[str], to_repeat: set[str]
) -> None:
    """Every word in capitals of the page is tried, and one of none: a table that grows a wrong row is found here."""
    words = {*_CODE.findall((PAGES / page).read_text("utf-8")), *to_repeat, UNHEARD_OF}
    assert len(words) > len(to_repeat) + 10
    for code in words:
        said = answers(code)
        assert not ends(said.paid), code
        assert code in ending or not any(result.state is EndState.ENDED for result in said.ended), code
        # Of a refund a failure says at most that this request was not taken: a query ends it.
        assert said.refund.outcome in {RefundOutcome.FAILED, RefundOutcome.UNKNOWN}, code
        assert said.asked.outcome in {RefundOutcome.NOT_FOUND, RefundOutcome.UNKNOWN}, code
    for code in (*to_repeat, UNHEARD_OF):
        assert answers(code).refund.outcome is RefundOutcome.UNKNOWN, code
        assert answers(code).paid.not_found is False, code


@pytest.mark.invariant("I5")
@pytest.mark.parametrize("charged", [v2_charged, swiftpass_charged, alipay_charged, lambda code: v3_charged(code, 403)])
def test_a_code_that_no_page_lists_leaves_a_charge_to_its_query(charged: Callable[[str], PayResult]) -> None:
    assert charged(UNHEARD_OF).outcome is Outcome.UNKNOWN
