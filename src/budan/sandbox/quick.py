"""A channel that only answers questions, signed and at a pace that is known: what a sweep is measured against."""

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import time
from typing import Final, cast
from zlib import crc32

import msgspec
import uvloop

from budan.wire.rsa import load_private_key
from budan.wire.wechat_v3 import CLOCK_SKEW_S_MAX, sign_answer

READY: Final = "quick channel at "
SIGNING_THREADS: Final = 4
# An answer signed ahead is good for as long as its reader takes its timestamp, less the length of a measurement.
SIGNED_FOR_S: Final = CLOCK_SKEW_S_MAX / 2
WAITING_MAX: Final = 10_000
PREPARE_PATH: Final = "/prepare"

_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length:"
_TRADE_PATH: Final = "/v3/pay/transactions/out-trade-no/"


class QuickWish(msgspec.Struct, frozen=True, kw_only=True):
    """Who it plays and how fast: `at_once_max` requests at a time, each for `answer_after_s`.

    The sandbox proper judges each request and keeps its truth, which costs more than asking does; this one does neither.

    A trade is paid when the CRC of its number is a multiple of `paid_every`; 0 pays none.
    """

    mchid: str
    appid: str
    serial: str
    platform_key: str
    amount_minor: int
    paid_every: int
    answer_after_s: float
    at_once_max: int


def is_paid(trade_no: str, *, paid_every: int) -> bool:
    """Whether the channel took money for a trade: anybody can tell from its number."""
    return paid_every > 0 and crc32(trade_no.encode()) % paid_every == 0


class _WechatAnswers:
    """What WeChat Pay says of a trade, signed; made once for each and again when its timestamp is old."""

    def __init__(self, wish: QuickWish) -> None:
        self._wish = wish
        self._key = load_private_key(wish.platform_key)
        self._made: dict[str, tuple[float, bytes]] = {}

    def answer(self, trade_no: str) -> bytes:
        """The bytes of the answer; signs when there are none yet."""
        made = self._made.get(trade_no)
        if made is None or time() - made[0] > SIGNED_FOR_S:
            made = self._made[trade_no] = (time(), self._render(trade_no))
        return made[1]

    def _render(self, trade_no: str) -> bytes:
        body = msgspec.json.encode(self._transaction(trade_no))
        signed = sign_answer(
            body, private_key=self._key, serial=self._wish.serial, timestamp=int(time()), nonce=trade_no
        )
        lines = "".join(f"{name}: {value}\r\n" for name, value in signed.items())
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
        return head.encode() + body

    def _transaction(self, trade_no: str) -> dict[str, object]:
        wish = self._wish
        known: dict[str, object] = {"mchid": wish.mchid, "appid": wish.appid, "out_trade_no": trade_no}
        if not is_paid(trade_no, paid_every=wish.paid_every):
            return known | {"trade_state": "NOTPAY", "trade_state_desc": "订单未支付"}
        amount = {"total": wish.amount_minor, "payer_total": wish.amount_minor, "currency": "CNY"}
        return known | {
            "trade_state": "SUCCESS",
            "trade_state_desc": "支付成功",
            "transaction_id": f"42{crc32(trade_no.encode()):026d}",
            "trade_type": "NATIVE",
            "bank_type": "OTHERS",
            "success_time": "2026-01-31T12:00:00+08:00",
            "payer": {"openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"},
            "amount": amount | {"payer_currency": "CNY"},
        }


class _Pace:
    """Holds each answer back, so many at a time; the next wait in their order."""

    def __init__(self, wish: QuickWish) -> None:
        self._after_s = wish.answer_after_s
        self._free = wish.at_once_max
        self._waiting: deque[Callable[[], None]] = deque()

    def hold(self, send: Callable[[], None]) -> None:
        """Send it when its time in the channel is over."""
        if self._free == 0:
            assert len(self._waiting) < WAITING_MAX, "a caller without a bound"
            self._waiting.append(send)
            return
        self._free -= 1
        self._begin(send)

    def _begin(self, send: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(self._after_s, self._end, send)

    def _end(self, send: Callable[[], None]) -> None:
        send()
        if self._waiting:
            self._begin(self._waiting.popleft())
        else:
            self._free += 1


class _Line(asyncio.Protocol):
    """One kept-alive connection; its requests come one after the other."""

    def __init__(self, answers: _WechatAnswers, pace: _Pace, signers: ThreadPoolExecutor) -> None:
        self._answers = answers
        self._pace = pace
        self._signers = signers
        self._read = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:  # their name
        """See asyncio.Protocol."""
        self._read += data
        head, end, rest = self._read.partition(_HEAD_END)
        length = _content_length(head)
        if not end or len(rest) < length:
            return
        self._read = rest[length:]
        path = head.split(b" ", 2)[1].decode("ascii")
        if path == PREPARE_PATH:
            self._prepare(rest[:length].decode("ascii").split())
            return
        trade_no = path.removeprefix(_TRADE_PATH).partition("?")[0]
        self._pace.hold(lambda: self._send(self._answers.answer(trade_no)))

    def _prepare(self, trade_nos: list[str]) -> None:
        """Sign ahead, so that signing is no part of a measurement."""
        loop = asyncio.get_running_loop()
        made = asyncio.gather(*(loop.run_in_executor(self._signers, self._answers.answer, no) for no in trade_nos))
        made.add_done_callback(lambda _: self._send(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"))

    def _send(self, answer: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answer)


def _content_length(head: bytes) -> int:
    _, found, rest = head.lower().partition(_LENGTH)
    return int(rest.partition(b"\r\n")[0]) if found else 0


async def _serve(wish: QuickWish) -> None:
    answers, pace = _WechatAnswers(wish), _Pace(wish)
    with ThreadPoolExecutor(SIGNING_THREADS) as signers:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Line(answers, pace, signers), "127.0.0.1", 0, backlog=1_024)
        port = server.sockets[0].getsockname()[1]
        sys.stdout.write(f"{READY}http://127.0.0.1:{port}\n")
        sys.stdout.flush()
        async with server:
            await server.serve_forever()


def main() -> None:
    """Serve until killed."""
    wish = msgspec.json.decode(sys.stdin.buffer.readline(), type=QuickWish)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(wish))


if __name__ == "__main__":
    main()
