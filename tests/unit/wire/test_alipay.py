import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from hypothesis import given
from hypothesis import strategies as st

from budan.wire import alipay
from budan.wire.errors import BadAnswer
from budan.wire.forms import parse_form, render_form
from budan.wire.rsa import sign_sha256

Vectors = dict[str, Any]
REQUESTS = ["request_precreate", "request_pay_barcode"]
ANSWERS = [("response_query_paid", "alipay.trade.query"), ("response_precreate_slash", "alipay.trade.precreate")]


def flipped_text(text: str, at: int) -> str:
    return text[:at] + chr(ord(text[at]) ^ 1) + text[at + 1 :]


def flipped_base64(text: str, at: int) -> str:
    content = base64.b64decode(text)
    return base64.b64encode(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]).decode()


@pytest.fixture(scope="session")
def vectors_of(vectors: Vectors) -> Vectors:
    return vectors["alipay"]


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_signed_and_rendered_byte_for_byte_as_documented(
    vectors_of: Vectors, merchant_private: RSAPrivateKey, name: str
) -> None:
    vector = vectors_of[name]
    parameters = vector["params"]
    assert alipay.request_sign_string(parameters) == vector["sign_string"].encode()
    sign = alipay.sign_request(parameters, private_key=merchant_private)
    assert sign == vector["sign"]
    form = render_form(parameters | {"sign": sign})
    assert form == vector["form_urlencoded"].encode()
    assert parse_form(form) == parameters | {"sign": sign}


@pytest.mark.parametrize("name", REQUESTS)
def test_alipays_side_accepts_the_documented_request_and_no_changed_byte(
    vectors_of: Vectors, merchant_public: RSAPublicKey, name: str
) -> None:
    vector = vectors_of[name]
    sent = vector["params"] | {"sign": vector["sign"]}
    assert alipay.verify_request(sent, public_key=merchant_public)
    assert alipay.verify_request(sent | {"app_auth_token": ""}, public_key=merchant_public)
    changes = [{field: flipped_text(value, 0)} for field, value in vector["params"].items()]
    biz_content = vector["params"]["biz_content"]
    changes += [{"biz_content": flipped_text(biz_content, at)} for at in range(len(biz_content))]
    changes += [{"sign": flipped_base64(vector["sign"], at)} for at in (0, 100, 255)]
    changes += [{"sign": ""}, {"sign": "签"}, {"added": "1"}]
    assert not any(alipay.verify_request(sent | change, public_key=merchant_public) for change in changes)


def test_the_sign_type_takes_part_in_a_request_and_not_in_a_notice() -> None:
    parameters = {"b": "2", "a": "1", "sign_type": "RSA2", "sign": "xx", "empty": ""}
    assert alipay.request_sign_string(parameters) == b"a=1&b=2&sign_type=RSA2"
    assert alipay.notify_sign_string(parameters) == b"a=1&b=2&empty="
    assert alipay.notify_sign_string(parameters, keeps_empty=False) == b"a=1&b=2"


@pytest.mark.parametrize(("name", "method"), ANSWERS)
def test_the_signed_text_of_an_answer_is_its_exact_substring(
    vectors_of: Vectors, platform_public: RSAPublicKey, name: str, method: str
) -> None:
    vector = vectors_of[name]
    answer = alipay.parse_answer(vector["http_body"].encode(), method=method)
    assert answer.signed_text == vector["signed_bytes"]
    assert answer.signature == vector["sign"]
    assert answer.payload == json.loads(vector["signed_bytes"])
    assert alipay.verify_answer(answer, public_key=platform_public)


@pytest.mark.parametrize(("name", "method"), ANSWERS)
def test_alipays_side_renders_the_documented_answer(
    vectors_of: Vectors, platform_private: RSAPrivateKey, name: str, method: str
) -> None:
    vector = vectors_of[name]
    rendered = alipay.render_answer(vector["signed_bytes"], method=method, private_key=platform_private)
    assert rendered == vector["http_body"].encode()


@pytest.mark.parametrize(("name", "method"), ANSWERS)
def test_an_answer_with_any_changed_byte_does_not_count(
    vectors_of: Vectors, platform_public: RSAPublicKey, name: str, method: str
) -> None:
    body = vectors_of[name]["http_body"].encode()
    for at in range(len(body)):
        changed = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        try:
            answer = alipay.parse_answer(changed, method=method)
        except BadAnswer:
            continue
        assert not alipay.verify_answer(answer, public_key=platform_public), changed


def test_an_answer_signed_with_escaped_slashes_and_sent_without_them_counts(
    vectors_of: Vectors, platform_public: RSAPublicKey
) -> None:
    body = vectors_of["response_precreate_slash"]["http_body"].replace("\\/", "/")
    answer = alipay.parse_answer(body.encode(), method="alipay.trade.precreate")
    assert answer.payload["qr_code"] == "https://qr.alipay.com/bax0000001"
    assert alipay.verify_answer(answer, public_key=platform_public)


def test_blanks_between_members_and_a_certificate_number_do_not_disturb(
    vectors_of: Vectors, platform_public: RSAPublicKey
) -> None:
    vector = vectors_of["response_query_paid"]
    body = (
        ' {\n "alipay_cert_sn" : "ab12",\t"alipay_trade_query_response" :  '
        f'{vector["signed_bytes"]} ,"sign":"{vector["sign"]}"\r\n}} '
    )
    answer = alipay.parse_answer(body.encode(), method="alipay.trade.query")
    assert answer.alipay_cert_sn == "ab12"
    assert alipay.verify_answer(answer, public_key=platform_public)


def test_an_early_failure_is_readable_and_unsigned(platform_public: RSAPublicKey) -> None:
    body = b'{"error_response":{"code":"40002","msg":"Invalid Arguments"}}'
    answer = alipay.parse_answer(body, method="alipay.trade.query")
    assert answer.payload["code"] == "40002"
    assert not answer.is_signed
    assert not alipay.verify_answer(answer, public_key=platform_public)
    assert alipay.render_answer('{"code":"20000"}', method="alipay.trade.pay", private_key=None) == (
        b'{"alipay_trade_pay_response":{"code":"20000"}}'
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>busy</html>",
        b"[]",
        b"null",
        b'{"alipay_trade_query_response":{"code":"10000"}',
        b'{"alipay_trade_query_response":{"code":"10000"}} trailing',
        b'{"alipay_trade_query_response":"10000"}',
        b'{"alipay_trade_query_response":{},"alipay_trade_query_response":{"code":"10000"}}',
        b'{"alipay_trade_pay_response":{"code":"10000"}}',
        b'{"alipay_trade_query_response" {}}',
        b'{"alipay_trade_query_response":}',
        b"{7:{}}",
        b"{}",
        b'{"alipay_trade_query_response":{"name":"\xff"}}',
        b'{"alipay_trade_query_response":{"n":' + b"9" * 5000 + b"}}",
        b'{"a":' + b"[" * 100_000,
    ],
)
def test_an_unreadable_answer_is_a_bad_answer(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        alipay.parse_answer(body, method="alipay.trade.query")


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_a_bad_answer(body: bytes) -> None:
    try:
        alipay.parse_answer(body, method="alipay.trade.query")
    except BadAnswer:
        return


def notice_of(vectors_of: Vectors) -> dict[str, str]:
    return parse_form(vectors_of["notify_paid"]["form_urlencoded"].encode())


def test_a_notice_is_signed_byte_for_byte_as_documented(
    vectors_of: Vectors, platform_private: RSAPrivateKey, platform_public: RSAPublicKey
) -> None:
    vector = vectors_of["notify_paid"]
    fields = notice_of(vectors_of)
    assert alipay.notify_sign_string(fields) == vector["sign_string"].encode()
    assert alipay.sign_notify(fields, private_key=platform_private) == vector["sign"] == fields["sign"]
    assert alipay.verify_notify(fields, public_key=platform_public)
    assert render_form(fields) == vector["form_urlencoded"].encode()


def test_a_notice_with_any_changed_field_does_not_count(vectors_of: Vectors, platform_public: RSAPublicKey) -> None:
    fields = notice_of(vectors_of)
    for name, value in fields.items():
        if name == "sign_type":
            continue
        for at in range(0, len(value), 5):
            changed = flipped_base64(value, at % 256) if name == "sign" else flipped_text(value, at)
            assert not alipay.verify_notify(fields | {name: changed}, public_key=platform_public), name
        without = {key: kept for key, kept in fields.items() if key != name}
        assert not alipay.verify_notify(without, public_key=platform_public), name
    assert not alipay.verify_notify(fields | {"refund_fee": "1.00"}, public_key=platform_public)


def test_a_notice_with_an_empty_value_counts_whichever_way_it_was_signed(
    vectors_of: Vectors, platform_private: RSAPrivateKey, platform_public: RSAPublicKey
) -> None:
    """The documents drop empty values and the SDKs keep them; a refused notice would be a lost order."""
    fields = notice_of(vectors_of) | {"body": ""}
    kept = sign_sha256(platform_private, alipay.notify_sign_string(fields))
    dropped = sign_sha256(platform_private, alipay.notify_sign_string(fields, keeps_empty=False))
    assert kept != dropped
    for signature in (kept, dropped):
        assert alipay.verify_notify(fields | {"sign": signature}, public_key=platform_public)
    assert not alipay.verify_notify(fields | {"sign": flipped_base64(kept, 3)}, public_key=platform_public)


@given(st.dictionaries(st.text(min_size=1, max_size=5), st.text(max_size=20), min_size=1, max_size=8))
def test_a_form_comes_back_as_it_was_rendered(fields: dict[str, str]) -> None:
    assert parse_form(render_form(fields)) == fields


@pytest.mark.parametrize("body", [b"\xff=1", b"a=%ff", b"a", b"a=1&a=2", b"=&" * 500, "名=1".encode()])
def test_an_unreadable_or_ambiguous_form_is_a_bad_answer(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        parse_form(body)
