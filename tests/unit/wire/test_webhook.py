import base64
import datetime as dt
import json
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from budan.wire import webhook

# From the library's own documentation.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEY = webhook.parse_secret(SECRET)
NOW_S = 1767225600
BODY = '{"type":"order_paid","shop":"一号店"}'.encode()


def signed(**changes: str) -> dict[str, str]:
    return webhook.sign(BODY, event_id="evt_1", timestamp=NOW_S, keys=(KEY,)) | changes


def judge(headers: dict[str, str], *, body: bytes = BODY, key: bytes = KEY, now_s: int = NOW_S) -> bool:
    return webhook.verify(body, headers=headers, key=key, now_s=now_s)


def test_our_signature_is_the_librarys_byte_for_byte() -> None:
    at = dt.datetime.fromtimestamp(NOW_S, tz=dt.UTC)
    assert signed()["webhook-signature"] == Webhook(SECRET).sign("evt_1", at, BODY.decode())


def test_a_merchant_with_the_library_accepts_our_event() -> None:
    headers = webhook.sign(BODY, event_id="evt_1", timestamp=int(time.time()), keys=(KEY,))
    assert Webhook(SECRET).verify(BODY, headers) == json.loads(BODY)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(BODY + b" ", headers)


def test_no_changed_byte_of_an_event_counts() -> None:
    assert judge(signed())
    for at in range(len(BODY)):
        assert not judge(signed(), body=BODY[:at] + bytes([BODY[at] ^ 1]) + BODY[at + 1 :])
    signature = signed()["webhook-signature"]
    for at in range(len(signature)):
        changed = signature[:at] + chr(ord(signature[at]) ^ 1) + signature[at + 1 :]
        assert not judge(signed(**{"webhook-signature": changed}))
    assert not judge(signed(**{"webhook-id": "evt_2"}))
    assert not judge(signed(**{"webhook-timestamp": str(NOW_S + 1)}))
    assert not judge(signed(), key=b"another key, of enough bytes")


@pytest.mark.parametrize(("off_s", "counts"), [(300, True), (301, False)])
def test_an_event_counts_for_five_minutes(off_s: int, counts: bool) -> None:  # noqa: FBT001 - a column of the table
    assert judge(signed(), now_s=NOW_S + off_s) is counts
    assert judge(signed(), now_s=NOW_S - off_s) is counts


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": ""},
        {"webhook-id": "\udcff"},
        {"webhook-timestamp": ""},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": f"+{NOW_S}"},
        {"webhook-timestamp": "9" * 5000},
        {"webhook-signature": ""},
        {"webhook-signature": "v1"},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v2,xx v1,*"},
        {"webhook-signature": "签名"},
        {"webhook-signature": "v1,\udcff"},
        {"webhook-signature": "v1,xx " * 10_000},
    ],
)
def test_a_malformed_header_is_false_and_no_exception(change: dict[str, str]) -> None:
    assert judge(signed(**change)) is False
    assert judge({}) is False


def test_during_a_change_of_secret_both_the_old_and_the_new_verify() -> None:
    other = webhook.parse_secret(webhook.new_secret())
    headers = webhook.sign(BODY, event_id="evt_1", timestamp=NOW_S, keys=(other, KEY))
    assert judge(headers)
    assert judge(headers, key=other)


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_*", "whsec_AAAA", "whsec_" + base64.b64encode(b"x" * 65).decode()]
)
def test_a_secret_that_is_none_is_refused_without_being_quoted(secret: str) -> None:
    with pytest.raises(ValueError, match="webhook secret") as refusal:
        webhook.parse_secret(secret)
    assert not secret or secret not in str(refusal.value)


def test_new_secrets_differ_and_are_accepted_by_the_library() -> None:
    secrets = {webhook.new_secret() for _ in range(50)}
    assert len(secrets) == 50
    assert all(Webhook(secret).sign("a", dt.datetime.now(dt.UTC), "b").startswith("v1,") for secret in secrets)
