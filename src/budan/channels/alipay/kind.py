"""Alipay as the rest of the program knows it."""

from typing import Final

from budan.channels.alipay.adapter import CAPABILITIES, AlipayChannel
from budan.channels.alipay.bill import bill_form, read_bill_facts
from budan.channels.alipay.settings import LIVE_HOSTS, SECRETS, SETTINGS, TEST_HOSTS, list_key_lives, parse_settings
from budan.channels.form_reader import FormReader
from budan.channels.kind import ChannelKind, Tools
from budan.channels.session import SessionChannel
from budan.channels.settings import read_text
from budan.ports.channel import AccountConfig


def _build(config: AccountConfig, tools: Tools) -> SessionChannel:
    settings = parse_settings(config)
    return AlipayChannel(
        settings=settings,
        http=tools.connect(),
        signer=tools.signer,
        monotonic_s=tools.monotonic_s,
    )


def _bill_reader(config: AccountConfig) -> FormReader:
    return FormReader(
        form=bill_form(read_bill_facts(config.settings)),
        account_no=read_text(config.settings, "seller_id", pattern="[0-9]{1,32}"),
    )


KIND: Final = ChannelKind(
    name="alipay",
    settings=SETTINGS,
    secrets=SECRETS,
    identity=("app_id", "seller_id"),
    gateways=("gateway",),
    live_hosts=LIVE_HOSTS,
    test_hosts=TEST_HOSTS,
    list_key_lives=list_key_lives,
    build=_build,
    bills=CAPABILITIES.bills,
    bill_reader=_bill_reader,
)
