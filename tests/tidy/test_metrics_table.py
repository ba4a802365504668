import ast
import re
from collections.abc import Iterator

from tidy.repository import ROOT, expect_none, modules

_SUFFIXES = {"Counter": "_total", "Info": "_info", "Gauge": "", "Histogram": ""}
# Info's labels are what it is told at run time.
_BUILD = "budan_build_info"


def _made() -> Iterator[tuple[str, frozenset[str]]]:
    """Each metric as it is exported, with its labels."""
    (module,) = (module for module in modules("src/budan/telemetry") if module.path.name == "metrics.py")
    for node in ast.walk(module.tree):
        kind = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if isinstance(node, ast.Call) and kind in _SUFFIXES:
            labels = next((ast.literal_eval(word) for word in node.args if isinstance(word, ast.List)), [])
            yield f"{ast.literal_eval(node.args[0])}{_SUFFIXES[kind]}", frozenset(labels)


def _told() -> Iterator[tuple[str, frozenset[str], bool]]:
    """Each metric of the table, with its labels, and whether the row is about one value of them alone."""
    for row in re.findall(r"^\| (`budan_[^|]*) \|", (ROOT / "docs" / "operating.md").read_text("utf-8"), re.MULTILINE):
        for name, inside in re.findall(r"`(budan_\w+)(?:\{([^}]*)\})?`", row):
            labels = frozenset(label.partition("=")[0] for label in inside.split(",") if label)
            yield name, labels, "=" in inside


def test_whoever_is_on_call_finds_every_metric_with_its_labels_in_the_table() -> None:
    """An alert that nobody can look up wakes somebody for nothing."""
    made = dict(_made())
    assert len(made) > 30
    whole = {name: labels for name, labels, is_part in _told() if not is_part and name != _BUILD}
    expect_none(f"{name} {sorted(labels)}" for name, labels in made.items() if whole.get(name, labels) != labels)
    expect_none(name for name in made if name not in {told for told, _, _ in _told()})


def test_the_table_names_no_metric_that_is_not_there() -> None:
    made = dict(_made())
    expect_none(
        name for name, labels, _ in _told() if name not in made or (name != _BUILD and not labels <= made[name])
    )
