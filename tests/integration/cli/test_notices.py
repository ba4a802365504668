import csv
from datetime import timedelta
from io import StringIO

import pytest

from budan.core.evidence import Source
from budan.core.numbers import beijing_day
from budan.flows.door import DoorItem
from integration.cli.commands import Typist
from stage import Stage


@pytest.mark.invariant("I12")
async def test_remedies_tell_cause_source_and_both_times(stage: Stage, typist: Typist) -> None:
    merchant = await stage.add_merchant()
    order, normal = await stage.add_order(merchant), await stage.add_order(merchant)
    paid_at = stage.opened.clock.now() - timedelta(seconds=42)
    await stage.flows.door.record(
        DoorItem(evidence=stage.payment(order, source=Source.QUERY, paid_at=paid_at), asked_attempts=0)
    )
    await stage.pay(normal)
    (line,) = (await typist.json("remedies", "list"))["remedies"]
    assert (line["trade_no"], line["cause"], line["learned_source"]) == (order.trade_no, "notice_missing", "query")
    assert line["paid_at"] == paid_at.isoformat().replace("+00:00", "Z")
    assert 42 <= line["recover_s"] < 90
    today = str(beijing_day(stage.opened.clock.now()))
    table = await typist.type("remedies", "list", "--csv", "--day", today, "--channel", "wechat_v3")
    header, row = csv.reader(StringIO(table.out))
    assert dict(zip(header, row, strict=True))["recover_s"] == str(line["recover_s"])
    assert (await typist.json("remedies", "list", "--day", "2026-01-01"))["remedies"] == []
    assert (await typist.json("remedies", "list", "--cause", "late_payment"))["remedies"] == []
    wrong = await typist.type("remedies", "list", "--cause", "magic")
    assert (wrong.code, "cause_unknown" in wrong.err) == (2, True)


async def test_notices_are_listed_and_replayed_by_name_or_by_filter_and_not_by_both(typist: Typist) -> None:
    assert (await typist.json("notices", "list", "--rejected"))["notices"] == []
    assert (await typist.json("notices", "replay", "--since", "2h", "--dry-run"))["replayed"] == []
    assert (await typist.type("notices", "replay")).code == 2
    assert (await typist.type("notices", "replay", "1:1:1", "--since", "2h")).code == 2
    unknown = await typist.type("notices", "replay", "1:1:1")
    assert (unknown.code, "notice_not_found" in unknown.err) == (2, True)
