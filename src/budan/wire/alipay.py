"""What Alipay's OpenAPI (RSA2) signs, for the merchant's side and for Alipay's (docs/protocols/alipay.md §2, §4)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from budan.wire.errors import BadAnswer
from budan.wire.rsa import sign_sha256, verify_sha256

_SCANNER: Final = json.JSONDecoder()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A synchronous answer: `payload` is the object named `<method>_response`, `signed_text` its exact text."""

    payload: Mapping[str, Any]
    signed_text: str
    signature: str
    alipay_cert_sn: str

    @property
    def is_signed(self) -> bool:
        """False for early failures, which Alipay leaves unsigned: no result may be taken from them."""
        return bool(self.signature)


def request_sign_string(parameters: Mapping[str, str]) -> bytes:
    """The bytes a merchant signs: every parameter but `sign` and empty ones; `sign_type` takes part."""
    return _joined({name: value for name, value in parameters.items() if name != "sign" and value})


def notify_sign_string(parameters: Mapping[str, str], *, keeps_empty: bool = True) -> bytes:
    """The bytes Alipay signs in a notice or a return_url: neither `sign` nor `sign_type` takes part."""
    signed = {name: value for name, value in parameters.items() if name not in {"sign", "sign_type"}}
    return _joined(signed if keeps_empty else {name: value for name, value in signed.items() if value})


def sign_request(parameters: Mapping[str, str], *, private_key: RSAPrivateKey) -> str:
    """The value of `sign` for these parameters."""
    return sign_sha256(private_key, request_sign_string(parameters))


def verify_request(parameters: Mapping[str, str], *, public_key: RSAPublicKey) -> bool:
    """Alipay's judgement of a merchant's request."""
    return verify_sha256(public_key, request_sign_string(parameters), parameters.get("sign", ""))


def sign_notify(parameters: Mapping[str, str], *, private_key: RSAPrivateKey) -> str:
    """The value of `sign` for a notice."""
    return sign_sha256(private_key, notify_sign_string(parameters))


def verify_notify(parameters: Mapping[str, str], *, public_key: RSAPublicKey) -> bool:
    """The merchant's judgement of a notice or a return_url.

    Alipay's own SDKs keep empty values and its documents drop them, so both texts are tried when there are any.
    """
    signature = parameters.get("sign", "")
    if not signature:
        return False
    if verify_sha256(public_key, notify_sign_string(parameters), signature):
        return True
    if all(parameters.values()):
        return False
    return verify_sha256(public_key, notify_sign_string(parameters, keeps_empty=False), signature)


def response_name(method: str) -> str:
    """The member of the answer that holds the result of `method`."""
    return method.replace(".", "_") + "_response"


def parse_answer(body: bytes, *, method: str) -> Answer:
    """The answer's parts, its signature unchecked; BadAnswer when it is no such envelope.

    `error_response` is read as the payload when the named one is missing.
    """
    try:
        text = body.decode("utf-8")
        members = _members(text)
    except (ValueError, RecursionError) as error:
        raise BadAnswer("answer is no JSON object") from error
    for name in (response_name(method), "error_response"):
        if name in members:
            payload, signed_text = members[name]
            break
    else:
        raise BadAnswer("answer lacks its response member")
    if not isinstance(payload, dict):
        raise BadAnswer("response member is no object")
    return Answer(
        payload=cast("dict[str, Any]", payload),
        signed_text=signed_text,
        signature=_text_member(members, "sign"),
        alipay_cert_sn=_text_member(members, "alipay_cert_sn"),
    )


def verify_answer(answer: Answer, *, public_key: RSAPublicKey) -> bool:
    """The merchant's judgement of a synchronous answer; False for an unsigned one."""
    if not answer.is_signed:
        return False
    if verify_sha256(public_key, answer.signed_text.encode(), answer.signature):
        return True
    # Some gateways sign the text with `\/` and send it with `/`.
    if "/" not in answer.signed_text:
        return False
    return verify_sha256(public_key, answer.signed_text.replace("/", "\\/").encode(), answer.signature)


def render_answer(signed_text: str, *, method: str, private_key: RSAPrivateKey | None) -> bytes:
    """Alipay's side: the envelope round an already serialised object, unsigned when there is no key."""
    head = f'{{"{response_name(method)}":{signed_text}'
    if private_key is None:
        return f"{head}}}".encode()
    return f'{head},"sign":"{sign_sha256(private_key, signed_text.encode())}"}}'.encode()


def _joined(parameters: Mapping[str, str]) -> bytes:
    return "&".join(f"{name}={parameters[name]}" for name in sorted(parameters)).encode()


def _text_member(members: Mapping[str, tuple[Any, str]], name: str) -> str:
    value, _ = members.get(name, ("", ""))
    return value if isinstance(value, str) else ""


def _members(text: str) -> dict[str, tuple[Any, str]]:
    """Each member of the one object that `text` is, with its exact text; ValueError when it is not one.

    A JSON scanner finds each value's end, because strings may hold braces and the signed text may not be re-serialised.
    """
    members: dict[str, tuple[Any, str]] = {}
    at = _expect(text, _blanks(text, 0), "{")
    while True:
        name, at = _SCANNER.raw_decode(text, _blanks(text, at))
        if not isinstance(name, str) or name in members:
            raise ValueError("member without a name of its own")
        start = _blanks(text, _expect(text, _blanks(text, at), ":"))
        value, end = _SCANNER.raw_decode(text, start)
        members[name] = (value, text[start:end])
        at = _blanks(text, end)
        if text[at : at + 1] != ",":
            break
        at += 1
    if _blanks(text, _expect(text, at, "}")) != len(text):
        raise ValueError("text after the object")
    return members


def _expect(text: str, at: int, mark: str) -> int:
    if text[at : at + 1] != mark:
        raise ValueError(f"{mark} missing at {at}")
    return at + 1


def _blanks(text: str, at: int) -> int:
    while text[at : at + 1] in {" ", "\t", "\n", "\r"}:
        at += 1
    return at
