"""Which buttons a payer's page has, by his browser and by what the accounts can do."""

import pytest

from budan.channels.alipay.adapter import CAPABILITIES as ALIPAY
from budan.channels.ipaynow.adapter import CAPABILITIES as IPAYNOW
from budan.channels.swiftpass.adapter import CAPABILITIES as SWIFTPASS
from budan.channels.wechat_v2.adapter import CAPABILITIES as WECHAT_V2
from budan.channels.wechat_v3.adapter import CAPABILITIES as WECHAT_V3
from budan.cli.wiring import KINDS
from budan.flows.views import Payable
from budan.ports.channel import Capabilities, Method
from budan.web.cashier.wallets import Wallet, list_offers, wallet_paying

CAPABILITIES: dict[str, Capabilities] = {
    "wechat_v3": WECHAT_V3,
    "wechat_v2": WECHAT_V2,
    "alipay": ALIPAY,
    "swiftpass": SWIFTPASS,
    "ipaynow": IPAYNOW,
}
DESK = "Mozilla/5.0 (X11; Linux x86_64)"
PHONE = "Mozilla/5.0 (Linux; Android 14) Mobile"
WECHAT = f"{PHONE} MicroMessenger/8.0"
IN_ALIPAY = f"{PHONE} AlipayClient/10.5"


def payable(channel: str, **changes: frozenset[str]) -> Payable:
    can = CAPABILITIES[channel]
    return Payable(channel=channel, methods=can.methods, wallets=changes.get("wallets", can.wallets))


def offered(channel: str, browser: str, **changes: frozenset[str]) -> Method | None:
    offers = list_offers([payable(channel, **changes)], user_agent=browser)
    return offers[0].method if offers else None


def test_every_channel_says_whose_wallets_pay_on_it() -> None:
    assert set(CAPABILITIES) == set(KINDS)
    assert all(can.wallets for can in CAPABILITIES.values())


@pytest.mark.parametrize(
    ("channel", "methods"),
    [
        ("wechat_v3", (Method.NATIVE, Method.WAP, Method.NATIVE, None)),
        ("wechat_v2", (None, None, None, None)),
        ("alipay", (Method.NATIVE, Method.WAP, None, Method.WAP)),
        ("swiftpass", (Method.NATIVE, Method.NATIVE, Method.NATIVE, Method.NATIVE)),
        ("ipaynow", (Method.NATIVE, Method.WAP, Method.NATIVE, None)),
    ],
)
def test_a_page_offers_what_the_browser_it_is_in_can_pay(channel: str, methods: tuple[Method | None, ...]) -> None:
    assert tuple(offered(channel, browser) for browser in (DESK, PHONE, WECHAT, IN_ALIPAY)) == methods


def test_an_ipaynow_account_for_alipay_is_offered_in_alipay() -> None:
    """Its codes are one wallet's, as the account is set."""
    wallets = frozenset({"alipay"})
    methods = tuple(offered("ipaynow", browser, wallets=wallets) for browser in (DESK, PHONE, WECHAT, IN_ALIPAY))
    assert methods == (Method.NATIVE, Method.WAP, None, Method.WAP)
    assert wallet_paying(payable("ipaynow", wallets=frozenset({"unionpay"}))) is Wallet.NONE
