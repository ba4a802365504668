"""Where the nightly report goes, read from the settings."""

import re
from typing import Final

from budan.cli.settings import Settings
from budan.core.errors import Refused
from budan.flows.mailing import Envelope
from budan.wire.smtp import BadSmtpUrl, SmtpServer, parse_smtp_url

# A line break in an address would be a second header.
_ADDRESS: Final = re.compile(r"[^@\s,<>]+@[^@\s,<>]+")


def parse_mail(settings: Settings) -> tuple[SmtpServer, Envelope] | None:
    """The server and who writes to whom; None where nothing of it is set.

    Raises `Refused` with `setting_missing` when only a part is set, with `setting_malformed` for no server or address.
    """
    texts = {name: settings.text(name) for name in ("smtp_url", "mail_from", "mail_to")}
    if not any(texts.values()):
        return None
    for name, text in texts.items():
        if not text:
            raise Refused("setting_missing", param=name, detail="mail needs smtp_url, mail_from and mail_to")
    recipients = tuple(part.strip() for part in texts["mail_to"].split(",") if part.strip())
    for name, addresses in (("mail_from", (texts["mail_from"],)), ("mail_to", recipients)):
        if not addresses or not all(_ADDRESS.fullmatch(address) for address in addresses):
            raise Refused("setting_malformed", param=name, detail="name@host")
    try:
        return parse_smtp_url(texts["smtp_url"]), Envelope(sender=texts["mail_from"], recipients=recipients)
    except BadSmtpUrl as error:
        raise Refused("setting_malformed", param="smtp_url", detail="smtp://user:password@host:port") from error
