"""What a server on the way, or a forger, could say in WeChat v2's name, beside what WeChat says itself."""

from contract.canned import http, unsigned_xml, wechat_v2_answer, wechat_v2_message, xml_http
from unit.channels.builders import APPID, MCHID, REFUND_NO, TRADE_NO

CHARGED = {"out_trade_no": TRADE_NO, "total_fee": "1280", "fee_type": "CNY", "trade_type": "MICROPAY"}
PAID = CHARGED | {"trade_state": "SUCCESS"}
REFUND_ACCEPTED = {"out_trade_no": TRADE_NO, "out_refund_no": REFUND_NO, "refund_fee": "280", "refund_id": "5030"}
REFUND_DONE = {
    "out_trade_no": TRADE_NO,
    "refund_count": "1",
    "out_refund_no_0": REFUND_NO,
    "refund_fee_0": "280",
    "refund_status_0": "SUCCESS",
}

_WORKED = {"return_code": "SUCCESS", "result_code": "SUCCESS", "appid": APPID, "mch_id": MCHID}
_FAILED = {"result_code": "FAIL"}
_FOREIGN_KEY = "0" * 32
_ANOTHER = "1900000110"


def lies() -> dict[str, bytes]:
    """Answers that no call may take for a payment or an end."""
    found: dict[str, bytes] = {
        "not understood": unsigned_xml({"return_code": "FAIL", "return_msg": "x"}),
        "unsigned refusal": unsigned_xml(_WORKED | _FAILED | {"err_code": "TRADE_ERROR"}),
        "forged refusal": wechat_v2_answer(_FAILED | {"err_code": "TRADE_ERROR"}, key=_FOREIGN_KEY),
        "unsigned no such trade": unsigned_xml(_WORKED | _FAILED | {"err_code": "ORDERNOTEXIST"}),
        "unsigned end": unsigned_xml(_WORKED | {"recall": "N"}),
        "end of another merchant": wechat_v2_answer({"recall": "N", "mch_id": _ANOTHER}),
        "a code unheard of": wechat_v2_answer(_FAILED | {"err_code": "ASK_LATER"}),
        "busy": wechat_v2_answer(_FAILED | {"err_code": "SYSTEMERROR"}),
        "the bank's fault": wechat_v2_answer(_FAILED | {"err_code": "BANKERROR"}),
        "entities": xml_http(b'<!DOCTYPE xml [<!ENTITY a "1">]>' + wechat_v2_message(PAID)),
        "a page": http(200, b"<html>maintenance</html>"),
        "not XML": xml_http(b"[]"),
        "not text": xml_http(b"\xff\xfe"),
        "nothing": xml_http(b""),
        "a server error": http(500, b""),
        "a redirect": http(302, b"", {"Location": "http://127.0.0.1:1/"}),
    }
    for name, fields in (("query", PAID), ("charge", CHARGED)):
        good = wechat_v2_message(fields)
        found |= {
            f"unsigned {name}": unsigned_xml(_WORKED | fields),
            f"forged {name}": wechat_v2_answer(fields, key=_FOREIGN_KEY),
            f"{name} signed in another way": wechat_v2_answer(fields, is_hmac=True),
            f"replayed {name} of another trade": wechat_v2_answer(fields | {"out_trade_no": "T20260101000002"}),
            f"{name} of another merchant": wechat_v2_answer(fields | {"mch_id": _ANOTHER}),
            f"{name} of another app": wechat_v2_answer(fields | {"appid": "wx0000000000000002"}),
            f"changed {name}": xml_http(good.replace(b"1280", b"1281")),
            f"half a {name}": xml_http(good[:-40]),
            f"{name} of no amount": wechat_v2_answer(fields | {"total_fee": ""}),
            f"{name} of no number for an amount": wechat_v2_answer(fields | {"total_fee": "12.80"}),
            f"{name} with a field twice": xml_http(good.replace(b"</xml>", b"<total_fee>1280</total_fee></xml>")),
        }
    return found | {"in a state unheard of": wechat_v2_answer(PAID | {"trade_state": "DONE"})}


def refund_lies() -> dict[str, bytes]:
    """Answers that no call may take for the end of a refund."""
    found = {
        "unsigned refusal": unsigned_xml(_WORKED | _FAILED | {"err_code": "NOTENOUGH"}),
        "forged refusal": wechat_v2_answer(_FAILED | {"err_code": "NOTENOUGH"}, key=_FOREIGN_KEY),
        "not understood": unsigned_xml({"return_code": "FAIL", "return_msg": "x"}),
        "unsigned no such refund": unsigned_xml(_WORKED | _FAILED | {"err_code": "REFUNDNOTEXIST"}),
        "busy": wechat_v2_answer(_FAILED | {"err_code": "SYSTEMERROR"}),
        "to be repeated": wechat_v2_answer(_FAILED | {"err_code": "BIZERR_NEED_RETRY"}),
        "a code unheard of": wechat_v2_answer(_FAILED | {"err_code": "ASK_LATER"}),
        "no refunds": wechat_v2_answer({"out_trade_no": TRADE_NO, "refund_count": "0"}),
        "not sure": wechat_v2_answer(REFUND_DONE | {"refund_status_0": "NOTSURE"}),
        "in a state unheard of": wechat_v2_answer(REFUND_DONE | {"refund_status_0": "DONE"}),
        "of another refund": wechat_v2_answer(REFUND_DONE | {"out_refund_no_0": "R2"}),
        "accepted, another refund": wechat_v2_answer(REFUND_ACCEPTED | {"out_refund_no": "R2"}),
        "accepted, another trade": wechat_v2_answer(REFUND_ACCEPTED | {"out_trade_no": "T20260101000002"}),
    }
    for name, fields, amount in (("reply", REFUND_ACCEPTED, "refund_fee"), ("query", REFUND_DONE, "refund_fee_0")):
        good = wechat_v2_message(fields)
        found |= {
            f"unsigned {name}": unsigned_xml(_WORKED | fields),
            f"forged {name}": wechat_v2_answer(fields, key=_FOREIGN_KEY),
            f"changed {name}": xml_http(good.replace(b"280", b"281")),
            f"{name} of another merchant": wechat_v2_answer(fields | {"mch_id": _ANOTHER}),
            f"{name} of no amount": wechat_v2_answer(fields | {amount: ""}),
        }
    return found
