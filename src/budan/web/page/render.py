"""Renders our pages: templates beside their views, one set of headers, two languages."""

from pathlib import Path
from urllib.parse import parse_qs, urlencode

import jinja2

from budan.core.errors import Refused
from budan.core.money import CURRENCY_EXPONENTS
from budan.web.assets.files import Assets
from budan.web.exchange import Answer, Header, Scope
from budan.web.page.words import LANGUAGES, Words, choose_language, words
from budan.web.problems import KINDS

# Nothing is loaded from another host, nothing inline runs, nobody frames a page where money is paid.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS: tuple[Header, ...] = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    # The address of a page is the right to see it.
    (b"referrer-policy", b"no-referrer"),
)
_SIGNS = {"CNY": "¥"}


def show_amount(amount_minor: int, currency: str) -> str:
    """An amount for people, from its minor units: ¥1,234.50."""
    exponent = CURRENCY_EXPONENTS[currency]
    major, minor = divmod(amount_minor, 10**exponent)
    return f"{_SIGNS.get(currency, currency + ' ')}{major:,}.{minor:0{exponent}d}"


class Pages:
    """Turns a template and its values into an answer."""

    def __init__(self, *, assets: Assets) -> None:
        web = Path(__file__).parents[1]
        folders = [web / name for name in ("page", "cashier", "terminal", "docs", "ops")]
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(folders),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._ours = {"asset": assets.address, "show_amount": show_amount}

    def render(self, template: str, *, speech: Words, status: int = 200, **values: object) -> Answer:
        """The page as an answer, with the headers of every page."""
        text = self._templates.get_template(template).render(
            **self._ours, say=speech.say, say_code=speech.say_code, language=speech.language, **values
        )
        return Answer(status=status, body=text.encode(), headers=_HEADERS)

    def refusal(self, scope: Scope, refusal: Refused, *, request_id: str) -> Answer:
        """A page that tells what is wrong, in the reader's language, with the number to ask us about."""
        kind = KINDS[refusal.code]
        page = self.render(
            "refusal.html",
            speech=speech_of(scope),
            status=kind.status.value,
            code=refusal.code,
            request_id=request_id,
        )
        if kind.retry_after_s is None:
            return page
        more = ((b"retry-after", str(kind.retry_after_s).encode()),)
        return Answer(status=page.status, body=page.body, headers=page.headers + more)


def see_other(address: str) -> Answer:
    """Sends the browser on with GET, so that loading again repeats nothing."""
    return Answer(status=303, body=b"", headers=(*_HEADERS, (b"location", address.encode())))


def speech_of(scope: Scope) -> Words:
    """The words for whoever sent this request."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    accepted = headers.get(b"accept-language", b"").decode("latin-1")
    return words(choose_language(asked=_asked_language(scope), accepted=accepted))


def local_address(scope: Scope, path: str, **query: str) -> str:
    """An address of ours that keeps the language which this request asked for."""
    asked = _asked_language(scope)
    if asked in LANGUAGES:
        query["lang"] = asked
    return f"{path}?{urlencode(query)}" if query else path


def _asked_language(scope: Scope) -> str | None:
    return parse_qs(scope["query_string"].decode("latin-1")).get("lang", [None])[-1]
