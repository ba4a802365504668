"""How a page of the sandbox is rendered: its texts in the reader's language, and what a browser may do with it."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlencode

import jinja2

from budan.sandbox.exchange import Answer, Request
from budan.sandbox.wallet_texts import language


class View:
    """Who looks: the page's query and the reader's language, which every link keeps."""

    def __init__(self, request: Request) -> None:
        self.query: Mapping[str, str] = {name: values[0] for name, values in parse_qs(request.query).items()}
        accepted = request.headers.get("accept-language", "")
        self.language = language(asked=self.query.get("lang", ""), accepted=accepted)

    @property
    def other_language_path(self) -> str:
        """This page in the other language."""
        kept = {name: value for name, value in self.query.items() if name != "lang"}
        return "?" + urlencode({**kept, "lang": "en" if self.language == "zh" else "zh"})


class Pages:
    """The templates, which hold no script and no style of their own."""

    def __init__(self, texts: Mapping[str, Mapping[str, str]]) -> None:
        self._texts = texts
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("budan.sandbox"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def render(
        self, name: str, view: View, values: Mapping[str, Any], *, form_action: str = "", status: int = 200
    ) -> Answer:
        """The page; its forms may lead to the sandbox itself and to `form_action`, an origin."""
        html = self._templates.get_template(name).render(
            texts=self._texts[view.language], language=view.language, view=view, **values
        )
        policy = (
            "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'; "
            # A browser holds a form's redirect to this too, and the payer goes back to the shop by one.
            f"form-action 'self' {form_action}"
        )
        headers = {
            "Content-Security-Policy": policy.strip(),
            "Cache-Control": "no-store",
            # To other sites nothing is told; without it a form of ours would not say that it is ours.
            "Referrer-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
        }
        return Answer(status=status, body=html.encode(), content_type="text/html; charset=utf-8", headers=headers)
