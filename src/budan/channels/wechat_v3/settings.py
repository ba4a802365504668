"""What a WeChat Pay v3 account must be set to, as `AccountConfig` keeps it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from budan.channels.settings import BadSettings, read_gateway, read_private_key, read_public_key, read_text
from budan.ports.channel import AccountConfig

_PUBLIC_KEY_PREFIX: Final = "PUB_KEY_ID_"


@dataclass(frozen=True, slots=True, kw_only=True)
class WechatV3Settings:
    """An account's settings, checked, with its keys loaded.

    | field | where | what |
    |---|---|---|
    | `gateway` | settings | `https://api.mch.weixin.qq.com`, or a sandbox's address |
    | `mchid` | settings | the merchant number |
    | `appid` | settings | the app or official account that the merchant number is bound to |
    | `merchant_serial` | settings | serial of the merchant's API certificate, upper hex |
    | `merchant_private_key` | secrets | PKCS#8, base64 or PEM |
    | `apiv3_key` | secrets | 32 characters; opens notices |
    | `platform_keys` | secrets | JSON object: what `Wechatpay-Serial` may say → SPKI in base64; two while keys migrate |
    """

    gateway: str
    mchid: str
    appid: str
    merchant_serial: str
    merchant_private_key: RSAPrivateKey = field(repr=False)
    apiv3_key: str = field(repr=False)
    platform_keys: Mapping[str, RSAPublicKey] = field(repr=False)

    @property
    def wanted_serial(self) -> str | None:
        """The key by which we ask for answers to be signed; None while only certificates are known."""
        return next((serial for serial in self.platform_keys if serial.startswith(_PUBLIC_KEY_PREFIX)), None)


def parse_settings(config: AccountConfig) -> WechatV3Settings:
    """The account's settings; raises `BadSettings`. Costs some 35 ms for the private key."""
    return WechatV3Settings(
        gateway=read_gateway(config.settings, has_path=False),
        mchid=read_text(config.settings, "mchid", pattern="[0-9]{1,32}"),
        appid=read_text(config.settings, "appid", pattern="[0-9A-Za-z]{1,32}"),
        merchant_serial=read_text(config.settings, "merchant_serial", pattern="[0-9A-F]{1,64}"),
        merchant_private_key=read_private_key(config.secrets, "merchant_private_key"),
        apiv3_key=read_text(config.secrets, "apiv3_key", pattern="[!-~]{32}"),
        platform_keys=_platform_keys(config.secrets),
    )


def _platform_keys(secrets: Mapping[str, str]) -> dict[str, RSAPublicKey]:
    try:
        texts = msgspec.json.decode(secrets.get("platform_keys", ""), type=dict[str, str])
    except msgspec.DecodeError as error:
        raise BadSettings("platform_keys", "is not a JSON object of key texts by serial") from error
    if not texts:
        raise BadSettings("platform_keys", "holds no key")
    # The serial tells which of two keys is wrong, and is no secret.
    return {serial: _platform_key(serial, text) for serial, text in texts.items()}


def _platform_key(serial: str, text: str) -> RSAPublicKey:
    name = f"platform_keys[{serial}]"
    return read_public_key({name: text}, name)
