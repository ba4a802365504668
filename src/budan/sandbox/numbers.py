"""The numbers and code texts that the channels give out; each carries the trade's count, so no index is kept."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from budan.sandbox.records import ChannelName, Trade

BEIJING: Final = timezone(timedelta(hours=8), "Asia/Shanghai")
WECHAT_CODE_PREFIX: Final = "weixin://wxpay/bizpayurl?pr="
ALIPAY_CODE_PREFIX: Final = "https://qr.alipay.com/bax"
SWIFTPASS_CODE_PREFIX: Final = "https://qr.swiftpass.cn/pay?t="
IPAYNOW_WECHAT: Final = "13"
# The channels' codes die after 2 h; placing again gives a fresh one (docs/protocols, wechat_v3 §5, alipay §5).
CODE_TEXT_LIFE: Final = timedelta(hours=2)
H5_LINK_LIFE: Final = timedelta(minutes=5)

_CODE_PREFIXES: Final = {
    ChannelName.WECHAT_V3: WECHAT_CODE_PREFIX,
    ChannelName.ALIPAY: ALIPAY_CODE_PREFIX,
    ChannelName.SWIFTPASS: SWIFTPASS_CODE_PREFIX,
}
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_FIELD_WIDTH: Final = 7
_TOKEN: Final = re.compile(r"([0-9a-z]{7})([0-9a-z]{7})")
_PREPAY: Final = re.compile(r"wx([0-9]{14})([0-9]{20})")
_CHANNEL_NO_COUNT: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeText:
    """What a code text says: which trade, and when the text was made."""

    nth: int
    made_at: datetime


def channel_no(trade: Trade, *, channel: ChannelName, now: datetime) -> str:
    """The channel's own number for a trade: 28 digits, at Swiftpass the merchant's number and 18, or iPaynow's 27."""
    day = now.astimezone(BEIJING).strftime("%Y%m%d")
    match channel:
        case ChannelName.WECHAT_V3 | ChannelName.WECHAT_V2:
            return f"4200009999{day}{trade.nth:010d}"
        case ChannelName.ALIPAY:
            return f"{day}2200140000{trade.nth:010d}"
        case ChannelName.SWIFTPASS:
            return f"{trade.account_id}{day}{trade.nth:010d}"
        case ChannelName.IPAYNOW:
            return f"200301{day}000{trade.nth:010d}"


def wallet_no(trade: Trade, *, paid_at: datetime) -> str:
    """The wallet's own number for a payment that came through iPaynow."""
    is_wechat = trade.pay_channel == IPAYNOW_WECHAT
    return channel_no(trade, channel=ChannelName.WECHAT_V3 if is_wechat else ChannelName.ALIPAY, now=paid_at)


def refund_channel_no(trade: Trade, *, channel: ChannelName, now: datetime) -> str:
    """The channel's own number for the trade's next refund; only WeChat gives one, else its trade number serves."""
    if channel is not ChannelName.WECHAT_V3:
        return trade.channel_no
    return f"50300009{now.astimezone(BEIJING):%Y%m%d}{trade.nth:010d}{len(trade.refunds) + 1:02d}"


def nth_of_channel_no(text: str) -> int | None:
    """The count in such a number; the caller compares the whole number with the trade's."""
    count = text[-_CHANNEL_NO_COUNT:]
    return int(count) if len(count) == _CHANNEL_NO_COUNT and count.isascii() and count.isdigit() else None


def code_text(trade: Trade, *, channel: ChannelName, now: datetime) -> str:
    """The text that the shop draws as a QR code."""
    token = _base36(trade.nth) + _base36(int(now.timestamp()))
    return _CODE_PREFIXES[channel] + token


def prepay_id(trade: Trade, *, now: datetime) -> str:
    """What the shop's page gives the wallet in JSAPI."""
    return f"wx{now.astimezone(BEIJING):%Y%m%d%H%M%S}{trade.nth:020d}"


def parse_code_text(text: str) -> CodeText | None:
    """What a payer's scanner, or page, reads; None when it is no code of ours."""
    for prefix in _CODE_PREFIXES.values():
        if text.startswith(prefix):
            match = _TOKEN.fullmatch(text.removeprefix(prefix))
            if match is None:
                return None
            made_at = datetime.fromtimestamp(int(match[2], 36), UTC)
            return CodeText(nth=int(match[1], 36), made_at=made_at)
    match = _PREPAY.fullmatch(text)
    if match is None:
        return None
    try:
        made_at = datetime.strptime(match[1], "%Y%m%d%H%M%S").replace(tzinfo=BEIJING)
    except ValueError:
        return None
    return CodeText(nth=int(match[2]), made_at=made_at)


def _base36(number: int) -> str:
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
    assert len(text) <= _FIELD_WIDTH
    return text.rjust(_FIELD_WIDTH, "0")
