"""A further channel is one folder and the few lines that docs/new-channel.md lists: nothing else knows a channel's name."""

import re

from tidy.repository import ROOT, texts

# The channel's own folder, the channel's side, the proofs that draw channels, and what both sides sign.
OWN = re.compile(r"src/budan/(channels|sandbox|proof|wire|store/migrations)/")
# Names that are no word of anything else.
NAMES = re.compile(r"\b(swiftpass|ipaynow|wechat_v2)\b")


def _that_know_a_channel() -> set[str]:
    found: set[str] = set()
    for path, text in texts():
        place = path.relative_to(ROOT).as_posix()
        is_program = place.startswith("src/") or place == "pyproject.toml"
        if is_program and not OWN.match(place) and NAMES.search(text):
            found.add(place)
    return found


def test_the_page_lists_every_file_that_knows_a_channels_name() -> None:
    page = (ROOT / "docs" / "new-channel.md").read_text("utf-8")
    listed = set(re.findall(r"^\| `((?:src/|pyproject)[^`]+)` \|", page, flags=re.MULTILINE))
    assert listed == _that_know_a_channel()
