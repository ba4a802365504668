"""How a merchant's orders end, as an operator sets it."""

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
