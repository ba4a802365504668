"""What people read, in Chinese and English, from one file per language."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import cast

LANGUAGES = ("zh", "en")
LANGUAGE_DEFAULT = "zh"


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """One language: `say` gives a text by its key."""

    language: str
    texts: Mapping[str, str]

    def say(self, key: str, **values: object) -> str:
        """The text with its `{values}` filled in; a wrong key is our bug."""
        return self.texts[key].format_map(values)

    def say_code(self, code: str) -> str:
        """What a refusal's code means to a payer or a cashier."""
        return self.texts.get(f"refused.{code}") or self.say("refused.other", code=code)


@cache
def words(language: str) -> Words:
    """The words of a language of ours."""
    assert language in LANGUAGES
    text = files("budan.web").joinpath("locale", f"{language}.json").read_text("utf-8")
    return Words(language=language, texts=cast("dict[str, str]", json.loads(text)))


def choose_language(*, asked: str | None, accepted: str) -> str:
    """The language: `?lang=` first, then the browser's list in its order of preference, else Chinese."""
    if asked in LANGUAGES:
        return asked
    preferences: list[tuple[float, str]] = []
    for item in accepted.split(","):
        name, _, quality = item.partition(";")
        weight = _weight(quality)
        if weight > 0:
            preferences.append((weight, name.strip().lower().partition("-")[0]))
    # `sorted` keeps the order of equals, which is the browser's.
    for _weight_of, name in sorted(preferences, key=lambda preference: -preference[0]):
        if name in LANGUAGES:
            return name
    return LANGUAGE_DEFAULT


def _weight(quality: str) -> float:
    name, _, value = quality.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
