"""X.509 certificates of merchants and channels: their key, their serial, and how long they are good."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import NameOID, SignatureAlgorithmOID

from budan.wire.client_certificate import BadCertificate

MARK: Final = "-----BEGIN CERTIFICATE-----"
_RSA_SIGNATURES: Final = frozenset({SignatureAlgorithmOID.RSA_WITH_SHA1, SignatureAlgorithmOID.RSA_WITH_SHA256})
# How Alipay writes the parts of a name (RFC 2253), the last part of the certificate first.
_NAME_PARTS: Final = {
    NameOID.COMMON_NAME: "CN",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.LOCALITY_NAME: "L",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
    NameOID.COUNTRY_NAME: "C",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What we read from a certificate. `public_key` is None where the key is not RSA: it can still expire.

    `serial` is upper hex, as WeChat names certificates; `alipay_sn` is the name that Alipay gives it.
    """

    public_key: RSAPublicKey | None
    serial: str
    alipay_sn: str
    not_before: datetime
    not_after: datetime
    is_signed_with_rsa: bool


def read_certificate(text: str) -> Certificate:
    """The first certificate of a PEM text; raises `BadCertificate`."""
    return read_certificates(text)[0]


def read_certificates(text: str) -> list[Certificate]:
    """All certificates of a PEM text, one or more; raises `BadCertificate`."""
    try:
        return [_read(certificate) for certificate in x509.load_pem_x509_certificates(text.strip().encode())]
    except ValueError as error:
        raise BadCertificate("is no certificate in PEM") from error


def root_sn(certificates: Iterable[Certificate]) -> str:
    """Alipay's name for a bundle of roots: those signed with RSA, joined (docs/protocols/alipay.md section 2)."""
    return "_".join(certificate.alipay_sn for certificate in certificates if certificate.is_signed_with_rsa)


def _read(certificate: x509.Certificate) -> Certificate:
    key = certificate.public_key()
    issuer = ",".join(
        f"{_NAME_PARTS.get(part.oid, part.oid.dotted_string)}={part.value}"
        for rdn in reversed(certificate.issuer.rdns)
        for part in rdn
    )
    # The protocol names certificates by this digest; nothing is protected by it.
    digest = hashlib.md5(f"{issuer}{certificate.serial_number}".encode(), usedforsecurity=False)
    return Certificate(
        public_key=key if isinstance(key, RSAPublicKey) else None,
        serial=f"{certificate.serial_number:X}",
        alipay_sn=digest.hexdigest(),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        is_signed_with_rsa=certificate.signature_algorithm_oid in _RSA_SIGNATURES,
    )
