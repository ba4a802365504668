"""The certificates of an application at Alipay: its own, Alipay's, and the root that certified both."""

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import NameOID

from budan.wire.certificate import read_certificate, root_sn
from budan.wire.rsa import load_private_key

_LIFE: Final = timedelta(days=1_825)
# A machine's clock may be a little behind the one that wrote the certificate.
_BACKDATED: Final = timedelta(days=1)
_ISSUER: Final = "Sandbox Class 1 R1"


class AlipayCertificates(msgspec.Struct, frozen=True, kw_only=True):
    """What is certified, PEM; `root_private_key` certifies Alipay's next key."""

    root_private_key: str
    root: str
    application: str
    alipay: str
    # Signs in turn with the new one while the keys change.
    old_alipay: str = ""

    @property
    def application_sn(self) -> str:
        """How requests name the application's certificate."""
        return read_certificate(self.application).alipay_sn

    @property
    def root_sn(self) -> str:
        """How requests name the root."""
        return root_sn([read_certificate(self.root)])

    @property
    def alipay_sns(self) -> list[str]:
        """How answers name Alipay's certificates, the newest first."""
        return [read_certificate(text).alipay_sn for text in (self.alipay, self.old_alipay) if text]


def certify_application(
    *, root_private_key: str, application_key: RSAPublicKey, app_id: str, alipay_private_key: str
) -> AlipayCertificates:
    """A root of this application alone, and what it certifies."""
    root_key = load_private_key(root_private_key).public_key()
    return AlipayCertificates(
        root_private_key=root_private_key,
        root=_certify(_ISSUER, root_key, by=root_private_key, is_root=True),
        application=_certify(app_id, application_key, by=root_private_key),
        alipay=_certify("Sandbox Alipay", load_private_key(alipay_private_key).public_key(), by=root_private_key),
    )


def certify_next(held: AlipayCertificates, *, alipay_private_key: str, keeps_old: bool) -> AlipayCertificates:
    """The same application with another certificate of Alipay's, beside the one before or in its place."""
    key = load_private_key(alipay_private_key).public_key()
    made = _certify("Sandbox Alipay", key, by=held.root_private_key)
    return msgspec.structs.replace(held, alipay=made, old_alipay=held.alipay if keeps_old else "")


def _certify(name: str, key: RSAPublicKey, *, by: str, is_root: bool = False) -> str:
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(_ISSUER))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _LIFE)
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
        .sign(load_private_key(by), hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _name(text: str) -> x509.Name:
    # Several parts, so that their order counts in the name that Alipay gives a certificate.
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "CN"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "budan sandbox"),
            x509.NameAttribute(NameOID.COMMON_NAME, text),
        ]
    )
