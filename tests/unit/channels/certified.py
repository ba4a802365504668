"""Certificates for tests, signed by a throw-away issuer: for any key, of any length of life."""

from datetime import datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.x509.oid import NameOID

from budan.wire.key_pairs import make_private_key
from budan.wire.rsa import load_private_key
from unit.channels.builders import NOW


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
