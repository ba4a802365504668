"""What channels tell us over HTTP: only a provable notice changes anything."""

import asyncio
import json
import time
from secrets import token_hex
from typing import Any

import pytest

from budan.wire.rsa import load_private_key
from budan.wire.wechat_v3 import encrypt_resource, sign_answer
from integration.web.house import TEST_SERIAL, WAIT_S, House, Reply, vectors


async def _placed(house: House) -> tuple[dict[str, Any], str]:
    """An order with a WeChat code, and the number of its trade."""
    order = await house.create_order(payment={"method": "native", "channel": "wechat_v3"})
    return order, order["trades"][0]["trade_no"]


def _notice(house: House, *, trade_no: str, amount_minor: int = 1999) -> bytes:
    account = house.sandbox.accounts["wechat_v3"]
    paid = {
        "appid": account.settings["appid"],
        "mchid": account.settings["mchid"],
        "out_trade_no": trade_no,
        "transaction_id": "4200000000202601010000000001",
        "trade_type": "NATIVE",
        "trade_state": "SUCCESS",
        "bank_type": "OTHERS",
        "success_time": "2026-01-01T12:00:00+08:00",
        "payer": {"openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"},
        "amount": {
            "total": amount_minor,
            "payer_total": amount_minor,
            "currency": "CNY",
            "payer_currency": "CNY",
        },
    }
    nonce = token_hex(6)
    sealed = encrypt_resource(
        json.dumps(paid).encode(),
        api_v3_key=account.secrets["apiv3_key"],
        nonce=nonce,
        associated_data="transaction",
    )
    resource = {
        "original_type": "transaction",
        "algorithm": "AEAD_AES_256_GCM",
        "ciphertext": sealed,
        "associated_data": "transaction",
        "nonce": nonce,
    }
    return json.dumps(
        {
            "id": token_hex(16),
            "create_time": "2026-01-01T12:00:00+08:00",
            "resource_type": "encrypt-resource",
            "event_type": "TRANSACTION.SUCCESS",
            "summary": "paid",
            "resource": resource,
        }
    ).encode()


def _signed(body: bytes, *, age_s: int = 0, key: str = "platform") -> dict[str, str]:
    private_key = load_private_key(vectors()["keys"][key]["private_pkcs8_b64"])
    return sign_answer(
        body, private_key=private_key, serial=TEST_SERIAL, timestamp=int(time.time()) - age_s, nonce=token_hex(16)
    ) | {"content-type": "application/json"}


async def _tell(house: House, body: bytes, headers: dict[str, str], *, environment: str = "local") -> Reply:
    path = f"/notify/{environment}/wechat_v3/{house.account_ids['wechat_v3']}"
    return await house.send("POST", path, body=body, headers=headers)


async def _state(house: House, order: dict[str, Any]) -> tuple[str, int]:
    now = (await house.call("GET", f"/v1/orders/{order['order_no']}")).json
    return now["state"], now["version"]


async def test_a_verified_notice_pays_the_order_before_it_is_answered(house: House) -> None:
    order, trade_no = await _placed(house)
    body = _notice(house, trade_no=trade_no)
    assert (await _tell(house, body, _signed(body))).status in {200, 204}
    paid = (await house.call("GET", f"/v1/orders/{order['order_no']}")).json
    assert (paid["state"], paid["payment_status"], paid["learned_source"]) == ("paid", "paid", "notice")


async def test_a_notice_that_comes_ten_times_at_once_pays_once(house: House) -> None:
    order, trade_no = await _placed(house)
    body = _notice(house, trade_no=trade_no)
    replies = await asyncio.gather(*(_tell(house, body, _signed(body)) for _ in range(10)))
    assert {reply.status for reply in replies} <= {200, 204}
    state, version = await _state(house, order)
    assert state == "paid"
    assert (await _tell(house, body, _signed(body))).status in {200, 204}
    assert await _state(house, order) == ("paid", version)


async def test_a_forged_notice_changes_nothing_and_is_answered_with_failure(house: House) -> None:
    order, trade_no = await _placed(house)
    before = await _state(house, order)
    body = _notice(house, trade_no=trade_no)
    forged = _signed(body, key="merchant")
    stripped = {name: value for name, value in _signed(body).items() if not name.startswith("Wechatpay")}
    for headers in (forged, stripped, _signed(body) | {"Wechatpay-Serial": "0" * 40}):
        assert (await _tell(house, body, headers)).status >= 400
    assert (await _tell(house, body + b" ", _signed(body))).status >= 400
    assert await _state(house, order) == before


async def test_an_expired_signature_changes_nothing(house: House) -> None:
    order, trade_no = await _placed(house)
    before = await _state(house, order)
    body = _notice(house, trade_no=trade_no)
    for age_s in (3_600, -3_600):
        assert (await _tell(house, body, _signed(body, age_s=age_s))).status >= 400
    assert await _state(house, order) == before


async def test_a_notice_for_an_unknown_trade_is_kept_and_changes_nothing(house: House) -> None:
    order, trade_no = await _placed(house)
    before = await _state(house, order)
    unknown = trade_no[:-1] + ("0" if trade_no[-1] != "0" else "1")
    for stranger in (unknown, "SOMEBODYELSES0001"):
        body = _notice(house, trade_no=stranger)
        assert (await _tell(house, body, _signed(body))).status in {200, 204}
    assert await _state(house, order) == before


async def test_a_notice_with_another_amount_holds_the_order_and_pays_nothing(house: House) -> None:
    order, trade_no = await _placed(house)
    body = _notice(house, trade_no=trade_no, amount_minor=1)
    assert (await _tell(house, body, _signed(body))).status in {200, 204}
    held = (await house.call("GET", f"/v1/orders/{order['order_no']}")).json
    assert held["state"] == "paying"
    assert held["hold_reason"] is not None


@pytest.mark.parametrize(
    "path",
    [
        "/notify/live/wechat_v3/{id}",
        "/notify/local/alipay/{id}",
        "/notify/local/wechat_v3/999999",
        "/notify/local/wechat_v3/0x1",
        "/notify/local/wechat_v3/99999999999999999999",
        "/notify/local/wechat_v3/%EF%BC%91",
    ],
)
async def test_an_address_of_no_account_here_is_not_found(house: House, path: str) -> None:
    """A notice that went to the wrong environment must not look delivered there."""
    _, trade_no = await _placed(house)
    body = _notice(house, trade_no=trade_no)
    reply = await house.send("POST", path.format(id=house.account_ids["wechat_v3"]), body=body, headers=_signed(body))
    assert (reply.status, reply.code) == (404, "account_not_found")


async def test_the_sandboxes_own_notice_comes_through(house: House) -> None:
    """From the payer's tap to the paid order, with nobody asking."""
    for channel in ("wechat_v3", "alipay"):
        order = await house.create_order(payment={"method": "native", "channel": channel})
        await house.sandbox_call("/sandbox/pay", {"code_text": order["trades"][0]["qr_text"], "faults": {}})
        async with asyncio.timeout(WAIT_S):
            while (await _state(house, order))[0] != "paid":
                pass
        paid = (await house.call("GET", f"/v1/orders/{order['order_no']}")).json
        assert paid["learned_source"] == "notice"
