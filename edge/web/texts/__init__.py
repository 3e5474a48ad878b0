"""The page's texts, one JSON catalogue per language; another language is one more file and its name in LANGUAGES."""

import json
from functools import cache
from pathlib import Path

from edge.web.settings import LANGUAGES

NAMES = {"en": "English", "fr": "Français", "es": "Español", "pt": "Português"}
FIRST = "en"


@cache
def catalogue(language: str) -> dict[str, str]:
    """Key to text; a text that a catalogue lacks is the English one."""
    texts = _read(FIRST)
    return texts if language == FIRST or language not in LANGUAGES else {**texts, **_read(language)}


def chosen(cookie: str, accept: str, default: str) -> str:
    """The language of a request: what was chosen, else what the browser prefers, else the default."""
    if cookie in LANGUAGES:
        return cookie
    for part in accept.split(",")[:10]:
        language = part.split(";")[0].strip().lower()[:2]
        if language in LANGUAGES:
            return language
    return default


def _read(language: str) -> dict[str, str]:
    texts: dict[str, str] = json.loads(
        Path(__file__).with_name(f"{language}.json").read_text(encoding="utf-8")
    )
    return texts
