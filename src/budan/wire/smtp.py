"""Mail to a server that takes it on: one message, one connection, and the three errors of this package."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Final
from urllib.parse import unquote, urlsplit

import aiosmtplib

from budan.wire.errors import BadAnswer, NoAnswer, NotSent

_PORTS: Final = {"smtp": 25, "smtps": 465}


class BadSmtpUrl(ValueError):  # noqa: N818 - an outcome of parsing, named as the reader meets it
    """The text names no mail server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpServer:
    """Where mail goes; `smtps` speaks TLS from the first byte, `smtp` as soon as the server offers it."""

    host: str
    port: int
    is_tls: bool
    user: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One message; `number` is what a reader tells a repeat by."""

    number: str
    sender: str
    recipients: Sequence[str]
    subject: str
    written_at: datetime
    text: str = field(repr=False)
    html: str = field(repr=False)


def parse_smtp_url(text: str) -> SmtpServer:
    """`smtp://user:password@host:port` or `smtps://…`, both parts escaped; raises `BadSmtpUrl`."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise BadSmtpUrl(str(error)) from error
    if parts.scheme not in _PORTS or not parts.hostname or parts.path not in {"", "/"} or parts.query:
        raise BadSmtpUrl("smtp://user:password@host:port or smtps://…")
    return SmtpServer(
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        is_tls=parts.scheme == "smtps",
        user=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
    )


class SmtpPost:
    """Brings letters to one server."""

    def __init__(self, server: SmtpServer) -> None:
        self._server = server

    async def send(self, letter: Letter, *, timeout_s: float) -> None:
        """The server has taken the letter for every recipient.

        Raises `NotSent` where none was reached, `BadAnswer` where it said no, `NoAnswer` where it may have taken it.
        """
        server = self._server
        try:
            refused, _ = await aiosmtplib.send(
                _render(letter),
                hostname=server.host,
                port=server.port,
                username=server.user,
                password=server.password,
                use_tls=server.is_tls,
                # A server that cannot encrypt is told no password.
                start_tls=True if server.password is not None and not server.is_tls else None,
                timeout=timeout_s,
            )
        except (aiosmtplib.SMTPConnectError, aiosmtplib.SMTPConnectTimeoutError, OSError) as error:
            raise NotSent(f"{type(error).__name__}: {error}") from error
        except (aiosmtplib.SMTPResponseException, aiosmtplib.SMTPRecipientsRefused) as error:
            raise BadAnswer(f"{type(error).__name__}: {error}") from error
        except (aiosmtplib.SMTPException, TimeoutError) as error:
            raise NoAnswer(f"{type(error).__name__}: {error}") from error
        if refused:
            raise BadAnswer(f"refused for {', '.join(sorted(refused))}")


def _render(letter: Letter) -> EmailMessage:
    message = EmailMessage()
    message["From"] = letter.sender
    message["To"] = ", ".join(letter.recipients)
    message["Subject"] = letter.subject
    message["Date"] = format_datetime(letter.written_at)
    message["Message-ID"] = f"<{letter.number}@{letter.sender.rpartition('@')[2].rstrip('>')}>"
    # Nobody's holiday reply should come back to a machine.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.text)
    message.add_alternative(letter.html, subtype="html")
    return message
