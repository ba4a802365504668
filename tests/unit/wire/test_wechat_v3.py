import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from budan.wire import wechat_v3
from budan.wire.errors import BadAnswer
from budan.wire.rsa import sign_sha256, verify_sha256
from budan.wire.wechat_v3 import Verdict

Vectors = dict[str, Any]
Judge = Callable[..., Verdict]
NOW_S = 1767225600
REQUESTS = ["request_get_query", "request_post_native"]
ANSWERS = ["response_ok", "response_204_empty", "callback_paid", "callback_refund"]
NOTICES = ["callback_paid", "callback_refund"]


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def flipped_base64(text: str, at: int) -> str:
    return base64.b64encode(flipped(base64.b64decode(text), at)).decode()


@pytest.fixture(scope="session")
def wechat(vectors: Vectors) -> Vectors:
    return vectors["wechat_v3"]


@pytest.fixture(scope="session")
def judge(wechat: Vectors, platform_public: RSAPublicKey) -> Judge:
    keys = {wechat["platform_key_id"]: platform_public}

    def judge(headers: dict[str, str], body: bytes, *, now_s: int = NOW_S) -> Verdict:
        lowered = {name.lower(): value for name, value in headers.items()}
        return wechat_v3.verify_answer(lowered, body, public_keys=keys, now_s=now_s)

    return judge


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_signed_byte_for_byte_as_documented(
    wechat: Vectors, merchant_private: RSAPrivateKey, name: str
) -> None:
    vector = wechat[name]
    signed = wechat_v3.request_sign_string(
        method=vector["method"],
        path_and_query=vector["url"],
        timestamp=int(vector["timestamp"]),
        nonce=vector["nonce"],
        body=vector["body"].encode(),
    )
    assert signed == vector["sign_string"].encode()
    assert sign_sha256(merchant_private, signed) == vector["signature"]
    authorization = wechat_v3.Authorization(
        mchid=wechat["mchid"],
        nonce=vector["nonce"],
        timestamp=NOW_S,
        serial_no=wechat["merchant_cert_serial"],
        signature=vector["signature"],
    )
    assert wechat_v3.render_authorization(authorization) == vector["authorization"]
    assert wechat_v3.parse_authorization(vector["authorization"]) == authorization


@pytest.fixture(params=REQUESTS)
def request_judge(
    request: pytest.FixtureRequest, wechat: Vectors, merchant_public: RSAPublicKey
) -> tuple[Vectors, Judge]:
    vector = wechat[request.param]

    def judge(**changes: Any) -> Verdict:
        sent = {
            "method": vector["method"],
            "path_and_query": vector["url"],
            "body": vector["body"].encode(),
            "now_s": NOW_S,
        } | changes
        header = sent.pop("header", vector["authorization"])
        authorization = wechat_v3.parse_authorization(header)
        return wechat_v3.verify_request(authorization, public_key=merchant_public, **sent)

    return vector, judge


def test_the_platform_accepts_the_documented_request_and_no_changed_byte(request_judge: tuple[Vectors, Judge]) -> None:
    vector, judge = request_judge
    body, header = vector["body"].encode(), vector["authorization"]
    assert judge() is Verdict.VALID
    bodies = [flipped(body, at) for at in range(0, len(body), 17)] + [body + b" "]
    changes = [{"body": changed} for changed in bodies]
    changes += [{"path_and_query": vector["url"] + "x"}, {"method": "PUT"}]
    changes += [{"header": header.replace(vector["nonce"], flipped(vector["nonce"].encode(), 0).decode())}]
    changes += [{"header": header.replace('timestamp="1767225600"', 'timestamp="1767225601"')}]
    changes += [
        {"header": header.replace(vector["signature"], flipped_base64(vector["signature"], at))} for at in (0, 128, 255)
    ]
    assert {judge(**change) for change in changes} == {Verdict.WRONG_SIGNATURE}


def test_a_request_whose_clock_is_off_is_refused(request_judge: tuple[Vectors, Judge]) -> None:
    _, judge = request_judge
    assert judge(now_s=NOW_S + 300) is Verdict.VALID
    assert judge(now_s=NOW_S + 301) is Verdict.CLOCK
    assert judge(now_s=NOW_S - 301) is Verdict.CLOCK


def test_the_authorization_fields_may_come_in_any_order(wechat: Vectors) -> None:
    vector = wechat["request_get_query"]
    scheme, fields = vector["authorization"].split(" ", 1)
    turned = ",".join(reversed(fields.split(",")))
    assert wechat_v3.parse_authorization(f"{scheme} {turned}") == wechat_v3.parse_authorization(vector["authorization"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("WECHATPAY2-SHA256-RSA2048", "WECHATPAY2-SM2-WITH-SM3"),
        ('mchid="1900000109",', ""),
        ('mchid="1900000109"', 'mchid=""'),
        ('timestamp="1767225600"', 'timestamp="+1767225600"'),
        ('timestamp="1767225600"', 'timestamp="1_767225600"'),
        ('timestamp="1767225600"', 'timestamp="١٧٦٧٢٢٥٦٠٠"'),
        ('timestamp="1767225600"', f'timestamp="{"9" * 5000}"'),
        ("signature=", "sig="),
    ],
)
def test_an_authorization_that_lacks_something_is_none(wechat: Vectors, old: str, new: str) -> None:
    header = wechat["request_get_query"]["authorization"]
    assert old in header
    assert wechat_v3.parse_authorization(header.replace(old, new)) is None
    assert wechat_v3.parse_authorization("") is None


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_and_notices_are_signed_byte_for_byte_as_documented(
    wechat: Vectors, platform_private: RSAPrivateKey, name: str
) -> None:
    vector = wechat[name]
    nonce, body = vector["headers"]["Wechatpay-Nonce"], vector["body"].encode()
    signed = wechat_v3.answer_sign_string(timestamp=NOW_S, nonce=nonce, body=body)
    assert signed == vector["sign_string"].encode()
    headers = wechat_v3.sign_answer(
        body, private_key=platform_private, serial=wechat["platform_key_id"], timestamp=NOW_S, nonce=nonce
    )
    assert headers == vector["headers"]


@pytest.mark.parametrize("name", ANSWERS)
def test_a_documented_answer_counts_and_no_changed_byte_does(wechat: Vectors, judge: Judge, name: str) -> None:
    headers, body = wechat[name]["headers"], wechat[name]["body"].encode()
    assert judge(headers, body) is Verdict.VALID
    signature, nonce = headers["Wechatpay-Signature"], headers["Wechatpay-Nonce"]
    bodies = [flipped(body, at) for at in range(0, len(body), 23)] + [body + b"\n"]
    assert {judge(headers, changed) for changed in bodies} == {Verdict.WRONG_SIGNATURE}
    forged = [{"Wechatpay-Signature": flipped_base64(signature, at)} for at in (0, 100, 255)]
    forged += [{"Wechatpay-Signature": signature[:-4]}, {"Wechatpay-Signature": "无"}]
    forged += [{"Wechatpay-Nonce": flipped(nonce.encode(), at).decode()} for at in range(len(nonce))]
    forged += [{"Wechatpay-Timestamp": str(NOW_S + 1)}, {"Wechatpay-Timestamp": f"0{NOW_S}"}]
    assert {judge(headers | change, body) for change in forged} == {Verdict.WRONG_SIGNATURE}


def test_an_answer_without_a_signature_says_so(wechat: Vectors, judge: Judge) -> None:
    headers, body = wechat["response_ok"]["headers"], wechat["response_ok"]["body"].encode()
    for name in ("Wechatpay-Signature", "Wechatpay-Nonce", "Wechatpay-Serial", "Wechatpay-Timestamp"):
        assert judge({key: value for key, value in headers.items() if key != name}, body) is Verdict.UNSIGNED
    assert judge({}, b"") is Verdict.UNSIGNED


def test_probe_traffic_is_refused(wechat: Vectors, judge: Judge) -> None:
    vector = wechat["callback_paid"]
    probe = vector["headers"] | {
        "Wechatpay-Signature": "WECHATPAY/SIGNTEST/" + vector["headers"]["Wechatpay-Signature"]
    }
    assert judge(probe, vector["body"].encode()) is Verdict.PROBE


@pytest.mark.parametrize(("off_s", "verdict"), [(300, Verdict.VALID), (301, Verdict.CLOCK)])
def test_an_answer_is_refused_when_more_than_five_minutes_off(
    wechat: Vectors, judge: Judge, off_s: int, verdict: Verdict
) -> None:
    vector = wechat["response_ok"]
    for now_s in (NOW_S + off_s, NOW_S - off_s):
        assert judge(vector["headers"], vector["body"].encode(), now_s=now_s) is verdict


@pytest.mark.parametrize("text", ["soon", "-1767225600", "1767225600.0", "²"])
def test_a_time_that_is_no_number_is_refused(wechat: Vectors, judge: Judge, text: str) -> None:
    vector = wechat["response_ok"]
    assert judge(vector["headers"] | {"Wechatpay-Timestamp": text}, vector["body"].encode()) is Verdict.CLOCK


def test_the_serial_chooses_the_key(
    wechat: Vectors, platform_public: RSAPublicKey, merchant_public: RSAPublicKey, judge: Judge
) -> None:
    vector = wechat["response_ok"]
    body = vector["body"].encode()
    assert judge(vector["headers"] | {"Wechatpay-Serial": "5F00"}, body) is Verdict.UNKNOWN_KEY
    lowered = {name.lower(): value for name, value in vector["headers"].items()}
    both = {"5F00": merchant_public, wechat["platform_key_id"]: platform_public}
    assert wechat_v3.verify_answer(lowered, body, public_keys=both, now_s=NOW_S) is Verdict.VALID
    swapped = {wechat["platform_key_id"]: merchant_public, "5F00": platform_public}
    assert wechat_v3.verify_answer(lowered, body, public_keys=swapped, now_s=NOW_S) is Verdict.WRONG_SIGNATURE


@pytest.mark.parametrize("name", NOTICES)
def test_a_resource_is_sealed_and_opened_byte_for_byte_as_documented(wechat: Vectors, name: str) -> None:
    vector = wechat[name]
    sealing = {
        "api_v3_key": vector["aes_key"],
        "nonce": vector["nonce"],
        "associated_data": vector["associated_data"],
    }
    resource = json.loads(vector["body"])["resource"]
    assert resource["ciphertext"] == vector["ciphertext"]
    assert wechat_v3.decrypt_resource(resource["ciphertext"], **sealing) == vector["plaintext"].encode()
    assert wechat_v3.encrypt_resource(vector["plaintext"].encode(), **sealing) == vector["ciphertext"]


@pytest.mark.parametrize("name", NOTICES)
def test_a_resource_with_any_changed_byte_does_not_open(wechat: Vectors, name: str) -> None:
    vector = wechat[name]
    sound = {
        "ciphertext_b64": vector["ciphertext"],
        "api_v3_key": vector["aes_key"],
        "nonce": vector["nonce"],
        "associated_data": vector["associated_data"],
    }
    changes = [{"ciphertext_b64": flipped_base64(vector["ciphertext"], at)} for at in (0, 50, -16 + 300)]
    changes += [{"ciphertext_b64": text} for text in ("", "AAAA", "*", vector["ciphertext"][:-4], "密")]
    changes += [{"nonce": "fdasflkja485"}, {"nonce": ""}, {"nonce": "short"}, {"nonce": "密" * 12}]
    changes += [{"associated_data": ""}, {"associated_data": vector["associated_data"] + "x"}]
    changes += [{"api_v3_key": "1" + vector["aes_key"][1:]}]
    for change in changes:
        sealed = sound | change
        ciphertext = sealed.pop("ciphertext_b64")
        with pytest.raises(BadAnswer):
            wechat_v3.decrypt_resource(ciphertext, **sealed)


def test_an_api_key_of_a_wrong_length_is_a_configuration_fault_and_no_answer(wechat: Vectors) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        wechat_v3.decrypt_resource("AAAA", api_v3_key="short", nonce="fdasflkja484", associated_data="")


def test_the_wallet_page_is_signed_byte_for_byte_as_documented(
    wechat: Vectors, merchant_private: RSAPrivateKey, merchant_public: RSAPublicKey
) -> None:
    vector = wechat["jsapi_paysign"]
    signed = wechat_v3.jsapi_sign_string(
        appid=vector["appId"], timestamp=int(vector["timeStamp"]), nonce=vector["nonceStr"], package=vector["package"]
    )
    assert signed == vector["sign_string"].encode()
    assert sign_sha256(merchant_private, signed) == vector["paySign"]
    for at in range(0, len(signed), 7):
        assert not verify_sha256(merchant_public, flipped(signed, at), vector["paySign"])
