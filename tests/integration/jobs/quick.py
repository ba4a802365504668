"""The quick channel in a process of its own, and an account of ours there."""

import subprocess
import sys
from dataclasses import dataclass

import msgspec

from budan.cli.sandbox_account import open_sandbox_account
from budan.core.numbers import AccountId
from budan.sandbox.quick import PREPARE_PATH, READY, QuickWish, is_paid
from budan.wire.http_fast import FastHttpClient
from stage import AMOUNT_MINOR, Stage

PAID_EVERY = 5


@dataclass
class QuickChannel:
    """A started quick channel."""

    child: subprocess.Popen[bytes]
    url: str

    async def add_account(self, stage: Stage, channel: str = "wechat_v3") -> AccountId:
        """An account of ours at it."""
        name = f"quick {channel} {self.url}"
        opened = await open_sandbox_account(sandbox_url=self.url, channel=channel, name=name)
        return await stage.administration.add_account(
            channel=channel, name=name, settings=opened.settings, account_secrets=opened.secrets, by="Ann"
        )

    async def close(self, trade_nos: list[str]) -> None:
        """The channel says "closed" of these that were not paid."""
        client = FastHttpClient(connections_per_host_max=1)
        try:
            answer = await client.request(
                method="POST",
                url=f"{self.url}{PREPARE_PATH}wechat_v3",
                headers={"content-type": "text/plain"},
                body="\n".join(f"{trade_no} closed" for trade_no in trade_nos).encode(),
                timeout_s=30,
                body_bytes_max=0,
            )
        finally:
            await client.close()
        assert answer.status == 200

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
    wish = QuickWish(
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
    return QuickChannel(child=child, url=line.removeprefix(READY))
