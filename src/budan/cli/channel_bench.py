"""What the channels' code costs: CPU per message beside bare cryptography, and how fast bills are read."""

import asyncio
import base64
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from rich.table import Table

from budan.channels.bill_reading import ExpectedBill, read_bill
from budan.channels.bill_tables import open_tables
from budan.channels.wechat_v3.adapter import WechatV3Channel
from budan.channels.wechat_v3.settings import WechatV3Settings, parse_settings
from budan.cli.bill_files import ACCOUNT_NO, DAY, all_samples, write_bill
from budan.cli.frame import EXIT_BROKEN, OUT, print_json
from budan.core.numbers import AccountId
from budan.ports.channel import AccountConfig, Call, Method, RawNotice, TradeIntent
from budan.wire import wechat_v3
from budan.wire.errors import NotSent
from budan.wire.http import BodySink, HttpAnswer
from budan.wire.rsa import Signer
from budan.wire.wechat_v3 import Verdict

RATIO_MAX: Final = 1.5
LINES_PER_S_MIN: Final = 200_000
# DuckDB's own bound, and what the program and its libraries take beside it.
TABLES_MB: Final = 256
RSS_MB_MAX: Final = 600
ROWS: Final = 250_000
ROWS_LONG: Final = 2_500_000

_ROUNDS: Final = 7
_MESSAGES: Final = 300
_SERIAL: Final = "PUB_KEY_ID_0119000001092026010100000000000000"
_APIV3_KEY: Final = "0123456789abcdefghijklmnopqrstuv"
_NONCE: Final = "593BEC0C930BF1AFEB40B4A08C8FB242"


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageCost:
    """CPU microseconds of one message: ours, what its cryptography alone takes, and the median of their ratios."""

    ours_us: float
    bare_us: float
    ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BillSpeed:
    """How a bill was read in a process of its own: by the clock, by CPU, and at which peak of memory."""

    rows: int
    lines_per_s: int
    lines_per_cpu_s: int
    rss_mb: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelFigures:
    """All that `budan bench --channels` measures."""

    cores: int
    notice: MessageCost
    notice_read: MessageCost
    request: MessageCost
    bills: Mapping[str, BillSpeed]
    broken: tuple[str, ...]


def run_channel_bench(*, long: bool, as_json: bool) -> int:
    """Measures, prints, and returns the exit code: 1 when a figure is broken."""
    figures = _measure(rows=ROWS_LONG if long else ROWS)
    if as_json:
        print_json(figures)
    else:
        OUT.print(_table(figures))
    return EXIT_BROKEN if figures.broken else 0


def _measure(*, rows: int) -> ChannelFigures:
    notice, notice_read, request = asyncio.run(_measure_messages())
    bills = {name: _measure_bill(name, rows=rows) for name in all_samples()}
    broken = [
        *(["notice"] if notice.ratio > RATIO_MAX else []),
        *(["request"] if request.ratio > RATIO_MAX else []),
        *(f"bill:{name}" for name, speed in bills.items() if _is_broken(speed)),
    ]
    return ChannelFigures(
        cores=os.cpu_count() or 1,
        notice=notice,
        notice_read=notice_read,
        request=request,
        bills=bills,
        broken=tuple(broken),
    )


def _is_broken(speed: BillSpeed) -> bool:
    # Where others use the machine too, the clock tells of them; a second of CPU is ours alone.
    is_slow = max(speed.lines_per_s, speed.lines_per_cpu_s) < LINES_PER_S_MIN
    return is_slow or speed.rss_mb > RSS_MB_MAX


# ── messages


class _NoNetwork:
    """Takes a finished request, and lets it end where its first byte would leave."""

    def __init__(self) -> None:
        self.requests = 0

    async def request(
        self,
        *,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        timeout_s: float,
        body_bytes_max: int,
        send_within_s: float | None = None,
        connect_to: tuple[str, int] | None = None,
        body_to: BodySink | None = None,
    ) -> HttpAnswer:
        """See HttpClient.request."""
        assert headers["Authorization"], (method, url, timeout_s, body_bytes_max, send_within_s, connect_to, body_to)
        assert body
        self.requests += 1
        raise NotSent("the bench has no network")

    async def close(self) -> None:
        """See HttpClient.close."""


async def _measure_messages() -> tuple[MessageCost, MessageCost, MessageCost]:
    merchant, platform = _key(), _key()
    signer, http = Signer(threads=1), _NoNetwork()
    settings = parse_settings(_account(merchant, platform))
    channel = WechatV3Channel(settings=settings, http=http, signer=signer, monotonic_s=time.monotonic)
    try:
        # Once for nothing, so that no figure has what only the first call pays.
        _cost_of_notices(channel, settings, platform)
        await _cost_of_requests(channel, merchant)
        notices = [_cost_of_notices(channel, settings, platform) for _ in range(_ROUNDS)]
        requests = [await _cost_of_requests(channel, merchant) for _ in range(_ROUNDS)]
    finally:
        signer.close()
    assert http.requests == (_ROUNDS + 1) * _MESSAGES
    verified = _median_of([(ours, bare) for ours, _, bare in notices])
    return verified, _median_of([(read, bare) for _, read, bare in notices]), _median_of(requests)


def _median_of(rounds: list[tuple[float, float]]) -> MessageCost:
    return MessageCost(
        ours_us=round(median(ours for ours, _ in rounds), 1),
        bare_us=round(median(bare for _, bare in rounds), 1),
        ratio=round(median(ours / bare for ours, bare in rounds), 2),
    )


def _cost_of_notices(
    channel: WechatV3Channel, settings: WechatV3Settings, platform: RSAPrivateKey
) -> tuple[float, float, float]:
    """CPU of proving and opening notices as they came, of all that is read of them, and of the bare cryptography."""
    now = datetime.now(UTC)
    made = [_notice(nth, platform, now=now) for nth in range(_MESSAGES)]
    public_key, cipher = platform.public_key(), AESGCM(_APIV3_KEY.encode())
    began_s = time.process_time()
    for notice, bare in made:
        verdict = wechat_v3.verify_answer(
            notice.headers, notice.body, public_keys=settings.platform_keys, now_s=int(now.timestamp())
        )
        assert verdict is Verdict.VALID
        wechat_v3.decrypt_resource(
            bare.ciphertext, api_v3_key=_APIV3_KEY, nonce=bare.nonce.decode(), associated_data="transaction"
        )
    verified_s = time.process_time() - began_s
    began_s = time.process_time()
    for notice, _ in made:
        channel.parse_notice(notice, now=now)
    read_s = time.process_time() - began_s
    began_s = time.process_time()
    for _, bare in made:
        public_key.verify(bare.signature, bare.signed, padding.PKCS1v15(), hashes.SHA256())
        cipher.decrypt(bare.nonce, bare.sealed, b"transaction")
    bare_s = time.process_time() - began_s
    return verified_s / _MESSAGES * 1e6, read_s / _MESSAGES * 1e6, bare_s / _MESSAGES * 1e6


async def _cost_of_requests(channel: WechatV3Channel, merchant: RSAPrivateKey) -> tuple[float, float]:
    """CPU of a placement up to its first byte, signature and thread included, and of the bare signature."""
    now = datetime.now(UTC)
    intents = [_intent(nth, now=now) for nth in range(_MESSAGES)]
    began_s = time.process_time()
    for intent in intents:
        await channel.create(intent, call=Call(now=now, nonce=_NONCE, deadline_s=10.0))
    ours_s = time.process_time() - began_s
    texts = [
        f"POST\n/v3/pay/transactions/native\n1767225600\n{_NONCE}\n{'x' * 300}{nth}\n".encode()
        for nth in range(_MESSAGES)
    ]
    began_s = time.process_time()
    for text in texts:
        merchant.sign(text, padding.PKCS1v15(), hashes.SHA256())
    bare_s = time.process_time() - began_s
    return ours_s / _MESSAGES * 1e6, bare_s / _MESSAGES * 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bare:
    """What a notice's cryptography needs, already out of its texts."""

    signature: bytes
    signed: bytes
    nonce: bytes
    sealed: bytes
    ciphertext: str


def _notice(nth: int, platform: RSAPrivateKey, *, now: datetime) -> tuple[RawNotice, _Bare]:
    told = {
        "mchid": ACCOUNT_NO,
        "appid": "wx0000000000000001",
        "out_trade_no": f"T{nth:014}",
        "transaction_id": f"4200009999202601{nth:012}",
        "trade_type": "NATIVE",
        "trade_state": "SUCCESS",
        "trade_state_desc": "支付成功",
        "bank_type": "OTHERS",
        "attach": "store=7",
        "success_time": "2026-01-01T08:00:03+08:00",
        "payer": {"openid": "oTestOpenid000000000000001"},
        "amount": {"total": 1280, "payer_total": 1280, "currency": "CNY", "payer_currency": "CNY"},
    }
    nonce, plaintext = f"{nth:012}", json.dumps(told, ensure_ascii=False).encode()
    ciphertext = wechat_v3.encrypt_resource(
        plaintext, api_v3_key=_APIV3_KEY, nonce=nonce, associated_data="transaction"
    )
    envelope = {
        "id": f"00000000-0000-5000-8000-{nth:012}",
        "create_time": "2026-01-01T08:00:05+08:00",
        "resource_type": "encrypt-resource",
        "event_type": "TRANSACTION.SUCCESS",
        "summary": "支付成功",
        "resource": {
            "original_type": "transaction",
            "algorithm": "AEAD_AES_256_GCM",
            "ciphertext": ciphertext,
            "associated_data": "transaction",
            "nonce": nonce,
        },
    }
    body, timestamp = json.dumps(envelope, ensure_ascii=False).encode(), int(now.timestamp())
    headers = wechat_v3.sign_answer(body, private_key=platform, serial=_SERIAL, timestamp=timestamp, nonce=_NONCE)
    bare = _Bare(
        signature=base64.b64decode(headers["Wechatpay-Signature"]),
        signed=wechat_v3.answer_sign_string(timestamp=timestamp, nonce=_NONCE, body=body),
        nonce=nonce.encode(),
        sealed=base64.b64decode(ciphertext),
        ciphertext=ciphertext,
    )
    return RawNotice(headers={name.lower(): value for name, value in headers.items()}, body=body), bare


def _intent(nth: int, *, now: datetime) -> TradeIntent:
    return TradeIntent(
        trade_no=f"T{nth:014}",
        method=Method.NATIVE,
        amount_minor=1280,
        currency="CNY",
        subject="门店点单-拿铁",
        notify_url="https://pay.example.com/notify/live/wechat_v3/1",
        created_at=now,
        expires_at=now,
    )


def _key() -> RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65_537, key_size=2048)


def _account(merchant: RSAPrivateKey, platform: RSAPrivateKey) -> AccountConfig:
    private = merchant.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = platform.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return AccountConfig(
        account_id=AccountId(1),
        channel="wechat_v3",
        name="bench",
        enabled=True,
        settings={
            "gateway": "https://api.mch.weixin.qq.com",
            "mchid": ACCOUNT_NO,
            "appid": "wx0000000000000001",
            "merchant_serial": "5A3F1C0D9E8B7A6655443322110FEDCBA9876543",
        },
        secrets={
            "merchant_private_key": base64.b64encode(private).decode(),
            "apiv3_key": _APIV3_KEY,
            "platform_keys": json.dumps({_SERIAL: base64.b64encode(public).decode()}),
        },
    )


# ── bills


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    wall_s: float
    cpu_s: float
    rss_mb: int


def _measure_bill(name: str, *, rows: int) -> BillSpeed:
    # A peak of memory is a process's own and never sinks, so each bill has one.
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as process:
        reading = process.submit(_read, name, rows).result()
    return BillSpeed(
        rows=rows,
        lines_per_s=round(rows / reading.wall_s),
        lines_per_cpu_s=round(rows / reading.cpu_s),
        rss_mb=reading.rss_mb,
    )


def _read(name: str, rows: int) -> _Reading:
    sample = all_samples()[name]
    with tempfile.TemporaryDirectory(prefix="budan-bench-") as home:
        folder = Path(home)
        bill = write_bill(sample, folder / "bill", rows=rows)
        expected = ExpectedBill(day=DAY, account_no=ACCOUNT_NO)
        threads = len(os.sched_getaffinity(0))
        with open_tables(folder, memory_mb=TABLES_MB, threads=threads) as tables:
            began_s, cpu_began_s = time.perf_counter(), time.process_time()
            read = read_bill(tables, bill, form=sample.form, expected=expected, folder=folder)
            wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_began_s
    assert read.totals.rows == rows
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return _Reading(wall_s=wall_s, cpu_s=cpu_s, rss_mb=peak_mb)


def _table(figures: ChannelFigures) -> Table:
    table = Table(title=f"\nbudan bench --channels: {figures.cores} cores")
    for column in ("figure", "measured", "aim"):
        table.add_column(column)
    messages = (
        ("WeChat v3 notice proved and opened", figures.notice, f"at most {RATIO_MAX}"),
        ("the same, and read into values", figures.notice_read, ""),
        ("WeChat v3 order request", figures.request, f"at most {RATIO_MAX}"),
    )
    for name, cost, aim in messages:
        measured = f"{cost.ratio:.2f} ({cost.ours_us:.0f} to {cost.bare_us:.0f} µs)"
        table.add_row(f"{name}: CPU ÷ bare cryptography", measured, aim)
    for name, speed in figures.bills.items():
        measured = f"{speed.lines_per_s:,} ({speed.lines_per_cpu_s:,} per second of CPU)"
        table.add_row(f"bill of {name}: lines per second", measured, f"at least {LINES_PER_S_MIN:,}")
        table.add_row(f"bill of {name}: peak memory", f"{speed.rss_mb} MB", f"at most {RSS_MB_MAX} MB")
    table.add_row("broken", ", ".join(figures.broken) or "none", "none")
    return table
