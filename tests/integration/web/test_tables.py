"""What the tables of routes, problems and words promise to each other."""

import ast
import json
import re
from pathlib import Path

import msgspec

import budan.web
from budan.core.day_closing import Stand, StandPoint
from budan.core.reconcile import DAY_FEES, RowKind, Verdict
from budan.core.tie_out import Became
from budan.flows.day_report import ALL
from budan.web.api.openapi import build_openapi, documented_routes
from budan.web.cashier.wallets import Wallet
from budan.web.page.words import LANGUAGES
from budan.web.problems import KINDS
from budan.web.routes import ROUTES, Found, Router, Surface

WEB = Path(budan.web.__file__).parent
PACKAGE = WEB.parent
# What an operator meets at the command line never reaches a request.
NOT_BEHIND_THE_WEB = {
    "adjusted_differences.py",
    "adjusting.py",
    "adjustment.py",
    "account_desk.py",
    "acts.py",
    "administering.py",
    "books.py",
    "cashbacks.py",
    "cron.py",
    "day_closing.py",
    "discrepancies.py",
    "file_words.py",
    "holding.py",
    "job.py",
    "job_desk.py",
    "payee.py",
    "payees.py",
    "payouts.py",
    "rates.py",
    "reconcile.py",
    "reconciling.py",
    "remedies.py",
    "replaying.py",
    "rotating.py",
    "settlement.py",
    "settlement_terms.py",
    "testifying.py",
    "timelines.py",
    "webhook_secrets.py",
}


def _texts(language: str) -> dict[str, str]:
    return json.loads((WEB / "locale" / f"{language}.json").read_text("utf-8"))


def _refused_codes() -> set[str]:
    """Every code that the web or what lies behind it can refuse with, read from the source."""
    found: set[str] = set()
    paths = [*WEB.rglob("*.py"), *(PACKAGE / "flows").glob("*.py"), *(PACKAGE / "core").glob("*.py")]
    for path in paths:
        if path.name in NOT_BEHIND_THE_WEB:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Refused":
                (code, *_) = node.args
                assert isinstance(code, ast.Constant), (
                    f"{path.name}:{node.lineno} refuses with a code that is not plain"
                )
                found.add(str(code.value))
    return found


def test_every_code_that_can_be_refused_has_its_status() -> None:
    """A code without a status would be answered as our own failure."""
    assert _refused_codes() <= set(KINDS)


def test_both_languages_have_the_same_keys_with_the_same_values_to_fill_in() -> None:
    first, *others = (_texts(language) for language in LANGUAGES)
    for other in others:
        assert other.keys() == first.keys()
        for key, text in first.items():
            assert set(re.findall(r"{(\w+)}", text)) == set(re.findall(r"{(\w+)}", other[key])), key
    assert all(text.strip() for language in LANGUAGES for text in _texts(language).values())


def test_every_word_that_a_page_says_exists_and_every_word_is_said() -> None:
    sources = "".join(path.read_text("utf-8") for path in [*WEB.rglob("*.html"), *WEB.rglob("*.py")])
    said = set(re.findall(r"say\([\"']([a-z_.0-9]+?)[\"']", sources))
    said |= {f"cashier.scan.{wallet.value}" for wallet in Wallet if wallet is not Wallet.NONE}
    said |= {f"cashier.open_wallet.{wallet.value}" for wallet in (Wallet.ALIPAY, Wallet.WECHAT)}
    said |= {f"wallet.{wallet.value}" for wallet in Wallet if wallet is not Wallet.NONE}
    said |= (
        {f"books.kind.{DAY_FEES}"}
        | {f"books.kind.{kind.value}" for kind in RowKind}
        | {f"books.verdict.{verdict.value}" for verdict in Verdict}
    )
    said |= {f"books.outcome.{name}" for name in (ALL, *(became.value for became in Became))}
    said |= {f"books.state.{state}" for state in ("open", "asked", "awaited")}
    said |= {f"books.bill.{state}" for state in ("waiting", "late", "missed")}
    said |= {f"books.stand.{stand.value}" for stand in Stand if StandPoint(stand=stand).is_shown}
    said |= {f"books.untied.{what}" for what in ("there", "here", "matched", "lines", "older_release")}
    known = set(_texts("zh"))
    plain = {key for key in known if not key.startswith("refused.")}
    assert said - {"cashier.scan.", "cashier.open_wallet.", "wallet."} - {"refused.other"} == plain
    assert {key.removeprefix("refused.") for key in known - plain} <= set(KINDS) | {"other"}


def test_whatever_a_page_can_refuse_is_said_in_words() -> None:
    """A payer must never read a code."""
    never_on_a_page = {code for code, kind in KINDS.items() if kind.status in {400, 401}} | {
        "account_not_found",
        "currency_unknown",
        "reference_malformed",
        "subject_malformed",
        "expires_in_out_of_range",
        "limit_out_of_range",
        "state_unknown",
        "payer_openid_missing",
        "payer_ip_missing",
        "shop_unknown",
    }
    of_operators = {code for code in KINDS if code.startswith(("order_already", "trade_"))} | {
        "order_on_hold",
        "order_not_closing",
        "no_open_charge",
    }
    # No page refunds, and none knows of payers.
    of_payers = {"payer_malformed", "payer_bound", "no_cashback"}
    of_refunds = {code for code in KINDS if "refund" in code} | {"order_not_paid", "reason_malformed"}
    said = {key.removeprefix("refused.") for key in _texts("zh")}
    assert set(KINDS) - never_on_a_page - of_operators - of_refunds - of_payers <= said


def test_every_route_is_found_by_its_own_path() -> None:
    router = Router(ROUTES)
    for route in ROUTES:
        found = router.find(method=route.method, path=re.sub(r"{\w+}", "x", route.path))
        assert isinstance(found, Found)
        assert found.route is route
        assert found.parameters == ("x",) * route.path.count("{")


def test_what_is_no_route_is_not_found() -> None:
    router = Router(ROUTES)
    for path in (
        "",
        "/",
        "//",
        "/v1",
        "/v1/",
        "/v1/orders/",
        "/v1/orders//charges",
        "/v1/orders/x/y",
        "/pay/",
        "v1/orders",
    ):
        assert router.find(method="GET", path=path) is None, path


def test_every_documented_route_tells_every_code_that_it_answers_with() -> None:
    document = build_openapi(public_url="http://127.0.0.1")
    for route in documented_routes():
        responses = document["paths"][route.path][route.method.lower()]["responses"]
        told: set[str] = set()
        for status, response in responses.items():
            schema = response.get("content", {}).get("application/problem+json", {}).get("schema")
            if schema:
                codes = schema["allOf"][1]["properties"]["code"]["enum"]
                assert {KINDS[code].status.value for code in codes} == {int(status)}
                told |= set(codes)
        assert told == route.all_codes


def test_every_route_of_merchants_asks_for_a_key() -> None:
    for route in ROUTES:
        assert route.asks_key == route.path.startswith("/v1/"), route.path
        if route.takes is not None:
            assert msgspec.inspect.type_info(route.takes)
            assert route.surface is Surface.API
