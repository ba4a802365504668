import re
import tomllib
from collections.abc import Iterator
from typing import Any

from tidy.repository import ROOT, Module, expect_none, modules

# Adding an ignore is a decision: raise these in the same commit, whose message tells why. Taking one away lowers them.
IGNORES_HELD = 16
TEST_IGNORES_HELD = 10

SWITCHED_OFF = re.compile(
    r"#\s*(type:\s*ignore|ruff:\s*noqa|pyright:\s*(basic|standard|strict|report)|fmt:\s*(off|skip))"
)
BLANKET = re.compile(r"#\s*(noqa(?!:\s*[A-Z]+\d)|pyright:\s*ignore(?!\[))")
SUPPRESSION = re.compile(r"#\s*(noqa:\s*[A-Z]+\d+(\s*,\s*[A-Z]+\d+)*|pyright:\s*ignore\[[^\]]*\])")
REASON_WORDS_MIN = 2


def _settings() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["ruff"]["lint"]


def _comments(module: Module) -> Iterator[tuple[str, str]]:
    yield from ((module.at(line), comment) for line, comment in module.comments.items())


def test_the_number_of_ignored_rules_does_not_drift() -> None:
    settings = _settings()
    assert settings["select"] == ["ALL"]
    assert len(settings["ignore"]) == IGNORES_HELD
    assert {glob: len(codes) for glob, codes in settings["per-file-ignores"].items()} == {"tests/**": TEST_IGNORES_HELD}


def test_each_ignored_rule_has_its_reason_beside_it() -> None:
    lines = (ROOT / "pyproject.toml").read_text("utf-8").splitlines()
    codes = [line for line in lines if re.match(r'\s*"[A-Z]+\d+",', line)]
    assert len(codes) == IGNORES_HELD + TEST_IGNORES_HELD
    expect_none(line for line in codes if not re.search(r'",\s*# \S+ \S+', line))


def test_a_check_is_switched_off_for_one_rule_and_with_a_reason() -> None:
    found = [
        f"{place}: {comment}"
        for module in modules("src", "tests")
        for place, comment in _comments(module)
        if SWITCHED_OFF.search(comment) or BLANKET.search(comment) or _lacks_reason(comment)
    ]
    expect_none(found)


def _lacks_reason(comment: str) -> bool:
    if not SUPPRESSION.search(comment):
        return False
    return len(re.findall(r"[A-Za-z]{2,}", SUPPRESSION.sub("", comment))) < REASON_WORDS_MIN


def test_a_suppression_without_a_reason_is_noticed() -> None:
    assert _lacks_reason("# noqa: S607")
    assert _lacks_reason("# pyright: ignore[reportAny]")
    assert not _lacks_reason("# noqa: S607, S603 - git is looked up in the path")
    assert BLANKET.search("# noqa")
    assert not BLANKET.search("# noqa: S607 - git is looked up in the path")
