"""Which wallet looks at our page, and how it can be led to pay."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from budan.flows.views import Payable
from budan.ports.channel import Method


class Wallet(Enum):
    """The program that a payer opened our page with."""

    WECHAT = "wechat"
    ALIPAY = "alipay"
    ANY = "any"  # a channel that takes all of them; no page is opened with it
    NONE = "none"


_WALLETS: dict[frozenset[str], Wallet] = {
    frozenset({"wechat"}): Wallet.WECHAT,
    frozenset({"alipay"}): Wallet.ALIPAY,
    frozenset({"wechat", "alipay"}): Wallet.ANY,
}


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


def wallet_paying(payable: Payable) -> Wallet:
    """Whose payers a channel's codes are for; NONE where its own name says more than a wallet's."""
    return _WALLETS.get(payable.wallets, Wallet.NONE)


def list_offers(payables: Sequence[Payable], *, user_agent: str) -> list[Offer]:
    """What to offer, in the merchant's order; inside a wallet only what that wallet pays.

    A phone's browser is taken to the wallet where the channel has a page for that, and Alipay's own browser too. Inside
    WeChat there is no such way without the payer's openid, which only the merchant's own account can ask for: there the
    code is shown. Where only a shop can scan, a page has nothing to offer.
    """
    wallet = wallet_of(user_agent)
    offers: list[Offer] = []
    for payable in payables:
        pays_by = wallet_paying(payable)
        if wallet is not Wallet.NONE and pays_by not in {wallet, Wallet.ANY}:
            continue
        opens_wallet = wallet is Wallet.ALIPAY or (wallet is Wallet.NONE and is_phone(user_agent))
        wished = [Method.WAP, Method.NATIVE] if opens_wallet else [Method.NATIVE]
        method = next((one for one in wished if one in payable.methods), None)
        if method is not None:
            offers.append(Offer(channel=payable.channel, wallet=pays_by, method=method))
    return offers
