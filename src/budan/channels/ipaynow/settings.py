"""What an iPaynow account must be set to, as `AccountConfig` keeps it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from budan.channels.settings import (
    BadSettings,
    read_gateway,
    read_optional_text,
    read_text,
    still_good,
    with_old_keys,
)
from budan.ports.channel import AccountConfig, KeyLife

SETTINGS: Final = frozenset(
    {
        *("gateway", "app_id", "refund_gateway", "refund_query_gateway", "c2b_pay_channel", "code_pay_channel"),
        *("qr_output_type", "wap_device_type", "limit_pay", "c2b_time_out_s", "code_time_out_s"),
        *("refused_query", "refused_refund_query", "reverse_cut_off"),
    }
)
SECRETS: Final = frozenset({"app_key"})
# Where real money moves, and the host for tests, where none does.
LIVE_HOSTS: Final = frozenset({"pay.ipaynow.cn"})
TEST_HOSTS: Final = frozenset({"dby.ipaynow.cn"})

# What `mhtOrderTimeOut` may be (docs/protocols/ipaynow.md section 1).
TIME_OUT_S_MIN: Final = 60
TIME_OUT_S_MAX: Final = 3_600


@dataclass(frozen=True, slots=True, kw_only=True)
class IpaynowSettings:
    """An account's settings, checked. Those from `refund_gateway` on may be absent: they are what no document confirms.

    | field | where | what |
    |---|---|---|
    | `gateway` | settings | `https://pay.ipaynow.cn`, or a test host's address with its path |
    | `app_id` | settings | the application |
    | `app_key` | secrets | the key of the application, shared with iPaynow |
    | `refund_gateway`, `refund_query_gateway` | settings | `<gateway>/refund/refundOrder` and `…/refundQuery` |
    | `c2b_pay_channel` | settings | the wallet of a shop's code: `13` WeChat, `12` Alipay, `11` UnionPay |
    | `code_pay_channel` | settings | `by_code` tells a payer's wallet by the code, `empty` leaves it to iPaynow |
    | `qr_output_type` | settings | `0`: the code's text; `1`: a link |
    | `wap_device_type` | settings | `0601`, or `06` at older merchants |
    | `limit_pay` | settings | none; `1` or `no_credit` forbids credit cards |
    | `c2b_time_out_s`, `code_time_out_s` | settings | 900 and 120: the only close there is; 60 to 3600 |
    | `refused_query` | settings | what a refused or empty query says of a trade: `not_found`, or `unknown` |
    | `refused_refund_query` | settings | what a refused query says of a refund: `unknown`, or `not_found` |
    | `reverse_cut_off` | settings | when iPaynow's day ends, in Beijing: `00:00` |

    The old key is that of before the last rotation; until `old_until` it counts beside today's.
    """

    gateway: str
    app_id: str
    app_key: str = field(repr=False)
    refund_gateway: str
    refund_query_gateway: str
    c2b_pay_channel: str
    code_pay_channel: str
    qr_output_type: str
    wap_device_type: str
    limit_pay: str | None
    c2b_time_out_s: int
    code_time_out_s: int
    refused_query: str
    refused_refund_query: str
    reverse_cut_off: timedelta
    old_app_key: str = field(default="", repr=False)
    old_until: datetime | None = None

    def app_keys_at(self, now: datetime) -> tuple[str, ...]:
        """The keys that may have signed an answer or a notice at `now`, today's first."""
        return still_good(now, today=self.app_key, old=[self.old_app_key], until=self.old_until)


def parse_settings(config: AccountConfig) -> IpaynowSettings:
    """The account's settings; raises `BadSettings`."""
    given = config.settings
    gateway = read_gateway(given, has_path=True)
    old = with_old_keys(config)
    return IpaynowSettings(
        gateway=gateway,
        app_id=read_text(given, "app_id", pattern="[0-9A-Za-z]{1,40}"),
        app_key=_read_app_key(config.secrets),
        refund_gateway=_read_further(given, "refund_gateway", default=f"{gateway}/refund/refundOrder"),
        refund_query_gateway=_read_further(given, "refund_query_gateway", default=f"{gateway}/refund/refundQuery"),
        c2b_pay_channel=read_optional_text(given, "c2b_pay_channel", pattern="1[123]") or "13",
        code_pay_channel=read_optional_text(given, "code_pay_channel", pattern="by_code|empty") or "by_code",
        qr_output_type=read_optional_text(given, "qr_output_type", pattern="[01]") or "0",
        wap_device_type=read_optional_text(given, "wap_device_type", pattern="0601|06") or "0601",
        limit_pay=read_optional_text(given, "limit_pay", pattern="0|1|no_credit"),
        c2b_time_out_s=_read_time_out(given, "c2b_time_out_s", default_s=900),
        code_time_out_s=_read_time_out(given, "code_time_out_s", default_s=120),
        refused_query=read_optional_text(given, "refused_query", pattern="not_found|unknown") or "not_found",
        refused_refund_query=read_optional_text(given, "refused_refund_query", pattern="not_found|unknown")
        or "unknown",
        reverse_cut_off=_read_cut_off(given),
        old_app_key="" if old is None else _read_app_key(old.secrets),
        old_until=None if config.old_keys is None else config.old_keys.until,
    )


def list_key_lives(config: AccountConfig) -> tuple[KeyLife, ...]:
    """The key of iPaynow has no end; raises `BadSettings`."""
    parse_settings(config)
    return ()


def _read_app_key(secrets: Mapping[str, str]) -> str:
    return read_text(secrets, "app_key", pattern="[!-~]{16,128}")


def _read_further(values: Mapping[str, str], field_name: str, *, default: str) -> str:
    if not values.get(field_name):
        return default
    try:
        return read_gateway({"gateway": values[field_name]}, has_path=True)
    except BadSettings as error:
        raise BadSettings(field_name, error.reason) from error


def _read_time_out(values: Mapping[str, str], field_name: str, *, default_s: int) -> int:
    seconds = int(read_optional_text(values, field_name, pattern="[0-9]{2,4}") or default_s)
    if not TIME_OUT_S_MIN <= seconds <= TIME_OUT_S_MAX:
        raise BadSettings(field_name, f"is not {TIME_OUT_S_MIN} to {TIME_OUT_S_MAX}")
    return seconds


def _read_cut_off(values: Mapping[str, str]) -> timedelta:
    clock = read_optional_text(values, "reverse_cut_off", pattern="([01][0-9]|2[0-3]):[0-5][0-9]") or "00:00"
    hours, _, minutes = clock.partition(":")
    return timedelta(hours=int(hours), minutes=int(minutes))
