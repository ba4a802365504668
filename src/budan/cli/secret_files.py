"""What must not stand in the machine's list of processes: read from a file or from the standard input."""

import sys
from pathlib import Path
from typing import Final

from budan.core.errors import Refused

# The largest is a bundle of root certificates.
FILE_BYTES_MAX: Final = 262_144


def read_secret_file(name: str, path: str) -> str:
    """The text of a file, of the standard input where it is `-`; raises `Refused` with `secret_file_unreadable`."""
    try:
        if path == "-":
            content = sys.stdin.buffer.read(FILE_BYTES_MAX + 1)
        else:
            with Path(path).open("rb") as file:
                content = file.read(FILE_BYTES_MAX + 1)
        if len(content) > FILE_BYTES_MAX:
            raise Refused("secret_file_unreadable", param=name, detail=f"is larger than {FILE_BYTES_MAX} bytes")
        return content.decode("utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is no text"
        raise Refused("secret_file_unreadable", param=name, detail=f"{path}: {reason}") from error
