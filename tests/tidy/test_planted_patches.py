import os
import subprocess

from tidy.repository import ROOT, expect_none

PLANTED = ROOT / "tests" / "planted"


def test_every_planted_bug_still_fits_the_program() -> None:
    """Played, it is found out after minutes of chaos; whoever changed the lines learns it here in a tenth of a second."""
    # Outside of any repository, as where they are played: git would otherwise look for the files from its root.
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(ROOT.parent)}
    checked = {
        patch.name: subprocess.run(
            ["git", "apply", "--check", "-p1", str(patch)],  # noqa: S607 - git as every shell finds it
            cwd=ROOT,
            env=environment,
            capture_output=True,
            check=False,
            timeout=30,
        )
        for patch in sorted(PLANTED.glob("*.patch"))
    }
    assert checked
    expect_none(f"{name}: {done.stderr.decode()}" for name, done in checked.items() if done.returncode)
