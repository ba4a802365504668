"""How a merchant's orders end, as an operator sets it, and its webhook secret."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from budan.core.errors import Refused
from budan.core.numbers import Environment
from budan.flows.administering import Administration, MerchantWish
from integration.cli.commands import Typist
from stage import Stage


async def test_an_operator_changes_how_a_merchants_orders_end_and_what_is_not_told_stays(
    stage: Stage, typist: Typist
) -> None:
    merchant = await stage.add_merchant()
    changed = await typist.json("merchant", "set", str(merchant.merchant_id), "--expires-in", "300")
    assert (changed["expires_in_s"], changed["expires_in_with_payer_s"], changed["late_payment"]) == (
        300,
        7200,
        "complete",
    )
    again = await typist.json("merchant", "set", str(merchant.merchant_id), "--late-payment", "refund")
    assert again == changed | {"late_payment": "refund"}
    (listed,) = (await typist.json("merchant", "list"))["merchants"]
    assert listed == again


async def test_what_a_merchants_terms_were_before_and_who_changed_them_stays(stage: Stage, typist: Typist) -> None:
    """Terms decide over money for months: whoever asks in spring what held in autumn needs each change, not the last."""
    merchant, other = await stage.add_merchant(), await stage.add_merchant()
    setting = ("merchant", "set", str(merchant.merchant_id))
    await typist.json(*setting, "--settles-after", "3", "--late-payment", "refund", "--by", "Ann")
    await typist.json(*setting, "--settles-after", "2", "--by", "Bob")
    # What changes nothing is no act, nor is what was refused.
    await typist.json(*setting, "--settles-after", "2", "--by", "Cid")
    assert (await typist.type(*setting, "--expires-in", "300", "--hold-back", "10000")).code == 2
    told = await typist.json("merchant", "list", str(merchant.merchant_id), "--acts")
    assert [row["expires_in_s"] for row in told["merchants"]] == [900]
    assert [
        (act["acted_by"], act["before"], act["after"]) for act in told["acts"] if act["kind"] == "merchant_set"
    ] == [
        ("Bob", {"settles_after_days": 3}, {"settles_after_days": 2}),
        (
            "Ann",
            {"late_payment": "complete", "settles_after_days": 1},
            {"late_payment": "refund", "settles_after_days": 3},
        ),
    ]
    shown = (await typist.type("merchant", "list", "--acts")).out
    assert f"Bob: merchant_set of merchant {merchant.merchant_id}: settles_after_days 3 -> 2" in shown
    others = await stage.administration.list_acts(other.merchant_id)
    assert "merchant_set" not in {act.kind for act in others}


async def test_a_merchant_is_added_with_its_own_times_and_nonsense_is_refused(stage: Stage, typist: Typist) -> None:
    refused = await typist.type("merchant", "add", "Tea house", "--late-payment", "keep")
    assert (refused.code, "late_payment_unknown" in refused.err) == (2, True)
    assert await stage.administration.list_merchants() == []
    added = await typist.json("merchant", "add", "Tea house", "--expires-in-with-payer", "3600")
    (kept,) = await stage.administration.list_merchants()
    assert kept.merchant_id == added["merchants"][0]["merchant_id"]
    assert (kept.expires_in_s, kept.expires_in_with_payer_s, kept.late_payment) == (900, 3600, "complete")
    unknown = await typist.type("merchant", "set", "999", "--expires-in", "300")
    assert (unknown.code, "merchant_unknown" in unknown.err) == (2, True)


async def test_who_added_a_merchant_its_rates_and_its_keys_is_kept(stage: Stage, typist: Typist) -> None:
    """The first rate and the first key are worth as much as later ones, and nobody could tell whose they were."""
    given = ("--rate", "wechat_v3=38", "--with-key", "--by", "Ann")
    (added,) = (await typist.json("merchant", "add", "Tea house", *given))["merchants"]
    merchant_id = str(added["merchant_id"])
    issued = await typist.json("key", "issue", merchant_id, "--by", "Bob")
    (rate,) = (await typist.json("rate", "list", merchant_id))["rates"]
    assert (rate["rate_bp"], rate["set_by"]) == (38, "Ann")
    told = (await typist.json("merchant", "list", merchant_id, "--acts"))["acts"]
    assert [(act["acted_by"], act["kind"]) for act in reversed(told)] == [
        ("Ann", "merchant_add"),
        ("Ann", "key_issue"),
        ("Bob", "key_issue"),
    ]
    _, _, key_id, secret = issued["api_key"].split("_")
    assert (told[0]["after"], secret in str(told)) == ({"key_id": key_id}, False)


async def test_outside_local_no_merchants_events_go_unencrypted(stage: Stage) -> None:
    """They name orders, amounts and payers."""
    live = Administration(
        database=stage.database, environment=Environment.LIVE, box=stage.opened.keys.box, lanes=stage.opened.lanes
    )
    wish = MerchantWish(
        name="Tea house",
        webhook_url="http://shop.example/hooks",
        account_ids=(),
        rates_bp={},
        with_key=False,
        with_shop=False,
    )
    with pytest.raises(Refused, match="https_needed"):
        await live.add_merchants([wish], by="Ann")
    assert await stage.administration.list_merchants() == []
    (added,) = await live.add_merchants([replace(wish, webhook_url="https://shop.example/hooks")], by="Ann")
    assert added.webhook_endpoint_id is not None


async def test_a_webhook_secret_is_rotated_by_name_and_shown_this_once(
    stage: Stage, typist: Typist, rows: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    """A secret that got out is replaced while webhooks go on, and later it can be told who did it and why."""
    merchant = await stage.add_merchant(webhook_url="http://127.0.0.1:9/hooks")
    words = ["merchant", "rotate", str(merchant.merchant_id), "--by", "Ann", "--reason", "a laptop was stolen"]
    changed = await typist.json(*words)
    until = datetime.fromisoformat(changed["old_until"])
    assert timedelta(hours=23) < until - datetime.now(UTC) <= timedelta(hours=24)
    assert changed["webhook_endpoint_id"] == merchant.endpoint_id
    assert changed["webhook_secret"].startswith("whsec_")
    assert changed["webhook_secret"] != merchant.webhook_secret
    again = await typist.type(*words)
    assert (again.code, "rotation_running" in again.err) == (2, True)
    assert (await typist.json(*words, "--end-overlap"))["ended"]
    assert not (await typist.json(*words, "--end-overlap"))["ended"]
    at_once = await typist.json(*words, "--overlap-s", "0")
    assert at_once["old_until"] is None
    acts = await rows.fetch("SELECT ordinal, kind, acted_by, reason, old_until FROM endpoint_act ORDER BY ordinal")
    why = ("Ann", "a laptop was stolen")
    assert [tuple(row) for row in acts] == [
        (1, "rotate", *why, until),
        (2, "end_overlap", *why, None),
        (3, "rotate", *why, None),
    ]
    kept = await rows.fetchval(
        "SELECT string_agg(e::text, ' ') || string_agg(a::text, ' ') FROM webhook_endpoint AS e, endpoint_act AS a"
    )
    assert at_once["webhook_secret"] not in kept


async def test_a_secret_that_is_not_there_is_not_rotated(stage: Stage, typist: Typist) -> None:
    merchant = await stage.add_merchant()
    for words, code in (
        ([str(merchant.merchant_id)], "endpoint_unknown"),
        (["999"], "merchant_unknown"),
        ([str(merchant.merchant_id), "--overlap-s", "9999999"], "overlap_out_of_range"),
    ):
        refused = await typist.type("merchant", "rotate", *words, "--by", "Ann", "--reason", "lost")
        assert (refused.code, code in refused.err) == (2, True)
