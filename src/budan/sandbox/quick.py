"""A channel that only answers questions, signed and at a pace that is known: what a sweep is measured against."""

import asyncio
import re
import sys
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from time import time
from typing import Final, Protocol, cast
from zlib import crc32

import msgspec
import uvloop

from budan.wire.field_signatures import sign_md5
from budan.wire.key_pairs import make_private_key, public_text
from budan.wire.rsa import load_private_key
from budan.wire.wechat_v3 import CLOCK_SKEW_S_MAX, sign_answer
from budan.wire.xml_fields import render_fields

READY: Final = "quick channel at "
SIGNING_THREADS: Final = 4
# An answer signed ahead is good for as long as its reader takes its timestamp, less the length of a measurement.
SIGNED_FOR_S: Final = CLOCK_SKEW_S_MAX / 2
WAITING_MAX: Final = 10_000
# Opens the one account of a channel, as the sandbox proper does.
ACCOUNTS_PATH: Final = "/sandbox/accounts"
# The channel's name follows; the body is a line for each trade, with the word `closed` behind its number or without.
PREPARE_PATH: Final = "/prepare/"

_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length:"
_WECHAT_PATH: Final = "/v3/pay/transactions/out-trade-no/"
_SWIFTPASS_PATH: Final = "/pay/gateway"
_ASKED_OF_SWIFTPASS: Final = re.compile(rb"<out_trade_no><!\[CDATA\[([0-9A-Z]+)\]\]>")
_MCHID: Final = "1900009191"
_APPID: Final = "wxd678efh567hg6787"
_PLATFORM_SERIAL: Final = "PUB_KEY_ID_0000000000000000000000000001"
_SWIFTPASS_MCH_ID: Final = "7551000001"
# Of play money, like every key here.
_SHARED_KEY: Final = "k" * 32
_CLOSED: Final = "closed"


class QuickWish(msgspec.Struct, frozen=True, kw_only=True):
    """How fast it is: `at_once_max` requests at a time, each for `answer_after_s`.

    The sandbox proper judges each request and keeps its truth, which costs more than asking does; this one does neither.

    A trade is paid when the CRC of its number is a multiple of `paid_every`; 0 pays none.
    """

    amount_minor: int
    paid_every: int
    answer_after_s: float
    at_once_max: int


class Standing(Enum):
    """How a trade stands at the channel."""

    OPEN = "open"
    CLOSED = "closed"
    PAID = "paid"


def is_paid(trade_no: str, *, paid_every: int) -> bool:
    """Whether the channel took money for a trade: anybody can tell from its number."""
    return paid_every > 0 and crc32(trade_no.encode()) % paid_every == 0


class _Dialect(Protocol):
    """What one channel says, and to whom."""

    def account(self, url: str) -> dict[str, object]:
        """What the channel's console shows of the one account."""
        ...

    def render(self, trade_no: str, standing: Standing) -> bytes:
        """A whole signed answer."""
        ...


class _Wechat:
    """WeChat Pay v3: a signature by an RSA key over each answer."""

    def __init__(self, wish: QuickWish) -> None:
        self._wish = wish
        self._key = load_private_key(make_private_key())

    def account(self, url: str) -> dict[str, object]:
        """See _Dialect.account."""
        return {
            "account_id": _MCHID,
            "gateway": url,
            "mchid": _MCHID,
            "appid": _APPID,
            "merchant_serial": "AB",
            "apiv3_key": _SHARED_KEY,
            "platform_keys": {_PLATFORM_SERIAL: public_text(self._key)},
        }

    def render(self, trade_no: str, standing: Standing) -> bytes:
        """See _Dialect.render."""
        body = msgspec.json.encode(self._transaction(trade_no, standing))
        signed = sign_answer(
            body, private_key=self._key, serial=_PLATFORM_SERIAL, timestamp=int(time()), nonce=trade_no
        )
        lines = "".join(f"{name}: {value}\r\n" for name, value in signed.items())
        return _answer(body, content_type="application/json", lines=lines)

    def _transaction(self, trade_no: str, standing: Standing) -> dict[str, object]:
        known: dict[str, object] = {"mchid": _MCHID, "appid": _APPID, "out_trade_no": trade_no}
        match standing:
            case Standing.OPEN:
                return known | {"trade_state": "NOTPAY", "trade_state_desc": "订单未支付"}
            case Standing.CLOSED:
                return known | {"trade_state": "CLOSED", "trade_state_desc": "订单已关闭"}
            case Standing.PAID:
                amount = {"total": self._wish.amount_minor, "payer_total": self._wish.amount_minor, "currency": "CNY"}
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


class _Swiftpass:
    """Swiftpass: an MD5 over each answer with the key that both sides have."""

    def __init__(self, wish: QuickWish) -> None:
        self._wish = wish

    def account(self, url: str) -> dict[str, object]:
        """See _Dialect.account."""
        return {
            "account_id": _SWIFTPASS_MCH_ID,
            "gateway": f"{url}{_SWIFTPASS_PATH}",
            "mch_id": _SWIFTPASS_MCH_ID,
            "sign_type": "MD5",
            "sub_appid": _APPID,
            "api_key": _SHARED_KEY,
        }

    def render(self, trade_no: str, standing: Standing) -> bytes:
        """See _Dialect.render."""
        fields = {
            "version": "2.0",
            "charset": "UTF-8",
            "sign_type": "MD5",
            "status": "0",
            "mch_id": _SWIFTPASS_MCH_ID,
            "nonce_str": trade_no,
            "result_code": "0",
            "out_trade_no": trade_no,
            **self._standing(trade_no, standing),
        }
        body = render_fields(fields | {"sign": sign_md5(fields, key=_SHARED_KEY)})
        return _answer(body, content_type="text/xml;charset=UTF-8")

    def _standing(self, trade_no: str, standing: Standing) -> dict[str, str]:
        match standing:
            case Standing.OPEN:
                return {"trade_state": "NOTPAY"}
            case Standing.CLOSED:
                return {"trade_state": "CLOSED"}
            case Standing.PAID:
                return {
                    "trade_state": "SUCCESS",
                    "trade_type": "pay.weixin.native",
                    "transaction_id": f"7551{crc32(trade_no.encode()):024d}",
                    "total_fee": str(self._wish.amount_minor),
                    "fee_type": "CNY",
                    "time_end": "20260131120000",
                    "openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o",
                }


class _Answers:
    """What a channel says of each trade: made once, and again when its timestamp is old."""

    def __init__(self, dialect: _Dialect, *, paid_every: int) -> None:
        self.dialect = dialect
        self._paid_every = paid_every
        self._closed: set[str] = set()
        self._made: dict[str, tuple[float, bytes]] = {}

    def answer(self, trade_no: str) -> bytes:
        """The bytes of the answer; signs when there are none yet."""
        made = self._made.get(trade_no)
        if made is None or time() - made[0] > SIGNED_FOR_S:
            made = self._made[trade_no] = (time(), self.dialect.render(trade_no, self._standing(trade_no)))
        return made[1]

    def forget(self, lines: Iterable[str]) -> list[str]:
        """The numbers in these lines, whose answers shall be made anew."""
        trade_nos: list[str] = []
        for line in lines:
            trade_no, _, word = line.partition(" ")
            if word == _CLOSED:
                self._closed.add(trade_no)
            self._made.pop(trade_no, None)
            trade_nos.append(trade_no)
        return trade_nos

    def _standing(self, trade_no: str) -> Standing:
        if is_paid(trade_no, paid_every=self._paid_every):
            return Standing.PAID
        return Standing.CLOSED if trade_no in self._closed else Standing.OPEN


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


class _Channels:
    """Both channels, at one address."""

    def __init__(self, wish: QuickWish, signers: ThreadPoolExecutor) -> None:
        self.url = ""
        self.pace = _Pace(wish)
        self.signers = signers
        self.wechat = _Answers(_Wechat(wish), paid_every=wish.paid_every)
        self.swiftpass = _Answers(_Swiftpass(wish), paid_every=wish.paid_every)

    def named(self, channel: str) -> _Answers:
        """The channel of this name."""
        return {"wechat_v3": self.wechat, "swiftpass": self.swiftpass}[channel]


class _Line(asyncio.Protocol):
    """One kept-alive connection; its requests come one after the other."""

    def __init__(self, channels: _Channels) -> None:
        self._channels = channels
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
        self._take(head.split(b" ", 2)[1].decode("ascii"), rest[:length])

    def _take(self, path: str, body: bytes) -> None:
        if path == _SWIFTPASS_PATH:
            asked = _ASKED_OF_SWIFTPASS.search(body)
            assert asked is not None, "not a question about a trade of ours"
            self._tell(self._channels.swiftpass, asked[1].decode("ascii"))
        elif path.startswith(_WECHAT_PATH):
            self._tell(self._channels.wechat, path.removeprefix(_WECHAT_PATH).partition("?")[0])
        elif path.startswith(PREPARE_PATH):
            answers = self._channels.named(path.removeprefix(PREPARE_PATH))
            self._prepare(answers, answers.forget(body.decode("ascii").splitlines()))
        else:
            assert path == ACCOUNTS_PATH, f"nothing is at {path}"
            channel = msgspec.json.decode(body, type=dict[str, str])["channel"]
            account = self._channels.named(channel).dialect.account(self._channels.url)
            self._send(_answer(msgspec.json.encode(account), content_type="application/json", status="201 Created"))

    def _tell(self, answers: _Answers, trade_no: str) -> None:
        self._channels.pace.hold(lambda: self._send(answers.answer(trade_no)))

    def _prepare(self, answers: _Answers, trade_nos: list[str]) -> None:
        """Sign ahead, so that signing is no part of a measurement."""
        loop, signers = asyncio.get_running_loop(), self._channels.signers
        made = asyncio.gather(*(loop.run_in_executor(signers, answers.answer, trade_no) for trade_no in trade_nos))
        made.add_done_callback(lambda _: self._send(_answer(b"", content_type="text/plain")))

    def _send(self, answer: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answer)


def _answer(body: bytes, *, content_type: str, status: str = "200 OK", lines: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
    return head.encode() + body


def _content_length(head: bytes) -> int:
    _, found, rest = head.lower().partition(_LENGTH)
    return int(rest.partition(b"\r\n")[0]) if found else 0


async def _serve(wish: QuickWish) -> None:
    with ThreadPoolExecutor(SIGNING_THREADS) as signers:
        channels = _Channels(wish, signers)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Line(channels), "127.0.0.1", 0, backlog=1_024)
        channels.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        sys.stdout.write(f"{READY}{channels.url}\n")
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
