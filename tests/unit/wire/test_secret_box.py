import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budan.wire.secret_box import CannotOpen, SecretBox, key_id_of, new_key

OLD, NEW = new_key(), new_key()
CONTEXT = "channel_account/7/api_v3_key"


def box(**keys: str) -> SecretBox:
    return SecretBox(keys, sealing_key_id=next(iter(keys)))


@given(st.binary(max_size=200), st.text(max_size=30))
def test_what_is_sealed_opens_again(plaintext: bytes, context: str) -> None:
    sealed = box(k1=OLD).seal(plaintext, context=context)
    assert box(k1=OLD).open(sealed, context=context) == plaintext


def test_the_same_secret_never_looks_the_same_and_is_not_readable() -> None:
    sealed = {box(k1=OLD).seal(b"merchant secret", context=CONTEXT) for _ in range(100)}
    assert len(sealed) == 100
    assert not any(b"secret" in one for one in sealed)


def test_no_changed_byte_opens() -> None:
    sealed = box(k1=OLD).seal(b"secret", context=CONTEXT)
    for at in range(len(sealed)):
        changed = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        with pytest.raises(CannotOpen):
            box(k1=OLD, k0=OLD, j1=OLD).open(changed, context=CONTEXT)


def test_no_shortened_or_strange_bytes_open() -> None:
    sealed = box(k1=OLD).seal(b"", context=CONTEXT)
    for strange in [sealed[:length] for length in range(len(sealed))] + [sealed + b"x", b"\x01\x00" + b"x" * 40]:
        with pytest.raises(CannotOpen):
            box(k1=OLD).open(strange, context=CONTEXT)


def test_a_secret_moved_to_another_row_does_not_open() -> None:
    sealed = box(k1=OLD).seal(b"secret", context=CONTEXT)
    with pytest.raises(CannotOpen):
        box(k1=OLD).open(sealed, context="channel_account/8/api_v3_key")


def test_another_key_under_the_same_name_does_not_open() -> None:
    sealed = box(k1=OLD).seal(b"secret", context=CONTEXT)
    with pytest.raises(CannotOpen):
        box(k1=NEW).open(sealed, context=CONTEXT)


def test_a_key_is_rotated_without_losing_what_the_old_one_sealed() -> None:
    sealed = box(k1=OLD).seal(b"secret", context=CONTEXT)
    rotated = SecretBox({"k1": OLD, "k2": NEW}, sealing_key_id="k2")
    assert rotated.open(sealed, context=CONTEXT) == b"secret"
    assert not rotated.is_current(sealed)
    again = rotated.seal(rotated.open(sealed, context=CONTEXT), context=CONTEXT)
    assert rotated.is_current(again)
    assert key_id_of(again) == "k2"
    assert box(k2=NEW).open(again, context=CONTEXT) == b"secret"
    with pytest.raises(CannotOpen):
        box(k2=NEW).open(sealed, context=CONTEXT)


@pytest.mark.parametrize(
    "key", ["", "short", "*", base64.b64encode(b"x" * 31).decode(), base64.b64encode(b"x" * 33).decode()]
)
def test_a_key_that_is_not_32_bytes_is_refused_without_being_quoted(key: str) -> None:
    with pytest.raises(ValueError, match="k1") as refusal:
        box(k1=key)
    assert not key or key not in str(refusal.value)


def test_a_key_id_that_cannot_be_written_is_refused() -> None:
    for key_id in ("", "a" * 33, "a b", "密"):
        with pytest.raises(ValueError, match="key id"):
            SecretBox({key_id: OLD}, sealing_key_id=key_id)
    with pytest.raises(ValueError, match="no key"):
        SecretBox({"k1": OLD}, sealing_key_id="k2")
