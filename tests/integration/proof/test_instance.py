"""A private platform is what every proof stands on: on a database that is given, with a merchant that misbehaves."""

import asyncio
from pathlib import Path

import pytest

from budan.proof.instance import Shape, private_instance
from budan.proof.records import open_records
from budan.proof.story import SCRIPTS, Step, play


@pytest.mark.invariant("I6")
async def test_a_merchant_that_fails_at_first_is_told_again(database_dsn: str, tmp_path: Path) -> None:
    steps: list[Step] = []
    shape = Shape(webhook_query="fail_first=1")
    async with private_instance(
        folder=tmp_path, dsn=database_dsn, shape=shape, progress=lambda _line: None
    ) as instance:
        async with open_records(instance) as records, asyncio.TaskGroup() as tasks:
            story = await play(SCRIPTS[0], records=records, shop=instance.shops[0], tasks=tasks, tell=steps.append)
        assert instance.exits == []
        assert instance.pids().keys() == {"sandbox", "merchant", "serve-1", "worker-1"}
    assert story.problems() == []
    assert [step.who for step in steps] == ["sandbox", "budan", "merchant"]
    # The completion did not wait for the merchant, who was told at the ladder's next rung.
    assert story.heal_s < (story.webhooks[0].at - story.paid_at).total_seconds()
