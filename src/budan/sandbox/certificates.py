"""Certificates that are thrown away with the sandbox's folder: its own for TLS, and those that merchants show."""

import ipaddress
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_LIFE: Final = timedelta(days=3_650)
# A machine's clock may be a little behind the one that wrote the certificate.
_BACKDATED: Final = timedelta(days=1)
_PRIVATE: Final = 0o600


class Certifier:
    """One issuer for each folder, made at the first start: certificates that merchants were given stay good."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "tls"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / "issuer.pem"
        if not path.exists():
            _write(path, _make_issuer())
        text = path.read_bytes()
        self._certificate = x509.load_pem_x509_certificate(text)
        key = serialization.load_pem_private_key(text, password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey), "we wrote this file"
        self._key = key

    @property
    def issuer(self) -> str:
        """Who certified the sandbox and its merchants, PEM."""
        return _pem(self._certificate).decode()

    @property
    def issuer_path(self) -> Path:
        """The same in a file, with its key."""
        return self._folder / "issuer.pem"

    def certify_server(self, host: str) -> Path:
        """A file with a fresh certificate for this address and its key."""
        names: list[x509.GeneralName] = [x509.DNSName("localhost")]
        names += [
            x509.IPAddress(ipaddress.ip_address(address)) for address in {host, "127.0.0.1"} if _is_address(address)
        ]
        path = self._folder / "server.pem"
        certificate, key = self._issue("budan sandbox", names=names)
        _write(path, certificate + key)
        return path

    def certify_merchant(self, mch_id: str) -> tuple[str, str]:
        """A merchant's certificate and its key, PEM."""
        certificate, key = self._issue(mch_id, names=[])
        return certificate.decode(), key.decode()

    def find_port(self) -> int:
        """The port that was last kept, 0 when there is none: merchants were told it."""
        path = self._folder / "port"
        return int(path.read_text("ascii")) if path.exists() else 0

    def keep_port(self, port: int) -> None:
        """Remembers where merchants show their certificates."""
        (self._folder / "port").write_text(str(port), "ascii")

    def _issue(self, name: str, *, names: list[x509.GeneralName]) -> tuple[bytes, bytes]:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(name, issuer=self._certificate.subject, key=key.public_key()).add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return _pem(builder.sign(self._key, hashes.SHA256())), _pem_key(key)


def _make_issuer() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("budan sandbox issuer")
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    builder = _builder("budan sandbox issuer", issuer=name, key=key.public_key(), is_issuer=True)
    return _pem(builder.add_extension(usage, critical=True).sign(key, hashes.SHA256())) + _pem_key(key)


def _builder(
    name: str, *, issuer: x509.Name, key: ec.EllipticCurvePublicKey, is_issuer: bool = False
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + _LIFE)
        .add_extension(x509.BasicConstraints(ca=is_issuer, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _pem_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, text: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
