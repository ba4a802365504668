"""Each order that was lost is told of with the one who lost it; this is read each morning instead of counted by hand."""

import csv
from datetime import timedelta
from secrets import token_bytes

import asyncpg

from budan.core.evidence import Source
from budan.core.numbers import beijing_day
from budan.flows.door import DoorItem
from integration.cli.commands import Typist
from stage import Stage, StagedMerchant, StagedOrder

Rows = asyncpg.Connection


async def pay(stage: Stage, merchant: StagedMerchant, *, ago_s: float, source: Source = Source.NOTICE) -> StagedOrder:
    """An order of which the channel says only now that it was paid so many seconds ago."""
    order = await stage.add_order(merchant)
    paid_at = stage.opened.clock.now() - timedelta(seconds=ago_s)
    await stage.flows.door.record(DoorItem(evidence=stage.payment(order, paid_at=paid_at, source=source)))
    return order


async def reject_a_notice(rows: Rows, merchant: StagedMerchant, *, ago_s: float) -> None:
    """What the door keeps of a notice whose signature did not hold."""
    await rows.execute(
        """
        INSERT INTO notice_rejected (account_id, digest, reason, received_at)
        VALUES ($1, $2, 'signature_unknown_key', now() - make_interval(secs => $3))
        """,
        merchant.account_id,
        token_bytes(32),
        ago_s,
    )


async def test_a_days_lost_and_late_orders_are_told_by_channel_and_cause(
    stage: Stage, rows: Rows, typist: Typist
) -> None:
    merchant = await stage.add_merchant()
    await pay(stage, merchant, ago_s=0.0)
    late = await pay(stage, merchant, ago_s=30.0)
    missing = await pay(stage, merchant, ago_s=60.0, source=Source.QUERY)
    quick = await pay(stage, merchant, ago_s=2.0, source=Source.QUERY)
    queued = await pay(stage, merchant, ago_s=0.0)
    await rows.execute(
        "UPDATE orders SET completed_at = learned_at + interval '9 seconds' WHERE id = $1", queued.order_id
    )
    wrong_key = await stage.add_merchant()
    await reject_a_notice(rows, wrong_key, ago_s=59.0)
    await reject_a_notice(rows, wrong_key, ago_s=1.5)
    rejected = await pay(stage, wrong_key, ago_s=60.0, source=Source.QUERY)
    soon = await pay(stage, wrong_key, ago_s=2.0, source=Source.QUERY)
    split = await pay(stage, merchant, ago_s=4.0)
    await rows.execute(
        "UPDATE orders SET completed_at = learned_at + interval '4 seconds' WHERE id = $1", split.order_id
    )
    lost = (late, missing, quick, queued, rejected, soon, split)
    day = beijing_day(await rows.fetchval("SELECT min(booked_at) FROM posting"))
    found = await typist.json("remedies", "report", "--day", str(day))
    assert (found["paid"], found["lost"], found["unexplained"]) == (8, 7, 1)
    assert {(row["channel"], row["cause"]): row["orders"] for row in found["counts"]} == {
        ("wechat_v3", "notice_late"): 1,
        ("wechat_v3", "notice_missing"): 2,
        ("wechat_v3", "notice_rejected"): 2,
        ("wechat_v3", "our_queue"): 1,
        ("wechat_v3", "unexplained"): 1,
    }
    assert 60.0 <= found["whole"]["recover_max_s"] < 120.0
    shown = await typist.type("remedies", "report", "--day", str(day), "--csv")
    lines = {line["order"]: line for line in csv.DictReader(shown.out.splitlines())}
    causes = {order.order_no: lines[order.order_no]["cause"] for order in lost}
    assert list(causes.values()) == [
        *("notice_late", "notice_missing", "notice_missing", "our_queue"),
        *("notice_rejected", "notice_rejected", "unexplained"),
    ]
    assert set(lines) == set(causes)


async def test_an_order_that_was_paid_while_we_were_away_is_our_own_loss(
    stage: Stage, rows: Rows, typist: Typist
) -> None:
    """Finance would else call the channel for a notice that it sent, to nobody."""
    merchant = await stage.add_merchant()
    before = await pay(stage, merchant, ago_s=600.0, source=Source.QUERY)
    down = await pay(stage, merchant, ago_s=60.0, source=Source.QUERY)
    await rows.execute(
        """
        INSERT INTO outage (role, began_at, ended_at, cause)
        VALUES ('serve', now() - interval '70 seconds', now() - interval '40 seconds', 'database_away')
        """
    )
    await rows.execute("INSERT INTO presence (role, seen_at) VALUES ('worker', now() - interval '90 seconds')")
    day = beijing_day(await rows.fetchval("SELECT min(booked_at) FROM posting"))
    found = await typist.json("remedies", "report", "--day", str(day))
    away = [(row["role"], row["cause"]) for row in found["outages"]]
    assert away == [("serve", "database_away"), ("worker", "we_were_down")], "the second one goes on"
    shown = await typist.type("remedies", "report", "--day", str(day), "--csv")
    causes = {line["order"]: line["cause"] for line in csv.DictReader(shown.out.splitlines())}
    assert causes == {before.order_no: "notice_missing", down.order_no: "we_were_down"}
    told = await typist.json("orders", "show", down.order_no)
    assert told["gap"]["cause"] == "we_were_down"
    text = (await typist.type("remedies", "report", "--day", str(day))).out
    assert "away: serve" in text
    html = (await typist.type("remedies", "report", "--day", str(day), "--html")).out
    assert "<td>database_away</td>" in html


async def test_a_notice_of_a_refund_or_of_another_trade_is_no_late_notice_of_the_payment(
    stage: Stage, rows: Rows, typist: Typist
) -> None:
    """Channels tell of refunds: a cause that changes with them makes every report of the day another one."""
    merchant = await stage.add_merchant()
    refunded, paid_twice, late = [await pay(stage, merchant, ago_s=60.0, source=Source.QUERY) for _ in range(3)]
    second = paid_twice.trade_no[:28] + "2" + paid_twice.trade_no[29:]
    for order, trade_no, decision in (
        (refunded, refunded.trade_no, "refund_told"),
        (paid_twice, second, "return_second"),
        (late, late.trade_no, "already_succeeded"),
    ):
        await rows.execute(
            """
            INSERT INTO notice (lane, order_id, id, account_id, trade_no, received_at, headers, body, decision)
            VALUES ($1, $2, $2, $3, $4, now() + interval '1 minute', '{}', '', $5)
            """,
            *(order.lane, order.order_id, merchant.account_id, trade_no, decision),
        )
    day = beijing_day(await rows.fetchval("SELECT min(booked_at) FROM posting"))
    shown = await typist.type("remedies", "report", "--day", str(day), "--csv")
    causes = {line["order"]: line["cause"] for line in csv.DictReader(shown.out.splitlines())}
    wanted = {refunded: "notice_missing", paid_twice: "notice_missing", late: "notice_late"}
    assert causes == {order.order_no: cause for order, cause in wanted.items()}
    for order in (refunded, late):
        assert (await typist.json("orders", "show", order.order_no))["gap"]["cause"] == wanted[order]
