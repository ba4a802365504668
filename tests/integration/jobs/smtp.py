"""A real mail server on loopback, of another make than our client: it takes, refuses, or is not there."""

import asyncio
import contextlib
import email
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default
from typing import Any, cast

from aiosmtpd.smtp import SMTP, Envelope, Session

WAIT_S = 20.0


@dataclass
class MailServer:
    """What came, in order; `refusal` is said instead of taking a message."""

    refusal: str = ""
    port: int = 0
    taken: list[EmailMessage] = field(default_factory=list[EmailMessage])
    recipients: list[list[str]] = field(default_factory=list[list[str]])
    _came: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 # their name
        self._came.set()
        if self.refusal:
            return self.refusal
        content = cast("bytes", envelope.content)
        self.taken.append(cast("EmailMessage", email.message_from_bytes(content, policy=default)))
        self.recipients.append(list(cast("list[str]", envelope.rcpt_tos)))
        return "250 taken"

    async def came(self) -> None:
        """Until somebody brings something."""
        await asyncio.wait_for(self._came.wait(), WAIT_S)
        self._came.clear()


@contextlib.asynccontextmanager
async def mail_server(*, port: int = 0, refusal: str = "") -> AsyncIterator[MailServer]:
    """A server on this port, or a free one."""
    box = MailServer(refusal=refusal)
    loop = asyncio.get_running_loop()

    def make() -> Any:
        return SMTP(box, loop=loop, hostname="mail.test")

    server = await loop.create_server(make, "127.0.0.1", port)
    box.port = server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        server.close()
