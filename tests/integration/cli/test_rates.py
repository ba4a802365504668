"""What payments cost, as an operator sets, reads and corrects it."""

from integration.cli.commands import Typist
from stage import FEE_RATE_BP, Stage


async def test_an_operator_sets_lists_and_corrects_what_payments_cost(stage: Stage, typist: Typist) -> None:
    merchant = await stage.add_merchant()
    merchant_id = str(merchant.merchant_id)
    order = await stage.add_paid_order(merchant)
    bounds = ("--method", "code", "--minimum", "1", "--maximum", "500")
    later = ("--from", "2099-01-01T00:00:00+08:00")
    row = await typist.json("rate", "set", merchant_id, "wechat_v3", "38", *bounds, *later)
    assert row["effective_from"] == "2098-12-31T16:00:00Z"
    listed = (await typist.json("rate", "list", merchant_id))["rates"]
    assert [(one["channel"], one["method"], one["rate_bp"], one["maximum_minor"]) for one in listed] == [
        ("alipay", None, FEE_RATE_BP, None),
        ("wechat_v3", None, FEE_RATE_BP, None),
        ("wechat_v3", "code", 38, 500),
    ]
    why = ("--rate", "0", "--by", "Ann", "--reason", "free by contract")
    corrected = await typist.json("rate", "correct", order.order_no, *why)
    assert (corrected["kept_before_minor"] > 0, corrected["kept_after_minor"], corrected["act"]) == (True, 0, 1)
    told = (await typist.type("rate", "correct", order.order_no, *why)).out
    assert told == f"{order.order_no}: right already; fee kept 0.00 CNY before, 0.00 CNY now\n"


async def test_an_operator_adds_ends_and_lists_cashback_plans(stage: Stage, typist: Typist) -> None:
    merchant_id = str((await stage.add_merchant()).merchant_id)
    share = ("--rate", "500", "--cap", "800", "--budget", "100000", "--method", "jsapi")
    added = await typist.json("rate", "cashback", "add", "Spring", *share, "--merchant", merchant_id)
    ended = await typist.json("rate", "cashback", "end", str(added["plan_id"]))
    (plan,) = (await typist.json("rate", "cashback", "list"))["plans"]
    assert (plan["plan_id"], plan["ends_at"], plan["methods"]) == (added["plan_id"], ended["ends_at"], ["jsapi"])
    assert (plan["rate_bp"], plan["cap_minor"], plan["budget_minor"], plan["granted_minor"]) == (500, 800, 100_000, 0)


async def test_a_budget_of_every_merchant_that_no_lane_could_give_a_payer_of_is_refused(
    stage: Stage, typist: Typist
) -> None:
    """It is cut into a portion for each lane: 15 in each gave nobody his 20, and the plan looked alive."""
    lanes = stage.opened.lanes
    add = ("rate", "cashback", "add", "Spring", "--fixed", "20", "--budget")
    refused = await typist.type(*add, str(20 * lanes - 1))
    assert refused.code == 2
    assert "budget_too_small (budget)" in refused.err
    await typist.json(*add, str(20 * lanes))
    (plan,) = (await typist.json("rate", "cashback", "list"))["plans"]
    assert plan["left_minor_of_lanes"] == [20] * lanes
    assert f"in each of {lanes} lanes" in " ".join((await typist.type("rate", "cashback", "list")).out.split())


async def test_who_sets_what_moves_money_is_kept_and_a_rate_that_has_not_begun_is_withdrawn(
    stage: Stage, typist: Typist
) -> None:
    """A mistyped rate of next year could not be taken away, and nobody knew whose it was."""
    merchant_id = str((await stage.add_merchant()).merchant_id)
    wrong = ("rate", "set", merchant_id, "wechat_v3", "3800", "--from", "2099-01-01T00:00:00+08:00", "--by", "Ann")
    assert (await typist.json(*wrong))["set_by"] == "Ann"
    assert (await typist.json(*wrong, "--withdraw"))["withdrawn"] is True
    rates = (await typist.json("rate", "list", merchant_id))["rates"]
    assert [one["rate_bp"] for one in rates] == [FEE_RATE_BP] * 2
    again = await typist.type(*wrong, "--withdraw")
    assert "rate_not_to_come (from)" in again.err
    begun = await typist.type(
        "rate", "set", merchant_id, "alipay", str(FEE_RATE_BP), "--withdraw", "--from", rates[0]["effective_from"]
    )
    assert "rate_not_to_come (from)" in begun.err
    added = await typist.json("rate", "cashback", "add", "Hi", "--rate", "1", "--budget", "1000", "--by", "Ann")
    await typist.json("rate", "cashback", "end", str(added["plan_id"]), "--by", "Bob")
    (plan,) = (await typist.json("rate", "cashback", "list"))["plans"]
    assert (plan["set_by"], plan["ended_by"]) == ("Ann", "Bob")
    settled = await typist.json("merchant", "set", merchant_id, "--hold-back", "500", "--by", "Ann")
    assert settled["settlement_set_by"] == "Ann"


async def test_what_an_accounts_contract_said_before_stays(stage: Stage, typist: Typist) -> None:
    """The fees of a day were judged by what it said then: overwritten, nobody could tell why they once agreed."""
    words = ("reconcile", "contract", str(await stage.add_account()))
    for rate, by in (("0.6%", "Ann"), ("0.38%", "Bob"), ("0.38%", "Cid")):
        told = await typist.json(*words, "--rate", rate, "--from", "2026-01-05", "--by", by)
    assert told["contract"] == [{"effective_from": "2026-01-05", "rate_e6": 3_800, "set_by": "Bob"}]
    assert [(act["acted_by"], act["before"], act["after"]) for act in told["acts"]] == [
        (
            "Bob",
            {"effective_from": "2026-01-05", "rate_e6": 6_000},
            {"effective_from": "2026-01-05", "rate_e6": 3_800},
        ),
        ("Ann", None, {"effective_from": "2026-01-05", "rate_e6": 6_000}),
    ]
