"""Mails that wait, brought to a server."""

import asyncio
from typing import Final

import structlog

from budan.flows.failures import Failures, attempt
from budan.flows.mailing import Mailing
from budan.telemetry import metrics
from budan.workers.loop import stopped_within, unless_stopped

LOOK_EVERY_S: Final = 2.0

_log = structlog.get_logger(__name__)


class MailTurns:
    """Takes turns while there is a server to send to; without one, what was written waits."""

    def __init__(self, *, mailing: Mailing | None) -> None:
        self._mailing = mailing

    async def run(self, stop: asyncio.Event) -> None:
        """Take turns until `stop`."""
        failures = Failures(work="mail")
        mailing = self._mailing
        while mailing is not None and not stop.is_set():
            # A server may take half a minute to answer. What it takes after we went is sent once more, as after a kill.
            posted = await unless_stopped(attempt(mailing.send_next, failures), stop)
            if posted is not None:
                outcome = "put_off" if posted.error else "sent"
                metrics.MAILS.labels(outcome).inc()
                if posted.error:
                    _log.error("mail_not_taken", mail=posted.mail_id, attempts=posted.attempts, error=posted.error)
                continue
            await stopped_within(LOOK_EVERY_S, stop)
