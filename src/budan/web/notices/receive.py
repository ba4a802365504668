"""The address that channels tell us at: the path names environment and channel account."""

from budan.core.errors import Refused
from budan.core.numbers import AccountId
from budan.flows.wired import Flows
from budan.web.exchange import Answer, Exchange

# More digits are no account of ours, and no number that the database could hold.
ACCOUNT_DIGITS_MAX = 9


class NoticeReceiver:
    """Hands each notice over as it came, and answers in the channel's own form."""

    def __init__(self, *, flows: Flows) -> None:
        self._flows = flows

    async def receive(self, exchange: Exchange) -> Answer:
        """POST /notify/{environment}/{channel}/{account_id}; success is answered only after the commit (I1)."""
        environment, channel, account = exchange.parameters
        if not account.isascii() or not account.isdigit() or len(account) > ACCOUNT_DIGITS_MAX:
            raise Refused("account_not_found")
        ack = await self._flows.notices.receive(
            environment=environment,
            channel=channel,
            account_id=AccountId(int(account)),
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in exchange.headers.items()},
            body=exchange.body,
        )
        if ack is None:
            raise Refused("account_not_found")
        return Answer(status=ack.status, body=ack.body, headers=((b"content-type", ack.content_type.encode()),))
