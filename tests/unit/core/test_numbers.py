from collections import Counter
from datetime import UTC, date, datetime, timedelta

import pytest

from budan.core.numbers import (
    ALPHABET,
    ID_EPOCH,
    LANES_MAX,
    MERCHANT_ID_MAX,
    NUMBER_LENGTH,
    ORDINAL_MAX,
    PROCESS_NUMBERS,
    BadNumber,
    Environment,
    Lane,
    MerchantId,
    Number,
    NumberKind,
    OrderId,
    beijing_day,
    id_floor,
    lane_of,
    next_id,
    parse_number,
    render_number,
)
from builders import ORDER_ID, a_number, made_at

SAMPLES = [
    a_number(),
    a_number(ordinal=ORDINAL_MAX, environment=Environment.LIVE),
    a_number(kind=NumberKind.REFUND, ordinal=3, environment=Environment.LOCAL),
    a_number(lane=Lane(LANES_MAX - 1), merchant_id=MerchantId(MERCHANT_ID_MAX)),
    a_number(lane=Lane(0), merchant_id=MerchantId(1), order_id=OrderId(1)),
]


@pytest.mark.parametrize("number", SAMPLES)
def test_a_number_reads_back_as_it_was_written(number: Number) -> None:
    text = render_number(number)
    assert len(text) == NUMBER_LENGTH
    assert set(text) <= set(ALPHABET)
    assert parse_number(text) == number


@pytest.mark.invariant("I13")
def test_the_first_character_tells_environment_and_kind() -> None:
    leads = {
        (environment, kind): render_number(a_number(environment=environment, kind=kind))[0]
        for environment in Environment
        for kind in NumberKind
    }
    assert leads == {
        (Environment.LOCAL, NumberKind.ORDER): "D",
        (Environment.LOCAL, NumberKind.REFUND): "E",
        (Environment.LOCAL, NumberKind.SETTLEMENT): "F",
        (Environment.TEST, NumberKind.SETTLEMENT): "W",
        (Environment.LIVE, NumberKind.SETTLEMENT): "S",
        (Environment.TEST, NumberKind.ORDER): "T",
        (Environment.TEST, NumberKind.REFUND): "V",
        (Environment.LIVE, NumberKind.ORDER): "P",
        (Environment.LIVE, NumberKind.REFUND): "R",
    }


def test_the_day_is_beijings() -> None:
    late = datetime(2026, 3, 31, 16, 30, tzinfo=UTC)
    number = a_number(order_id=OrderId(id_floor(late)))
    assert render_number(number)[1:7] == "260401"
    assert beijing_day(late) == date(2026, 4, 1)
    assert beijing_day(late - timedelta(minutes=31)) == date(2026, 3, 31)


@pytest.mark.parametrize("number", SAMPLES)
def test_every_single_wrong_character_is_found(number: Number) -> None:
    text = render_number(number)
    for at, right in enumerate(text):
        for wrong in ALPHABET:
            if wrong != right:
                with pytest.raises(BadNumber):
                    parse_number(text[:at] + wrong + text[at + 1 :])


@pytest.mark.parametrize("number", SAMPLES)
def test_every_swap_of_two_neighbours_is_found(number: Number) -> None:
    text = render_number(number)
    for at in range(NUMBER_LENGTH - 1):
        if text[at] != text[at + 1]:
            with pytest.raises(BadNumber):
                parse_number(text[:at] + text[at + 1] + text[at] + text[at + 2 :])


def test_a_body_has_exactly_one_check_character() -> None:
    body = render_number(a_number())[:-1]
    good = []
    for check in ALPHABET:
        try:
            good.append(parse_number(body + check))
        except BadNumber:
            continue
    assert good == [a_number()]


@pytest.mark.parametrize(
    "body",
    [
        "X" + render_number(a_number())[1:-1],  # no environment of ours
        "T260106" + render_number(a_number())[7:-1],  # the id was made the day before
        "T260105" + "20" + render_number(a_number())[9:-1],  # lane 64
        "T260105" + "00" + "000000" + render_number(a_number())[15:-1],  # merchant 0
        "T250101" + "00" + "000001" + "0" * 13 + "0",  # order 0
        "T260105" + "00" + "000001" + "Z" * 13 + "0",  # an id that no bigint holds
    ],
)
def test_a_number_whose_parts_cannot_be_is_refused_whatever_its_check_character(body: str) -> None:
    for check in ALPHABET:
        with pytest.raises(BadNumber):
            parse_number(body + check)


@pytest.mark.parametrize(
    "text",
    [
        "",
        render_number(a_number())[:-1],
        render_number(a_number()) + "0",
        render_number(a_number()).lower(),
        render_number(a_number()).replace("0", "O"),
        "订" * NUMBER_LENGTH,
        "'; drop table orders; --".ljust(NUMBER_LENGTH, "0"),
    ],
)
def test_a_text_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(BadNumber):
        parse_number(text)


def test_a_lane_never_changes() -> None:
    """Rows are found by it for as long as the database lives, so these values are promises."""
    assert [lane_of(MerchantId(merchant), lanes=64) for merchant in (1, 2, 3, 42, 1_000, MERCHANT_ID_MAX)] == LANES_64
    assert [lane_of(MerchantId(merchant), lanes=8) for merchant in (1, 2, 3, 42, 1_000, MERCHANT_ID_MAX)] == LANES_8
    assert lane_of(MerchantId(42), lanes=1) == 0


LANES_64 = [39, 15, 54, 61, 2, 40]
LANES_8 = [4, 1, 6, 7, 0, 5]


@pytest.mark.parametrize("lanes", [1, 2, 3, 8, 64])
def test_merchants_of_one_age_spread_evenly_over_the_lanes(lanes: int) -> None:
    merchants = 6_400
    counts = Counter(lane_of(MerchantId(merchant), lanes=lanes) for merchant in range(1, merchants + 1))
    assert set(counts) == set(range(lanes))
    assert max(counts.values()) - min(counts.values()) <= merchants / lanes / 10 + 1


NOW_MS = int(datetime(2026, 1, 5, tzinfo=UTC).timestamp() * 1_000)


def test_ids_of_one_millisecond_count_up_and_then_run_ahead_of_the_clock() -> None:
    ids = [next_id(previous=0, now_ms=NOW_MS, process_number=9)]
    while len(ids) < 4_097:
        ids.append(next_id(previous=ids[-1], now_ms=NOW_MS, process_number=9))
    assert ids == sorted(set(ids))
    assert {identity >> 12 & (PROCESS_NUMBERS - 1) for identity in ids} == {9}
    first = made_at(ids[0])
    assert [made_at(identity) for identity in ids[-2:]] == [first, first + timedelta(milliseconds=1)]


def test_two_processes_never_make_the_same_id() -> None:
    ids = [next_id(previous=0, now_ms=NOW_MS, process_number=number) for number in range(PROCESS_NUMBERS)]
    assert len(set(ids)) == PROCESS_NUMBERS


def test_an_id_tells_when_it_was_made_and_its_floor_bounds_it() -> None:
    moment = datetime.fromtimestamp(NOW_MS / 1_000, UTC)
    identity = next_id(previous=0, now_ms=NOW_MS, process_number=PROCESS_NUMBERS - 1)
    assert made_at(identity) == moment
    assert id_floor(moment) <= identity < id_floor(moment + timedelta(milliseconds=1))
    assert id_floor(ID_EPOCH - timedelta(days=1)) == 0
    assert made_at(ORDER_ID) == datetime(2026, 1, 5, 4, 0, tzinfo=UTC)
