from collections.abc import Callable, Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from budan.wire.field_signatures import (
    keyed_sign_string,
    sign_hmac_sha256,
    sign_md5,
    sign_string,
    verify_hmac_sha256,
    verify_md5,
    verify_rsa_sha256,
)
from budan.wire.rsa import sign_sha256
from budan.wire.xml_fields import parse_fields

Vectors = dict[str, Any]
Verify = Callable[[Mapping[str, str]], bool]


def flipped(text: str, at: int = 0) -> str:
    return text[:at] + chr(ord(text[at]) ^ 1) + text[at + 1 :]


def expect_no_change_passes(fields: dict[str, str], verify: Verify) -> None:
    """Every byte of every field counts, and so does each field's presence."""
    assert verify(fields)
    for name, value in fields.items():
        for at in range(len(value)):
            assert not verify(fields | {name: flipped(value, at)}), (name, at)
        if value:
            assert not verify({other: fields[other] for other in fields if other != name}), name
    assert not verify(fields | {"added": "1"})
    assert verify(fields | {"added": ""})
    assert not verify(fields | {"sign": fields["sign"].lower()})
    assert not any(verify(fields | {"sign": sign}) for sign in ("", "签", fields["sign"] * 2, fields["sign"][:-1]))


def swiftpass_request(vectors: Vectors, sign_type: str) -> dict[str, str]:
    fields = parse_fields(vectors["swiftpass"]["request_md5"]["xml"].encode())
    return {name: value for name, value in fields.items() if name != "sign"} | {"sign_type": sign_type}


@pytest.mark.parametrize(
    ("channel", "name"), [("swiftpass", "request_md5"), ("swiftpass", "response_md5_paid"), ("wechat_v2", "response")]
)
def test_md5_covers_the_documented_bytes_and_each_of_them(vectors: Vectors, channel: str, name: str) -> None:
    vector = vectors[channel][name]
    key = vectors[channel]["md5_key" if channel == "swiftpass" else "key"]
    fields = parse_fields(vector["xml"].encode())
    assert (
        keyed_sign_string(fields, key=key) == f"{vector['sign_string'].removesuffix(f'&key={key}')}&key={key}".encode()
    )
    assert sign_md5(fields, key=key) == vector["sign"]
    expect_no_change_passes(fields, lambda changed: verify_md5(changed, key=key))
    assert not verify_md5(fields, key=flipped(key))


def test_wechats_request_is_signed_both_ways_as_documented(vectors: Vectors) -> None:
    vector = vectors["wechat_v2"]
    fields, key = vector["request_params"], vector["key"]
    assert keyed_sign_string(fields, key=key) == vector["md5"]["sign_string"].encode()
    assert sign_md5(fields, key=key) == vector["md5"]["sign"]
    fields = fields | {"sign_type": "HMAC-SHA256"}
    assert keyed_sign_string(fields, key=key) == vector["hmac_sha256"]["sign_string"].encode()
    assert sign_hmac_sha256(fields, key=key) == vector["hmac_sha256"]["sign"]
    signed = fields | {"sign": vector["hmac_sha256"]["sign"]}
    expect_no_change_passes(signed, lambda changed: verify_hmac_sha256(changed, key=key))
    assert not verify_md5(signed, key=key)


def test_the_official_page_and_we_agree() -> None:
    """The one vector that WeChat itself published (docs/protocols/wechat_v2_micropay.md section 2)."""
    fields = {
        "appid": "wxd930ea5d5a258f4f",
        "body": "test",
        "device_info": "1000",
        "mch_id": "10000100",
        "nonce_str": "ibuaiVcKdpRxkhJA",
    }
    assert sign_md5(fields, key="192006250b4c09247ec02edce69f6a2d") == "9A0A8659F005D6984697E2CA0A9CF3B7"


def test_swiftpass_rsa_signs_without_a_key_at_the_end(vectors: Vectors, merchant_private: RSAPrivateKey) -> None:
    vector = vectors["swiftpass"]["request_rsa_1_256"]
    fields = swiftpass_request(vectors, "RSA_1_256")
    assert sign_string(fields) == vector["sign_string"].encode()
    assert sign_sha256(merchant_private, sign_string(fields)) == vector["sign"]


def test_a_documented_notice_under_rsa_is_verified_and_no_changed_byte(
    vectors: Vectors, platform_public: RSAPublicKey, merchant_public: RSAPublicKey
) -> None:
    vector = vectors["swiftpass"]["notify_rsa_1_256_paid"]
    fields = parse_fields(vector["xml"].encode())
    assert sign_string(fields) == vector["sign_string"].encode()
    assert verify_rsa_sha256(fields, public_key=platform_public)
    assert not verify_rsa_sha256(fields, public_key=merchant_public)
    for name in fields.keys() - {"sign"}:
        assert not verify_rsa_sha256(fields | {name: flipped(fields[name])}, public_key=platform_public), name
    assert not verify_rsa_sha256(fields | {"sign": flipped(fields["sign"], 40)}, public_key=platform_public)


def test_a_sha_1_signature_counts_for_nothing(vectors: Vectors, merchant_public: RSAPublicKey) -> None:
    """RSA_1_1 is documented as "old; do not choose": we neither make nor take it."""
    vector = vectors["swiftpass"]["request_rsa_1_1"]
    fields = swiftpass_request(vectors, "RSA_1_1")
    assert sign_string(fields) == vector["sign_string"].encode()
    assert not verify_rsa_sha256(fields | {"sign": vector["sign"]}, public_key=merchant_public)
