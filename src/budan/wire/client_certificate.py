"""TLS by which a merchant shows a certificate of its own, as WeChat's /secapi asks for."""

import os
import ssl


class BadCertificate(ValueError):  # noqa: N818 - named like BadKey
    """A certificate, its key or an issuer that cannot be used; the message never quotes a text."""


def client_context(*, certificate: str, private_key: str, issuer: str | None) -> ssl.SSLContext:
    """A context that shows this certificate (PEM); the other side's issuer is the given one, else those of this machine."""
    try:
        context = ssl.create_default_context(cadata=issuer)
    except ssl.SSLError as error:
        raise BadCertificate("the issuer is no certificate in PEM") from error
    # OpenSSL is given files only here; this one has no name and no disk under it, so the key is never written down.
    descriptor = os.memfd_create("client_certificate", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as pair:
            pair.write(f"{certificate.strip()}\n{private_key.strip()}\n".encode())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    except (ssl.SSLError, OSError) as error:
        raise BadCertificate("certificate and key are no pair in PEM") from error
    finally:
        os.close(descriptor)
    return context
