"""The channel iPaynow as the rest of the program knows it."""

from typing import Final

from budan.channels.form_reader import FormReader
from budan.channels.ipaynow.adapter import CAPABILITIES, IpaynowChannel
from budan.channels.ipaynow.bill import bill_form
from budan.channels.ipaynow.settings import LIVE_HOSTS, SECRETS, SETTINGS, TEST_HOSTS, list_key_lives, parse_settings
from budan.channels.kind import ChannelKind, Tools
from budan.channels.session import SessionChannel
from budan.channels.settings import read_text
from budan.ports.channel import AccountConfig


def _build(config: AccountConfig, tools: Tools) -> SessionChannel:
    settings = parse_settings(config)
    return IpaynowChannel(
        settings=settings,
        http=tools.connect(),
        monotonic_s=tools.monotonic_s,
    )


def _bill_reader(config: AccountConfig) -> FormReader:
    return FormReader(form=bill_form(), account_no=read_text(config.settings, "app_id", pattern="[0-9A-Za-z]{1,40}"))


KIND: Final = ChannelKind(
    name="ipaynow",
    settings=SETTINGS,
    secrets=SECRETS,
    identity=("app_id",),
    gateways=("gateway", "refund_gateway", "refund_query_gateway"),
    live_hosts=LIVE_HOSTS,
    test_hosts=TEST_HOSTS,
    list_key_lives=list_key_lives,
    build=_build,
    bills=CAPABILITIES.bills,
    bill_reader=_bill_reader,
)
