"""Swiftpass as the rest of the program knows it."""

from typing import Final

from budan.channels.form_reader import FormReader
from budan.channels.kind import ChannelKind, Tools
from budan.channels.session import SessionChannel
from budan.channels.settings import read_text
from budan.channels.swiftpass.adapter import CAPABILITIES, SwiftpassChannel
from budan.channels.swiftpass.bill import bill_form, read_bill_facts
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


def _bill_reader(config: AccountConfig) -> FormReader:
    return FormReader(
        form=bill_form(read_bill_facts(config.settings)),
        account_no=read_text(config.settings, "mch_id", pattern="[0-9A-Za-z]{1,32}"),
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
    bills=CAPABILITIES.bills,
    bill_reader=_bill_reader,
)
