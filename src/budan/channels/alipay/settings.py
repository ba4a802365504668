"""What an Alipay account must be set to, as `AccountConfig` keeps it."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from budan.channels.alipay.bill import AlipayBillFacts, read_bill_facts
from budan.channels.settings import (
    BadSettings,
    read_certificate,
    read_certificates,
    read_certified_key,
    read_gateway,
    read_optional_text,
    read_private_key,
    read_public_key,
    read_text,
    refuse_no_pair,
    refuse_own_key,
    with_old_keys,
)
from budan.ports.channel import AccountConfig, KeyLife
from budan.wire.certificate import root_sn

SETTINGS: Final = frozenset(
    {
        *("gateway", "app_id", "seller_id", "precreate_product_code"),
        *("bill_not_found_codes", "bill_account_suffix", "bill_fee"),
    }
)
_BILL_NOT_FOUND_CODES: Final = "isv.bill_not_exist,BILL_NOT_EXIST,NO_BILL_DATA,EMPTY_DATA_WITH_BILL_FILE"
_CERTIFICATES: Final = ("app_certificate", "alipay_certificate", "alipay_root_certificate")
SECRETS: Final = frozenset({"app_private_key", "alipay_public_key", *_CERTIFICATES})
# Where real money moves, and Alipay's own sandbox, where none does.
LIVE_HOSTS: Final = frozenset({"openapi.alipay.com"})
TEST_HOSTS: Final = frozenset({"openapi-sandbox.dl.alipaydev.com"})


@dataclass(frozen=True, slots=True, kw_only=True)
class AlipayKey:
    """A key by which Alipay signs; `cert_sn` is the name of its certificate, None where it came bare."""

    public_key: RSAPublicKey
    cert_sn: str | None = None

    def may_have_signed(self, cert_sn: str) -> bool:
        """False for a message that names another certificate than this key's."""
        return not cert_sn or self.cert_sn is None or self.cert_sn == cert_sn


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnCertificates:
    """What every request names in certificate mode: the application's certificate, and Alipay's roots."""

    app_cert_sn: str
    root_cert_sn: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AlipaySettings:
    """An account's settings, checked, with its keys loaded.

    | field | where | what |
    |---|---|---|
    | `gateway` | settings | `https://openapi.alipay.com/gateway.do`, or a sandbox's address |
    | `app_id` | settings | the application |
    | `seller_id` | settings | the merchant's PID, 2088 and more digits; notices name it |
    | `precreate_product_code` | settings, may be absent | `QR_CODE_OFFLINE` or `FACE_TO_FACE_PAYMENT`, as the contract says |
    | `bill_not_found_codes` | settings, may be absent | the sub codes of "no such bill", by commas (unconfirmed) |
    | `bill_account_suffix`, `bill_fee` | settings, may be absent | see `read_bill_facts` (unconfirmed) |
    | `app_private_key` | secrets | the application's key: PKCS#8 or PKCS#1, base64 or PEM |
    | `alipay_public_key` | secrets, for public-key mode | Alipay's key, not the application's: SPKI, base64 or PEM |
    | `app_certificate` | secrets, for certificate mode | the application's certificate, PEM |
    | `alipay_certificate` | secrets, for certificate mode | Alipay's certificate, PEM; two while they migrate: answers name theirs |
    | `alipay_root_certificate` | secrets, for certificate mode | Alipay's roots, PEM |

    The old keys are those of before the last rotation; until `old_until` they count beside today's.
    """

    gateway: str
    app_id: str
    seller_id: str
    precreate_product_code: str | None
    bill_not_found_codes: frozenset[str]
    bill_facts: AlipayBillFacts
    app_private_key: RSAPrivateKey = field(repr=False)
    alipay_keys: tuple[AlipayKey, ...] = field(repr=False)
    own_certificates: OwnCertificates | None = None
    old_alipay_keys: tuple[AlipayKey, ...] = field(default=(), repr=False)
    old_until: datetime | None = None

    def alipay_keys_at(self, now: datetime) -> tuple[AlipayKey, ...]:
        """The keys that may have signed an answer or a notice at `now`, today's first."""
        if self.old_until is None or now >= self.old_until:
            return self.alipay_keys
        return (*self.alipay_keys, *(key for key in self.old_alipay_keys if key not in self.alipay_keys))


def parse_settings(config: AccountConfig) -> AlipaySettings:
    """The account's settings; raises `BadSettings`. Costs some 35 ms for the private key."""
    private_key = read_private_key(config.secrets, "app_private_key")
    old = with_old_keys(config)
    return AlipaySettings(
        gateway=read_gateway(config.settings, has_path=True),
        app_id=read_text(config.settings, "app_id", pattern="[0-9]{1,32}"),
        seller_id=read_text(config.settings, "seller_id", pattern="[0-9]{1,32}"),
        precreate_product_code=read_optional_text(config.settings, "precreate_product_code", pattern="[A-Z_]{1,64}"),
        bill_not_found_codes=frozenset(
            (
                read_optional_text(config.settings, "bill_not_found_codes", pattern="[0-9A-Za-z_.]+(,[0-9A-Za-z_.]+)*")
                or _BILL_NOT_FOUND_CODES
            ).split(",")
        ),
        bill_facts=read_bill_facts(config.settings),
        app_private_key=private_key,
        alipay_keys=_alipay_keys(config, private_key),
        own_certificates=_own_certificates(config, private_key),
        old_alipay_keys=() if old is None else _alipay_keys(old, private_key),
        old_until=None if config.old_keys is None else config.old_keys.until,
    )


def list_key_lives(config: AccountConfig) -> tuple[KeyLife, ...]:
    """Until when the account's certificates are good; raises `BadSettings`."""
    parse_settings(config)
    lives = [
        KeyLife(field_name=name, ends_at=held.not_after)
        # A root lives for decades, and a bundle holds old ones on purpose.
        for name in _CERTIFICATES[:2]
        for held in read_certificates(config.secrets, name)
    ]
    return tuple(lives)


def _alipay_keys(config: AccountConfig, private_key: RSAPrivateKey) -> tuple[AlipayKey, ...]:
    held = read_certificates(config.secrets, "alipay_certificate")
    name = "alipay_certificate" if held else "alipay_public_key"
    if held:
        keys = tuple(AlipayKey(public_key=read_certified_key(one, name), cert_sn=one.alipay_sn) for one in held)
    else:
        keys = (AlipayKey(public_key=read_public_key(config.secrets, name)),)
    for key in keys:
        refuse_own_key(private_key, key.public_key, name, owner="Alipay")
    return keys


def _own_certificates(config: AccountConfig, private_key: RSAPrivateKey) -> OwnCertificates | None:
    """None in public-key mode; the three certificates come together or not at all."""
    given = [name for name in _CERTIFICATES if config.secrets.get(name)]
    if not given:
        return None
    missing = next((name for name in _CERTIFICATES if name not in given), None)
    if missing is not None:
        raise BadSettings(missing, f"is missing, while {given[0]} is there")
    own = read_certificate(config.secrets, "app_certificate")
    assert own is not None, "just seen"
    refuse_no_pair(private_key, own, "app_certificate")
    roots = root_sn(read_certificates(config.secrets, "alipay_root_certificate"))
    if not roots:
        raise BadSettings("alipay_root_certificate", "holds no root that is signed with RSA")
    return OwnCertificates(app_cert_sn=own.alipay_sn, root_cert_sn=roots)
