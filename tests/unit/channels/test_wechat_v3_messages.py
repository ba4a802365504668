import json
from datetime import UTC, datetime

import pytest

from budan.channels.wechat_v3 import messages
from budan.ports.channel import Method
from unit.channels.builders import APPID, MCHID, an_intent, vectors


def test_a_placement_is_rendered_as_the_vector_has_it() -> None:
    """But for `attach`, which we do not send."""
    expected = json.loads(vectors()["wechat_v3"]["request_post_native"]["body"])
    expected.pop("attach")
    intent = an_intent(expires_at=datetime(2026, 1, 1, 0, 10, tzinfo=UTC))
    rendered = messages.render_placement(intent, appid=APPID, mchid=MCHID)
    assert json.loads(rendered) == expected
    assert rendered.decode() == json.dumps(expected, ensure_ascii=False, separators=(",", ":"))


def test_a_jsapi_placement_names_who_may_pay() -> None:
    intent = an_intent(method=Method.JSAPI, payer_openid="oTest")
    body = json.loads(messages.render_placement(intent, appid=APPID, mchid=MCHID))
    assert body["payer"] == {"openid": "oTest"}
    assert "time_expire" not in body


def test_a_charge_names_the_code_and_the_place_and_no_notify_url() -> None:
    intent = an_intent(method=Method.CODE, store_id="7", device_id="POS7", device_ip="10.0.0.7")
    body = json.loads(messages.render_charge(intent, auth_code="130000000000000001", appid=APPID, mchid=MCHID))
    assert body["payer"] == {"auth_code": "130000000000000001"}
    assert body["scene_info"] == {"device_id": "POS7", "device_ip": "10.0.0.7", "store_info": {"out_id": "7"}}
    assert "notify_url" not in body


def test_a_merchant_without_shops_is_its_own() -> None:
    intent = an_intent(method=Method.CODE)
    body = json.loads(messages.render_charge(intent, auth_code="130000000000000001", appid=APPID, mchid=MCHID))
    assert body["scene_info"] == {"store_info": {"out_id": MCHID}}


def test_a_number_is_percent_encoded_before_it_is_signed() -> None:
    assert messages.query_path("A|B/C", mchid="1") == "/v3/pay/transactions/out-trade-no/A%7CB%2FC?mchid=1"
    assert messages.close_path("T1") == "/v3/pay/transactions/out-trade-no/T1/close"
    assert messages.reverse_path("T1") == "/v3/pay/transactions/out-trade-no/T1/reverse"


@pytest.mark.parametrize(("subject", "kept"), [("拿" * 50, "拿" * 42), ("a" * 200, "a" * 127), ("短", "短")])
def test_a_description_is_cut_between_characters(subject: str, kept: str) -> None:
    assert messages.render_description(subject) == kept
