import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from budan.channels.alipay import mapping as alipay
from budan.channels.alipay.mapping import Proof
from budan.channels.bill_fetching import download, kept_if_fetched, packing_of, second_call
from budan.channels.wechat_v2 import mapping as wechat_v2
from budan.channels.wechat_v3 import mapping as wechat_v3
from budan.channels.wechat_v3.messages import BillPlace, bill_path
from budan.ports.bill import BillAnswer, BillNotYet, BillUnfetched, FetchedBill, NoBill, Packing
from budan.wire.errors import BadAnswer, NoAnswer, NotSent, WireError
from budan.wire.http import BodySink, HttpAnswer, HttpClient
from budan.wire.wechat_v3 import Verdict
from unit.channels.bills import DAY
from unit.channels.builders import a_call

PLACE = {
    "hash_type": "SHA1",
    "hash_value": "a" * 40,
    "download_url": "https://api.mch.weixin.qq.com/v3/billdownload/file?token=1",
}
ALIPAY_CODES = frozenset({"isv.bill_not_exist"})


def wechat_said(status: int, fields: object, verdict: Verdict = Verdict.VALID) -> BillPlace | BillAnswer:
    body = json.dumps(fields).encode()
    return wechat_v3.bill_place(wechat_v3.Said(status=status, body=body, verdict=verdict))


def test_wechat_v3_tells_where_its_bill_lies_and_only_when_signed() -> None:
    assert bill_path(DAY) == "/v3/bill/tradebill?bill_date=2026-01-01&bill_type=ALL&tar_type=GZIP"
    place = wechat_said(200, PLACE)
    assert isinstance(place, BillPlace)
    assert place.hash_value == "a" * 40
    for verdict in set(Verdict) - {Verdict.VALID}:
        assert isinstance(wechat_said(200, PLACE, verdict), BillUnfetched)
    for spoilt in ({"hash_type": "MD5"}, {"hash_value": "a" * 39}, {"download_url": 1}):
        with pytest.raises(BadAnswer):
            wechat_said(200, PLACE | spoilt)


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (400, "NO_STATEMENT_EXIST", NoBill),
        (400, "NOSTATEMENTEXIST", NoBill),
        (400, "STATEMENT_CREATING", BillNotYet),
        (429, "FREQUENCY_LIMITED", BillNotYet),
        (400, "INVALID_REQUEST", BillUnfetched),
        (500, "SYSTEM_ERROR", BillUnfetched),
        (401, "SIGN_ERROR", BillUnfetched),
    ],
)
def test_wechat_v3_tells_why_there_is_no_bill(status: int, code: str, expected: type[BillAnswer]) -> None:
    for verdict in (Verdict.VALID, Verdict.UNSIGNED):
        assert isinstance(wechat_said(status, {"code": code, "message": "x"}, verdict), expected)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"return_msg": "No Bill Exist", "error_code": "20002"}, NoBill),
        ({"return_msg": "No Bill Exist"}, NoBill),
        ({"return_msg": "Bill Creating"}, BillNotYet),
        ({"return_msg": "CompressGZip Error"}, BillUnfetched),
        ({"return_msg": "签名错误"}, BillUnfetched),
        ({}, BillUnfetched),
    ],
)
def test_wechat_v2_tells_why_there_is_no_bill(fields: dict[str, str], expected: type[BillAnswer]) -> None:
    assert isinstance(wechat_v2.bill_refused({"return_code": "FAIL", **fields}), expected)


def alipay_said(fields: dict[str, str], proof: Proof = Proof.VALID) -> object:
    return alipay.bill_place(alipay.Said(payload=fields, proof=proof), not_found_codes=ALIPAY_CODES)


def test_alipay_tells_where_its_bill_lies_or_why_there_is_none() -> None:
    """An address that Alipay did not sign may be anybody's, and "nothing moved" without a signature says nothing."""
    done = {"code": "10000", "msg": "Success", "bill_download_url": "https://dwbillcenter.alipay.com/x"}
    none = {"code": "40004", "msg": "Business Failed", "sub_code": "isv.bill_not_exist"}
    assert not isinstance(alipay_said(done), BillUnfetched)
    assert isinstance(alipay_said(none), NoBill)
    for proof in (Proof.UNSIGNED, Proof.WRONG):
        assert isinstance(alipay_said(done, proof), BillUnfetched)
        assert isinstance(alipay_said(none, proof), BillUnfetched)
    assert isinstance(alipay_said(none | {"sub_code": "USER_RATE_LIMIT"}), BillNotYet)
    assert isinstance(alipay_said({"code": "40005", "msg": "call limited"}, Proof.UNSIGNED), BillNotYet)
    assert isinstance(alipay_said(none | {"sub_code": "isv.invalid_arguments"}), BillUnfetched)
    with pytest.raises(BadAnswer):
        alipay_said({"code": "10000", "msg": "Success"})


async def test_a_file_stays_only_with_a_bill(tmp_path: Path) -> None:
    into = tmp_path / "bill"

    async def attempt(answer: BillAnswer | WireError) -> BillAnswer:
        into.write_bytes(b"half")
        if isinstance(answer, WireError):
            raise answer
        return answer

    for failure in (NotSent("x"), NoAnswer("x"), BadAnswer("x"), NoBill(code="x"), BillNotYet(code="x")):
        answer = await kept_if_fetched(into, lambda failure=failure: attempt(failure))
        assert not into.exists()
        if isinstance(failure, WireError):
            assert isinstance(answer, BillUnfetched)
            assert answer.sent is not isinstance(failure, NotSent)
    fetched = FetchedBill(path=into, packing=Packing.PLAIN)
    assert await kept_if_fetched(into, lambda: attempt(fetched)) is fetched
    assert into.exists()


def test_the_second_call_has_another_nonce_and_the_time_that_is_left() -> None:
    later = second_call(a_call(), ends_s=10.0, monotonic_s=lambda: 4.0)
    assert (later.deadline_s, later.send_before_s) == (6.0, None)
    assert later.nonce != a_call().nonce
    assert second_call(a_call(), ends_s=3.0, monotonic_s=lambda: 4.0).deadline_s == timedelta(0).total_seconds()


def test_a_files_packing_is_seen_by_its_own_mark() -> None:
    assert [packing_of(head) for head in (b"\x1f\x8b\x08", b"PK\x03\x04", b"\xef\xbb\xbf", b"")] == [
        Packing.GZIP,
        Packing.ZIP,
        Packing.PLAIN,
        Packing.PLAIN,
    ]


class FillingHttp:
    """Sends two parts of a body; the disk fills up between them, and the client says so as it says of any file."""

    def __init__(self, fill: Callable[[], None]) -> None:
        self._fill = fill
        self.requests = 0

    async def request(self, *, body_to: BodySink | None = None, **_: Any) -> HttpAnswer:
        """See HttpClient.request."""
        self.requests += 1
        assert body_to is not None
        body_to(b"part")
        self._fill()
        try:
            body_to(b"part")
        except OSError as error:
            raise BadAnswer("answer's body could not be kept") from error
        return HttpAnswer(status=200, headers={}, body=b"")


async def test_a_download_stops_where_the_disk_has_nothing_left_but_its_reserve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk stops the database beside it; nothing is asked for where there is no room from the first."""
    into = tmp_path / "bill"
    http = FillingHttp(lambda: monkeypatch.setattr("budan.ports.bill.DISK_RESERVE_BYTES", 2**62))

    async def attempt() -> BillAnswer:
        await download(
            cast("HttpClient", http),
            method="GET",
            url="https://x/",
            headers={},
            body=b"",
            into=into,
            call=a_call(),
            monotonic_s=lambda: 0.0,
        )
        return FetchedBill(path=into, packing=Packing.PLAIN)

    for sent in (True, False):
        answer = await kept_if_fetched(into, attempt)
        assert isinstance(answer, BillUnfetched)
        assert (answer.code, answer.sent, http.requests) == ("bill_no_room", sent, 1)
        assert not into.exists()
