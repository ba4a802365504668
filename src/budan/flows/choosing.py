"""Which of a merchant's accounts takes a new trade."""

import re
from collections.abc import Collection
from dataclasses import dataclass

from budan.core.cashback import CashbackPlan
from budan.core.errors import Refused
from budan.core.fees import FeeTerms
from budan.core.numbers import AccountId
from budan.flows.directory import Directory
from budan.flows.views import AccountChoice, Caller, Payable, PaymentWish
from budan.ports.channel import ChannelAccount, ChannelAccounts, Method

# What the installed channels are called; a wish for another one is a typing mistake.
CHANNELS = frozenset({"wechat_v3", "alipay", "swiftpass", "ipaynow", "wechat_v2"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """An account for a new trade, with the terms of the fee that the trade keeps and the plans that may offer cashback."""

    account: ChannelAccount
    method: Method
    fee_terms: FeeTerms
    cashback_plans: tuple[CashbackPlan, ...] = ()


class Chooser:
    """Chooses by the merchant's priorities among the accounts that can do what is wished."""

    def __init__(self, *, directory: Directory, accounts: ChannelAccounts) -> None:
        self._directory = directory
        self._accounts = accounts

    async def choose(
        self,
        caller: Caller,
        wish: PaymentWish,
        *,
        shop_id: int | None,
        stays_with: Collection[AccountId] = (),
    ) -> Chosen:
        """The account for a C2B wish, and its fee in the order's shop.

        Of those that can do it the first whose channel answers, but one of `stays_with` before all others.

        Raises `Refused` with `method_unsupported` for a B2C method, `channel_unknown`, `payer_openid_missing`,
        `no_account`, `rate_missing`, `method_unsupported` when no account can do the method, and `payer_ip_missing` when
        none can without the payer's address, in this order.
        """
        if wish.method is Method.CODE:
            raise Refused(
                "method_unsupported", param="payment.method", detail="a payer's code is charged by /v1/charges"
            )
        if wish.channel is not None and wish.channel not in CHANNELS:
            raise Refused("channel_unknown", param="payment.channel", detail=f"one of {sorted(CHANNELS)}")
        if wish.method is Method.JSAPI and not wish.payer_openid:
            raise Refused("payer_openid_missing", param="payment.payer_openid")
        choices = await self._directory.list_choices(caller.merchant_id, shop_id=shop_id, method=wish.method.value)
        if wish.channel is not None:
            choices = tuple(choice for choice in choices if choice.channel == wish.channel)
            if not choices:
                raise Refused("no_account", param="payment.channel", detail=f"no account on {wish.channel}")
        able = await self._list_able(choices, wish.method)
        if not able:
            raise Refused("method_unsupported", param="payment.method")
        able = [chosen for chosen in able if wish.payer_ip or not _needs_payer_ip(chosen)]
        if not able:
            raise Refused("payer_ip_missing", param="payment.payer_ip")
        # An order stays with the account where it may still be paid: two open codes would be two payments.
        return next((one for one in able if one.account.account_id in stays_with), _first_that_answers(able))

    async def choose_by_code(self, caller: Caller, auth_code: str, *, shop_id: int | None) -> Chosen:
        """The account whose wallet shows codes like this one.

        Raises `Refused` with `auth_code_unknown` when the code is of no known wallet, then `no_account`, `rate_missing`
        and `method_unsupported`.
        """
        choices = await self._directory.list_choices(caller.merchant_id, shop_id=shop_id, method=Method.CODE.value)
        known, able = False, list[Chosen]()
        for choice in choices:
            account = await self._accounts.find(choice.account_id)
            if account is None or not re.fullmatch(account.adapter.capabilities.auth_code_pattern, auth_code):
                continue
            known = True
            if account.enabled and Method.CODE in account.adapter.capabilities.methods:
                able.append(_chosen(account, Method.CODE, choice))
        if able:
            return _first_that_answers(able)
        if known:
            raise Refused("method_unsupported", param="auth_code")
        raise Refused("auth_code_unknown", param="auth_code", detail="the code is of no wallet that the merchant takes")

    async def list_payable(self, caller: Caller, *, shop_id: int | None) -> tuple[Payable, ...]:
        """What a payer can be offered in the shop: each channel once, as its first account has it, first choice first."""
        payables: dict[str, Payable] = {}
        for row in await self._directory.list_priced(caller.merchant_id, shop_id=shop_id):
            account = await self._accounts.find(row.account_id)
            if account is None or not account.enabled or row.channel in payables:
                continue
            can = account.adapter.capabilities
            meant = can.methods if row.methods is None else {one for one in can.methods if one.value in row.methods}
            payables[row.channel] = Payable(channel=row.channel, methods=frozenset(meant), wallets=can.wallets)
        return tuple(payables.values())

    async def _list_able(self, choices: tuple[AccountChoice, ...], method: Method) -> list[Chosen]:
        able: list[Chosen] = []
        for choice in choices:
            account = await self._accounts.find(choice.account_id)
            if account is not None and account.enabled and method in account.adapter.capabilities.methods:
                able.append(_chosen(account, method, choice))
        return able


def _first_that_answers(able: list[Chosen]) -> Chosen:
    """The first choice whose channel answers; the first of all where none does, so that it is tried again.

    A channel that is away is tried by one new order in a while (`guard.py`): by that it is found to be back.
    """
    return next((chosen for chosen in able if chosen.account.takes_new()), able[0])


def _needs_payer_ip(chosen: Chosen) -> bool:
    return chosen.method is Method.WAP and chosen.account.adapter.capabilities.wap_needs_payer_ip


def _chosen(account: ChannelAccount, method: Method, choice: AccountChoice) -> Chosen:
    return Chosen(account=account, method=method, fee_terms=choice.fee_terms, cashback_plans=choice.cashback_plans)
