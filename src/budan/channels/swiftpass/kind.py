"""Swiftpass as the rest of the program knows it."""

from typing import Final

from budan.channels.kind import ChannelKind, Tools
from budan.channels.session import SessionChannel
from budan.channels.swiftpass.adapter import SwiftpassChannel
from budan.channels.swiftpass.settings import LIVE_HOSTS, SECRETS, SETTINGS, list_key_lives, parse_settings
from budan.ports.channel import AccountConfig


def _build(config: AccountConfig, tools: Tools) -> SessionChannel:
    settings = parse_settings(config)
    return SwiftpassChannel(
        settings=settings,
        http=tools.connect(),
        signer=tools.signer,
        monotonic_s=tools.monotonic_s,
    )


KIND: Final = ChannelKind(
    name="swiftpass",
    settings=SETTINGS,
    secrets=SECRETS,
    identity=("mch_id",),
    gateways=("gateway", "bill_gateway"),
    live_hosts=LIVE_HOSTS,
    test_hosts=frozenset(),
    list_key_lives=list_key_lives,
    build=_build,
)
