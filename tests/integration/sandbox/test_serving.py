import asyncio
import signal
import socket
import time
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from budan.sandbox.exchange import WITHHOLD_S_MAX
from budan.sandbox.fault_texts import TEXTS as FAULT_TEXTS
from budan.sandbox.faults import BillFaults, FaultOdds, Faults
from budan.sandbox.records import EventKind, TradeState
from budan.sandbox.serve import CannotListen, NotLoopback, run
from budan.sandbox.wallet_texts import TEXTS
from budan.sandbox.weather import Weather
from budan.wire.errors import BadAnswer, NoAnswer
from integration.sandbox.running import Caller, calling, start_sandbox
from integration.sandbox.shops import WechatShop, new_trade_no

BEGINS_S_MAX = 20.0


async def test_it_ends_at_once_even_while_an_answer_is_withheld(
    tmp_path: Path, merchant_key: RSAPrivateKey, merchant_texts: dict[str, str]
) -> None:
    running = start_sandbox(tmp_path)
    async with calling(running.url) as caller:
        account = await caller.open_account("wechat_v3", merchant_texts["public_spki_b64"])
        shop = WechatShop(caller=caller, account=account, key=merchant_key)
        trade_no = new_trade_no()
        auth_code = await caller.auth_code("wechat_v3", timeout_after_charge=True)
        charge = asyncio.ensure_future(shop.charge(trade_no, auth_code))
        async with asyncio.timeout(BEGINS_S_MAX):
            while (await caller.admin("GET", f"/sandbox/trades/{trade_no}"))[0] == 404:
                pass
        started_s = time.monotonic()
        assert await asyncio.to_thread(running.end, by=signal.SIGTERM) == 0
        assert time.monotonic() - started_s < WITHHOLD_S_MAX / 2
        assert (await charge).status == 504


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.org"])  # noqa: S104 - the very address that is refused
def test_it_listens_on_loopback_alone(tmp_path: Path, host: str) -> None:
    """Whoever reaches it may pay."""
    with pytest.raises(NotLoopback):
        run(host=host, port=0, folder=tmp_path, time_scale=1.0, seed=1)
    assert list(tmp_path.iterdir()) == []


def test_a_taken_port_is_told_by_its_address(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port: int = other.getsockname()[1]
        with pytest.raises(CannotListen, match=f"127.0.0.1:{port}: Address already in use"):
            run(host="127.0.0.1", port=port, folder=tmp_path, time_scale=1.0, seed=1)


async def test_it_says_that_it_lives(caller: Caller) -> None:
    assert (await caller.send("GET", "/livez")).status == 200
    assert (await caller.send("GET", "/nothing")).status == 404


async def test_accounts_are_listed_without_the_channels_private_keys(wechat_shop: WechatShop, caller: Caller) -> None:
    _, listed = await caller.admin("GET", "/sandbox/accounts")
    assert wechat_shop.account in listed["accounts"]
    assert not any("private" in name for account in listed["accounts"] for name in account)


@pytest.mark.parametrize(
    ("asked", "wish", "refused"),
    [
        ("POST /sandbox/pay", {}, (400, "one_of_code_text_and_trade_no")),
        ("POST /sandbox/pay", {"trade_no": "NOSUCHTRADE"}, (404, "trade_unknown")),
        ("POST /sandbox/pay", {"code_text": "hello"}, (409, "code_unknown")),
        ("POST /sandbox/pay", {"code_text": "hello", "faults": {"no_such": True}}, (400, "body_unreadable")),
        ("POST /sandbox/accounts", {"channel": "cash", "name": "x"}, (400, "body_unreadable")),
        (
            "POST /sandbox/accounts",
            {"channel": "alipay", "name": "x", "merchant_public_key": "x"},
            (400, "merchant_public_key_unreadable"),
        ),
        ("DELETE /sandbox/accounts", {}, (404, "not_found")),
        ("GET /sandbox/trades?limit=many", None, (400, "count_unreadable")),
        ("GET /sandbox/trades?state=lost", None, (400, "state_unknown")),
        ("GET /sandbox/nothing", None, (404, "not_found")),
        ("PUT /sandbox/account-faults", {"account_id": "nobody", "odds": {}}, (404, "account_unknown")),
        ("PUT /sandbox/weather", {"account_id": "nobody", "down": True}, (404, "account_unknown")),
        ("PUT /sandbox/bill-faults", {"account_id": "nobody", "faults": {}}, (404, "account_unknown")),
        (
            "PUT /sandbox/amount-faults",
            {"amounts": [{"amount_minor": 101, "faults": {}}] * 2},
            (400, "amount_twice"),
        ),
        (
            "PUT /sandbox/amount-faults",
            {"amounts": [{"amount_minor": number, "faults": {}} for number in range(1, 102)]},
            (400, "body_unreadable"),
        ),
    ],
)
async def test_a_wrong_wish_is_refused_by_a_stable_code(
    caller: Caller, asked: str, wish: object, refused: tuple[int, str]
) -> None:
    method, path = asked.split(" ")
    status, refusal = await caller.admin(method, path, wish)
    assert (status, refusal["code"]) == refused


async def test_a_page_of_another_site_cannot_pay(caller: Caller) -> None:
    """A form or a plain text can be posted across sites, JSON cannot."""
    answer = await caller.send("POST", "/sandbox/pay", body=b"{}", headers={"Content-Type": "text/plain"})
    assert answer.status == 415


async def test_a_body_beyond_its_bound_is_refused(caller: Caller) -> None:
    try:
        answer = await caller.send("POST", "/sandbox/pay", body=b" " * 100_000)
    except (NoAnswer, BadAnswer):
        return
    assert answer.status == 413


def test_both_languages_say_the_same_things() -> None:
    assert TEXTS["zh"].keys() == TEXTS["en"].keys()
    assert {f"event_{kind.value}" for kind in EventKind} < TEXTS["zh"].keys()
    assert {f"state_{state.value}" for state in TradeState} < TEXTS["zh"].keys()
    assert FAULT_TEXTS["zh"].keys() == FAULT_TEXTS["en"].keys()
    fields = [field.name for kind in (Faults, FaultOdds, BillFaults, Weather) for field in msgspec.structs.fields(kind)]
    assert {f"field_{name}" for name in fields} < FAULT_TEXTS["zh"].keys()
