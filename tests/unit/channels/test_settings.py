import json
from dataclasses import replace

import pytest

from budan.channels.alipay import settings as alipay
from budan.channels.settings import BadSettings
from budan.channels.wechat_v3 import settings as wechat_v3
from budan.ports.channel import AccountConfig
from unit.channels.builders import (
    PLATFORM_SERIAL,
    a_wechat_config,
    an_alipay_config,
    vectors,
    with_secret,
)


def refused_field(config: AccountConfig) -> str:
    parse = wechat_v3.parse_settings if config.channel == "wechat_v3" else alipay.parse_settings
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
