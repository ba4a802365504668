"""A shop's side of both channels, signed and verified by wire's merchant functions."""

import json
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from budan.wire import alipay, wechat_v3
from budan.wire.forms import parse_form, render_form
from budan.wire.http import HttpAnswer
from budan.wire.rsa import load_public_key, sign_sha256
from integration.sandbox.running import WAIT_S, Caller, Received

BEIJING = timezone(timedelta(hours=8))
AMOUNT_FEN = 1280


def new_trade_no() -> str:
    return f"D{secrets.token_hex(12).upper()}"


@dataclass
class WechatShop:
    """A merchant at WeChat."""

    caller: Caller
    account: dict[str, Any]
    key: RSAPrivateKey
    clock_skew_s: int = 0

    async def call(
        self,
        method: str,
        path: str,
        fields: object = None,
        *,
        timeout_s: float = WAIT_S,
        wanted_serial: str = "",
        signed_as: dict[str, str] | None = None,
    ) -> HttpAnswer:
        body = b"" if fields is None else json.dumps(fields).encode()
        timestamp = int(time.time()) + self.clock_skew_s
        nonce = secrets.token_hex(16)
        signed = wechat_v3.request_sign_string(
            method=method, path_and_query=path, timestamp=timestamp, nonce=nonce, body=body
        )
        named = {"mchid": self.account["mchid"], "serial_no": self.account["merchant_serial"]} | (signed_as or {})
        authorization = wechat_v3.Authorization(
            nonce=nonce, timestamp=timestamp, signature=sign_sha256(self.key, signed), **named
        )
        headers = {
            "Authorization": wechat_v3.render_authorization(authorization),
            "Content-Type": "application/json",
        }
        if wanted_serial:
            headers["Wechatpay-Serial"] = wanted_serial
        return await self.caller.send(method, path, body=body, headers=headers, timeout_s=timeout_s)

    def order(self, trade_no: str, **changes: object) -> dict[str, Any]:
        order = {
            "appid": self.account["appid"],
            "mchid": self.account["mchid"],
            "description": "门店点单-拿铁",
            "out_trade_no": trade_no,
            "notify_url": "http://127.0.0.1:9/nobody",
            "amount": {"total": AMOUNT_FEN, "currency": "CNY"},
        }
        return order | changes

    async def place(self, trade_no: str, *, kind: str = "native", **changes: object) -> HttpAnswer:
        return await self.call("POST", f"/v3/pay/transactions/{kind}", self.order(trade_no, **changes))

    async def charge(self, trade_no: str, auth_code: str, *, timeout_s: float = WAIT_S) -> HttpAnswer:
        order = self.order(trade_no, payer={"auth_code": auth_code}, scene_info={"store_info": {"out_id": "S1"}})
        del order["notify_url"]
        return await self.call("POST", "/v3/pay/transactions/codepay", order, timeout_s=timeout_s)

    async def query(self, trade_no: str) -> HttpAnswer:
        return await self.call("GET", f"{_of(trade_no)}?mchid={self.account['mchid']}")

    async def state(self, trade_no: str) -> str:
        answer = await self.query(trade_no)
        assert answer.status == 200
        return self.read(answer)["trade_state"]

    async def close(self, trade_no: str) -> HttpAnswer:
        return await self.call("POST", f"{_of(trade_no)}/close", {"mchid": self.account["mchid"]})

    async def reverse(self, trade_no: str) -> HttpAnswer:
        fields = {"mchid": self.account["mchid"], "appid": self.account["appid"]}
        return await self.call("POST", f"{_of(trade_no)}/reverse", fields)

    def verdict(self, message: HttpAnswer | Received) -> wechat_v3.Verdict:
        keys = {serial: load_public_key(text) for serial, text in self.account["platform_keys"].items()}
        return wechat_v3.verify_answer(message.headers, message.body, public_keys=keys, now_s=int(time.time()))

    def read(self, message: HttpAnswer | Received) -> dict[str, Any]:
        """The message, once its signature holds."""
        assert self.verdict(message) is wechat_v3.Verdict.VALID
        return json.loads(message.body)

    def read_notice(self, notice: Received) -> dict[str, Any]:
        resource = self.read(notice)["resource"]
        return json.loads(
            wechat_v3.decrypt_resource(
                resource["ciphertext"],
                api_v3_key=self.account["apiv3_key"],
                nonce=resource["nonce"],
                associated_data=resource["associated_data"],
            )
        )


@dataclass
class AlipayShop:
    """An application at Alipay."""

    caller: Caller
    account: dict[str, Any]
    key: RSAPrivateKey

    def parameters(self, method: str, content: object, **changes: str) -> dict[str, str]:
        parameters = {
            "app_id": self.account["app_id"],
            "method": method,
            "format": "JSON",
            "charset": "utf-8",
            "sign_type": "RSA2",
            "timestamp": datetime.now(UTC).astimezone(BEIJING).strftime("%Y-%m-%d %H:%M:%S"),
            "version": "1.0",
            "biz_content": json.dumps(content, ensure_ascii=False),
        } | changes
        return parameters | {"sign": alipay.sign_request(parameters, private_key=self.key)}

    async def send(self, parameters: dict[str, str], *, timeout_s: float = WAIT_S) -> HttpAnswer:
        headers = {"Content-Type": "application/x-www-form-urlencoded;charset=utf-8"}
        body = render_form(parameters)
        return await self.caller.send(
            "POST", "/gateway.do?charset=utf-8", body=body, headers=headers, timeout_s=timeout_s
        )

    async def call(self, method: str, content: object, *, timeout_s: float = WAIT_S, **changes: str) -> Any:
        """The payload of the answer, once its signature holds."""
        answer = await self.send(self.parameters(method, content, **changes), timeout_s=timeout_s)
        assert answer.status == 200
        parsed = alipay.parse_answer(answer.body, method=method)
        assert alipay.verify_answer(parsed, public_key=self.public_key)
        return parsed.payload

    @property
    def public_key(self) -> Any:
        return load_public_key(self.account["alipay_public_key"])

    def order(self, trade_no: str, **changes: str) -> dict[str, str]:
        return {"out_trade_no": trade_no, "total_amount": "12.80", "subject": "门店点单-拿铁"} | changes

    async def precreate(self, trade_no: str, *, notify_url: str = "", **changes: str) -> Any:
        return await self.call(
            "alipay.trade.precreate", self.order(trade_no, **changes), **_given(notify_url=notify_url)
        )

    async def charge(self, trade_no: str, auth_code: str, *, notify_url: str = "", timeout_s: float = WAIT_S) -> Any:
        content = self.order(trade_no, auth_code=auth_code, scene="bar_code")
        return await self.call("alipay.trade.pay", content, timeout_s=timeout_s, **_given(notify_url=notify_url))

    async def query(self, trade_no: str) -> Any:
        return await self.call("alipay.trade.query", {"out_trade_no": trade_no})

    async def close(self, trade_no: str) -> Any:
        return await self.call("alipay.trade.close", {"out_trade_no": trade_no})

    async def cancel(self, trade_no: str) -> Any:
        return await self.call("alipay.trade.cancel", {"out_trade_no": trade_no})

    def read_notice(self, notice: Received) -> dict[str, str]:
        fields = parse_form(notice.body)
        assert alipay.verify_notify(fields, public_key=self.public_key)
        return fields


def _of(trade_no: str) -> str:
    return f"/v3/pay/transactions/out-trade-no/{quote(trade_no)}"


def _given(**urls: str) -> dict[str, str]:
    return {name: url for name, url in urls.items() if url}
