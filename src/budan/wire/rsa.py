"""RSA signatures (PKCS#1 v1.5 with SHA-256) as WeChat Pay and Alipay use them, and a count of those made."""

import asyncio
import base64
import binascii
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

# OpenSSL can be asked by many threads; the objects hold no state of a single signature.
_PADDING: Final = padding.PKCS1v15()
_SHA256: Final = hashes.SHA256()
_KEY_BITS_MIN: Final = 2048
# Nobody waits longer than 16 signatures and what the loop does between them.
TURNS_WAITED_MAX: Final = 16
# Nobody waits longer for a thread's answer than eight signatures, 2.5 ms.
PART_MAX: Final = 8


class BadKey(ValueError):  # noqa: N818 - named like the three of wire.errors
    """A key text that is not the kind of RSA key that was asked for; the message never quotes the text."""


@dataclass(slots=True)
class SignatureCounters:
    """How many signatures this process made and checked since it started."""

    signed: int = 0
    checked: int = 0

    def snapshot(self) -> tuple[int, int]:
        """(signed, checked) at this moment."""
        return self.signed, self.checked


counters: Final = SignatureCounters()


def load_private_key(text: str) -> RSAPrivateKey:
    """The private key in PEM, or in the bare base64 of PKCS#8 or PKCS#1 DER that the channels' portals hand out.

    Costs about 35 ms, because the key's primes are checked: load a key once and keep the object.
    """
    try:
        if text.lstrip().startswith("-----"):
            key = serialization.load_pem_private_key(text.strip().encode(), password=None)
        else:
            key = serialization.load_der_private_key(_der(text), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadKey("private key is not PEM, PKCS#8 or PKCS#1") from error
    if not isinstance(key, RSAPrivateKey):
        raise BadKey("private key is not RSA")
    _refuse_weak(key.key_size)
    return key


def load_public_key(text: str) -> RSAPublicKey:
    """The public key in PEM or in the bare base64 of SPKI DER."""
    try:
        if text.lstrip().startswith("-----"):
            key = serialization.load_pem_public_key(text.strip().encode())
        else:
            key = serialization.load_der_public_key(_der(text))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadKey("public key is not PEM or SPKI") from error
    if not isinstance(key, RSAPublicKey):
        raise BadKey("public key is not RSA")
    _refuse_weak(key.key_size)
    return key


def sign_sha256(private_key: RSAPrivateKey, signed: bytes) -> str:
    """The base64 signature of `signed`; deterministic, so the same bytes give the same text."""
    counters.signed += 1
    return _signature(private_key, signed)


def verify_sha256(public_key: RSAPublicKey, signed: bytes, signature_b64: str) -> bool:
    """True only if the signature is that of `signed` under this key; never raises for what a stranger sent."""
    counters.checked += 1
    try:
        # Without validate=True strange characters are skipped, and many texts would pass as one signature.
        signature = base64.b64decode(signature_b64, validate=True)
        public_key.verify(signature, signed, _PADDING, _SHA256)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def _der(text: str) -> bytes:
    return base64.b64decode("".join(text.split()), validate=True)


def _refuse_weak(key_bits: int) -> None:
    if key_bits < _KEY_BITS_MIN:
        raise BadKey(f"RSA key has {key_bits} bits, {_KEY_BITS_MIN} is the least")


def _signature(private_key: RSAPrivateKey, signed: bytes) -> str:
    return base64.b64encode(private_key.sign(signed, _PADDING, _SHA256)).decode("ascii")


# A text to sign, and who waits for it.
_Wanted = tuple[RSAPrivateKey, bytes, "asyncio.Future[str]"]


def _sign_part(part: Sequence[_Wanted]) -> list[str | Exception]:
    """In a thread; the futures are the loop's and not looked at here. A text whose key raises has the error in its place."""
    made: list[str | Exception] = []
    for private_key, signed, _ in part:
        try:
            made.append(_signature(private_key, signed))
        except Exception as error:  # noqa: BLE001 - top of a thread: who wants this text hears it
            made.append(error)
    return made


def _give_part(part: Sequence[_Wanted], made: asyncio.Future[list[str | Exception]]) -> None:
    error = RuntimeError("signer is closed") if made.cancelled() else made.exception()
    if error is not None:
        _refuse_part(part, error)
        return
    for (_, _, waiting), signature in zip(part, made.result(), strict=True):
        if waiting.done():
            continue
        if isinstance(signature, Exception):
            waiting.set_exception(signature)
        else:
            waiting.set_result(signature)


def _refuse_part(part: Sequence[_Wanted], error: BaseException) -> None:
    for _, _, waiting in part:
        if not waiting.done():
            waiting.set_exception(error)


class Signer:
    """Signs without holding the event loop longer than one signature per turn; belongs to one event loop.

    A signature costs 0.28 ms and releases the GIL; handing it to a thread costs 0.06 to 0.14 ms of CPU more, and while
    threads sign, each call into the kernel of the loop's own thread waits for the GIL. So the loop signs one each turn,
    and up to `TURNS_WAITED_MAX` wait for their turn. Only what comes above that, when the loop is behind, goes to
    threads, which use another core: all of a turn together, in parts of `PART_MAX`, so that one hand-over pays for many.
    Checking costs 0.02 ms and waits for nothing.
    """

    __slots__ = ("_crowd", "_is_turn_taken", "_pool", "_waiting")

    def __init__(self, *, threads: int) -> None:
        assert threads > 0
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="sign")
        self._is_turn_taken = False
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._crowd: list[_Wanted] = []

    async def sign_sha256(self, private_key: RSAPrivateKey, signed: bytes) -> str:
        """What `sign_sha256` of this module gives."""
        loop = asyncio.get_running_loop()
        if not self._is_turn_taken:
            self._is_turn_taken = True
            loop.call_soon(self._next_turn, loop)
        elif len(self._waiting) < TURNS_WAITED_MAX:
            turn: asyncio.Future[None] = loop.create_future()
            self._waiting.append(turn)
            await turn
        else:
            return await self._join_crowd(private_key, signed, loop)
        return sign_sha256(private_key, signed)

    def close(self) -> None:
        """Lets running signatures end and takes no more."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def _join_crowd(self, private_key: RSAPrivateKey, signed: bytes, loop: asyncio.AbstractEventLoop) -> str:
        # Counted here: the counters belong to the loop's thread.
        counters.signed += 1
        if not self._crowd:
            loop.call_soon(self._hand_over, loop)
        signature: asyncio.Future[str] = loop.create_future()
        self._crowd.append((private_key, signed, signature))
        return await signature

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        crowd, self._crowd = self._crowd, []
        for first in range(0, len(crowd), PART_MAX):
            part = crowd[first : first + PART_MAX]
            try:
                made = loop.run_in_executor(self._pool, _sign_part, part)
            except RuntimeError as error:
                # Closed since they came: nobody may wait for ever.
                _refuse_part(part, error)
            else:
                made.add_done_callback(partial(_give_part, part))

    def _next_turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """A new turn of the loop: it is the oldest's who still waits, or free."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                loop.call_soon(self._next_turn, loop)
                return
        self._is_turn_taken = False
