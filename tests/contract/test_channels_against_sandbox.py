"""One suite that every adapter passes against the sandbox: two processes, real HTTP, each side with its own keys only."""

import ssl
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from budan.channels.accounts import AccountCache
from budan.channels.guard import GuardedChannel
from budan.core.evidence import Outcome
from budan.core.numbers import AccountId
from budan.ports.channel import (
    AccountConfig,
    BadNotice,
    EndState,
    Method,
    NoticeKind,
    RawNotice,
)
from budan.wire.errors import WireError
from budan.wire.http_fast import FastHttpClient
from budan.wire.rsa import Signer
from contract.desk import (
    ALL_KINDS,
    AMOUNT_MINOR,
    CLOSING,
    SHORT_S,
    Desk,
    a_call,
    a_desk,
    an_account,
    an_intent,
    built,
    expect_paid,
    heard,
    ref_of,
)
from integration.sandbox.running import (
    Caller,
    Receiver,
    http_answer,
)
from unit.channels.builders import HandClock, vectors, with_secret

# Where the channel has a public key of its own; a shared key would be wrong for both sides at once.
PUBLIC_KEY_OF = {
    "wechat_v3": "platform_keys",
    "alipay": "alipay_public_key",
    "swiftpass_rsa": "platform_public_key",
}
PRIVATE_KEY_OF = {
    "wechat_v3": "merchant_private_key",
    "alipay": "app_private_key",
    "swiftpass_rsa": "merchant_private_key",
}


async def test_a_customer_scans_and_pays_and_query_and_notice_say_so(desk: Desk, receiver: Receiver) -> None:
    intent = await desk.placed(notify_url=receiver.url)
    assert (await desk.query(intent)).outcome is Outcome.UNPAID_OPEN
    await desk.caller.pay(trade_no=intent.trade_no)
    expect_paid(await desk.query(intent), intent)
    notice = await heard(desk, receiver)
    assert notice.kind is NoticeKind.PAYMENT
    expect_paid(notice.result, intent)


async def test_a_notice_that_comes_twice_says_the_same_twice(desk: Desk, receiver: Receiver) -> None:
    intent = await desk.paid(notify_url=receiver.url, double_notice=True)
    first, second = await heard(desk, receiver), await heard(desk, receiver)
    assert first == second
    expect_paid(first.result, intent)


@pytest.mark.invariant("I4")
async def test_a_notice_for_another_account_is_no_notice_for_ours(desk: Desk, receiver: Receiver, name: str) -> None:
    await desk.paid(notify_url=receiver.url)
    received = await receiver.next()
    notice = RawNotice(headers=received.headers, body=received.body)
    async with a_desk(await an_account(desk.caller, name), desk.caller) as other:
        with pytest.raises(BadNotice):
            other.channel.parse_notice(notice, now=datetime.now(UTC))
    changed = RawNotice(headers=received.headers, body=received.body.replace(b"1", b"2"))
    with pytest.raises(BadNotice):
        desk.channel.parse_notice(changed, now=datetime.now(UTC))


async def test_an_acknowledged_notice_is_not_repeated(desk: Desk, receiver: Receiver) -> None:
    """The channel reads our form of yes as yes."""
    ack = desk.channel.acknowledge(accepted=True)
    receiver.answers[:] = [http_answer(f"{ack.status} OK", ack.body)]
    intent = await desk.paid(notify_url=receiver.url)
    trade = await desk.caller.trade_when(intent.trade_no, lambda trade: trade["notice_state"] == "acknowledged")
    assert trade["notices_sent"] == 1


async def test_a_refused_notice_is_repeated(desk: Desk, receiver: Receiver) -> None:
    """The channel reads our form of no as no."""
    no = desk.channel.acknowledge(accepted=False)
    receiver.answers.insert(0, http_answer(f"{no.status} X", no.body))
    intent = await desk.paid(notify_url=receiver.url)
    expect_paid((await heard(desk, receiver)).result, intent)
    expect_paid((await heard(desk, receiver)).result, intent)


@pytest.mark.parametrize("name", ["wechat_v3", "alipay"])
async def test_placing_again_is_safe_until_the_trade_has_ended(desk: Desk) -> None:
    intent = await desk.placed()
    assert (await desk.place(intent)).outcome is Outcome.UNPAID_OPEN
    await desk.caller.pay(trade_no=intent.trade_no)
    assert (await desk.place(intent)).outcome is Outcome.UNKNOWN
    closed = await desk.placed()
    assert await desk.close(closed) is EndState.ENDED
    assert (await desk.place(closed)).outcome is Outcome.UNPAID_FINAL
    other = replace(intent, amount_minor=1)
    assert (await desk.place(other)).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("name", ["swiftpass", "ipaynow"])
async def test_where_a_number_is_taken_once_placing_again_changes_nothing(desk: Desk) -> None:
    """The payer gets no second code under the number, and nobody concludes anything from the refusal."""
    intent = await desk.placed()
    again = await desk.channel.create(intent, call=a_call())
    assert (again.result.outcome, again.result.sent, again.action) == (Outcome.UNPAID_OPEN, True, None)
    await desk.caller.pay(trade_no=intent.trade_no)
    assert (await desk.place(intent)).outcome is Outcome.UNPAID_OPEN
    expect_paid(await desk.query(intent), intent)
    if desk.channel.capabilities.close:
        closed = await desk.placed()
        assert await desk.close(closed) is EndState.ENDED
        assert (await desk.place(closed)).outcome is Outcome.UNPAID_OPEN


async def test_a_number_that_the_channel_never_heard_of_is_not_found_and_ends_nothing(desk: Desk) -> None:
    for intent in (an_intent(), an_intent(method=Method.CODE)):
        result = await desk.query(intent)
        assert (result.outcome, result.not_found) == (Outcome.UNPAID_OPEN, True)
    if desk.name in CLOSING:
        assert await desk.close(an_intent()) is EndState.NOT_FOUND
    reversed_ = await desk.channel.reverse(ref_of(an_intent(method=Method.CODE)), call=a_call())
    assert reversed_.state is EndState.NOT_FOUND


@pytest.mark.parametrize("name", CLOSING)
async def test_a_closed_trade_is_unpaid_for_good(desk: Desk) -> None:
    intent = await desk.placed()
    assert await desk.close(intent) is EndState.ENDED
    assert (await desk.query(intent)).outcome is Outcome.UNPAID_FINAL


@pytest.mark.parametrize("name", CLOSING)
async def test_closing_what_is_paid_leaves_it_to_a_query(desk: Desk) -> None:
    intent = await desk.paid()
    assert await desk.close(intent) is (EndState.UNKNOWN if desk.name == "alipay" else EndState.ALREADY_PAID)
    expect_paid(await desk.query(intent), intent)


@pytest.mark.parametrize("name", ALL_KINDS)
async def test_a_charge_is_paid_at_once(desk: Desk) -> None:
    intent, result = await desk.charge()
    expect_paid(result, intent)
    expect_paid(await desk.query(intent), intent)


@pytest.mark.parametrize("name", ALL_KINDS)
async def test_a_code_that_nobody_showed_is_refused(desk: Desk) -> None:
    leads = {
        "wechat_v3": ["10"],
        "alipay": ["25"],
        "swiftpass": ["10", "25"],
        "ipaynow": ["10", "25"],
        "wechat_v2": ["10"],
    }
    for lead in leads[desk.name]:
        intent = an_intent(method=Method.CODE)
        refused = await desk.channel.charge(intent, auth_code=lead + "0" * 16, call=a_call())
        if desk.name == "ipaynow":
            # A refused call is to be asked about first.
            assert (refused.outcome, refused.answered) == (Outcome.UNKNOWN, True)
            refused = await desk.query(intent)
        assert refused.outcome is Outcome.UNPAID_FINAL


@pytest.mark.parametrize("name", ALL_KINDS)
@pytest.mark.parametrize(("ends", "outcome"), [("paid", Outcome.PAID), ("failed", Outcome.UNPAID_FINAL)])
async def test_a_payer_who_types_is_waited_for(desk: Desk, ends: str, outcome: Outcome) -> None:
    intent, result = await desk.charge(user_paying_s=0.5, user_paying_ends=ends)
    # iPaynow only says "in progress", which is not "not paid yet".
    waits = (Outcome.UNKNOWN, False) if desk.name == "ipaynow" else (Outcome.UNPAID_OPEN, True)
    assert (result.outcome, result.user_paying) == waits
    first = await desk.query(intent)
    assert (first.outcome, first.user_paying) == waits
    if desk.name == "swiftpass" and ends == "failed":
        # Whose password failed may try again: Swiftpass says NOTPAY, and only a reverse ends it.
        assert (await desk.query_while_typing(intent)).outcome is Outcome.UNPAID_OPEN
        assert (await desk.channel.reverse(ref_of(intent), call=a_call())).state is EndState.ENDED
    await desk.query_until(intent, outcome)


@pytest.mark.parametrize("name", ALL_KINDS)
@pytest.mark.invariant("I5")
async def test_a_charge_without_an_answer_is_unknown_whether_or_not_money_was_taken(desk: Desk) -> None:
    taken, result = await desk.charge(deadline_s=SHORT_S, timeout_after_charge=True)
    assert (result.outcome, result.sent) == (Outcome.UNKNOWN, True)
    expect_paid(await desk.query(taken), taken)
    lost, result = await desk.charge(deadline_s=SHORT_S, timeout_before_charge=True)
    assert (result.outcome, result.sent) == (Outcome.UNKNOWN, True)
    assert (await desk.query(lost)).not_found


@pytest.mark.parametrize("name", ALL_KINDS)
@pytest.mark.invariant("I5")
async def test_a_channel_that_says_it_is_busy_may_have_taken_the_money(desk: Desk) -> None:
    intent, result = await desk.charge(busy=True)
    assert (result.outcome, result.sent) == (Outcome.UNKNOWN, True)
    expect_paid(await desk.query(intent), intent)


@pytest.mark.parametrize("name", ALL_KINDS)
async def test_a_reversed_payment_is_with_the_payer_and_a_repeat_changes_nothing(desk: Desk) -> None:
    intent, _ = await desk.charge()
    results = [await desk.channel.reverse(ref_of(intent), call=a_call()) for _ in range(2)]
    assert [result.state for result in results] == [EndState.ENDED] * 2
    # WeChat and Swiftpass never say whether money went back; Alipay says it once; iPaynow's trade is looked at each time.
    returned = {"alipay": [True, None], "ipaynow": [True, True]}
    assert [result.money_returned for result in results] == returned.get(desk.name, [None, None])
    after = await desk.query(intent)
    said = {"alipay": (Outcome.PAID, False, True), "ipaynow": (Outcome.PAID, False, False)}
    expected = said.get(desk.name, (Outcome.UNPAID_FINAL, True, False))
    assert (after.outcome, after.reversed_here, after.refunded_hint) == expected


@pytest.mark.parametrize("name", ALL_KINDS)
async def test_a_charge_that_still_waits_is_reversed_without_money(desk: Desk) -> None:
    intent, _ = await desk.charge(user_paying_s=60)
    result = await desk.channel.reverse(ref_of(intent), call=a_call())
    is_told = desk.name in {"alipay", "ipaynow"}
    assert (result.state, result.money_returned) == (EndState.ENDED, False if is_told else None)
    assert (await desk.query(intent)).outcome is Outcome.UNPAID_FINAL


@pytest.mark.parametrize("name", ["alipay", "swiftpass", "ipaynow", "wechat_v2"])
async def test_a_cancel_that_is_put_off_is_repeated(desk: Desk) -> None:
    intent, _ = await desk.charge(retry_cancel=True)
    first = await desk.channel.reverse(ref_of(intent), call=a_call())
    assert first.state is (EndState.UNKNOWN if desk.name == "ipaynow" else EndState.RETRY)
    expect_paid(await desk.query(intent), intent)
    second = await desk.channel.reverse(ref_of(intent), call=a_call())
    assert (second.state, second.money_returned) == (EndState.ENDED, desk.name in {"alipay", "ipaynow"} or None)


@pytest.mark.parametrize("name", ["ipaynow"])
async def test_what_nobody_pays_ends_by_the_time_out_that_it_was_given(desk: Desk) -> None:
    """The only close that there is: placed 59 s ago with the shortest time-out."""
    started_at = datetime.now(UTC) - timedelta(seconds=59)
    intent = replace(an_intent(), created_at=started_at, expires_at=started_at + timedelta(seconds=60))
    assert (await desk.place(intent)).outcome is Outcome.UNPAID_OPEN
    assert (await desk.query(intent)).outcome is Outcome.UNPAID_OPEN
    await desk.query_until(intent, Outcome.UNPAID_FINAL)


@pytest.mark.parametrize("name", ["alipay"])
async def test_a_code_that_nobody_scanned_is_no_trade_yet(desk: Desk) -> None:
    intent = await desk.placed(scanned=False)
    assert (await desk.query(intent)).not_found
    assert await desk.close(intent) is EndState.NOT_FOUND


@pytest.mark.parametrize("name", ["wechat_v3", "alipay", "ipaynow"])
async def test_a_wap_page_leads_to_the_wallet_and_can_be_paid(desk: Desk) -> None:
    intent = an_intent(method=Method.WAP)
    created = await desk.channel.create(intent, call=a_call())
    assert created.action is not None
    assert created.action.redirect_url is not None
    link = created.action.redirect_url.removeprefix(desk.caller.url)
    answer = await desk.caller.send("GET", link, headers={"referer": "https://pay.example.com/"})
    # iPaynow gives the page itself, the others an address that leads to it.
    assert answer.status == (200 if desk.name == "ipaynow" else 303)
    await desk.caller.pay(trade_no=intent.trade_no)
    expect_paid(await desk.query(intent), intent)


@pytest.mark.parametrize("name", ["wechat_v3", "swiftpass", "swiftpass_rsa", "ipaynow"])
async def test_a_jsapi_trade_is_placed_and_paid(desk: Desk) -> None:
    intent = an_intent(method=Method.JSAPI)
    created = await desk.channel.create(intent, call=a_call())
    assert created.action is not None
    assert created.action.jsapi_parameters is not None
    assert created.action.jsapi_parameters["package"].startswith("prepay_id=wx")
    await desk.caller.pay(trade_no=intent.trade_no)
    expect_paid(await desk.query(intent), intent)


@pytest.mark.parametrize("name", ["swiftpass", "swiftpass_rsa"])
async def test_a_payer_of_alipay_pays_by_script_through_swiftpass(desk: Desk) -> None:
    """The channel tells the wallet that paid, so refunds and bills are Alipay's."""
    intent = replace(an_intent(method=Method.JSAPI), payer_openid="2088000000000001")
    created = await desk.channel.create(intent, call=a_call())
    assert created.action is not None
    assert created.action.jsapi_parameters is not None
    assert set(created.action.jsapi_parameters) == {"tradeNO"}
    await desk.caller.pay(trade_no=intent.trade_no)
    result = await desk.query(intent)
    expect_paid(result, intent)
    assert (result.wallet, result.payer_id) == ("alipay", "2088000000000001")


@pytest.mark.parametrize("name", PUBLIC_KEY_OF)
@pytest.mark.invariant("I4", "I5")
async def test_answers_under_keys_that_are_not_ours_to_trust_are_no_answers(
    config: AccountConfig, caller: Caller, name: str
) -> None:
    """The money was taken; we cannot prove who says so, so it stays unknown until the keys are put right."""
    other = await an_account(caller, name)
    key = PUBLIC_KEY_OF[name]
    async with a_desk(with_secret(config, key, other.secrets[key]), caller) as mistaken:
        intent, result = await mistaken.charge()
        assert result.outcome is Outcome.UNKNOWN
        assert (await mistaken.query(intent)).outcome is Outcome.UNKNOWN
        assert await mistaken.close(replace(intent, method=Method.NATIVE)) is EndState.UNKNOWN
    async with a_desk(config, caller) as desk:
        expect_paid(await desk.query(intent), intent)


@pytest.mark.parametrize("name", ["alipay_certified"])
@pytest.mark.invariant("I4", "I5")
async def test_alipays_certificates_change_while_orders_are_in_flight(
    config: AccountConfig, caller: Caller, receiver: Receiver
) -> None:
    """Answers name the certificate that judges them; a merchant who holds one of two believes that one alone."""
    asked = {"account_id": config.settings["app_id"], "keeps_old": True}
    _, changed = await caller.admin("PUT", "/sandbox/account-keys", asked)
    both = "\n".join((changed["alipay_certificate"], config.secrets["alipay_certificate"]))
    async with a_desk(with_secret(config, "alipay_certificate", both), caller) as desk:
        intent = await desk.placed(notify_url=receiver.url)
        await caller.pay(trade_no=intent.trade_no)
        for _ in range(2):
            expect_paid(await desk.query(intent), intent)
        assert (await heard(desk, receiver)).result.outcome is Outcome.PAID
    async with a_desk(config, caller) as behind:
        outcomes = {(await behind.query(intent)).outcome for _ in range(2)}
    assert outcomes == {Outcome.PAID, Outcome.UNKNOWN}
    # A request that does not name this application's root is not heard at all.
    lost = with_secret(config, "alipay_root_certificate", config.secrets["alipay_certificate"])
    async with a_desk(lost, caller) as mistaken:
        refused = await mistaken.query(intent)
    assert (refused.outcome, refused.code) == (Outcome.UNKNOWN, "isv.invalid-alipay-root-cert-sn")


@pytest.mark.parametrize("name", PRIVATE_KEY_OF)
@pytest.mark.invariant("I5")
async def test_requests_under_a_wrong_key_of_ours_leave_everything_unknown(
    config: AccountConfig, caller: Caller, name: str
) -> None:
    wrong = vectors()["keys"]["platform"]["private_pkcs8_b64"]
    async with a_desk(with_secret(config, PRIVATE_KEY_OF[name], wrong), caller) as mistaken:
        intent, result = await mistaken.charge()
        assert result.outcome is Outcome.UNKNOWN
        assert (await mistaken.query(intent)).outcome is Outcome.UNKNOWN
        refused = await mistaken.channel.create(an_intent(), call=a_call())
        assert (refused.result.outcome, refused.action) == (Outcome.UNPAID_OPEN, None)


@pytest.mark.parametrize("name", ["swiftpass", "wechat_v2", "wechat_v2_hmac"])
@pytest.mark.invariant("I4", "I5")
async def test_a_shared_key_that_is_not_ours_leaves_everything_unknown(config: AccountConfig, caller: Caller) -> None:
    other = await an_account(caller, config.channel)
    async with a_desk(with_secret(config, "api_key", other.secrets["api_key"]), caller) as mistaken:
        intent, result = await mistaken.charge()
        assert result.outcome is Outcome.UNKNOWN
        assert (await mistaken.query(intent)).outcome is Outcome.UNKNOWN
        refused = await mistaken.channel.create(an_intent(), call=a_call())
        assert (refused.result.outcome, refused.action) == (Outcome.UNPAID_OPEN, None)


@pytest.mark.parametrize("name", ["wechat_v2"])
async def test_no_money_goes_back_without_the_merchants_certificate(config: AccountConfig, caller: Caller) -> None:
    """The sandbox lets nobody in by TLS without one of its own, and nobody reverse or refund by any other way."""
    intent, certified = an_intent(method=Method.CODE), config.settings["secure_gateway"]
    plain = replace(config, settings={**config.settings, "secure_gateway": config.settings["gateway"]})
    async with a_desk(plain, caller) as desk:
        auth_code = await caller.auth_code("wechat_v2")
        expect_paid(await desk.channel.charge(intent, auth_code=auth_code, call=a_call()), intent)
        ended = await desk.channel.reverse(ref_of(intent), call=a_call())
        assert (ended.state, ended.message) == (EndState.RETRY, "证书出错")
        expect_paid(await desk.query(intent), intent)
    bare = FastHttpClient(
        connections_per_host_max=1, ssl_context=ssl.create_default_context(cadata=config.settings["gateway_issuer"])
    )
    try:
        with pytest.raises(WireError):
            await bare.request(
                method="POST",
                url=f"{certified}/secapi/pay/reverse",
                headers={},
                body=b"",
                timeout_s=5,
                body_bytes_max=99,
            )
    finally:
        await bare.close()
    async with a_desk(config, caller) as desk:
        assert (await desk.channel.reverse(ref_of(intent), call=a_call())).state is EndState.ENDED
        assert (await desk.query(intent)).reversed_here


@pytest.mark.parametrize("name", ["wechat_v2"])
async def test_a_channel_that_only_shops_scan_places_and_closes_nothing(desk: Desk) -> None:
    created = await desk.channel.create(an_intent(), call=a_call())
    assert (created.result.sent, created.action) == (False, None)
    closed = await desk.channel.close(ref_of(an_intent(method=Method.CODE)), call=a_call())
    assert (closed.state, closed.sent) == (EndState.NOT_SUPPORTED, False)
    unknown = an_intent(method=Method.CODE)
    assert (await desk.query(unknown)).not_found
    assert (await desk.channel.reverse(ref_of(unknown), call=a_call())).state is EndState.NOT_FOUND
    with pytest.raises(BadNotice):
        desk.channel.parse_notice(RawNotice(headers={}, body=b"<xml></xml>"), now=datetime.now(UTC))


@pytest.mark.parametrize("name", ALL_KINDS)
async def test_a_query_tells_what_the_channel_says_even_when_it_lies(desk: Desk) -> None:
    short, _ = await desk.charge(amount_off_minor=-1)
    told = await desk.query(short)
    assert (told.outcome, told.order_minor) == (Outcome.PAID, AMOUNT_MINOR - 1)
    stale, _ = await desk.charge(stale_query_s=600)
    # iPaynow has no word for a payer who types but "not known yet".
    expected = Outcome.UNKNOWN if desk.name == "ipaynow" else Outcome.UNPAID_OPEN
    assert (await desk.query(stale)).outcome is expected
    assert (await desk.caller.trade(stale.trade_no))["state"] == "paid"


@pytest.mark.parametrize("name", [kind for kind in ALL_KINDS if kind != "ipaynow"])
@pytest.mark.invariant("I4")
async def test_an_answer_about_somebody_else_pays_nothing(desk: Desk) -> None:
    intent, _ = await desk.charge(wrong_merchant=True)
    assert (await desk.query(intent)).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("name", ALL_KINDS)
@pytest.mark.invariant("I5")
async def test_a_channel_that_is_down_ends_nothing(desk: Desk) -> None:
    intent, _ = await desk.charge()
    await desk.caller.admin("PUT", "/sandbox/weather", {"down": True})
    try:
        assert (await desk.query(intent)).outcome is Outcome.UNKNOWN
        reversed_ = await desk.channel.reverse(ref_of(intent), call=a_call())
        assert reversed_.state not in {EndState.ENDED, EndState.NOT_FOUND}
    finally:
        await desk.caller.admin("PUT", "/sandbox/weather", {})
    expect_paid(await desk.query(intent), intent)


@pytest.mark.parametrize("name", ALL_KINDS)
async def test_an_account_from_the_cache_is_guarded_and_works(config: AccountConfig, caller: Caller) -> None:
    signer, clock = Signer(threads=1), HandClock(time.monotonic())

    async def load(account_id: AccountId) -> AccountConfig | None:
        return config if account_id == config.account_id else None

    def build(loaded: AccountConfig) -> GuardedChannel:
        return GuardedChannel(built(loaded, signer), account_id=loaded.account_id, clock=clock)

    cache = AccountCache(load=load, builders={config.channel: build}, clock=clock)
    try:
        account = await cache.find(config.account_id)
        assert account is not None
        intent = an_intent(method=Method.CODE)
        auth_code = await caller.auth_code(config.channel)
        expect_paid(await account.adapter.charge(intent, auth_code=auth_code, call=a_call()), intent)
        assert await cache.find(AccountId(2)) is None
    finally:
        await cache.close()
        signer.close()
