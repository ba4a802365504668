"""What an Alipay account must be set to, as `AccountConfig` keeps it."""

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from budan.channels.settings import (
    BadSettings,
    read_gateway,
    read_optional_text,
    read_private_key,
    read_public_key,
    read_text,
)
from budan.ports.channel import AccountConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class AlipaySettings:
    """An account's settings, checked, with its keys loaded.

    | field | where | what |
    |---|---|---|
    | `gateway` | settings | `https://openapi.alipay.com/gateway.do`, or a sandbox's address |
    | `app_id` | settings | the application |
    | `seller_id` | settings | the merchant's PID, 2088 and more digits; notices name it |
    | `precreate_product_code` | settings, may be absent | `QR_CODE_OFFLINE` or `FACE_TO_FACE_PAYMENT`, as the contract says |
    | `app_private_key` | secrets | the application's key: PKCS#8 or PKCS#1, base64 or PEM |
    | `alipay_public_key` | secrets | Alipay's key, not the application's: SPKI, base64 or PEM |
    """

    gateway: str
    app_id: str
    seller_id: str
    precreate_product_code: str | None
    app_private_key: RSAPrivateKey = field(repr=False)
    alipay_public_key: RSAPublicKey = field(repr=False)


def parse_settings(config: AccountConfig) -> AlipaySettings:
    """The account's settings; raises `BadSettings`. Costs some 35 ms for the private key."""
    private_key = read_private_key(config.secrets, "app_private_key")
    public_key = read_public_key(config.secrets, "alipay_public_key")
    # The console shows both public keys side by side; with the wrong one every answer would be "wrongly signed".
    if private_key.public_key().public_numbers() == public_key.public_numbers():
        raise BadSettings("alipay_public_key", "is the application's own key, not Alipay's")
    return AlipaySettings(
        gateway=read_gateway(config.settings, has_path=True),
        app_id=read_text(config.settings, "app_id", pattern="[0-9]{1,32}"),
        seller_id=read_text(config.settings, "seller_id", pattern="[0-9]{1,32}"),
        precreate_product_code=read_optional_text(config.settings, "precreate_product_code", pattern="[A-Z_]{1,64}"),
        app_private_key=private_key,
        alipay_public_key=public_key,
    )
