"""A figure of `budan bench` counts only if the run that gave it lost nothing, so both are made together."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from budan.proof.audit import audit_run
from budan.proof.healing import measure_heal_page
from budan.proof.instance import Shape, private_instance
from budan.proof.measuring import Stretch, measure
from budan.proof.preload import preload, settle
from budan.proof.records import open_records
from budan.proof.reference import make_reference, measure_reference
from budan.proof.stages import read_stages

LIVES = Stretch(kind="lives", warm_s=0.3, measured_s=1.5, connections=8, open_max=16)
CREATES = Stretch(kind="creates", warm_s=0.2, measured_s=0.5, connections=8, open_max=16)
REFUSALS = Stretch(kind="refusals", warm_s=0.2, measured_s=0.5, connections=8, open_max=16)


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path("/tmp") / f"budan-test-measuring-{os.getpid()}"  # noqa: S108 - the unprivileged database must get there
    made.mkdir(mode=0o711)
    yield made
    shutil.rmtree(made)


@pytest.mark.invariant("I8", "I9", "I10")
async def test_lives_are_measured_and_audited_on_a_platform_that_holds_many_orders_already(folder: Path) -> None:
    async with private_instance(
        folder=folder, dsn=None, shape=Shape(merchants=4, serves=2), progress=lambda _line: None
    ) as instance:
        await preload(instance, orders=500)
        await settle(instance)
        lives = await measure(instance, LIVES)
        creates, refusals = await measure(instance, CREATES), await measure(instance, REFUSALS)
        async with open_records(instance) as records:
            heal_s = await measure_heal_page(
                records, shop=instance.shops[0], reference=f"{instance.shops[0].merchant_id}-heal"
            )
        reference_per_s = await measure_reference(await make_reference(instance.dsn), seconds=1)
        stages = await read_stages(instance, [lives])
        audit = await audit_run(
            dsn=instance.dsn,
            merchant_ids=[shop.merchant_id for shop in instance.shops],
            truth_file=instance.truth_file,
            events_file=instance.events_file,
        )
        assert instance.exits == []
    assert [one.load.wrong_examples for one in (lives, creates, refusals)] == [[], [], []]
    assert lives.done > 0
    assert creates.done > 0
    assert refusals.done > 0
    assert reference_per_s > 0
    assert 0 < heal_s < 30
    assert stages["notice_to_ack"].p99_ms > 0
    assert {"serve", "worker", "postgres", "sandbox", "merchant", "load"} == lives.cpu_us_per_order().keys()
    assert audit.holds, audit.examples
    assert audit.paid == audit.completed == lives.load.done + 1
