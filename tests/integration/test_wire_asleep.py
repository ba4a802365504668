import asyncio
from typing import Any

import pytest

from budan.wire import http_fast
from budan.wire.errors import NotSent
from budan.wire.http_fast import FastHttpClient
from integration.scripted_server import Server

WINDOW_S = 29.0


@pytest.mark.invariant("I11")
async def test_nothing_is_sent_after_a_machine_slept_through_the_send_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop's clock stands still meanwhile, and the channel's does not."""
    asleep_s = 0.0

    async def connect_and_sleep(*arguments: Any, **options: Any) -> Any:
        nonlocal asleep_s
        opened = await connect(*arguments, **options)
        asleep_s += WINDOW_S
        return opened

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await reader.read()

    loop = asyncio.get_running_loop()
    connect = loop.create_connection
    monkeypatch.setattr(http_fast, "elapsed_s", lambda: loop.time() + asleep_s)
    monkeypatch.setattr(loop, "create_connection", connect_and_sleep)
    server = Server(answer, tls=None)
    url, client = await server.start(), FastHttpClient(connections_per_host_max=1)
    try:
        with pytest.raises(NotSent, match="time to send"):
            await _ask(client, url)
        # The connection is there by now: this one leaves at once.
        assert (await _ask(client, url)).status == 200
    finally:
        await client.close()
        await server.stop()
    assert len(server.requests) == 1


async def _ask(client: FastHttpClient, url: str) -> Any:
    return await client.request(
        method="POST", url=url, headers={}, body=b"{}", timeout_s=60.0, body_bytes_max=10, send_within_s=WINDOW_S
    )
