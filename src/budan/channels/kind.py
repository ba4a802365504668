"""What the program knows of a channel: one value in each channel's folder, from which everything else follows."""

import ipaddress
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import urlsplit

from budan.channels.form_reader import FormReader
from budan.channels.session import SessionChannel
from budan.channels.settings import BadSettings
from budan.core.numbers import Environment
from budan.ports.bill import BillTerms
from budan.ports.channel import AccountConfig, AccountFacts, KeyLife
from budan.wire.http import HttpClient
from budan.wire.rsa import Signer

_LOCAL_NAMES: Final = ("localhost", ".localhost", ".local", ".internal", ".test")


class Connect(Protocol):
    """Makes the HTTP session of one account."""

    def __call__(self, *, ssl_context: ssl.SSLContext | None = None) -> HttpClient:
        """A session; `ssl_context` is how it speaks TLS where this machine's way will not do."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What an adapter is built with beside its account; `monotonic_s` is only compared with `Call.send_before_s`."""

    connect: Connect
    signer: Signer
    monotonic_s: Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelKind:
    """One channel. `settings` and `secrets` name every field that an account may have.

    Of the settings, `identity` says whose the account is at the channel, and `gateways` are addresses. Real money moves
    at `live_hosts`, none at `test_hosts`; both may be empty where nobody outside knows the hosts. `bills` are those of the
    adapter's capabilities, to be known also of an account whose keys are wrong; `bill_reader` needs no keys either. It,
    `list_key_lives` and `build` raise `BadSettings`.
    """

    name: str
    settings: frozenset[str]
    secrets: frozenset[str]
    identity: tuple[str, ...]
    gateways: tuple[str, ...]
    live_hosts: frozenset[str]
    test_hosts: frozenset[str]
    list_key_lives: Callable[[AccountConfig], tuple[KeyLife, ...]]
    build: Callable[[AccountConfig, Tools], SessionChannel]
    bills: BillTerms | None
    bill_reader: Callable[[AccountConfig], FormReader]

    def examine(self, config: AccountConfig, *, environment: Environment) -> AccountFacts:
        """What the account says of itself, its channel not asked; raises `BadSettings`."""
        self._refuse_unknown_fields(config)
        self.refuse_wrong_place(config, environment=environment)
        return AccountFacts(
            identity={name: config.settings.get(name, "") for name in self.identity},
            key_lives=self.list_key_lives(config),
        )

    def _refuse_unknown_fields(self, config: AccountConfig) -> None:
        """A field that the channel does not know is a typing mistake; raises `BadSettings`."""
        for given, known, kept in (
            (config.settings, self.settings, "setting"),
            (config.secrets, self.secrets, "secret"),
        ):
            for name in given:
                if name not in known:
                    raise BadSettings(name, f"is no {kept} of {self.name}, which has {', '.join(sorted(known))}")

    def refuse_wrong_place(self, config: AccountConfig, *, environment: Environment) -> None:
        """An account goes where its installation stands (I13); raises `BadSettings`.

        Only a local installation may call without TLS. A live one calls no sandbox, and no other one calls a host where
        real money moves. Of a host that is neither known nor of this machine or network, nobody can tell.
        """
        for name in self.gateways:
            address = config.settings.get(name, "")
            if not address:
                continue
            parts = urlsplit(address)
            if environment is not Environment.LOCAL and parts.scheme != "https":
                raise BadSettings(name, f"must be https in a {environment.value} installation")
            host = parts.hostname or ""
            if environment is Environment.LIVE and (host in self.test_hosts or _is_near(host)):
                raise BadSettings(name, "is a sandbox, and this installation is live")
            if environment is not Environment.LIVE and host in self.live_hosts:
                raise BadSettings(name, f"moves real money, and this installation is {environment.value}")


def _is_near(host: str) -> bool:
    """Whether a host is this machine or on its own network: no channel is there."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host.endswith(_LOCAL_NAMES)
