"""A folder that the database's user can reach: as root, pytest's own temporary folders are closed to it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def open_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="budan-host-test-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)
