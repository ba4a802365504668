"""Opens an account at the sandbox, as a person would in a channel's console."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from budan.core.errors import Refused
from budan.core.numbers import AccountId
from budan.wire.errors import WireError
from budan.wire.http_fast import FastHttpClient
from budan.wire.key_pairs import make_private_key, public_text
from budan.wire.rsa import load_private_key

TIMEOUT_S = 10.0
BODY_BYTES_MAX = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxAccount:
    """What the sandbox gave, in the form that `channel_account` keeps."""

    sandbox_account_id: str
    settings: dict[str, str]
    secrets: dict[str, str] = field(repr=False)


class KeepsAccounts(Protocol):
    """Where an opened account is kept."""

    async def add_account(
        self, *, channel: str, name: str, settings: dict[str, str], account_secrets: Mapping[str, str], by: str
    ) -> AccountId:
        """Keep it; gives our id."""
        ...


async def add_sandbox_account(
    keeper: KeepsAccounts,
    sandbox_url: str,
    *,
    channel: str,
    name: str,
    by: str,
) -> tuple[AccountId, str]:
    """Open an account at the sandbox and keep it; gives our id and the sandbox's."""
    if not sandbox_url:
        raise Refused("sandbox_unknown", param="sandbox_url", detail="set BUDAN_SANDBOX_URL")
    opened = await open_sandbox_account(sandbox_url=sandbox_url, channel=channel, name=name)
    account_id = await keeper.add_account(
        channel=channel,
        name=name,
        settings=opened.settings,
        account_secrets=opened.secrets,
        by=by,
    )
    return account_id, opened.sandbox_account_id


async def open_sandbox_account(*, sandbox_url: str, channel: str, name: str) -> SandboxAccount:
    """A new account with a fresh key of ours; raises `Refused` with `sandbox_unavailable` or `sandbox_refused`."""
    # iPaynow's accounts have no key of ours: they are given one that signs both ways.
    private_key = "" if channel == "ipaynow" else await asyncio.to_thread(make_private_key)
    public_key = public_text(load_private_key(private_key)) if private_key else ""
    wish = {"channel": channel, "merchant_public_key": public_key, "name": name}
    client = FastHttpClient(connections_per_host_max=1)
    try:
        answer = await client.request(
            method="POST",
            url=f"{sandbox_url.rstrip('/')}/sandbox/accounts",
            headers={"content-type": "application/json"},
            body=msgspec.json.encode(wish),
            timeout_s=TIMEOUT_S,
            body_bytes_max=BODY_BYTES_MAX,
        )
    except WireError as error:
        raise Refused("sandbox_unavailable", param="sandbox_url", detail=f"{sandbox_url}: {error}") from error
    finally:
        await client.close()
    if answer.status != 201:  # noqa: PLR2004 - HTTP's Created
        raise Refused("sandbox_refused", detail=answer.body[:200].decode(errors="replace"))
    given = msgspec.json.decode(answer.body, type=dict[str, object])
    match channel:
        case "wechat_v3":
            return _wechat_v3(given, private_key)
        case "swiftpass":
            return _swiftpass(given)
        case "ipaynow":
            return _ipaynow(given)
        case "wechat_v2":
            return _wechat_v2(given)
        case _:
            return _alipay(given, private_key)


def _wechat_v3(given: dict[str, object], private_key: str) -> SandboxAccount:
    return SandboxAccount(
        sandbox_account_id=str(given["account_id"]),
        settings={name: str(given[name]) for name in ("gateway", "mchid", "appid", "merchant_serial")},
        secrets={
            "merchant_private_key": private_key,
            "apiv3_key": str(given["apiv3_key"]),
            "platform_keys": msgspec.json.encode(given["platform_keys"]).decode(),
        },
    )


def _alipay(given: dict[str, object], private_key: str) -> SandboxAccount:
    return SandboxAccount(
        sandbox_account_id=str(given["account_id"]),
        settings={name: str(given[name]) for name in ("gateway", "app_id", "seller_id")},
        secrets={"app_private_key": private_key, "alipay_public_key": str(given["alipay_public_key"])},
    )


def _swiftpass(given: dict[str, object]) -> SandboxAccount:
    return SandboxAccount(
        sandbox_account_id=str(given["account_id"]),
        settings={name: str(given[name]) for name in ("gateway", "mch_id", "sign_type", "sub_appid")},
        secrets={"api_key": str(given["api_key"])},
    )


def _ipaynow(given: dict[str, object]) -> SandboxAccount:
    return SandboxAccount(
        sandbox_account_id=str(given["account_id"]),
        settings={name: str(given[name]) for name in ("gateway", "app_id")},
        secrets={"app_key": str(given["app_key"])},
    )


def _wechat_v2(given: dict[str, object]) -> SandboxAccount:
    names = ("gateway", "secure_gateway", "gateway_issuer", "appid", "mch_id")
    return SandboxAccount(
        sandbox_account_id=str(given["account_id"]),
        settings={name: str(given[name]) for name in names},
        secrets={name: str(given[name]) for name in ("api_key", "client_certificate", "client_key")},
    )
