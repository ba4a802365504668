"""The quick channel in a process of its own, and an account of ours there."""

import json
import subprocess
import sys
from dataclasses import dataclass

import msgspec

from budan.core.numbers import AccountId
from budan.sandbox.quick import READY, QuickWish, is_paid
from budan.wire.key_pairs import make_private_key, public_text
from budan.wire.rsa import load_private_key
from stage import AMOUNT_MINOR, Stage

SERIAL = "PUB_KEY_ID_0000000000000000000000000001"
MCHID, APPID = "1900009191", "wxd678efh567hg6787"
PAID_EVERY = 5


@dataclass
class QuickChannel:
    """A started quick channel."""

    child: subprocess.Popen[bytes]
    url: str
    platform_key: str

    async def add_account(self, stage: Stage) -> AccountId:
        """An account of ours at it."""
        public = public_text(load_private_key(self.platform_key))
        return await stage.administration.add_account(
            channel="wechat_v3",
            name=f"quick {self.url}",
            settings={"gateway": self.url, "mchid": MCHID, "appid": APPID, "merchant_serial": "AB"},
            account_secrets={
                "merchant_private_key": make_private_key(),
                "apiv3_key": "k" * 32,
                "platform_keys": json.dumps({SERIAL: public}),
            },
        )

    def took_money(self, trade_no: str) -> bool:
        """Whether the payer of this trade has paid."""
        return is_paid(trade_no, paid_every=PAID_EVERY)

    def end(self) -> None:
        """Kill it."""
        self.child.kill()
        self.child.wait(10)
        assert self.child.stdout
        assert self.child.stdin
        self.child.stdout.close()
        self.child.stdin.close()


def start_quick_channel(*, answer_after_s: float = 0.005) -> QuickChannel:
    """Starts one and returns when it listens."""
    key = make_private_key()
    wish = QuickWish(
        mchid=MCHID,
        appid=APPID,
        serial=SERIAL,
        platform_key=key,
        amount_minor=AMOUNT_MINOR,
        paid_every=PAID_EVERY,
        answer_after_s=answer_after_s,
        at_once_max=200,
    )
    argv = [sys.executable, "-m", "budan.sandbox.quick"]
    child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin
    assert child.stdout
    child.stdin.write(msgspec.json.encode(wish) + b"\n")
    child.stdin.flush()
    line = child.stdout.readline().decode().strip()
    assert line.startswith(READY), line
    return QuickChannel(child=child, url=line.removeprefix(READY), platform_key=key)
