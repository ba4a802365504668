"""Numbers that a merchant writes himself: they have a checksum and no secret, so the order's row says whose it is."""

from pathlib import Path

from budan.core.errors import Refused
from budan.core.numbers import trade_number
from budan.flows.job import parse_order_no
from budan.flows.refunding import RefundOrder
from budan.flows.views import Caller, PaymentWish
from budan.ports.channel import Method
from integration.flows.test_cashback import cashback_of, plan_of, say_paid
from stage import Stage, StagedOrder, open_stage


def forge(stage: Stage, order: StagedOrder, thief: Caller) -> str:
    """The thief's merchant, the lane that both have, and the other's order."""
    return trade_number(
        environment=stage.settings.environment,
        lane=order.lane,
        merchant_id=thief.merchant_id,
        order_id=order.order_id,
        attempt=0,
    )


async def test_a_number_with_my_merchant_and_anothers_order_reads_and_moves_nothing(
    database_dsn: str, tmp_path: Path
) -> None:
    """Else a merchant names himself the payer of another's cashback, closes its orders or refunds them."""
    async with open_stage(database_dsn, tmp_path) as stage:
        merchant = await stage.add_merchant()
        await plan_of(stage, merchant, budget_minor=10_000)
        paid, waiting = stage.name_order(merchant), stage.name_order(merchant)
        await stage.add_orders([paid, waiting])
        assert await say_paid(stage, paid) == "complete"
        other = await stage.add_merchant()
        thief = Caller(merchant_id=other.merchant_id, lane=merchant.lane)
        forged, forged_waiting = forge(stage, paid, thief), forge(stage, waiting, thief)
        flows = stage.flows
        refund = RefundOrder(
            caller=thief,
            order_no=forged,
            amount_minor=1,
            reason="",
            request_digest=b"1",
            idempotency_key="k1",
        )
        native = PaymentWish(method=Method.NATIVE)
        tried = {
            "bind": lambda: flows.payers.bind(thief, forged, "thief"),
            "refund": lambda: flows.refunding.request(refund),
            "refunds": lambda: flows.refunding.list_of(thief, forged),
            "read": lambda: flows.reading.get_order(thief, forged),
            "watch": lambda: flows.questions.watch_order(thief, forged_waiting),
            "pay": lambda: flows.payments.start_payment(thief, forged_waiting, native),
            "close": lambda: flows.withdrawals.close_order(thief, forged_waiting),
            "cancel": lambda: flows.withdrawals.cancel_charge(thief, forged_waiting),
            "close by hand": lambda: flows.closing.close(
                parse_order_no(forged_waiting, environment=stage.settings.environment)
            ),
            "hold": lambda: stage.operator.holds.hold(forged, by="Li", reason="not mine"),
        }
        refused = dict[str, str]()
        for act, attempt in tried.items():
            try:
                await attempt()
            except Refused as error:
                refused[act] = error.code
        assert refused == dict.fromkeys(tried, "order_not_found")
        assert (await cashback_of(stage, paid)).decision == "payer_unknown"
        owner = Caller(merchant_id=merchant.merchant_id, lane=merchant.lane)
        assert (await flows.reading.get_order(owner, waiting.order_no)).state == "paying"
