"""What a WeChat Pay v3 account must be set to, as `AccountConfig` keeps it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from budan.channels.settings import (
    BadSettings,
    is_certificate,
    is_same_serial,
    read_certificate,
    read_certified_key,
    read_gateway,
    read_private_key,
    read_public_key,
    read_text,
    refuse_no_pair,
    refuse_own_key,
    still_good,
    with_old_keys,
)
from budan.channels.wechat_bills import WechatBillFacts, read_bill_facts
from budan.ports.channel import AccountConfig, KeyLife

SETTINGS: Final = frozenset({"gateway", "mchid", "appid", "merchant_serial", "bill_counts", "bill_refund_fee"})
SECRETS: Final = frozenset({"merchant_private_key", "merchant_certificate", "apiv3_key", "platform_keys"})
# Where real money moves: WeChat's two sites.
LIVE_HOSTS: Final = frozenset({"api.mch.weixin.qq.com", "api2.mch.weixin.qq.com"})

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
    | `merchant_certificate` | secrets, may be absent | the merchant's API certificate, PEM: the pair and its end are known then |
    | `apiv3_key` | secrets | 32 characters; opens notices |
    | `bill_counts`, `bill_refund_fee` | settings, may be absent | see `read_bill_facts` (unconfirmed) |
    | `platform_keys` | secrets | JSON object: what `Wechatpay-Serial` may say → SPKI in base64 or PEM, or a platform certificate in PEM; two while keys migrate |

    The old ones are those of before the last rotation; until `old_until` they count beside today's.
    """

    gateway: str
    mchid: str
    appid: str
    merchant_serial: str
    merchant_private_key: RSAPrivateKey = field(repr=False)
    apiv3_key: str = field(repr=False)
    platform_keys: Mapping[str, RSAPublicKey] = field(repr=False)
    bill_facts: WechatBillFacts
    old_apiv3_key: str | None = field(default=None, repr=False)
    old_platform_keys: Mapping[str, RSAPublicKey] = field(default_factory=dict[str, RSAPublicKey], repr=False)
    old_until: datetime | None = None

    def platform_keys_at(self, now: datetime) -> Mapping[str, RSAPublicKey]:
        """The keys by serial that may sign an answer or a notice at `now`."""
        if self.old_until is None or now >= self.old_until:
            return self.platform_keys
        # Under one serial today's key counts: a serial that changed its key was a mistake that somebody mended.
        return {**self.old_platform_keys, **self.platform_keys}

    def apiv3_keys_at(self, now: datetime) -> tuple[str, ...]:
        """The keys that may open a notice at `now`, today's first."""
        old = () if self.old_apiv3_key in {None, self.apiv3_key} else (self.old_apiv3_key,)
        return still_good(now, today=self.apiv3_key, old=[key for key in old if key], until=self.old_until)

    @property
    def wanted_serial(self) -> str | None:
        """The key by which we ask for answers to be signed; None while only certificates are known."""
        return next((serial for serial in self.platform_keys if serial.startswith(_PUBLIC_KEY_PREFIX)), None)


def parse_settings(config: AccountConfig) -> WechatV3Settings:
    """The account's settings; raises `BadSettings`. Costs some 35 ms for the private key."""
    private_key = read_private_key(config.secrets, "merchant_private_key")
    merchant_serial = read_text(config.settings, "merchant_serial", pattern="[0-9A-F]{1,64}")
    own = read_certificate(config.secrets, "merchant_certificate")
    if own is not None:
        refuse_no_pair(private_key, own, "merchant_certificate")
        if not is_same_serial(own.serial, merchant_serial):
            raise BadSettings("merchant_serial", f"is not that of the certificate, which is {own.serial}")
    old = with_old_keys(config)
    return WechatV3Settings(
        gateway=read_gateway(config.settings, has_path=False),
        mchid=read_text(config.settings, "mchid", pattern="[0-9]{1,32}"),
        appid=read_text(config.settings, "appid", pattern="[0-9A-Za-z]{1,32}"),
        merchant_serial=merchant_serial,
        merchant_private_key=private_key,
        apiv3_key=_apiv3_key(config.secrets),
        platform_keys=_platform_keys(config.secrets, private_key),
        old_apiv3_key=None if old is None else _apiv3_key(old.secrets),
        old_platform_keys={} if old is None else _platform_keys(old.secrets, private_key),
        old_until=None if config.old_keys is None else config.old_keys.until,
        bill_facts=read_bill_facts(config.settings),
    )


def list_key_lives(config: AccountConfig) -> tuple[KeyLife, ...]:
    """Until when the account's keys are good; raises `BadSettings`."""
    parse_settings(config)
    lives: list[KeyLife] = []
    own = read_certificate(config.secrets, "merchant_certificate")
    if own is not None:
        lives.append(KeyLife(field_name="merchant_certificate", ends_at=own.not_after))
    for serial, text in _platform_texts(config.secrets).items():
        name = _key_name(serial)
        held = read_certificate({name: text}, name) if is_certificate(text) else None
        if held is not None:
            lives.append(KeyLife(field_name=name, ends_at=held.not_after))
    return tuple(lives)


def _apiv3_key(secrets: Mapping[str, str]) -> str:
    return read_text(secrets, "apiv3_key", pattern="[!-~]{32}")


def _platform_keys(secrets: Mapping[str, str], private_key: RSAPrivateKey) -> dict[str, RSAPublicKey]:
    # The serial tells which of two keys is wrong, and is no secret.
    keys = {serial: _platform_key(serial, text) for serial, text in _platform_texts(secrets).items()}
    for serial, key in keys.items():
        refuse_own_key(private_key, key, _key_name(serial), owner="WeChat")
    return keys


def _platform_texts(secrets: Mapping[str, str]) -> dict[str, str]:
    try:
        texts = msgspec.json.decode(secrets.get("platform_keys", ""), type=dict[str, str])
    except msgspec.DecodeError as error:
        raise BadSettings("platform_keys", "is not a JSON object of key texts by serial") from error
    if not texts:
        raise BadSettings("platform_keys", "holds no key")
    return texts


def _platform_key(serial: str, text: str) -> RSAPublicKey:
    name = _key_name(serial)
    held = read_certificate({name: text}, name) if is_certificate(text) else None
    if held is None:
        return read_public_key({name: text}, name)
    if not is_same_serial(held.serial, serial):
        raise BadSettings(name, f"is the certificate of the serial {held.serial}")
    return read_certified_key(held, name)


def _key_name(serial: str) -> str:
    return f"platform_keys[{serial}]"
