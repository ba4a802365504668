"""What a WeChat v2 account must be set to, as `AccountConfig` keeps it."""

import ssl
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Final

from budan.channels.settings import (
    BadSettings,
    read_certificates,
    read_gateway,
    read_optional_text,
    read_text,
    still_good,
    with_old_keys,
)
from budan.channels.wechat_bills import WechatBillFacts, read_bill_facts
from budan.ports.channel import AccountConfig, KeyLife
from budan.wire.client_certificate import BadCertificate, client_context

SETTINGS: Final = frozenset(
    {
        *("gateway", "secure_gateway", "gateway_issuer", "appid", "mch_id", "sign_type", "create_ip"),
        *("refund_not_found_codes", "bill_counts", "bill_refund_fee"),
    }
)
SECRETS: Final = frozenset({"api_key", "client_certificate", "client_key"})
# Where real money moves: WeChat's two sites.
LIVE_HOSTS: Final = frozenset({"api.mch.weixin.qq.com", "api2.mch.weixin.qq.com"})
_CREATE_IP_DEFAULT: Final = "127.0.0.1"
_REFUND_NOT_FOUND_CODES_DEFAULT: Final = "REFUNDNOTEXIST"
_PEM: Final = r"\s*-----BEGIN [A-Z ]+-----[0-9A-Za-z+/=\s-]+-----END [A-Z ]+-----\s*"


class SignType(Enum):
    """How requests and their answers are signed."""

    MD5 = "MD5"
    HMAC_SHA256 = "HMAC-SHA256"


@dataclass(frozen=True, slots=True, kw_only=True)
class WechatV2Settings:
    """An account's settings, checked, with its certificate loaded.

    | field | where | what |
    |---|---|---|
    | `gateway` | settings | `https://api.mch.weixin.qq.com`, or a sandbox's address |
    | `secure_gateway` | settings, may be absent | where the client certificate is shown; the gateway |
    | `gateway_issuer` | settings, may be absent | who certified the secure gateway, PEM; whom this machine trusts |
    | `appid`, `mch_id` | settings | the app, and the merchant number that it is bound to |
    | `sign_type` | settings, may be absent | `MD5` (the default) or `HMAC-SHA256` |
    | `create_ip` | settings, may be absent | our IP address for charges without a device's; 127.0.0.1 |
    | `refund_not_found_codes` | settings, may be absent | the codes of "no such refund", by commas (unconfirmed) |
    | `bill_counts`, `bill_refund_fee` | settings, may be absent | see `read_bill_facts` (unconfirmed) |
    | `api_key` | secrets | the APIv2 key, 32 characters |
    | `client_certificate`, `client_key` | secrets | the merchant's API certificate and its key, PEM |

    The old key is that of before the last rotation; until `old_until` it counts beside today's.
    """

    gateway: str
    secure_gateway: str
    appid: str
    mch_id: str
    sign_type: SignType
    create_ip: str
    refund_not_found_codes: frozenset[str]
    bill_facts: WechatBillFacts
    api_key: str = field(repr=False)
    tls: ssl.SSLContext = field(repr=False)
    old_api_key: str = field(default="", repr=False)
    old_until: datetime | None = None

    def api_keys_at(self, now: datetime) -> tuple[str, ...]:
        """The keys that may have signed an answer at `now`, today's first."""
        return still_good(now, today=self.api_key, old=[self.old_api_key], until=self.old_until)


def parse_settings(config: AccountConfig) -> WechatV2Settings:
    """The account's settings; raises `BadSettings`."""
    values = config.settings
    gateway = read_gateway(values, has_path=False)
    secure = values.get("secure_gateway")
    old = with_old_keys(config)
    codes = read_optional_text(values, "refund_not_found_codes", pattern="[0-9A-Z_]+(,[0-9A-Z_]+)*")
    return WechatV2Settings(
        gateway=gateway,
        secure_gateway=gateway if not secure else _secure_gateway(secure),
        appid=read_text(values, "appid", pattern="[0-9A-Za-z]{1,32}"),
        mch_id=read_text(values, "mch_id", pattern="[0-9]{1,32}"),
        sign_type=SignType(read_optional_text(values, "sign_type", pattern="MD5|HMAC-SHA256") or "MD5"),
        create_ip=read_optional_text(values, "create_ip", pattern="[0-9A-Fa-f.:]{2,45}") or _CREATE_IP_DEFAULT,
        refund_not_found_codes=frozenset((codes or _REFUND_NOT_FOUND_CODES_DEFAULT).split(",")),
        bill_facts=read_bill_facts(values),
        api_key=_api_key(config),
        tls=_tls(config),
        old_api_key="" if old is None else _api_key(old),
        old_until=None if config.old_keys is None else config.old_keys.until,
    )


def list_key_lives(config: AccountConfig) -> tuple[KeyLife, ...]:
    """Until when the merchant's certificate is good; raises `BadSettings`."""
    parse_settings(config)
    held = read_certificates(config.secrets, "client_certificate")
    return tuple(KeyLife(field_name="client_certificate", ends_at=one.not_after) for one in held)


def _api_key(config: AccountConfig) -> str:
    return read_text(config.secrets, "api_key", pattern="[!-~]{32}")


def _secure_gateway(text: str) -> str:
    try:
        return read_gateway({"gateway": text}, has_path=False)
    except BadSettings as error:
        raise BadSettings("secure_gateway", error.reason) from error


def _tls(config: AccountConfig) -> ssl.SSLContext:
    certificate = read_text(config.secrets, "client_certificate", pattern=_PEM)
    private_key = read_text(config.secrets, "client_key", pattern=_PEM)
    try:
        return client_context(
            certificate=certificate,
            private_key=private_key,
            issuer=config.settings.get("gateway_issuer") or None,
        )
    except BadCertificate as error:
        raise BadSettings("client_certificate", str(error)) from error
