"""Which account takes a new order: by shop, method and priority, and the next one where the first does not answer."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from budan.channels.alipay.adapter import CAPABILITIES as ALIPAY
from budan.channels.wechat_v3.adapter import CAPABILITIES as WECHAT
from budan.cli.wiring import build_account_desk
from budan.core.errors import Refused
from budan.core.numbers import AccountId
from budan.flows.account_desk import Taker
from budan.flows.administering import AddedMerchant, MerchantWish
from budan.flows.choosing import Chooser
from budan.flows.directory import Directory
from budan.flows.views import Caller, PaymentWish
from budan.ports.channel import Capabilities, ChannelAccount, Method
from stage import Stage, open_stage
from unit.channels.scripted import ScriptedChannel

CODE = "134567890123456789"


@dataclass(slots=True)
class Able(ScriptedChannel):
    """What a channel can do, as its adapter declares it."""

    can: Capabilities = WECHAT

    @property
    def capabilities(self) -> Capabilities:
        return self.can


@dataclass
class Accounts:
    """Accounts that answer or not, as the test says."""

    silent: set[AccountId] = field(default_factory=set[AccountId])
    found: dict[AccountId, ChannelAccount] = field(default_factory=dict[AccountId, ChannelAccount])

    def add(self, account_id: AccountId, channel: str) -> None:
        adapter = Able(can=WECHAT if channel == "wechat_v3" else ALIPAY)
        self.found[account_id] = ChannelAccount(
            account_id=account_id,
            channel=channel,
            name=channel,
            enabled=True,
            adapter=adapter,
            takes_new=lambda: account_id not in self.silent,
        )

    async def find(self, account_id: AccountId) -> ChannelAccount | None:
        return self.found.get(account_id)

    async def close(self) -> None:
        return


@dataclass
class Counter:
    """A merchant with one shop, three accounts of WeChat's and one of Alipay's; looked up anew for each choice."""

    stage: Stage
    accounts: Accounts
    merchant: AddedMerchant
    ids: list[AccountId]
    shop_id: int

    async def choose(
        self,
        method: Method = Method.NATIVE,
        *,
        shop: bool = False,
        stays_with: tuple[AccountId, ...] = (),
        **more: str,
    ) -> AccountId:
        chosen = await self._chooser().choose(
            self._caller,
            PaymentWish(method=method, payer_openid="o", **more),
            shop_id=self.shop_id if shop else None,
            stays_with=stays_with,
        )
        return chosen.account.account_id

    async def charge(self) -> AccountId:
        return (await self._chooser().choose_by_code(self._caller, CODE, shop_id=None)).account.account_id

    def _chooser(self) -> Chooser:
        directory = Directory(
            database=self.stage.database, environment=self.stage.settings.environment, clock=self.stage.opened.clock
        )
        return Chooser(directory=directory, accounts=self.accounts)

    @property
    def _caller(self) -> Caller:
        return Caller(merchant_id=self.merchant.merchant_id, lane=self.merchant.lane)


@pytest.fixture
async def counter(database_dsn: str, tmp_path: Path):  # noqa: ANN201 - a fixture that gives a Counter
    async with open_stage(database_dsn, tmp_path) as stage:
        accounts = Accounts()
        channels = ["wechat_v3", "wechat_v3", "alipay", "wechat_v3"]
        ids = [await stage.add_account(channel) for channel in channels]
        for account_id, channel in zip(ids, channels, strict=True):
            accounts.add(account_id, channel)
        wish = MerchantWish(
            name="m",
            webhook_url=None,
            account_ids=tuple(ids[:3]),
            rates_bp={"wechat_v3": 60, "alipay": 55},
            with_key=False,
            with_shop=True,
        )
        (merchant,) = await stage.administration.add_merchants([wish], by="Ann")
        assert merchant.shop_code is not None
        shop = await stage.flows.directory.find_shop(merchant.shop_code)
        assert shop is not None
        yield Counter(stage=stage, accounts=accounts, merchant=merchant, ids=ids, shop_id=shop.shop_id)


async def refused(act: object) -> str:
    with pytest.raises(Refused) as error:
        await act  # whatever coroutine the test gives
    return error.value.code


async def test_a_new_order_goes_to_the_first_account_whose_channel_answers(counter: Counter) -> None:
    first, second, alipay, _ = counter.ids
    assert (await counter.choose(), await counter.charge()) == (first, first)
    counter.accounts.silent = {first}
    assert (await counter.choose(), await counter.charge()) == (second, second)
    counter.accounts.silent = {first, second}
    assert await counter.choose() == alipay
    # Where nobody answers the first is tried again: somebody has to find that it is back.
    counter.accounts.silent = {first, second, alipay}
    assert (await counter.choose(), await counter.charge()) == (first, first)


@pytest.mark.invariant("I9")
async def test_an_order_stays_with_the_account_where_it_may_still_be_paid(counter: Counter) -> None:
    """A second open code of another account would be a second payment."""
    first, second, *_ = counter.ids
    counter.accounts.silent = {first}
    assert await counter.choose(stays_with=(first,)) == first
    counter.accounts.silent = set()
    assert await counter.choose(stays_with=(second,)) == second
    # Alipay has no JSAPI: what it cannot do goes where it can be done.
    assert await counter.choose(Method.JSAPI, stays_with=(counter.ids[2],)) == first


async def test_a_page_in_a_browser_is_wechats_only_where_the_payers_address_is_known(counter: Counter) -> None:
    """WeChat compares it with the browser that comes; Alipay does not ask."""
    first, _, alipay, _ = counter.ids
    assert await counter.choose(Method.WAP) == alipay
    assert await counter.choose(Method.WAP, payer_ip="203.0.113.7") == first
    assert await refused(counter.choose(Method.WAP, channel="wechat_v3")) == "payer_ip_missing"


async def test_an_account_may_be_meant_for_some_ways_of_paying_only(counter: Counter) -> None:
    first, second, *_ = counter.ids
    desk, taker = build_account_desk(counter.stage.opened), Taker(merchant_id=counter.merchant.merchant_id)
    await desk.allow(first, taker, priority=0, methods=("jsapi",), by="Ann")
    assert [await counter.choose(method) for method in (Method.JSAPI, Method.NATIVE)] == [first, second]
    assert await counter.charge() == second
    await desk.allow(first, taker, priority=9, methods=(), by="Ann")
    assert [await counter.choose(method) for method in (Method.JSAPI, Method.NATIVE)] == [second, second]
    assert [await desk.disallow(second, taker, by="Ann") for _ in range(2)] == [True, False]
    assert await counter.choose(Method.JSAPI) == first


async def test_a_shop_with_accounts_of_its_own_uses_no_other(counter: Counter) -> None:
    """Its money goes to its own account, or nowhere: not to its merchant's because that one is out of use."""
    first, *_, own = counter.ids
    desk = build_account_desk(counter.stage.opened)
    await desk.allow(own, Taker(shop_id=counter.shop_id), priority=0, methods=("native",), by="Ann")
    assert (await counter.choose(shop=True), await counter.choose()) == (own, first)
    assert await refused(counter.choose(Method.JSAPI, shop=True)) == "method_unsupported"
    await desk.set_enabled(own, enabled=False, by="Ann")
    assert await refused(counter.choose(shop=True)) == "no_account"
    assert await desk.disallow(own, Taker(shop_id=counter.shop_id), by="Ann")
    assert await counter.choose(shop=True) == first


async def test_what_is_not_there_cannot_be_allowed(counter: Counter) -> None:
    desk, account = build_account_desk(counter.stage.opened), counter.ids[0]
    here = Taker(merchant_id=counter.merchant.merchant_id)
    assert await refused(desk.allow(999, here, priority=0, methods=(), by="Ann")) == "account_unknown"
    assert await refused(desk.allow(account, Taker(shop_id=999), priority=0, methods=(), by="Ann")) == "shop_unknown"
    assert (
        await refused(desk.allow(account, Taker(merchant_id=999), priority=0, methods=(), by="Ann"))
        == "merchant_unknown"
    )
    assert await refused(desk.allow(account, here, priority=0, methods=("nfc",), by="Ann")) == "method_unknown"
    assert await refused(desk.allow(account, here, priority=-1, methods=(), by="Ann")) == "priority_out_of_range"
    with pytest.raises(Refused):
        Taker()
