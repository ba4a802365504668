"""A bank does what a payout file says, so it names whom to pay, and what was sent is known whatever changes later."""

import asyncio
import csv
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import asyncpg
import pytest

from budan.core.errors import Refused
from budan.core.payee import PayeeStanding
from budan.flows.acts import PROPOSAL_LIFE
from budan.flows.payouts import Payouts
from budan.wire.secret_box import key_id_of
from integration.cli.commands import Typist
from integration.cli.settled import (
    Rows,
    give_payee,
    list_batches,
    pass_days,
    payees_of,
    propose_payee,
    sell,
)
from integration.flows.standing import until
from stage import AMOUNT_MINOR, FEE_RATE_BP, Stage, StagedOrder

OWED_MINOR = AMOUNT_MINOR - (AMOUNT_MINOR * FEE_RATE_BP + 5_000) // 10_000
NUMBER, OTHER_NUMBER = "100123456789", "100999988887"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def test_a_payout_file_names_whom_to_pay_and_leaves_out_who_has_nobody(
    stage: Stage, rows: Rows, typist: Typist, tmp_path: Path
) -> None:
    """A bank cannot act on a file without a payee, and a batch that is left out without a word is never paid."""
    named, unnamed = await stage.add_merchant(), await stage.add_merchant()
    payee_id = await give_payee(stage, named, number=NUMBER, holder="（甲）公司")
    for merchant in (named, unnamed):
        await sell(stage, merchant)
    await pass_days(rows, 2)
    await typist.json("ledger", "settle")
    path = tmp_path / "1.csv"
    written = await typist.json("ledger", "payout", "file", str(path))
    assert (written["batches"], written["payout_minor"]) == (1, {"CNY": OWED_MINOR})
    (row,) = csv.DictReader(path.read_text("utf-8-sig").splitlines())
    told = [row[f"payee_{name}"] for name in ("holder", "bank", "bank_code", "kind", "number")]
    assert told == ["（甲）公司", "工商银行", "102100099996", "account", NUMBER]
    (left,) = written["no_payee"]
    shown = await typist.type("ledger", "payout", "file", str(tmp_path / "2.xlsx"))
    assert f"{left}: merchant {unnamed.merchant_id} has no payee" in shown.err.replace("\n", " ")
    batches = {one["merchant_id"]: one for one in (await typist.json("ledger", "settlements"))["batches"]}
    ours = batches[named.merchant_id]
    assert (ours["payee"], ours["sent_payee_id"]) == ("****6789", payee_id)
    assert (batches[unnamed.merchant_id]["payee"], batches[unnamed.merchant_id]["files"]) == (None, 0)


async def test_what_was_sent_stays_known_when_the_payee_changes_before_the_bank_has_paid(
    stage: Stage, rows: Rows, payouts: Payouts, typist: Typist
) -> None:
    """Whoever asks where a payout went must not be shown the account that came after it."""
    merchant = await stage.add_merchant()
    first = await give_payee(stage, merchant, number=NUMBER)
    await sell(stage, merchant)
    await pass_days(rows, 2)
    await typist.json("ledger", "settle")
    (read,) = await list_batches(payouts)
    # Between the reading of what is due and the file: the file would name the one of before.
    second = await give_payee(stage, merchant, number=OTHER_NUMBER)
    with pytest.raises(Refused, match="batch_changed"):
        await payouts.send([read], by="Ann", file_sha256="0" * 64)
    (fresh,) = await list_batches(payouts)
    await payouts.send([fresh], by="Ann", file_sha256="0" * 64)
    third = await give_payee(stage, merchant, number=NUMBER)
    await payouts.pay_out([fresh.batch_no], by="Ann", reference="b1")
    shown = await typist.json("ledger", "settlement", fresh.batch_no)
    (paid,) = shown["payouts_of"]
    assert (paid["payee_id"], paid["payee"]) == (second, "****8887")
    # What came back goes to whom is in force now.
    await payouts.take_back([fresh.batch_no], by="Ann", reference="b1", reason="no such account")
    (back,) = await list_batches(payouts)
    assert back.payee is not None
    assert (back.payee.id, back.row.files, first < third) == (third, 0, True)


async def test_a_file_waits_for_a_payee_that_is_being_confirmed_and_names_none_of_before(
    stage: Stage, rows: Rows, payouts: Payouts, typist: Typist, database_dsn: str
) -> None:
    """Whoever was told that the new account is in force must not see the old one paid by a file of that moment."""
    merchant = await stage.add_merchant()
    await give_payee(stage, merchant, number=NUMBER)
    await sell(stage, merchant)
    await pass_days(rows, 2)
    await typist.json("ledger", "settle")
    (read,) = await list_batches(payouts)
    proposal = await propose_payee(stage, merchant, number=OTHER_NUMBER)
    somebody = await asyncpg.connect(database_dsn)
    await somebody.execute("BEGIN; SELECT FROM merchant FOR NO KEY UPDATE")
    await somebody.execute(
        "UPDATE merchant_payee SET confirmed_by = 'Bob', confirmed_at = now() WHERE id = $1", proposal
    )
    sending = asyncio.create_task(payouts.send([read], by="Ann", file_sha256="0" * 64))
    await until(rows, WAITING, is_so=lambda count: count == 1 or sending.done())
    assert not sending.done()
    await somebody.execute("COMMIT")
    await somebody.close()
    with pytest.raises(Refused, match="batch_changed"):
        await sending


async def test_a_payee_is_changed_by_two_persons_and_nothing_of_it_is_overwritten(
    stage: Stage, rows: Rows, typist: Typist
) -> None:
    """A changed payee is how a merchant's money is stolen: one person alone, or one who looks away, must not do it."""
    merchant = await stage.add_merchant()
    payees, merchant_id = payees_of(stage), merchant.merchant_id
    first = await give_payee(stage, merchant, number=NUMBER)
    overtaken = await propose_payee(stage, merchant, number=OTHER_NUMBER)
    newest = await propose_payee(stage, merchant, number=OTHER_NUMBER)
    for proposal, number, by, code in (
        (newest, OTHER_NUMBER, "ANN", "same_person"),
        (newest, NUMBER, "Bob", "payee_differs"),
        (newest, "100", "Bob", "payee_number_malformed"),
        (overtaken, OTHER_NUMBER, "Bob", "proposal_superseded"),
        (newest + 1, OTHER_NUMBER, "Bob", "proposal_not_found"),
        (first, NUMBER, "Cid", "proposal_confirmed"),
    ):
        with pytest.raises(Refused, match=code):
            await payees.confirm(merchant_id, proposal, number=number, by=by)
    kept = await rows.fetch("SELECT id, confirmed_by, sealed_number FROM merchant_payee ORDER BY id")
    assert [row["confirmed_by"] for row in kept] == ["Bob", None, None]
    assert all(key_id_of(row["sealed_number"]) and NUMBER.encode() not in row["sealed_number"] for row in kept)
    for _ in range(2):
        await payees.confirm(merchant_id, newest, number=OTHER_NUMBER, by="Bob")
    late = await propose_payee(stage, merchant, number=NUMBER)
    await rows.execute(
        "UPDATE merchant_payee SET acted_at = acted_at - $2::interval WHERE id = $1",
        late,
        PROPOSAL_LIFE + timedelta(seconds=1),
    )
    with pytest.raises(Refused, match="proposal_expired"):
        await payees.confirm(merchant_id, late, number=NUMBER, by="Bob")
    told = (await typist.json("merchant", "payee", str(merchant_id)))["payees"]
    assert [(one["proposal"], PayeeStanding(one["standing"])) for one in told] == [
        (late, PayeeStanding.LAPSED),
        (newest, PayeeStanding.IN_FORCE),
        (overtaken, PayeeStanding.LAPSED),
        (first, PayeeStanding.REPLACED),
    ]
    assert [one["number"] for one in told] == ["****6789", "****8887", "****8887", "****6789"]


async def test_two_persons_set_a_payee_at_the_command_line(stage: Stage, typist: Typist, tmp_path: Path) -> None:
    """The number is read from a file: an argument would stand in the machine's list of processes."""
    merchant = str((await stage.add_merchant()).merchant_id)
    path = tmp_path / "number"
    path.write_text("1001 2345 6789\n", "utf-8")
    words = ("merchant", "payee", merchant)
    assert "no payee" in (await typist.type(*words)).out
    wish = (*words, "--holder", "甲公司", "--bank", "工商银行", "--number-file", str(path), "--reason", "its contract")
    (proposed,) = (await typist.json(*wish, "--by", "Ann"))["payees"]
    assert (proposed["standing"], proposed["confirmed_by"]) == ("proposed", None)
    confirm = (*words, "--confirm", str(proposed["proposal"]), "--by", "Bob")
    for wrong, code in (
        (confirm, "option_missing (number_file)"),
        ((*confirm, "--holder", "乙公司", "--number-file", str(path)), "options_exclude (confirm)"),
        ((*words, "--holder", "甲公司", "--number-file", str(path)), "payee_bank_missing (bank)"),
        (wish[:-2], "reason_malformed (reason)"),
    ):
        refused = await typist.type(*wrong)
        assert (refused.code, code in refused.err) == (2, True), refused.err
    (kept,) = (await typist.json(*confirm, "--number-file", str(path)))["payees"]
    assert ": in force: 甲公司, account ****6789 at 工商银行" in (await typist.type(*words)).out
    assert (kept["standing"], kept["proposed_by"], kept["confirmed_by"]) == ("in_force", "Ann", "Bob")


async def test_finance_settles_writes_the_file_and_tells_what_the_bank_did(
    stage: Stage, rows: Rows, typist: Typist, tmp_path: Path
) -> None:
    merchant = await stage.add_merchant()
    await give_payee(stage, merchant, number=NUMBER)
    orders: Sequence[StagedOrder] = await sell(stage, merchant, orders=2)
    await rows.execute("UPDATE orders SET reference = '=1+1' WHERE id = $1", orders[0].order_id)
    await pass_days(rows, 2)
    assert await typist.json("ledger", "settle") == {"batches": 1, "lines": 2, "late_lines": 0}
    (batch,) = (await typist.json("ledger", "settlements", "--due"))["batches"]
    assert (batch["state"], batch["payout_minor"]) == ("open", 2 * OWED_MINOR)
    shown = await typist.type("ledger", "settlement", batch["batch_no"], "--csv")
    lines = list(csv.DictReader(shown.out.splitlines()))
    assert [line["order"] for line in lines] == [order.order_no for order in orders]
    assert lines[0]["merchant_reference"] == "'=1+1"
    path = tmp_path / "payouts.xlsx"
    written = await typist.json("ledger", "payout", "file", str(path))
    assert written["payout_minor"] == {"CNY": 2 * OWED_MINOR}
    with ZipFile(path) as book:
        # As text: a number of sixteen digits and more would be rounded.
        assert f"<t>{NUMBER}</t>" in book.read("xl/worksheets/sheet1.xml").decode()
    words = ("ledger", "payout", "paid", batch["batch_no"], "--reference", "b1", "--by", "Ann")
    assert (await typist.json(*words))["batches"][0]["changed"] is True


async def test_what_a_payout_file_has_is_not_in_the_next_one(
    stage: Stage, rows: Rows, payouts: Payouts, typist: Typist, tmp_path: Path
) -> None:
    """Two persons who each send a file must not pay a merchant twice; a file that got lost is repeated by a wish."""
    merchant = await stage.add_merchant()
    await give_payee(stage, merchant, number=NUMBER)
    await sell(stage, merchant)
    await pass_days(rows, 2)
    await typist.json("ledger", "settle")
    (batch,) = await list_batches(payouts)
    number = batch.batch_no

    async def write(name: str, *words: str) -> dict[str, Any]:
        return await typist.json("ledger", "payout", "file", str(tmp_path / name), "--by", "Ann", *words)

    assert (await write("lines.csv", "--lines"))["batches"] == 1, "lines pay nobody, so they send nothing"
    await rows.execute("UPDATE orders SET hold_reason = 'operator', hold_since = now()")
    with pytest.raises(Refused, match="batch_changed"):
        await payouts.send([batch], by="Ann", file_sha256="0" * 64)
    await rows.execute("UPDATE orders SET hold_reason = NULL, hold_since = NULL")
    first = await write("1.csv")
    (sent,) = await list_batches(payouts)
    assert (first["batches"], sent.row.file_sha256, sent.row.sent_by) == (1, first["sha256"], "Ann")
    with pytest.raises(Refused, match="batch_changed"):
        await payouts.send([batch], by="Bob", file_sha256="0" * 64)
    second = await write("2.csv")
    assert (second["batches"], second["sent_before"], second["payout_minor"]) == (0, [number], {})
    again = await write("3.csv", "--again")
    assert (again["batches"], again["repeated"], again["sent_before"]) == (1, [number], [])
    shown = await typist.type("ledger", "payout", "file", str(tmp_path / "4.csv"), "--again")
    assert f"SENT AGAIN: {number} is in Ann's file of" in shown.err.replace("\n", " ")
    # What came back is to be paid again, and no file has that yet.
    await payouts.pay_out([number], by="Ann", reference="b1")
    await payouts.take_back([number], by="Ann", reference="b1", reason="no such account")
    assert (await write("5.csv"))["batches"] == 1
