"""Opens accounts at the channels, with everything that a merchant is given for one."""

import asyncio
import hashlib
import secrets
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec

from budan.sandbox.alipay_certificates import certify_application, certify_next
from budan.sandbox.ipaynow import PATH as IPAYNOW_PATH
from budan.sandbox.records import (
    Account,
    AlipayAccount,
    ChannelName,
    IpaynowAccount,
    Opened,
    SignType,
    SwiftpassAccount,
    WechatAccount,
    WechatV2Account,
)
from budan.sandbox.world import World
from budan.wire.key_pairs import make_private_key
from budan.wire.rsa import BadKey, load_public_key

ACCOUNTS_MAX: Final = 1_000
_SERIAL_LENGTH: Final = 40


class AccountRefused(Exception):  # noqa: N818 - a refusal is an answer, not an error
    """The account cannot be opened; `code` is stable."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class AccountWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a merchant brings; iPaynow asks for no key, it gives one."""

    channel: ChannelName
    merchant_public_key: str = ""
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    reverse_after_s: Annotated[float, msgspec.Meta(ge=0, le=3_600)] = 15.0
    # Swiftpass only.
    sign_type: SignType = "MD5"
    # Alipay only: certificates in place of bare keys.
    certificates: bool = False


async def open_account(world: World, wish: AccountWish) -> Account:
    """A new account, already recorded."""
    _refuse_bad_key(wish)
    if len(world.truth.list_accounts()) >= ACCOUNTS_MAX:
        raise AccountRefused("too_many_accounts")
    made = _keys_of(wish.channel) + (wish.channel is ChannelName.ALIPAY and wish.certificates)
    keys = [await asyncio.to_thread(make_private_key) for _ in range(made)]
    # Counted after the wait: nobody else may have been given the number meanwhile.
    count = len(world.truth.list_accounts()) + 1
    match wish.channel:
        case ChannelName.WECHAT_V3:
            account: Account = _wechat(world, wish, keys, count)
        case ChannelName.ALIPAY:
            account = _alipay(world, wish, keys, count)
        case ChannelName.SWIFTPASS:
            account = _swiftpass(world, wish, keys, count)
        case ChannelName.IPAYNOW:
            account = _ipaynow(world, wish, count)
        case ChannelName.WECHAT_V2:
            account = _wechat_v2(world, wish, count)
    world.truth.record(Opened(account=account))
    return account


class KeysWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A channel's new key for an account; `keeps_old`: the ones before it sign on, in turn with the new one."""

    account_id: str
    keeps_old: bool


async def change_keys(world: World, wish: KeysWish) -> Account:
    """The account after its channel took a new key to sign with, already recorded."""
    account = world.truth.find_account(wish.account_id)
    if account is None:
        raise AccountRefused("account_unknown")
    if not isinstance(account, WechatAccount | AlipayAccount):
        raise AccountRefused("keys_do_not_change")
    key = await asyncio.to_thread(make_private_key)
    if isinstance(account, WechatAccount):
        keys = {_public_key_id(account.mchid): key}
        if wish.keeps_old:
            keys |= account.platform_private_keys
        changed: Account = msgspec.structs.replace(account, platform_private_keys=keys)
    else:
        old = account.alipay_private_key if wish.keeps_old else ""
        changed = msgspec.structs.replace(account, alipay_private_key=key, old_alipay_private_key=old)
        if account.certificates is not None:
            held = certify_next(account.certificates, alipay_private_key=key, keeps_old=wish.keeps_old)
            changed = msgspec.structs.replace(changed, certificates=held)
    world.truth.record(Opened(account=changed))
    world.keys.forget(account.account_id)
    return changed


def render_account(world: World, account: Account) -> Mapping[str, Any]:
    """Everything that a merchant's side needs; the private keys of the channel stay here."""
    shown = {
        "channel": account.CHANNEL.value,
        "account_id": account.account_id,
        "name": account.name,
        "opened_at": account.opened_at,
        "reverse_after_s": account.reverse_after_s,
    }
    keys = world.keys.public_keys(account)
    match account:
        case WechatAccount():
            return shown | {
                "gateway": world.base_url,
                "mchid": account.mchid,
                "appid": account.appid,
                "merchant_serial": account.merchant_serial,
                "apiv3_key": account.apiv3_key,
                "platform_keys": keys,
            }
        case AlipayAccount():
            return shown | {
                "gateway": f"{world.base_url}/gateway.do",
                "app_id": account.app_id,
                "seller_id": account.seller_id,
                "alipay_public_key": next(iter(keys.values())),
                **_shown_certificates(account),
            }
        case SwiftpassAccount():
            return shown | {
                "gateway": f"{world.base_url}/pay/gateway",
                "mch_id": account.mch_id,
                "sign_type": account.sign_type,
                "sub_appid": account.sub_appid,
                "api_key": account.api_key,
                "platform_public_key": keys["swiftpass"],
            }
        case IpaynowAccount():
            return shown | {
                "gateway": f"{world.base_url}{IPAYNOW_PATH}",
                "app_id": account.app_id,
                "app_key": account.app_key,
            }
        case WechatV2Account():
            return shown | {
                "gateway": world.base_url,
                "secure_gateway": world.secure_url,
                "gateway_issuer": world.certifier.issuer,
                "mch_id": account.mch_id,
                "appid": account.appid,
                "api_key": account.api_key,
                "client_certificate": account.client_certificate,
                "client_key": account.client_key,
            }


def _shown_certificates(account: AlipayAccount) -> dict[str, str]:
    held = account.certificates
    if held is None:
        return {}
    return {
        "app_certificate": held.application,
        "alipay_certificate": held.alipay,
        "alipay_root_certificate": held.root,
    }


def _refuse_bad_key(wish: AccountWish) -> None:
    if wish.channel is ChannelName.IPAYNOW:
        return
    try:
        load_public_key(wish.merchant_public_key)
    except BadKey as error:
        raise AccountRefused("merchant_public_key_unreadable") from error


def _keys_of(channel: ChannelName) -> int:
    match channel:
        case ChannelName.WECHAT_V3:
            # WeChat signs with two keys in turn: its public key and that of a platform certificate.
            return 2
        case ChannelName.ALIPAY | ChannelName.SWIFTPASS:
            return 1
        case ChannelName.IPAYNOW | ChannelName.WECHAT_V2:
            return 0


def _wechat(world: World, wish: AccountWish, keys: list[str], count: int) -> WechatAccount:
    mchid = f"19{count:08d}"
    serials = (_public_key_id(mchid), secrets.token_hex(_SERIAL_LENGTH // 2).upper())
    # The real serial is that of a certificate; here any text that follows from the key will do.
    merchant_serial = hashlib.sha256(wish.merchant_public_key.encode()).hexdigest()[:_SERIAL_LENGTH].upper()
    return WechatAccount(
        name=wish.name,
        opened_at=world.clock(),
        merchant_public_key=wish.merchant_public_key,
        reverse_after_s=wish.reverse_after_s,
        mchid=mchid,
        appid=f"wxsandbox{count:07d}",
        merchant_serial=merchant_serial,
        apiv3_key=secrets.token_hex(16),
        platform_private_keys=dict(zip(serials, keys, strict=True)),
    )


def _public_key_id(mchid: str) -> str:
    return f"PUB_KEY_ID_01{mchid}{secrets.randbelow(10**24):024d}"


def _alipay(world: World, wish: AccountWish, keys: list[str], count: int) -> AlipayAccount:
    app_id, held = f"2021{count:012d}", None
    if wish.certificates:
        own = load_public_key(wish.merchant_public_key)
        held = certify_application(
            root_private_key=keys[1], application_key=own, app_id=app_id, alipay_private_key=keys[0]
        )
    return AlipayAccount(
        name=wish.name,
        opened_at=world.clock(),
        merchant_public_key=wish.merchant_public_key,
        reverse_after_s=wish.reverse_after_s,
        app_id=app_id,
        seller_id=f"2088{count:012d}",
        alipay_private_key=keys[0],
        certificates=held,
    )


def _swiftpass(world: World, wish: AccountWish, keys: list[str], count: int) -> SwiftpassAccount:
    return SwiftpassAccount(
        name=wish.name,
        opened_at=world.clock(),
        merchant_public_key=wish.merchant_public_key,
        reverse_after_s=wish.reverse_after_s,
        mch_id=f"7550{count:08d}",
        sign_type=wish.sign_type,
        api_key=secrets.token_hex(16),
        platform_private_key=keys[0],
        sub_appid=f"wxswiftpass{count:07d}",
    )


def _ipaynow(world: World, wish: AccountWish, count: int) -> IpaynowAccount:
    return IpaynowAccount(
        name=wish.name,
        opened_at=world.clock(),
        merchant_public_key="",
        reverse_after_s=wish.reverse_after_s,
        app_id=f"1400{count:012d}",
        app_key=secrets.token_hex(16),
    )


def _wechat_v2(world: World, wish: AccountWish, count: int) -> WechatV2Account:
    mch_id = f"16{count:08d}"
    certificate, key = world.certifier.certify_merchant(mch_id)
    return WechatV2Account(
        name=wish.name,
        opened_at=world.clock(),
        merchant_public_key=wish.merchant_public_key,
        reverse_after_s=wish.reverse_after_s,
        mch_id=mch_id,
        appid=f"wxsandboxv2{count:07d}",
        api_key=secrets.token_hex(16),
        client_certificate=certificate,
        client_key=key,
    )
