"""The channels' private keys: made when an account is opened, loaded once."""

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from budan.sandbox.records import (
    Account,
    AlipayAccount,
    IpaynowAccount,
    SwiftpassAccount,
    WechatAccount,
    WechatV2Account,
)
from budan.wire.key_pairs import public_text
from budan.wire.rsa import load_private_key, load_public_key


class KeyRing:
    """Key objects by account, loaded at first use because loading checks the primes (35 ms)."""

    def __init__(self) -> None:
        self._merchants: dict[str, RSAPublicKey] = {}
        self._platforms: dict[str, dict[str, RSAPrivateKey]] = {}
        self._turns: dict[str, int] = {}

    def merchant_key(self, account: Account) -> RSAPublicKey:
        """The key that the account's requests must be signed with."""
        key = self._merchants.get(account.account_id)
        if key is None:
            key = self._merchants[account.account_id] = load_public_key(account.merchant_public_key)
        return key

    def forget(self, account_id: str) -> None:
        """The account's keys have changed: they are loaded again."""
        self._platforms.pop(account_id, None)

    def alipay_key(self, account: AlipayAccount) -> tuple[str, RSAPrivateKey]:
        """A key that signs answers and notices to this application, each in turn while they change.

        With it the name of its certificate, empty where there is none.
        """
        name, key = self._next(account)
        return ("" if account.certificates is None else name), key

    def swiftpass_key(self, account: SwiftpassAccount) -> RSAPrivateKey:
        """The platform's key: it signs answers and notices to a merchant who chose RSA."""
        return self._platform(account)["swiftpass"]

    def wechat_key(self, account: WechatAccount, *, wanted_serial: str = "") -> tuple[str, RSAPrivateKey]:
        """A key and its Wechatpay-Serial: the wanted one, else each in turn, as during a migration of keys."""
        keys = self._platform(account)
        if wanted_serial in keys:
            return wanted_serial, keys[wanted_serial]
        return self._next(account)

    def public_keys(self, account: Account) -> dict[str, str]:
        """The public halves as the merchant is given them."""
        return {serial: public_text(key) for serial, key in self._platform(account).items()}

    def _next(self, account: Account) -> tuple[str, RSAPrivateKey]:
        keys = self._platform(account)
        turn = self._turns[account.account_id] = self._turns.get(account.account_id, -1) + 1
        return list(keys.items())[turn % len(keys)]

    def _platform(self, account: Account) -> dict[str, RSAPrivateKey]:
        keys = self._platforms.get(account.account_id)
        if keys is None:
            keys = {serial: load_private_key(text) for serial, text in _texts(account).items()}
            self._platforms[account.account_id] = keys
        return keys


def _texts(account: Account) -> dict[str, str]:
    match account:
        case WechatAccount():
            return dict(account.platform_private_keys)
        case AlipayAccount():
            texts = [text for text in (account.alipay_private_key, account.old_alipay_private_key) if text]
            names = ["alipay", "old"] if account.certificates is None else account.certificates.alipay_sns
            return dict(zip(names, texts, strict=False))
        case SwiftpassAccount():
            return {"swiftpass": account.platform_private_key}
        case IpaynowAccount() | WechatV2Account():
            return {}
