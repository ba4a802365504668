import hashlib
import re
import tomllib
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from tidy.repository import ROOT, expect_none, files, texts

# The brackets keep each pattern from finding itself here.
MACHINE_PATH = re.compile(r"/w[o]rk/|/f[a]rm/|/r[o]ot/|/h[o]me/(?!\$)|/Us[e]rs/|/tmp/bash_j[o]bs|\.py[e]nv/")
REGISTRY_HOST = re.compile(
    r"pypi[.]org|pythonhosted[.]org|npmjs[.](org|com)|crates[.]io|golang[.]org|maven[.]org|apache[.]org/maven|debian[.]org"
)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
MANIFEST = "vendored.toml"


def _lines_with(pattern: re.Pattern[str]) -> Iterator[str]:
    for path, text in texts():
        if "vendor" in path.parts:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if pattern.search(line):
                yield f"{path.relative_to(ROOT)}:{number}"


def anchors(markdown: str) -> set[str]:
    """The fragments that a reader can jump to, as the usual renderers make them from headings."""
    headings = re.findall(r"^#{1,6} +(.+?) *$", markdown, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _dead_links(path: Path, text: str) -> Iterator[str]:
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    for match in LINK.finditer(prose):
        target = match[1] or match[2]
        if re.match(r"[a-z]+:", target):
            continue
        name, _, fragment = target.partition("#")
        goal = (path.parent / urllib.parse.unquote(name)).resolve() if name else path
        if not goal.exists() or (
            fragment and goal.suffix == ".md" and fragment not in anchors(goal.read_text("utf-8"))
        ):
            yield f"{path.relative_to(ROOT)}: {target}"


def _vendor_folders() -> list[Path]:
    return sorted({parent for path in files() for parent in path.parents if parent.name == "vendor"})


def test_no_path_of_one_machine_is_committed() -> None:
    expect_none(_lines_with(MACHINE_PATH))


def test_no_registry_is_named() -> None:
    """Each team fetches packages from where it trusts; hashes say what they are."""
    expect_none(_lines_with(REGISTRY_HOST))


def test_no_link_between_our_pages_is_dead() -> None:
    pages = [(path, text) for path, text in texts() if path.suffix == ".md"]
    expect_none(dead for path, text in pages for dead in _dead_links(path, text))


def test_a_dead_link_and_a_dead_fragment_are_noticed(tmp_path: Path) -> None:
    page = ROOT / "docs" / "design.md"
    text = "[a](house-style.md) [b](no-such.md) [c](house-style.md#2-names) [d](house-style.md#no-such)"
    assert [dead.split(": ")[1] for dead in _dead_links(page, text)] == ["no-such.md", "house-style.md#no-such"]


def test_vendored_files_are_what_their_manifest_says() -> None:
    """A changed byte in a script that runs in the console must not pass as an update."""
    for folder in _vendor_folders():
        manifest = tomllib.loads((folder / MANIFEST).read_text("utf-8"))
        listed = {entry["name"]: entry for entry in manifest["file"]}
        present = {str(path.relative_to(folder)) for path in files() if path.is_relative_to(folder)} - {MANIFEST}
        assert present == set(listed), folder
        for name, entry in listed.items():
            assert entry["version"], name
            assert entry["licence"], name
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == entry["sha256"], name
