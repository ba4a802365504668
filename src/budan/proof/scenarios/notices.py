"""Notices that come too early, too late, twice, never, or from somebody else."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from budan.proof.client import HttpAnswer
from budan.proof.forging import forge, is_refused, is_taken, tell
from budan.proof.house import House, happened
from budan.proof.link import Passing
from budan.proof.scenarios.scenario import Scenario
from budan.proof.scenarios.wishes import SERVES, STEP_S_MAX, all_are_paid_here, all_are_placed, scanned

FORGERIES: Final = 3
DELAYED_S: Final = 4.0
# Nobody else's notice takes half as long to leave.
LATE: Final = timedelta(seconds=DELAYED_S / 2)


async def _play_before_our_first_update(house: House) -> None:
    """The payer pays while the answer to our placement is still held back."""
    wishes = [replace(wish, pays=False, faults={"timeout_after_charge": True}) for wish in scanned(house)]
    async with asyncio.TaskGroup() as tasks:
        selling = tasks.create_task(house.sell_all(wishes, at_once=len(wishes)))
        await all_are_placed(house, count=len(wishes))
        for trade in house.ours():
            await house.till.pay_by({"trade_no": trade.trade_no}, wishes[0])
        happened("an answer came before the notice", is_so=not house.till.answers)
        await selling


async def _play_killed_after_the_commit(house: House) -> None:
    """The notice is committed, and the acknowledgement dies with the process."""
    wishes = scanned(house)
    orders = [await house.till.create(wish, shop=house.shop_of(wish)) for wish in wishes]
    with house.links.to_us.passing(Passing.REQUESTS_ONLY):
        for order, wish in zip(orders, wishes, strict=True):
            await house.till.pay(order, wish)
        await all_are_paid_here(house)
        happened("a notice was acknowledged", is_so=not any(one.notices_acknowledged for one in house.ours()))
        for name in SERVES:
            await house.violence.kill_and_wait(name)


async def _play_doubled_late_and_forged(house: House) -> None:
    kinds: tuple[dict[str, Any], ...] = ({"double_notice": True}, {"delay_notice_s": DELAYED_S}, {})
    wishes = [replace(wish, faults=kinds[wish.number % len(kinds)]) for wish in scanned(house)]
    unpaid = [replace(wish, number=wish.number + len(wishes), pays=False, faults={}) for wish in wishes[:FORGERIES]]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(house.sell_all(wishes, at_once=len(wishes)))
        for wish in unpaid:
            order = await house.till.create(wish, shop=house.shop_of(wish))
            answer = await forge(house, wish, order["trades"][0])
            happened(f"a forgery was heard by nobody: {answer.status}", is_so=is_taken(answer) or is_refused(answer))
    wanted = len(wishes) // len(kinds)

    async def all_are_told() -> bool:
        told = [(trade.paid_at, trade.notices_sent_at) for trade in house.ours() if trade.paid_at is not None]
        doubled = sum(len(sent_at) > 1 for _, sent_at in told)
        late = sum(bool(sent_at) and sent_at[0] - paid_at > LATE for paid_at, sent_at in told)
        return doubled >= wanted and late >= wanted

    await house.until(all_are_told, what="every doubled and every late notice", timeout_s=STEP_S_MAX)


async def _play_forged_and_replayed(house: House) -> None:
    """Copies that were changed on their way, true notices told again and about another order, and a stranger's own key."""
    kinds: tuple[dict[str, Any], ...] = ({"forge_notice": True}, {})
    wishes = [replace(wish, faults=kinds[wish.number // 2 % len(kinds)]) for wish in scanned(house)]
    unpaid = [replace(wish, number=wish.number + len(wishes), pays=False, faults={}) for wish in wishes[:FORGERIES]]
    with house.links.to_us.recording() as heard:
        await house.sell_all(wishes, at_once=len(wishes))
        await all_are_paid_here(house)
    true_ones = heard.requests(b"POST /notify/")
    happened(f"{len(true_ones)} notices were overheard", is_so=len(true_ones) >= len(wishes))
    for notice in true_ones:
        await house.api.send(notice, timeout_s=STEP_S_MAX)
    key = await asyncio.to_thread(generate_private_key, public_exponent=65_537, key_size=2_048)
    for wish in unpaid:
        order = await house.till.create(wish, shop=house.shop_of(wish))
        (trade,) = order["trades"]
        answers = [await forge(house, wish, trade), await forge(house, wish, trade, key=key)]
        answers += [await _tell_of_another(house, trade, notice) for notice in true_ones if _is_of(trade, notice)]
        taken = sum(is_taken(answer) for answer in answers)
        happened(f"{taken} of {len(answers)} forgeries were acknowledged", is_so=not taken and len(answers) > FORGERIES)


def _is_of(trade: dict[str, str], notice: bytes) -> bool:
    return notice.startswith(f"POST /notify/local/{trade['channel']}/".encode())


async def _tell_of_another(house: House, trade: dict[str, str], notice: bytes) -> HttpAnswer:
    """A true notice, signature and all, but about this attempt; what WeChat says is sealed, so its sealed part is changed."""
    head, _, body = notice.partition(b"\r\n\r\n")
    headers = b"".join(line + b"\r\n" for line in head.split(b"\r\n")[1:] if _is_kept(line)).decode()
    if trade["channel"] == "alipay":
        fields = dict(parse_qsl(body.decode()))
        body = urlencode(fields | {"out_trade_no": trade["trade_no"]}).encode()
    else:
        body = body.replace(b'"ciphertext":"', b'"ciphertext":"AAAA')
    return await tell(house, channel=trade["channel"], headers=headers, body=body)


def _is_kept(line: bytes) -> bool:
    name = line.partition(b":")[0].lower()
    return name.startswith(b"wechatpay-") or name == b"content-type"


async def _play_all_lost(house: House) -> None:
    wishes = house.drawn(house.options.orders, channel="wechat_v3", is_b2c=False, faults={"drop_notice": True})
    await house.sell_all(wishes, at_once=20)
    happened("a notice was sent", is_so=not any(trade.notices_sent_at for trade in house.ours()))


SCENARIOS: Final = (
    Scenario(
        name="notice before our first update",
        stands_for="the payer is faster than the channel's answer to us: the notice is about a trade not yet submitted",
        orders=6,
        play=_play_before_our_first_update,
    ),
    Scenario(
        name="killed after the commit",
        stands_for="a notice is committed and the process killed before it can say so or do anything else",
        orders=6,
        play=_play_killed_after_the_commit,
    ),
    Scenario(
        name="doubled, late and forged notices",
        stands_for="a channel that repeats itself, queues that hold messages back, and somebody who wants goods for nothing",
        orders=12,
        play=_play_doubled_late_and_forged,
    ),
    Scenario(
        name="forged and replayed notices",
        stands_for="somebody who overhears true notices tells them again, and of their own orders, and signs with a key of their own",
        orders=8,
        play=_play_forged_and_replayed,
    ),
    Scenario(
        name="every notice lost",
        stands_for="a channel's callbacks do not come for an hour: a firewall, a certificate, a wrong address",
        orders=40,
        play=_play_all_lost,
    ),
)
