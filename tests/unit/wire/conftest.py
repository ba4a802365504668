"""The byte-exact vectors of docs/protocols and the throw-away keys that made them."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from budan.wire import rsa

TESTS = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def vectors() -> dict[str, Any]:
    return json.loads((TESTS / "vectors.json").read_text("utf-8"))


@pytest.fixture(scope="session")
def merchant_private(vectors: dict[str, Any]) -> RSAPrivateKey:
    return rsa.load_private_key(vectors["keys"]["merchant"]["private_pkcs8_b64"])


@pytest.fixture(scope="session")
def merchant_public(vectors: dict[str, Any]) -> RSAPublicKey:
    return rsa.load_public_key(vectors["keys"]["merchant"]["public_spki_b64"])


@pytest.fixture(scope="session")
def platform_private(vectors: dict[str, Any]) -> RSAPrivateKey:
    return rsa.load_private_key(vectors["keys"]["platform"]["private_pkcs8_b64"])


@pytest.fixture(scope="session")
def platform_public(vectors: dict[str, Any]) -> RSAPublicKey:
    return rsa.load_public_key(vectors["keys"]["platform"]["public_spki_b64"])
