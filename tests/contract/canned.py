"""A channel's server on loopback that answers what the test tells it, and what such a server would sign."""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from budan.wire import alipay, ipaynow, wechat_v3
from budan.wire.field_signatures import sign_hmac_sha256, sign_md5, sign_string
from budan.wire.forms import render_form
from budan.wire.ipaynow import Signed
from budan.wire.rsa import sign_sha256
from budan.wire.xml_fields import render_fields
from unit.channels.builders import (
    APPID,
    IPAYNOW_APP_ID,
    MCHID,
    NOW_S,
    PLATFORM_SERIAL,
    SWIFTPASS_MCH_ID,
    platform_key,
    vectors,
)

PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as it came; header names in lower case."""

    method: str
    path_and_query: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class CannedServer:
    """Writes to each request the next of `script`, and `answer` when it is used up; None never answers.

    With `closes` each answer ends the connection.
    """

    answer: bytes | None = b""
    script: list[bytes] = field(default_factory=list[bytes])
    closes: bool = False
    asked: list[Asked] = field(default_factory=list[Asked])
    port: int = 0
    arrivals: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    _tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    _server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def arrived(self) -> None:
        """Waits until one more request is here."""
        async with asyncio.timeout(PATIENCE_S):
            await self.arrivals.acquire()

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._converse(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            self.asked.append(await _read(reader))
            self.arrivals.release()
            answer = self.script.pop(0) if self.script else self.answer
            if answer is None:
                await asyncio.Event().wait()
                return
            writer.write(answer)
            await writer.drain()
            if self.closes:
                writer.write_eof()
                return


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
    request_line, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
    method, path_and_query, _ = request_line.split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method=method, path_and_query=path_and_query, headers=headers, body=body)


def http(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """A whole HTTP answer."""
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in (headers or {}).items())]
    if status != 204:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def wechat_headers(
    body: bytes, *, key: RSAPrivateKey | None = None, serial: str = PLATFORM_SERIAL, timestamp: int = NOW_S
) -> dict[str, str]:
    """The headers by which the platform, or the owner of `key`, signs an answer or a notice."""
    return wechat_v3.sign_answer(
        body, private_key=key or platform_key(), serial=serial, timestamp=timestamp, nonce="c5ac7061fccab6bf3e254dcf"
    )


def wechat_answer(status: int, fields: Mapping[str, Any] | None, **signing: Any) -> bytes:
    """A signed answer; None is an empty body."""
    body = b"" if fields is None else json.dumps(fields, ensure_ascii=False).encode()
    return http(status, body, wechat_headers(body, **signing))


def alipay_answer(method: str, fields: Mapping[str, Any], *, key: RSAPrivateKey | None = None) -> bytes:
    """An answer signed by Alipay, or by the owner of `key`."""
    text = json.dumps(fields, ensure_ascii=False).replace("/", "\\/")
    body = alipay.render_answer(text, method=method, private_key=key or platform_key())
    return http(200, body, {"Content-Type": "text/html;charset=utf-8"})


def alipay_unsigned(method: str, fields: Mapping[str, Any]) -> bytes:
    """An answer without a signature."""
    return http(200, alipay.render_answer(json.dumps(fields), method=method, private_key=None))


def swiftpass_message(fields: Mapping[str, str], *, key: str = "", rsa_key: RSAPrivateKey | None = None) -> bytes:
    """An answer or a notice that was understood, signed by Swiftpass's key, another shared one or the owner of `rsa_key`."""
    told = {
        "version": "2.0",
        "charset": "UTF-8",
        "sign_type": "MD5" if rsa_key is None else "RSA_1_256",
        "status": "0",
        "result_code": "0",
        "mch_id": SWIFTPASS_MCH_ID,
        "nonce_str": "9a8b7c6d",
        **fields,
    }
    if rsa_key is None:
        sign = sign_md5(told, key=key or vectors()["swiftpass"]["md5_key"])
    else:
        sign = sign_sha256(rsa_key, sign_string(told))
    return render_fields(told | {"sign": sign})


def swiftpass_answer(fields: Mapping[str, str], **signing: Any) -> bytes:
    """A signed answer."""
    return xml_http(swiftpass_message(fields, **signing))


def wechat_v2_message(fields: Mapping[str, str], *, key: str = "", is_hmac: bool = False) -> bytes:
    """An answer that was understood, signed by WeChat's v2 key or by the owner of `key`."""
    told = {"return_code": "SUCCESS", "result_code": "SUCCESS", "appid": APPID, "mch_id": MCHID, **fields}
    sign = sign_hmac_sha256 if is_hmac else sign_md5
    return render_fields(told | {"sign": sign(told, key=key or vectors()["wechat_v2"]["key"])})


def wechat_v2_answer(fields: Mapping[str, str], **signing: Any) -> bytes:
    """A signed answer."""
    return xml_http(wechat_v2_message(fields, **signing))


def unsigned_xml(fields: Mapping[str, str]) -> bytes:
    """An answer in XML without a signature."""
    members = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())
    return xml_http(f"<xml>{members}</xml>".encode())


def xml_http(body: bytes) -> bytes:
    """A whole HTTP answer that holds XML."""
    return http(200, body, {"Content-Type": "text/xml;charset=UTF-8"})


def ipaynow_answer(funcode: str, fields: Mapping[str, str], *, app_key: str = "") -> bytes:
    """An answer signed by iPaynow, or by the owner of `app_key`."""
    kind = Signed.PAY_ANSWER if funcode in {"WP001", "MQ002", "N001"} else Signed.REFUND_ANSWER
    shown = {"funcode": funcode, "appId": IPAYNOW_APP_ID, **fields, "signType": "MD5"}
    signed = ipaynow.signed(shown, app_key=app_key or vectors()["ipaynow"]["app_key"], kind=kind)
    return http(200, render_form(signed), {"Content-Type": "text/html;charset=UTF-8"})


def ipaynow_unsigned(funcode: str, fields: Mapping[str, str]) -> bytes:
    """An answer without a signature."""
    return http(200, render_form({"funcode": funcode, "appId": IPAYNOW_APP_ID, **fields}))
