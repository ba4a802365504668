import re
import tomllib
from pathlib import Path

from tidy.repository import ROOT, expect_none

PIN = re.compile(r"^(?P<name>[a-z0-9][a-z0-9._-]*)==(?P<version>[^\s;\\]+)", re.MULTILINE)


def _pins(lock: str) -> dict[str, set[str]]:
    """Versions by package; more than one where the lock has one for each of several platforms."""
    pins: dict[str, set[str]] = {}
    for match in PIN.finditer((ROOT / lock).read_text("utf-8")):
        pins.setdefault(match["name"], set()).add(match["version"])
    return pins


def _asked_for(source: str) -> set[str]:
    lines = (line.partition("#")[0].strip() for line in (ROOT / source).read_text("utf-8").splitlines())
    return {re.split(r"[\[<>=~; ]", line)[0] for line in lines if line and not line.startswith("-")}


def _locks() -> list[Path]:
    return sorted(ROOT.glob("requirements*.lock"))


def test_every_locked_package_has_a_hash() -> None:
    for lock in _locks():
        entries = re.split(r"\n(?=[a-z0-9])", lock.read_text("utf-8"))
        expect_none(entry.split()[0] for entry in entries if PIN.match(entry) and "--hash=sha256:" not in entry)


def test_a_lock_names_no_place_to_fetch_from() -> None:
    for lock in _locks():
        options = [line for line in lock.read_text("utf-8").splitlines() if re.match(r"\s*--(?!hash)|.*://", line)]
        assert options == [], lock.name


def test_what_is_asked_for_is_locked() -> None:
    for lock in _locks():
        assert _asked_for(f"{lock.stem}.in") <= set(_pins(lock.name)), lock.name


def test_the_tests_run_on_the_versions_that_are_shipped() -> None:
    shipped = _pins("requirements.lock")
    tested = _pins("requirements-dev.lock")
    assert {name: tested.get(name) for name in shipped} == shipped


def test_the_installer_and_the_build_backend_are_one_version() -> None:
    """They are one program then, so the build fetches nothing and needs no hash of its own."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    (version,) = _pins("requirements-bootstrap.lock")["uv"]
    assert project["build-system"]["requires"] == [f"uv_build=={version}"]


def test_every_runtime_dependency_has_its_decision() -> None:
    decision = (ROOT / "docs" / "adr" / "0005-libraries.md").read_text("utf-8")
    expect_none(name for name in sorted(_asked_for("requirements.in")) if f"| `{name}` |" not in decision)
