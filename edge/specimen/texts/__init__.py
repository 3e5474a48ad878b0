"""The words of a specimen's report, one JSON catalogue per language of the page; it imports nothing of the project."""

import json
from functools import cache
from pathlib import Path

FIRST = "en"


@cache
def catalogue(language: str) -> dict[str, str]:
    """Key to text; of a language without a catalogue the English one."""
    file = Path(__file__).with_name(f"{FIRST}.json")
    if language.isalpha() and (its := file.with_name(f"{language}.json")).is_file():
        file = its
    texts: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    return texts
