"""Mail: a row first, then a server that takes it, again and again until one does."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from budan.core.pace import delay_after
from budan.store import audit as stored
from budan.store.audit import DueMail
from budan.store.database import Database
from budan.wire.errors import WireError
from budan.wire.smtp import Letter

# A server that is down is back within minutes, or somebody must mend it: hourly until then.
MAIL_LADDER_S: Final = (30.0, 60.0, 300.0, 900.0, 3_600.0)
SEND_TIMEOUT_S: Final = 30.0
# A worker that dies while it sends leaves the mail to another after four of the longest sendings, so that no two send it.
CLAIM_S: Final = 120.0
ERROR_LENGTH_MAX: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """Who writes and who reads."""

    sender: str
    recipients: Sequence[str]


class Post(Protocol):
    """Brings a letter to a mail server: `wire.smtp.SmtpPost`, or one that a test can watch."""

    async def send(self, letter: Letter, *, timeout_s: float) -> None:
        """Return when the server has taken it; raises the errors of `wire`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Posted:
    """What became of one try; `error` is empty when a server has taken it."""

    mail_id: int
    attempts: int
    error: str


class Mailing:
    """Sends what waits. The number of a mail goes with it, so a reader can tell a repeat."""

    def __init__(self, *, database: Database, post: Post, installation: str) -> None:
        self._database = database
        self._post = post
        self._installation = installation

    async def send_next(self) -> Posted | None:
        """Try the oldest due mail; None when none is due. Safe to repeat and to race; raises `StoreUnavailable`.

        No transaction is open while the server is spoken to (I11). A process that dies after the server took the mail
        and before that was written sends it twice, never not at all.
        """
        async with self._database.transaction() as transaction:
            due = await stored.claim_mail(transaction, claim_s=CLAIM_S)
        if due is None:
            return None
        try:
            await self._post.send(self._letter(due), timeout_s=SEND_TIMEOUT_S)
        except WireError as error:
            text = f"{type(error).__name__}: {error}"[:ERROR_LENGTH_MAX]
            delay_s = delay_after(MAIL_LADDER_S, attempts=due.attempts - 1).total_seconds()
            async with self._database.transaction() as transaction:
                await stored.put_off(transaction, due.id, delay_s=delay_s, error=text)
            return Posted(mail_id=due.id, attempts=due.attempts, error=text)
        async with self._database.transaction() as transaction:
            await stored.mark_sent(transaction, due.id)
        return Posted(mail_id=due.id, attempts=due.attempts, error="")

    def _letter(self, due: DueMail) -> Letter:
        return Letter(
            number=f"budan.{self._installation}.{due.id}",
            sender=due.sender,
            recipients=due.recipients,
            subject=due.subject,
            written_at=due.created_at,
            text=due.text,
            html=due.html,
        )
