"""What an operator sets up: merchants, keys, accounts, rates, shops, desks, endpoints."""

import base64
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256

import msgspec

from budan.core.errors import Refused
from budan.core.fees import FeeTerms
from budan.core.numbers import AccountId, Environment, MerchantId
from budan.flows.acts import check_name
from budan.flows.choosing import CHANNELS
from budan.flows.intake import EXPIRES_IN_S_MAX, EXPIRES_IN_S_MIN
from budan.flows.rates import check_rate
from budan.flows.settlement_terms import (
    UNCHANGED_SETTLEMENT,
    SettlementTerms,
    check_settlement_terms,
    set_settlement_terms,
)
from budan.store import accounts
from budan.store import directory as stored
from budan.store.database import Database, RowsFailed, Transaction
from budan.store.rates import set_rate
from budan.store.setup_acts import SetupActRow, SetupKind, add_setup_act, list_merchant_acts
from budan.wire.secret_box import SecretBox
from budan.wire.webhook import new_secret

# What a payment after our own expiry becomes.
LATE_PAYMENTS = ("complete", "refund")

_NAME_LENGTH_MAX = 80
_URL = re.compile(r"https?://[!-~]{1,2000}")
_KEY_ID_BYTES = 6
_SECRET_BYTES = 24
_TOKEN_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderTerms:
    """How a merchant's orders end; what is None is left as it is.

    An order without a time of its own lives `expires_in_s`, or `expires_in_with_payer_s` where its payer is known. What
    is paid after an expiry completes the order or goes back: `late_payment` is one of LATE_PAYMENTS.
    """

    expires_in_s: int | None = None
    expires_in_with_payer_s: int | None = None
    late_payment: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MerchantWish:
    """A merchant to add: where it takes webhooks, which accounts take its orders at which rates."""

    name: str
    webhook_url: str | None
    account_ids: tuple[int, ...]
    rates_bp: Mapping[str, int]
    with_key: bool
    with_shop: bool
    terms: OrderTerms = OrderTerms()


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedMerchant:
    """A merchant just added. The secrets in it are shown this once and cannot be read again."""

    merchant_id: MerchantId
    lane: int
    name: str
    webhook_endpoint_id: int | None = None
    webhook_secret: str | None = field(default=None, repr=False)
    api_key: str | None = field(default=None, repr=False)
    shop_code: str | None = None
    terminal_token: str | None = field(default=None, repr=False)


class Administration:
    """Sets up who takes part; every act is one transaction."""

    def __init__(self, *, database: Database, environment: Environment, box: SecretBox, lanes: int) -> None:
        self._database = database
        self._environment = environment
        self._box = box
        self._lanes = lanes

    async def add_merchants(self, wishes: Sequence[MerchantWish], *, by: str) -> list[AddedMerchant]:
        """Add merchants with all that their wishes name, or none of them; `by` is kept with them and with their rates.

        Not safe to repeat: each call adds. Raises `Refused` with `name_malformed`, `url_malformed`, `https_needed`
        (outside `local`: orders and payers would travel readable), `channel_unknown`, `rate_out_of_range`, `expires_in_out_of_range`, `late_payment_unknown` or `account_unknown`, and
        `StoreUnavailable`.
        """
        by = check_name(by)
        for wish in wishes:
            _check_merchant(wish, environment=self._environment)
        try:
            async with self._database.transaction() as transaction:
                return [await self._add_merchant(transaction, wish, by=by) for wish in wishes]
        except RowsFailed as failed:
            raise Refused("account_unknown", param="account", detail=str(failed)) from failed

    async def _add_merchant(self, transaction: Transaction, wish: MerchantWish, *, by: str) -> AddedMerchant:
        merchant = await stored.add_merchant(transaction, name=wish.name, lanes=self._lanes)
        merchant_id = merchant.merchant_id
        given = {"name": wish.name, "accounts": wish.account_ids, "rates_bp": wish.rates_bp}
        await add_setup_act(transaction, SetupKind.MERCHANT_ADD, merchant_id=merchant_id, by=by, after=given)
        await _set_terms(transaction, merchant_id, wish.terms)
        for priority, account_id in enumerate(wish.account_ids):
            await accounts.allow_account(
                transaction,
                merchant_id=merchant_id,
                account_id=AccountId(account_id),
                priority=priority,
                methods=None,
            )
        for channel, rate_bp in wish.rates_bp.items():
            await set_rate(
                transaction,
                merchant_id=merchant_id,
                channel=channel,
                shop_id=None,
                method=None,
                effective_from=None,
                terms=FeeTerms(rate_bp=rate_bp),
                set_by=by,
            )
        endpoint_id, secret = None, None
        if wish.webhook_url is not None:
            endpoint_id, secret = await self._add_endpoint(transaction, merchant_id, wish.webhook_url)
        shop_code, token = None, None
        if wish.with_shop:
            shop_code, token = await self._add_shop(transaction, merchant_id, wish.name)
        return AddedMerchant(
            merchant_id=merchant_id,
            lane=merchant.lane,
            name=merchant.name,
            webhook_endpoint_id=endpoint_id,
            webhook_secret=secret,
            api_key=await self._issue_key(transaction, merchant_id, by=by) if wish.with_key else None,
            shop_code=shop_code,
            terminal_token=token,
        )

    async def _add_endpoint(self, transaction: Transaction, merchant_id: MerchantId, url: str) -> tuple[int, str]:
        secret = new_secret()
        endpoint_id = await stored.add_endpoint(transaction, merchant_id=merchant_id, url=url)
        sealed = self._box.seal(secret.encode(), context=endpoint_context(endpoint_id))
        await stored.seal_endpoint(transaction, endpoint_id=endpoint_id, sealed_secret=sealed)
        return endpoint_id, secret

    async def _add_shop(self, transaction: Transaction, merchant_id: MerchantId, name: str) -> tuple[str, str]:
        code, token = _token(), _token()
        shop_id = await stored.add_shop(transaction, merchant_id=merchant_id, name=name, code=code)
        await stored.add_terminal(
            transaction,
            shop_id=shop_id,
            merchant_id=merchant_id,
            name="1",
            token_digest=sha256(token.encode()).digest(),
        )
        return code, token

    async def set_terms(
        self, merchant_id: int, terms: OrderTerms, *, settlement: SettlementTerms = UNCHANGED_SETTLEMENT, by: str
    ) -> None:
        """Change how a merchant's new orders end, what late payments of all of them become, and how it is settled.

        What it was before is kept, with who changed it. Safe to repeat. Raises `Refused` with `name_malformed`,
        `expires_in_out_of_range`, `late_payment_unknown`, `zone_unknown`, `settlement_terms_out_of_range` or
        `merchant_unknown`.
        """
        by = check_name(by)
        _check_terms(terms)
        check_settlement_terms(settlement)
        try:
            async with self._database.transaction() as transaction:
                before = await _lock_merchant(transaction, MerchantId(merchant_id))
                await _set_terms(transaction, before.merchant_id, terms)
                await set_settlement_terms(transaction, before.merchant_id, settlement, by=by)
                await _keep_change(transaction, before, by=by)
        except RowsFailed as failed:
            raise Refused("zone_unknown", param="settles_zone", detail="the database does not know it") from failed

    async def issue_key(self, merchant_id: int, *, by: str) -> str:
        """A new API key, shown this once, with who issued it; raises `Refused` with `name_malformed` or `merchant_unknown`."""
        by = check_name(by)
        async with self._database.transaction() as transaction:
            if await stored.find_merchant(transaction, MerchantId(merchant_id)) is None:
                raise Refused("merchant_unknown", param="merchant")
            return await self._issue_key(transaction, MerchantId(merchant_id), by=by)

    async def _issue_key(self, transaction: Transaction, merchant_id: MerchantId, *, by: str) -> str:
        key_id, secret = secrets.token_hex(_KEY_ID_BYTES), secrets.token_hex(_SECRET_BYTES)
        await stored.add_api_key(
            transaction,
            key_id=key_id,
            merchant_id=merchant_id,
            secret_digest=sha256(secret.encode()).digest(),
        )
        issued = {"key_id": key_id}
        await add_setup_act(transaction, SetupKind.KEY_ISSUE, merchant_id=merchant_id, by=by, after=issued)
        return f"bdk_{self._environment.value}_{key_id}_{secret}"

    async def add_account(
        self,
        *,
        channel: str,
        name: str,
        settings: dict[str, str],
        account_secrets: Mapping[str, str],
        by: str,
    ) -> AccountId:
        """A channel account, its secrets sealed and unjudged: `AccountDesk.add_account` looks at them first.

        Raises `Refused` with `channel_unknown`, `name_malformed` or `name_used`.
        """
        by = check_name(by)
        if channel not in CHANNELS:
            raise Refused("channel_unknown", param="channel", detail=f"one of {sorted(CHANNELS)}")
        _check_name(name)
        try:
            async with self._database.transaction() as transaction:
                account_id = await stored.add_account(transaction, channel=channel, name=name, settings=settings)
                plain = msgspec.json.encode(dict(account_secrets))
                sealed = self._box.seal(plain, context=account_context(account_id))
                await stored.seal_account(transaction, account_id=account_id, sealed_secrets=sealed)
                given = {"channel": channel, "name": name, "settings": settings}
                await add_setup_act(transaction, SetupKind.ACCOUNT_ADD, account_id=account_id, by=by, after=given)
        except RowsFailed as failed:
            raise Refused("name_used", param="name", detail=name) from failed
        return account_id

    async def list_merchants(self) -> list[stored.MerchantRow]:
        """All merchants."""
        async with self._database.transaction() as transaction:
            return await stored.list_merchants(transaction)

    async def list_acts(self, merchant_id: int | None) -> list[SetupActRow]:
        """What persons set up of a merchant, or of all, the newest first; raises `Refused` with `merchant_unknown`."""
        async with self._database.reading() as transaction:
            if merchant_id is None:
                return await list_merchant_acts(transaction, None)
            if await stored.find_merchant(transaction, MerchantId(merchant_id)) is None:
                raise Refused("merchant_unknown", param="merchant")
            return await list_merchant_acts(transaction, MerchantId(merchant_id))

    async def list_accounts(self) -> list[stored.AccountRow]:
        """All channel accounts, without secrets."""
        async with self._database.transaction() as transaction:
            return await stored.list_accounts(transaction)


def account_context(account_id: int) -> str:
    """What the seal of an account's secrets names, so that they open for this account only."""
    return f"channel_account:{account_id}"


def endpoint_context(endpoint_id: int) -> str:
    """What the seal of an endpoint's secret names, so that it opens for this endpoint only."""
    return f"webhook_endpoint:{endpoint_id}"


def _check_merchant(wish: MerchantWish, *, environment: Environment) -> None:
    _check_name(wish.name)
    if wish.webhook_url is not None and not _URL.fullmatch(wish.webhook_url):
        raise Refused("url_malformed", param="webhook", detail="an http or https address")
    is_readable = wish.webhook_url is not None and not wish.webhook_url.startswith("https:")
    if is_readable and environment is not Environment.LOCAL:
        raise Refused("https_needed", param="webhook", detail="outside local an endpoint is an https address")
    _check_terms(wish.terms)
    for channel, rate_bp in wish.rates_bp.items():
        check_rate(channel, rate_bp)


async def _lock_merchant(transaction: Transaction, merchant_id: MerchantId) -> stored.MerchantRow:
    if not await stored.lock_merchant(transaction, merchant_id):
        raise Refused("merchant_unknown", param="merchant")
    merchant = await stored.find_merchant(transaction, merchant_id)
    assert merchant is not None, "this transaction holds it"
    return merchant


async def _keep_change(transaction: Transaction, before: stored.MerchantRow, *, by: str) -> None:
    """Write down what this transaction has changed of a merchant, if anything."""
    after = await stored.find_merchant(transaction, before.merchant_id)
    assert after is not None, "this transaction holds it"
    was, now = asdict(before), asdict(after)
    # Who set the last settlement terms is no term, and stands in the act itself.
    changed = [name for name in now if now[name] != was[name] and name != "settlement_set_by"]
    if changed:
        await add_setup_act(
            transaction,
            SetupKind.MERCHANT_SET,
            merchant_id=before.merchant_id,
            by=by,
            before={name: was[name] for name in changed},
            after={name: now[name] for name in changed},
        )


async def _set_terms(transaction: Transaction, merchant_id: MerchantId, terms: OrderTerms) -> bool:
    return await stored.set_terms(
        transaction,
        merchant_id,
        expires_in_s=terms.expires_in_s,
        expires_in_with_payer_s=terms.expires_in_with_payer_s,
        late_payment=terms.late_payment,
    )


def _check_terms(terms: OrderTerms) -> None:
    for param in ("expires_in_s", "expires_in_with_payer_s"):
        given = getattr(terms, param)
        if given is not None and not EXPIRES_IN_S_MIN <= given <= EXPIRES_IN_S_MAX:
            detail = f"{EXPIRES_IN_S_MIN} to {EXPIRES_IN_S_MAX} seconds"
            raise Refused("expires_in_out_of_range", param=param, detail=detail)
    if terms.late_payment is not None and terms.late_payment not in LATE_PAYMENTS:
        raise Refused("late_payment_unknown", param="late_payment", detail=f"one of {LATE_PAYMENTS}")


def _check_name(name: str) -> None:
    if not 1 <= len(name) <= _NAME_LENGTH_MAX or not name.isprintable():
        raise Refused("name_malformed", param="name", detail=f"1 to {_NAME_LENGTH_MAX} printable characters")


def _token() -> str:
    """128 random bits in letters and digits that survive an address and a label."""
    return base64.b32encode(secrets.token_bytes(_TOKEN_BYTES)).decode().rstrip("=").lower()
