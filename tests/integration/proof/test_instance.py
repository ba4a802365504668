"""A private platform is what every proof stands on: on a database that is given, with a merchant that misbehaves."""

import asyncio
from pathlib import Path

import pytest

from budan.proof.instance import Shape, private_instance
from budan.proof.records import open_records
from budan.proof.steps import StepFailed, open_command_line
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


async def test_commands_run_one_after_the_other_in_one_process_and_a_refused_one_says_why() -> None:
    """What sets a platform up costs an interpreter once; what it is told wrongly must not look like an answer."""
    environment = {"BUDAN_ENVIRONMENT": "local"}
    async with open_command_line() as line:
        shown = await line.run("config", "show", environment=environment, timeout_s=30)
        assert (shown["settings"][0]["name"], shown["settings"][0]["value"]) == ("environment", "local")
        with pytest.raises(StepFailed, match=r"(?s)ended with 2: .*No such option"):
            await line.run("config", "show", "--nonsense", environment=environment, timeout_s=30)
        again = await line.run("config", "show", environment={"BUDAN_ENVIRONMENT": "test"}, timeout_s=30)
    assert again["settings"][0]["value"] == "test"
