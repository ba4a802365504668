"""How long each stage of a life took, from the three records' own times."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from budan.proof.audit import read_books
from budan.proof.instance import Instance
from budan.proof.load import percentiles
from budan.proof.measuring import Measured, webhook_times
from budan.proof.truth import parse_trade_no, read_truth


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTimes:
    """Of one stage."""

    p50_ms: float
    p99_ms: float


async def read_stages(instance: Instance, stretches: Sequence[Measured]) -> dict[str, StageTimes]:
    """`payment_to_notice` is the sandbox's own; `notice_to_completed` and `completed_to_ack` are budan's.

    `notice_to_ack` is from the moment the notice was sent to the line in the merchant's file. Only lives whose notice
    was sent in the measured part of these stretches count.
    """
    books = await read_books(dsn=instance.dsn, merchant_ids=[shop.merchant_id for shop in instance.shops])
    taken_at = {parse_trade_no(trade_no): at for trade_no, at in webhook_times(instance, stretches).items()}
    found: dict[str, list[float]] = {
        "payment_to_notice": [],
        "notice_to_completed": [],
        "completed_to_ack": [],
        "notice_to_ack": [],
    }
    for trade in read_truth(instance.truth_file):
        if trade.key not in taken_at or not trade.notices_sent_at or trade.paid_at is None:
            continue
        sent_at, told_at = trade.notices_sent_at[0], taken_at[trade.key]
        completed_at = books.orders[trade.key.lane, trade.key.order_id].completed_at
        if completed_at is None or not any(one.began_at <= sent_at < one.ended_at for one in stretches):
            continue
        found["payment_to_notice"].append(_ms(trade.paid_at, sent_at))
        found["notice_to_completed"].append(_ms(sent_at, completed_at))
        found["completed_to_ack"].append(_ms(completed_at, told_at))
        found["notice_to_ack"].append(_ms(sent_at, told_at))
    spans = {name: percentiles(values) for name, values in found.items()}
    return {name: StageTimes(p50_ms=p50_ms, p99_ms=p99_ms) for name, (p50_ms, p99_ms) in spans.items()}


def _ms(since: datetime, until: datetime) -> float:
    return (until - since).total_seconds() * 1_000
