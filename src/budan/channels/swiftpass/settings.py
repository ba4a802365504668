"""What a Swiftpass account must be set to, as `AccountConfig` keeps it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from enum import Enum
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from budan.channels.settings import (
    BadSettings,
    read_gateway,
    read_optional_text,
    read_private_key,
    read_public_key,
    read_text,
    refuse_own_key,
    still_good,
    with_old_keys,
)
from budan.channels.swiftpass.bill import SwiftpassBillFacts, read_bill_facts
from budan.ports.channel import AccountConfig, KeyLife

SETTINGS: Final = frozenset(
    {
        *("gateway", "mch_id", "sign_type", "sub_appid", "create_ip", "payerror", "reverse_within_h"),
        *("c2b_life_s_min", "not_found_codes", "refund_not_found_codes"),
        *("bill_gateway", "bill_ready_at", "bill_version", "bill_counts", "bill_account_column", "bill_reversed_words"),
    }
)
SECRETS: Final = frozenset({"api_key", "merchant_private_key", "platform_public_key"})
# Where real money moves; a bank's own address is known to its merchants only.
LIVE_HOSTS: Final = frozenset({"pay.swiftpass.cn"})

_CREATE_IP_DEFAULT: Final = "127.0.0.1"
_BILL_GATEWAY: Final = "https://download.swiftpass.cn/gateway"
_CODES: Final = "[0-9A-Z_.]+(,[0-9A-Z_.]+)*"
_NOT_FOUND_CODES_DEFAULT: Final = "ORDERNOTEXIST,ACQ.TRADE_NOT_EXIST"
_REFUND_NOT_FOUND_CODES_DEFAULT: Final = "REFUNDNOTEXIST"


class SignType(Enum):
    """How an account signs. An answer or notice that is signed in another way proves nothing."""

    MD5 = "MD5"
    RSA_1_256 = "RSA_1_256"


@dataclass(frozen=True, slots=True, kw_only=True)
class RsaKeys:
    """Ours to sign, and the platform's to verify."""

    merchant_private_key: RSAPrivateKey = field(repr=False)
    platform_public_key: RSAPublicKey = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SwiftpassSettings:
    """An account's settings, checked, with its keys loaded.

    | field | where | what |
    |---|---|---|
    | `gateway` | settings | `https://pay.swiftpass.cn/pay/gateway`, the bank's own address, or a sandbox's |
    | `mch_id` | settings | the merchant number |
    | `sign_type` | settings, may be absent | `MD5` (the default) or `RSA_1_256`, as the merchant's page at Swiftpass says |
    | `sub_appid` | settings, may be absent | the official account whose payers pay by JSAPI; without it there is none |
    | `create_ip` | settings, may be absent | our IPv4 address for trades without a device's; 127.0.0.1 |
    | `payerror` | settings, may be absent | `open` (the default) or `final`: what PAYERROR of a query means (unconfirmed) |
    | `reverse_within_h` | settings, may be absent | how long the bank behind reverses a charge, in hours (unconfirmed); 168 |
    | `c2b_life_s_min` | settings, may be absent | the shortest life of a placement that is sent, in seconds (unconfirmed); 0 |
    | `not_found_codes` | settings, may be absent | the codes of "no such trade", by commas (unconfirmed) |
    | `refund_not_found_codes` | settings, may be absent | those of "no such refund" (unconfirmed) |
    | `bill_gateway` | settings, may be absent | where bills are; Swiftpass's own, at a bank's gateway that gateway |
    | `bill_ready_at` | settings, may be absent | from when on Beijing's clock the day's bill is asked for, the day after (unconfirmed); 10:00 |
    | `bill_version` | settings, may be absent | `2.0` (the default) or `1.0`: what a request for a bill says (unconfirmed) |
    | `bill_counts`, `bill_account_column`, `bill_reversed_words` | settings, may be absent | see `read_bill_facts` |
    | `api_key` | secrets, for MD5 | the key that is shared with Swiftpass |
    | `merchant_private_key` | secrets, for RSA_1_256 | PKCS#8, base64 or PEM |
    | `platform_public_key` | secrets, for RSA_1_256 | Swiftpass's key, not ours: SPKI, base64 or PEM |

    The old ones are those of before the last rotation; until `old_until` they count beside today's.
    """

    gateway: str
    mch_id: str
    sub_appid: str | None
    create_ip: str
    payerror_ends: bool
    reverse_within: timedelta
    c2b_life_min: timedelta
    not_found_codes: frozenset[str]
    refund_not_found_codes: frozenset[str]
    sign_type: SignType
    bill_gateway: str
    bill_ready_at: time
    bill_version: str
    bill_facts: SwiftpassBillFacts
    api_key: str = field(repr=False)
    rsa_keys: RsaKeys | None = field(repr=False)
    old_api_key: str = field(default="", repr=False)
    old_rsa_keys: RsaKeys | None = field(default=None, repr=False)
    old_until: datetime | None = None

    def api_keys_at(self, now: datetime) -> tuple[str, ...]:
        """The shared keys that may have signed an answer or a notice at `now`, today's first."""
        return still_good(now, today=self.api_key, old=[self.old_api_key], until=self.old_until)

    def platform_keys_at(self, now: datetime) -> tuple[RSAPublicKey, ...]:
        """The same of an account that signs with RSA."""
        assert self.rsa_keys is not None, "the account signs with RSA"
        old = [] if self.old_rsa_keys is None else [self.old_rsa_keys.platform_public_key]
        return still_good(now, today=self.rsa_keys.platform_public_key, old=old, until=self.old_until)


def parse_settings(config: AccountConfig) -> SwiftpassSettings:
    """The account's settings; raises `BadSettings`. Costs some 35 ms for a private key."""
    values = config.settings
    sign_type = SignType(_optional(values, "sign_type", default="MD5", pattern="MD5|RSA_1_256"))
    is_keyed = sign_type is SignType.MD5
    old = with_old_keys(config)
    return SwiftpassSettings(
        gateway=read_gateway(values, has_path=True),
        mch_id=read_text(values, "mch_id", pattern="[0-9A-Za-z]{1,32}"),
        sub_appid=read_optional_text(values, "sub_appid", pattern="[0-9A-Za-z]{1,32}"),
        create_ip=_optional(values, "create_ip", default=_CREATE_IP_DEFAULT, pattern="[0-9.]{7,15}"),
        payerror_ends=_optional(values, "payerror", default="open", pattern="open|final") == "final",
        reverse_within=timedelta(
            hours=int(_optional(values, "reverse_within_h", default="168", pattern="[1-9][0-9]{0,3}"))
        ),
        c2b_life_min=timedelta(seconds=int(_optional(values, "c2b_life_s_min", default="0", pattern="[0-9]{1,4}"))),
        not_found_codes=_code_set(values, "not_found_codes", default=_NOT_FOUND_CODES_DEFAULT),
        refund_not_found_codes=_code_set(values, "refund_not_found_codes", default=_REFUND_NOT_FOUND_CODES_DEFAULT),
        bill_gateway=_bill_gateway(values),
        bill_ready_at=time.fromisoformat(
            _optional(values, "bill_ready_at", default="10:00", pattern="([01][0-9]|2[0-3]):[0-5][0-9]")
        ),
        bill_version=_optional(values, "bill_version", default="2.0", pattern="[12].0"),
        bill_facts=read_bill_facts(values),
        sign_type=sign_type,
        api_key=_api_key(config.secrets) if is_keyed else "",
        rsa_keys=None if is_keyed else _rsa_keys(config.secrets),
        old_api_key=_api_key(old.secrets) if old is not None and is_keyed else "",
        old_rsa_keys=_rsa_keys(old.secrets) if old is not None and not is_keyed else None,
        old_until=None if config.old_keys is None else config.old_keys.until,
    )


def list_key_lives(config: AccountConfig) -> tuple[KeyLife, ...]:
    """Swiftpass's keys have no end; raises `BadSettings`."""
    parse_settings(config)
    return ()


def _api_key(secrets: Mapping[str, str]) -> str:
    return read_text(secrets, "api_key", pattern="[!-~]{16,64}")


def _bill_gateway(values: Mapping[str, str]) -> str:
    given = values.get("bill_gateway")
    if given:
        try:
            return read_gateway({"gateway": given}, has_path=True)
        except BadSettings as error:
            raise BadSettings("bill_gateway", error.reason) from error
    gateway = read_gateway(values, has_path=True)
    return _BILL_GATEWAY if ".swiftpass.cn/" in gateway else gateway


def _rsa_keys(secrets: Mapping[str, str]) -> RsaKeys:
    private_key = read_private_key(secrets, "merchant_private_key")
    public_key = read_public_key(secrets, "platform_public_key")
    refuse_own_key(private_key, public_key, "platform_public_key", owner="Swiftpass")
    return RsaKeys(merchant_private_key=private_key, platform_public_key=public_key)


def _code_set(values: Mapping[str, str], field_name: str, *, default: str) -> frozenset[str]:
    return frozenset(_optional(values, field_name, default=default, pattern=_CODES).split(","))


def _optional(values: Mapping[str, str], field_name: str, *, default: str, pattern: str) -> str:
    return read_optional_text(values, field_name, pattern=pattern) or default
