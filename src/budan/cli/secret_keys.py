"""The keys of this instance: from settings, or made once and kept in its folder."""

import base64
import binascii
import os
import secrets
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from budan.cli.settings import Settings
from budan.core.errors import Refused
from budan.wire.secret_box import SecretBox, new_key

FILE_NAME = "secrets.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceKeys:
    """What seals secrets at rest and what signs cashier addresses."""

    box: SecretBox = field(repr=False)
    cashier_key: bytes = field(repr=False)


def load_keys(settings: Settings) -> InstanceKeys:
    """The keys of settings; where they are empty those in the folder, made there (mode 0600) on first use.

    Two processes that start at once get the same file: it is linked into place, and the first one wins. Raises `Refused`
    with `setting_malformed` or `secrets_unreadable`.
    """
    keys_text, cashier_text = settings.text("secret_keys"), settings.text("cashier_key")
    if not keys_text or not cashier_text:
        kept = _read_or_make(settings.folder / FILE_NAME)
        keys_text, cashier_text = keys_text or kept["secret_keys"], cashier_text or kept["cashier_key"]
    pairs = [part.strip().partition("=") for part in keys_text.split(",")]
    try:
        box = SecretBox({name: key for name, _, key in pairs}, sealing_key_id=pairs[0][0])
        cashier_key = base64.b64decode(cashier_text, validate=True)
    except (ValueError, AssertionError, binascii.Error) as error:
        raise Refused("setting_malformed", param="secret_keys", detail="id=base64 of 32 bytes, …") from error
    return InstanceKeys(box=box, cashier_key=cashier_key)


def _read_or_make(path: Path) -> dict[str, str]:
    if not path.exists():
        _make(path)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        return {"secret_keys": str(content["secret_keys"]), "cashier_key": str(content["cashier_key"])}
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        raise Refused("secrets_unreadable", param=str(path), detail=str(error)) from error


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cashier = base64.b64encode(secrets.token_bytes(32)).decode()
    text = f'# Made on first use. Losing it loses every sealed secret.\nsecret_keys = "k1={new_key()}"\ncashier_key = "{cashier}"\n'
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        # Another process was first; its keys are everybody's.
        pass
    finally:
        draft.unlink()
