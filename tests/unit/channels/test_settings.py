import json
from dataclasses import replace
from datetime import timedelta

import pytest

from budan.channels.alipay import settings as alipay
from budan.channels.ipaynow import settings as ipaynow
from budan.channels.settings import BadSettings
from budan.channels.swiftpass import settings as swiftpass
from budan.channels.wechat_v3 import settings as wechat_v3
from budan.ports.channel import AccountConfig
from unit.channels.builders import (
    PLATFORM_SERIAL,
    a_swiftpass_config,
    a_wechat_config,
    an_alipay_config,
    an_ipaynow_config,
    vectors,
    with_secret,
)

PARSERS = {
    "wechat_v3": wechat_v3.parse_settings,
    "alipay": alipay.parse_settings,
    "swiftpass": swiftpass.parse_settings,
    "ipaynow": ipaynow.parse_settings,
}


def refused_field(config: AccountConfig) -> str:
    parse = PARSERS[config.channel]
    with pytest.raises(BadSettings) as refused:
        parse(config)
    for secret in config.secrets.values():
        assert not secret or secret not in str(refused.value)
    return refused.value.field_name


def test_good_settings_are_read_with_their_keys() -> None:
    wechat = wechat_v3.parse_settings(a_wechat_config(gateway="https://api.mch.weixin.qq.com/"))
    assert wechat.gateway == "https://api.mch.weixin.qq.com"
    assert wechat.wanted_serial == PLATFORM_SERIAL
    ali = alipay.parse_settings(an_alipay_config(precreate_product_code="QR_CODE_OFFLINE"))
    assert ali.precreate_product_code == "QR_CODE_OFFLINE"


def test_no_secret_shows_when_settings_are_shown() -> None:
    config = a_wechat_config()
    shown = repr(wechat_v3.parse_settings(config)) + repr(config)
    assert not any(secret in shown for secret in config.secrets.values())


@pytest.mark.parametrize("name", ["gateway", "mchid", "appid", "merchant_serial"])
@pytest.mark.parametrize("value", ["", "绝对错误 \n", "https://x/?a=b"])
def test_a_wrong_wechat_setting_is_named(name: str, value: str) -> None:
    assert refused_field(a_wechat_config(**{name: value})) == name


@pytest.mark.parametrize("name", ["gateway", "app_id", "seller_id"])
@pytest.mark.parametrize("value", ["", "绝对错误 \n", "https://x/?a=b"])
def test_a_wrong_alipay_setting_is_named(name: str, value: str) -> None:
    assert refused_field(an_alipay_config(**{name: value})) == name


@pytest.mark.parametrize("name", ["gateway", "app_id"])
@pytest.mark.parametrize("value", ["", "绝对错误 \n", "https://x/?a=b"])
def test_a_wrong_ipaynow_setting_is_named(name: str, value: str) -> None:
    assert refused_field(an_ipaynow_config(**{name: value})) == name


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("refund_gateway", ["ftp://x", "https://x/?a=b"]),
        ("refund_query_gateway", ["x"]),
        ("c2b_pay_channel", ["1", "14", "wechat"]),
        ("code_pay_channel", ["13"]),
        ("qr_output_type", ["2"]),
        ("wap_device_type", ["08"]),
        ("limit_pay", ["yes"]),
        ("c2b_time_out_s", ["59", "3601", "1e3", "-60"]),
        ("code_time_out_s", ["5", "9999"]),
        ("refused_query", ["closed"]),
        ("refused_refund_query", ["failed"]),
        ("reverse_cut_off", ["24:00", "12:60", "1200", "9:30"]),
    ],
)
def test_a_wrong_choice_of_what_no_document_confirms_is_named(name: str, values: list[str]) -> None:
    for value in values:
        assert refused_field(an_ipaynow_config(**{name: value})) == name


def test_an_ipaynow_account_needs_no_more_than_its_address_and_key() -> None:
    now = ipaynow.parse_settings(an_ipaynow_config(gateway="https://pay.ipaynow.cn/"))
    assert now.refund_gateway == "https://pay.ipaynow.cn/refund/refundOrder"
    assert now.refund_query_gateway == "https://pay.ipaynow.cn/refund/refundQuery"
    assert (now.c2b_time_out_s, now.code_time_out_s, now.limit_pay) == (900, 120, None)
    assert (now.c2b_pay_channel, now.code_pay_channel, now.refused_query) == ("13", "by_code", "not_found")
    # What could free money is not believed before an account says so.
    assert now.refused_refund_query == "unknown"
    assert not any(secret in repr(now) for secret in an_ipaynow_config().secrets.values())


@pytest.mark.parametrize("value", ["", "short", "键" * 32, "k" * 16 + " "])
def test_a_wrong_ipaynow_key_is_named_and_not_shown(value: str) -> None:
    assert refused_field(with_secret(an_ipaynow_config(), "app_key", value)) == "app_key"


@pytest.mark.parametrize("name", ["merchant_private_key", "apiv3_key", "platform_keys"])
@pytest.mark.parametrize("value", ["", "short", "AAAA", "{}", "[]", '{"a":1}', '{"a":"AAAA"}'])
def test_a_wrong_wechat_secret_is_named_and_not_shown(name: str, value: str) -> None:
    assert refused_field(with_secret(a_wechat_config(), name, value)).startswith(name)


@pytest.mark.parametrize("name", ["app_private_key", "alipay_public_key"])
@pytest.mark.parametrize("value", ["", "short", "AAAA"])
def test_a_wrong_alipay_secret_is_named_and_not_shown(name: str, value: str) -> None:
    assert refused_field(with_secret(an_alipay_config(), name, value)) == name


def test_our_own_public_key_in_the_place_of_alipays_is_found() -> None:
    """The portal shows both side by side, and the mistake would make every answer "wrongly signed"."""
    own = vectors()["keys"]["merchant"]["public_spki_b64"]
    assert refused_field(with_secret(an_alipay_config(), "alipay_public_key", own)) == "alipay_public_key"


def test_wechat_signs_paths_from_the_host_on_so_its_gateway_has_none() -> None:
    assert refused_field(a_wechat_config(gateway="https://proxy.example.com/wechat")) == "gateway"


def test_the_one_wrong_key_of_two_is_named() -> None:
    keys = {"GOOD": vectors()["keys"]["platform"]["public_spki_b64"], "5A3F": "AAAA"}
    assert refused_field(with_secret(a_wechat_config(), "platform_keys", json.dumps(keys))) == "platform_keys[5A3F]"


def test_without_a_public_key_id_none_is_asked_for() -> None:
    keys = {"5A3F": vectors()["keys"]["platform"]["public_spki_b64"]}
    config = with_secret(a_wechat_config(), "platform_keys", json.dumps(keys))
    assert wechat_v3.parse_settings(replace(config, enabled=False)).wanted_serial is None


def test_a_swiftpass_account_is_set_to_the_safe_side_where_nobody_says_otherwise() -> None:
    """What the protocol's file calls unconfirmed is a setting, and its default ends nothing."""
    settings = swiftpass.parse_settings(a_swiftpass_config())
    assert (settings.sign_type, settings.payerror_ends) == (swiftpass.SignType.MD5, False)
    assert settings.not_found_codes == {"ORDERNOTEXIST", "ACQ.TRADE_NOT_EXIST"}
    assert settings.refund_not_found_codes == {"REFUNDNOTEXIST"}
    assert settings.reverse_within == timedelta(days=7)
    chosen = {"payerror": "final", "not_found_codes": "A,B", "create_ip": "10.0.0.8", "reverse_within_h": "12"}
    other = swiftpass.parse_settings(a_swiftpass_config(**chosen))
    assert (other.payerror_ends, other.not_found_codes, other.create_ip) == (True, {"A", "B"}, "10.0.0.8")
    assert other.reverse_within == timedelta(hours=12)


@pytest.mark.parametrize("name", ["gateway", "mch_id"])
@pytest.mark.parametrize("value", ["", "绝对错误 \n", "https://x/?a=b"])
def test_a_wrong_swiftpass_setting_is_named(name: str, value: str) -> None:
    assert refused_field(a_swiftpass_config(**{name: value})) == name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sign_type", "RSA_1_1"),
        ("sub_appid", "w x"),
        ("payerror", "yes"),
        ("not_found_codes", "a b"),
        ("refund_not_found_codes", ","),
        ("create_ip", "::1"),
        ("reverse_within_h", "0"),
    ],
)
def test_a_wrong_choice_for_swiftpass_is_named(name: str, value: str) -> None:
    assert refused_field(a_swiftpass_config(**{name: value})) == name


@pytest.mark.parametrize("value", ["", "short", "with a blank in it", "密" * 32])
def test_a_wrong_shared_key_is_named_and_not_shown(value: str) -> None:
    assert refused_field(with_secret(a_swiftpass_config(), "api_key", value)) == "api_key"


@pytest.mark.parametrize("name", ["merchant_private_key", "platform_public_key"])
@pytest.mark.parametrize("value", ["", "AAAA"])
def test_a_wrong_swiftpass_key_pair_is_named_and_not_shown(name: str, value: str) -> None:
    assert refused_field(with_secret(a_swiftpass_config(sign_type="RSA_1_256"), name, value)) == name


def test_our_own_public_key_in_the_platforms_place_is_refused() -> None:
    own = vectors()["keys"]["merchant"]["public_spki_b64"]
    config = with_secret(a_swiftpass_config(sign_type="RSA_1_256"), "platform_public_key", own)
    assert refused_field(config) == "platform_public_key"
