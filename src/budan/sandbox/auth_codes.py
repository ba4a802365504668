"""The code in a payer's wallet that a shop scans."""

import secrets
from typing import Final

from budan.sandbox.faults import Faults
from budan.sandbox.records import WALLETS_OF, ChannelName, CodeMade
from budan.sandbox.world import World

_LENGTH: Final = 18
_OPENID_DIGITS: Final = 20
_USER_ID_DIGITS: Final = 12
_LEADS: Final = {ChannelName.WECHAT_V3: (10, 15), ChannelName.ALIPAY: (25, 30)}


def make_auth_code(world: World, *, channel: ChannelName, faults: Faults | None) -> CodeMade:
    """A fresh code of 18 digits of a wallet that pays on this channel, recorded; a charge with it meets these faults."""
    wallet = secrets.choice(WALLETS_OF[channel])
    lowest, highest = _LEADS[wallet]
    auth_code = ""
    while not auth_code or world.truth.has_code(auth_code):
        lead = lowest + secrets.randbelow(highest - lowest + 1)
        auth_code = f"{lead}{secrets.randbelow(10 ** (_LENGTH - 2)):0{_LENGTH - 2}d}"
    code = CodeMade(
        auth_code=auth_code,
        channel=wallet,
        made_at=world.clock(),
        payer_id=make_payer_id(wallet, nonce=world.nonce()),
        faults=faults,
    )
    world.truth.record(code)
    return code


def make_payer_id(channel: ChannelName, *, nonce: str) -> str:
    """Who a payer is to this channel's merchants; where several wallets pay, one of the first."""
    if WALLETS_OF[channel][0] is ChannelName.ALIPAY:
        return f"2088{int(nonce, 16) % 10**_USER_ID_DIGITS:0{_USER_ID_DIGITS}d}"
    return f"oSandbox{nonce[:_OPENID_DIGITS]}"
