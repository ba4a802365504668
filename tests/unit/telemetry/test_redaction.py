import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budan.telemetry.redaction import REDACTED, redact_fields, redact_text

TESTS = Path(__file__).parents[2]
OPENID = "oTestOpenid000000000000001ab"


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "database_password",
        "api_key",
        "apiKey",
        "apiv3_key",
        "api_v3_key",
        "app_key",
        "private_key",
        "merchant_private_key",
        "webhook_secret",
        "payee_number",
        "secrets",
        "token",
        "app_auth_token",
        "Authorization",
        "Cookie",
        "auth_code",
        "authCode",
        "openid",
        "sp_openid",
        "payer",
        "payer_id",
        "buyer_logon_id",
        "buyer_user_id",
        "sign",
        "Wechatpay-Signature",
        "dsn",
        "otp",
    ],
)
def test_a_field_with_a_secret_name_is_not_shown(name: str) -> None:
    for value in ("plain", 281234567890123456, b"plain", {"a": "plain"}, ["plain"]):
        assert redact_fields({name: value}) == {name: REDACTED}
        assert redact_fields({"body": [{name: value}]}) == {"body": [{name: REDACTED}]}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("payer_minor", 1280),
        ("trade_no", "T20260101000001"),
        ("key_id", "k1"),
        ("keys_loaded", 2),
        ("token_count", 3),
        ("order_id", 123456789012345678),
        ("channel_reference", "4200009999202601010000000001"),
        ("at", "2026-01-01T00:00:00.000000Z"),
        ("assigned", "w1"),
        ("password", None),
        ("has_token", True),
        ("event", "order closed: paid 12.80 at 08:00:03, 3 of 5"),
        ("url", "https://api.example.test:8443/v3/pay/transactions/id/4200009999202601010000000001?mchid=1900000109"),
    ],
)
def test_what_an_operator_needs_stays_readable(name: str, value: Any) -> None:
    assert redact_fields({name: value}) == {name: value}


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("charge with 134567890123456789 failed", "134567890123456789"),
        ('{"auth_code":"281234567890123456"}', "281234567890123456"),
        ("code=300123456789012345678901", "300123456789012345678901"),
        (f"payer {OPENID}!", OPENID),
        ("buyer 2088000000000001 paid", "2088000000000001"),
        ("secret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw in use", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("key sk_live_4eC39HqLyjWDarjtT1zdp7dc", "4eC39HqLyjWDarjtT1zdp7dc"),
        ("Authorization: Bearer abc.def.ghi", "abc.def.ghi"),
        ("authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("postgresql://budan:hunter2@db.example.test:5432/budan", "hunter2"),
        ('WECHATPAY2-SHA256-RSA2048 mchid="1",signature="c2lnbmF0dXJl"', "c2lnbmF0dXJl"),
        ("-----BEGIN PRIVATE KEY-----\nabc\ndef\n-----END PRIVATE KEY-----", "abc"),
        ("cut off: -----BEGIN RSA PRIVATE KEY-----\nabcdef", "abcdef"),
    ],
)
def test_a_secret_is_recognised_in_the_middle_of_a_text(text: str, secret: str) -> None:
    for shown in (redact_text(text), str(redact_fields({"event": text})), str(redact_fields({"body": text.encode()}))):
        assert secret not in shown
        assert REDACTED in shown


def test_no_key_of_the_vectors_survives() -> None:
    keys = json.loads((TESTS / "vectors.json").read_text("utf-8"))["keys"]
    for pair in keys.values():
        wrapped = base64.encodebytes(base64.b64decode(pair["private_pkcs8_b64"])).decode()
        for text in (pair["private_pkcs8_b64"], wrapped):
            shown = redact_text(f"loaded {text} from file")
            assert len(shown) < 100


def test_the_connection_text_keeps_all_but_the_password() -> None:
    assert redact_text("postgresql://budan:hunter2@db:5432/budan") == f"postgresql://budan:{REDACTED}@db:5432/budan"


def test_what_lies_too_deep_is_not_shown() -> None:
    deep: Any = "treasure"
    for _ in range(50):
        deep = [deep]
    assert "treasure" not in str(redact_fields({"a": deep}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), JSON))
def test_no_fields_make_it_fail(fields: dict[str, Any]) -> None:
    assert redact_fields(fields).keys() == fields.keys()
