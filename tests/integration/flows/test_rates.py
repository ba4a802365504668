"""A payment costs what its most specific rate says, keeps that, and is corrected by a posting; sandbox over HTTP."""

from collections.abc import AsyncIterator
from datetime import timedelta
from secrets import token_hex
from typing import Any

import asyncpg
import pytest

from budan.core.errors import Refused
from budan.core.fees import FeeTerms
from budan.flows.books import Books
from budan.flows.rates import FeeWish, Rates, RateWish
from budan.flows.views import CreateOrder, OrderView, PaymentWish
from budan.ports.channel import Method
from budan.store.database import Database, Workload
from integration.flows.conftest import House
from integration.flows.test_refunds import PAID_MINOR, Desk
from integration.sandbox.running import calling

CAPPED = FeeWish(rate_bp=600, minimum_minor=0, maximum_minor=40)


@pytest.fixture
async def desk(house: House) -> AsyncIterator[Desk]:
    connection = await asyncpg.connect(house.dsn)
    async with calling(house.sandbox.url) as payer:
        yield Desk(house=house, payer=payer, rows=connection)
    await connection.close()


@pytest.fixture
def rates(house: House) -> Rates:
    return Rates(database=house.opened.database, environment=house.settings.environment)


def a_wish(house: House, **changes: Any) -> RateWish:
    fields: dict[str, Any] = {
        "merchant_id": house.merchant.merchant_id,
        "channel": "wechat_v3",
        "fee": CAPPED,
        "shop_id": None,
        "method": None,
        "effective_from": None,
        "by": "Ann",
    }
    return RateWish(**(fields | changes))


async def terms_of_trades(desk: Desk, method: str) -> list[tuple[Any, ...]]:
    rows = await desk.rows.fetch(
        "SELECT fee_rate_bp, fee_minimum_minor, fee_maximum_minor FROM trade WHERE method = $1", method
    )
    return [tuple(row) for row in rows]


async def terms_of_order(desk: Desk) -> tuple[Any, ...]:
    row = await desk.rows.fetchrow("SELECT fee_rate_bp, fee_minimum_minor, fee_maximum_minor FROM orders")
    return tuple(row or ())


async def order_in_shop(desk: Desk, shop_id: int, method: Method) -> OrderView:
    return await desk.house.flows.payments.create_order(
        CreateOrder(
            caller=desk.house.caller,
            reference=f"ref-{token_hex(6)}",
            amount_minor=PAID_MINOR,
            currency="CNY",
            subject="Latte",
            request_digest=bytes(32),
            shop_id=shop_id,
            payment=PaymentWish(method=method, channel="wechat_v3", payer_openid="oUpF8"),
        )
    )


async def test_a_trade_keeps_the_most_specific_rate_that_was_in_force_when_it_began(desk: Desk, rates: Rates) -> None:
    house = desk.house
    shop_id = await desk.rows.fetchval("SELECT id FROM shop")
    await rates.set(a_wish(house, shop_id=shop_id, fee=FeeWish(rate_bp=50, minimum_minor=0, maximum_minor=None)))
    await rates.set(
        a_wish(house, shop_id=shop_id, method="jsapi", fee=FeeWish(rate_bp=38, minimum_minor=9, maximum_minor=90))
    )
    await order_in_shop(desk, shop_id, Method.NATIVE)
    await order_in_shop(desk, shop_id, Method.JSAPI)
    assert await terms_of_trades(desk, "native") == [(50, 0, None)]
    assert await terms_of_trades(desk, "jsapi") == [(38, 9, 90)]


@pytest.mark.invariant("I10")
async def test_a_capped_fee_is_kept_on_the_order_goes_back_in_parts_and_is_corrected_by_a_posting(
    desk: Desk, rates: Rates
) -> None:
    await rates.set(a_wish(desk.house))
    order = await desk.paid()
    assert (await desk.order(order)).fee_minor == 40
    assert await terms_of_order(desk) == (600, 0, 40)
    refund = await desk.ask(order, PAID_MINOR // 4)
    await desk.settle()
    assert (await desk.refund(order, refund)).fee_given_back_minor == 10
    right = FeeWish(rate_bp=0, minimum_minor=20, maximum_minor=20)
    corrected = await rates.correct(order.order_no, right, by="Ann", reason="the contract says 0.20")
    assert (corrected.kept_before_minor, corrected.kept_after_minor, corrected.act) == (30, 15, 1)
    again = await rates.correct(order.order_no, right, by="Ann", reason="the contract says 0.20")
    assert (again.act, again.version) == (None, corrected.version)
    assert await desk.balance("fee_income") == -15
    assert await terms_of_order(desk) == (600, 0, 40)
    assert (await desk.order(order)).fee_minor == 40
    act = await desk.rows.fetchrow("SELECT kind, acted_by, reason, wish->>'owed_minor' FROM operator_act")
    assert tuple(act or ()) == ("fee", "Ann", "the contract says 0.20", "-15")
    await desk.ask(order, PAID_MINOR - PAID_MINOR // 4)
    await desk.settle()
    for account in ("channel:%", "merchant:%", "fee_income"):
        assert await desk.balance(account) == 0, account
    database = await Database.connect(desk.house.dsn, workload=Workload.BULK)
    books = Books(database=database, environment=desk.house.settings.environment, lanes=desk.house.opened.lanes)
    assert (await books.check(progress=lambda _: None)).holds
    await database.close()


async def test_what_cannot_be_corrected_is_refused_and_changes_nothing(desk: Desk, rates: Rates) -> None:
    order = await order_in_shop(desk, 1, Method.NATIVE)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({}, "order_not_paid"),
        ({"by": " "}, "name_malformed"),
        ({"reason": ""}, "reason_malformed"),
        ({"order_no": "X"}, "order_no_malformed"),
        ({"wish": FeeWish(rate_bp=10_001, minimum_minor=0, maximum_minor=None)}, "rate_out_of_range"),
        ({"wish": FeeWish(rate_bp=1, minimum_minor=-1, maximum_minor=None)}, "minimum_out_of_range"),
        ({"wish": FeeWish(rate_bp=1, minimum_minor=9, maximum_minor=8)}, "maximum_out_of_range"),
    ]
    for changes, code in wrong:
        given = {"order_no": order.order_no, "wish": CAPPED, "by": "Ann", "reason": "why not"} | changes
        with pytest.raises(Refused) as caught:
            await rates.correct(given["order_no"], given["wish"], by=given["by"], reason=given["reason"])
        assert caught.value.code == code
    assert await desk.rows.fetchval("SELECT count(*) FROM operator_act") == 0


async def test_rates_of_a_merchant_are_listed_with_those_to_come_and_none_is_set_for_another_shop(
    desk: Desk, rates: Rates
) -> None:
    house = desk.house
    with pytest.raises(Refused, match="shop_unknown"):
        await rates.set(a_wish(house, shop_id=999))
    with pytest.raises(Refused, match="method_unknown"):
        await rates.set(a_wish(house, method="cash"))
    now = await desk.rows.fetchval("SELECT clock_timestamp()")
    with pytest.raises(Refused, match="effective_from_past"):
        await rates.set(a_wish(house, effective_from=now))
    tomorrow = now + timedelta(days=1)
    await rates.set(a_wish(house, effective_from=tomorrow))
    with pytest.raises(Refused, match="rate_exists"):
        await rates.set(a_wish(house, effective_from=tomorrow))
    await rates.set(a_wish(house))
    listed = [row.rate.terms for row in await rates.list_of(house.merchant.merchant_id, past=False)]
    capped = FeeTerms(rate_bp=600, maximum_minor=40)
    assert listed == [FeeTerms(rate_bp=55), capped, capped]
    assert len(await rates.list_of(house.merchant.merchant_id, past=True)) == 4
