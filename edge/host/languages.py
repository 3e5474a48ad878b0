"""The languages of the page and of reports, and their texts: one JSON catalogue per language in a folder."""

import json
from functools import cache
from pathlib import Path

LANGUAGES = ("en", "fr", "es", "pt")
FIRST = "en"


@cache
def catalogue(folder: Path, language: str) -> dict[str, str]:
    """Key to text; a text that a catalogue lacks is the English one, and so are all of a language that is not here."""
    texts = _read(folder, FIRST)
    return texts if language == FIRST or language not in LANGUAGES else {**texts, **_read(folder, language)}


def _read(folder: Path, language: str) -> dict[str, str]:
    texts: dict[str, str] = json.loads((folder / f"{language}.json").read_text(encoding="utf-8"))
    return texts
