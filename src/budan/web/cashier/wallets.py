"""Which wallet looks at our page, and how it can be led to pay."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from budan.ports.channel import Method


class Wallet(Enum):
    """The program that a payer opened our page with."""

    WECHAT = "wechat"
    ALIPAY = "alipay"
    ANY = "any"  # a channel that takes all of them; no page is opened with it
    NONE = "none"


# The wallet whose money moves on a channel. A channel that is not here is offered under its own name.
WALLET_OF_CHANNEL: dict[str, Wallet] = {
    "wechat_v3": Wallet.WECHAT,
    "alipay": Wallet.ALIPAY,
    "swiftpass": Wallet.ANY,
}


# Where only the shop can scan, so that a page has nothing to offer.
SCANNED_BY_SHOPS: frozenset[str] = frozenset({"wechat_v2"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One way to pay that the page shows as a button."""

    channel: str
    wallet: Wallet
    method: Method


def wallet_of(user_agent: str) -> Wallet:
    """The wallet's own browser says its name; whoever lies about it is offered the wrong button, no more."""
    if "MicroMessenger" in user_agent:
        return Wallet.WECHAT
    if "AlipayClient" in user_agent:
        return Wallet.ALIPAY
    return Wallet.NONE


def is_phone(user_agent: str) -> bool:
    """Whether the page is on the very phone that has to pay, where a code cannot be scanned."""
    return "Mobile" in user_agent or "Android" in user_agent


def list_offers(channels: Sequence[str], *, user_agent: str) -> list[Offer]:
    """What to offer, in the merchant's order; inside a wallet only what that wallet pays.

    Alipay takes a phone's browser to its own page. WeChat has no such way without the payer's openid, which only the
    merchant's own account can ask for: there the code is shown.
    """
    wallet = wallet_of(user_agent)
    offers: list[Offer] = []
    for channel in dict.fromkeys(channels):
        if channel in SCANNED_BY_SHOPS:
            continue
        pays_by = WALLET_OF_CHANNEL.get(channel, Wallet.NONE)
        if wallet is not Wallet.NONE and pays_by not in {wallet, Wallet.ANY}:
            continue
        goes_to_wallet = pays_by is Wallet.ALIPAY and (wallet is Wallet.ALIPAY or is_phone(user_agent))
        offers.append(Offer(channel=channel, wallet=pays_by, method=Method.WAP if goes_to_wallet else Method.NATIVE))
    return offers
