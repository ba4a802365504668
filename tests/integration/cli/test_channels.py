"""Channel accounts by command: keys from files, each wrong field named, what ends told, and no secret shown."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from budan.cli.secret_keys import load_keys
from budan.cli.wiring import build_account_desk, build_webhook_secrets, inspect_account
from budan.core.errors import Refused
from budan.core.numbers import AccountId
from budan.flows.account_desk import AccountDesk, KeyVerdict
from budan.flows.sealing import Sealing
from budan.store import directory
from budan.telemetry import metrics
from budan.wire.key_pairs import public_text
from budan.wire.secret_box import SecretBox, key_id_of, new_key
from integration.cli.commands import Typist
from integration.cli.settled import give_payee
from stage import Stage
from unit.channels.builders import PLATFORM_SERIAL, merchant_key, platform_key, vectors
from unit.channels.certified import a_certificate, another_key

SETTINGS = {
    "gateway": "http://127.0.0.1:9",
    "mchid": "1900000109",
    "appid": "wx0000000000000001",
    "merchant_serial": "5A3F",
}


def secrets(*, ends_at: datetime | None = None) -> dict[str, str]:
    """An account's keys; its certificate ends then."""
    wechat = vectors()["wechat_v3"]
    ends_at = datetime.now(UTC) + timedelta(days=300) if ends_at is None else ends_at
    return {
        "merchant_private_key": vectors()["keys"]["merchant"]["private_pkcs8_b64"],
        "merchant_certificate": a_certificate(merchant_key().public_key(), ends_at=ends_at),
        "apiv3_key": wechat["apiv3_key"],
        "platform_keys": json.dumps({PLATFORM_SERIAL: public_text(platform_key())}),
    }


async def added(desk: AccountDesk, **how: datetime) -> int:
    return await desk.add_account(
        channel="wechat_v3",
        name=f"account {len(await desk.list_standings())}",
        settings=SETTINGS,
        account_secrets=secrets(**how),
        by="Ann",
    )


async def refusal(act: object) -> tuple[str, str | None]:
    with pytest.raises(Refused) as refused:
        await act  # pyright: ignore[reportGeneralTypeIssues] - whatever coroutine the test gives
    return refused.value.code, refused.value.param


async def test_a_real_account_is_added_from_files_and_asked(stage: Stage, typist: Typist, tmp_path: Path) -> None:
    files = secrets(ends_at=datetime.now(UTC) + timedelta(days=9))
    del files["platform_keys"]
    files[f"platform_keys.{PLATFORM_SERIAL}"] = public_text(platform_key())
    words = [f"--set={name}={value}" for name, value in SETTINGS.items()]
    for number, (name, text) in enumerate(files.items()):
        (tmp_path / f"key{number}").write_text(text + "\n", "utf-8")
        words.append(f"--secret-file={name}={tmp_path / f'key{number}'}")
    row = await typist.json("channel", "add", "wechat_v3", "--name", "WeChat", *words)
    asked = await typist.type("channel", "check", "--ask", "--json")
    # Nobody listens there: that is found before a payer does.
    assert asked.code == 1
    (account,) = json.loads(asked.out)["accounts"]
    assert (account["account_id"], account["usable"], account["answers"]) == (row["account_id"], True, False)
    assert [(key["field"], key["verdict"]) for key in account["keys"]] == [("merchant_certificate", "ending")]
    assert not any(text in asked.out + asked.err for text in files.values())


async def test_a_field_that_is_missing_or_misspelt_is_named(stage: Stage) -> None:
    desk = build_account_desk(stage.opened)
    for name in SETTINGS:
        settings = {field: value for field, value in SETTINGS.items() if field != name}
        act = desk.add_account(channel="wechat_v3", name="w", settings=settings, account_secrets=secrets(), by="Ann")
        assert await refusal(act) == ("account_field_wrong", name)
    settings = SETTINGS | {"mchld": "1"}
    act = desk.add_account(channel="wechat_v3", name="w", settings=settings, account_secrets=secrets(), by="Ann")
    assert await refusal(act) == ("account_field_wrong", "mchld")
    act = desk.add_account(channel="wechat_v4", name="w", settings=SETTINGS, account_secrets=secrets(), by="Ann")
    assert await refusal(act) == ("channel_unknown", "channel")
    assert await desk.list_standings() == []


async def test_what_has_ended_is_refused_and_what_ends_later_breaks_the_check(stage: Stage) -> None:
    desk = build_account_desk(stage.opened)
    past = datetime.now(UTC) - timedelta(days=1)
    assert await refusal(added(desk, ends_at=past)) == ("certificate_ended", "merchant_certificate")
    account_id = await added(desk)
    # Its year went by.
    sealed = stage.opened.keys.box.seal(
        json.dumps(secrets(ends_at=past)).encode(), context=f"channel_account:{account_id}"
    )
    async with stage.database.transaction() as transaction:
        await directory.seal_account(transaction, account_id=account_id, sealed_secrets=sealed)
    (standing,) = await desk.list_standings()
    assert (standing.is_usable, standing.wrong_field) == (False, None)
    assert "merchant_certificate ended on" in standing.list_key_warnings()[0]
    assert KeyVerdict.ENDED in {key.verdict for key in standing.keys}


async def test_a_rotation_keeps_whose_the_account_is_and_one_set_of_old_keys(stage: Stage) -> None:
    desk = build_account_desk(stage.opened)
    account_id = await added(desk)
    new = {"platform_keys": json.dumps({"PUB_KEY_ID_NEW": public_text(another_key())})}
    other = desk.rotate(account_id, settings={"mchid": "1900000110"}, account_secrets=new, overlap_s=60, by="Ann")
    assert await refusal(other) == ("account_identity", "mchid")
    wrong = desk.rotate(account_id, settings={}, account_secrets={"apiv3_key": "short"}, overlap_s=60, by="Ann")
    assert await refusal(wrong) == ("account_field_wrong", "apiv3_key")
    endless = desk.rotate(account_id, settings={}, account_secrets=new, overlap_s=10**9, by="Ann")
    assert await refusal(endless) == ("overlap_out_of_range", "overlap_s")
    assert await refusal(desk.rotate(999, settings={}, account_secrets=new, overlap_s=60, by="Ann")) == (
        "account_unknown",
        "account",
    )
    before = await desk.open_account(account_id)
    until = await desk.rotate(account_id, settings={}, account_secrets=new, overlap_s=3_600, by="Ann")
    config = await desk.open_account(account_id)
    assert config.old_keys is not None
    assert (config.old_keys.secrets, config.old_keys.until) == (before.secrets, until)
    assert config.secrets == before.secrets | new
    again = desk.rotate(account_id, settings={}, account_secrets=new, overlap_s=60, by="Ann")
    assert await refusal(again) == ("rotation_running", "account")
    assert [await desk.end_overlap(account_id, by="Ann") for _ in range(2)] == [True, False]
    assert (await desk.open_account(account_id)).old_keys is None
    assert await desk.rotate(account_id, settings={}, account_secrets=new, overlap_s=0, by="Ann") is None


async def test_who_did_what_to_an_account_is_kept_without_its_secrets(
    stage: Stage, rows: "asyncpg.Connection[asyncpg.Record]", typist: Typist
) -> None:
    """An account decides whose bank the money reaches: whoever finds it changed asks first who did it."""
    desk = build_account_desk(stage.opened)
    account_id, merchant = await added(desk), await stage.add_merchant()
    new = {"apiv3_key": "k" * 32}
    await desk.rotate(
        account_id, settings={"gateway": "http://127.0.0.1:8"}, account_secrets=new, overlap_s=60, by="Bob"
    )
    account, to = str(account_id), ("--merchant", str(merchant.merchant_id), "--by", "Cid")
    for words in (
        ("rotate", account, "--end-overlap", "--by", "Cid"),
        ("allow", account, *to),
        ("disallow", account, *to),
    ):
        # What is said twice was done once.
        await typist.json("channel", *words)
    for _ in range(2):
        await typist.json("channel", "disable", account, "--by", "Dan")
    await typist.json("channel", "enable", account, "--by", "Eve")
    told = (await typist.json("channel", "list", account, "--acts"))["acts"]
    assert [(act["acted_by"], act["kind"]) for act in reversed(told)] == [
        ("Ann", "account_add"),
        ("Bob", "account_rotate"),
        ("Cid", "account_end_overlap"),
        ("Cid", "account_allow"),
        ("Cid", "account_disallow"),
        ("Dan", "account_disable"),
        ("Eve", "account_enable"),
    ]
    rotated = told[-2]
    assert (rotated["before"], rotated["after"]["secrets"]) == ({"gateway": SETTINGS["gateway"]}, ["apiv3_key"])
    assert rotated["after"]["gateway"] == "http://127.0.0.1:8"
    kept = await rows.fetchval("SELECT string_agg(setup_act::text, ' ') FROM setup_act")
    assert not any(text[:30] in kept for text in (*secrets().values(), *new.values()))
    assert await refusal(desk.set_enabled(account_id, enabled=False, by=" ")) == ("name_malformed", "by")


async def test_an_accounts_secrets_are_sealed_at_rest_and_open_for_it_only(
    stage: Stage, rows: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """Whoever reads the table, or copies one row's keys into another, has nothing."""
    desk = build_account_desk(stage.opened)
    first, second = await added(desk), await added(desk)
    kept = await rows.fetchval("SELECT string_agg(channel_account::text, ' ') FROM channel_account")
    assert not any(text[:60] in kept for text in secrets().values())
    copy = "UPDATE channel_account SET sealed_secrets = o.sealed_secrets FROM channel_account AS o"
    await rows.execute(f"{copy} WHERE channel_account.id = $1 AND o.id = $2", second, first)
    assert await refusal(desk.open_account(second)) == ("secrets_unreadable", "account")
    assert [standing.wrong_field for standing in await desk.list_standings()] == [None, "secrets"]


async def test_the_metric_tells_when_the_first_key_of_an_account_ends(stage: Stage) -> None:
    """Whoever watches the metrics learns it weeks before, without reading a report."""
    ends_at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=9)
    account_id = AccountId(await added(build_account_desk(stage.opened), ends_at=ends_at))
    # As notices and questions do: the account is made ready when it is first used.
    assert await stage.flows.notices._accounts.find(account_id) is not None
    assert metrics.ACCOUNT_KEY_ENDS.labels(str(account_id))._value.get() == ends_at.timestamp()


async def test_the_installations_key_is_replaced_and_everything_sealed_anew(
    stage: Stage, typist: Typist, rows: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """An installation whose key got out must come away from it without losing a channel or a webhook."""
    desk = build_account_desk(stage.opened)
    account_id = await added(desk)
    await added(desk)
    new_platform = {"platform_keys": json.dumps({"PUB_KEY_ID_NEW": public_text(another_key())})}
    await desk.rotate(account_id, settings={}, account_secrets=new_platform, overlap_s=3_600, by="Ann")
    merchant = await stage.add_merchant(webhook_url="http://127.0.0.1:9/hooks")
    changed = await build_webhook_secrets(stage.opened).rotate(
        merchant.merchant_id, endpoint_id=None, overlap_s=3_600, by="Ann", reason="its key got out"
    )
    await give_payee(stage, merchant, number="100123456789")
    before = await desk.open_account(account_id)

    (stage.settings.folder / "secrets.toml").write_text(_with_new_key(stage), "utf-8")
    both = load_keys(stage.settings).box
    aware = AccountDesk(
        database=stage.database, administration=stage.administration, box=both, inspect=inspect_account(stage.opened)
    )
    warned = [line for standing in await aware.list_standings() for line in standing.list_warnings()]
    assert sum("sealed with an old key" in line for line in warned) == 2
    done = await typist.json("channel", "rotate", "--reseal")
    # The merchant came with an account of its own.
    assert (done["accounts"], done["endpoints"], done["payees"], done["unreadable"]) == (3, 1, 1, [])
    assert done["whole"]
    only_new = SecretBox({"k2": _NEW}, sealing_key_id="k2")
    sealed = await rows.fetch("SELECT id, sealed_secrets, old_sealed_secrets FROM channel_account ORDER BY id")
    assert {key_id_of(row["sealed_secrets"]) for row in sealed} == {"k2"}
    context = f"channel_account:{account_id}"
    (row,) = [row for row in sealed if row["id"] == account_id]
    assert json.loads(only_new.open(row["sealed_secrets"], context=context)) == before.secrets
    assert before.old_keys is not None
    assert json.loads(only_new.open(row["old_sealed_secrets"], context=context)) == before.old_keys.secrets
    (endpoint,) = await rows.fetch("SELECT id, sealed_secret, old_sealed_secret FROM webhook_endpoint")
    context = f"webhook_endpoint:{endpoint['id']}"
    opened = [
        only_new.open(endpoint[name], context=context).decode() for name in ("sealed_secret", "old_sealed_secret")
    ]
    assert opened == [changed.webhook_secret, merchant.webhook_secret]
    (payee,) = await rows.fetch("SELECT id, sealed_number FROM merchant_payee")
    context = f"merchant_payee:{merchant.merchant_id}:{payee['id']}"
    assert only_new.open(payee["sealed_number"], context=context) == b"100123456789"
    # Who still has the old key alone cannot read it, and a repeat by the new one finds nothing to do.
    assert [standing.wrong_field for standing in await desk.list_standings()] == ["secrets"] * 3
    again = await Sealing(database=stage.database, box=only_new).seal_again()
    assert (again.accounts, again.endpoints, again.payees, again.is_whole) == (0, 0, 0, True)


async def test_what_no_key_opens_is_named_and_left_as_it_is(stage: Stage) -> None:
    """A key that was taken away too early can be put back only while nothing was overwritten."""
    desk = build_account_desk(stage.opened)
    account_id = await added(desk)
    assert not [standing.list_warnings() for standing in await desk.list_standings() if standing.list_warnings()]
    stranger = Sealing(database=stage.database, box=SecretBox({"k9": new_key()}, sealing_key_id="k9"))
    done = await stranger.seal_again()
    assert (done.accounts, done.is_whole) == (0, False)
    assert f"account {account_id}" in done.unreadable
    await desk.open_account(account_id)


_NEW = new_key()


def _with_new_key(stage: Stage) -> str:
    """The file of keys with a new one in front, as docs/operating.md has it."""
    text = (stage.settings.folder / "secrets.toml").read_text("utf-8")
    return text.replace('secret_keys = "', f'secret_keys = "k2={_NEW},')
