"""A failing seed is worth something only if it fails again: orders must not depend on what happens meanwhile."""

from collections import Counter

import pytest

from budan.proof.drawing import Mix, MixUnreadable, Wish, draw, longest_sooner, parse_mix, with_notice_faults

MANY = 2_000


def drawn(mix: Mix, *, seed: int = 1, count: int = MANY) -> list[Wish]:
    return [draw(mix, seed=seed, number=number) for number in range(count)]


def test_the_same_seed_draws_the_same_orders_one_by_one_and_in_any_order() -> None:
    forwards = drawn(Mix())
    assert [draw(Mix(), seed=1, number=number) for number in reversed(range(MANY))] == forwards[::-1]
    assert drawn(Mix(), seed=2) != forwards


def test_what_takes_long_is_sold_in_the_first_half_and_nothing_else_changes() -> None:
    """A default run may take 50 s, and a refund that was interrupted takes half a minute to come home."""
    wishes = drawn(Mix(), count=200)
    sold = longest_sooner(wishes)
    assert sorted(sold, key=lambda wish: wish.number) == wishes
    late = [wish for wish in sold[len(sold) * 2 // 3 :] if wish.refunds_minor or wish.placing]
    assert late == []
    assert any(wish.refunds_minor for wish in sold)
    assert any(wish.placing for wish in sold)


def test_another_share_of_one_fault_moves_no_other() -> None:
    """Whoever looks for a bug takes faults away until it is gone."""
    with_drops, without = drawn(Mix(drop_notice=0.3)), drawn(Mix(drop_notice=0))
    assert [(one.channel, one.amount_minor, one.pays, one.pay_after_s) for one in with_drops] == [
        (one.channel, one.amount_minor, one.pays, one.pay_after_s) for one in without
    ]
    assert [one.placing for one in with_drops if not one.is_b2c] == [one.placing for one in without if not one.is_b2c]


def test_shares_are_what_was_asked_for() -> None:
    met = Counter(name for wish in drawn(with_notice_faults(Mix(), 0.5)) for name in wish.faults)
    assert 0.4 < (met["drop_notice"] + met["double_notice"] + met["delay_notice_s"]) / MANY < 0.55
    assert not any(wish.faults for wish in drawn(parse_mix(QUIET, mix=with_notice_faults(Mix(), 0))))


def test_what_goes_back_is_never_more_than_what_came() -> None:
    refunded = [wish for wish in drawn(Mix(refund=0.5)) if wish.refunds_minor]
    assert 0.45 < len(refunded) / MANY < 0.55
    assert all(0 < sum(wish.refunds_minor) <= wish.amount_minor and min(wish.refunds_minor) > 0 for wish in refunded)
    assert {len(wish.refunds_minor) for wish in refunded} == {1, 2}
    assert any(sum(wish.refunds_minor) < wish.amount_minor for wish in refunded)


def test_every_channel_is_drawn_and_only_by_what_it_can_do() -> None:
    wishes = drawn(Mix())
    assert {wish.channel for wish in wishes} == {"wechat_v3", "alipay", "swiftpass", "ipaynow", "wechat_v2"}
    assert all(wish.is_b2c and wish.pays for wish in wishes if wish.channel == "wechat_v2")


QUIET = "timeout_before_charge=0,timeout_after_charge=0,busy=0,user_paying=0"


@pytest.mark.parametrize("text", ["thunder=0.1", "unpaid", "unpaid=much", "unpaid=1.5", "unpaid=-0.1", "unpaid=nan"])
def test_a_mix_that_nothing_can_meet_is_refused(text: str) -> None:
    with pytest.raises(MixUnreadable):
        parse_mix(text, mix=Mix())
