"""Certificates for tests, signed by a throw-away issuer: for any key, of any length of life."""

from datetime import datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.x509.oid import NameOID

from budan.core.numbers import AccountId
from budan.ports.channel import AccountConfig
from budan.wire.key_pairs import make_private_key
from budan.wire.rsa import load_private_key
from unit.channels.builders import APPID, MCHID, NOW, merchant_key, vectors


@cache
def another_key() -> RSAPrivateKey:
    """A key that is neither the merchant's nor the platform's of the vectors."""
    return load_private_key(make_private_key())


def a_certificate(key: RSAPublicKey, *, serial: int = 0x5A3F, ends_at: datetime = NOW + timedelta(days=365)) -> str:
    """PEM, from the issuer that all certificates of the tests have."""
    issuer = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "CN"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Ant Test"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "Certification"),
            x509.NameAttribute(NameOID.COMMON_NAME, "Ant Test Class 1 R1"),
        ]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "shop")]))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(min(NOW, ends_at) - timedelta(days=365))
        .not_valid_after(ends_at)
        .sign(another_key(), hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def as_pem(key: RSAPrivateKey) -> str:
    """A private key as the portals give it."""
    pkcs8 = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, pkcs8, serialization.NoEncryption()).decode()


def a_wechat_v2_config(
    *, gateway: str = "http://127.0.0.1:1", ends_at: datetime = NOW + timedelta(days=365), **settings: str
) -> AccountConfig:
    """An account at WeChat's older interface, whose certificate ends then."""
    return AccountConfig(
        account_id=AccountId(5),
        channel="wechat_v2",
        name="v2",
        enabled=True,
        settings={"gateway": gateway, "appid": APPID, "mch_id": MCHID, **settings},
        secrets={
            "api_key": vectors()["wechat_v2"]["key"],
            "client_certificate": a_certificate(merchant_key().public_key(), ends_at=ends_at),
            "client_key": as_pem(merchant_key()),
        },
    )
