"""Which of a merchant's accounts takes a new trade."""

import re
from dataclasses import dataclass

from budan.core.cashback import CashbackPlan
from budan.core.errors import Refused
from budan.core.fees import FeeTerms
from budan.flows.directory import Directory
from budan.flows.views import AccountChoice, Caller, PaymentWish
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

    async def choose(self, caller: Caller, wish: PaymentWish, *, shop_id: int | None) -> Chosen:
        """The account for a C2B wish, and its fee in the order's shop.

        Raises `Refused` with `method_unsupported` for a B2C method, `channel_unknown`, `payer_openid_missing`,
        `no_account`, `rate_missing`, and `method_unsupported` when no account can do the method, in this order.
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
        chosen = await self._first_able(choices, wish.method)
        if chosen is None:
            raise Refused("method_unsupported", param="payment.method")
        return chosen

    async def choose_by_code(self, caller: Caller, auth_code: str, *, shop_id: int | None) -> Chosen:
        """The account whose wallet shows codes like this one.

        Raises `Refused` with `auth_code_unknown` when the code is of no known wallet, then `no_account`, `rate_missing`
        and `method_unsupported`.
        """
        choices = await self._directory.list_choices(caller.merchant_id, shop_id=shop_id, method=Method.CODE.value)
        known = False
        for choice in choices:
            account = await self._accounts.find(choice.account_id)
            if account is None or not re.fullmatch(account.adapter.capabilities.auth_code_pattern, auth_code):
                continue
            known = True
            if account.enabled and Method.CODE in account.adapter.capabilities.methods:
                return Chosen(
                    account=account,
                    method=Method.CODE,
                    fee_terms=choice.fee_terms,
                    cashback_plans=choice.cashback_plans,
                )
        if known:
            raise Refused("method_unsupported", param="auth_code")
        raise Refused("auth_code_unknown", param="auth_code", detail="the code is of no wallet that the merchant takes")

    async def _first_able(self, choices: tuple[AccountChoice, ...], method: Method) -> Chosen | None:
        for choice in choices:
            account = await self._accounts.find(choice.account_id)
            if account is not None and account.enabled and method in account.adapter.capabilities.methods:
                return Chosen(
                    account=account, method=method, fee_terms=choice.fee_terms, cashback_plans=choice.cashback_plans
                )
        return None
