"""Bodies that are too long, too slow, or never finished; read over bare connections."""

import asyncio

import pytest

from budan.web import reading
from budan.web.reading import API_BODY_BYTES_MAX, DISCARDED_BYTES_MAX, NOTICE_BODY_BYTES_MAX
from integration.web.house import House

Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def _head(house: House, *more: str, path: str = "/v1/orders") -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: h",
        f"Authorization: Bearer {house.merchant.api_key}",
        "Content-Type: application/json",
        *more,
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The status and the head of the next answer, its body read."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length"))
    body = await reader.readexactly(length)
    return int(head.split()[1]), head + body


async def test_a_body_of_the_largest_size_is_read_and_one_byte_more_is_not(house: House) -> None:
    for extra, code in ((0, "body_malformed"), (1, "body_too_large")):
        reply = await house.call("POST", "/v1/orders", raw=b"[" * (API_BODY_BYTES_MAX + extra))
        assert reply.code == code


async def test_a_body_whose_declared_length_is_absurd_is_refused_unread(house: House) -> None:
    """The answer comes although not one byte of the body was sent."""
    for declared in (DISCARDED_BYTES_MAX + 1, 10**40):
        async with house.line() as (reader, writer):
            writer.write(_head(house, f"Content-Length: {declared}"))
            answer = await reader.read(65_536)
            # The parser itself refuses a number that no machine can count to.
            assert answer.split()[1] in {b"413", b"400"}, answer


async def test_a_body_without_a_declared_length_is_counted_while_it_comes(house: House) -> None:
    async with house.line() as (reader, writer):
        writer.write(_head(house, "Transfer-Encoding: chunked"))
        chunk = b"x" * 16_384
        for _ in range(API_BODY_BYTES_MAX // len(chunk) + 1):
            writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        status, answer = await _answer(reader)
        assert (status, b"body_too_large" in answer, b"connection: close" in answer) == (413, True, True)


async def test_a_body_that_does_not_end_is_given_up(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BODY_TIMEOUT_S", 0.2)
    async with house.line() as (reader, writer):
        writer.write(_head(house, "Content-Length: 10") + b"{")
        status, answer = await _answer(reader)
        assert (status, b"body_timeout" in answer) == (408, True)
        assert await reader.read() == b""


async def test_a_client_that_goes_away_half_way_costs_nothing(house: House) -> None:
    async with house.line() as (_, writer):
        writer.write(_head(house, "Content-Length: 10") + b"{")
        await writer.drain()
    assert (await house.call("GET", "/v1/orders")).json["orders"] == []


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=gbk", "multipart/form-data", ""],
)
async def test_only_json_in_utf8_is_taken(house: House, content_type: str) -> None:
    headers = {"authorization": f"Bearer {house.merchant.api_key}", "content-type": content_type}
    reply = await house.send("POST", "/v1/orders", body=b"{}", headers=headers)
    assert (reply.status, reply.code) == (415, "content_type_unsupported")


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"']
)
async def test_json_is_taken_however_its_type_is_written(house: House, content_type: str) -> None:
    headers = {"authorization": f"Bearer {house.merchant.api_key}", "content-type": content_type}
    assert (await house.send("POST", "/v1/orders", body=b"[]", headers=headers)).code == "field_malformed"


async def test_a_compressed_body_is_refused(house: House) -> None:
    headers = {
        "authorization": f"Bearer {house.merchant.api_key}",
        "content-type": "application/json",
        "content-encoding": "gzip",
    }
    reply = await house.send("POST", "/v1/orders", body=b"{}", headers=headers)
    assert reply.code == "content_type_unsupported"


async def test_a_notice_may_be_longer_but_not_endless(house: House) -> None:
    path = f"/notify/local/alipay/{house.account_ids['alipay']}"
    taken = await house.send("POST", path, body=b"x" * NOTICE_BODY_BYTES_MAX)
    assert taken.body == b"fail"
    refused = await house.send("POST", path, body=b"x" * (NOTICE_BODY_BYTES_MAX + 1))
    assert (refused.status, refused.code) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("header", "code"),
    [("Idempotency-Key: \xe9", "idempotency_key_malformed"), ("Authorization: Bearer \xe9", "api_key_unknown")],
)
async def test_headers_beyond_ascii_are_told_by_their_name(house: House, header: str, code: str) -> None:
    async with house.line() as (reader, writer):
        # The later of two equal headers counts.
        writer.write(_head(house, "Content-Length: 2", header) + b"{}")
        _, answer = await _answer(reader)
        assert code.encode() in answer
