import asyncio
from pathlib import Path

import asyncpg

from budan.web.routes import ROUTES
from integration.cuttable import cuttable
from integration.web.house import House, SandboxSide, an_order, open_house


async def test_a_house_that_stands_is_alive_and_ready(house: House) -> None:
    assert (await house.send("GET", "/livez")).body == b"alive\n"
    ready = await house.send("GET", "/readyz")
    assert (ready.status, ready.json) == (200, {"is_ready": True, "problems": []})


async def test_a_head_request_is_answered_like_its_get_without_the_body(house: House) -> None:
    for path in ("/livez", "/docs", "/openapi.json"):
        async with house.line() as (reader, writer):
            writer.write(f"HEAD {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK")
            assert b"content-length: " in head
            assert body == b""


async def test_a_house_on_a_schema_of_a_later_version_is_not_ready(house: House) -> None:
    """Somebody upgraded beneath it: what it does not know it does not write."""
    await house.execute("INSERT INTO schema_migration (name, checksum) VALUES ('9000_later.pre.sql', '')")
    ready = await house.send("GET", "/readyz")
    assert ready.status == 503
    assert ready.json["problems"] == ["schema_newer: 9000_later.pre.sql of a later version has run"]


async def test_an_instance_that_is_about_to_go_says_so_but_lives_and_answers(house: House) -> None:
    """A load balancer sends nobody new; whoever is on the way is served."""
    house.app.begin_drain()
    ready = await house.send("GET", "/readyz")
    assert (ready.status, ready.json) == (503, {"is_ready": False, "problems": ["draining"]})
    assert (await house.send("GET", "/livez")).status == 200
    assert (await house.create_order())["state"] == "created"


async def test_without_its_database_it_is_alive_but_not_ready_and_promises_nothing(
    database_dsn: str, tmp_path: Path, sandbox_side: SandboxSide
) -> None:
    """A restart would mend nothing, so /livez must not ask for one; merchants are told to repeat."""
    async with (
        cuttable(database_dsn) as (line, dsn),
        open_house(dsn=dsn, folder=tmp_path, sandbox=sandbox_side) as house,
    ):
        await house.create_order()
        line.cut()
        assert (await house.send("GET", "/livez")).status == 200
        ready = await house.send("GET", "/readyz")
        assert ready.status == 503
        assert ready.json["problems"] == ["database: away"], "a stranger is not told what the driver says"
        for reply in (await house.call("GET", "/v1/orders"), await house.call("POST", "/v1/orders", an_order())):
            assert (reply.status, reply.code, reply.headers["retry-after"]) == (503, "store_unavailable", "1")
        page = await house.send("GET", f"/s/{house.merchant.shop_code}", headers={"accept-language": "en"})
        assert (page.status, "do not pay twice" in page.text) == (503, True)
        line.mend()
        assert (await house.send("GET", "/readyz")).status == 200
        assert (await house.create_order())["state"] == "created"


async def test_while_its_database_takes_no_writing_it_lives_and_says_why(house: House) -> None:
    """A standby that nobody has promoted once ended every process within a second."""
    admin = await asyncpg.connect(house.dsn)
    try:
        await _set_read_only(admin, to="on")
        await _said_ready(house, ["database: read-only"])
        refused = await house.call("POST", "/v1/orders", an_order())
        assert (refused.status, refused.code) == (503, "store_unavailable")
        await _set_read_only(admin, to="off")
        await _said_ready(house, [])
        assert (await house.create_order())["state"] == "created"
    finally:
        await admin.close()


async def _said_ready(house: House, problems: list[str]) -> None:
    """Until the sessions that were ended are gone."""
    async with asyncio.timeout(5):
        while (await house.send("GET", "/readyz")).json["problems"] != problems:
            pass


async def _set_read_only(admin: asyncpg.Connection, *, to: str) -> None:
    """For all sessions that begin from now on; those that stand are ended."""
    await admin.execute("SET default_transaction_read_only = off")
    name = await admin.fetchval("SELECT current_database()")
    await admin.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = {to}')
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()", name
    )


async def test_requests_are_counted_by_route_and_status_and_never_by_their_address(house: House) -> None:
    """An address can be a secret, and as a label it would fill the memory."""
    order = await house.create_order()
    await house.call("GET", f"/v1/orders/{order['order_no']}")
    await house.send("GET", "/no/such/path")
    counted = (await house.send("GET", "/metrics")).text
    assert 'budan_http_requests_total{route="get_order",status="200"}' in counted
    assert 'budan_http_requests_total{route="none",status="404"}' in counted
    assert order["order_no"] not in counted
    routes = {line.split('route="')[1].split('"')[0] for line in counted.splitlines() if 'route="' in line}
    assert routes <= {route.name for route in ROUTES} | {"none"}


async def test_the_document_and_its_page_are_served(house: House) -> None:
    document = (await house.send("GET", "/openapi.json")).json
    assert document["openapi"] == "3.1.0"
    assert document["servers"] == [{"url": house.url}]
    page = await house.send("GET", "/docs", headers={"accept-language": "en"})
    assert page.status == 200
    assert all(path in page.text for path in document["paths"])
