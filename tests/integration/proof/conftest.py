"""What platforms that are measured run is counted by other tests: counting would take half of their speed."""

import pytest

# Here the command itself, whose own lines count, starts the platform; and a load that lasts two seconds must not be over
# before it was looked at.
COUNTED = {"test_demo.py", "test_prove.py", "test_measuring.py"}


@pytest.fixture(autouse=True)
def uncounted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.path.name not in COUNTED:
        monkeypatch.setenv("COVERAGE_PROCESS_CONFIG", "")
        monkeypatch.setenv("COVERAGE_PROCESS_START", "")
