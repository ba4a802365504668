"""A channel that holds an HTTP session of its own."""

from typing import Protocol

from budan.ports.channel import Channel


class SessionChannel(Channel, Protocol):
    """What `accounts` builds, keeps and gives back."""

    async def end_session(self) -> None:
        """Ends the connections; a call still waiting gets its error. Safe to repeat."""
        ...


class GuardedSession(SessionChannel, Protocol):
    """The same behind a guard, which knows whether its channel answers."""

    @property
    def takes_new(self) -> bool:
        """See ChannelAccount.takes_new."""
        ...
