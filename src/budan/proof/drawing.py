"""Draws whole orders from a seed: who pays how, when, and what goes wrong; the same seed gives the same orders."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

AMOUNT_MINOR_MAX: Final = 50_000
# A payer looks at the wallet for a moment before the money moves.
PAY_AFTER_S_MEAN: Final = 0.6
PAY_AFTER_S_MAX: Final = 4.0
DELAY_NOTICE_S: Final = (0.3, 5.0)
TYPING_S: Final = (0.5, 3.0)
REFUND_TAKES_S: Final = (0.5, 4.0)
# How a share of notice faults is divided among their kinds.
_NOTICE_SHARES: Final = {"drop_notice": 0.4, "double_notice": 0.3, "delay_notice": 0.3}
# The first that an order is drawn for is its channel.
_BY_SHARE: Final = ("swiftpass", "ipaynow", "wechat_v2", "alipay")
# WeChat and Swiftpass want a minute between two refunds of one trade, longer than a whole run may take.
_ONE_REFUND_A_MINUTE: Final = frozenset({"wechat_v3", "wechat_v2", "swiftpass"})
# What a request to place an order meets; everything else concerns the payment and its notice.
PLACING_FAULTS: Final = frozenset({"timeout_before_charge", "timeout_after_charge", "busy", "slow_ms"})


class Mix(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How likely each thing is for an order. `unpaid` payers never pay; `user_paying` is of those whose code is scanned.

    Who pays by none of the channels that are named pays by WeChat Pay. The shares beside `refund` are of the refunds.
    """

    unpaid: float = 0.08
    b2c: float = 0.25
    alipay: float = 0.4
    drop_notice: float = 0.08
    double_notice: float = 0.06
    delay_notice: float = 0.06
    timeout_before_charge: float = 0.03
    timeout_after_charge: float = 0.05
    busy: float = 0.03
    user_paying: float = 0.2
    user_paying_fails: float = 0.2
    swiftpass: float = 0.06
    ipaynow: float = 0.06
    wechat_v2: float = 0.06
    refund: float = 0.1
    refund_in_parts: float = 0.4
    refund_timeout: float = 0.1
    refund_busy: float = 0.1
    refund_waits: float = 0.2


class MixUnreadable(ValueError):  # noqa: N818 - names what was asked
    """The text names something that no order can meet, or a share outside 0 to 1."""


def with_notice_faults(mix: Mix, share: float) -> Mix:
    """`mix` with this share of the payments meeting a notice fault of one kind or another."""
    return msgspec.structs.replace(mix, **{name: part * share for name, part in _NOTICE_SHARES.items()})


def without_shares(mix: Mix, names: Sequence[str]) -> Mix:
    """`mix` with none of these."""
    return msgspec.structs.replace(mix, **dict.fromkeys(names, 0.0))


def parse_mix(text: str, *, mix: Mix) -> Mix:
    """`mix` with the shares that `text` names, as in `drop_notice=0.5,unpaid=0`; raises MixUnreadable."""
    shares: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        name, _, share = part.strip().partition("=")
        if name not in mix.__struct_fields__:
            raise MixUnreadable(f"{name!r} is none of {', '.join(mix.__struct_fields__)}")
        try:
            shares[name] = float(share)
        except ValueError:
            raise MixUnreadable(f"{share!r} is no share") from None
        if not 0 <= shares[name] <= 1:
            raise MixUnreadable(f"{name} is a share from 0 to 1")
    return msgspec.structs.replace(mix, **shares)


def render_mix(mix: Mix) -> str:
    """The text that `parse_mix` reads as this mix: each share that is not the usual one; empty where all are."""
    usual = Mix()
    shares = {name: getattr(mix, name) for name in mix.__struct_fields__}
    return ",".join(f"{name}={share!r}" for name, share in shares.items() if share != getattr(usual, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One order before it happens; `faults` are the sandbox's, by their names there."""

    number: int
    channel: str = "wechat_v3"
    amount_minor: int = 1_000
    is_b2c: bool = False
    pays: bool = True
    pay_after_s: float = 0.0
    faults: Mapping[str, Any] = field(default_factory=dict[str, Any])
    # A shop that waits this long for a charge, and an order that lives this long.
    wait_s: float = 3.0
    expires_in_s: int | None = None
    # What the shop gives back by the API once it knows that it was paid, and what the channel does with that.
    refunds_minor: tuple[int, ...] = ()
    refund_faults: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def placing(self) -> dict[str, Any]:
        """What the request meets that asks a channel for a code."""
        return {name: value for name, value in self.faults.items() if name in PLACING_FAULTS}

    @property
    def paying(self) -> dict[str, Any]:
        """What the payment meets afterwards."""
        return {name: value for name, value in self.faults.items() if name not in PLACING_FAULTS}


def draw(mix: Mix, *, seed: int, number: int) -> Wish:
    """Order `number` of the run with this seed; whatever happens to the others, it is the same."""
    # Chaos must be repeatable, and nothing secret depends on it.
    chance = random.Random(f"{seed}/{number}")  # noqa: S311 - a seeded run is the purpose
    # Each has a number of its own, so that another share of one moves no other.
    hit = {name: chance.random() < getattr(mix, name) for name in mix.__struct_fields__}
    sizes = {
        "delay_notice_s": round(chance.uniform(*DELAY_NOTICE_S), 3),
        "user_paying_s": round(chance.uniform(*TYPING_S), 3),
    }
    refund_takes_s = round(chance.uniform(*REFUND_TAKES_S), 3)
    amount_minor = chance.randint(1, AMOUNT_MINOR_MAX)
    pay_after_s = round(min(chance.expovariate(1 / PAY_AFTER_S_MEAN), PAY_AFTER_S_MAX), 3)
    channel = next((name for name in _BY_SHARE if hit[name]), "wechat_v3")
    # WeChat's older interface knows nothing but codes that the shop scans.
    is_b2c = hit["b2c"] or channel == "wechat_v2"
    return Wish(
        number=number,
        channel=channel,
        amount_minor=amount_minor,
        is_b2c=is_b2c,
        pays=not hit["unpaid"] or is_b2c,
        pay_after_s=pay_after_s,
        faults=_faults(hit | {"b2c": is_b2c}, sizes),
        refunds_minor=_refunds(hit, amount_minor, chance, is_alone=channel in _ONE_REFUND_A_MINUTE),
        refund_faults=_refund_faults(hit, takes_s=refund_takes_s),
    )


def longest_sooner(wishes: Sequence[Wish]) -> list[Wish]:
    """What takes long among the first half, so that nobody waits for it at the end.

    A refund that is interrupted takes half a minute to come home, a placement without an answer its send window.
    """
    return sorted(wishes, key=lambda wish: wish.number / 2 if wish.refunds_minor or wish.placing else wish.number)


def _refunds(hit: Mapping[str, bool], amount_minor: int, chance: random.Random, *, is_alone: bool) -> tuple[int, ...]:
    """All of it, or a part, or a part and then the rest, unless it must stay alone."""
    part = chance.randint(1, amount_minor)
    is_followed = chance.random() < 1 / 2
    if not hit["refund"]:
        return ()
    if not hit["refund_in_parts"] or part == amount_minor:
        return (amount_minor,)
    return (part, amount_minor - part) if is_followed and not is_alone else (part,)


def _refund_faults(hit: Mapping[str, bool], *, takes_s: float) -> dict[str, Any]:
    faults: dict[str, Any] = {"drop_notice": hit["drop_notice"]}
    if hit["refund_timeout"]:
        faults["timeout_after_charge"] = True
    elif hit["refund_busy"]:
        faults["busy"] = True
    if hit["refund_waits"]:
        faults["refund_takes_s"] = takes_s
    return faults


def _faults(hit: Mapping[str, bool], sizes: Mapping[str, float]) -> dict[str, Any]:
    """At most one kind of notice fault and one kind of lost answer: together they would only hide each other."""
    faults: dict[str, Any] = {}
    if hit["drop_notice"]:
        faults["drop_notice"] = True
    elif hit["double_notice"]:
        faults["double_notice"] = True
    elif hit["delay_notice"]:
        faults["delay_notice_s"] = sizes["delay_notice_s"]
    lost = next((name for name in ("timeout_before_charge", "timeout_after_charge", "busy") if hit[name]), None)
    if lost is not None:
        faults[lost] = True
    if hit["b2c"] and hit["user_paying"]:
        faults["user_paying_s"] = sizes["user_paying_s"]
        faults["user_paying_ends"] = "failed" if hit["user_paying_fails"] else "paid"
    return faults
