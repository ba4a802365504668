"""What a server on the way, or a forger, could say in Swiftpass's name, beside what Swiftpass says itself."""

from contract.canned import http, swiftpass_answer, swiftpass_message, unsigned_xml, xml_http
from unit.channels.builders import REFUND_NO, TRADE_NO, merchant_key

PAID = {"out_trade_no": TRADE_NO, "trade_state": "SUCCESS", "total_fee": "1280", "fee_type": "CNY"}
CHARGED = {"out_trade_no": TRADE_NO, "pay_result": "0", "total_fee": "1280", "fee_type": "CNY"}
REFUND_ACCEPTED = {"out_trade_no": TRADE_NO, "out_refund_no": REFUND_NO, "refund_fee": "280", "refund_id": "7550"}
REFUND_DONE = {
    "out_trade_no": TRADE_NO,
    "refund_count": "1",
    "out_refund_no_0": REFUND_NO,
    "refund_fee_0": "280",
    "refund_status_0": "SUCCESS",
}

_OTHER = {"out_trade_no": "T20260101000002"}
_FOREIGN_KEY = "SwiftTestKeySwiftTestKey00000002"
_BOMB = (
    b'<!DOCTYPE xml [<!ENTITY a "SUCCESS"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    b"<xml><status>0</status><trade_state>&b;</trade_state></xml>"
)


def lies() -> dict[str, bytes]:
    """Answers that no call may take for a payment or an end."""
    told = {"status": "0", "result_code": "0"}
    found: dict[str, bytes] = {
        "unsigned refusal": unsigned_xml({"status": "400", "message": "Auth valid fail"}),
        "signed, not understood": swiftpass_answer({"status": "500", "message": "System error"}),
        "unsigned refused charge": unsigned_xml({**told, "result_code": "1", "need_query": "N"}),
        "unsigned no such trade": unsigned_xml({**told, "result_code": "1", "err_code": "ORDERNOTEXIST"}),
        "unsigned end": unsigned_xml({**told, "mch_id": "755000000001"}),
        "a code unheard of": swiftpass_answer({"result_code": "1", "err_code": "ASK_LATER"}),
        "busy": swiftpass_answer({"result_code": "1", "err_code": "SYSTEMERROR", "need_query": "Y"}),
        "entities": xml_http(_BOMB),
        "a page": xml_http(b"<html>maintenance</html>"),
        "not XML": xml_http(b"[]"),
        "not text": xml_http(b"\xff\xfe"),
        "nothing": xml_http(b""),
        "a server error": http(500, b""),
        "a redirect": http(302, b"", {"Location": "http://127.0.0.1:1/"}),
    }
    for name, fields in (("query", PAID), ("charge", CHARGED)):
        good = swiftpass_message(fields)
        found |= {
            f"unsigned {name}": unsigned_xml({**told, **fields}),
            f"forged {name}": swiftpass_answer(fields, key=_FOREIGN_KEY),
            f"{name} signed in another way": swiftpass_answer(fields, rsa_key=merchant_key()),
            f"replayed {name} of another trade": swiftpass_answer({**fields, **_OTHER}),
            f"{name} of another merchant": swiftpass_answer({**fields, "mch_id": "755000000002"}),
            f"{name} of no merchant": swiftpass_answer({**fields, "mch_id": ""}),
            f"changed {name}": xml_http(good.replace(b"1280", b"1281")),
            f"half a {name}": xml_http(good[:-40]),
            f"{name} of no amount": swiftpass_answer({**fields, "total_fee": ""}),
            f"{name} of no number for an amount": swiftpass_answer({**fields, "total_fee": "12.80"}),
            f"{name} with a field twice": xml_http(good.replace(b"</xml>", b"<total_fee>1280</total_fee></xml>")),
            f"{name} in a state unheard of": swiftpass_answer({**fields, "trade_state": "DONE", "pay_result": "2"}),
        }
    return found


def refund_lies() -> dict[str, bytes]:
    """Answers that no call may take for the end of a refund."""
    found = {
        "unsigned refusal": unsigned_xml({"status": "0", "result_code": "1", "err_code": "NOTENOUGH"}),
        "forged refusal": swiftpass_answer({"result_code": "1", "err_code": "NOTENOUGH"}, key=_FOREIGN_KEY),
        "not understood": swiftpass_answer({"status": "500"}),
        "busy": swiftpass_answer({"result_code": "1", "err_code": "SYSTEMERROR"}),
        "to be repeated": swiftpass_answer({"result_code": "1", "err_code": "BIZERR_NEED_RETRY"}),
        "a code unheard of": swiftpass_answer({"result_code": "1", "err_code": "ASK_LATER"}),
        "no refunds": swiftpass_answer({"out_trade_no": TRADE_NO, "refund_count": "0"}),
        "not sure": swiftpass_answer({**REFUND_DONE, "refund_status_0": "NOTSURE"}),
        "in a state unheard of": swiftpass_answer({**REFUND_DONE, "refund_status_0": "DONE"}),
        "of another refund": swiftpass_answer({**REFUND_DONE, "out_refund_no_0": "R2"}),
        "accepted, another refund": swiftpass_answer({**REFUND_ACCEPTED, "out_refund_no": "R2"}),
        "accepted, another trade": swiftpass_answer({**REFUND_ACCEPTED, **_OTHER}),
    }
    for name, fields, amount in (("reply", REFUND_ACCEPTED, "refund_fee"), ("query", REFUND_DONE, "refund_fee_0")):
        good = swiftpass_message(fields)
        found |= {
            f"unsigned {name}": unsigned_xml({"status": "0", "result_code": "0", **fields}),
            f"forged {name}": swiftpass_answer(fields, key=_FOREIGN_KEY),
            f"changed {name}": xml_http(good.replace(b"280", b"281")),
            f"{name} of another merchant": swiftpass_answer({**fields, "mch_id": "755000000002"}),
            f"{name} of no amount": swiftpass_answer({**fields, amount: ""}),
        }
    return found
