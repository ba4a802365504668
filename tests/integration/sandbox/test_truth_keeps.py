import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from budan.sandbox.choices import OddsSet
from budan.sandbox.faults import Dice, FaultOdds
from budan.sandbox.journal import JOURNAL_NAME, FolderInUse, Journal
from budan.sandbox.records import ChannelName, CodeMade
from budan.sandbox.truth import Truth
from integration.sandbox.running import Caller, RunningSandbox, calling, http_answer, receiving, start_sandbox
from integration.sandbox.shops import WechatShop, new_trade_no

Starter = Callable[[], RunningSandbox]
MADE_AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    """Starts sandboxes on one folder and ends what is left of them."""
    started: list[RunningSandbox] = []

    def start() -> RunningSandbox:
        started.append(start_sandbox(tmp_path / "truth"))
        return started[-1]

    yield start
    for running in started:
        if running.child.poll() is None:
            running.end(by=signal.SIGKILL)


async def _a_shop(caller: Caller, key: RSAPrivateKey, texts: dict[str, str]) -> WechatShop:
    account = await caller.open_account("wechat_v3", texts["public_spki_b64"])
    return WechatShop(caller=caller, account=account, key=key)


async def test_a_kill_loses_nothing_that_was_answered(
    start: Starter, merchant_key: RSAPrivateKey, merchant_texts: dict[str, str]
) -> None:
    """An audit against a truth that forgets would find payments that nobody made."""
    first = start()
    async with calling(first.url) as caller:
        shop = await _a_shop(caller, merchant_key, merchant_texts)
        paid_no, unpaid_no = new_trade_no(), new_trade_no()
        for trade_no in (paid_no, unpaid_no):
            await shop.place(trade_no)
        await caller.pay(trade_no=paid_no, faults={"drop_notice": True})
        auth_code = await caller.auth_code("wechat_v3")
        before = await caller.trade(paid_no)
        first.end(by=signal.SIGKILL)
    second = start()
    async with calling(second.url) as caller:
        shop.caller = caller
        assert await caller.trade(paid_no) == before
        assert await shop.state(paid_no) == "SUCCESS"
        assert await shop.state(unpaid_no) == "NOTPAY"
        assert (await shop.charge(new_trade_no(), auth_code)).status == 200


async def test_a_notice_that_was_due_is_sent_after_a_kill(
    start: Starter, merchant_key: RSAPrivateKey, merchant_texts: dict[str, str]
) -> None:
    async with receiving(http_answer("204 No Content")) as receiver:
        first = start()
        async with calling(first.url) as caller:
            shop = await _a_shop(caller, merchant_key, merchant_texts)
            trade_no = new_trade_no()
            await shop.place(trade_no, notify_url=receiver.url)
            await caller.pay(trade_no=trade_no, faults={"delay_notice_s": 1})
            first.end(by=signal.SIGKILL)
        assert receiver.received.empty()
        second = start()
        assert shop.read_notice(await receiver.next())["out_trade_no"] == trade_no
        assert second.end(by=signal.SIGTERM) == 0


async def test_a_refund_under_way_ends_and_is_told_of_after_a_kill(
    start: Starter, merchant_key: RSAPrivateKey, merchant_texts: dict[str, str]
) -> None:
    async with receiving(http_answer("204 No Content")) as receiver:
        first = start()
        async with calling(first.url) as caller:
            shop = await _a_shop(caller, merchant_key, merchant_texts)
            trade_no = new_trade_no()
            await shop.place(trade_no)
            await caller.pay(trade_no=trade_no, faults={"drop_notice": True})
            wish = {"trade_no": trade_no, "faults": {"refund_takes_s": 1}}
            await caller.admin("PUT", "/sandbox/refund-faults", wish)
            answer = await shop.call(
                "POST",
                "/v3/refund/domestic/refunds",
                {
                    "out_trade_no": trade_no,
                    "out_refund_no": "R1",
                    "notify_url": receiver.url,
                    "amount": {"refund": 1, "total": 1280, "currency": "CNY"},
                },
            )
            assert shop.read(answer)["status"] == "PROCESSING"
            first.end(by=signal.SIGKILL)
        second = start()
        told = shop.read_notice(await receiver.next())
        assert (told["out_refund_no"], told["refund_status"]) == ("R1", "SUCCESS")
        assert second.end(by=signal.SIGTERM) == 0


async def test_what_goes_wrong_is_changed_while_it_runs_and_kept(
    start: Starter, merchant_key: RSAPrivateKey, merchant_texts: dict[str, str]
) -> None:
    """Odds of all and of one account, the table of amounts and the faults of bills: a restart forgets none of them."""
    first = start()
    async with calling(first.url) as caller:
        shop = await _a_shop(caller, merchant_key, merchant_texts)
        status, odds = await caller.admin("PUT", "/sandbox/faults", {"busy": 1, "drop_notice": 1})
        assert (status, odds["busy"]) == (200, 1)
        trade_no = new_trade_no()
        assert (await shop.place(trade_no)).status == 500
        assert (await caller.pay(trade_no=trade_no))["notice_state"] == "dropped"
        assert (await caller.admin("PUT", "/sandbox/faults", {"busy": 2}))[0] == 400
        account_id = shop.account["mchid"]
        row = {"amount_minor": 777, "faults": {"double_notice": True}, "account_id": ""}
        for name, wish in (
            ("account-faults", {"account_id": account_id, "odds": {"slow": 1, "slow_ms": 1}}),
            ("amount-faults", {"amounts": [row]}),
            ("bill-faults", {"faults": {"cut_off": True}}),
        ):
            assert (await caller.admin("PUT", f"/sandbox/{name}", wish))[0] == 200
        first.end(by=signal.SIGKILL)
    second = start()
    async with calling(second.url) as caller:
        assert await caller.admin("GET", "/sandbox/faults") == (200, odds)
        assert (await caller.admin("GET", "/sandbox/account-faults"))[1]["accounts"][account_id]["slow"] == 1
        assert await caller.admin("GET", "/sandbox/amount-faults") == (200, {"amounts": [row]})
        assert (await caller.admin("GET", "/sandbox/bill-faults"))[1]["accounts"][""]["cut_off"]


async def test_the_audit_reads_every_trade_once_in_pages(
    start: Starter, merchant_key: RSAPrivateKey, merchant_texts: dict[str, str]
) -> None:
    async with calling(start().url) as caller:
        shop = await _a_shop(caller, merchant_key, merchant_texts)
        numbers = [new_trade_no() for _ in range(5)]
        for trade_no in numbers:
            await shop.place(trade_no)
        await caller.pay(trade_no=numbers[0], faults={"drop_notice": True})
        read: list[str] = []
        after: int | None = 0
        while after is not None:
            _, page = await caller.admin("GET", f"/sandbox/truth?after={after}&limit=2")
            read += [trade["trade_no"] for trade in page["trades"]]
            after = page["next_after"]
        assert read == numbers
        _, listed = await caller.admin("GET", "/sandbox/trades?state=paid&limit=10")
        assert [trade["trade_no"] for trade in listed["trades"]] == numbers[:1]


def test_a_record_torn_by_a_kill_is_cut_off(tmp_path: Path) -> None:
    whole = OddsSet(at=MADE_AT, odds=FaultOdds(busy=0.5))
    journal = Journal(folder=tmp_path)
    journal.append([whole])
    journal.close()
    path = tmp_path / JOURNAL_NAME
    size = path.stat().st_size
    with path.open("ab") as torn:
        torn.write(b'{"record":"odds_set","at":"2026-')
    journal = Journal(folder=tmp_path)
    assert [record for _, record in journal.replay()] == [whole]
    assert path.stat().st_size == size
    journal.close()


def test_one_folder_is_written_by_one_sandbox(tmp_path: Path) -> None:
    journal = Journal(folder=tmp_path)
    with pytest.raises(FolderInUse):
        Journal(folder=tmp_path)
    journal.close()
    Journal(folder=tmp_path).close()


def test_a_payers_code_is_good_for_two_minutes_at_its_own_channel(tmp_path: Path) -> None:
    truth = Truth(journal=Journal(folder=tmp_path))
    truth.record(
        CodeMade(auth_code="100000000000000000", channel=ChannelName.WECHAT_V3, made_at=MADE_AT, payer_id="o1")
    )
    find = truth.find_code
    assert find("100000000000000000", channel=ChannelName.WECHAT_V3, now=MADE_AT.replace(minute=2)) is not None
    assert find("100000000000000000", channel=ChannelName.ALIPAY, now=MADE_AT) is None
    assert find("100000000000000000", channel=ChannelName.WECHAT_V3, now=MADE_AT.replace(minute=3)) is None
    truth.close()


def test_the_same_seed_gives_the_same_faults() -> None:
    odds = FaultOdds(drop_notice=0.5, timeout_after_charge=0.2, slow=0.3)
    first, second = Dice(seed=3), Dice(seed=3)
    drawn = [first.draw(odds) for _ in range(200)]
    assert drawn == [second.draw(odds) for _ in range(200)]
    assert 60 < sum(faults.drop_notice for faults in drawn) < 140
    assert {faults.slow_ms for faults in drawn} == {0, 1_000}


def test_changing_one_fault_moves_no_other() -> None:
    quiet, loud = Dice(seed=3), Dice(seed=3)
    for _ in range(50):
        one, other = quiet.draw(FaultOdds(drop_notice=0.5)), loud.draw(FaultOdds(drop_notice=0.5, busy=1))
        assert (one.drop_notice, other.busy) == (other.drop_notice, True)
