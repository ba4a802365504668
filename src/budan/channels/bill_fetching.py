"""A bill's way from a channel into a file: bounded, within its deadline, and nothing left of it where it failed."""

import asyncio
import errno
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, Final

from msgspec.structs import replace

from budan.channels.send_window import send_within_s
from budan.channels.silence import silent_bill_answer
from budan.ports.bill import BILL_FAULTS, BillAnswer, BillUnfetched, FetchedBill, Packing, room_on_disk
from budan.ports.channel import Call
from budan.wire.errors import BadAnswer, WireError
from budan.wire.http import HttpClient

# Forty million rows of WeChat's are 2 GB in GZIP; plain, they are asked for by nobody.
BILL_BYTES_MAX: Final = 4 * 2**30
FETCH_TIMEOUT: Final = timedelta(minutes=10)
# Three months at each of them (docs/protocols).
KEPT: Final = timedelta(days=90)
# A refusal in place of a file is a few lines.
HEAD_BYTES: Final = 65_536
HTTP_OK: Final = 200

_GZIP_MARK: Final = b"\x1f\x8b"
_ZIP_MARK: Final = b"PK"


class _NoRoom(Exception):  # noqa: N818 - an outcome of fetching, told as one
    def __init__(self, *, sent: bool) -> None:
        super().__init__()
        self.sent = sent


class _Sink:
    """A file that grows while the disk has room beside its reserve."""

    def __init__(self, file: BinaryIO, folder: Path) -> None:
        self._file = file
        self._folder = folder
        self.is_full = False

    def write(self, body: bytes) -> None:
        """As a file's; an OSError is what the client takes for the end of it."""
        if room_on_disk(self._folder) < len(body):
            self.is_full = True
            raise OSError(errno.ENOSPC, "the disk's reserve is reached")
        self._file.write(body)


async def kept_if_fetched(into: Path, attempt: Callable[[], Awaitable[BillAnswer]]) -> BillAnswer:
    """What the attempt says, silence included; the file stays with a `FetchedBill` only."""
    answer: BillAnswer = BillUnfetched(code="cancelled")
    try:
        answer = await attempt()
    except WireError as error:
        answer = silent_bill_answer(error)
    except _NoRoom as error:
        answer = BillUnfetched(
            code=BILL_FAULTS["no_room"], message="the disk has nothing left but its reserve", sent=error.sent
        )
    finally:
        # A caller that gave up, too, leaves no half of a file behind.
        if not isinstance(answer, FetchedBill):
            _forget(into)
    return answer


async def download(
    http: HttpClient,
    *,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    into: Path,
    call: Call,
    monotonic_s: Callable[[], float],
) -> int:
    """Brings an answer's body into the file and returns its HTTP status; raises the errors of `HttpClient.request`.

    Within `kept_if_fetched`, a disk without room is `bill_no_room`: before the request, or where it fills up meanwhile.
    """
    if not room_on_disk(into.parent):
        raise _NoRoom(sent=False)
    with await asyncio.to_thread(into.open, "wb") as file:
        sink = _Sink(file, into.parent)
        try:
            answer = await http.request(
                method=method,
                url=url,
                headers=headers,
                body=body,
                timeout_s=call.deadline_s,
                body_bytes_max=BILL_BYTES_MAX,
                send_within_s=send_within_s(call, monotonic_s=monotonic_s),
                body_to=sink.write,
            )
        except BadAnswer as error:
            if sink.is_full:
                raise _NoRoom(sent=True) from error
            raise
    return answer.status


def _forget(path: Path) -> None:
    path.unlink(missing_ok=True)


def head_of(path: Path) -> bytes:
    """The file's first bytes, by which a refusal is told from a bill."""
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def packing_of(head: bytes) -> Packing:
    """How the file is packed, by its own mark: a channel may leave a small one plain."""
    if head.startswith(_GZIP_MARK):
        return Packing.GZIP
    return Packing.ZIP if head.startswith(_ZIP_MARK) else Packing.PLAIN


def second_call(call: Call, *, ends_s: float, monotonic_s: Callable[[], float]) -> Call:
    """The call that brings the file, after the one that told where it is: another nonce, and the time that is left."""
    nonce = hashlib.sha256(call.nonce.encode()).hexdigest()[:32].upper()
    return replace(call, nonce=nonce, deadline_s=max(0.0, ends_s - monotonic_s()), send_before_s=None)


def http_failure(status: int) -> BillUnfetched:
    """A file that came with another status than 200 is none."""
    return BillUnfetched(code=f"http_{status}")
