"""The merchant's file is one of the three records: what is in it was verified, and what was answered 200 is in it."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from standardwebhooks import Webhook

from budan.host.ports import LOOPBACK, hold_port
from budan.host.supervisor import OnExit, Program, supervise
from budan.proof.client import Client, render_request
from budan.proof.records import read_webhooks

SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A merchant and the files that it and we use."""

    client: Client
    events_file: Path
    secrets_file: Path


@asynccontextmanager
async def merchant(folder: Path) -> AsyncIterator[Running]:
    port = hold_port()
    events_file, secrets_file = folder / "events.jsonl", folder / "secrets.json"
    address = f"{LOOPBACK}:{port.number}"
    flags = ("--listen", address, "--events-file", str(events_file), "--secrets-file", str(secrets_file))
    program = Program(
        name="merchant",
        argv=(sys.executable, "-m", "budan.proof.merchant", *flags),
        environment={},
        on_exit=OnExit.FAIL,
        tells_ready=True,
    )
    async with supervise(on_line=lambda _name, _line: None, on_exit=lambda _exit: None) as supervisor:
        await supervisor.start(program, ready_s_max=TIMEOUT_S)
        client = Client(f"http://{address}", connections_max=4)
        try:
            yield Running(client=client, events_file=events_file, secrets_file=secrets_file)
        finally:
            client.close()
            port.release()


def request(*, reference: str, secret: str = SECRET, query: str = "", event_id: str = "e1") -> bytes:
    order = {"order_no": "N", "reference": reference, "state": "paid", "amount_minor": 1, "trade_no": "T"}
    body = json.dumps({"type": "order.paid", "data": order})
    at = datetime.now(UTC)
    signature = Webhook(secret).sign(event_id, at, body)
    lines = f"webhook-id: {event_id}\r\nwebhook-timestamp: {int(at.timestamp())}\r\nwebhook-signature: {signature}\r\n"
    return render_request(method="POST", path=f"/webhook{query}", headers=lines, body=body.encode())


async def answer_to(running: Running, **wish: str) -> int:
    return (await running.client.send(request(**wish), timeout_s=TIMEOUT_S)).status


async def test_an_event_is_in_the_file_when_it_is_answered(tmp_path: Path) -> None:
    async with merchant(tmp_path) as running:
        running.secrets_file.write_text(json.dumps({"12": SECRET}), "utf-8")
        assert await answer_to(running, reference="12-1") == 200
        assert [webhook.order.reference for webhook in read_webhooks(running.events_file)] == ["12-1"]


async def test_an_event_is_known_by_any_of_the_secrets_when_its_reference_names_nobody(tmp_path: Path) -> None:
    """Orders that a page makes have references of the page's."""
    async with merchant(tmp_path) as running:
        running.secrets_file.write_text(json.dumps({"11": "whsec_" + "A" * 32, "12": SECRET}), "utf-8")
        assert await answer_to(running, reference="s-1-100") == 200


async def test_a_stranger_is_refused_and_leaves_no_line(tmp_path: Path) -> None:
    async with merchant(tmp_path) as running:
        running.secrets_file.write_text(json.dumps({"12": SECRET}), "utf-8")
        assert await answer_to(running, reference="12-1", secret="whsec_" + "B" * 32) == 401
        assert read_webhooks(running.events_file) == []


async def test_a_merchant_that_was_asked_to_fail_takes_the_event_at_a_later_try(tmp_path: Path) -> None:
    async with merchant(tmp_path) as running:
        running.secrets_file.write_text(json.dumps({"12": SECRET}), "utf-8")
        answers = [await answer_to(running, reference="12-1", query="?fail_first=2") for _ in range(3)]
        assert answers == [500, 500, 200]
        assert len(read_webhooks(running.events_file)) == 1


async def test_events_that_come_over_many_connections_at_once_are_whole_lines(tmp_path: Path) -> None:
    async with merchant(tmp_path) as running:
        running.secrets_file.write_text(json.dumps({"12": SECRET}), "utf-8")
        answers = await asyncio.gather(
            *(answer_to(running, reference=f"12-{number}", event_id=f"e{number}") for number in range(50))
        )
        assert set(answers) == {200}
        assert len({webhook.webhook_id for webhook in read_webhooks(running.events_file)}) == 50
