import asyncio
import base64
from typing import cast

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key

from budan.wire import rsa

PEM = serialization.Encoding.PEM
DER = serialization.Encoding.DER
NO_PASSWORD = serialization.NoEncryption()


def same_key(one: RSAPrivateKey, other: RSAPrivateKey) -> bool:
    return one.private_numbers() == other.private_numbers()


@pytest.mark.parametrize("form", [serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL])
def test_a_private_key_loads_from_pem_and_from_wrapped_base64(
    merchant_private: RSAPrivateKey, form: serialization.PrivateFormat
) -> None:
    pem = merchant_private.private_bytes(PEM, form, NO_PASSWORD).decode()
    der = base64.encodebytes(merchant_private.private_bytes(DER, form, NO_PASSWORD)).decode()
    assert same_key(rsa.load_private_key("\n" + pem), merchant_private)
    assert same_key(rsa.load_private_key(der), merchant_private)


def test_a_public_key_loads_from_pem_and_base64(merchant_private: RSAPrivateKey, merchant_public: RSAPublicKey) -> None:
    pem = merchant_public.public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    assert rsa.load_public_key(pem).public_numbers() == merchant_public.public_numbers()
    assert merchant_private.public_key().public_numbers() == merchant_public.public_numbers()


@pytest.mark.parametrize(
    "text", ["", "not base64 !", "AAAA", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "密钥"]
)
def test_a_text_that_is_no_key_is_refused_without_being_quoted(text: str) -> None:
    for load in (rsa.load_private_key, rsa.load_public_key):
        with pytest.raises(rsa.BadKey) as refusal:
            load(text)
        assert not text or text not in str(refusal.value)


def test_a_key_of_another_kind_or_too_short_is_refused() -> None:
    curve = ec.generate_private_key(ec.SECP256R1())
    short = generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - the key that must be refused
    for key in (curve, short):
        with pytest.raises(rsa.BadKey):
            rsa.load_private_key(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, NO_PASSWORD).decode())
        with pytest.raises(rsa.BadKey):
            rsa.load_public_key(
                key.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
            )


@pytest.mark.parametrize("signature", ["", "=", "A", "AAAA", "签名", "AA==\n", "\udcff", "A" * 100_000])
def test_a_signature_that_cannot_be_one_is_false_and_no_exception(
    merchant_public: RSAPublicKey, signature: str
) -> None:
    assert rsa.verify_sha256(merchant_public, b"text", signature) is False


def test_one_signature_has_one_spelling(merchant_private: RSAPrivateKey, merchant_public: RSAPublicKey) -> None:
    """Were blanks skipped, a replay could pass as a new message where signatures are compared."""
    signature = rsa.sign_sha256(merchant_private, b"text")
    assert rsa.verify_sha256(merchant_public, b"text", signature)
    assert not rsa.verify_sha256(merchant_public, b"text", signature + "\n")
    assert not rsa.verify_sha256(merchant_public, b"text", signature[:10] + " " + signature[10:])


def test_the_signer_makes_in_a_burst_what_the_plain_call_makes(merchant_private: RSAPrivateKey) -> None:
    texts = [str(number).encode() for number in range(20)]

    async def burst() -> list[str]:
        signer = rsa.Signer(threads=2)
        try:
            return await asyncio.gather(*(signer.sign_sha256(merchant_private, text) for text in texts))
        finally:
            signer.close()

    assert asyncio.run(burst()) == [rsa.sign_sha256(merchant_private, text) for text in texts]


def test_each_signature_made_or_checked_is_counted_once(
    merchant_private: RSAPrivateKey, merchant_public: RSAPublicKey
) -> None:
    """`budan bench` multiplies these counts by their cost."""

    async def burst() -> None:
        signer = rsa.Signer(threads=2)
        try:
            await asyncio.gather(*(signer.sign_sha256(merchant_private, b"x") for _ in range(9)))
        finally:
            signer.close()

    signed, checked = rsa.counters.snapshot()
    asyncio.run(burst())
    rsa.sign_sha256(merchant_private, b"x")
    rsa.verify_sha256(merchant_public, b"x", "bad")
    assert rsa.counters.snapshot() == (signed + 10, checked + 1)


def test_a_crowd_that_threads_sign_for_loses_nobody_but_who_went_away(merchant_private: RSAPrivateKey) -> None:
    """One hand-over serves many, and a caller that gave up must not take the others' signatures along."""
    crowd = rsa.TURNS_WAITED_MAX + 2 * rsa.PART_MAX + 3
    texts = [str(number).encode() for number in range(crowd)]

    async def burst() -> list[str | BaseException]:
        signer = rsa.Signer(threads=2)
        tasks = [asyncio.create_task(signer.sign_sha256(merchant_private, text)) for text in texts]
        await asyncio.sleep(0)
        tasks[-2].cancel()
        signatures = await asyncio.gather(*tasks, return_exceptions=True)
        signer.close()
        return signatures

    *made, gone, last = asyncio.run(burst())
    assert isinstance(gone, asyncio.CancelledError)
    assert [*made, last] == [rsa.sign_sha256(merchant_private, text) for text in (*texts[:-2], texts[-1])]


class _BrokenKey:
    def sign(self, *_: object) -> bytes:
        raise ValueError("this key signs nothing")


def test_a_key_that_cannot_sign_costs_the_crowd_nothing(merchant_private: RSAPrivateKey) -> None:
    """The crowd is of all accounts: one with a broken key must not stop another's orders."""
    texts = [str(number).encode() for number in range(rsa.TURNS_WAITED_MAX + rsa.PART_MAX)]
    broken_at = len(texts) - 3

    async def burst() -> list[str | BaseException]:
        signer = rsa.Signer(threads=1)
        keys = [merchant_private] * len(texts)
        keys[broken_at] = cast("RSAPrivateKey", _BrokenKey())
        wanted = (signer.sign_sha256(key, text) for key, text in zip(keys, texts, strict=True))
        signatures = await asyncio.gather(*wanted, return_exceptions=True)
        signer.close()
        return signatures

    made = asyncio.run(burst())
    assert str(made.pop(broken_at)) == "this key signs nothing"
    texts.pop(broken_at)
    assert made == [rsa.sign_sha256(merchant_private, text) for text in texts]


def test_a_signer_that_is_closed_leaves_nobody_waiting(merchant_private: RSAPrivateKey) -> None:
    """A worker that stops would else hang in what it was about to send."""

    async def close_on_a_crowd() -> list[str | BaseException]:
        signer = rsa.Signer(threads=1)
        crowd = rsa.TURNS_WAITED_MAX + 2
        tasks = [asyncio.create_task(signer.sign_sha256(merchant_private, b"x")) for _ in range(crowd)]
        await asyncio.sleep(0)
        signer.close()
        async with asyncio.timeout(5):
            return await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(each) for each in asyncio.run(close_on_a_crowd())[-1:]] == [RuntimeError]


def test_no_turn_of_the_loop_has_two_signatures_and_who_went_away_leaves_its_turn(
    merchant_private: RSAPrivateKey,
) -> None:
    """Else a burst would hold everybody else on the loop for as long as all of it takes."""

    async def burst() -> list[int]:
        signer = rsa.Signer(threads=1)
        turn, made = 0, list[int]()

        def count_turn() -> None:
            nonlocal turn
            turn += 1
            asyncio.get_running_loop().call_soon(count_turn)

        async def sign() -> None:
            await signer.sign_sha256(merchant_private, b"x")
            made.append(turn)

        count_turn()
        tasks = [asyncio.create_task(sign()) for _ in range(rsa.TURNS_WAITED_MAX)]
        await asyncio.sleep(0)
        tasks[3].cancel()
        await asyncio.wait(tasks)
        signer.close()
        return made

    made = asyncio.run(burst())
    assert len(made) == rsa.TURNS_WAITED_MAX - 1
    assert len(set(made)) == len(made)
